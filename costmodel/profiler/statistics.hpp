// What repetitions of one measurement say: order statistics only, so that a few disturbed repetitions change nothing.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "graphs/units.hpp"

namespace meshloom {

struct SampleSummary {
  Seconds median, p10, p90;
  std::size_t repetitions = 0;
  // Half the width of the median's 95 % interval over the median; 1 while there are too few repetitions for one.
  double uncertainty = 1;
  bool operator==(const SampleSummary&) const = default;
};

// Linear interpolation between the two nearest of the ascending values; share 0.5 is the median. Not of no values.
Seconds quantile(std::span<const Seconds> ascending, double share);

// The ranks (from 0) of the ascending values between which the median lies in 95 of 100 cases, whatever the
// distribution: the narrowest symmetric pair with binomial coverage [Conover 1999, Practical Nonparametric Statistics,
// 3.2], by the normal approximation above 5 values. Fewer than 6 values give {0, count − 1} without that coverage.
struct RankInterval {
  std::size_t low = 0, high = 0;
};
RankInterval median_ranks(std::size_t count);

SampleSummary summarize_samples(std::vector<Seconds> samples);

}  // namespace meshloom
