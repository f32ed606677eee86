// Comparing two plans: times, memory, stages, meshes.
#pragma once

#include <string>
#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

struct PlanDifference {
  std::string path;        // "/stages/1/memory/peak_bytes", as in the plan file; or a key of the summary
  std::string base, next;  // printed values
};

struct Comparison {
  Seconds base, next;   // simulated iteration times
  double slowdown = 0;  // next / base − 1; a plan without a simulated time takes forever: +inf, or −1
  std::vector<PlanDifference> differences;
};
Comparison compare_plans(const Plan& base, const Plan& next);

}  // namespace meshloom
