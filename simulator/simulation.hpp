// The event simulation of one training step: runs a pipeline program over the stages' devices and links with an integer
// picosecond clock. It reads the plan and shares no closed form with the planner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/plan/plan.hpp"
#include "planner/plan/schedule.hpp"

namespace meshloom {

using Picoseconds = std::int64_t;
Picoseconds to_picoseconds(Seconds time);  // rounded to nearest; throws InputError above 10^6 seconds

// What each stage's instructions take.
struct StageDurations {
  Picoseconds forward = 0, backward = 0;
  Picoseconds send_activation = 0;  // to the next stage; occupies the sender, arrives when it ends
  Picoseconds send_gradient = 0;    // to the stage before
  Picoseconds synchronize = 0, update = 0;
};

struct TimelineEntry {
  std::int32_t stage = 0;
  Instruction instruction;
  Picoseconds start = 0, end = 0;
  bool operator==(const TimelineEntry&) const = default;
};

struct Simulation {
  Picoseconds makespan = 0;
  std::vector<TimelineEntry> timeline;       // by (start, stage, position in the stage's list)
  std::vector<Picoseconds> busy;             // by stage: running, sending, synchronizing, updating
  std::vector<std::int32_t> most_in_flight;  // by stage: microbatches whose activations are held at once
};

// Receives take no time of their own: they wait. Throws InputError when the program deadlocks.
Simulation simulate(const PipelineProgram& program, const std::vector<StageDurations>& durations);

std::vector<StageDurations> durations_of(const Plan& plan);
Simulation simulate(const Plan& plan);

// Sets iteration_time and bubble_fraction of the plan from its simulation.
void apply_simulation(Plan& plan, const Simulation& simulation);

// Memory of one stage over time, of one of its devices: what is held from `time` on.
struct MemorySample {
  Picoseconds time = 0;
  Bytes held;
};
struct MemoryTimeline {
  std::vector<MemorySample> samples;  // ascending, starts at 0
  Bytes peak;
};
std::vector<MemoryTimeline> memory_timelines(const Plan& plan, const Simulation& simulation);

// Chrome/Perfetto trace-event JSON: one track per stage, named; flows from sends to receives; a memory counter per
// stage.
std::string chrome_trace(const Plan& plan, const Simulation& simulation);

}  // namespace meshloom
