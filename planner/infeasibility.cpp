#include "planner/infeasibility.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "costmodel/groups.hpp"
#include "planner/plan/pins.hpp"

namespace meshloom {
namespace {

Bytes with_overhead(const SearchSpace& space, Bytes bytes) {
  return space.input.recipe.context_memory + bytes * (1 + space.input.recipe.memory_fragmentation);
}

constexpr std::size_t most_pins_tried = 8;  // each by a search of its own

struct Remediation {
  std::string text, options;
  PlanningInput input;
  SearchOptions search;
};

// What a user can change, from the smallest change to the largest.
std::vector<Remediation> remediations(const SearchSpace& space) {
  std::vector<Remediation> result;
  SearchOptions search = space.options;
  search.candidates = 1;
  search.remedies = false;
  search.progress = nullptr;
  if (search.microbatch_size && *search.microbatch_size > 1) {
    SearchOptions changed = search;
    changed.microbatch_size.reset();
    result.push_back({"let the search choose the microbatch size", "--microbatch-size auto", space.input, changed});
  }
  if (search.recompute && *search.recompute == Recompute::none) {
    SearchOptions changed = search;
    changed.recompute = Recompute::full;
    result.push_back({"recompute activations", "--recompute full", space.input, changed});
  }
  if (search.parameter_state && *search.parameter_state != ParameterState::zero3) {
    SearchOptions changed = search;
    changed.parameter_state = ParameterState::zero3;
    result.push_back(
        {"shard parameters, gradients and optimizer state", "--parameter-state zero3", space.input, changed});
  }
  const std::vector<Pin>& pins = space.input.pins.list;
  for (std::size_t pin = 0; pin < pins.size() && pins.size() <= most_pins_tried; ++pin) {
    PlanningInput looser = space.input;
    looser.pins.list.erase(looser.pins.list.begin() + static_cast<std::ptrdiff_t>(pin));
    result.push_back({fmt::format("leave out the pin /pins/{} ({})", pin, print(pins[pin])), "", looser, search});
  }
  if (pins.size() > 1) {
    PlanningInput free = space.input;
    free.pins.list.clear();
    result.push_back({"leave out all pins", "", free, search});
  }
  if (!space.input.cluster.groups.empty()) return result;  // of which group there should be more, only a user knows
  for (std::int64_t hosts = space.input.cluster.hosts + 1; hosts <= 64 * space.input.cluster.hosts;
       hosts = hosts < 2 * space.input.cluster.hosts ? 2 * space.input.cluster.hosts : 2 * hosts) {
    PlanningInput larger = space.input;
    larger.cluster.hosts = hosts;
    result.push_back({fmt::format("use {} hosts", hosts), fmt::format("--hosts {}", hosts), larger, search});
  }
  return result;
}

// Bottleneck dynamic program over (layers done, devices used) of just these groups: the largest stage, as a share of
// its devices' memory, as small as can be.
std::optional<MemoryNeed> least_need(const SearchSpace& space, const StageCosts& costs, unsigned groups) {
  const Cluster& cluster = space.input.cluster;
  const std::size_t layers = space.layers.layers.size();
  const auto devices = static_cast<std::size_t>(devices_of(cluster, groups));
  using Best = std::optional<MemoryNeed>;
  std::vector<std::vector<Best>> best(layers + 1, std::vector<Best>(devices + 1));
  best[0][0] = MemoryNeed{0, 0, Bytes(0), Bytes(1)};
  for (std::size_t first = 0; first < layers; ++first)
    for (std::size_t used = 0; used < devices; ++used) {
      if (!best[first][used]) continue;
      for (std::size_t last = first; last < layers; ++last)
        for (std::size_t s = 0; s < space.submeshes.size(); ++s) {
          const Submesh& submesh = space.submeshes[s];
          const std::size_t after = used + static_cast<std::size_t>(submesh.devices());
          const Bytes need = costs.least_memory[space.classes.of[first][last - first]][s];
          if ((groups >> submesh.group & 1U) == 0 || after > devices || !(need < Bytes(1e30))) continue;
          MemoryNeed next{first, last, with_overhead(space, need), group_at(cluster, submesh.group).device.memory};
          if (!(next.share() > best[first][used]->share())) next = *best[first][used];
          Best& reached = best[last + 1][after];
          if (!reached || next.share() < reached->share()) reached = next;
        }
    }
  return best[layers][devices];
}

}  // namespace

void add_needs(std::vector<MemoryNeed>& needs, const SearchSpace& space, const StageCosts& costs) {
  std::optional<MemoryNeed> least;
  for (const unsigned groups : group_selections(space.input.cluster))
    if (const auto need = least_need(space, costs, groups); need && (!least || need->share() < least->share()))
      least = need;
  if (least) needs.push_back(*least);
}

Plan infeasible_plan(const SearchSpace& space, const std::vector<MemoryNeed>& needs) {
  Plan plan;
  plan.graph = space.input.graph_file;
  plan.cluster_file = space.input.cluster_file;
  plan.graph_name = space.input.graph.name;
  plan.cluster = space.input.cluster;
  plan.recipe = space.input.recipe;
  plan.status = PlanStatus::infeasible;
  plan.global_batch = space.options.global_batch;
  plan.microbatch_size = space.options.microbatch_size.value_or(1);
  plan.microbatches = plan.global_batch / plan.microbatch_size;
  plan.pins = space.input.pins.list;
  for (const PlanningLayer& layer : space.layers.layers) plan.layers.push_back(layer.name);
  const auto least =
      std::min_element(needs.begin(), needs.end(), [](const auto& a, const auto& b) { return a.share() < b.share(); });
  if (least != needs.end())
    plan.reasons.push_back(
        {static_cast<std::int64_t>(least->first), static_cast<std::int64_t>(least->last), least->needs, least->has});
  if (!space.options.remedies) return plan;
  for (const Remediation& remediation : remediations(space)) {
    // Even if the tightest stage's memory were divided by all the hosts, it would not fit: no need to search.
    const double share =
        static_cast<double>(space.input.cluster.hosts) / static_cast<double>(remediation.input.cluster.hosts);
    if (least != needs.end() &&
        (least->needs - space.input.recipe.context_memory) * share > least->has - space.input.recipe.context_memory &&
        share < 1)
      continue;
    if (search_plans(remediation.input, remediation.search).front().status == PlanStatus::infeasible) continue;
    plan.remedies.push_back({remediation.text, remediation.options});
    if (remediation.options.starts_with("--hosts")) break;  // more of the same would work, too
  }
  return plan;
}

}  // namespace meshloom
