// Every uniform layout under a schedule, for oracles that plan them all.
#pragma once

#include "graphs/input_error.hpp"
#include "planner/uniform_search.hpp"

namespace meshloom {

// Of interleaved ones with 2 to 4 chunks, as far as these divide the blocks.
inline std::vector<UniformLayout> layouts_with_chunks(const PlanningInput& input, ScheduleKind kind) {
  std::vector<UniformLayout> result;
  for (UniformLayout layout : uniform_layouts(input)) {
    layout.schedule = kind;
    if (kind != ScheduleKind::interleaved) {
      result.push_back(layout);
      continue;
    }
    for (layout.schedule.chunks = 2; layout.schedule.chunks <= 4; ++layout.schedule.chunks) {
      if (layout.pipeline_parallel == 1) continue;
      try {
        baseline_plan(input, layout, 64);
      } catch (const InputError&) {
        continue;
      }
      result.push_back(layout);
    }
  }
  return result;
}

}  // namespace meshloom
