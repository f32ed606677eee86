// What choices of a layer model cost under settings.
#include <algorithm>
#include <tuple>
#include <utility>

#include "planner/layer_model.hpp"

namespace meshloom {
namespace {

const RecomputePart& part_in(const ByRecompute<RecomputePart>& parts, Recompute recompute) {
  return parts[static_cast<std::size_t>(recompute)];
}

// Gathered copies of parameters (zero3): an op's own are held while it runs, and when its forward is repeated with
// those of its layer until the backward that follows, unless it gathers them again; one that several ops use is held
// from the first to the last of them.
Bytes& holder_of_gathered(Cost& cost, const ModelNode& node, Recompute recompute) {
  if (node.kind == ModelNode::Kind::parameter) return cost.gathered;
  return runs_in_backward(part_in(node.parts, recompute).runs) && !node.regathers ? cost.recomputed : cost.working;
}

void save(Cost& cost, Bytes bytes, Saving saving) {
  if (saving == Saving::kept) cost.activations += bytes;
  if (saving == Saving::made_again) cost.recomputed += bytes;
}

// Without the gathered copy.
Cost cost_of_parameter(const ParameterCost& parameter) {
  Cost cost;
  cost.forward = total_time(parameter.forward);
  cost.backward = total_time(parameter.backward);
  cost.synchronization = total_time(parameter.per_step);
  for (const ParameterCollective& each : parameter.per_step)
    if (each.collective == Collective::all_gather) cost.parameter_gathers += each.time;
  cost.forward_beside = parameter.forward_beside;
  cost.backward_beside = parameter.backward_beside;
  cost.update = parameter.update;
  cost.fixed = parameter.parameters + parameter.gradients + parameter.optimizer;
  return cost;
}

void move_forward_to_backward(Cost& cost) {
  cost.backward += std::exchange(cost.forward, Seconds(0));
  cost.backward_beside += std::exchange(cost.forward_beside, Seconds(0));
}

Cost cost_of_choice(const Choice& choice, const ModelNode& node, const RangeSettings& settings) {
  Cost cost;
  cost.forward = choice.forward;
  cost.backward = choice.backward;
  cost.backward_weight = choice.backward_weight;
  cost.working = choice.working;
  const RecomputePart& part = part_in(node.parts, settings.recompute);
  for (const ParameterChoices& parameter : choice.parameters) {
    const ParameterCost& kept = parameter[static_cast<std::size_t>(best_state(parameter, settings))];
    cost = add_within_layer(cost, cost_of_parameter(kept));
    for (const ParameterCollective& each : kept.backward)
      if (reduces(each.collective)) cost.backward_weight += each.time;
    holder_of_gathered(cost, node, settings.recompute) += kept.gathered;
    if (!runs_in_backward(part.runs) || !node.regathers) continue;
    cost.backward += total_time(kept.forward);
    cost.backward_beside += kept.forward_beside;
  }
  if (part.runs == ForwardRuns::in_both) cost.backward += choice.forward;
  if (part.runs == ForwardRuns::in_backward) move_forward_to_backward(cost);
  save(cost, choice.saved, part.saving);
  return cost;
}

Cost cost_of_edge(const EdgeCost& edge, const ByRecompute<RecomputePart>& parts, Recompute recompute) {
  Cost cost;
  cost.forward = edge.forward;
  cost.backward = edge.backward;
  cost.backward_weight = edge.backward_weight;
  const RecomputePart& part = part_in(parts, recompute);
  if (part.runs == ForwardRuns::in_both) cost.backward += edge.forward;
  if (part.runs == ForwardRuns::in_backward) move_forward_to_backward(cost);
  save(cost, edge.saved, part.saving);
  return cost;
}

std::int64_t integer_cost(const Cost& cost, const Weights& weights) {
  const double picoseconds = weighted(cost, weights) * 1e12;
  return picoseconds >= static_cast<double>(infinite_cost) ? infinite_cost : static_cast<std::int64_t>(picoseconds);
}

}  // namespace

ParameterState best_state(const ParameterChoices& parameter, const RangeSettings& settings) {
  const auto order = [&](ParameterState state) {
    const Cost cost = cost_of_parameter(parameter[static_cast<std::size_t>(state)]);
    return std::tuple(weighted(cost, settings.weights), cost.per_step(), cost.fixed);
  };
  const std::vector<ParameterState> states = settings.states.list();
  if (states.size() == 1) return states.front();
  return *std::min_element(states.begin(), states.end(),
                           [&](ParameterState a, ParameterState b) { return order(a) < order(b); });
}

Cost add_within_layer(const Cost& a, const Cost& b) {
  return {a.forward + b.forward,
          a.backward + b.backward,
          a.synchronization + b.synchronization,
          a.update + b.update,
          a.fixed + b.fixed,
          a.activations + b.activations,
          a.recomputed + b.recomputed,
          std::max(a.working, b.working),
          a.gathered + b.gathered,
          a.shared_gradients + b.shared_gradients,
          a.backward_weight + b.backward_weight,
          a.forward_beside + b.forward_beside,
          a.backward_beside + b.backward_beside,
          a.parameter_gathers + b.parameter_gathers};
}

Cost add_layers(const Cost& a, const Cost& b) {
  Cost sum = add_within_layer(a, b);
  sum.recomputed = std::max(a.recomputed, b.recomputed);
  return sum;
}

double weighted(const Cost& cost, const Weights& weights) {
  return weights.microbatches * cost.per_microbatch().value() + weights.per_step * cost.per_step().value() +
         weights.seconds_per_fixed_byte * cost.fixed.value() +
         weights.seconds_per_activation_byte * cost.activations.value();
}

PricedLayer::PricedLayer(const LayerModel& model, const RangeSettings& settings)
    : model_(&model), settings_(settings), costs_(model.interior) {
  for (std::size_t n = 0; n < model.interior; ++n)
    for (const Choice& choice : model.nodes[n].choices)
      costs_[n].push_back(cost_of_choice(choice, model.nodes[n], settings));
}

IntraOpProblem PricedLayer::problem() const {
  IntraOpProblem problem;
  for (std::size_t n = 0; n < model_->nodes.size(); ++n) {
    IntraOpNode& node = problem.nodes.emplace_back();
    node.costs.assign(model_->nodes[n].choices.size(), 0);
    for (std::size_t c = 0; n < model_->interior && c < costs_[n].size(); ++c)
      node.costs[c] = integer_cost(costs_[n][c], settings_.weights);
  }
  for (const ModelEdge& edge : model_->edges) {
    IntraOpEdge& scalar = problem.edges.emplace_back(IntraOpEdge{edge.a, edge.b, {}});
    scalar.costs.reserve(edge.costs.size());
    for (const EdgeCost& cost : edge.costs)
      scalar.costs.push_back(cost.forward < impossible
                                 ? integer_cost(cost_of_edge(cost, edge.parts, settings_.recompute), settings_.weights)
                                 : infinite_cost);
  }
  return problem;
}

Cost PricedLayer::cost_of_choices(const std::vector<std::uint32_t>& choices) const {
  return meshloom::cost_of_choices(*model_, settings_, choices);
}

Cost cost_of_choices(const LayerModel& model, const RangeSettings& settings,
                     const std::vector<std::uint32_t>& choices) {
  Cost total;
  for (std::size_t n = 0; n < model.interior; ++n)
    total = add_within_layer(total, cost_of_choice(model.nodes[n].choices[choices[n]], model.nodes[n], settings));
  for (const ModelEdge& edge : model.edges)
    total = add_within_layer(
        total, cost_of_edge(edge.costs[choices[edge.a] * model.nodes[edge.b].choices.size() + choices[edge.b]],
                            edge.parts, settings.recompute));
  return total;
}

Cost cost_of_variable(const ModelNode& node, std::uint32_t choice, const RangeSettings& settings) {
  // A saved interface activation is what recomputation starts from, so it stays saved whatever is recomputed.
  Cost cost = cost_of_choice(node.choices[choice], node, {settings.states, Recompute::none, settings.weights});
  for (const ParameterChoices& parameter : node.choices[choice].parameters)
    cost.shared_gradients += parameter[static_cast<std::size_t>(best_state(parameter, settings))].gradients;
  return cost;
}

}  // namespace meshloom
