#include "planner/strategies.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace meshloom {
namespace {

using AxisFactors = std::array<std::optional<FactorId>, max_mesh_axes>;

bool is_parameter(const Graph& graph, TensorId tensor) { return graph.tensor(tensor).role == TensorRole::parameter; }

// Whether the factor is in a marked dimension of one of the tensors.
bool in_marked(const std::vector<TensorId>& tensors, const std::vector<RuleOperand>& operands,
               const std::vector<std::vector<bool>>& marked, FactorId factor) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::size_t d = 0; d < operands[i].size(); ++d)
      if (marked[index(tensors[i])][d] && std::count(operands[i][d].begin(), operands[i][d].end(), factor) > 0)
        return true;
  return false;
}

bool is_token_factor(const StrategyContext& context, const Op& op, FactorId factor) {
  return in_marked(op.inputs, op.rule.inputs, context.meanings.tokens, factor);
}

// Experts go through the op: it neither sends tokens to them nor collects what they made.
bool is_expert_factor(const StrategyContext& context, const Op& op, FactorId factor) {
  return in_marked(op.inputs, op.rule.inputs, context.meanings.experts, factor) &&
         in_marked(op.outputs, op.rule.outputs, context.meanings.experts, factor);
}

bool works_on_experts(const StrategyContext& context, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (is_expert_factor(context, op, FactorId{f})) return true;
  return false;
}

bool multiplies_a_parameter(const Graph& graph, const Op& op) {
  const bool multiplies = op.kind == OpKind::einsum || op.kind == OpKind::conv || op.kind == OpKind::gather;
  return multiplies &&
         std::any_of(op.inputs.begin(), op.inputs.end(), [&](TensorId t) { return is_parameter(graph, t); });
}

// Logits sharded by vocabulary stay so for the loss.
bool vocabulary_divides(const StrategyContext& context, const Op& op, std::size_t axis) {
  for (std::size_t f = 0; f < op.rule.factors.size(); ++f)
    if (op.rule.factors[f].mark == FactorMark::inner_collective &&
        op.factor_sizes[f].at(context.batch) % context.mesh.size(axis) == 0)
      return true;
  return false;
}

// May an axis with a tensor-parallel role shard this factor?
bool tensor_parallel_factor(const StrategyContext& context, const Op& op, std::size_t axis, FactorId factor,
                            bool along_tokens) {
  const bool token = is_token_factor(context, op, factor);
  if (multiplies_a_parameter(context.graph, op)) {
    if (token || (op.kind == OpKind::gather && in_outputs(op.rule, factor))) return false;
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      if (is_parameter(context.graph, op.inputs[i]) && contains(op.rule.inputs[i], factor)) return true;
    return false;
  }
  const bool batch = op.factor_sizes[index(factor)].scales_with_batch;
  if (op.kind == OpKind::einsum || op.kind == OpKind::attention)
    return !token && in_inputs(op.rule, factor) && in_outputs(op.rule, factor);
  if (token)
    return along_tokens && !batch && (op.kind != OpKind::cross_entropy || !vocabulary_divides(context, op, axis));
  const bool normalised = op.rule.factors[index(factor)].mark == FactorMark::inner_collective;
  return !normalised || op.kind == OpKind::cross_entropy;
}

bool role_allows(const StrategyContext& context, const Op& op, std::size_t axis, FactorId factor) {
  switch (context.roles[axis]) {
    case AxisRole::free:
      return true;
    case AxisRole::data_parallel:
      return op.factor_sizes[index(factor)].scales_with_batch;
    case AxisRole::tensor_parallel:
      return tensor_parallel_factor(context, op, axis, factor, false);
    case AxisRole::sequence_parallel:
      return tensor_parallel_factor(context, op, axis, factor, true);
    case AxisRole::context_parallel:
      return is_token_factor(context, op, factor) && !op.factor_sizes[index(factor)].scales_with_batch;
    case AxisRole::expert_parallel:
      return works_on_experts(context, op) ? is_expert_factor(context, op, factor)
                                           : op.factor_sizes[index(factor)].scales_with_batch;
    case AxisRole::context_and_expert_parallel:
      return works_on_experts(context, op)
                 ? is_expert_factor(context, op, factor)
                 : is_token_factor(context, op, factor) && !op.factor_sizes[index(factor)].scales_with_batch;
  }
  return false;
}

