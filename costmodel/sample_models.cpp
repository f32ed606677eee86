#include "costmodel/sample_models.hpp"

#include <cmath>

#include "costmodel/op_costs.hpp"

namespace meshloom {
namespace {

struct OneOp {
  OpKind kind;
  const char* rule;
};

// What moves bytes has one operand and one result of a letter each, so that any number of bytes can be split over them.
OneOp op_of(const OperatorKey& key) {
  switch (key.kind) {
    case MeasuredOperator::gemm:
      return {OpKind::einsum, "b m k, b k n -> b m n"};
    case MeasuredOperator::attention:
      return {OpKind::attention, "b s (k g) d!, b t! k d, b t k d -> b s (k g) d"};
    case MeasuredOperator::transpose:
      return {OpKind::reshape, "a b -> b a"};
    case MeasuredOperator::copy:
    case MeasuredOperator::optimizer:
    case MeasuredOperator::scale:
      return {OpKind::scale, "a -> b"};
    case MeasuredOperator::add:
    case MeasuredOperator::multiply:
    case MeasuredOperator::gelu:
    case MeasuredOperator::relu:
    case MeasuredOperator::silu:
    case MeasuredOperator::softmax:
    case MeasuredOperator::layer_norm:
    case MeasuredOperator::rms_norm:
    case MeasuredOperator::batch_norm:
    case MeasuredOperator::rotary:
    case MeasuredOperator::dropout:
    case MeasuredOperator::max_pool:
    case MeasuredOperator::cross_entropy:
    case MeasuredOperator::sum:
    case MeasuredOperator::gather:
      return {*op_kind_named(name(key.kind)), "a -> b"};
  }
  return {OpKind::scale, "a -> b"};
}

Graph graph_of(const OperatorKey& key) {
  const OneOp one = op_of(key);
  Graph graph;
  Op op;
  op.kind = one.kind;
  op.rule = parse_rule(one.rule, "rule");
  op.causal = key.causal;
  const auto add = [&](std::vector<TensorId>& list) {
    list.push_back(TensorId{static_cast<std::uint32_t>(graph.tensors.size())});
    graph.tensors.push_back({.dtype = key.dtype});
  };
  for (std::size_t i = 0; i < op.rule.inputs.size(); ++i) add(op.inputs);
  for (std::size_t o = 0; o < op.rule.outputs.size(); ++o) add(op.outputs);
  graph.ops.push_back(op);
  return graph;
}

OpGradient gradient_of(const OperatorKey& key, const Op& op) {
  OpGradient gradient;
  if (has_direction(key.kind) && key.direction == Direction::backward)
    gradient.kernels.push_back(
        {.of_inputs = {0}, .rule = std::nullopt, .cost_of_forward = traits(op.kind).backward_cost});
  return gradient;
}

// By the rule's factors, in order of first appearance.
std::vector<std::int64_t> factor_sizes(const OperatorKey& key, std::span<const std::int64_t> shape) {
  switch (key.kind) {
    case MeasuredOperator::gemm:  // b m k n
      return {shape[0], shape[1], shape[3], shape[2]};
    case MeasuredOperator::attention:  // b s k g d t
      return {shape[0], shape[3], shape[2], shape[1] / shape[2], shape[5], shape[4]};
    default:
      break;
  }
  const auto elements =
      static_cast<std::int64_t>(std::llround(static_cast<double>(shape[0]) / size_of(key.dtype).value()));
  const std::int64_t half = std::max<std::int64_t>(1, elements / 2);
  if (key.kind == MeasuredOperator::transpose) return {2, std::max<std::int64_t>(2, half / 2)};
  if (key.kind == MeasuredOperator::gather) return {half, half};  // rows are as large as the result
  return {std::max<std::int64_t>(1, elements - half), half};
}

}  // namespace

SampleModel::SampleModel(const Cluster& cluster, const Recipe& recipe, const OperatorKey& key)
    : cluster_(cluster), recipe_(recipe), key_(key), graph_(graph_of(key)), gradient_(gradient_of(key, graph_.ops[0])) {
  cluster_.measured.reset();
  recipe_.elementwise_traffic = 1;
  if (key.dtype == DType::bf16 || key.dtype == DType::fp16) recipe_.compute_dtype = key.dtype;
}

Seconds SampleModel::time(std::span<const std::int64_t> shape) const {
  if (key_.kind == MeasuredOperator::optimizer)
    return Bytes(recipe_.optimizer_traffic * static_cast<double>(shape[0])) /
           (cluster_.device.memory_bandwidth * cluster_.device.memory_efficiency);
  const OpTime time = op_time(cluster_, recipe_, graph_, gradient_, OpId{0}, factor_sizes(key_, shape));
  return has_direction(key_.kind) && key_.direction == Direction::backward ? time.backward : time.forward;
}

DeviceGroup group_of(const CollectiveKey& key) {
  return {key.hosts * key.devices_per_host, key.hosts, 1, 1, key.hosts};
}

Collective collective_of(MeasuredCollective kind) {
  switch (kind) {
    case MeasuredCollective::all_gather:
      return Collective::all_gather;
    case MeasuredCollective::reduce_scatter:
      return Collective::reduce_scatter;
    case MeasuredCollective::all_reduce:
      return Collective::all_reduce;
    case MeasuredCollective::all_to_all:
      return Collective::all_to_all;
    case MeasuredCollective::send_receive:
      return Collective::permute;
  }
  return Collective::permute;
}

MeasuredCollective measured_collective(Collective collective) {
  switch (collective) {
    case Collective::all_gather:
      return MeasuredCollective::all_gather;
    case Collective::reduce_scatter:
      return MeasuredCollective::reduce_scatter;
    case Collective::all_reduce:
      return MeasuredCollective::all_reduce;
    case Collective::all_to_all:
      return MeasuredCollective::all_to_all;
    case Collective::permute:
      return MeasuredCollective::send_receive;
  }
  return MeasuredCollective::send_receive;
}

Bytes whole_of(const CollectiveKey& key, double bytes) {
  const bool of_each = key.kind == MeasuredCollective::all_to_all || key.kind == MeasuredCollective::send_receive;
  return Bytes(of_each ? bytes * static_cast<double>(key.hosts * key.devices_per_host) : bytes);
}

Seconds modelled_sample(const Cluster& cluster, const CollectiveKey& key, std::int64_t bytes) {
  return modelled_collective_time(cluster, collective_of(key.kind), whole_of(key, static_cast<double>(bytes)),
                                  group_of(key));
}

}  // namespace meshloom
