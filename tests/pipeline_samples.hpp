// Random pipelines for tests: integer picoseconds, so that laws hold exactly.
#pragma once

#include <random>
#include <vector>

#include "simulator/simulation.hpp"

namespace meshloom {

struct RandomPipeline {
  std::int64_t microbatches = 1;
  std::vector<StageDurations> stages;
};

inline std::int64_t draw(std::mt19937& random, std::int64_t least, std::int64_t most) {
  return least + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most - least + 1));
}

// 1 to 8 stages, 1 to 20 microbatches, runs of 1 to 100 ps. No sends, nothing per step.
inline RandomPipeline random_pipeline(std::mt19937& random) {
  RandomPipeline pipeline;
  pipeline.microbatches = draw(random, 1, 20);
  pipeline.stages.resize(static_cast<std::size_t>(draw(random, 1, 8)));
  for (StageDurations& stage : pipeline.stages) {
    stage.forward = draw(random, 1, 100);
    stage.backward = draw(random, 1, 100);
  }
  return pipeline;
}

// Sends of 0 to 40 ps between neighbours.
inline void add_random_sends(RandomPipeline& pipeline, std::mt19937& random) {
  for (std::size_t i = 0; i < pipeline.stages.size(); ++i) {
    if (i + 1 < pipeline.stages.size()) pipeline.stages[i].send_activation = draw(random, 0, 40);
    if (i > 0) pipeline.stages[i].send_gradient = draw(random, 0, 40);
  }
}

// The formulas' view of durations: sends count into the sender, picoseconds stand for seconds.
inline std::vector<StageTimes> formula_times(const std::vector<StageDurations>& stages) {
  std::vector<StageTimes> times;
  for (const StageDurations& stage : stages)
    times.push_back({Seconds(static_cast<double>(stage.forward + stage.send_activation)),
                     Seconds(static_cast<double>(stage.backward + stage.send_gradient)),
                     Seconds(static_cast<double>(stage.synchronize + stage.update))});
  return times;
}

}  // namespace meshloom
