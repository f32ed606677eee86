#include "planner/baseline.hpp"

#include <fmt/format.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"
#include "planner/materialize.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/shared_parameters.hpp"
#include "planner/uniform_meshes.hpp"

namespace meshloom {
namespace {

void check(const PlanningInput& input, const UniformLayout& layout, std::int64_t global_batch) {
  for (const auto& [option, degree] :
       {std::pair("--tp", layout.tensor_parallel), std::pair("--pp", layout.pipeline_parallel),
        std::pair("--dp", layout.data_parallel), std::pair("--cp", layout.context_parallel),
        std::pair("--ep", layout.expert_parallel)})
    if (degree < 1) throw InputError(option, fmt::format("must be at least 1, is {}", degree));
  const std::int64_t product = devices_of_stage(layout) * layout.pipeline_parallel;
  if (product != input.cluster.devices()) {
    const bool context = layout.context_parallel > 1;
    throw InputError(
        context ? "--tp, --pp, --dp, --cp" : "--tp, --pp, --dp",
        fmt::format("{} x {} x {}{} = {}, but the cluster has {} devices; change a degree or --hosts",
                    layout.tensor_parallel, layout.pipeline_parallel, layout.data_parallel,
                    context ? fmt::format(" x {}", layout.context_parallel) : "", product, input.cluster.devices()));
  }
  if (global_batch < 1) throw InputError("--global-batch", fmt::format("must be at least 1, is {}", global_batch));
  if (layout.sequence_parallel && layout.tensor_parallel == 1)
    throw InputError("--sequence-parallel", "needs tensor parallelism; give --tp 2 or more");
  if (layout.schedule.kind == ScheduleKind::inference && layout.recompute != Recompute::none)
    throw InputError("--recompute",
                     fmt::format("{} repeats forwards for a backward, and the schedule inference has none; "
                                 "leave --recompute out",
                                 name(layout.recompute)));
  if (layout.micro_batch_per_replica) {
    const std::int64_t samples = *layout.micro_batch_per_replica * layout.data_parallel;
    if (*layout.micro_batch_per_replica < 1 || global_batch % samples != 0)
      throw InputError("--microbatch-size",
                       fmt::format("{} per replica on {} replicas does not divide the global batch {}",
                                   *layout.micro_batch_per_replica, layout.data_parallel, global_batch));
  }
}

using LayerRanges = std::vector<std::pair<std::size_t, std::size_t>>;

// Whether a layer only begins or ends the model.
bool begins_or_ends(const Graph& graph, const PlanningLayer& layer) {
  return std::any_of(layer.ops.begin(), layer.ops.end(), [&](OpId id) {
    const Op& op = graph.op(id);
    const bool embeds = op.kind == OpKind::gather && graph.tensor(op.inputs[0]).role == TensorRole::parameter;
    const bool is_stem = op.kind == OpKind::conv && graph.tensor(op.inputs[0]).role == TensorRole::input;
    return embeds || is_stem || op.kind == OpKind::cross_entropy;
  });
}

// The blocks that are divided among the chunks: the layers from the first to the last that stand in the model more than
// once, with neighbours that neither embed nor convolve images nor end in the loss (a first layer unlike the others).
// What precedes and follows them goes with the first and the last, unless it counts as a block itself.
std::vector<std::size_t> block_starts(const Graph& graph, const PlanningLayers& layers, const UniformLayout& layout) {
  std::map<std::uint32_t, std::size_t> counts;
  for (const PlanningLayer& layer : layers.layers) ++counts[layer.key];
  std::size_t first = layers.layers.size(), end = 0;
  for (std::size_t l = 0; l < layers.layers.size(); ++l)
    if (counts[layers.layers[l].key] > 1) first = std::min(first, l), end = l + 1;
  if (end == 0) first = 0, end = layers.layers.size();
  while (first > 0 && !begins_or_ends(graph, layers.layers[first - 1])) --first;
  while (end < layers.layers.size() && !begins_or_ends(graph, layers.layers[end])) ++end;
  std::vector<std::size_t> blocks(end - first);
  std::iota(blocks.begin(), blocks.end(), first);
  if (layout.embedding_counts_as_block && first > 0) blocks.insert(blocks.begin(), 0);
  if (layout.loss_counts_as_block && end < layers.layers.size()) blocks.push_back(end);
  return blocks;
}

// How many blocks each chunk has. As many as the others or one fewer, where they are to be spread so.
std::vector<std::size_t> blocks_of_chunks(std::size_t blocks, std::size_t chunks) {
  std::vector<std::size_t> counts(chunks, (blocks + chunks - 1) / chunks);
  const std::size_t missing = counts.front() * chunks - blocks;
  for (std::size_t k = 0; k < missing; ++k) --counts[k % 2 == 0 ? chunks - 1 - k / 2 : k / 2];
  return counts;
}

// Equal numbers of blocks for all chunks, or nearly so, in layer order.
LayerRanges equal_stages(const Graph& graph, const PlanningLayers& layers, const UniformLayout& layout) {
  const std::vector<std::size_t> blocks = block_starts(graph, layers, layout);
  const auto count = static_cast<std::size_t>(layout.pipeline_parallel * layout.schedule.chunks);
  const bool counted = layout.embedding_counts_as_block || layout.loss_counts_as_block;
  if (layout.uneven_blocks ? blocks.size() < count : blocks.size() % count != 0)
    throw InputError(layout.schedule.chunks == 1 ? "--pp" : "--pp, --vpp",
                     fmt::format("{} does not divide the model's {} layers{}", count, blocks.size(),
                                 counted ? ", embedding and loss counted as told" : ""));
  LayerRanges result;
  std::size_t block = 0;
  for (const std::size_t own : blocks_of_chunks(blocks.size(), count)) {
    const std::size_t next = block + own;
    result.emplace_back(block == 0 ? 0 : blocks[block],
                        next == blocks.size() ? layers.layers.size() - 1 : blocks[next] - 1);
    block = next;
  }
  return result;
}

SearchOptions options_of(const UniformLayout& layout, std::int64_t global_batch) {
  SearchOptions options;
  options.global_batch = global_batch;
  options.schedule = layout.schedule.kind;
  options.parameter_state = layout.parameter_state;
  options.recompute = layout.recompute;
  options.max_mesh_axes = 0;  // the meshes are the layout's own
  return options;
}

// A rank's chunks need memory together; the reason names the first.
void add_reasons(Plan& plan) {
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(plan.ranks()); ++rank) {
    const Stage& stage = plan.stages[rank];
    const Bytes needs = device_memory(memory_of_rank(plan, rank));
    const Bytes has = group_at(plan.cluster, stage.submesh.group).device.memory;
    if (needs > has) plan.reasons.push_back({stage.first_layer, stage.last_layer, needs, has});
  }
}

Plan plan_with(const SearchSpace& space, const UniformLayout& layout, std::int64_t microbatch_size) {
  const std::vector<DeviceMesh> meshes = stage_meshes(space.input.cluster, space.meanings, layout);
  const std::int64_t microbatches = space.options.global_batch / microbatch_size;
  const RangeSettings settings{layout.parameter_state, layout.recompute, {static_cast<double>(microbatches), 1, 0, 0}};
  PipelineRequest request{{}, microbatch_size, microbatches, layout.schedule};
  const PipelineShape shape = shape_of(layout.schedule, layout.pipeline_parallel);
  const LayerRanges ranges = equal_stages(space.input.graph, space.layers, layout);
  std::map<std::uint32_t, MeshSolver> solvers;  // by group
  for (std::int64_t s = 0; s < shape.stages(); ++s) {
    const auto& [first, last] = ranges[static_cast<std::size_t>(s)];
    const DeviceMesh& mesh = meshes[static_cast<std::size_t>(shape.rank_of(s))];
    MeshSolver& solver =
        solvers.try_emplace(mesh.submesh.group, space, mesh, axis_roles(space.meanings, layout), microbatch_size)
            .first->second;
    const std::int64_t device = shape.rank_of(s) * mesh.submesh.devices();
    request.stages.push_back(
        materialize_stage(space, {first, last, mesh, axis_roles(space.meanings, layout), settings, device}, solver));
  }
  Plan plan = materialize_plan(space, std::move(request));
  add_reasons(plan);
  plan.status = plan.reasons.empty() ? PlanStatus::feasible : PlanStatus::infeasible;
  plan.origin = "baseline " + describe(layout);
  return plan;
}

Bytes largest_need(const Plan& plan) {
  Bytes need;
  for (const InfeasibleReason& reason : plan.reasons) need = std::max(need, reason.needs);
  return need;
}

}  // namespace

