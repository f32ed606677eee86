#include "accuracy/run_fitter.hpp"

#include <tbb/global_control.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <future>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <span>

namespace meshloom {
namespace {

// The width, in log(peak/capacity), over which a run turns from likely to unlikely to hold.
constexpr double memory_width = 0.08;

std::vector<double> priors_of(const std::vector<CalibratedConstant>& constants) {
  std::vector<double> priors;
  for (const CalibratedConstant& constant : constants) priors.push_back(constant.unknown.prior);
  return priors;
}

// One fit after another; not for several threads at a time.
class RunFitter {
 public:
  explicit RunFitter(const FitInput& input)
      : input_(input), writer_(input.files, input.constants), priors_(priors_of(input.constants)) {
    time_.what = FittedTo::time;
    memory_.what = FittedTo::memory;
    for (std::size_t c = 0; c < input.constants.size(); ++c)
      (input.constants[c].fitted_to == FittedTo::time ? time_ : memory_).constants.push_back(c);
    at_priors_ = input.compile(writer_.with(priors_));
  }

  RunFit fit(const FitRequest& request) {
    std::vector<double> factors(input_.rows.size(), 1);
    for (const std::uint32_t row : request.left_out) factors[row] = 0;
    std::vector<std::uint32_t> predicted = request.left_out;
    if (predicted.empty()) {
      predicted.resize(input_.rows.size());
      std::iota(predicted.begin(), predicted.end(), 0U);
    }
    RunFit result{priors_, time_, memory_, 0, false, {}, {}};
    const PriceRuns price = fit_rows(factors, predicted, result);
    const ConstantFiles& files = writer_.with(result.values);
    result.prices = price.exact(files, predicted);
    if (request.as_unknown) result.as_unknown = input_.options.compile_unknown_framework(files).exact(files, predicted);
    return result;
  }

 private:
  // The weight of a row in a fit: of times those that ran; of memory all.
  double weight(std::size_t row, FittedTo what) const {
    const bool usable = input_.rows[row].counts && (what == FittedTo::memory || input_.rows[row].measured_s);
    return usable ? input_.weights[row] : 0;
  }

  // In units of the row's scatter.
  double time_residual(std::size_t row, const RunPrice& price) const {
    const std::optional<double>& measured = input_.rows[row].measured_s;
    return measured ? std::log(price.seconds / *measured) / input_.rows[row].scatter : 0;
  }

  // Where the peak is known, its log error; else √(2·logistic loss), which least squares take for the loss, times the
  // noise.
  double memory_residual(std::size_t row, const RunPrice& price) const {
    const CalibrationRow& measured = input_.rows[row];
    if (measured.measured_peak_bytes) return std::log(price.peak_bytes / *measured.measured_peak_bytes);
    const double z = std::log(price.peak_bytes / price.capacity_bytes) / memory_width;
    return input_.options.noise * std::sqrt(2 * std::log1p(std::exp(measured.measured_s ? z : -z)));
  }

  Residuals residuals_by(const PriceRows& price, const FittedPart& part, const std::vector<double>& others) {
    return [this, &price, &part, others](const std::vector<double>& values, std::span<const std::uint32_t> rows) {
      std::vector<double> all = others;
      for (std::size_t k = 0; k < part.constants.size(); ++k) all[part.constants[k]] = values[k];
      const std::vector<RunPrice> prices = price(writer_.with(all), rows);
      std::vector<double> residuals;
      for (std::size_t k = 0; k < rows.size(); ++k)
        residuals.push_back(part.what == FittedTo::time ? time_residual(rows[k], prices[k])
                                                        : memory_residual(rows[k], prices[k]));
      return residuals;
    };
  }

  LeastSquaresProblem problem_of(const FittedPart& part, const std::vector<double>& row_factors, const PriceRuns& price,
                                 const std::vector<double>& others) {
    LeastSquaresProblem problem;
    for (const std::size_t c : part.constants) {
      problem.constants.push_back(input_.constants[c].unknown);
      if (auto& around = problem.constants.back().around)
        around = static_cast<std::size_t>(std::find(part.constants.begin(), part.constants.end(), *around) -
                                          part.constants.begin());
      problem.touched_rows.push_back(input_.touched[c]);
    }
    for (std::size_t row = 0; row < input_.rows.size(); ++row)
      problem.weights.push_back(row_factors[row] * weight(row, part.what));
    const bool estimates = static_cast<bool>(price.estimate);
    // Estimates are of times: memory is the same in both.
    problem.residuals =
        residuals_by(estimates && part.what == FittedTo::memory ? price.estimate : price.exact, part, others);
    if (estimates) problem.for_derivatives = residuals_by(price.estimate, part, others);
    return problem;
  }

