// A bound on the time of a step from its arithmetic alone, for what a search that ends early has not looked at.
#pragma once

#include "planner/search.hpp"

namespace meshloom {

// The products of the graph, forward and backward, shared out over all devices at their highest peak. No plan takes
// less under the formula of its schedule: that is at least B times its slowest stage, and some stage has no less than
// its devices' share of the work. Kinds of ops that may be priced by bytes alone do not count.
Seconds least_time_of_products(const PlanningInput& input, std::int64_t global_batch);

}  // namespace meshloom
