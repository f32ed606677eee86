#include <algorithm>

#include "planner/plan/ranks.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

void add_sample(MemoryTimeline& timeline, Picoseconds time, Bytes bytes) {
  if (timeline.samples.back().time != time) timeline.samples.push_back({time, bytes});
  timeline.samples.back().held = bytes;
  timeline.peak = std::max(timeline.peak, bytes);
}

}  // namespace

// Summed as device_memory does, so that equal states give equal numbers to the last bit.
std::vector<MemoryTimeline> memory_timelines(const Plan& plan, const Simulation& simulation) {
  const PipelineShape shape = plan.shape();
  bool trains = false;
  for (const TimelineEntry& entry : simulation.timeline)
    trains = trains || (is_run(entry.instruction.kind) && entry.instruction.kind != InstructionKind::run_forward);
  std::vector<std::vector<StageMemory>> held(static_cast<std::size_t>(shape.ranks));
  std::vector<MemoryTimeline> timelines(held.size());
  for (std::size_t rank = 0; rank < held.size(); ++rank) {
    held[rank] = memory_of_rank(plan, rank);
    for (StageMemory& memory : held[rank]) memory.in_flight = 0;
    timelines[rank].peak = device_memory(held[rank], Bytes(0));
    timelines[rank].samples.push_back({0, timelines[rank].peak});
  }
  for (const TimelineEntry& entry : simulation.timeline) {
    const InstructionKind kind = entry.instruction.kind;
    if (!is_run(kind)) continue;
    const auto rank = static_cast<std::size_t>(entry.rank);
    StageMemory& memory = held[rank][entry.instruction.chunk];
    if (kind == InstructionKind::run_forward) ++memory.in_flight;
    add_sample(timelines[rank], entry.start, device_memory(held[rank], memory.transient));
    const bool frees = trains ? kind == InstructionKind::run_backward || kind == InstructionKind::run_backward_weight
                              : kind == InstructionKind::run_forward;
    if (frees) --memory.in_flight;
    add_sample(timelines[rank], entry.end, device_memory(held[rank], Bytes(0)));
  }
  return timelines;
}

}  // namespace meshloom
