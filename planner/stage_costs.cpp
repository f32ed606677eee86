#include "planner/stage_costs.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <tuple>

#include "costmodel/groups.hpp"
#include "planner/inter_op/reachable_offsets.hpp"

namespace meshloom {
namespace {

// Prices of memory to try, relative to the time of a step: filling a device's memory costs that many steps. 0 comes
// first, then the highest, which tells what can fit at all.
constexpr double memory_prices[] = {10000, 100, 10, 3, 1, 0.3, 0.1, 0.03, 0.01};
// How much dearer a byte is that every microbatch in flight holds.
constexpr double activation_weights[] = {1, 8};

// All candidates of one mesh, by class.
struct MeshResult {
  std::vector<std::vector<StageCandidate>> candidates;
  std::vector<Seconds> least_time;
  std::vector<Bytes> least_memory;
  std::vector<std::size_t> hopeless;  // by class: for how many of the recomputes nothing fits
  Seconds least_single_stage = impossible;
};

bool dominates(const StageCandidate& a, const StageCandidate& b) {
  return a.cost.forward <= b.cost.forward && a.cost.per_microbatch() <= b.cost.per_microbatch() &&
         a.cost.per_step() <= b.cost.per_step() && a.max_following_stages >= b.max_following_stages &&
         a.cost.shared_gradients <= b.cost.shared_gradients;
}

void keep_undominated(std::vector<StageCandidate>& candidates) {
  std::vector<StageCandidate> kept;
  for (const StageCandidate& candidate : candidates) {
    if (std::any_of(kept.begin(), kept.end(), [&](const auto& other) { return dominates(other, candidate); })) continue;
    std::erase_if(kept, [&](const auto& other) { return dominates(candidate, other); });
    kept.push_back(candidate);
  }
  candidates = std::move(kept);
}

// Of equal candidates the one stays whose weights say most: low prices, all microbatches, the work once per step.
void plainest_first(std::vector<StageCandidate>& candidates) {
  const auto order = [](const StageCandidate& candidate) {
    const Weights& weights = candidate.settings.weights;
    return std::tuple(weights.seconds_per_fixed_byte, weights.seconds_per_activation_byte, -weights.microbatches,
                      -weights.per_step);
  };
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const StageCandidate& a, const StageCandidate& b) { return order(a) < order(b); });
}

class MeshPricer {
 public:
  MeshPricer(const SearchSpace& space, std::uint32_t mesh, std::int64_t microbatch_size, std::int64_t microbatches)
      : space_(space),
        mesh_(mesh),
        microbatches_(microbatches),
        usable_(usable_memory(group_at(space.input.cluster, space.meshes[mesh].submesh.group), space.input.recipe)),
        solver_(space, space.meshes[mesh], std::vector<AxisRole>(space.meshes[mesh].dimensions(), AxisRole::free),
                microbatch_size) {
    result_.candidates.resize(space.classes.classes.size());
    result_.least_time.assign(space.classes.classes.size(), impossible);
    result_.least_memory.assign(space.classes.classes.size(), Bytes(1e30));
    result_.hopeless.assign(space.classes.classes.size(), 0);
    const auto layers = static_cast<std::int64_t>(space.layers.layers.size());
    const std::int64_t devices_left = space.input.cluster.devices() - space.meshes[mesh].submesh.devices();
    most_following_.assign(space.classes.classes.size(), 0);
    for (std::int64_t first = 0; first < layers; ++first)
      for (std::int64_t last = first; last < layers; ++last) {
        std::int64_t& most = most_following_[space.classes.of[first][last - first]];
        most = std::max(most, std::min(layers - 1 - last, devices_left));
      }
  }

