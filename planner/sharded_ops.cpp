// What an op takes under a strategy, without what it needs of others.
#include "planner/layer_model.hpp"

namespace meshloom {
bool shards_experts(const StrategyContext& context, const Op& op, const Strategy& strategy) {
  if (op.kind != OpKind::einsum) return false;
  for (std::size_t axis = 0; axis < context.mesh.dimensions(); ++axis)
    if (strategy.axes[axis] && in_marked(op.inputs, op.rule.inputs, context.meanings.experts, *strategy.axes[axis]))
      return true;
  return false;
}

OpTime times_imbalance(OpTime time, const Recipe& recipe) {
  const Seconds balanced = time.adding_gradients;  // of parameters, however many tokens come
  time.forward *= recipe.expert_imbalance;
  time.backward = balanced + recipe.expert_imbalance * (time.backward - balanced);
  time.backward_weight = balanced + recipe.expert_imbalance * (time.backward_weight - balanced);
  time.backward_source.add({-1 * balanced, TimeSource::modelled});
  for (TimeBySource* by_source : {&time.forward_source, &time.backward_source})
    for (Seconds& seconds : by_source->seconds) seconds *= recipe.expert_imbalance;
  time.backward_source.add({balanced, TimeSource::modelled});
  return time;
}

OpTime sharded_op_time(const StrategyContext& context, const Cluster& cluster, const Recipe& recipe, OpId op,
                       const Strategy& strategy) {
  const OpTime time =
      op_time(cluster, recipe, context.graph, context.training.gradients[index(op)], op, strategy.local_sizes);
  if (recipe.expert_imbalance == 1 || !shards_experts(context, context.graph.op(op), strategy)) return time;
  return times_imbalance(time, recipe);
}

double local_rows(const Op& op, const Strategy& strategy) {
  double rows = 1;
  for (const RuleDimension& dimension : op.rule.outputs[0])
    for (const FactorId factor : dimension) {
      const FactorMark mark = op.rule.factors[index(factor)].mark;
      if (mark == FactorMark::none || mark == FactorMark::halo)
        rows *= static_cast<double>(strategy.local_sizes[index(factor)]);
    }
  return rows;
}

}  // namespace meshloom