// As the loss of a sample does: what lies behind is of no token.
bool adds_up_tokens(const StrategyContext& context, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (op.kind == OpKind::sum && is_token_factor(context, op, FactorId{f}) && !in_outputs(op.rule, FactorId{f}))
      return true;
  return false;
}

// Roles that oblige: data, context and expert parallelism shard whatever they can, tensor parallelism every product
// with a parameter, and sequence parallelism whatever lies between them, too. Tokens' losses are whole where their
// logits are sharded; adding up a part of them would cost an all-gather of their gradient.
bool role_obliges(const StrategyContext& context, const Op& op, std::size_t axis) {
  switch (context.roles[axis]) {
    case AxisRole::free:
      return false;
    case AxisRole::data_parallel:
    case AxisRole::context_parallel:
    case AxisRole::expert_parallel:
    case AxisRole::context_and_expert_parallel:
      return true;
    case AxisRole::sequence_parallel:
      return !adds_up_tokens(context, op);
    case AxisRole::tensor_parallel:
      return multiplies_a_parameter(context.graph, op);
  }
  return false;
}

bool shape_allows(const StrategyContext& context, const Op& op, const AxisFactors& axes, std::string* reason) {
  const auto fail = [&](std::string text) {
    if (reason != nullptr) *reason = std::move(text);
    return false;
  };
  for (std::size_t f = 0; f < op.rule.factors.size(); ++f) {
    const FactorId factor{static_cast<std::uint32_t>(f)};
    std::int64_t parts = 1;
    std::string names;
    for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis)
      if (axes[axis] == factor) {
        parts *= context.mesh.size(axis);
        names += (names.empty() ? "" : " and ") + context.mesh.axes[axis].name;
      }
    if (names.empty()) continue;
    const FactorMark mark = op.rule.factors[f].mark;
    const std::string& name = op.rule.factors[f].name;
    const std::int64_t size = op.factor_sizes[f].at(context.batch);
    if (mark == FactorMark::whole) return fail(fmt::format("axis {} cannot shard {}: it must stay whole", names, name));
    if (mark == FactorMark::halo)
      return fail(fmt::format("axis {} cannot shard {}: halo exchange is not priced yet", names, name));
    if (size % parts != 0)
      return fail(fmt::format("axis {} cannot shard {}: {} is not divisible by {}", names, name, size, parts));
    // Shards of a multilinear op's sum add up; an inner collective makes the result whole.
    const bool reduces =
        in_inputs(op.rule, factor) && (traits(op.kind).multilinear || mark == FactorMark::inner_collective);
    for (const RuleOperand& output : op.rule.outputs)
      if (!contains(output, factor) && !reduces)
        return fail(fmt::format("axis {} cannot shard {}: an output lacks it", names, name));
  }
  return true;
}

// In a product dimension a minor factor may be sharded only behind major ones that are sharded out, on more major axes.
bool product_order_allows(const StrategyContext& context, const Op& op, const AxisFactors& axes,
                          const RuleOperand& operand) {
  for (const RuleDimension& dimension : operand)
    for (std::size_t minor = 1; minor < dimension.size(); ++minor)
      for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis) {
        if (axes[axis] != dimension[minor]) continue;
        for (std::size_t major = 0; major < minor; ++major) {
          std::int64_t parts = 1;
          for (std::size_t other = 0; other < axis; ++other)
            if (axes[other] == dimension[major]) parts *= context.mesh.size(other);
          if (parts != op.factor_sizes[index(dimension[major])].at(context.batch)) return false;
        }
      }
  return true;
}

std::optional<std::size_t> dimension_of(const RuleOperand& operand, FactorId factor) {
  for (std::size_t d = 0; d < operand.size(); ++d)
    if (std::find(operand[d].begin(), operand[d].end(), factor) != operand[d].end()) return d;
  return std::nullopt;
}

AxisLayout operand_layout(const RuleOperand& operand, FactorId factor, bool has_gradient) {
  if (const auto dimension = dimension_of(operand, factor)) return sharded(*dimension);
  return has_gradient ? replicated_partial_gradient : replicated;
}

