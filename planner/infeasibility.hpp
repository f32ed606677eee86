// Why nothing fits: the stage that is tightest in the pipeline that comes nearest to fitting.
#pragma once

#include <optional>
#include <vector>

#include "planner/stage_costs.hpp"

namespace meshloom {

// The pipeline that needs the least memory in the stage that needs most, by that stage.
struct MemoryNeed {
  std::size_t first = 0, last = 0;  // layers of that stage
  Bytes needs;                      // of a device, with the microbatches in flight and the recipe's overhead
  std::uint32_t group = 0;          // where that stage is
};

// Of one microbatch size, among the ways to run stages that were looked at. None: no pipeline needs less than `below`.
// Needs of different groups are compared as shares of what their devices have.
std::optional<MemoryNeed> tightest_stage(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches,
                                         const std::optional<MemoryNeed>& below);

// A plan without stages.
Plan plan_without_stages(const SearchSpace& space, PlanStatus status);
// Status infeasible with the tightest stage; without a need, no memory would be enough.
Plan infeasible_plan(const SearchSpace& space, const std::optional<MemoryNeed>& need);

}  // namespace meshloom