std::string describe(const UniformLayout& layout) {
  std::string text =
      fmt::format("tp={} pp={} dp={}", layout.tensor_parallel, layout.pipeline_parallel, layout.data_parallel);
  if (layout.context_parallel > 1) text += fmt::format(" cp={}", layout.context_parallel);
  if (layout.expert_parallel > 1) text += fmt::format(" ep={}", layout.expert_parallel);
  if (layout.expert_tensor_parallel) text += fmt::format(" etp={}", *layout.expert_tensor_parallel);
  if (layout.sequence_parallel) text += " sequence-parallel";
  if (layout.parameter_state != ParameterState::replicated) text += fmt::format(" {}", name(layout.parameter_state));
  if (layout.recompute != Recompute::none) text += fmt::format(" recompute={}", name(layout.recompute));
  if (layout.schedule.kind == ScheduleKind::interleaved) text += fmt::format(" vpp={}", layout.schedule.chunks);
  if (layout.schedule.kind != ScheduleKind::one_f_one_b) text += fmt::format(" {}", name(layout.schedule));
  if (layout.embedding_counts_as_block) text += " embedding-counts";
  if (layout.loss_counts_as_block) text += " loss-counts";
  if (layout.uneven_blocks) text += " uneven";
  if (layout.micro_batch_per_replica) text += fmt::format(" microbatch={}", *layout.micro_batch_per_replica);
  return text;
}

