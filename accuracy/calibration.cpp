#include "accuracy/calibration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "accuracy/folds.hpp"
#include "accuracy/run_fitter.hpp"

namespace meshloom {
namespace {

std::string group_of(const CalibrationRow& row) {
  return fmt::format("{}|{}|{}|{}", row.device, row.framework, row.source, row.measured_s ? "ok" : "oom");
}

class Calibrator {
 public:
  Calibrator(const std::vector<CalibrationRow>& rows, const std::vector<CalibratedConstant>& constants,
             const ConstantFiles& files, const CompileRuns& compile, const CalibrationOptions& options)
      : rows_(rows), constants_(constants), options_(options), input_{rows,    constants, files, compile,
                                                                      options, {},        {}} {
    std::vector<std::string> groups;
    for (const CalibrationRow& row : rows) groups.push_back(group_of(row));
    input_.weights = group_weights(groups);
  }

  Calibration run() {
    Calibration result;
    if (options_.progress) options_.progress("finding what each constant changes");
    input_.touched = rows_touched(input_);
    result.rows.resize(rows_.size());
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      result.rows[row].weight = input_.weights[row];
      result.rows[row].fold = fold_of(rows_[row].configuration, options_.folds);
    }
    ask_for_fits();
    const std::vector<RunFit> fits = fit_runs(input_, requests_);
    describe(result, fits.front());
    for (std::size_t k = 1; k < fits.size(); ++k) take(result, k, fits[k]);
    judge_intervals(result);
    return result;
  }

 private:
  // All rows, then each fold, then what is left out.
  void ask_for_fits() {
    requests_ = {{fmt::format("fitting {} constants to {} runs", constants_.size(), rows_.size()), {}, false}};
    left_out_ = {std::nullopt};
    for (std::size_t fold = 0; fold < options_.folds; ++fold) {
      requests_.push_back({fmt::format("cross-validating, fold {} of {}", fold + 1, options_.folds), {}, false});
      left_out_.push_back(std::nullopt);
      for (std::uint32_t row = 0; row < rows_.size(); ++row)
        if (fold_of(rows_[row].configuration, options_.folds) == fold) requests_.back().left_out.push_back(row);
      if (!requests_.back().left_out.empty()) continue;
      requests_.pop_back();
      left_out_.pop_back();
    }
    for (const LeaveOut what : options_.leave_out)
      for (LeftOut& group : groups_to_leave_out(what, rows_, constants_)) {
        const bool as_unknown = what == LeaveOut::framework && options_.compile_unknown_framework;
        requests_.push_back({fmt::format("leaving out {}", group.name), std::move(group.rows), as_unknown});
        left_out_.push_back(what);
      }
  }

  void describe(Calibration& result, const RunFit& fit) const {
    result.rounds = fit.rounds;
    result.layouts_stable = fit.layouts_stable;
    result.files = with_values(input_.files, constants_, fit.values);
    for (std::size_t row = 0; row < rows_.size(); ++row) result.rows[row].fitted = fit.prices[row];
    result.constants.resize(constants_.size());
    for (const FittedPart* part : {&fit.time, &fit.memory}) {
      for (std::size_t k = 0; k < part->constants.size(); ++k) {
        const std::size_t c = part->constants[k];
        result.constants[c] = {constants_[c],           fit.values[c],         part->fit.deviations[k],
                               part->fit.determined[k], part->fit.at_bound[k], part->fit.influence[k],
                               fit.values[c],           fit.values[c],         input_.touched[c].size()};
      }
      for (const CorrelatedConstants& pair : part->fit.correlated)
        result.correlated.push_back({part->constants[pair.one], part->constants[pair.other], pair.correlation});
    }
  }

  // What the fit of a fold or of a group left out says of the rows that it was not given.
  void take(Calibration& result, std::size_t request, const RunFit& fit) const {
    const std::vector<std::uint32_t>& rows = requests_[request].left_out;
    for (std::size_t k = 0; k < rows.size(); ++k) {
      RowResult& row = result.rows[rows[k]];
      if (left_out_[request])
        price_without(*left_out_[request], row) = fit.prices[k];
      else
        row.unseen = fit.prices[k];
      if (!fit.as_unknown.empty()) row.unknown_framework = fit.as_unknown[k];
    }
    if (left_out_[request]) return;
    for (std::size_t c = 0; c < constants_.size(); ++c) {
      result.constants[c].least = std::min(result.constants[c].least, fit.values[c]);
      result.constants[c].most = std::max(result.constants[c].most, fit.values[c]);
    }
  }

  static std::optional<RunPrice>& price_without(LeaveOut what, RowResult& row) {
    switch (what) {
      case LeaveOut::source:
        return row.without_source;
      case LeaveOut::framework:
        return row.without_framework;
      case LeaveOut::device:
        break;
    }
    return row.without_device;
  }

  // Of the rows that count, by the price that `price` picks; empty where a row has none.
  template <typename Price>
  std::vector<UnseenError> errors_of(const Calibration& result, Price price) const {
    std::vector<UnseenError> errors;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (!rows_[row].measured_s || !rows_[row].counts) continue;
      const std::optional<RunPrice> priced = price(result.rows[row]);
      if (!priced) return {};
      errors.push_back({rows_[row].device, rows_[row].recipe, std::log(*rows_[row].measured_s / priced->seconds),
                        result.rows[row].weight, result.rows[row].fold, rows_[row].kind});
    }
    return errors;
  }

  void judge_intervals(Calibration& result) const {
    const std::vector<UnseenError> errors =
        errors_of(result, [](const RowResult& row) { return std::optional(row.unseen); });
    result.uncertainty = uncertainty_from(errors);
    const std::vector<UnseenError> without_device =
        errors_of(result, [](const RowResult& row) { return row.without_device; });
    widen_for_unknown(result.uncertainty, errors_of(result, [](const RowResult& row) { return row.unknown_framework; }),
                      without_device);
    const std::vector<UnseenError> without_source =
        errors_of(result, [](const RowResult& row) { return row.without_source; });
    const std::vector<UnseenError>& left_out = without_source.empty() ? without_device : without_source;
    add_elsewhere(result.uncertainty, left_out);
    result.coverage = cross_validated_coverage(errors);
    const std::vector<bool> hits = cross_validated_hits(errors);
    std::size_t next = 0;
    for (std::size_t row = 0; row < rows_.size(); ++row)
      if (rows_[row].measured_s && rows_[row].counts) result.rows[row].in_interval = hits[next++];
  }

  const std::vector<CalibrationRow>& rows_;
  const std::vector<CalibratedConstant>& constants_;
  const CalibrationOptions& options_;
  FitInput input_;
  std::vector<FitRequest> requests_;
  std::vector<std::optional<LeaveOut>> left_out_;  // by request; none: a fold, or nothing
};

}  // namespace

Calibration calibrate(const std::vector<CalibrationRow>& rows, const std::vector<CalibratedConstant>& constants,
                      const ConstantFiles& files, const CompileRuns& compile, const CalibrationOptions& options) {
  return Calibrator(rows, constants, files, compile, options).run();
}

}  // namespace meshloom
