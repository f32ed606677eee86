#include "planner/group_order.hpp"

#include <algorithm>

#include "costmodel/groups.hpp"
#include "planner/materialize.hpp"
#include "planner/plan/ranks.hpp"

namespace meshloom {
namespace {

struct SendTimes {
  Seconds forward, backward;
};

SendTimes send_times(const SearchSpace& space, std::size_t cut, const StageBorder& border,
                     std::int64_t microbatch_size) {
  const StageBoundary boundary = boundary_after(space, cut, border, microbatch_size);
  return {boundary.formula_forward, boundary.formula_backward};
}

void add_cuts(InterOpProblem& problem, const SearchSpace& space, std::uint32_t group, std::int64_t microbatch_size) {
  for (std::size_t cut = 0; cut + 1 < space.layers.layers.size(); ++cut) {
    const SendTimes inside = send_times(space, cut, {LinkClass::intra_host, group, group}, microbatch_size);
    const SendTimes between = send_times(space, cut, {LinkClass::inter_host, group, group}, microbatch_size);
    problem.cuts.push_back({{inside.forward, between.forward}, {inside.backward, between.backward}});
  }
}

std::int64_t nics_apart(const Cluster& cluster) { return std::min(cluster.nics_per_host, cluster.devices_per_host); }

void add_sends(InterOpProblem::FurtherGroup& further, const SearchSpace& space, std::uint32_t before,
               std::uint32_t group, std::int64_t microbatch_size) {
  const Cluster& cluster = group_at(space.input.cluster, group);
  for (std::size_t cut = 0; cut + 1 < space.layers.layers.size(); ++cut) {
    const SendTimes inside = send_times(space, cut, {LinkClass::intra_host, group, group}, microbatch_size);
    const SendTimes between = send_times(space, cut, {LinkClass::inter_host, group, group}, microbatch_size);
    const SendTimes from_before = send_times(space, cut, {LinkClass::inter_host, before, group}, microbatch_size);
    further.cuts.push_back({{inside.forward, between.forward, from_before.forward},
                            {inside.backward, between.backward, from_before.backward}});
  }
  const Cluster border = border_between(space.input.cluster, before, group);
  further.lanes = {nics_apart(cluster),
                   1,
                   border.nics_per_host,
                   {cluster.intra_host.latency, cluster.nic.latency, border.nic.latency}};
}

}  // namespace

std::vector<GroupOrder> group_orders(const Cluster& cluster) {
  std::vector<unsigned> selections = group_selections(cluster);
  std::vector<GroupOrder> orders;
  for (auto selection = selections.rbegin(); selection != selections.rend(); ++selection) {
    GroupOrder order;
    for (std::uint32_t group = 0; group < group_count(cluster); ++group)
      if ((*selection >> group & 1U) != 0) order.push_back(group);
    do orders.push_back(order);
    while (std::next_permutation(order.begin(), order.end()));
  }
  return orders;
}

bool is_in(const GroupOrder& order, const Submesh& submesh) {
  return std::find(order.begin(), order.end(), submesh.group) != order.end();
}

std::int64_t devices_of(const Cluster& cluster, const GroupOrder& order) {
  std::int64_t devices = 0;
  for (const std::uint32_t group : order) devices += group_at(cluster, group).devices();
  return devices;
}

InterOpProblem problem_without_sends(const SearchSpace& space, const GroupOrder& order) {
  InterOpProblem problem;
  problem.layers = static_cast<std::uint32_t>(space.layers.layers.size());
  problem.hosts = group_at(space.input.cluster, order.front()).hosts;
  problem.devices_per_host = group_at(space.input.cluster, order.front()).devices_per_host;
  for (std::size_t k = 1; k < order.size(); ++k) {
    const Cluster& group = group_at(space.input.cluster, order[k]);
    problem.further_groups.push_back({group.hosts, group.devices_per_host, {}, {}});
  }
  problem.submeshes = space.submeshes;
  for (Submesh& submesh : problem.submeshes)
    submesh.group = static_cast<std::uint32_t>(std::find(order.begin(), order.end(), submesh.group) - order.begin());
  problem.stages = space.allowed.count();
  return problem;
}

double memory_scale(const SearchSpace& space, const GroupOrder& order, const Submesh& submesh) {
  if (submesh.group == order.front()) return 1;
  return usable_memory(space, order.front()) / usable_memory(space, submesh.group);
}

InterOpProblem empty_problem(const SearchSpace& space, const GroupOrder& order, ScheduleKind kind,
                             std::int64_t microbatch_size, std::int64_t microbatches) {
  InterOpProblem problem = problem_without_sends(space, order);
  problem.microbatches = microbatches;
  problem.memory = usable_memory(space, order.front());
  if (sends_overlap(space.input.recipe, kind)) problem.sends = InterOpProblem::Sends::go_beside;
  add_cuts(problem, space, order.front(), microbatch_size);
  const Cluster& first = group_at(space.input.cluster, order.front());
  problem.lanes = {nics_apart(first), 1, {first.intra_host.latency, first.nic.latency}};
  for (std::size_t k = 1; k < order.size(); ++k)
    add_sends(problem.further_groups[k - 1], space, order[k - 1], order[k], microbatch_size);
  return problem;
}

}  // namespace meshloom
