#include "planner/work_bound.hpp"

#include <algorithm>

#include "costmodel/groups.hpp"
#include "costmodel/measured_times.hpp"

namespace meshloom {
namespace {

bool lacks_a_factor(const Op& op, const RuleOperand& operand) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (!contains(operand, FactorId{f})) return true;
  return false;
}

// Of the three products of a matrix product and its gradients each sums over something, so each is priced by FLOPs.
bool is_priced_by_flops(const Op& op) {
  return op.kind == OpKind::einsum && op.inputs.size() == 2 && lacks_a_factor(op, op.rule.inputs[0]) &&
         lacks_a_factor(op, op.rule.inputs[1]) && lacks_a_factor(op, op.rule.outputs[0]);
}

FlopsPerSecond highest_speed(const Cluster& cluster) {
  FlopsPerSecond peak;
  for (const auto& [dtype, value] : cluster.device.peak) peak = std::max(peak, value);
  const double efficiency = std::max(1.0, cluster.device.gemm.of_peak);
  // Profiles may know faster products than the peak allows.
  const double of_model = cluster.measured ? cluster.measured->least_ratio_of_products() : 1;
  return peak * efficiency * static_cast<double>(cluster.devices()) / of_model;
}

}  // namespace

Seconds least_time_of_products(const PlanningInput& input, std::int64_t global_batch) {
  const GraphRelations related = relations(input.graph);
  Flops work;
  for (std::uint32_t i = 0; i < input.graph.ops.size(); ++i)
    if (const Op& op = input.graph.ops[i]; is_priced_by_flops(op))
      work += forward_flops(op, global_batch) + backward_model_flops(input.graph, related, OpId{i}, global_batch);
  FlopsPerSecond speed;
  for (std::size_t group = 0; group < group_count(input.cluster); ++group)
    speed += highest_speed(group_at(input.cluster, group));
  return work / speed;
}

}  // namespace meshloom
