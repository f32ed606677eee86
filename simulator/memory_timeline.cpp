#include <algorithm>

#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

bool is_run(InstructionKind kind) {
  return kind == InstructionKind::run_forward || kind == InstructionKind::run_backward;
}

// A stage's memory while `in_flight` microbatches are held; summed like StageMemory::peak, so that equal states give
// equal numbers to the last bit.
Bytes held(const StageMemory& memory, std::int64_t in_flight, Bytes transient) {
  StageMemory state = memory;
  state.in_flight = in_flight;
  state.transient = transient;
  return state.peak();
}

void add_sample(MemoryTimeline& timeline, Picoseconds time, Bytes bytes) {
  if (timeline.samples.back().time != time) timeline.samples.push_back({time, bytes});
  timeline.samples.back().held = bytes;
  timeline.peak = std::max(timeline.peak, bytes);
}

}  // namespace

std::vector<MemoryTimeline> memory_timelines(const Plan& plan, const Simulation& simulation) {
  std::vector<MemoryTimeline> timelines(plan.stages.size());
  for (std::size_t stage = 0; stage < plan.stages.size(); ++stage) {
    timelines[stage].peak = held(plan.stages[stage].memory, 0, Bytes(0));
    timelines[stage].samples.push_back({0, timelines[stage].peak});
  }
  std::vector<std::int64_t> in_flight(plan.stages.size(), 0);
  for (const TimelineEntry& entry : simulation.timeline) {
    if (!is_run(entry.instruction.kind)) continue;
    const std::size_t stage = static_cast<std::size_t>(entry.stage);
    const StageMemory& memory = plan.stages[stage].memory;
    if (entry.instruction.kind == InstructionKind::run_forward) ++in_flight[stage];
    add_sample(timelines[stage], entry.start, held(memory, in_flight[stage], memory.transient));
    if (entry.instruction.kind == InstructionKind::run_backward) --in_flight[stage];
    add_sample(timelines[stage], entry.end, held(memory, in_flight[stage], Bytes(0)));
  }
  return timelines;
}

}  // namespace meshloom
