#include "graphs/gradients.hpp"

#include <algorithm>

namespace meshloom {
namespace {

std::vector<std::size_t> inputs_needing_gradient(const Op& op, const GraphRelations& relations) {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < op.inputs.size(); ++i)
    if (relations.needs_gradient[index(op.inputs[i])]) result.push_back(i);
  return result;
}

// Kinds in which the gradient of one input is made from the others, and not from itself.
bool reads_other_inputs(OpKind kind) {
  return (traits(kind).multilinear && traits(kind).reads_inputs) || kind == OpKind::multiply;
}

bool reads_input(const Op& op, const std::vector<std::size_t>& needing, std::size_t input) {
  if (!traits(op.kind).reads_inputs) return false;
  if (reads_other_inputs(op.kind))
    return std::any_of(needing.begin(), needing.end(), [&](std::size_t other) { return other != input; });
  const bool has_bias = op.kind == OpKind::layer_norm || op.kind == OpKind::batch_norm;
  return !(has_bias && input == 2);  // the bias' gradient is a sum of dy
}

GradientOp multilinear_gradient(const Op& op, std::size_t input) {
  ShardingRule rule = gradient_rule(op.rule, input);
  if (!traits(op.kind).reads_inputs) rule.inputs.resize(1);  // only the result's gradient
  return {{input}, std::move(rule), 0};
}

OpGradient differentiate_op(const Op& op, const GraphRelations& relations) {
  OpGradient result;
  const std::vector<std::size_t> needing = inputs_needing_gradient(op, relations);
  const bool has_incoming = std::any_of(op.outputs.begin(), op.outputs.end(),
                                        [&](TensorId output) { return relations.needs_gradient[index(output)]; });
  if (needing.empty() || !has_incoming) return result;
  const OpKindTraits& kind = traits(op.kind);
  if (kind.multilinear) {
    for (const std::size_t input : needing) result.kernels.push_back(multilinear_gradient(op, input));
  } else {
    const double cost = op.kind == OpKind::custom ? op.custom_backward_cost : kind.backward_cost;
    result.kernels.push_back({needing, std::nullopt, cost});
  }
  for (std::size_t i = 0; i < op.inputs.size(); ++i)
    if (reads_input(op, needing, i)) result.saved.inputs.push_back(i);
  for (std::size_t o = 0; kind.reads_outputs && o < op.outputs.size(); ++o) result.saved.outputs.push_back(o);
  result.saved.extra_bytes_per_output_element = kind.extra_bytes_per_output_element;
  result.saved.extra_bytes_per_row = kind.extra_bytes_per_row;
  return result;
}

}  // namespace

TrainingGraph differentiate(const Graph& graph) {
  TrainingGraph result{relations(graph), {}};
  for (const Op& op : graph.ops) {
    OpGradient& gradient = result.gradients.emplace_back(differentiate_op(op, result.relations));
    for (const TensorId output : op.outputs)
      for (const OpId consumer : result.relations.consumers[index(output)])
        gradient.makes_logits = gradient.makes_logits || graph.op(consumer).kind == OpKind::cross_entropy;
  }
  return result;
}

}  // namespace meshloom