namespace {

// Drops the sizes whose number of microbatches the schedule cannot have; throws InputError when none is left.
void keep_possible(std::vector<std::int64_t>& sizes, const UniformLayout& layout, std::int64_t global_batch) {
  std::optional<std::string> reason;
  std::erase_if(sizes, [&](std::int64_t size) {
    const auto impossible =
        why_impossible(layout.schedule, layout.pipeline_parallel, global_batch / (size * layout.data_parallel));
    if (impossible && !reason) reason = impossible;
    return impossible.has_value();
  });
  if (sizes.empty()) throw InputError(fmt::format("--schedule {}", name(layout.schedule)), *reason);
}

}  // namespace

// The space refers to the two before it.
struct BaselinePlanner::State {
  PlanningInput input;
  SearchOptions options;
  SearchSpace space;

  explicit State(PlanningInput given)
      : input(std::move(given)), options(options_of({}, 1)), space(search_space(input, options)) {}
};

BaselinePlanner::BaselinePlanner(PlanningInput input) : state_(std::make_unique<State>(std::move(input))) {}
BaselinePlanner::~BaselinePlanner() = default;

const PlanningInput& BaselinePlanner::input() const { return state_->input; }

void BaselinePlanner::move_to(const Cluster& cluster) { state_->input.cluster = cluster; }

Plan BaselinePlanner::plan(const UniformLayout& given, std::int64_t global_batch) {
  check(state_->input, given, global_batch);
  const UniformLayout layout =
      with_expert_degrees(state_->input.graph, state_->space.meanings, state_->input.recipe, given);
  check_degrees(state_->input.graph, state_->space.meanings, layout);
  state_->options = options_of(layout, global_batch);
  const SearchSpace& space = state_->space;
  std::vector<std::int64_t> sizes;
  if (layout.micro_batch_per_replica)
    sizes = {*layout.micro_batch_per_replica};
  else
    for (std::int64_t size = 1; size * layout.data_parallel <= global_batch; size *= 2)
      if (global_batch % (size * layout.data_parallel) == 0) sizes.push_back(size);
  if (sizes.empty())
    throw InputError("--dp",
                     fmt::format("{} replicas do not divide the global batch {}", layout.data_parallel, global_batch));
  keep_possible(sizes, layout, global_batch);
  std::optional<Plan> best;
  for (const std::int64_t size : sizes) {
    UniformLayout sized = layout;
    sized.micro_batch_per_replica = size;
    Plan plan = plan_with(space, sized, size * layout.data_parallel);
    const bool fits = plan.status == PlanStatus::feasible;
    const bool best_fits = best && best->status == PlanStatus::feasible;
    const bool better = !best || (fits && !best_fits) || (fits && plan.estimate < best->estimate) ||
                        (!fits && !best_fits && largest_need(plan) < largest_need(*best));
    if (better)
      best = std::move(plan);
    else if (!fits)
      break;  // larger microbatches need more memory still
  }
  best->options = fmt::format("--global-batch {} {}", global_batch, describe(layout));
  return *best;
}

Plan baseline_plan(const PlanningInput& input, const UniformLayout& layout, std::int64_t global_batch) {
  check(input, layout, global_batch);  // before any work
  return BaselinePlanner(input).plan(layout, global_batch);
}

