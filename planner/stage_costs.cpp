#include "planner/stage_costs.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "costmodel/groups.hpp"
#include "planner/inter_op/reachable_offsets.hpp"
#include "planner/mesh_pricer.hpp"
#include "planner/schedule_search.hpp"
#include "planner/stage_fronts.hpp"

namespace meshloom {
namespace {

// Selective only where it saves a tensor: a fused kernel's statistics, a float a row, are not worth its time.
std::vector<Recompute> useful_recomputes(const PlanningInput& input, const TrainingGraph& training) {
  const RepeatedOps repeated =
      repeated_ops(input.graph, training, input.recipe.recompute_scope, input.recipe.selective_recompute);
  if (!saves_memory(input.graph, training, repeated.selective)) return {Recompute::none, Recompute::full};
  return {Recompute::none, Recompute::selective, Recompute::full};
}

}  // namespace

std::vector<ScheduleKind> searched_schedules(const Recipe& recipe, const SearchOptions& options) {
  if (options.schedule) return {*options.schedule};
  if (options.chunks) return {ScheduleKind::interleaved};
  std::vector<ScheduleKind> kinds;
  for (const std::string& name : recipe.schedules) kinds.push_back(*schedule_named(name));
  const bool has_one_f_one_b = std::find(kinds.begin(), kinds.end(), ScheduleKind::one_f_one_b) != kinds.end();
  if (has_one_f_one_b) std::erase(kinds, ScheduleKind::gpipe);
  return kinds;
}

SearchSpace search_space(const PlanningInput& input, const SearchOptions& options) {
  SearchSpace space{
      input, options, differentiate(input.graph), dimension_meanings(input.graph), {}, {}, {}, {}, {}, {}, {}, {}, {},
      {},    {}};
  space.pins = PinnedGraph(input.graph, input.pins);
  space.layers = planning_layers(input.graph, space.training, options.layers, space.pins, input.recipe.recompute_scope,
                                 input.recipe.selective_recompute);
  space.classes = range_classes(space.layers);
  space.launches = LaunchSums(input.recipe, input.graph, space.training, space.layers);
  space.submeshes = allowed_submeshes(options.constraints, input.cluster);
  // Where not even the recipe's context has room, nothing is priced.
  std::erase_if(space.submeshes, [&](const Submesh& submesh) {
    return !input.cluster.groups.empty() && !(usable_memory(space, submesh.group) > Bytes(0));
  });
  space.allowed = AllowedStages(options.constraints, space.layers, input.cluster, options.max_mesh_axes);
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
    space.recomputes = useful_recomputes(input, space.training);
  space.schedules = searched_schedules(input.recipe, options);
  return space;
}

std::optional<std::int64_t> ranks_that_tile(const SearchSpace& space, std::uint32_t submesh) {
  const std::int64_t devices = space.submeshes[submesh].devices();
  const std::int64_t of_group = group_at(space.input.cluster, space.submeshes[submesh].group).devices();
  if (of_group % devices != 0) return std::nullopt;
  return of_group / devices;
}

bool can_interleave(std::int64_t ranks, std::int64_t microbatches) { return ranks >= 2 && microbatches % ranks == 0; }

bool compares_memory(const SearchSpace& space) {
  return std::any_of(space.schedules.begin(), space.schedules.end(),
                     [](ScheduleKind kind) { return kind != ScheduleKind::one_f_one_b; });
}

Bytes usable_memory(const Cluster& cluster, const Recipe& recipe) {
  return (cluster.device.memory - recipe.context_memory) / (1 + recipe.memory_fragmentation);
}

Bytes device_memory(const SearchSpace& space, std::uint32_t group) {
  return group_at(space.input.cluster, group).device.memory * space.options.constraints.memory_share;
}

Bytes usable_memory(const SearchSpace& space, std::uint32_t group) {
  return (device_memory(space, group) - space.input.recipe.context_memory) /
         (1 + space.input.recipe.memory_fragmentation);
}

bool has_usable_memory(const SearchSpace& space) {
  for (std::uint32_t group = 0; group < group_count(space.input.cluster); ++group)
    if (usable_memory(space, group) > Bytes(0)) return true;
  return false;
}

std::int64_t devices_of(const Cluster& cluster, unsigned groups) {
  std::int64_t devices = 0;
  for (std::size_t group = 0; group < group_count(cluster); ++group)
    if ((groups >> group & 1U) != 0) devices += group_at(cluster, group).devices();
  return devices;
}

bool is_whole_group(const SearchSpace& space, const Submesh& submesh) {
  return submesh.devices() == group_at(space.input.cluster, submesh.group).devices();
}

std::vector<unsigned> group_selections(const Cluster& cluster) {
  std::vector<unsigned> selections((std::size_t{1} << group_count(cluster)) - 1);
  std::iota(selections.begin(), selections.end(), 1U);
  std::stable_sort(selections.begin(), selections.end(),
                   [](unsigned a, unsigned b) { return std::popcount(a) < std::popcount(b); });
  return selections;
}

Cost waiting_cost(const SearchSpace& space, const Cost& cost, std::size_t first, std::size_t last,
                  Recompute recompute) {
  const Cost waiting = space.launches.with_waits(cost, first, last, recompute);
  const auto& kinds = space.schedules;
  if (std::find(kinds.begin(), kinds.end(), ScheduleKind::interleaved) != kinds.end()) return waiting;
  return with_synchronization_waits(space.input.recipe, waiting);
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
      recipe_(
          averaged_over(space.input.recipe, std::max<std::int64_t>(1, space.options.global_batch / microbatch_size))),
      conversions_(group_at(space.input.cluster, mesh.submesh.group), mesh_, waiting_for_activations(recipe_)),
      context_{
          {space.input.graph, space.training, space.meanings, mesh_, std::move(roles), microbatch_size, &space.pins},
          group_at(space.input.cluster, mesh.submesh.group),
          recipe_,
          conversions_},
      ranges_(context_, space.layers, space.classes) {}

StageCosts nothing_known(const SearchSpace& space) {
  const std::size_t classes = space.classes.classes.size(), submeshes = space.submeshes.size();
  StageCosts result;
  result.candidates.assign(classes, std::vector<std::vector<StageCandidate>>(submeshes));
  result.least_times.assign(classes, std::vector<LeastTimes>(submeshes, never));
  result.may_fit.assign(classes, std::vector<bool>(submeshes, false));
  result.lean.assign(classes, std::vector<std::vector<LeanWay>>(submeshes));
  result.least_single_stage = impossible;
  return result;
}

namespace {

using Wanted = std::vector<std::vector<bool>>;

// Adds the chunks of interleaved pipelines that may take less.
void add_promising_chunks(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches, Seconds to_beat,
                          Wanted& result) {
  const auto layers = static_cast<std::uint32_t>(space.layers.layers.size());
  for (std::uint32_t submesh = 0; submesh < space.submeshes.size(); ++submesh) {
    const std::optional<std::int64_t> ranks = ranks_that_tile(space, submesh);
    if (!ranks || !can_interleave(*ranks, microbatches)) continue;
    for (const std::int64_t chunks : searched_chunks(space.options)) {
      if (*ranks * chunks > layers) break;
      const auto rounds = static_cast<double>(microbatches * chunks + *ranks - 1);
      const auto usable = [&](std::uint32_t first, std::uint32_t last, std::uint32_t) {
        const std::size_t c = space.classes.of[first][last - first];
        return costs.may_fit[c][submesh] && rounds * costs.least_times[c][submesh].front() < to_beat;
      };
      const std::vector<OffsetSet> stages = offsets_on_the_way(layers, *ranks * chunks, {1}, usable);
      for (std::uint32_t first = 0; first < layers; ++first)
        for (std::uint32_t last = first; last < layers; ++last) {
          if (!usable(first, last, 0)) continue;
          OffsetSet ends(*ranks * chunks + 1);
          ends.insert_moved_up(stages[first], 1);
          ends.intersect(stages[last + 1]);
          if (!ends.empty()) result[submesh][space.classes.of[first][last - first]] = true;
        }
    }
  }
}

// Adds, by submesh and class, whether some pipeline with such a stage that uses just these groups may take less. Any
// takes at least B times its slowest stage, so all its stages stay below that.
void add_promising(Wanted& result, const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches,
                   Seconds to_beat, unsigned groups) {
  const auto layers = static_cast<std::uint32_t>(space.layers.layers.size());
  const std::int64_t devices = devices_of(space.input.cluster, groups);
  std::vector<std::int64_t> sizes;
  for (const Submesh& submesh : space.submeshes) sizes.push_back(submesh.devices());
  const auto usable = [&](std::uint32_t first, std::uint32_t last, std::uint32_t submesh) {
    const std::size_t c = space.classes.of[first][last - first];
    return (groups >> space.submeshes[submesh].group & 1U) != 0 &&
           space.allowed.on(first, last, space.submeshes[submesh]) && costs.may_fit[c][submesh] &&
           static_cast<double>(microbatches) * costs.least_times[c][submesh].front() < to_beat;
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
Wanted promising(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches, Seconds to_beat) {
  Wanted result(space.submeshes.size(), std::vector<bool>(space.classes.classes.size(), false));
  for (const unsigned groups : group_selections(space.input.cluster))
    add_promising(result, space, costs, microbatches, to_beat, groups);
  if (std::find(space.schedules.begin(), space.schedules.end(), ScheduleKind::interleaved) != space.schedules.end())
    add_promising_chunks(space, costs, microbatches, to_beat, result);
  return result;
}

// Where meshes differ in what they may run, each one's ways stay.
void add_lean(const SearchSpace& space, std::vector<LeanWay>& ways, const std::vector<LeanWay>& more) {
  if (space.allowed.fix_meshes())
    ways.insert(ways.end(), more.begin(), more.end());
  else
    for (const LeanWay& way : more) keep_lean(ways, way);
}

void add_bounds(const SearchSpace& space, std::uint32_t mesh, const MeshResult& of_mesh, StageCosts& result) {
  const std::uint32_t submesh = space.submesh_of[mesh];
  result.complete = result.complete && of_mesh.complete;
  for (std::size_t c = 1; c < space.classes.classes.size(); ++c) {
    LeastTimes& least = result.least_times[c][submesh];
    for (std::size_t depth = 0; depth < least.size(); ++depth)
      least[depth] = std::min(least[depth], of_mesh.least_times[c][depth]);
    add_lean(space, result.lean[c][submesh], of_mesh.lean[c]);
    if (of_mesh.hopeless[c] < space.recomputes.size()) result.may_fit[c][submesh] = true;
    for (std::size_t k = 0; k < chunk_prices.size() && !of_mesh.priced_times.empty(); ++k)
      result.priced_times[c][submesh][k] = std::min(result.priced_times[c][submesh][k], of_mesh.priced_times[c][k]);
  }
  if (is_whole_group(space, space.submeshes[submesh]))
    result.least_single_stage = std::min(result.least_single_stage, of_mesh.least_single_stage);
}

void add_candidates(const SearchSpace& space, std::uint32_t mesh, const MeshResult& of_mesh, StageCosts& result) {
  for (std::size_t c = 1; c < space.classes.classes.size(); ++c) {
    std::vector<StageCandidate>& known = result.candidates[c][space.submesh_of[mesh]];
    known.insert(known.end(), of_mesh.candidates[c].begin(), of_mesh.candidates[c].end());
  }
}

void keep_undominated(const SearchSpace& space, StageCosts& result) {
  if (space.allowed.fix_meshes()) return;  // what one mesh does better may be no stage on it
  for (std::size_t c = 1; c < space.classes.classes.size(); ++c)
    for (auto& candidates : result.candidates[c]) keep_undominated(space, candidates);
}

// As least times, of the best mesh of each submesh.
StageCosts floors_of(const SearchSpace& space, const std::vector<std::unique_ptr<MeshPricer>>& pricers) {
  StageCosts result = nothing_known(space);
  for (std::uint32_t mesh = 0; mesh < pricers.size(); ++mesh) {
    const std::vector<Seconds>& floors = pricers[mesh]->floors();
    for (std::size_t c = 1; c < floors.size(); ++c) {
      Seconds& least = result.least_times[c][space.submesh_of[mesh]].front();
      least = std::min(least, floors[c]);
      result.may_fit[c][space.submesh_of[mesh]] = true;
    }
  }
  return result;
}

bool any(const std::vector<bool>& set) { return std::find(set.begin(), set.end(), true) != set.end(); }

}  // namespace

StageCosts outline_stages(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches,
                          Seconds to_beat) {
  if (std::optional<StageCosts> exact = exact_stage_costs(space, microbatch_size, microbatches)) return *exact;
  const auto meshes = static_cast<std::uint32_t>(space.meshes.size());
  std::vector<std::unique_ptr<MeshPricer>> pricers(meshes);
  tbb::parallel_for(std::uint32_t{0}, meshes, [&](std::uint32_t mesh) {
    pricers[mesh] = std::make_unique<MeshPricer>(space, mesh, microbatch_size, microbatches);
    if (to_beat < impossible) pricers[mesh]->floors();
  });
  Wanted wanted(space.submeshes.size(), std::vector<bool>(space.classes.classes.size(), true));
  if (to_beat < impossible) wanted = promising(space, floors_of(space, pricers), microbatches, to_beat);
  std::vector<MeshResult> by_mesh(meshes);
  tbb::parallel_for(std::uint32_t{0}, meshes, [&](std::uint32_t mesh) {
    if (space.options.deadline.passed()) {
      by_mesh[mesh] = pricers[mesh]->take();
      by_mesh[mesh].complete = false;
      return;
    }
    pricers[mesh]->outline(wanted[space.submesh_of[mesh]], to_beat);
    by_mesh[mesh] = pricers[mesh]->take();
    pricers[mesh].reset();
  });
  StageCosts result = nothing_known(space);
  for (std::uint32_t mesh = 0; mesh < by_mesh.size(); ++mesh) {
    add_bounds(space, mesh, by_mesh[mesh], result);
    add_candidates(space, mesh, by_mesh[mesh], result);
  }
  keep_undominated(space, result);
  return result;
}

StagePricing::StagePricing(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches,
                           const StageCosts& outline, Seconds to_beat)
    : space_(space),
      microbatches_(microbatches),
      outline_(outline),
      to_beat_(to_beat),
      pricers_(space.meshes.size()),
      bounds_(nothing_known(space)) {
  PricedTimes unpriced;
  unpriced.fill(impossible);
  bounds_.priced_times.assign(space.classes.classes.size(), std::vector<PricedTimes>(space.submeshes.size(), unpriced));
  bounds_.longest_stage = to_beat / static_cast<double>(microbatches);
  const Wanted wanted = promising(space, outline, microbatches, to_beat);
  tbb::parallel_for(std::uint32_t{0}, static_cast<std::uint32_t>(pricers_.size()), [&](std::uint32_t mesh) {
    const std::vector<bool>& classes = wanted[space.submesh_of[mesh]];
    if (!any(classes) || space.options.deadline.passed()) return;
    pricers_[mesh] = std::make_unique<MeshPricer>(space, mesh, microbatch_size, microbatches);
    pricers_[mesh]->bound(classes, to_beat);
  });
  for (std::uint32_t mesh = 0; mesh < pricers_.size(); ++mesh)
    if (pricers_[mesh]) add_bounds(space, mesh, pricers_[mesh]->result(), bounds_);
  bounds_.complete = bounds_.complete && !space.options.deadline.passed();
  bounds_.may_fit = outline.may_fit;
  if (!(bounds_.least_single_stage < impossible)) bounds_.least_single_stage = outline.least_single_stage;
}

StagePricing::~StagePricing() = default;

StageCosts StagePricing::price() {
  const Wanted wanted = promising(space_, bounds_, microbatches_, to_beat_);
  std::vector<MeshResult> by_mesh(pricers_.size());
  tbb::parallel_for(std::uint32_t{0}, static_cast<std::uint32_t>(pricers_.size()), [&](std::uint32_t mesh) {
    const std::vector<bool>& classes = wanted[space_.submesh_of[mesh]];
    if (pricers_[mesh] && any(classes)) {
      pricers_[mesh]->sweep(classes, to_beat_);
      by_mesh[mesh] = pricers_[mesh]->take();
    }
    pricers_[mesh].reset();
  });
  StageCosts result = bounds_;
  for (std::uint32_t mesh = 0; mesh < by_mesh.size(); ++mesh) {
    if (by_mesh[mesh].candidates.empty()) continue;  // nothing wanted
    result.complete = result.complete && by_mesh[mesh].complete;
    add_candidates(space_, mesh, by_mesh[mesh], result);
    for (std::size_t c = 1; c < space_.classes.classes.size(); ++c)
      add_lean(space_, result.lean[c][space_.submesh_of[mesh]], by_mesh[mesh].lean[c]);
  }
  for (std::size_t c = 1; c < space_.classes.classes.size(); ++c)
    for (std::size_t s = 0; s < space_.submeshes.size(); ++s) add_lean(space_, result.lean[c][s], outline_.lean[c][s]);
  keep_undominated(space_, result);
  return result;
}

}  // namespace meshloom
