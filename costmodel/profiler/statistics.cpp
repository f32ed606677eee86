#include "costmodel/profiler/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace meshloom {

Seconds quantile(std::span<const Seconds> ascending, double share) {
  const double position = share * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, ascending.size() - 1);
  return ascending[below] + (position - static_cast<double>(below)) * (ascending[above] - ascending[below]);
}

RankInterval median_ranks(std::size_t count) {
  if (count < 6) return {0, count == 0 ? 0 : count - 1};
  const double n = static_cast<double>(count);
  const double below = std::floor((n - 1.96 * std::sqrt(n)) / 2);
  const auto low = static_cast<std::size_t>(std::max(0.0, below));
  return {low, count - 1 - low};
}

SampleSummary summarize_samples(std::vector<Seconds> samples) {
  SampleSummary summary;
  if (samples.empty()) return summary;
  std::sort(samples.begin(), samples.end());
  summary.median = quantile(samples, 0.5);
  summary.p10 = quantile(samples, 0.1);
  summary.p90 = quantile(samples, 0.9);
  summary.repetitions = samples.size();
  const RankInterval ranks = median_ranks(samples.size());
  if (samples.size() >= 6 && summary.median > Seconds{})
    summary.uncertainty = (samples[ranks.high] - samples[ranks.low]) / (2 * summary.median);
  return summary;
}

}  // namespace meshloom
