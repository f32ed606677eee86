#include "costmodel/kernel_shapes.hpp"

#include <algorithm>
#include <cmath>

#include "costmodel/op_costs.hpp"

namespace meshloom {
namespace {

std::optional<MeasuredOperator> measured_kind(const Op& op) {
  switch (op.kind) {
    case OpKind::einsum:
      return op.inputs.size() == 2 ? std::optional(MeasuredOperator::gemm) : std::nullopt;
    case OpKind::attention:
      return MeasuredOperator::attention;
    case OpKind::reshape:
      return MeasuredOperator::transpose;
    case OpKind::conv:
    case OpKind::broadcast:
    case OpKind::custom:
      return std::nullopt;
    case OpKind::sum:
    case OpKind::scale:
    case OpKind::gather:
    case OpKind::add:
    case OpKind::multiply:
    case OpKind::gelu:
    case OpKind::relu:
    case OpKind::silu:
    case OpKind::softmax:
    case OpKind::layer_norm:
    case OpKind::rms_norm:
    case OpKind::batch_norm:
    case OpKind::rotary:
    case OpKind::dropout:
    case OpKind::max_pool:
    case OpKind::cross_entropy:
      return measured_operator_named(traits(op.kind).name);
  }
  return std::nullopt;
}

struct LocalShape {
  const Recipe& recipe;
  const Graph& graph;
  const Op& op;
  std::span<const std::int64_t> sizes;

  std::int64_t size(FactorId factor) const { return sizes[index(factor)]; }
  std::int64_t elements(const RuleOperand& operand) const {
    std::int64_t product = 1;
    for (const RuleDimension& dimension : operand)
      for (const FactorId factor : dimension) product *= size(factor);
    return product;
  }
  double bytes_of(const RuleOperand& operand, TensorId tensor) const {
    return static_cast<double>(elements(operand)) * element_size(recipe, graph.tensor(tensor).dtype).value();
  }

  // That of the first floating operand, 16-bit ones as the recipe says.
  DType dtype() const {
    for (const TensorId tensor : op.inputs) {
      const DType dtype = graph.tensor(tensor).dtype;
      if (dtype == DType::bf16 || dtype == DType::fp16) return recipe.compute_dtype;
      if (is_floating(dtype)) return dtype;
    }
    return recipe.compute_dtype;
  }

  // Read and written by the forward. Of a gather's table the rows that are read, which are as large as the result.
  std::int64_t bytes() const {
    double sum = 0;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
      const bool table = op.kind == OpKind::gather && is_floating(graph.tensor(op.inputs[i]).dtype);
      sum += table ? bytes_of(op.rule.outputs[0], op.outputs[0]) : bytes_of(op.rule.inputs[i], op.inputs[i]);
    }
    for (std::size_t o = 0; o < op.outputs.size(); ++o) sum += bytes_of(op.rule.outputs[o], op.outputs[o]);
    return std::max<std::int64_t>(1, std::llround(sum));
  }

