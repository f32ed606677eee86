// A profile against the model: for each sample what was measured and what the model says without profiles.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "costmodel/cluster.hpp"
#include "costmodel/profile.hpp"
#include "costmodel/recipe.hpp"

namespace meshloom {

struct Residual {
  std::string key;    // "all_reduce 1x8"
  std::string shape;  // "bytes=1048576"
  Seconds measured, modelled;
  double ratio() const { return measured / modelled; }
  double error() const { return modelled / measured - 1; }
};

// Of one key, or of all.
struct ResidualSummary {
  std::string key;
  std::int64_t count = 0;
  double mean_absolute_error = 0, median_ratio = 0;  // of modelled against measured; measured over modelled
};

// In the profile's order. Throws InputError where the cluster's device has no peak for a dtype. Samples that the model
// says take no time are left out.
std::vector<Residual> residuals(const Profile& profile, const Cluster& cluster, const Recipe& recipe);
// Of each key, in order, and last of all together ("all"); nothing for no residuals.
std::vector<ResidualSummary> summarize(const std::vector<Residual>& residuals);

}  // namespace meshloom
