// Pricing a plan again: every op and every collective from the layouts that the plan states, with the cost model and
// the given graph and cluster; differences from the times that the plan states are findings.
#pragma once

#include <string>
#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

struct PriceDifference {
  std::string path;               // "/stages/0/ops/12/forward_s"
  double stored = 0, priced = 0;  // in the unit of the key
};

// Differences over `tolerance` (relative), in plan order. Throws InputError when plan and graph do not belong together.
std::vector<PriceDifference> reprice(const Plan& plan, const Graph& graph, const Cluster& cluster,
                                     double tolerance = 1e-3);

}  // namespace meshloom