  // The least time per microbatch: weight on nothing else, nothing recomputed. It is a candidate, too: where a stage's
  // work once per step hides behind other stages, nothing else counts.
  void bound_times(const std::vector<bool>& wanted) {
    const RangeSettings settings{ParameterStates(space_.states), space_.recomputes.front(), {1, 0, 0, 0}};
    const std::vector<Cost> costs = solver_.ranges().solve(settings, wanted);
    for (std::size_t c = 1; c < costs.size(); ++c)
      result_.least_time[c] = std::min(result_.least_time[c], costs[c].per_microbatch());
    add_candidates(costs, settings);
  }

  // A first look: without prices, and at the highest price.
  void outline() {
    const std::vector<bool> all(space_.classes.classes.size(), true);
    bound_times(all);
    for (const Recompute recompute : space_.recomputes) {
      std::vector<bool> possible = all;
      sweep(ParameterStates(space_.states), recompute, possible, 1);
      for (std::size_t c = 1; c < possible.size(); ++c) result_.hopeless[c] += possible[c] ? 0 : 1;
    }
  }

  // Everything, for the wanted classes.
  void sweep_all(const std::vector<bool>& wanted) {
    bound_times(wanted);
    for (const Recompute recompute : space_.recomputes) {
      std::vector<bool> possible = wanted;
      for (const ParameterStates& states : state_sets()) sweep(states, recompute, possible, std::size(memory_prices));
    }
  }

  MeshResult take() {
    for (auto& candidates : result_.candidates) {
      plainest_first(candidates);
      keep_undominated(candidates);
    }
    return std::move(result_);
  }

 private:
  std::size_t whole_graph() const { return space_.classes.of[0].back(); }

  // A state for each parameter, and all parameters in one: prices are tried at a few points only and do not count what
  // comes and goes, so one state for all may fit where the mixture found is too large.
  std::vector<ParameterStates> state_sets() const {
    std::vector<ParameterStates> sets{ParameterStates(space_.states)};
    if (space_.states.size() > 1 && space_.meshes[mesh_].dimensions() > 0)
      sets.insert(sets.end(), space_.states.begin(), space_.states.end());
    return sets;
  }

  // Returns the classes that leave less room than there can be stages behind them.
  std::vector<bool> add_candidates(const std::vector<Cost>& costs, const RangeSettings& settings) {
    std::vector<bool> tight(costs.size(), false);
    for (std::size_t c = 1; c < costs.size(); ++c) {
      if (!(costs[c].forward < impossible)) continue;
      const auto following =
          following_stages(costs[c], usable_, space_.options.schedule.value_or(ScheduleKind::one_f_one_b),
                           microbatches_, most_following_[c]);
      tight[c] = following.value_or(-1) < most_following_[c];
      result_.least_memory[c] =
          std::min(result_.least_memory[c], costs[c].fixed + costs[c].activations + costs[c].transient());
      result_.candidates[c].push_back({costs[c], mesh_, settings, following.value_or(-1)});
    }
    return tight;
  }

  // The first `prices` of memory_prices, for those of the wanted classes that a price could make fit better. Those that
  // can never fit are wanted no more.
  void sweep(const ParameterStates& states, Recompute recompute, std::vector<bool>& wanted, std::size_t prices) {
    if (std::find(wanted.begin(), wanted.end(), true) == wanted.end()) return;
    RangeSettings settings{states, recompute, {static_cast<double>(microbatches_), 1, 0, 0}};
    if (microbatches_ > 1) {  // away from the slowest stage a microbatch's time counts once, like a step's work
      settings.weights.microbatches = 1;
      add_candidates(solver_.ranges().solve(settings, wanted), settings);
      settings.weights.microbatches = static_cast<double>(microbatches_);
    }
    std::vector<bool> with_whole = wanted;
    with_whole[whole_graph()] = true;
    const std::vector<Cost> unpriced = solver_.ranges().solve(settings, with_whole);
    const double step = bound_single_stage(unpriced[whole_graph()], settings.weights);
    std::vector<bool> tight = add_candidates(unpriced, settings);
    for (std::size_t p = 0; p < prices; ++p)
      for (const double activations : activation_weights) {
        if (std::find(tight.begin(), tight.end(), true) == tight.end()) return;
        settings.weights.seconds_per_fixed_byte = memory_prices[p] * step / usable_.value();
        settings.weights.seconds_per_activation_byte = settings.weights.seconds_per_fixed_byte * activations;
        const std::vector<Cost> costs = solver_.ranges().solve(settings, tight);
        add_candidates(costs, settings);
        if (p > 0 || activations != 1) continue;
        for (const std::size_t c : hopeless(costs)) tight[c] = wanted[c] = false;
      }
  }

