#include "planner/explain.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "graphs/input_error.hpp"
#include "planner/stage_costs.hpp"

namespace meshloom {
namespace {

std::vector<std::string> factor_names(const Op& op, const Strategy& strategy, std::size_t axes) {
  std::vector<std::string> names;
  for (std::size_t axis = 0; axis < axes; ++axis)
    names.push_back(strategy.axes[axis] ? op.rule.factors[index(*strategy.axes[axis])].name : "");
  return names;
}

OpId find_op(const Graph& graph, const std::string& id) {
  std::vector<std::string> names;
  for (std::uint32_t o = 0; o < graph.ops.size(); ++o) {
    if (graph.ops[o].id == id) return OpId{o};
    names.push_back(graph.ops[o].id);
  }
  throw InputError("--op", "the graph has no op \"" + id + "\"" + did_you_mean(id, names));
}

// A baseline's alternatives are those of its layout.
std::vector<AxisRole> roles_of(const Plan& plan, const DeviceMesh& mesh) {
  std::vector<AxisRole> roles(mesh.dimensions(), AxisRole::free);
  if (!plan.origin.starts_with("baseline")) return roles;
  const bool sequence = plan.origin.find("sequence-parallel") != std::string::npos;
  const std::map<std::string_view, AxisRole> named{
      {"dp", AxisRole::data_parallel},
      {"ep", AxisRole::expert_parallel},
      {"cp", AxisRole::context_parallel},
      {"cp-ep", AxisRole::context_and_expert_parallel},
      {"tp-kv", AxisRole::key_value_copies},
      {"tp-ep", sequence ? AxisRole::sequence_and_expert_parallel : AxisRole::tensor_and_expert_parallel},
      {"tp", sequence ? AxisRole::sequence_parallel : AxisRole::tensor_parallel}};
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis) roles[axis] = named.at(mesh.axes[axis].name);
  return roles;
}

Seconds time_per_step(const Cost& cost, const Plan& plan) {
  return static_cast<double>(plan.microbatches) * cost.per_microbatch() + cost.per_step();
}

Bytes peak(const Cost& cost, const Stage& stage, const Recipe& recipe) {
  const Bytes held = cost.fixed + static_cast<double>(stage.memory.in_flight) * cost.activations + cost.transient();
  return held * (1 + recipe.memory_fragmentation);
}

}  // namespace

OpExplanation explain_op(const Plan& plan, const Graph& graph, const std::string& id) {
  const OpId op_id = find_op(graph, id);
  const Op& op = graph.op(op_id);
  const PlanningInput input{graph, plan.cluster, plan.recipe, {}, {}, {"the plan", plan.pins}};
  const SearchOptions options{.global_batch = plan.global_batch, .layers = plan.layers.size(), .max_mesh_axes = 0};
  const SearchSpace space = search_space(input, options);
  const auto layer = space.layers.layer_of[index(op_id)];
  const auto stage = std::find_if(plan.stages.begin(), plan.stages.end(), [&](const Stage& s) {
    return s.first_layer <= static_cast<std::int64_t>(layer) && static_cast<std::int64_t>(layer) <= s.last_layer;
  });
  if (stage == plan.stages.end()) throw InputError("--op", "the plan has no stage with the op \"" + id + "\"");
  const auto stored =
      std::find_if(stage->ops.begin(), stage->ops.end(), [&](const OpSharding& s) { return s.op == id; });
  if (stored == stage->ops.end())
    throw InputError("--op", "the plan does not shard the op \"" + id + "\"; give the graph that was planned");

  const DeviceMesh mesh{stage->submesh, stage->mesh};
  MeshSolver solver(space, mesh, roles_of(plan, mesh), plan.microbatch_size);
  const auto& ops = space.layers.layers[layer].ops;
  const auto node = static_cast<std::uint32_t>(std::find(ops.begin(), ops.end(), op_id) - ops.begin());
  const RangeSettings settings{stage->allowed_states, stage->recompute, stage->weights};
  const std::vector<Cost> costs = solver.ranges().costs_by_choice(
      settings, static_cast<std::size_t>(stage->first_layer), static_cast<std::size_t>(stage->last_layer), layer, node);
  const std::vector<Choice> choices = solver.ranges().full_model(layer).nodes[node].choices;

  OpExplanation result;
  result.op = id;
  result.layer = space.layers.layers[layer].name;
  result.stage = stage - plan.stages.begin();
  result.chosen = stored->axes;
  result.forward = stored->forward;
  result.backward = stored->backward;
  result.forward_source = stored->forward_source;
  result.backward_source = stored->backward_source;
  result.rule = print_rule(op.rule);
  if (!space.pins.empty()) result.fixed_by = space.pins.place(op_id);
  std::optional<Cost> chosen, second;
  for (std::size_t c = 0; c < choices.size(); ++c) {
    const std::vector<std::string> factors = factor_names(op, choices[c].strategy, mesh.dimensions());
    if (factors == stored->axes) {
      chosen = costs[c];
    } else if (costs[c].forward < impossible &&
               (!second || weighted(costs[c], settings.weights) < weighted(*second, settings.weights))) {
      second = costs[c];
      result.runner_up = factors;
    }
  }
  if (chosen && second) {
    result.difference = time_per_step(*second, plan) - time_per_step(*chosen, plan);
    result.memory_difference = peak(*second, *stage, plan.recipe) - peak(*chosen, *stage, plan.recipe);
    result.priced_difference = Seconds(weighted(*second, settings.weights) - weighted(*chosen, settings.weights));
  }
  result.excluded = excluded_by_shape(solver.context().strategies, op_id);
  return result;
}

}  // namespace meshloom
