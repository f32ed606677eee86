// The ways of a pipeline through the groups of a cluster. It passes through one group after the other, so that stages
// of one group follow on each other, and uses all devices of each group that it passes through; groups may be left out.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/inter_op/problem.hpp"
#include "planner/stage_costs.hpp"

namespace meshloom {

using GroupOrder = std::vector<std::uint32_t>;

// Every order of every selection of groups, 64 for four groups; of a uniform cluster the one. All groups in the file's
// order come first.
std::vector<GroupOrder> group_orders(const Cluster& cluster);
bool is_in(const GroupOrder& order, const Submesh& submesh);
std::int64_t devices_of(const Cluster& cluster, const GroupOrder& order);

// The problem of a pipeline in this order, without options. Submeshes of other groups are of none that it has.
InterOpProblem problem_without_sends(const SearchSpace& space, const GroupOrder& order);
// With the sends that block under this schedule. Its memory is what the first group's devices can use; bytes of stages
// of other groups are to be scaled.
InterOpProblem empty_problem(const SearchSpace& space, const GroupOrder& order, ScheduleKind kind,
                             std::int64_t microbatch_size, std::int64_t microbatches);
double memory_scale(const SearchSpace& space, const GroupOrder& order, const Submesh& submesh);
}  // namespace meshloom
