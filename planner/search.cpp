#include "planner/search.hpp"

#include <fmt/format.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"
#include "planner/infeasibility.hpp"
#include "planner/materialize.hpp"
#include "planner/pipeline_search.hpp"
#include "planner/placement.hpp"
#include "planner/remedies.hpp"

namespace meshloom {
namespace {

constexpr double rounding_of_sums = 1e-12;  // relative, generous: the bound stays proven
// Sums of times are floating point: a bound may stand a hair above an estimate, but no more.
constexpr double hair = 1e-9;

void check(const SearchOptions& options) {
  if (options.global_batch < 1)
    throw InputError("--global-batch", fmt::format("must be at least 1, is {}", options.global_batch));
  if (options.chunks && *options.chunks < 2)
    throw InputError("--vpp", fmt::format("needs chunks to interleave, 2 or more, not {}", *options.chunks));
  if (!options.microbatch_size) return;
  const std::int64_t size = *options.microbatch_size;
  if (size < 1) throw InputError("--microbatch-size", fmt::format("must be at least 1, is {}", size));
  if (options.global_batch % size != 0)
    throw InputError("--microbatch-size",
                     fmt::format("{} does not divide the global batch {}", size, options.global_batch));
}

// Pinned ops, one for each layer key and position: layers with equal keys have equal pins.
std::vector<OpId> different_pinned_ops(const SearchSpace& space) {
  std::set<std::pair<std::uint32_t, std::ptrdiff_t>> seen;
  std::vector<OpId> result;
  for (const OpId op : space.pins.pinned_ops()) {
    const PlanningLayer& layer = space.layers.layers[space.layers.layer_of[index(op)]];
    const auto position = std::find(layer.ops.begin(), layer.ops.end(), op) - layer.ops.begin();
    if (seen.emplace(layer.key, position).second) result.push_back(op);
  }
  return result;
}

bool is_possible(const SearchSpace& space, const LayerModel& model, OpId id) {
  const Op& op = space.input.graph.op(id);
  return std::all_of(model.nodes.begin(), model.nodes.end(), [&](const ModelNode& node) {
    const bool concerned = node.kind == ModelNode::Kind::op
                               ? node.op == id
                               : std::count(op.inputs.begin(), op.inputs.end(), node.tensor) +
                                         std::count(op.outputs.begin(), op.outputs.end(), node.tensor) >
                                     0;
    return !concerned || node.choices.front().forward < impossible;
  });
}

// A pin that no mesh can keep is refused with its place.
void check_pins(const SearchSpace& space) {
  if (space.meshes.empty()) return;  // no device has room for anything
  std::vector<OpId> open = different_pinned_ops(space);
  const std::int64_t batch = space.options.microbatch_size.value_or(space.options.global_batch);
  for (const DeviceMesh& mesh : space.meshes) {
    if (open.empty()) return;
    const MeshSolver solver(space, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), batch);
    std::erase_if(open, [&](OpId op) {
      const PlanningLayer& layer = space.layers.layers[space.layers.layer_of[index(op)]];
      return is_possible(space, build_layer_model(solver.context(), layer), op);
    });
  }
  if (open.empty()) return;
  throw InputError(
      space.pins.place(open.front()),
      fmt::format(
          "no device mesh of this cluster can have op \"{}\" so: the parts must be products of mesh axes, on at "
          "most {} devices (--max-mesh-axes is {}), and divide the sizes",
          space.input.graph.op(open.front()).id, space.input.cluster.devices(), space.options.max_mesh_axes));
}

Plan materialize(const SearchSpace& space, const Pipeline& pipeline) {
  PipelineRequest request{{}, pipeline.microbatch_size, pipeline.microbatches, pipeline.schedule};
  const std::size_t ranks = pipeline.options.size() / static_cast<std::size_t>(pipeline.schedule.chunks);
  std::vector<std::int64_t> first_device, next_device;  // by group
  for (std::size_t group = 0; group < group_count(space.input.cluster); ++group)
    first_device.push_back(first_device_of(space.input.cluster, group));
  std::map<std::uint32_t, MeshSolver> solvers;  // by mesh
  for (std::size_t s = 0; s < pipeline.options.size(); ++s) {
    if (s % ranks == 0) next_device = first_device;  // the next chunks, on the same ranks
    const StageOption& option = pipeline.options[s];
    const DeviceMesh& mesh = space.meshes[pipeline.candidates[s].mesh];
    std::int64_t& device = next_device[mesh.submesh.group];
    const StageRequest stage{option.first,
                             option.last,
                             mesh,
                             std::vector<AxisRole>(mesh.dimensions(), AxisRole::free),
                             pipeline.candidates[s].settings,
                             device,
                             pipeline.candidates[s].held};
    MeshSolver& solver =
        solvers.try_emplace(pipeline.candidates[s].mesh, space, mesh, stage.roles, pipeline.microbatch_size)
            .first->second;
    request.stages.push_back(materialize_stage(space, stage, solver));
    device += mesh.submesh.devices();
  }
  const std::optional<PipelineRequest> otherwise = placed_otherwise(space, request);
  Plan plan = materialize_plan(space, std::move(request));
  if (!otherwise) return plan;
  Plan moved = materialize_plan(space, *otherwise);
  return moved.estimate <= plan.estimate ? moved : plan;
}

std::size_t threads_of(const SearchOptions& options) {
  return options.threads == 0 ? tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism)
                              : options.threads;
}

