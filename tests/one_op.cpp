#include "tests/one_op.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

namespace meshloom {

Cluster toy_device() {
  Cluster cluster;
  cluster.device.memory_bandwidth = BytesPerSecond(10);
  cluster.device.memory_efficiency = 1;
  cluster.device.peak = {{DType::fp16, FlopsPerSecond(100)}, {DType::fp32, FlopsPerSecond(25)}};
  cluster.device.gemm = {.of_peak = 1, .wave_penalty = 0, .depth_penalty = 0};
  cluster.device.attention_of_peak = 0.5;
  return cluster;
}

OneOp::OneOp(OpKind kind, const std::vector<std::string>& inputs, const std::string& output,
             const std::vector<std::int64_t>& factor_sizes)
    : sizes(factor_sizes) {
  Op op;
  op.kind = kind;
  for (const std::string& text : inputs) op.inputs.push_back(add(op.rule.inputs, op.rule.factors, text));
  op.outputs.push_back(add(op.rule.outputs, op.rule.factors, output));
  REQUIRE(op.rule.factors.size() == sizes.size());
  for (const std::int64_t size : sizes) op.factor_sizes.push_back({size, false});
  graph.ops.push_back(op);
}

OneOp& OneOp::differentiate(std::size_t input) {
  gradient.kernels.push_back({.of_inputs = {input}, .rule = std::nullopt, .cost_of_forward = 0});
  return *this;
}

OneOp& OneOp::joint_kernel(double cost_of_forward) {
  gradient.kernels.push_back({.of_inputs = {0}, .rule = std::nullopt, .cost_of_forward = cost_of_forward});
  return *this;
}

OpTime OneOp::time(const Cluster& cluster, const Recipe& recipe) const {
  return op_time(cluster, recipe, graph, gradient, OpId{0}, sizes);
}

TensorId OneOp::add(std::vector<RuleOperand>& operands, std::vector<RuleFactor>& factors, const std::string& letters) {
  RuleOperand operand;
  for (const char letter : letters) {
    const RuleFactor factor{std::string(1, letter), FactorMark::none};
    auto found = std::find(factors.begin(), factors.end(), factor);
    if (found == factors.end()) found = factors.insert(factors.end(), factor);
    operand.push_back({FactorId(found - factors.begin())});
  }
  operands.push_back(operand);
  graph.tensors.emplace_back();
  return TensorId(graph.tensors.size() - 1);
}

}  // namespace meshloom
