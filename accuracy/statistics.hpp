// How far predictions are from measurements: errors of single runs, and of the order of runs.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace meshloom {

// Of errors predicted/measured − 1. Empty: no runs.
struct ErrorSummary {
  std::size_t count = 0;
  std::optional<double> mape;        // mean of absolute errors
  std::optional<double> median_ape;  // of two middle ones their mean
  std::optional<double> bias;        // mean of the errors with their signs
  std::optional<double> p90_ape;     // interpolated between the two around 0.9·(count − 1)
  bool operator==(const ErrorSummary&) const = default;
};
ErrorSummary summarize_errors(const std::vector<double>& errors);

std::optional<double> mean(const std::vector<double>& values);  // none: no values

// One of several ways to do the same.
struct TimedWay {
  double measured = 0, predicted = 0;
};

// Measured times that differ by less than this share of the smaller one are ties: their order says nothing.
inline constexpr double tie = 0.05;

// (pairs in the right order − pairs in the wrong one) / pairs, over the pairs whose measured times are no tie; equal
// predictions of such a pair count as neither. None: every pair is a tie.
std::optional<double> kendall_tau(const std::vector<TimedWay>& ways);

// The best measured time among the `top` ways that are predicted best, over the best of all, minus 1. Equal
// predictions keep their order. `ways` is not empty.
double regret(const std::vector<TimedWay>& ways, std::size_t top);

}  // namespace meshloom
