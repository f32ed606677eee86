#include "planner/infeasibility.hpp"

#include <algorithm>
#include <limits>

#include "planner/group_order.hpp"

namespace meshloom {
namespace {

constexpr double close_enough = 1e-6;  // of the bytes needed

Bytes with_overhead(const SearchSpace& space, Bytes bytes) {
  return space.input.recipe.context_memory + bytes * (1 + space.input.recipe.memory_fragmentation);
}

Bytes without_overhead(const SearchSpace& space, Bytes bytes) {
  return (bytes - space.input.recipe.context_memory) / (1 + space.input.recipe.memory_fragmentation);
}

// What the bytes that a group's devices can use count: as many as they are of the first group with any.
double group_scale(const SearchSpace& space, std::uint32_t group) {
  const std::uint32_t first = space.submeshes.front().group;
  return group == first ? 1 : usable_memory(space, first) / usable_memory(space, group);
}

// Pipelines of the ways to run stages in given bytes, each group's scaled.
class RoomSearch {
 public:
  RoomSearch(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches)
      : space_(space), costs_(costs), microbatches_(microbatches) {}

  // The largest stage of some pipeline whose stages all take at most `room`.
  std::optional<MemoryNeed> within(Bytes room) {
    for (const GroupOrder& order : group_orders(space_.input.cluster))
      if (const auto found = within(room, order)) return found;
    return std::nullopt;
  }

 private:
  std::optional<MemoryNeed> within(Bytes room, const GroupOrder& order) {
    problem_ = problem_without_sends(space_, order);
    for (std::uint32_t first = 0; first < problem_.layers; ++first)
      for (std::uint32_t last = first; last < problem_.layers; ++last)
        for (std::uint32_t submesh = 0; submesh < problem_.submeshes.size(); ++submesh)
          if (const auto following = most_following(first, last, submesh, room / scale(submesh));
              following && is_in(order, space_.submeshes[submesh]))
            problem_.options.push_back({first, last, submesh, Seconds(0), Seconds(0), Seconds(0), *following});
    const InterOpSolution solution = solve_inter_op(in_larger_units(problem_));
    if (!solution.feasible) return std::nullopt;
    std::optional<MemoryNeed> largest;
    std::int64_t following = std::ssize(solution.options);
    for (const std::uint32_t position : solution.options) {
      const StageOption& option = problem_.options[position];
      const Bytes needs = least(option, --following) * scale(option.submesh);
      if (!largest || needs > largest->needs)
        largest = {option.first, option.last, needs, space_.submeshes[option.submesh].group};
    }
    return largest;
  }

  double scale(std::uint32_t submesh) const { return group_scale(space_, space_.submeshes[submesh].group); }

  const std::vector<LeanWay>& ways(std::uint32_t first, std::uint32_t last, std::uint32_t submesh) const {
    return costs_.lean[space_.classes.of[first][last - first]][submesh];
  }

  std::optional<std::int64_t> following_in(const LeanWay& way, Bytes room) const {
    return following_stages(way.cost, room, space_.options.schedule.value_or(ScheduleKind::one_f_one_b), microbatches_,
                            problem_.layers);
  }

  std::optional<std::int64_t> most_following(std::uint32_t first, std::uint32_t last, std::uint32_t submesh,
                                             Bytes room) const {
    std::optional<std::int64_t> most;
    for (const LeanWay& way : ways(first, last, submesh))
      if (space_.allowed.on(first, last, space_.meshes[way.mesh]))
        if (const auto following = following_in(way, room)) most = std::max(most.value_or(0), *following);
    return most;
  }

  // The least bytes in which the stage bears so many after it.
  Bytes least(const StageOption& option, std::int64_t following) const {
    Bytes result(std::numeric_limits<double>::infinity());
    for (const LeanWay& way : ways(option.first, option.last, option.submesh)) {
      if (!space_.allowed.on(option.first, option.last, space_.meshes[way.mesh])) continue;
      for (const std::int64_t in_flight : {std::min(following + 1, microbatches_), microbatches_}) {
        const Bytes bytes =
            way.cost.fixed + way.cost.transient() + static_cast<double>(in_flight) * way.cost.activations;
        if (following_in(way, bytes * (1 + 1e-12)).value_or(-1) >= following) result = std::min(result, bytes);
      }
    }
    return result;
  }

  const SearchSpace& space_;
  const StageCosts& costs_;
  std::int64_t microbatches_;
  InterOpProblem problem_;
};

}  // namespace

std::optional<MemoryNeed> tightest_stage(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches,
                                         const std::optional<MemoryNeed>& below) {
  RoomSearch search(space, costs, microbatches);
  const Bytes limit = below ? without_overhead(space, below->needs) * group_scale(space, below->group)
                            : Bytes(std::numeric_limits<double>::max());
  std::optional<MemoryNeed> nearest = search.within(limit);
  if (!nearest) return std::nullopt;
  Bytes too_little = std::max(Bytes(0), usable_memory(space, space.submeshes.front().group));
  while (nearest->needs - too_little > close_enough * nearest->needs) {
    const Bytes middle = 0.5 * (nearest->needs + too_little);
    if (const auto found = search.within(middle))
      nearest = found;
    else
      too_little = middle;
  }
  if (!(nearest->needs < limit)) return std::nullopt;
  nearest->needs = with_overhead(space, nearest->needs / group_scale(space, nearest->group));
  return nearest;
}

Plan plan_without_stages(const SearchSpace& space, PlanStatus status) {
  Plan plan;
  plan.graph = space.input.graph_file;
  plan.cluster_file = space.input.cluster_file;
  plan.graph_name = space.input.graph.name;
  plan.mixture_of_experts = space.meanings.has_experts();
  plan.cluster = space.input.cluster;
  plan.recipe = space.input.recipe;
  plan.status = status;
  plan.global_batch = space.options.global_batch;
  plan.microbatch_size = space.options.microbatch_size.value_or(1);
  plan.microbatches = plan.global_batch / plan.microbatch_size;
  plan.pins = space.input.pins.list;
  for (const PlanningLayer& layer : space.layers.layers) plan.layers.push_back(layer.name);
  return plan;
}

Plan infeasible_plan(const SearchSpace& space, const std::optional<MemoryNeed>& need) {
  Plan plan = plan_without_stages(space, PlanStatus::infeasible);
  // Where the nearest 1F1B pipeline would fit, it is not memory that is short.
  if (need && need->needs >= device_memory(space, need->group))
    plan.reasons.push_back({static_cast<std::int64_t>(need->first), static_cast<std::int64_t>(need->last), need->needs,
                            device_memory(space, need->group)});
  return plan;
}

}  // namespace meshloom