AxisLayout result_layout(const ShardingRule& rule, const RuleOperand& operand, FactorId factor) {
  if (const auto dimension = dimension_of(operand, factor)) return sharded(*dimension);
  return rule.factors[index(factor)].mark == FactorMark::inner_collective ? replicated : partial;
}

// Calls `visit` with every assignment of candidates to axes.
template <typename Visit>
void for_each_assignment(const std::vector<std::vector<std::optional<FactorId>>>& candidates, const Visit& visit) {
  AxisFactors axes{};
  const auto recurse = [&](const auto& self, std::size_t axis) -> void {
    if (axis == candidates.size()) return visit(axes);
    for (const std::optional<FactorId>& candidate : candidates[axis]) {
      axes[axis] = candidate;
      self(self, axis + 1);
    }
  };
  recurse(recurse, 0);
}

}  // namespace

namespace {

using Marks = std::vector<std::vector<bool>>;  // by TensorId, by dimension

// Marks the dimensions of the op's outputs that a marked dimension of an input runs along.
void carry_along(Marks& marks, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f) {
    const FactorId factor{f};
    if (!in_marked(op.inputs, op.rule.inputs, marks, factor)) continue;
    for (std::size_t o = 0; o < op.outputs.size(); ++o)
      for (std::size_t d = 0; d < op.rule.outputs[o].size(); ++d)
        if (std::count(op.rule.outputs[o][d].begin(), op.rule.outputs[o][d].end(), factor) > 0)
          marks[index(op.outputs[o])][d] = true;
  }
}

void mark(Marks& marks, const std::vector<TensorId>& tensors, const std::vector<RuleOperand>& operands,
          FactorId factor) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::size_t d = 0; d < operands[i].size(); ++d)
      if (std::count(operands[i][d].begin(), operands[i][d].end(), factor) > 0) marks[index(tensors[i])][d] = true;
}

// A product batched over a parameter's factor: the factor is in every operand and in the result.
void mark_experts(Marks& marks, const Graph& graph, const Op& op) {
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

Marks no_marks(const Graph& graph) {
  Marks marks;
  for (const Tensor& tensor : graph.tensors) marks.emplace_back(tensor.shape.size(), false);
  return marks;
}

}  // namespace

bool DimensionMeanings::has_experts() const {
  return std::any_of(experts.begin(), experts.end(), [](const std::vector<bool>& marks) {
    return std::find(marks.begin(), marks.end(), true) != marks.end();
  });
}

DimensionMeanings dimension_meanings(const Graph& graph) {
  DimensionMeanings meanings{no_marks(graph), no_marks(graph)};
  for (std::size_t t = 0; t < graph.tensors.size(); ++t)
    if (graph.tensors[t].role == TensorRole::input) meanings.tokens[t].flip();
  for (const Op& op : graph.ops) {
    carry_along(meanings.tokens, op);
    mark_experts(meanings.experts, graph, op);
    mark_dispatched(meanings, graph, op);
    carry_along(meanings.experts, op);
  }
  return meanings;
}

std::optional<Strategy> strategy_for(const StrategyContext& context, OpId id, const AxisFactors& axes) {
  const Op& op = context.graph.op(id);
  if (!shape_allows(context, op, axes, nullptr)) return std::nullopt;
  for (const auto* operands : {&op.rule.inputs, &op.rule.outputs})
    for (const RuleOperand& operand : *operands)
      if (!product_order_allows(context, op, axes, operand)) return std::nullopt;
  Strategy strategy{axes, std::vector<Layout>(op.inputs.size()), std::vector<Layout>(op.outputs.size()), {}};
  for (const Extent& extent : op.factor_sizes) strategy.local_sizes.push_back(extent.at(context.batch));
  for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis) {
    if (!axes[axis]) continue;
    strategy.local_sizes[index(*axes[axis])] /= context.mesh.size(axis);
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      strategy.inputs[i].axes[axis] = operand_layout(op.rule.inputs[i], *axes[axis],
                                                     context.training.relations.needs_gradient[index(op.inputs[i])]);
    for (std::size_t o = 0; o < op.outputs.size(); ++o)
      strategy.outputs[o].axes[axis] = result_layout(op.rule, op.rule.outputs[o], *axes[axis]);
  }
  return strategy;
}