namespace {

// Powers of two; on an unequal cluster all divisors, as groups may be multiples of an odd number of hosts.
std::vector<std::int64_t> pipeline_degrees(const Cluster& cluster) {
  std::vector<std::int64_t> degrees;
  for (std::int64_t degree = 1; degree <= cluster.devices(); cluster.groups.empty() ? degree *= 2 : ++degree)
    if (cluster.devices() % degree == 0) degrees.push_back(degree);
  return degrees;
}

// Degrees of the layouts that may be tried: those that lie evenly on hosts and layers.
std::vector<UniformLayout> possible_degrees(const SearchSpace& space) {
  const Cluster& cluster = space.input.cluster;
  const std::int64_t devices = cluster.devices();
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
      const std::int64_t dp = devices / (tp * pp);
      if (!space.meanings.has_experts()) {
        add({.tensor_parallel = tp, .pipeline_parallel = pp, .data_parallel = dp});
        continue;
      }
      // Tensor parallelism divides each expert, or takes whole ones.
      for (const std::int64_t etp : tp > 1 ? std::vector<std::int64_t>{tp, 1} : std::vector<std::int64_t>{1})
        for (std::int64_t ep = tp / etp; ep <= dp * tp / etp; ep *= 2)
          add({.tensor_parallel = tp,
               .pipeline_parallel = pp,
               .data_parallel = dp,
               .expert_parallel = ep,
               .expert_tensor_parallel = tp > 1 ? std::optional(etp) : std::nullopt});
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

// Uniform layouts that differ only in parameter state and recompute, at one microbatch size: they share their solver.
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

bool keeps_constraints(const UniformLayout& layout, const SearchSpace& space) {
  if (space.allowed.count() && layout.pipeline_parallel != *space.allowed.count()) return false;
  const std::vector<DeviceMesh> meshes = stage_meshes(space.input.cluster, space.meanings, layout);
  const LayerRanges ranges = equal_stages(space.input.graph, space.layers, layout);
  for (std::size_t s = 0; s < ranges.size(); ++s) {
    const Submesh& submesh = meshes[s % meshes.size()].submesh;  // ranks take turns
    if (!space.options.constraints.submeshes.empty() &&
        std::find(space.submeshes.begin(), space.submeshes.end(), submesh) == space.submeshes.end())
      return false;
    if (!space.allowed.on(ranges[s].first, ranges[s].second, submesh)) return false;
  }
  return true;
}

std::vector<std::int64_t> sizes_for(const UniformLayout& layout, const SearchOptions& options) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t size = layout.data_parallel; size <= options.global_batch; size *= 2)
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
      if (!(same == layouts[l])) break;
      if (agrees(layouts[l], options)) members.push_back(l);
    }
    if (members.empty()) continue;
    for (const std::int64_t size : sizes_for(layouts[members.front()], options)) result.push_back({members, size, {}});
  }
  return result;
}

// The estimate that the plan would have; impossible where it does not fit or cannot be sharded so.
Seconds estimate_of(const SearchSpace& space, const UniformLayout& layout, const LayerRanges& ranges,
                    const std::vector<DeviceMesh>& meshes, const std::map<std::uint32_t, std::vector<Cost>>& costs,
                    std::int64_t microbatch_size) {
  const Cluster& cluster = space.input.cluster;
  const std::int64_t microbatches = space.options.global_batch / microbatch_size;
  const auto stages = static_cast<std::int64_t>(ranges.size());
  std::vector<StageTimes> times;
  std::vector<BoundarySends> sends(ranges.size());
  for (std::int64_t s = 0; s < stages; ++s) {
    const auto [first, last] = ranges[static_cast<std::size_t>(s)];
    const Submesh& submesh = meshes[static_cast<std::size_t>(s)].submesh;
    const Cost cost = with_synchronization_waits(
        space.input.recipe, space.launches.with_waits(costs.at(submesh.group)[space.classes.of[first][last - first]],
                                                      first, last, layout.recompute));
    if (!(cost.forward < impossible)) return impossible;
    const auto following =
        following_stages(cost, usable_memory(space, submesh.group), layout.schedule.kind, microbatches, stages - 1 - s);
    if (!following || *following < stages - 1 - s) return impossible;
    Seconds shared;
    if (cost.shared_gradients > Bytes(0) && shares_parameters_outside(space.layers, first, last))
      shared = shared_gradient_time(cluster, cost.shared_gradients, submesh);
    times.push_back({cost.forward, cost.backward, cost.per_step() + shared, cost.backward_weight, shared});
    if (s + 1 == stages) continue;
    const std::int64_t end = (s + 1) * submesh.devices();
    const LinkClass link = host_of_device(cluster, end - 1) == host_of_device(cluster, end) ? LinkClass::intra_host
                                                                                            : LinkClass::inter_host;
    const std::uint32_t next_group = meshes[static_cast<std::size_t>(s) + 1].submesh.group;
    StageBoundary boundary = boundary_after(space, last, {link, submesh.group, next_group}, microbatch_size);
    price_sends(cluster, boundary, submesh, meshes[static_cast<std::size_t>(s) + 1].submesh);
    sends[static_cast<std::size_t>(s)] = {boundary.formula_forward, boundary.formula_backward, link};
  }
  add_sends(times, sends, space.input.recipe, layout.schedule.kind);
  return schedule_formula(layout.schedule, times, microbatches);
}