  // Returns the least seconds of a step for all layers as one stage; 0 where they cannot be.
  double bound_single_stage(const Cost& whole, const Weights& weights) {
    if (!(whole.forward < impossible)) return 0;
    const Seconds least(weighted(whole, weights));
    result_.least_single_stage = std::min(result_.least_single_stage, least);
    return least.value();
  }

  // Under the highest price no way to run them holds less; what even so does not fit needs no further prices.
  std::vector<std::size_t> hopeless(const std::vector<Cost>& costs) const {
    std::vector<std::size_t> classes;
    for (std::size_t c = 1; c < costs.size(); ++c)
      if (costs[c].forward < impossible && costs[c].fixed + costs[c].activations > usable_) classes.push_back(c);
    return classes;
  }

  const SearchSpace& space_;
  std::uint32_t mesh_;
  std::int64_t microbatches_;
  Bytes usable_;
  MeshSolver solver_;
  std::vector<std::int64_t> most_following_;  // by class: stages that may ever follow
  MeshResult result_;
};

void add_submeshes(std::vector<Submesh>& result, const Cluster& cluster, std::uint32_t group) {
  const std::int64_t all = cluster.devices_per_host;
  for (std::int64_t devices = 1; devices <= all; devices *= 2)
    if (all % devices == 0) result.push_back({1, devices, group});
  if (result.back().devices_per_host != all) result.push_back({1, all, group});
  for (std::int64_t hosts = 2; hosts <= cluster.hosts; hosts *= 2) result.push_back({hosts, all, group});
  if (result.back().hosts != cluster.hosts) result.push_back({cluster.hosts, all, group});
}

}  // namespace

SearchSpace search_space(const PlanningInput& input, const SearchOptions& options) {
  SearchSpace space{input, options, differentiate(input.graph), dimension_meanings(input.graph), {}, {}, {}, {}, {}, {},
                    {},    {}};
  space.pins = PinnedGraph(input.graph, input.pins);
  space.layers = planning_layers(input.graph, space.training, options.layers, space.pins);
  space.classes = range_classes(space.layers);
  for (std::uint32_t group = 0; group < group_count(input.cluster); ++group)
    if (usable_memory(group_at(input.cluster, group), input.recipe) > Bytes(0))
      add_submeshes(space.submeshes, group_at(input.cluster, group), group);
  for (std::uint32_t s = 0; s < space.submeshes.size(); ++s)
    for (DeviceMesh& mesh : logical_shapes(space.submeshes[s], options.max_mesh_axes)) {
      space.meshes.push_back(std::move(mesh));
      space.submesh_of.push_back(s);
    }
  if (options.parameter_state)
    space.states = {*options.parameter_state};
  else
    space.states = input.recipe.parameter_states;
  if (options.recompute)
    space.recomputes = {*options.recompute};
  else
    space.recomputes = {Recompute::none, Recompute::full};
  return space;
}

Bytes usable_memory(const Cluster& cluster, const Recipe& recipe) {
  return (cluster.device.memory - recipe.context_memory) / (1 + recipe.memory_fragmentation);
}

std::int64_t devices_of(const Cluster& cluster, unsigned groups) {
  std::int64_t devices = 0;
  for (std::size_t group = 0; group < group_count(cluster); ++group)
    if ((groups >> group & 1U) != 0) devices += group_at(cluster, group).devices();
  return devices;
}

