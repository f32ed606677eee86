// Comparing two plans: times, memory, stages, meshes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

struct PlanDifference {
  std::string path;        // "/stages/1/memory/peak_bytes", as in the plan file; or a key of the summary
  std::string base, next;  // printed values
  std::optional<double> base_value, next_value;  // of numbers that the plans have; in the unit of the key
};

struct Comparison {
  Seconds base, next;                 // simulated iteration times
  double slowdown = 0;                // next / base − 1; a plan without a simulated time takes forever: +inf, or −1
  std::vector<std::string> warnings;  // why the times are not of the same work: another graph, another global batch
  std::vector<PlanDifference> differences;
};
Comparison compare_plans(const Plan& base, const Plan& next);

}  // namespace meshloom