  // Elements of a row: the factors with a mark, which rows are not split into.
  std::int64_t columns() const {
    std::int64_t product = 1;
    for (std::size_t f = 0; f < op.rule.factors.size(); ++f)
      if (op.rule.factors[f].mark == FactorMark::whole || op.rule.factors[f].mark == FactorMark::inner_collective)
        product *= sizes[f];
    return product;
  }
};

bool comes_before(const RuleOperand& operand, const LocalShape& local, auto one, auto other) {
  for (const RuleDimension& dimension : operand)
    for (const FactorId factor : dimension) {
      if (local.size(factor) == 1) continue;
      if (one(factor)) return true;
      if (other(factor)) return false;
    }
  return true;
}

OperandOrder order_of(bool left_as_written, bool right_as_written) {
  if (left_as_written) return right_as_written ? OperandOrder::nn : OperandOrder::nt;
  return right_as_written ? OperandOrder::tn : OperandOrder::tt;
}

// left times right, m before n in the result; none when it is no product of matrices.
std::optional<KernelShape> product(const LocalShape& local, const RuleOperand& left, const RuleOperand& right,
                                   const RuleOperand& result) {
  std::int64_t batch = 1, m = 1, n = 1, k = 1;
  for (std::uint32_t f = 0; f < local.op.rule.factors.size(); ++f) {
    const FactorId factor{f};
    const bool in_left = contains(left, factor), in_right = contains(right, factor),
               in_result = contains(result, factor);
    const std::int64_t size = local.size(factor);
    if (size == 1 || (!in_left && !in_right && !in_result)) continue;
    if (in_left && in_right)
      (in_result ? batch : k) *= size;
    else if (in_left && in_result)
      m *= size;
    else if (in_right && in_result)
      n *= size;
    else
      return std::nullopt;  // summed or broadcast on one side alone
  }
  if (k == 1) return std::nullopt;
  const auto of_k = [&](FactorId f) { return contains(left, f) && contains(right, f) && !contains(result, f); };
  const auto of_m = [&](FactorId f) { return !contains(right, f); };
  const auto of_n = [&](FactorId f) { return !contains(left, f); };
  if (!comes_before(result, local, of_m, of_n)) return product(local, right, left, result);
  return KernelShape{
      {.kind = MeasuredOperator::gemm,
       .dtype = local.dtype(),
       .operands = order_of(comes_before(left, local, of_m, of_k), comes_before(right, local, of_k, of_n))},
      {batch, m, n, k}};
}

// Query, key, value -> output: what the query shares with the key and the output are samples and heads; a factor beside
// one of these in one dimension makes query heads of a key-value head; the head size is whole. Samples and heads are
// told apart by order alone, so the profile's samples are looked up by the product of both.
std::optional<KernelShape> attention(const LocalShape& local, Direction direction) {
  const ShardingRule& rule = local.op.rule;
  if (rule.inputs.size() < 3) return std::nullopt;
  const RuleOperand &query = rule.inputs[0], &key = rule.inputs[1], &output = rule.outputs[0];
  std::int64_t groups = 1, queries = 1, keys = 1, heads = 1, head_size = 1;
  const auto shared = [&](FactorId f) {
    return contains(key, f) && contains(output, f) && rule.factors[index(f)].mark != FactorMark::whole;
  };
  for (const RuleDimension& dimension : query) {
    const bool of_heads = std::any_of(dimension.begin(), dimension.end(), shared);
    for (const FactorId f : dimension) {
      if (shared(f))
        groups *= local.size(f);
      else if (contains(key, f))
        head_size *= local.size(f);
      else
        (of_heads ? heads : queries) *= local.size(f);
    }
  }
  for (const RuleDimension& dimension : key)
    for (const FactorId f : dimension)
      if (!contains(query, f)) keys *= local.size(f);
  return KernelShape{
      {.kind = MeasuredOperator::attention, .dtype = local.dtype(), .causal = local.op.causal, .direction = direction},
      {1, groups * heads, groups, queries, keys, head_size}};
}

std::optional<KernelShape> by_bytes(const LocalShape& local, MeasuredOperator kind, Direction direction) {
  KernelShape result{{.kind = kind, .dtype = local.dtype(), .direction = direction}, {local.bytes()}};
  if (shape_names(kind).size() == 2) result.shape.push_back(local.columns());
  return result;
}

}  // namespace

std::optional<KernelShape> forward_kernel(const Recipe& recipe, const Graph& graph, const Op& op,
                                          std::span<const std::int64_t> factor_sizes) {
  const LocalShape local{recipe, graph, op, factor_sizes};
  const auto kind = measured_kind(op);
  if (!kind) return std::nullopt;
  if (*kind == MeasuredOperator::gemm) return product(local, op.rule.inputs[0], op.rule.inputs[1], op.rule.outputs[0]);
  if (*kind == MeasuredOperator::attention) return attention(local, Direction::forward);
  return by_bytes(local, *kind, Direction::forward);
}

std::optional<KernelShape> gradient_kernel(const Recipe& recipe, const Graph& graph, const Op& op,
                                           const GradientOp& kernel, std::span<const std::int64_t> factor_sizes) {
  const LocalShape local{recipe, graph, op, factor_sizes};
  const auto kind = measured_kind(op);
  if (!kind) return std::nullopt;
  switch (*kind) {
    case MeasuredOperator::gemm: {
      const std::size_t of = kernel.of_inputs[0];
      const RuleOperand &result = op.rule.outputs[0], &other = op.rule.inputs[1 - of];
      return of == 0 ? product(local, result, other, op.rule.inputs[0])
                     : product(local, other, result, op.rule.inputs[1]);
    }
    case MeasuredOperator::attention:
      return attention(local, Direction::backward);
    case MeasuredOperator::sum:
    case MeasuredOperator::add:
      return std::nullopt;
    case MeasuredOperator::scale:  // the same kernel on the gradient
    case MeasuredOperator::transpose:
      return by_bytes(local, *kind, Direction::forward);
    case MeasuredOperator::copy:
    case MeasuredOperator::optimizer:
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
    case MeasuredOperator::gather:
      return by_bytes(local, *kind, Direction::backward);
  }
  return std::nullopt;
}

}  // namespace meshloom