std::vector<Strategy> enumerate_strategies(const StrategyContext& context, OpId id) {
  const Op& op = context.graph.op(id);
  std::vector<std::vector<std::optional<FactorId>>> candidates(context.mesh.dimensions());
  for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis) {
    for (std::size_t f = 0; f < op.rule.factors.size(); ++f) {
      const FactorId factor{static_cast<std::uint32_t>(f)};
      AxisFactors alone{};
      alone[axis] = factor;
      if (role_allows(context, op, axis, factor) && shape_allows(context, op, alone, nullptr))
        candidates[axis].emplace_back(factor);
    }
    if (candidates[axis].empty() || !role_obliges(context, op, axis))
      candidates[axis].insert(candidates[axis].begin(), std::nullopt);
  }
  std::vector<Strategy> strategies;
  for_each_assignment(candidates, [&](const AxisFactors& axes) {
    if (auto strategy = strategy_for(context, id, axes)) strategies.push_back(std::move(*strategy));
  });
  if (strategies.empty())
    strategies.push_back(*strategy_for(context, id, {}));  // obliged, but sizes do not divide together
  return strategies;
}

std::vector<std::string> excluded_by_shape(const StrategyContext& context, OpId id) {
  const Op& op = context.graph.op(id);
  std::vector<std::string> reasons;
  for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis)
    for (std::size_t f = 0; f < op.rule.factors.size(); ++f) {
      AxisFactors alone{};
      alone[axis] = FactorId{static_cast<std::uint32_t>(f)};
      std::string reason;
      if (!shape_allows(context, op, alone, &reason)) reasons.push_back(reason);
    }
  return reasons;
}

std::vector<Layout> enumerate_layouts(const StrategyContext& context, TensorId id) {
  const Tensor& tensor = context.graph.tensor(id);
  const bool has_gradient = context.training.relations.needs_gradient[index(id)];
  std::vector<Layout> layouts{Layout{}};
  for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis) {
    std::vector<AxisLayout> states{replicated};
    if (has_gradient) states.push_back(replicated_partial_gradient);
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
      const bool token = context.meanings.tokens[index(id)][d];
      const bool expert = context.meanings.experts[index(id)][d];
      const bool batch = tensor.shape[d].scales_with_batch;
      const AxisRole role = context.roles[axis];
      const bool allowed = role == AxisRole::free || (role == AxisRole::data_parallel && batch) ||
                           (role == AxisRole::tensor_parallel && !token) ||
                           (role == AxisRole::sequence_parallel && !batch) ||
                           (role == AxisRole::context_parallel && token && !batch) ||
                           (role == AxisRole::expert_parallel && (batch || expert)) ||
                           (role == AxisRole::context_and_expert_parallel && ((token && !batch) || expert));
      if (allowed) states.push_back(sharded(d));
    }
    std::vector<Layout> extended;
    for (const Layout& layout : layouts)
      for (const AxisLayout& state : states) {
        extended.push_back(layout);
        extended.back().axes[axis] = state;
      }
    layouts = std::move(extended);
  }
  const std::vector<std::int64_t> sizes = sizes_of(tensor, context.batch);
  std::erase_if(layouts, [&](const Layout& layout) {
    for (std::size_t d = 0; d < sizes.size(); ++d) {
      std::int64_t parts = 1;
      for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis)
        if (layout.axes[axis] == sharded(d)) parts *= context.mesh.size(axis);
      if (sizes[d] % parts != 0) return true;
    }
    return false;
  });
  return layouts;
}

bool conversion_allowed(const StrategyContext& context, TensorId id, const Layout& from, const Layout& to) {
  for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis) {
    const bool sequence = context.roles[axis] == AxisRole::sequence_parallel;
    if ((context.roles[axis] != AxisRole::tensor_parallel && !sequence) || from.axes[axis] != partial) continue;
    const AxisLayout target = to.axes[axis];
    const bool along_tokens =
        target.kind == LayoutKind::sharded && context.meanings.tokens[index(id)][target.dimension];
    if (sequence ? !along_tokens : target.kind == LayoutKind::sharded) return false;
  }
  return true;
}

std::vector<std::int64_t> sizes_of(const Tensor& tensor, std::int64_t batch) {
  std::vector<std::int64_t> sizes;
  for (const Extent& extent : tensor.shape) sizes.push_back(extent.at(batch));
  return sizes;
}

}  // namespace meshloom
