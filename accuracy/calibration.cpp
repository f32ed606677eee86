#include "accuracy/calibration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <set>

#include "accuracy/folds.hpp"

namespace meshloom {
namespace {

// The width, in log(peak/capacity), over which a run turns from likely to unlikely to hold.
constexpr double memory_width = 0.08;

std::string group_of(const CalibrationRow& row) {
  return fmt::format("{}|{}|{}|{}", row.device, row.framework, row.source, row.measured_s ? "ok" : "oom");
}

// One of the two fits: the constants for it, by their positions in the whole list.
struct Part {
  FittedTo what = FittedTo::time;
  std::vector<std::size_t> members;
};

// What a fit to some rows comes to.
struct Fitting {
  std::vector<double> values;
  Fit time, memory;
  PriceRuns price;  // in the layouts that the values choose
  std::size_t rounds = 0;
  bool layouts_stable = false;
};

class Calibrator {
 public:
  Calibrator(const std::vector<CalibrationRow>& rows, const std::vector<CalibratedConstant>& constants,
             const ConstantFiles& files, const CompileRuns& compile, const CalibrationOptions& options)
      : rows_(rows),
        constants_(constants),
        compile_(compile),
        options_(options),
        writer_(std::make_unique<ConstantWriter>(files, constants)) {
    std::vector<std::string> groups;
    for (const CalibrationRow& row : rows) groups.push_back(group_of(row));
    weights_ = group_weights(groups);
    for (std::size_t c = 0; c < constants.size(); ++c) {
      (constants[c].fitted_to == FittedTo::time ? time_ : memory_).members.push_back(c);
      priors_.push_back(constants[c].unknown.prior);
      const std::set<std::string> own(constants[c].files.begin(), constants[c].files.end());
      touched_.emplace_back();
      for (std::size_t row = 0; row < rows.size(); ++row)
        if (std::any_of(rows[row].files.begin(), rows[row].files.end(),
                        [&](const std::string& file) { return own.contains(file); }))
          touched_.back().push_back(static_cast<std::uint32_t>(row));
    }
    memory_.what = FittedTo::memory;
    all_.resize(rows.size());
    std::iota(all_.begin(), all_.end(), 0U);
    at_priors_ = compile_(files_with(priors_));
  }

  Calibration run() {
    Calibration result;
    find_touched();
    say(fmt::format("fitting {} constants to {} runs", constants_.size(), rows_.size()));
    Fitting fitting = fit_rows(std::vector<double>(rows_.size(), 1.0), all_);
    result.rounds = fitting.rounds;
    result.layouts_stable = fitting.layouts_stable;
    result.files = files_with(fitting.values);
    result.rows.resize(rows_.size());
    const std::vector<RunPrice> prices = fitting.price.exact(result.files, all_);
    fitting.price = {};  // its layouts take memory
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      result.rows[row].fitted = prices[row];
      result.rows[row].weight = weights_[row];
      result.rows[row].fold = fold_of(rows_[row].configuration, options_.folds);
    }
    describe_constants(result, fitting);
    cross_validate(result);
    for (const LeaveOut what : options_.leave_out) leave_out(what, result);
    judge_intervals(result);
    return result;
  }

 private:
  void say(const std::string& text) const {
    if (options_.progress) options_.progress(text);
  }

  const ConstantFiles& files_with(const std::vector<double>& values) const { return writer_->with(values); }

  // The weight of a row in a fit: of times those that ran; of memory all.
  double weight(std::size_t row, FittedTo what) const {
    const bool usable = rows_[row].counts && (what == FittedTo::memory || rows_[row].measured_s);
    return usable ? weights_[row] : 0;
  }

  double time_residual(std::size_t row, const RunPrice& price) const {
    return rows_[row].measured_s ? std::log(price.seconds / *rows_[row].measured_s) : 0;
  }

  // Where the peak is known, its log error; else √(2·logistic loss), which least squares take for the loss, times the
  // noise.
  double memory_residual(std::size_t row, const RunPrice& price) const {
    if (rows_[row].measured_peak_bytes) return std::log(price.peak_bytes / *rows_[row].measured_peak_bytes);
    const double z = std::log(price.peak_bytes / price.capacity_bytes) / memory_width;
    return options_.noise * std::sqrt(2 * std::log1p(std::exp(rows_[row].measured_s ? z : -z)));
  }

