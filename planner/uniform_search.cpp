#include "planner/uniform_search.hpp"

#include <fmt/format.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <compare>
#include <map>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"
#include "planner/equal_stages.hpp"
#include "planner/materialize.hpp"
#include "planner/schedule_search.hpp"
#include "planner/shared_parameters.hpp"
#include "planner/uniform_meshes.hpp"

namespace meshloom {
namespace {

// Powers of two; on an unequal cluster all divisors, as groups may be multiples of an odd number of hosts.
std::vector<std::int64_t> pipeline_degrees(const Cluster& cluster) {
  std::vector<std::int64_t> degrees;
  for (std::int64_t degree = 1; degree <= cluster.devices(); cluster.groups.empty() ? degree *= 2 : ++degree)
    if (cluster.devices() % degree == 0) degrees.push_back(degree);
  return degrees;
}

// Tokens of a sample that a device keeps at least where context parallelism is tried: frameworks have it for samples
// that are longer than that by several times.
constexpr std::int64_t least_tokens = 2048;

std::int64_t tokens_of_sample(const SearchSpace& space) {
  std::int64_t most = 1;
  for (std::size_t t = 0; t < space.input.graph.tensors.size(); ++t) {
    const Tensor& tensor = space.input.graph.tensors[t];
    for (std::size_t d = 0; d < space.meanings.tokens[t].size(); ++d)
      if (space.meanings.tokens[t][d] && !tensor.shape[d].scales_with_batch)
        most = std::max(most, tensor.shape[d].at(1));
  }
  return most;
}

// Degrees of the layouts that may be tried: those that lie evenly on hosts and layers.
std::vector<UniformLayout> possible_degrees(const SearchSpace& space) {
  const Cluster& cluster = space.input.cluster;
  const std::int64_t devices = cluster.devices();
  const std::int64_t most_context = std::max<std::int64_t>(1, tokens_of_sample(space) / least_tokens);
  std::vector<UniformLayout> result;
  const auto add = [&](const UniformLayout& layout) {
    try {
      check_degrees(space.input.graph, space.meanings, layout);
      stage_meshes(cluster, space.meanings, layout);
      equal_stages(space.input.graph, space.layers, layout);
    } catch (const InputError&) {
      return;
    }
    result.push_back(layout);
  };
  for (std::int64_t tp = 1; tp <= devices; tp *= 2)
    for (const std::int64_t pp : pipeline_degrees(cluster)) {
      if (devices % (tp * pp) != 0) continue;
      const std::int64_t replicas = devices / (tp * pp);
      for (std::int64_t cp = 1; cp <= most_context && replicas % cp == 0; cp *= 2) {
        const std::int64_t dp = replicas / cp;
        if (!space.meanings.has_experts()) {
          add({.tensor_parallel = tp, .pipeline_parallel = pp, .data_parallel = dp, .context_parallel = cp});
          continue;
        }
        // Tensor parallelism divides each expert, or takes whole ones.
        for (const std::int64_t etp : tp > 1 ? std::vector<std::int64_t>{tp, 1} : std::vector<std::int64_t>{1})
          for (std::int64_t ep = tp / etp; ep <= replicas * tp / etp; ep *= 2)
            add({.tensor_parallel = tp,
                 .pipeline_parallel = pp,
                 .data_parallel = dp,
                 .context_parallel = cp,
                 .expert_parallel = ep,
                 .expert_tensor_parallel = tp > 1 ? std::optional(etp) : std::nullopt});
      }
    }
  return result;
}

}  // namespace

std::vector<UniformLayout> uniform_layouts(const PlanningInput& input) {
  const SearchSpace space = search_space(input, {.global_batch = 1, .max_mesh_axes = 0});
  std::vector<UniformLayout> result;
  for (UniformLayout layout : possible_degrees(space))
    for (const bool sequence : {false, true})
      for (const ParameterState state : input.recipe.parameter_states)
        for (const Recompute recompute : space.recomputes) {
          if (sequence && layout.tensor_parallel == 1) continue;
          if (state != ParameterState::replicated && layout.data_parallel == 1) continue;
          layout.sequence_parallel = sequence, layout.parameter_state = state, layout.recompute = recompute;
          result.push_back(layout);
        }
  return result;
}

namespace {

// Uniform layouts that differ only in parameter state, recompute and chunks, at one microbatch size: they share their
// solver.
struct PricedTogether {
  std::vector<std::size_t> layouts;  // positions
  std::int64_t microbatch_size = 1;
  std::vector<Seconds> estimates;  // by layout; impossible where it does not fit
};

bool agrees(const UniformLayout& layout, const SearchOptions& options) {
  return (!options.parameter_state || layout.parameter_state == *options.parameter_state) &&
         (!options.recompute || layout.recompute == *options.recompute) &&
         options.global_batch % layout.data_parallel == 0;
}

bool divides_blocks(const UniformLayout& layout, const SearchSpace& space) {
  try {
    equal_stages(space.input.graph, space.layers, layout);
  } catch (const InputError&) {
    return false;
  }
  return true;
}

bool keeps_constraints(const UniformLayout& layout, const SearchSpace& space) {
  if (space.allowed.count() && layout.pipeline_parallel != *space.allowed.count()) return false;
  const std::vector<DeviceMesh> meshes = stage_meshes(space.input.cluster, space.meanings, layout);
  const LayerRanges ranges = equal_stages(space.input.graph, space.layers, layout);
  for (std::size_t s = 0; s < ranges.size(); ++s) {
    const Submesh& submesh = meshes[s % meshes.size()].submesh;
    if (!space.options.constraints.submeshes.empty() &&
        std::find(space.submeshes.begin(), space.submeshes.end(), submesh) == space.submeshes.end())
      return false;
    if (!space.allowed.on(ranges[s].first, ranges[s].second, submesh)) return false;
  }
  return true;
}

// Context parallelism is for samples that are long: one for each replica.
std::vector<std::int64_t> sizes_for(const UniformLayout& layout, const SearchOptions& options) {
  std::vector<std::int64_t> sizes;
  const std::int64_t most = layout.context_parallel > 1 ? layout.data_parallel : options.global_batch;
  for (std::int64_t size = layout.data_parallel; size <= most; size *= 2)
    if (options.global_batch % size == 0) sizes.push_back(size);
  if (!options.microbatch_size) return sizes;
  if (*options.microbatch_size % layout.data_parallel != 0) return {};
  return {*options.microbatch_size};
}

std::vector<PricedTogether> price_together(const std::vector<UniformLayout>& layouts, const SearchOptions& options) {
  std::vector<PricedTogether> result;
  for (std::size_t l = 0; l < layouts.size();) {
    UniformLayout same = layouts[l];
    std::vector<std::size_t> members;
    for (; l < layouts.size(); ++l) {
      same.parameter_state = layouts[l].parameter_state, same.recompute = layouts[l].recompute;
      same.schedule = layouts[l].schedule;
      if (!(same == layouts[l])) break;
      if (agrees(layouts[l], options)) members.push_back(l);
    }
    if (members.empty()) continue;
    for (const std::int64_t size : sizes_for(layouts[members.front()], options)) result.push_back({members, size, {}});
  }
  return result;
}

using Costs = std::map<std::uint32_t, std::vector<Cost>>;  // by group, then class

// A uniform layout as a pipeline: its stages, each with what it costs.
struct UniformPipeline {
  const SearchSpace& space;
  const UniformLayout& layout;
  const LayerRanges& ranges;
  const std::vector<DeviceMesh>& meshes;  // by rank
  const Costs& costs;
  std::int64_t microbatch_size = 1;

