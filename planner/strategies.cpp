#include "planner/strategies.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace meshloom {
namespace {

using AxisFactors = std::array<std::optional<FactorId>, max_mesh_axes>;

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

AxisRole role_of(const StrategyContext& context, std::size_t axis) {
  return context.roles[context.roles[axis] == AxisRole::key_value_copies ? axis - 1 : axis];
}

bool shards_experts(AxisRole role) {
  return role == AxisRole::expert_parallel || role == AxisRole::context_and_expert_parallel ||
         role == AxisRole::tensor_and_expert_parallel || role == AxisRole::sequence_and_expert_parallel;
}

// What the role does where there are no experts.
AxisRole beside_experts(AxisRole role) {
  switch (role) {
    case AxisRole::expert_parallel:
      return AxisRole::data_parallel;
    case AxisRole::context_and_expert_parallel:
      return AxisRole::context_parallel;
    case AxisRole::tensor_and_expert_parallel:
      return AxisRole::tensor_parallel;
    case AxisRole::sequence_and_expert_parallel:
      return AxisRole::sequence_parallel;
    default:
      return role;
  }
}

// Of the axis and the one that goes with it.
std::int64_t devices_together(const StrategyContext& context, std::size_t axis) {
  if (context.roles[axis] == AxisRole::key_value_copies) --axis;
  const bool has_copies = axis + 1 < context.mesh.dimensions() && context.roles[axis + 1] == AxisRole::key_value_copies;
  return context.mesh.size(axis) * (has_copies ? context.mesh.size(axis + 1) : 1);
}

// Logits sharded by vocabulary stay so for the loss.
bool vocabulary_divides(const StrategyContext& context, const Op& op, std::size_t axis) {
  for (std::size_t f = 0; f < op.rule.factors.size(); ++f)
    if (op.rule.factors[f].mark == FactorMark::inner_collective &&
        op.factor_sizes[f].at(context.batch) % devices_together(context, axis) == 0)
      return true;
  return false;
}

// That the op makes.
std::optional<FactorId> key_value_heads(const StrategyContext& context, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (in_marked(op.outputs, op.rule.outputs, context.meanings.key_value_heads, FactorId{f})) return FactorId{f};
  return std::nullopt;
}

// Too many devices for the key-value heads that the op makes: each makes those that it reads.
bool has_too_few_heads(const StrategyContext& context, const Op& op, std::int64_t devices) {
  const std::optional<FactorId> heads = key_value_heads(context, op);
  return heads && op.factor_sizes[index(*heads)].at(context.batch) % devices != 0;
}

// May an axis with a tensor-parallel role shard this factor? Keys and values are made by head, as frameworks have it,
// and copied where heads do not suffice: none divides a head.
bool tensor_parallel_factor(const StrategyContext& context, const Op& op, std::size_t axis, FactorId factor,
                            bool along_tokens) {
  const bool token = is_token_factor(context, op, factor);
  if (is_expert_factor(context, op, factor)) return false;
  if (multiplies_a_parameter(context.graph, op)) {
    if (token || (op.kind == OpKind::gather && in_outputs(op.rule, factor))) return false;
    if (const std::optional<FactorId> heads = key_value_heads(context, op)) return factor == *heads;
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      if (context.graph.tensor(op.inputs[i]).role == TensorRole::parameter && contains(op.rule.inputs[i], factor))
        return true;
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
  const AxisRole role = role_of(context, axis);
  if (shards_experts(role) && works_on_experts(context, op)) return is_expert_factor(context, op, factor);
  switch (beside_experts(role)) {
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
    default:
      return false;
  }
}

// As the loss of a sample does: what lies behind is of no token.
bool adds_up_tokens(const StrategyContext& context, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (op.kind == OpKind::sum && is_token_factor(context, op, FactorId{f}) && !in_outputs(op.rule, FactorId{f}))
      return true;
  return false;
}

// Roles that oblige: data, context and expert parallelism shard whatever they can, tensor parallelism every product
// with a parameter and the core of attention, and sequence parallelism whatever lies between them, too. Tokens' losses
// are whole where their logits are sharded; adding up a part of them would cost an all-gather of their gradient.
bool role_obliges(const StrategyContext& context, const Op& op, std::size_t axis) {
  switch (beside_experts(context.roles[axis])) {
    case AxisRole::data_parallel:
    case AxisRole::context_parallel:
      return true;
    case AxisRole::sequence_parallel:
      return !adds_up_tokens(context, op) && !has_too_few_heads(context, op, context.mesh.size(axis));
    case AxisRole::tensor_parallel:
      return op.kind == OpKind::attention ||
             (multiplies_a_parameter(context.graph, op) && !has_too_few_heads(context, op, context.mesh.size(axis)));
    case AxisRole::key_value_copies:  // elsewhere what the axis before it does decides
      return op.kind == OpKind::attention;
    default:
      return false;
  }
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

namespace {

// Axes that go together shard the same factor where sizes allow; else the second has copies, or between products with
// parameters divides what the first leaves of the results.
bool goes_together(const StrategyContext& context, const Op& op, const AxisFactors& axes) {
  for (std::size_t axis = 1; axis < context.mesh.dimensions(); ++axis) {
    if (context.roles[axis] != AxisRole::key_value_copies || axes[axis] == axes[axis - 1]) continue;
    AxisFactors same = axes;
    same[axis] = axes[axis - 1];
    if (!axes[axis - 1] || shape_allows(context, op, same, nullptr)) return false;
    if (axes[axis] && (multiplies_a_parameter(context.graph, op) || !in_outputs(op.rule, *axes[axis]))) return false;
  }
  return true;
}

}  // namespace

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
    if (!goes_together(context, op, axes)) return;
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
      const AxisRole role = beside_experts(role_of(context, axis));
      const bool allowed =
          role == AxisRole::free || (role == AxisRole::data_parallel && batch) ||
          (role == AxisRole::tensor_parallel && !token) || (role == AxisRole::sequence_parallel && !batch) ||
          (role == AxisRole::context_parallel && token && !batch) || (shards_experts(role_of(context, axis)) && expert);
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
    const AxisRole role = role_of(context, axis);
    const bool sequence = role == AxisRole::sequence_parallel;
    if ((role != AxisRole::tensor_parallel && !sequence) || from.axes[axis] != partial) continue;
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
