#include "graphs/graph.hpp"

#include <algorithm>
#include <array>

namespace meshloom {
namespace {

struct DTypeRow {
  std::string_view name;
  double bytes;
  bool floating;
};
// In the order of DType.
constexpr std::array<DTypeRow, 9> dtypes{{{"bf16", 2, true},
                                          {"fp16", 2, true},
                                          {"fp32", 4, true},
                                          {"fp8", 1, true},
                                          {"fp4", 0.5, true},
                                          {"int32", 4, false},
                                          {"int64", 8, false},
                                          {"int8", 1, false},
                                          {"bool", 1, false}}};

// The product of the sizes of the factors that stand in one of two operands.
double product_over(const Op& op, const RuleOperand& a, const RuleOperand& b, std::int64_t batch) {
  double result = 1;
  for (std::size_t i = 0; i < op.factor_sizes.size(); ++i) {
    const FactorId factor{static_cast<std::uint32_t>(i)};
    if (contains(a, factor) || contains(b, factor)) result *= static_cast<double>(op.factor_sizes[i].at(batch));
  }
  return result;
}

double product_of_all(const Op& op, std::int64_t batch) {
  double result = 1;
  for (const Extent& size : op.factor_sizes) result *= static_cast<double>(size.at(batch));
  return result;
}

bool gradient_reaches(const std::vector<bool>& needs_gradient, const std::vector<TensorId>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [&](TensorId id) { return needs_gradient[index(id)]; });
}

// Two matrix products in the forward, four gradients. (A fused kernel also computes the scores again, which makes 2.5
// times the forward's time, but a repetition is no model FLOP.)
constexpr double attention_backward_model_cost = 2;

}  // namespace

std::string_view name(DType dtype) { return dtypes[static_cast<std::size_t>(dtype)].name; }
Bytes size_of(DType dtype) { return Bytes(dtypes[static_cast<std::size_t>(dtype)].bytes); }
bool is_floating(DType dtype) { return dtypes[static_cast<std::size_t>(dtype)].floating; }

std::optional<DType> dtype_named(std::string_view name) {
  const auto found = std::find_if(dtypes.begin(), dtypes.end(), [&](const DTypeRow& row) { return row.name == name; });
  if (found == dtypes.end()) return std::nullopt;
  return static_cast<DType>(found - dtypes.begin());
}

GraphRelations relations(const Graph& graph) {
  GraphRelations result;
  result.producer.resize(graph.tensors.size());
  result.consumers.resize(graph.tensors.size());
  result.needs_gradient.resize(graph.tensors.size());
  const auto can_have_gradient = [](const Tensor& tensor) {
    return is_floating(tensor.dtype) && !tensor.stop_gradient;
  };
  for (std::size_t i = 0; i < graph.tensors.size(); ++i)
    result.needs_gradient[i] = graph.tensors[i].role == TensorRole::parameter && can_have_gradient(graph.tensors[i]);
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const OpId id{static_cast<std::uint32_t>(i)};
    for (const TensorId input : graph.ops[i].inputs) {
      std::vector<OpId>& consumers = result.consumers[index(input)];
      if (consumers.empty() || consumers.back() != id) consumers.push_back(id);
    }
    const bool depends_on_parameter = gradient_reaches(result.needs_gradient, graph.ops[i].inputs);
    for (const TensorId output : graph.ops[i].outputs) {
      result.producer[index(output)] = id;
      result.needs_gradient[index(output)] = depends_on_parameter && can_have_gradient(graph.tensor(output));
    }
  }
  return result;
}

double elements(const Tensor& tensor, std::int64_t batch) {
  double result = 1;
  for (const Extent& extent : tensor.shape) result *= static_cast<double>(extent.at(batch));
  return result;
}

double computed_share(const Op& op) {
  double keys = 1;
  for (std::size_t i = 0; i < op.factor_sizes.size(); ++i) {
    const FactorId factor{static_cast<std::uint32_t>(i)};
    const bool of_keys = contains(op.rule.inputs[1], factor) && contains(op.rule.inputs[2], factor);
    if (of_keys && !contains(op.rule.inputs[0], factor) && !in_outputs(op.rule, factor))
      keys *= static_cast<double>(op.factor_sizes[i].at(1));
  }
  const double read = op.window > 0 ? std::min(1.0, static_cast<double>(op.window) / keys) : 1;
  return op.causal ? read - read * read / 2 : read;
}

Flops forward_flops(const Op& op, std::int64_t batch) {
  switch (op.kind) {
    case OpKind::einsum:
      return Flops(2 * product_of_all(op, batch));
    case OpKind::conv:
      return Flops(2 * product_over(op, op.rule.inputs[1], op.rule.outputs[0], batch));
    case OpKind::attention: {
      const double scores = 2 * product_over(op, op.rule.inputs[0], op.rule.inputs[1], batch);
      const double values = 2 * product_over(op, op.rule.inputs[2], op.rule.outputs[0], batch);
      return Flops(computed_share(op) * (scores + values));
    }
    case OpKind::custom:
      return Flops(op.custom_flops_per_element * product_over(op, op.rule.outputs[0], op.rule.outputs[0], batch));
    case OpKind::sum:
    case OpKind::gather:
    case OpKind::reshape:
    case OpKind::broadcast:
    case OpKind::add:
    case OpKind::scale:
    case OpKind::multiply:
    case OpKind::gelu:
    case OpKind::relu:
    case OpKind::silu:
    case OpKind::softmax:
    case OpKind::layer_norm:
    case OpKind::rms_norm:
    case OpKind::batch_norm:
    case OpKind::rotary:
    case OpKind::concat:
    case OpKind::dropout:
    case OpKind::max_pool:
    case OpKind::cross_entropy:
      return Flops(0);
  }
  return Flops(0);
}

Flops backward_model_flops(const Graph& graph, const GraphRelations& relations, OpId id, std::int64_t batch) {
  const Op& op = graph.op(id);
  if (!gradient_reaches(relations.needs_gradient, op.outputs)) return Flops(0);
  const Flops forward = forward_flops(op, batch);
  if (op.kind == OpKind::attention) return attention_backward_model_cost * forward;
  if (op.kind == OpKind::custom) return op.custom_backward_cost * forward;
  double gradients = 0;
  for (const TensorId input : op.inputs) gradients += relations.needs_gradient[index(input)] ? 1 : 0;
  return gradients * forward;
}

GraphSummary summarize(const Graph& graph) {
  GraphSummary summary;
  summary.ops = graph.ops.size();
  summary.tensors = graph.tensors.size();
  for (const Tensor& tensor : graph.tensors)
    if (tensor.role == TensorRole::parameter) summary.parameters += elements(tensor, 1);
  const GraphRelations related = relations(graph);
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Flops forward = forward_flops(graph.ops[i], 1);
    summary.forward_flops_per_sample += forward;
    summary.training_flops_per_sample +=
        forward + backward_model_flops(graph, related, OpId{static_cast<std::uint32_t>(i)}, 1);
  }
  return summary;
}

std::vector<GraphLayer> tagged_layers(const Graph& graph) {
  std::vector<GraphLayer> layers;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const std::string& tag = graph.ops[i].layer;
    if (layers.empty() || (!tag.empty() && !layers.back().name.empty() && tag != layers.back().name))
      layers.push_back({tag, {}});
    if (layers.back().name.empty()) layers.back().name = tag;
    layers.back().ops.push_back(OpId{static_cast<std::uint32_t>(i)});
  }
  return layers;
}

}  // namespace meshloom