  Residuals residuals_by(const PriceRows& price, const Part& part, const std::vector<double>& others) const {
    return [this, &price, &part, others](const std::vector<double>& values, std::span<const std::uint32_t> rows) {
      std::vector<double> all = others;
      for (std::size_t k = 0; k < part.members.size(); ++k) all[part.members[k]] = values[k];
      const std::vector<RunPrice> prices = price(files_with(all), rows);
      std::vector<double> residuals;
      for (std::size_t k = 0; k < rows.size(); ++k)
        residuals.push_back(part.what == FittedTo::time ? time_residual(rows[k], prices[k])
                                                        : memory_residual(rows[k], prices[k]));
      return residuals;
    };
  }

  LeastSquaresProblem problem_of(const Part& part, const std::vector<double>& row_factors, const PriceRuns& price,
                                 const std::vector<double>& others) const {
    LeastSquaresProblem problem;
    for (const std::size_t c : part.members) {
      problem.constants.push_back(constants_[c].unknown);
      if (auto& around = problem.constants.back().around)
        around = static_cast<std::size_t>(std::find(part.members.begin(), part.members.end(), *around) -
                                          part.members.begin());
      problem.touched_rows.push_back(touched_[c]);
    }
    for (std::size_t row = 0; row < rows_.size(); ++row)
      problem.weights.push_back(row_factors[row] * weight(row, part.what));
    const bool estimates = static_cast<bool>(price.estimate);
    // Estimates are of times: memory is the same in both.
    problem.residuals =
        residuals_by(estimates && part.what == FittedTo::memory ? price.estimate : price.exact, part, others);
    if (estimates) problem.for_derivatives = residuals_by(price.estimate, part, others);
    return problem;
  }

  // Fits one part to the rows with a factor above 0, starting from `values`, which it changes.
  Fit fit(const Part& part, const std::vector<double>& row_factors, const PriceRuns& price,
          std::vector<double>& values) const {
    FitOptions options;
    options.noise = options_.noise;
    for (const std::size_t c : part.members) options.start.push_back(values[c]);
    const Fit fit = fit_constants(problem_of(part, row_factors, price, values), options);
    for (std::size_t k = 0; k < part.members.size(); ++k) values[part.members[k]] = rounded_constant(fit.values[k]);
    return fit;
  }

  // By moving each constant a little from its prior, towards the farther bound.
  void find_touched() {
    if (!at_priors_.changed) return;
    const ConstantFiles here = files_with(priors_);
    say("finding what each constant changes");
    for (std::size_t c = 0; c < constants_.size(); ++c) {
      const UnknownConstant& unknown = constants_[c].unknown;
      const double farther = unknown.high - unknown.prior > unknown.prior - unknown.low ? unknown.high : unknown.low;
      std::vector<double> moved = priors_;
      moved[c] += 0.01 * (farther - unknown.prior);
      touched_[c] = at_priors_.changed(here, files_with(moved));
    }
  }

  // Fits the constants to the rows with a factor above 0. Layouts follow from constants and constants from layouts:
  // from the priors on, in turns, until layouts stay. Nothing here knows another row. `predicted`: rows whose prices
  // are wanted in the end, which in the last round are the only ones to be given layouts.
  Fitting fit_rows(const std::vector<double>& row_factors, const std::vector<std::uint32_t>& predicted) const {
    std::vector<std::uint32_t> fitted;
    for (std::uint32_t row = 0; row < rows_.size(); ++row)
      if (row_factors[row] > 0) fitted.push_back(row);
    Fitting fitting{priors_, {}, {}, at_priors_};
    while (fitting.rounds < options_.most_rounds && !fitting.layouts_stable) {
      ++fitting.rounds;
      fitting.memory = fit(memory_, row_factors, fitting.price, fitting.values);
      fitting.time = fit(time_, row_factors, fitting.price, fitting.values);
      const ConstantFiles files = files_with(fitting.values);
      const std::vector<std::uint32_t>& compared = fitting.rounds < options_.most_rounds ? fitted : predicted;
      const std::vector<RunPrice> before = fitting.price.exact(files, compared);
      fitting.price = {};
      fitting.price = compile_(files);
      const std::vector<RunPrice> after = fitting.price.exact(files, compared);
      fitting.layouts_stable =
          std::equal(before.begin(), before.end(), after.begin(),
                     [](const auto& a, const auto& b) { return std::abs(a.seconds / b.seconds - 1) <= 1e-9; });
    }
    return fitting;
  }

