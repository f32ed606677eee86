// Why nothing fits: the stage that is tightest in the pipeline that comes nearest to fitting, and remedies that were
// checked to work.
#pragma once

#include <vector>

#include "planner/stage_costs.hpp"

namespace meshloom {

// The least memory that one pipeline needs in its largest stage, for one microbatch in flight.
struct MemoryNeed {
  std::size_t first = 0, last = 0;  // layers of that stage
  Bytes needs;                      // with the recipe's overhead
  Bytes has;                        // a device of that stage's group
  double share() const { return needs / has; }
};

// Adds the nearest pipeline of one microbatch size: the cut and submeshes that keep the largest share of a
// device's memory smallest.
void add_needs(std::vector<MemoryNeed>& needs, const SearchSpace& space, const StageCosts& costs);

// status infeasible, the tightest stage of the least share, and the remedies that a search confirmed.
Plan infeasible_plan(const SearchSpace& space, const std::vector<MemoryNeed>& needs);

}  // namespace meshloom