  PipelineShape shape() const { return shape_of(layout.schedule, layout.pipeline_parallel); }
  std::int64_t microbatches() const { return space.options.global_batch / microbatch_size; }
  const Submesh& submesh(std::int64_t stage) const {
    return meshes[static_cast<std::size_t>(shape().rank_of(stage))].submesh;
  }
  Cost cost(std::int64_t stage) const {
    const auto [first, last] = ranges[static_cast<std::size_t>(stage)];
    const Cost& own = costs.at(submesh(stage).group)[space.classes.of[first][last - first]];
    const Cost waiting = space.launches.with_waits(own, first, last, layout.recompute);
    // Waits of chunks depend on those of other ranks: the plan counts them.
    return shape().chunks > 1 ? waiting : with_synchronization_waits(space.input.recipe, waiting);
  }
};

// Whether a rank's stages may fit: with several chunks, whether the least that they hold does.
bool may_fit(const UniformPipeline& pipeline, std::int64_t rank) {
  const PipelineShape shape = pipeline.shape();
  const Bytes usable = usable_memory(pipeline.space, pipeline.submesh(rank).group);
  const ScheduleKind kind = pipeline.layout.schedule.kind;
  if (shape.chunks == 1) {
    const std::int64_t behind = shape.ranks - 1 - rank;
    const auto following = following_stages(pipeline.cost(rank), usable, kind, pipeline.microbatches(), behind);
    return following && *following >= behind;
  }
  Bytes fixed, transient, least = pipeline.cost(rank).activations;
  for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const Cost cost = pipeline.cost(shape.stage_of(rank, chunk));
    fixed += cost.fixed;
    transient = std::max(transient, cost.transient());
    least = std::min(least, cost.activations);
  }
  const std::int64_t held = in_flight(pipeline.layout.schedule, shape.ranks, rank, pipeline.microbatches());
  return fixed + transient + static_cast<double>(held) * least <= usable;
}

// What the stage sends the next one.
BoundarySends sends_after(const UniformPipeline& pipeline, std::int64_t stage) {
  const SearchSpace& space = pipeline.space;
  const PipelineShape shape = pipeline.shape();
  const Submesh &own = pipeline.submesh(stage), &next = pipeline.submesh(stage + 1);
  const std::int64_t last_sender = (shape.rank_of(stage) + 1) * own.devices() - 1;
  const std::int64_t first_receiver = shape.rank_of(stage + 1) * next.devices();
  const LinkClass link =
      host_of_device(space.input.cluster, last_sender) == host_of_device(space.input.cluster, first_receiver)
          ? LinkClass::intra_host
          : LinkClass::inter_host;
  const std::size_t last = pipeline.ranges[static_cast<std::size_t>(stage)].second;
  StageBoundary boundary = boundary_after(space, last, {link, own.group, next.group}, pipeline.microbatch_size);
  price_sends(space.input.cluster, boundary, own, next);
  return {boundary.formula_forward, boundary.formula_backward, link};
}

// The estimate that the plan would have, with chunks no more than it; impossible where it does not fit or cannot be
// sharded so.
Seconds estimate_of(const UniformPipeline& pipeline) {
  const SearchSpace& space = pipeline.space;
  const PipelineShape shape = pipeline.shape();
  std::vector<StageTimes> times;
  std::vector<BoundarySends> sends(pipeline.ranges.size());
  for (std::int64_t s = 0; s < shape.stages(); ++s) {
    const auto [first, last] = pipeline.ranges[static_cast<std::size_t>(s)];
    const Cost cost = pipeline.cost(s);
    if (!(cost.forward < impossible)) return impossible;
    Seconds shared;
    if (cost.shared_gradients > Bytes(0) && shares_parameters_outside(space.layers, first, last))
      shared = shared_gradient_time(space.input.cluster, cost.shared_gradients, pipeline.submesh(s));
    times.push_back({cost.forward, cost.backward, cost.per_step() + shared, cost.backward_weight, shared});
    if (shape.sends_after(s)) sends[static_cast<std::size_t>(s)] = sends_after(pipeline, s);
  }
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank)
    if (!may_fit(pipeline, rank)) return impossible;
  add_sends(times, sends, space.input.recipe, pipeline.layout.schedule.kind);
  return schedule_formula(pipeline.layout.schedule, times, pipeline.microbatches());
}

