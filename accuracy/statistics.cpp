#include "accuracy/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace meshloom {
namespace {

// Linear between neighbours; `values` are ascending and not empty.
double quantile(const std::vector<double>& values, double share) {
  const double at = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace

std::optional<double> mean(const std::vector<double>& values) {
  if (values.empty()) return std::nullopt;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

ErrorSummary summarize_errors(const std::vector<double>& errors) {
  if (errors.empty()) return {};
  std::vector<double> sizes;
  for (const double error : errors) sizes.push_back(std::abs(error));
  const std::optional<double> mape = mean(sizes);
  std::sort(sizes.begin(), sizes.end());
  return {errors.size(), mape, quantile(sizes, 0.5), mean(errors), quantile(sizes, 0.9)};
}

std::optional<double> kendall_tau(const std::vector<TimedWay>& ways) {
  double balance = 0, pairs = 0;
  for (std::size_t i = 0; i < ways.size(); ++i)
    for (std::size_t j = i + 1; j < ways.size(); ++j) {
      const auto& [faster, slower] =
          ways[i].measured < ways[j].measured ? std::pair(ways[i], ways[j]) : std::pair(ways[j], ways[i]);
      if (slower.measured < faster.measured * (1 + tie)) continue;
      ++pairs;
      if (faster.predicted < slower.predicted) ++balance;
      if (faster.predicted > slower.predicted) --balance;
    }
  if (pairs == 0) return std::nullopt;
  return balance / pairs;
}

double regret(const std::vector<TimedWay>& ways, std::size_t top) {
  std::vector<TimedWay> order = ways;
  std::stable_sort(order.begin(), order.end(),
                   [](const TimedWay& a, const TimedWay& b) { return a.predicted < b.predicted; });
  const auto faster = [](const TimedWay& a, const TimedWay& b) { return a.measured < b.measured; };
  const auto shown = order.begin() + static_cast<std::ptrdiff_t>(std::min(top, order.size()));
  const double picked = std::min_element(order.begin(), shown, faster)->measured;
  return picked / std::min_element(order.begin(), order.end(), faster)->measured - 1;
}

}  // namespace meshloom
