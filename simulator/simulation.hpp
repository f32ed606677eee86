// The event simulation of one training step: runs a pipeline program over the ranks' devices and links with an integer
// picosecond clock. It reads the plan and shares no closed form with the planner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/plan/plan.hpp"
#include "planner/plan/program.hpp"
#include "planner/plan/stage_breakdown.hpp"
#include "simulator/shared_links.hpp"

namespace meshloom {

Picoseconds to_picoseconds(Seconds time);  // rounded to nearest; throws InputError above 10^6 seconds

// What each stage's instructions take.
struct StageDurations {
  Picoseconds forward = 0, backward = 0;
  Picoseconds send_activation = 0;          // to the next stage; arrives when it ends
  Picoseconds send_gradient = 0;            // to the stage before
  Picoseconds synchronize = 0, update = 0;  // a rank's take the sum of its stages'
  Picoseconds backward_weight = 0;          // part of `backward`; the rest is run_backward_input's
  // The part of `synchronize` that goes on beside the stage's last backward, in so many equal buckets: the k-th of n
  // may start when k/n of that run is done.
  Picoseconds overlapped_synchronize = 0;
  std::int64_t buckets = 1;
  // The last part of `synchronize`, together with ranks that hold the same parameters (Conditions::sharing).
  Picoseconds shared_synchronize = 0;
};

// blocking: a send occupies its rank. overlapped: it goes out on one of the rank's two streams, activations and
// gradients, in the order of the list, while the rank computes on.
enum class Sends { blocking, overlapped };

// Every duration is multiplied by 1 + relative·z, z of mean 0 and deviation 1, drawn for each instruction from the seed
// and what it is, so that neither order nor threads matter.
struct Jitter {
  double relative = 0;
  std::uint64_t seed = 0;
};

// What durations alone do not say.
struct Conditions {
  Sends sends = Sends::blocking;
  // By sending stage; empty: no transfer slows another.
  std::vector<Route> activations, gradients;
  std::vector<Route> synchronizations;  // by rank, of buckets and of the rest; empty: as above
  std::size_t links = 0;                // how many the routes may name
  // By rank: a number that ranks which hold the same parameters have in common, below the count of ranks. They reduce
  // their gradients together: `shared_synchronize` begins when all of them have come there. Empty: nobody waits.
  std::vector<std::size_t> sharing;
  Jitter jitter;
};

struct TimelineEntry {
  std::int32_t rank = 0;
  Instruction instruction;
  Picoseconds start = 0, end = 0;
  bool operator==(const TimelineEntry&) const = default;
};

struct Simulation {
  Picoseconds makespan = 0;  // until all ranks have done their lists
  // The same step can begin again after this time when no rank waits for the others' updates: the longest that a rank
  // takes from its first run to its end.
  Picoseconds period = 0;
  std::vector<TimelineEntry> timeline;       // by (start, rank, position in the rank's list)
  std::vector<Picoseconds> busy;             // by rank: running, sending unless overlapped, synchronizing, updating
  std::vector<std::int32_t> most_in_flight;  // by rank: forwards of chunks whose activations are held at once
};

// `durations` by stage. Receives take no time of their own: they wait. Throws InputError when the program deadlocks.
Simulation simulate(const PipelineProgram& program, const std::vector<StageDurations>& durations,
                    Sends sends = Sends::blocking);
Simulation simulate(const PipelineProgram& program, const std::vector<StageDurations>& durations,
                    const Conditions& conditions);

std::vector<StageDurations> durations_of(const Plan& plan);
Conditions conditions_of(const Plan& plan);
Simulation simulate(const Plan& plan);

// The time of a step: the period where the schedule updates apart, else the makespan.
Picoseconds step_time(const Plan& plan, const Simulation& simulation);

// Sets iteration_time and bubble_fraction of the plan from its simulation.
void apply_simulation(Plan& plan, const Simulation& simulation);

// By stage, of the plan's own simulation. A rank synchronizes once: each of its stages has a part of that in proportion
// to what it synchronizes.
std::vector<SeenTimes> seen_times(const Plan& plan, const Simulation& simulation);

// Memory of one rank over time, of one of its devices: what is held from `time` on.
struct MemorySample {
  Picoseconds time = 0;
  Bytes held;
};
struct MemoryTimeline {
  std::vector<MemorySample> samples;  // ascending, starts at 0
  Bytes peak;
};
std::vector<MemoryTimeline> memory_timelines(const Plan& plan, const Simulation& simulation);

// Chrome/Perfetto trace-event JSON. A rank is a process, named after its layers, submesh and devices; its threads, as
// far as they have something to show, are computing, activations sent, gradients sent and synchronization. Flows lead
// from sends to the runs that need them; a counter has the bytes held on one of the rank's devices. Of a longer
// timeline only the first `most` instructions, and the memory until the last of them begins.
std::string chrome_trace(const Plan& plan, const Simulation& simulation, std::size_t most = SIZE_MAX);

}  // namespace meshloom