  void describe_constants(Calibration& result, const Fitting& fitting) const {
    result.constants.resize(constants_.size());
    for (const auto& [part, fit] : {std::pair(&time_, &fitting.time), std::pair(&memory_, &fitting.memory)}) {
      for (std::size_t k = 0; k < part->members.size(); ++k) {
        const std::size_t c = part->members[k];
        result.constants[c] = {constants_[c],      fitting.values[c], fit->deviations[k],
                               fit->determined[k], fit->at_bound[k],  fit->influence[k],
                               fitting.values[c],  fitting.values[c], touched_[c].size()};
      }
      for (const CorrelatedConstants& pair : fit->correlated)
        result.correlated.push_back({part->members[pair.one], part->members[pair.other], pair.correlation});
    }
  }

  void cross_validate(Calibration& result) const {
    for (std::size_t fold = 0; fold < options_.folds; ++fold) {
      say(fmt::format("cross-validating, fold {} of {}", fold + 1, options_.folds));
      std::vector<double> factors;
      std::vector<std::uint32_t> held;
      for (std::size_t row = 0; row < rows_.size(); ++row) {
        const bool left_out = result.rows[row].fold == fold;
        factors.push_back(left_out ? 0 : 1);
        if (left_out) held.push_back(static_cast<std::uint32_t>(row));
      }
      const Fitting fitting = fit_rows(factors, held);
      const std::vector<RunPrice> prices = fitting.price.exact(files_with(fitting.values), held);
      for (std::size_t k = 0; k < held.size(); ++k) result.rows[held[k]].unseen = prices[k];
      for (std::size_t c = 0; c < constants_.size(); ++c) {
        result.constants[c].least = std::min(result.constants[c].least, fitting.values[c]);
        result.constants[c].most = std::max(result.constants[c].most, fitting.values[c]);
      }
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

  void leave_out(LeaveOut what, Calibration& result) const {
    const bool unknown_too = what == LeaveOut::framework && options_.compile_unknown_framework;
    for (const LeftOut& group : groups_to_leave_out(what, rows_, constants_)) {
      say(fmt::format("leaving out {}", group.name));
      std::vector<double> factors(rows_.size(), 1);
      for (const std::uint32_t row : group.rows) factors[row] = 0;
      const Fitting fitting = fit_rows(factors, group.rows);
      const std::vector<RunPrice> prices = fitting.price.exact(files_with(fitting.values), group.rows);
      for (std::size_t k = 0; k < group.rows.size(); ++k) price_without(what, result.rows[group.rows[k]]) = prices[k];
      if (!unknown_too) continue;
      const ConstantFiles& files = files_with(fitting.values);
      const std::vector<RunPrice> as_unknown = options_.compile_unknown_framework(files).exact(files, group.rows);
      for (std::size_t k = 0; k < group.rows.size(); ++k) result.rows[group.rows[k]].unknown_framework = as_unknown[k];
    }
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
                        result.rows[row].weight, result.rows[row].fold});
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
    if (!left_out.empty()) result.uncertainty.elsewhere = quantiles_elsewhere(result.uncertainty, left_out);
    result.coverage = cross_validated_coverage(errors);
    const std::vector<bool> hits = cross_validated_hits(errors);
    std::size_t next = 0;
    for (std::size_t row = 0; row < rows_.size(); ++row)
      if (rows_[row].measured_s && rows_[row].counts) result.rows[row].in_interval = hits[next++];
  }

  const std::vector<CalibrationRow>& rows_;
  const std::vector<CalibratedConstant>& constants_;
  const CompileRuns& compile_;
  const CalibrationOptions& options_;
  std::unique_ptr<ConstantWriter> writer_;
  std::vector<double> weights_, priors_;
  std::vector<std::vector<std::uint32_t>> touched_;  // by constant
  std::vector<std::uint32_t> all_;
  PriceRuns at_priors_;
  Part time_, memory_;
};

}  // namespace

Calibration calibrate(const std::vector<CalibrationRow>& rows, const std::vector<CalibratedConstant>& constants,
                      const ConstantFiles& files, const CompileRuns& compile, const CalibrationOptions& options) {
  return Calibrator(rows, constants, files, compile, options).run();
}

}  // namespace meshloom