void price(PricedTogether& priced, const SearchSpace& space, const std::vector<UniformLayout>& layouts) {
  const UniformLayout& any = layouts[priced.layouts.front()];
  const std::vector<DeviceMesh> meshes = stage_meshes(space.input.cluster, space.meanings, any);
  std::map<std::uint32_t, MeshSolver> solvers;  // by group
  for (const DeviceMesh& mesh : meshes)
    solvers.try_emplace(mesh.submesh.group, space, mesh, axis_roles(space.meanings, any), priced.microbatch_size);
  const std::int64_t microbatches = space.options.global_batch / priced.microbatch_size;
  for (const std::size_t l : priced.layouts) {
    const UniformLayout& layout = layouts[l];
    if (why_impossible(layout.schedule, layout.pipeline_parallel, microbatches)) {
      priced.estimates.push_back(impossible);
      continue;
    }
    const LayerRanges ranges = equal_stages(space.input.graph, space.layers, layout);
    std::vector<bool> wanted(space.classes.classes.size(), false);
    for (const auto& [first, last] : ranges) wanted[space.classes.of[first][last - first]] = true;
    const RangeSettings settings{
        layout.parameter_state, layout.recompute, {static_cast<double>(microbatches), 1, 0, 0}};
    Costs costs;
    for (auto& [group, solver] : solvers) costs[group] = solver.ranges().solve(settings, wanted);
    priced.estimates.push_back(estimate_of({space, layout, ranges, meshes, costs, priced.microbatch_size}));
  }
}

