// The schedules of the search besides 1F1B: which are considered, what of their stages needs to be priced, what they
// cannot stay below, and their best pipelines over priced stages.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/inter_op/problem.hpp"
#include "planner/stage_costs.hpp"

namespace meshloom {

// Chunks per rank of interleaved pipelines: as told, else from 2 on to as many.
inline constexpr std::int64_t most_chunks = 8;
std::vector<std::int64_t> searched_chunks(const SearchOptions& options);

// No pipeline of this kind over equal submeshes takes less: (B·v + p − 1) or B times the largest stage, with the least
// time of every stage. A bound that is not below `limit` is reported as that.
Seconds lower_bound_on_equal_submeshes(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches,
                                       ScheduleKind kind, Seconds limit);

struct ScheduledSolution {
  Schedule schedule;
  InterOpSolution solution;
};
// Pipelines that do not stay below `limit` need not be found.
ScheduledSolution solve_under(ScheduleKind kind, const SearchOptions& options, const InterOpProblem& problem,
                              Seconds limit);

}  // namespace meshloom
