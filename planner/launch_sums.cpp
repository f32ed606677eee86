#include "planner/launch_sums.hpp"

#include "costmodel/stage_time.hpp"
#include "planner/plan/synchronization_waits.hpp"

namespace meshloom {

LaunchSums::LaunchSums(const Recipe& recipe, const Graph& graph, const TrainingGraph& training,
                       const PlanningLayers& layers) {
  for (std::size_t m = 0; m < before_.size(); ++m) {
    std::vector<Launches>& sums = before_[m];
    sums.emplace_back();
    for (const PlanningLayer& layer : layers.layers) {
      Launches sum = sums.back();
      for (std::size_t k = 0; k < layer.ops.size(); ++k) {
        const Launches own = launches(recipe, graph, training.gradients[index(layer.ops[k])], layer.ops[k]);
        if (layer.runs[k][m] != ForwardRuns::in_backward) sum.forward += own.forward;
        sum.backward += own.backward;
        if (runs_in_backward(layer.runs[k][m])) sum.backward += own.forward;
      }
      sums.push_back(sum);
    }
  }
}

Launches LaunchSums::of(std::size_t first, std::size_t last, Recompute recompute) const {
  const std::vector<Launches>& sums = before_[static_cast<std::size_t>(recompute)];
  return {sums[last + 1].forward - sums[first].forward, sums[last + 1].backward - sums[first].backward};
}

Cost LaunchSums::with_waits(Cost cost, std::size_t first, std::size_t last, Recompute recompute) const {
  if (!(cost.forward < impossible && cost.backward < impossible)) return cost;
  const Launches own = of(first, last, recompute);
  const Seconds backward = cost.backward;
  cost.forward = stage_time({cost.forward, own.forward, cost.forward_beside});
  cost.backward = stage_time({backward, own.backward, cost.backward_beside});
  if (backward > Seconds(0)) cost.backward_weight = (cost.backward / backward) * cost.backward_weight;
  return cost;
}

Cost with_synchronization_waits(const Recipe& recipe, Cost cost) {
  if (recipe.overlap_synchronization != OverlapSynchronization::beside_computing ||
      !(recipe.exposed_synchronization > 0) || !(cost.forward < impossible && cost.backward < impossible))
    return cost;
  cost.synchronization += wait_beyond(recipe, cost.synchronization - cost.parameter_gathers, cost.backward) +
                          wait_beyond(recipe, cost.parameter_gathers, cost.forward);
  return cost;
}

}  // namespace meshloom