// Under the schedule of the options; for interleaved ones with each number of chunks that is searched.
std::vector<UniformLayout> layouts_under(const SearchOptions& options, const PlanningInput& input) {
  const ScheduleKind kind =
      options.chunks ? ScheduleKind::interleaved : options.schedule.value_or(ScheduleKind::one_f_one_b);
  std::vector<UniformLayout> layouts = uniform_layouts(input);
  for (UniformLayout& layout : layouts) layout.schedule = kind;
  if (kind != ScheduleKind::interleaved) return layouts;
  std::vector<UniformLayout> result;
  for (UniformLayout& layout : layouts)
    for (const std::int64_t chunks : searched_chunks(options)) {
      if (layout.pipeline_parallel == 1) break;
      layout.schedule.chunks = chunks;
      result.push_back(layout);
    }
  return result;
}

// A layout at one microbatch size, by its estimate; ties: the first layout, then the smaller size.
struct Candidate {
  Seconds estimate;
  std::size_t layout = 0;
  std::int64_t microbatch_size = 1;
  auto operator<=>(const Candidate&) const = default;
};

// In order. Those that the deadline leaves unpriced are none.
std::vector<Candidate> candidates_of(const std::vector<UniformLayout>& layouts, const SearchSpace& space,
                                     const SearchOptions& options) {
  std::vector<PricedTogether> priced = price_together(layouts, options);
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                  options.threads == 0
                                      ? tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism)
                                      : options.threads);
  tbb::parallel_for(std::size_t{0}, priced.size(), [&](std::size_t p) {
    if (!options.deadline.passed()) price(priced[p], space, layouts);
  });
  std::vector<Candidate> candidates;
  for (const PricedTogether& together : priced)
    for (std::size_t k = 0; k < together.estimates.size(); ++k)
      if (together.estimates[k] < impossible)
        candidates.push_back({together.estimates[k], together.layouts[k], together.microbatch_size});
  std::sort(candidates.begin(), candidates.end());
  return candidates;
}

// The formula of interleaved schedules can be far off where sends are slow: simulations decide among so many.
std::size_t kept_layouts(const Schedule& schedule) { return schedule.kind == ScheduleKind::interleaved ? 3 : 1; }

