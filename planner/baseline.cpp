#include "planner/baseline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"
#include "planner/equal_stages.hpp"
#include "planner/materialize.hpp"
#include "planner/plan/ranks.hpp"
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

}  // namespace meshloom
