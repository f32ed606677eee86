#include "planner/group_order.hpp"

#include <algorithm>

#include "costmodel/groups.hpp"
#include "planner/materialize.hpp"

namespace meshloom {
namespace {

struct SendTimes {
  Seconds forward, backward;
};

SendTimes send_times(const SearchSpace& space, std::size_t cut, const StageBorder& border,
                     std::int64_t microbatch_size) {
  const StageBoundary boundary = boundary_after(space, cut, border, microbatch_size);
  return {boundary.forward_time, boundary.backward_time};
}

void add_cuts(InterOpProblem& problem, const SearchSpace& space, std::uint32_t group, std::int64_t microbatch_size) {
  for (std::size_t cut = 0; cut + 1 < space.layers.layers.size(); ++cut) {
    const SendTimes inside = send_times(space, cut, {LinkClass::intra_host, group, group}, microbatch_size);
    const SendTimes between = send_times(space, cut, {LinkClass::inter_host, group, group}, microbatch_size);
    problem.cuts.push_back({{inside.forward, between.forward}, {inside.backward, between.backward}});
  }
}

void add_group(InterOpProblem& problem, const SearchSpace& space, std::uint32_t before, std::uint32_t group,
               std::int64_t microbatch_size) {
  const Cluster& cluster = group_at(space.input.cluster, group);
  InterOpProblem::FurtherGroup further{cluster.hosts, cluster.devices_per_host, {}};
  for (std::size_t cut = 0; cut + 1 < space.layers.layers.size(); ++cut) {
    const SendTimes inside = send_times(space, cut, {LinkClass::intra_host, group, group}, microbatch_size);
    const SendTimes between = send_times(space, cut, {LinkClass::inter_host, group, group}, microbatch_size);
    const SendTimes from_before = send_times(space, cut, {LinkClass::inter_host, before, group}, microbatch_size);
    further.cuts.push_back({{inside.forward, between.forward, from_before.forward},
                            {inside.backward, between.backward, from_before.backward}});
  }
  problem.further_groups.push_back(std::move(further));
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

InterOpProblem empty_problem(const SearchSpace& space, const GroupOrder& order, std::int64_t microbatch_size,
                             std::int64_t microbatches) {
  const Cluster& first = group_at(space.input.cluster, order.front());
  InterOpProblem problem;
  problem.layers = static_cast<std::uint32_t>(space.layers.layers.size());
  problem.hosts = first.hosts;
  problem.devices_per_host = first.devices_per_host;
  problem.microbatches = microbatches;
  problem.submeshes = space.submeshes;
  for (Submesh& submesh : problem.submeshes)
    submesh.group = static_cast<std::uint32_t>(std::find(order.begin(), order.end(), submesh.group) - order.begin());
  add_cuts(problem, space, order.front(), microbatch_size);
  for (std::size_t k = 1; k < order.size(); ++k) add_group(problem, space, order[k - 1], order[k], microbatch_size);
  return problem;
}

InterOpProblem problem_of_any_placement(const SearchSpace& space, const GroupOrder& order, std::int64_t microbatch_size,
                                        std::int64_t microbatches) {
  InterOpProblem problem = empty_problem(space, order, microbatch_size, microbatches);
  const auto use_cheapest = [](auto& cuts) {
    for (auto& cut : cuts) {
      cut.forward[0] = cut.forward[1] = std::min(cut.forward[0], cut.forward[1]);
      cut.backward[0] = cut.backward[1] = std::min(cut.backward[0], cut.backward[1]);
    }
  };
  use_cheapest(problem.cuts);
  for (InterOpProblem::FurtherGroup& group : problem.further_groups) use_cheapest(group.cuts);
  return problem;
}

}  // namespace meshloom