// The plans of least estimate, one for each choice of degrees.
class BestLayouts {
 public:
  explicit BestLayouts(std::size_t most) : most_(most) {}

  // Whether a plan of this layout, whose estimate is no less than this, may be one of them.
  bool may_take(const UniformLayout& layout, Seconds estimate) const {
    const auto same = find(layout);
    if (same != kept_.end()) return estimate < same->plan.estimate;
    return kept_.size() < most_ || estimate < kept_.back().plan.estimate;
  }

  void take(const UniformLayout& layout, Plan plan) {
    if (!may_take(layout, plan.estimate)) return;
    if (const auto same = find(layout); same != kept_.end())
      kept_.erase(same);
    else if (kept_.size() == most_)
      kept_.pop_back();
    kept_.push_back({layout, std::move(plan)});
    std::stable_sort(kept_.begin(), kept_.end(),
                     [](const Kept& a, const Kept& b) { return a.plan.estimate < b.plan.estimate; });
  }

  std::vector<Plan> plans() {
    std::vector<Plan> result;
    for (Kept& each : kept_) result.push_back(std::move(each.plan));
    return result;
  }

 private:
  struct Kept {
    UniformLayout layout;
    Plan plan;
  };
  std::vector<Kept>::const_iterator find(const UniformLayout& layout) const {
    return std::find_if(kept_.begin(), kept_.end(), [&](const Kept& each) {
      return each.layout.tensor_parallel == layout.tensor_parallel &&
             each.layout.pipeline_parallel == layout.pipeline_parallel &&
             each.layout.data_parallel == layout.data_parallel;
    });
  }

  std::size_t most_;
  std::vector<Kept> kept_;  // the least estimate first
};

}  // namespace

std::vector<Plan> best_uniform_plans(const PlanningInput& input, const SearchOptions& options) {
  if (options.constraints.stage_list) return {};
  const auto& allowed = input.recipe.schedules;
  const bool runs_one_f_one_b =
      std::find(allowed.begin(), allowed.end(), name(ScheduleKind::one_f_one_b)) != allowed.end();
  if (!options.schedule && !options.chunks && !runs_one_f_one_b) return {};
  std::vector<UniformLayout> layouts = layouts_under(options, input);
  SearchOptions searched;
  searched.global_batch = options.global_batch;
  searched.max_mesh_axes = 0;  // the meshes are the layouts' own
  searched.constraints = options.constraints;
  const SearchSpace space = search_space(input, searched);
  std::erase_if(layouts, [&](const UniformLayout& layout) {
    return !divides_blocks(layout, space) || !keeps_constraints(layout, space);
  });
  std::map<std::int64_t, BestLayouts> best;  // by chunks
  for (const Candidate& candidate : candidates_of(layouts, space, options)) {
    UniformLayout layout = layouts[candidate.layout];
    BestLayouts& of_chunks = best.try_emplace(layout.schedule.chunks, kept_layouts(layout.schedule)).first->second;
    if (!of_chunks.may_take(layout, candidate.estimate)) continue;
    layout.micro_batch_per_replica = candidate.microbatch_size / layout.data_parallel;
    Plan plan = baseline_plan(input, layout, options.global_batch);
    if (plan.status == PlanStatus::feasible) of_chunks.take(layout, std::move(plan));
  }
  std::vector<Plan> plans;
  for (auto& [chunks, of_chunks] : best)
    for (Plan& plan : of_chunks.plans()) plans.push_back(std::move(plan));
  std::stable_sort(plans.begin(), plans.end(), [](const Plan& a, const Plan& b) { return a.estimate < b.estimate; });
  return plans;
}

std::optional<Plan> best_uniform_plan(const PlanningInput& input, const SearchOptions& options) {
  std::vector<Plan> plans = best_uniform_plans(input, options);
  return plans.empty() ? std::nullopt : std::optional(std::move(plans.front()));
}

}  // namespace meshloom
