#include <catch2/catch.hpp>

#include "planner/baseline.hpp"
#include "planner/plan/ranks.hpp"
#include "simulator/simulation.hpp"
#include "tests/planned_samples.hpp"

using namespace meshloom;

namespace {

Plan uniform_plan(Schedule schedule, Recompute recompute) {
  UniformLayout layout{2, 2, 2};
  layout.schedule = schedule;
  layout.recompute = recompute;
  layout.micro_batch_per_replica = 1;
  PlanningInput input = small_gpt_on_v100s();
  input.graph =
      build_gpt({.layers = 4, .hidden = 2048, .heads = 16, .seq_len = 512, .vocab = 8192, .fused_attention = false});
  return baseline_plan(input, layout, 16);
}

}  // namespace

TEST_CASE("the memory of planned models over time reaches what the planner estimates, whatever the schedule") {
  for (const ScheduleKind kind : schedule_kinds) {
    if (kind == ScheduleKind::custom) continue;
    const bool chunked = kind == ScheduleKind::interleaved || kind == ScheduleKind::dualpipe;
    for (const Recompute recompute : all_recomputes) {
      if (kind == ScheduleKind::inference && recompute != Recompute::none) continue;
      const Plan plan = uniform_plan({kind, chunked ? 2 : 1}, recompute);
      const std::vector<MemoryTimeline> timelines = memory_timelines(plan, simulate(plan));
      CAPTURE(name(kind), name(recompute));
      Bytes largest_transient;
      for (const Stage& stage : plan.stages) largest_transient = std::max(largest_transient, stage.memory.transient);
      for (std::size_t rank = 0; rank < timelines.size(); ++rank) {
        const Bytes estimate = device_memory(memory_of_rank(plan, rank));
        CAPTURE(rank);
        CHECK(timelines[rank].peak.value() <= estimate.value() * (1 + 1e-12));
        // With several chunks the estimate adds the largest working set to the fullest moment, which another chunk's
        // run may be.
        const Bytes below = chunked ? largest_transient : Bytes(0);
        CHECK(timelines[rank].peak.value() >= (estimate - below).value() * (1 - 1e-12));
      }
    }
  }
}