  // Fits one part to the rows with a factor above 0, starting from `values`, which it changes.
  void fit_part(FittedPart& part, const std::vector<double>& row_factors, const PriceRuns& price,
                std::vector<double>& values) {
    FitOptions options;
    options.noise = input_.options.noise;
    for (const std::size_t c : part.constants) options.start.push_back(values[c]);
    part.fit = fit_constants(problem_of(part, row_factors, price, values), options);
    for (std::size_t k = 0; k < part.constants.size(); ++k)
      values[part.constants[k]] = rounded_constant(part.fit.values[k]);
  }

  // Fits the constants to the rows with a factor above 0. Layouts follow from constants and constants from layouts:
  // from the priors on, in turns, until layouts stay. Nothing here knows another row. `predicted`: rows whose prices
  // are wanted in the end, which in the last round are the only ones to be given layouts. Returns prices in the layouts
  // that the values choose.
  PriceRuns fit_rows(const std::vector<double>& row_factors, const std::vector<std::uint32_t>& predicted, RunFit& fit) {
    std::vector<std::uint32_t> fitted;
    for (std::uint32_t row = 0; row < input_.rows.size(); ++row)
      if (row_factors[row] > 0) fitted.push_back(row);
    const std::size_t most_rounds = input_.options.most_rounds;
    PriceRuns price = at_priors_;
    while (fit.rounds < most_rounds && !fit.layouts_stable) {
      ++fit.rounds;
      fit_part(fit.memory, row_factors, price, fit.values);
      fit_part(fit.time, row_factors, price, fit.values);
      const ConstantFiles& files = writer_.with(fit.values);
      const std::vector<std::uint32_t>& compared = fit.rounds < most_rounds ? fitted : predicted;
      const std::vector<RunPrice> before = price.exact(files, compared);
      price = {};
      price = input_.compile(files);
      const std::vector<RunPrice> after = price.exact(files, compared);
      fit.layouts_stable = std::equal(before.begin(), before.end(), after.begin(), [](const auto& a, const auto& b) {
        return std::abs(a.seconds / b.seconds - 1) <= 1e-9;
      });
    }
    return price;
  }

  const FitInput& input_;
  ConstantWriter writer_;
  std::vector<double> priors_;
  FittedPart time_, memory_;  // not fitted yet
  PriceRuns at_priors_;
};

}  // namespace

std::vector<std::vector<std::uint32_t>> rows_touched(const FitInput& input) {
  std::vector<std::vector<std::uint32_t>> touched;
  ConstantWriter writer(input.files, input.constants);
  const std::vector<double> priors = priors_of(input.constants);
  const ConstantFiles here = writer.with(priors);
  const PriceRuns price = input.compile(here);
  for (std::size_t c = 0; c < input.constants.size(); ++c) {
    if (price.changed) {
      const UnknownConstant& unknown = input.constants[c].unknown;
      const double farther = unknown.high - unknown.prior > unknown.prior - unknown.low ? unknown.high : unknown.low;
      std::vector<double> moved = priors;
      moved[c] += 0.01 * (farther - unknown.prior);
      touched.push_back(price.changed(here, writer.with(moved)));
      continue;
    }
    const std::set<std::string> own(input.constants[c].files.begin(), input.constants[c].files.end());
    touched.emplace_back();
    for (std::size_t row = 0; row < input.rows.size(); ++row)
      if (std::any_of(input.rows[row].files.begin(), input.rows[row].files.end(),
                      [&](const std::string& file) { return own.contains(file); }))
        touched.back().push_back(static_cast<std::uint32_t>(row));
  }
  return touched;
}

std::vector<RunFit> fit_runs(const FitInput& input, const std::vector<FitRequest>& requests) {
  std::vector<RunFit> fits(requests.size());
  std::atomic<std::size_t> next = 0;
  std::mutex telling;
  const auto fit_some = [&] {
    std::optional<RunFitter> fitter;
    for (std::size_t k = next++; k < requests.size(); k = next++) {
      if (input.options.progress) {
        const std::lock_guard<std::mutex> lock(telling);
        input.options.progress(requests[k].what);
      }
      if (!fitter) fitter.emplace(input);
      fits[k] = fitter->fit(requests[k]);
    }
  };
  const std::size_t allowed = tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
  std::vector<std::future<void>> others;
  for (std::size_t k = 1; k < std::min(allowed, requests.size()); ++k)
    others.push_back(std::async(std::launch::async, fit_some));
  fit_some();
  for (std::future<void>& other : others) other.get();
  return fits;
}

}  // namespace meshloom