std::vector<unsigned> group_selections(const Cluster& cluster) {
  std::vector<unsigned> selections((std::size_t{1} << group_count(cluster)) - 1);
  std::iota(selections.begin(), selections.end(), 1U);
  std::stable_sort(selections.begin(), selections.end(),
                   [](unsigned a, unsigned b) { return std::popcount(a) < std::popcount(b); });
  return selections;
}

std::optional<std::int64_t> following_stages(const Cost& cost, Bytes usable, ScheduleKind schedule,
                                             std::int64_t microbatches, std::int64_t most) {
  const Bytes room = usable - cost.fixed - cost.transient();
  if (room < Bytes(0)) return std::nullopt;
  const auto fits = [&](std::int64_t count) { return cost.activations * static_cast<double>(count) <= room; };
  if (fits(microbatches)) return most;
  if (schedule == ScheduleKind::gpipe || !fits(1)) return std::nullopt;
  const double count = std::min(std::floor(room / cost.activations), static_cast<double>(most) + 1);
  return std::min(most, static_cast<std::int64_t>(count) - 1);
}

MeshSolver::MeshSolver(const SearchSpace& space, const DeviceMesh& mesh, std::vector<AxisRole> roles,
                       std::int64_t microbatch_size)
    : mesh_(mesh),
      conversions_(group_at(space.input.cluster, mesh.submesh.group), mesh_),
      context_{
          {space.input.graph, space.training, space.meanings, mesh_, std::move(roles), microbatch_size, &space.pins},
          group_at(space.input.cluster, mesh.submesh.group),
          space.input.recipe,
          conversions_},
      ranges_(context_, space.layers, space.classes) {}