// `options.remedies`: with what would help.
Plan infeasible_answer(const SearchSpace& space, const std::optional<MemoryNeed>& need) {
  Plan plan = infeasible_plan(space, need);
  if (space.options.remedies) plan.remedies = find_remedies(space.input, space.options, plan, finds_plan);
  return plan;
}

std::string describe(const SearchOptions& options) {
  std::string text = fmt::format("--global-batch {}", options.global_batch);
  if (options.microbatch_size) text += fmt::format(" --microbatch-size {}", *options.microbatch_size);
  if (options.schedule) text += fmt::format(" --schedule {}", name(*options.schedule));
  if (options.chunks) text += fmt::format(" --vpp {}", *options.chunks);
  if (options.parameter_state) text += fmt::format(" --parameter-state {}", name(*options.parameter_state));
  if (options.recompute) text += fmt::format(" --recompute {}", name(*options.recompute));
  if (options.layers) text += fmt::format(" --layers {}", *options.layers);
  if (options.thinning != Thinning::automatic)
    text += options.thinning == Thinning::never ? " --thinning never" : " --thinning always";
  return text + options_text(options.constraints) + fmt::format(" --max-mesh-axes {}", options.max_mesh_axes);
}

}  // namespace

bool finds_plan(const PlanningInput& input, const SearchOptions& options) {
  check(options);
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads_of(options));
  const SearchSpace space = search_space(input, options);
  check_pins(space);
  return has_pipeline(space);
}

std::vector<Plan> search_plans(const PlanningInput& input, const SearchOptions& options) {
  check(options);
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads_of(options));
  const SearchSpace space = search_space(input, options);
  check_pins(space);
  if (!has_usable_memory(space)) {
    Plan plan = infeasible_answer(space, MemoryNeed{0, space.layers.layers.size() - 1, input.recipe.context_memory});
    plan.options = describe(options);
    return {plan};
  }
  const PipelineSearchResult result = search_pipelines(space);
  if (result.pipelines.empty()) {
    Plan plan =
        result.cut_short ? plan_without_stages(space, PlanStatus::time_limit) : infeasible_answer(space, result.need);
    plan.options = describe(options);
    return {plan};
  }
  const PlanStatus unproven = result.cut_short ? PlanStatus::time_limit : PlanStatus::feasible;
  std::vector<Plan> plans;
  for (const Pipeline& pipeline : result.pipelines) {
    Plan plan = materialize(space, pipeline);
    plan.options = describe(options);
    plans.push_back(std::move(plan));
  }
  std::stable_sort(plans.begin(), plans.end(), [](const Plan& a, const Plan& b) { return a.estimate < b.estimate; });
  // The bound is of stages placed in their order; of a plan that is below it since they are not, nothing is proven.
  const bool placed_better =
      plans.front().estimate < std::min(result.pipelines.front().estimate, result.lower_bound) * (1 - hair);
  const Seconds bound = placed_better ? Seconds(0) : result.lower_bound;
  for (Plan& plan : plans) {
    plan.best_estimate = plans.front().estimate;
    if (bound > plan.best_estimate * (1 + hair))
      throw std::logic_error(fmt::format("the lower bound {} s exceeds the best estimate {} s", bound.value(),
                                         plan.best_estimate.value()));
    plan.lower_bound = std::min(bound * (1 - rounding_of_sums), plan.best_estimate);
    plan.status = bound > Seconds(0) && plan.gap() <= 1e-9 && plan.estimate == plan.best_estimate ? PlanStatus::optimal
                                                                                                  : unproven;
  }
  return plans;
}

}  // namespace meshloom
