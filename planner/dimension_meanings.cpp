#include "planner/dimension_meanings.hpp"

#include <algorithm>
#include <functional>

#include "graphs/attention_core.hpp"

namespace meshloom {
namespace {

bool is_parameter(const Graph& graph, TensorId tensor) { return graph.tensor(tensor).role == TensorRole::parameter; }

// DimensionMarks the dimensions of the op's outputs that a marked dimension of an input runs along.
void carry_along(DimensionMarks& marks, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f) {
    const FactorId factor{f};
    if (!in_marked(op.inputs, op.rule.inputs, marks, factor)) continue;
    for (std::size_t o = 0; o < op.outputs.size(); ++o)
      for (std::size_t d = 0; d < op.rule.outputs[o].size(); ++d)
        if (std::count(op.rule.outputs[o][d].begin(), op.rule.outputs[o][d].end(), factor) > 0)
          marks[index(op.outputs[o])][d] = true;
  }
}

void mark(DimensionMarks& marks, const std::vector<TensorId>& tensors, const std::vector<RuleOperand>& operands,
          FactorId factor) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::size_t d = 0; d < operands[i].size(); ++d)
      if (std::count(operands[i][d].begin(), operands[i][d].end(), factor) > 0) marks[index(tensors[i])][d] = true;
}

// Marks the dimensions of the op's inputs that run along a marked dimension of an output.
void carry_back(DimensionMarks& marks, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (in_marked(op.outputs, op.rule.outputs, marks, FactorId{f})) mark(marks, op.inputs, op.rule.inputs, FactorId{f});
}

// A product batched over a parameter's factor: the factor is in every operand and in the result.
void mark_experts(DimensionMarks& marks, const Graph& graph, const Op& op) {
  if (op.kind != OpKind::einsum || op.inputs.size() < 2 || !multiplies_a_parameter(graph, op)) return;
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f) {
    const FactorId factor{f};
    const auto has = [&](const RuleOperand& operand) { return contains(operand, factor); };
    if (!std::all_of(op.rule.inputs.begin(), op.rule.inputs.end(), has) ||
        !std::all_of(op.rule.outputs.begin(), op.rule.outputs.end(), has))
      continue;
    mark(marks, op.inputs, op.rule.inputs, factor);
    mark(marks, op.outputs, op.rule.outputs, factor);
  }
}

// Dispatched tokens: what a product batched over experts runs along besides the batch and the parameter's dimensions.
void mark_dispatched(DimensionMeanings& meanings, const Graph& graph, const Op& op) {
  bool batched = false;
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      batched = batched || (is_parameter(graph, op.inputs[i]) && contains(op.rule.inputs[i], FactorId{f}) &&
                            in_marked(op.inputs, op.rule.inputs, meanings.experts, FactorId{f}));
  if (!batched || op.kind != OpKind::einsum) return;
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f) {
    const FactorId factor{f};
    bool of_parameter = false;
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      of_parameter = of_parameter || (is_parameter(graph, op.inputs[i]) && contains(op.rule.inputs[i], factor));
    if (of_parameter || !in_outputs(op.rule, factor)) continue;
    mark(meanings.tokens, op.inputs, op.rule.inputs, factor);
    mark(meanings.tokens, op.outputs, op.rule.outputs, factor);
  }
}

// What shares queries among keys: fused attention, or the scores' product of two activations.
std::vector<std::reference_wrapper<const Op>> cores(const Graph& graph) {
  const std::vector<bool> in_core = attention_core(graph, relations(graph));
  std::vector<std::reference_wrapper<const Op>> result;
  for (std::size_t o = 0; o < graph.ops.size(); ++o) {
    const Op& op = graph.ops[o];
    if (in_core[o] && op.inputs.size() > 1 && (op.kind == OpKind::attention || op.kind == OpKind::einsum))
      result.emplace_back(op);
  }
  return result;
}

// Of queries and results alike, and neither tokens nor the size of a head.
std::vector<FactorId> head_factors(const DimensionMeanings& meanings, const Op& op) {
  std::vector<FactorId> factors;
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f) {
    const FactorId factor{f};
    if (op.rule.factors[f].mark == FactorMark::none && !op.factor_sizes[f].scales_with_batch &&
        contains(op.rule.inputs[0], factor) && in_outputs(op.rule, factor) &&
        !in_marked(op.inputs, op.rule.inputs, meanings.tokens, factor))
      factors.push_back(factor);
  }
  return factors;
}

// And marks those of keys and values.
void add_heads(DimensionMeanings& meanings, const Op& op) {
  AttentionHeads heads;
  const std::vector<FactorId> factors = head_factors(meanings, op);
  for (const FactorId factor : factors) {
    const std::int64_t size = op.factor_sizes[index(factor)].size;
    heads.query *= size;
    if (!contains(op.rule.inputs[1], factor)) continue;
    heads.key_value *= size;
    for (std::size_t i = 1; i < op.inputs.size(); ++i)
      mark(meanings.key_value_heads, {op.inputs[i]}, {op.rule.inputs[i]}, factor);
  }
  const bool known = std::find(meanings.heads.begin(), meanings.heads.end(), heads) != meanings.heads.end();
  if (!factors.empty() && !known) meanings.heads.push_back(heads);
}

DimensionMarks no_marks(const Graph& graph) {
  DimensionMarks marks;
  for (const Tensor& tensor : graph.tensors) marks.emplace_back(tensor.shape.size(), false);
  return marks;
}

}  // namespace

bool in_marked(const std::vector<TensorId>& tensors, const std::vector<RuleOperand>& operands,
               const DimensionMarks& marked, FactorId factor) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::size_t d = 0; d < operands[i].size(); ++d)
      if (marked[index(tensors[i])][d] && std::count(operands[i][d].begin(), operands[i][d].end(), factor) > 0)
        return true;
  return false;
}

bool multiplies_a_parameter(const Graph& graph, const Op& op) {
  const bool multiplies = op.kind == OpKind::einsum || op.kind == OpKind::conv || op.kind == OpKind::gather;
  return multiplies &&
         std::any_of(op.inputs.begin(), op.inputs.end(), [&](TensorId t) { return is_parameter(graph, t); });
}

bool DimensionMeanings::has_experts() const {
  return std::any_of(experts.begin(), experts.end(), [](const std::vector<bool>& marks) {
    return std::find(marks.begin(), marks.end(), true) != marks.end();
  });
}

DimensionMeanings dimension_meanings(const Graph& graph) {
  DimensionMeanings meanings{no_marks(graph), no_marks(graph), no_marks(graph), {}};
  for (std::size_t t = 0; t < graph.tensors.size(); ++t)
    if (graph.tensors[t].role == TensorRole::input) meanings.tokens[t].flip();
  for (const Op& op : graph.ops) {
    carry_along(meanings.tokens, op);
    mark_experts(meanings.experts, graph, op);
    mark_dispatched(meanings, graph, op);
    carry_along(meanings.experts, op);
  }
  for (const Op& op : cores(graph)) add_heads(meanings, op);
  for (auto op = graph.ops.rbegin(); op != graph.ops.rend(); ++op) carry_back(meanings.key_value_heads, *op);
  return meanings;
}

}  // namespace meshloom