namespace {

// Adds, by submesh and class, whether some pipeline with such a stage that uses just these groups may take less. Any
// takes at least B times its slowest stage, so all its stages stay below that.
void add_promising(std::vector<std::vector<bool>>& result, const SearchSpace& space, const StageCosts& outline,
                   std::int64_t microbatches, Seconds to_beat, unsigned groups) {
  const auto layers = static_cast<std::uint32_t>(space.layers.layers.size());
  const std::int64_t devices = devices_of(space.input.cluster, groups);
  std::vector<std::int64_t> sizes;
  for (const Submesh& submesh : space.submeshes) sizes.push_back(submesh.devices());
  const auto usable = [&](std::uint32_t first, std::uint32_t last, std::uint32_t submesh) {
    const std::size_t c = space.classes.of[first][last - first];
    return (groups >> space.submeshes[submesh].group & 1U) != 0 && outline.may_fit[c][submesh] &&
           static_cast<double>(microbatches) * outline.least_time[c][submesh] < to_beat;
  };
  const std::vector<OffsetSet> offsets = offsets_on_the_way(layers, devices, sizes, usable);
  for (std::uint32_t first = 0; first < layers; ++first)
    for (std::uint32_t last = first; last < layers; ++last)
      for (std::uint32_t s = 0; s < sizes.size(); ++s) {
        if (!usable(first, last, s)) continue;
        OffsetSet ends(devices + 1);
        ends.insert_moved_up(offsets[first], sizes[s]);
        ends.intersect(offsets[last + 1]);
        if (!ends.empty()) result[s][space.classes.of[first][last - first]] = true;
      }
}

// By submesh and class: whether some pipeline with such a stage may take less.
std::vector<std::vector<bool>> promising(const SearchSpace& space, const StageCosts& outline, std::int64_t microbatches,
                                         Seconds to_beat) {
  std::vector<std::vector<bool>> result(space.submeshes.size(), std::vector<bool>(space.classes.classes.size(), false));
  for (const unsigned groups : group_selections(space.input.cluster))
    add_promising(result, space, outline, microbatches, to_beat, groups);
  return result;
}

bool is_whole_group(const Cluster& cluster, const Submesh& submesh) {
  return submesh.devices() == group_at(cluster, submesh.group).devices();
}

StageCosts joined(const SearchSpace& space, const std::vector<MeshResult>& by_mesh) {
  const std::size_t classes = space.classes.classes.size();
  StageCosts result;
  result.candidates.assign(classes, std::vector<std::vector<StageCandidate>>(space.submeshes.size()));
  result.least_time.assign(classes, std::vector<Seconds>(space.submeshes.size(), impossible));
  result.may_fit.assign(classes, std::vector<bool>(space.submeshes.size(), false));
  result.least_memory.assign(classes, std::vector<Bytes>(space.submeshes.size(), Bytes(1e30)));
  result.least_single_stage = impossible;
  for (std::size_t mesh = 0; mesh < by_mesh.size(); ++mesh) {
    const MeshResult& of_mesh = by_mesh[mesh];
    if (of_mesh.candidates.empty()) continue;  // not priced
    const std::uint32_t submesh = space.submesh_of[mesh];
    for (std::size_t c = 1; c < classes; ++c) {
      for (const StageCandidate& candidate : of_mesh.candidates[c])
        if (candidate.max_following_stages >= 0) result.candidates[c][submesh].push_back(candidate);
      result.least_memory[c][submesh] = std::min(result.least_memory[c][submesh], of_mesh.least_memory[c]);
      result.least_time[c][submesh] = std::min(result.least_time[c][submesh], of_mesh.least_time[c]);
      if (of_mesh.hopeless[c] < space.recomputes.size()) result.may_fit[c][submesh] = true;
    }
    if (is_whole_group(space.input.cluster, space.submeshes[submesh]))
      result.least_single_stage = std::min(result.least_single_stage, of_mesh.least_single_stage);
  }
  for (std::size_t c = 1; c < classes; ++c)
    for (auto& candidates : result.candidates[c]) keep_undominated(candidates);
  return result;
}

template <typename Price>
StageCosts price_meshes(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches,
                        const std::vector<std::uint32_t>& meshes, const Price& price) {
  std::vector<MeshResult> by_mesh(space.meshes.size());
  tbb::parallel_for(std::size_t{0}, meshes.size(), [&](std::size_t m) {
    MeshPricer pricer(space, meshes[m], microbatch_size, microbatches);
    price(pricer, space.submesh_of[meshes[m]]);
    by_mesh[meshes[m]] = pricer.take();
  });
  return joined(space, by_mesh);
}

}  // namespace

StageCosts outline_stages(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches) {
  std::vector<std::uint32_t> all(space.meshes.size());
  std::iota(all.begin(), all.end(), 0U);
  return price_meshes(space, microbatch_size, microbatches, all,
                      [](MeshPricer& pricer, std::uint32_t) { pricer.outline(); });
}

StageCosts price_stages(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches,
                        const StageCosts& outline, Seconds to_beat) {
  const auto wanted = promising(space, outline, microbatches, to_beat);
  std::vector<std::uint32_t> meshes;
  for (std::uint32_t mesh = 0; mesh < space.meshes.size(); ++mesh) {
    const std::vector<bool>& classes = wanted[space.submesh_of[mesh]];
    if (std::find(classes.begin(), classes.end(), true) != classes.end()) meshes.push_back(mesh);
  }
  StageCosts costs =
      price_meshes(space, microbatch_size, microbatches, meshes,
                   [&](MeshPricer& pricer, std::uint32_t submesh) { pricer.sweep_all(wanted[submesh]); });
  costs.least_single_stage = std::min(costs.least_single_stage, outline.least_single_stage);
  costs.least_time = outline.least_time;
  costs.may_fit = outline.may_fit;
  for (std::size_t c = 0; c < costs.least_memory.size(); ++c)
    for (std::size_t s = 0; s < costs.least_memory[c].size(); ++s)
      costs.least_memory[c][s] = std::min(costs.least_memory[c][s], outline.least_memory[c][s]);
  return costs;
}

}  // namespace meshloom
