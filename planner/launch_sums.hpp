// What starting the kernels of a range of layers takes on the host, and what the range then takes in all: known for a
// range and a recompute, whatever the shardings.
#pragma once

#include <vector>

#include "costmodel/op_costs.hpp"
#include "planner/layer_model.hpp"

namespace meshloom {

class LaunchSums {
 public:
  LaunchSums() = default;
  LaunchSums(const Recipe& recipe, const Graph& graph, const TrainingGraph& training, const PlanningLayers& layers);

  Launches of(std::size_t first, std::size_t last, Recompute recompute) const;
  // `cost` of the range with what it waits for the host, and for collectives that run beside computing, in `forward`
  // and `backward` (costmodel/stage_time.hpp); never less than before. `impossible` stays so.
  Cost with_waits(Cost cost, std::size_t first, std::size_t last, Recompute recompute) const;

 private:
  ByRecompute<std::vector<Launches>> before_;  // layer: sums of the layers before it
};

// The cost of a rank with one chunk, with what it waits for at the end of the step
// (planner/plan/synchronization_waits.hpp).
Cost with_synchronization_waits(const Recipe& recipe, Cost cost);

}  // namespace meshloom