void price(PricedTogether& priced, const SearchSpace& space, const std::vector<UniformLayout>& layouts) {
  const UniformLayout& any = layouts[priced.layouts.front()];
  const std::vector<DeviceMesh> meshes = stage_meshes(space.input.cluster, space.meanings, any);
  const LayerRanges ranges = equal_stages(space.input.graph, space.layers, any);
  std::vector<bool> wanted(space.classes.classes.size(), false);
  for (const auto& [first, last] : ranges) wanted[space.classes.of[first][last - first]] = true;
  std::map<std::uint32_t, MeshSolver> solvers;  // by group
  for (const DeviceMesh& mesh : meshes)
    solvers.try_emplace(mesh.submesh.group, space, mesh, axis_roles(space.meanings, any), priced.microbatch_size);
  const auto microbatches = static_cast<double>(space.options.global_batch / priced.microbatch_size);
  for (const std::size_t l : priced.layouts) {
    const RangeSettings settings{layouts[l].parameter_state, layouts[l].recompute, {microbatches, 1, 0, 0}};
    std::map<std::uint32_t, std::vector<Cost>> costs;
    for (auto& [group, solver] : solvers) costs[group] = solver.ranges().solve(settings, wanted);
    priced.estimates.push_back(estimate_of(space, layouts[l], ranges, meshes, costs, priced.microbatch_size));
  }
}

}  // namespace

std::optional<Plan> best_uniform_plan(const PlanningInput& input, const SearchOptions& options) {
  if (options.constraints.stage_list) return std::nullopt;
  const auto& allowed = input.recipe.schedules;
  const bool runs_one_f_one_b =
      std::find(allowed.begin(), allowed.end(), name(ScheduleKind::one_f_one_b)) != allowed.end();
  if (options.chunks || options.schedule == ScheduleKind::interleaved || (!options.schedule && !runs_one_f_one_b))
    return std::nullopt;
  std::vector<UniformLayout> layouts = uniform_layouts(input);
  for (UniformLayout& layout : layouts)
    if (options.schedule) layout.schedule = *options.schedule;
  SearchOptions searched;
  searched.global_batch = options.global_batch;
  searched.max_mesh_axes = 0;  // the meshes are the layouts' own
  searched.constraints = options.constraints;
  const SearchSpace space = search_space(input, searched);
  std::erase_if(layouts, [&](const UniformLayout& layout) { return !keeps_constraints(layout, space); });
  std::vector<PricedTogether> priced = price_together(layouts, options);
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                  options.threads == 0
                                      ? tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism)
                                      : options.threads);
  tbb::parallel_for(std::size_t{0}, priced.size(), [&](std::size_t p) { price(priced[p], space, layouts); });
  std::vector<std::tuple<Seconds, std::size_t, std::int64_t>> order;  // ties: the first layout, then the smaller size
  for (const PricedTogether& together : priced)
    for (std::size_t k = 0; k < together.layouts.size(); ++k)
      if (together.estimates[k] < impossible)
        order.emplace_back(together.estimates[k], together.layouts[k], together.microbatch_size);
  std::sort(order.begin(), order.end());
  for (const auto& [estimate, l, size] : order) {
    UniformLayout layout = layouts[l];
    layout.micro_batch_per_replica = size / layout.data_parallel;
    Plan plan = baseline_plan(input, layout, options.global_batch);
    if (plan.status == PlanStatus::feasible) return plan;
  }
  return std::nullopt;
}

}  // namespace meshloom
