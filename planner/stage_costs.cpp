#include "planner/stage_costs.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>

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

class MeshPricer {
 public:
  MeshPricer(const SearchSpace& space, std::uint32_t mesh, std::int64_t microbatch_size, std::int64_t microbatches)
      : space_(space),
        mesh_(mesh),
        microbatches_(microbatches),
        usable_(usable_memory(space.input.cluster, space.input.recipe)),
        solver_(space, space.meshes[mesh], std::vector<AxisRole>(space.meshes[mesh].dimensions(), AxisRole::free),
                microbatch_size) {
    result_.candidates.resize(space.classes.classes.size());
    result_.least_time.assign(space.classes.classes.size(), impossible);
    result_.least_memory.assign(space.classes.classes.size(), Bytes(1e30));
    const auto layers = static_cast<std::int64_t>(space.layers.layers.size());
    const std::int64_t devices_left = space.input.cluster.devices() - space.meshes[mesh].submesh.devices();
    most_following_.assign(space.classes.classes.size(), 0);
    for (std::int64_t first = 0; first < layers; ++first)
      for (std::int64_t last = first; last < layers; ++last) {
        std::int64_t& most = most_following_[space.classes.of[first][last - first]];
        most = std::max(most, std::min(layers - 1 - last, devices_left));
      }
  }

  MeshResult run() {
    bound_times();
    for (const Recompute recompute : space_.recomputes)
      for (const ParameterStates& states : state_sets()) sweep(states, recompute);
    for (auto& candidates : result_.candidates) keep_undominated(candidates);
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

  // The least time per microbatch: weight on nothing else, nothing recomputed. It is a candidate, too: where a stage's
  // work once per step hides behind other stages, nothing else counts.
  void bound_times() {
    const RangeSettings settings{ParameterStates(space_.states), space_.recomputes.front(), {1, 0, 0, 0}};
    const std::vector<Cost> costs = solver_.ranges().solve(settings);
    for (std::size_t c = 1; c < costs.size(); ++c)
      result_.least_time[c] = std::min(result_.least_time[c], costs[c].per_microbatch());
    add_candidates(costs, settings);
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

  // The same without prices of memory; the weighted cost of all layers bounds a single stage.
  std::vector<bool> add_unpriced(const RangeSettings& settings, Cost& whole) {
    const std::vector<Cost> costs = solver_.ranges().solve(settings);
    whole = costs[whole_graph()];
    if (whole.forward < impossible)
      result_.least_single_stage = std::min(result_.least_single_stage, Seconds(weighted(whole, settings.weights)));
    return add_candidates(costs, settings);
  }

  void sweep(const ParameterStates& states, Recompute recompute) {
    RangeSettings settings{states, recompute, {static_cast<double>(microbatches_), 1, 0, 0}};
    if (microbatches_ > 1) {  // away from the slowest stage a microbatch's time counts once, like a step's work
      settings.weights.microbatches = 1;
      add_candidates(solver_.ranges().solve(settings), settings);
      settings.weights.microbatches = static_cast<double>(microbatches_);
    }
    Cost whole;
    std::vector<bool> tight = add_unpriced(settings, whole);
    const double step = (whole.forward < impossible ? weighted(whole, settings.weights) : 0) / usable_.value();
    for (const double price : memory_prices)
      for (const double activations : activation_weights) {
        if (std::find(tight.begin(), tight.end(), true) == tight.end()) return;
        settings.weights.seconds_per_fixed_byte = price * step;
        settings.weights.seconds_per_activation_byte = price * step * activations;
        const std::vector<Cost> costs = solver_.ranges().solve(settings, tight);
        add_candidates(costs, settings);
        if (price == memory_prices[0] && activations == 1) drop_hopeless(costs, tight);
      }
  }

  // Under the highest price no way to run them holds less; what even so does not fit needs no further prices.
  void drop_hopeless(const std::vector<Cost>& costs, std::vector<bool>& tight) const {
    for (std::size_t c = 1; c < costs.size(); ++c)
      if (costs[c].fixed + costs[c].activations > usable_) tight[c] = false;
  }

  const SearchSpace& space_;
  std::uint32_t mesh_;
  std::int64_t microbatches_;
  Bytes usable_;
  MeshSolver solver_;
  std::vector<std::int64_t> most_following_;  // by class: stages that may ever follow
  MeshResult result_;
};

std::vector<Submesh> all_submeshes(const Cluster& cluster) {
  std::vector<Submesh> result;
  for (std::int64_t devices = 1; devices <= cluster.devices_per_host; devices *= 2)
    if (cluster.devices_per_host % devices == 0) result.push_back({1, devices});
  if (result.back().devices_per_host != cluster.devices_per_host) result.push_back({1, cluster.devices_per_host});
  for (std::int64_t hosts = 2; hosts <= cluster.hosts; hosts *= 2) result.push_back({hosts, cluster.devices_per_host});
  if (result.back().hosts != cluster.hosts) result.push_back({cluster.hosts, cluster.devices_per_host});
  return result;
}

}  // namespace

SearchSpace search_space(const PlanningInput& input, const SearchOptions& options) {
  SearchSpace space{input, options, differentiate(input.graph), token_dimensions(input.graph), {}, {}, {}, {}, {},
                    {},    {}};
  space.layers = planning_layers(input.graph, space.training, options.layers);
  space.classes = range_classes(space.layers);
  space.submeshes = all_submeshes(input.cluster);
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
      conversions_(space.input.cluster, mesh_),
      context_{{space.input.graph, space.training, space.tokens, mesh_, std::move(roles), microbatch_size},
               space.input.cluster,
               space.input.recipe,
               conversions_},
      ranges_(context_, space.layers, space.classes) {}

StageCosts price_stages(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches) {
  std::vector<MeshResult> by_mesh(space.meshes.size());
  const auto price = [&](std::size_t mesh) {
    by_mesh[mesh] = MeshPricer(space, static_cast<std::uint32_t>(mesh), microbatch_size, microbatches).run();
  };
  tbb::parallel_for(std::size_t{0}, space.meshes.size(), price);
  const std::size_t classes = space.classes.classes.size();
  StageCosts result;
  result.candidates.assign(classes, std::vector<std::vector<StageCandidate>>(space.submeshes.size()));
  result.least_time.assign(classes, std::vector<Seconds>(space.submeshes.size(), impossible));
  result.least_memory.assign(classes, std::vector<Bytes>(space.submeshes.size(), Bytes(1e30)));
  result.least_single_stage = impossible;
  for (std::size_t mesh = 0; mesh < by_mesh.size(); ++mesh) {
    const std::uint32_t submesh = space.submesh_of[mesh];
    for (std::size_t c = 1; c < classes; ++c) {
      auto& into = result.candidates[c][submesh];
      for (const StageCandidate& candidate : by_mesh[mesh].candidates[c])
        if (candidate.max_following_stages >= 0) into.push_back(candidate);
      result.least_memory[c][submesh] = std::min(result.least_memory[c][submesh], by_mesh[mesh].least_memory[c]);
      result.least_time[c][submesh] = std::min(result.least_time[c][submesh], by_mesh[mesh].least_time[c]);
    }
    if (space.submeshes[submesh].devices() == space.input.cluster.devices())
      result.least_single_stage = std::min(result.least_single_stage, by_mesh[mesh].least_single_stage);
  }
  for (std::size_t c = 1; c < classes; ++c)
    for (auto& candidates : result.candidates[c]) keep_undominated(candidates);
  return result;
}

}  // namespace meshloom
