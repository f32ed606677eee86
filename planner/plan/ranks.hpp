// A plan's stages as the ranks of its pipeline: the program they run, and the memory that a rank's chunks share.
#pragma once

#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

// The lists given in the plan, or those that follow from its schedule.
PipelineProgram program_of(const Plan& plan);

// What zb_1p and zb_2p are found for, in picoseconds; blocking sends count into the runs.
std::vector<RunLengths> run_lengths(const Plan& plan);

// As the recipe says.
bool sends_overlap(const Plan& plan);
bool sends_overlap(const Recipe& recipe, ScheduleKind schedule);

// The part of a stage's synchronization that goes on beside its last backward, as the recipe says: reducing the
// gradients of its own parameters. Gathers and what several stages share wait for the end.
Seconds overlapped_synchronization(const Plan& plan, const Stage& stage);
// The buckets that the stage's gradients are reduced in then, those of the largest group.
std::int64_t gradient_buckets(const Plan& plan, const Stage& stage);

// The part of a stage's backward_weight that is computing; the rest reduces gradients in every microbatch.
Seconds backward_weight_compute(const Stage& stage);

// Sets each stage's in_flight to what it holds when its rank holds most.
void count_activations(Plan& plan);

// Of the rank's stages, by chunk. Each states its own share; the overhead stands with the first.
std::vector<StageMemory> memory_of_rank(const Plan& plan, std::size_t rank);
// Of one device of the rank: everything that its chunks hold at once, and the transient working set of one of them.
Bytes device_memory(const std::vector<StageMemory>& chunks, Bytes transient);
Bytes device_memory(const std::vector<StageMemory>& chunks);  // with the largest transient

// What a device of the rank has, as its group's do.
Bytes memory_capacity(const Plan& plan, std::size_t rank);
// Of the rank whose devices are filled most.
struct MemoryUse {
  Bytes peak, capacity;
};
MemoryUse tightest_memory(const Plan& plan);

}  // namespace meshloom
