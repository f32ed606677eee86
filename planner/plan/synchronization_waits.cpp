#include "planner/plan/synchronization_waits.hpp"

#include <algorithm>

namespace meshloom {
namespace {

struct Parts {
  Seconds reducing, gathering;  // as exposed
};

Parts parts_of(const Stage& stage) {
  Parts parts;
  for (const Conversion& conversion : stage.conversions) {
    if (conversion.rate != Rate::per_step || conversion.consumer != "optimizer") continue;
    for (const auto* steps : {&conversion.forward, &conversion.backward})
      for (const CollectiveStep& step : *steps)
        (step.collective == Collective::all_gather ? parts.gathering : parts.reducing) += step.time;
  }
  return parts;
}

// What takes so long alone, as exposed, and what computes beside it.
struct Overlap {
  Seconds exposed, computing;

  Seconds rest(const Recipe& recipe) const { return exposed / recipe.exposed_synchronization - computing; }
};

// Of all chunks together, or of the first alone, whose own computing hides no more of it.
Seconds waits_of_rank(const Recipe& recipe, const Overlap& all, const Overlap& first) {
  return std::max(Seconds(0), std::max(all.rest(recipe), first.rest(recipe)) - all.exposed);
}

}  // namespace

Seconds wait_beyond(const Recipe& recipe, Seconds exposed, Seconds computing) {
  const Overlap all{exposed, computing};
  return waits_of_rank(recipe, all, all);
}

void add_synchronization_waits(Plan& plan) {
  for (Stage& stage : plan.stages) stage.synchronization_waits = Seconds(0);
  const Recipe& recipe = plan.recipe;
  if (recipe.overlap_synchronization != OverlapSynchronization::beside_computing ||
      !(recipe.exposed_synchronization > 0))
    return;
  const PipelineShape shape = plan.shape();
  const bool interleaved = plan.schedule.kind == ScheduleKind::interleaved;
  const auto passes = static_cast<double>(interleaved ? std::min(shape.ranks, plan.microbatches) : 1);
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank) {
    const auto stage_of = [&](std::int64_t chunk) -> Stage& {
      return plan.stages[static_cast<std::size_t>(shape.stage_of(rank, chunk))];
    };
    Parts all;
    Seconds forward, backward;
    for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
      const Stage& stage = stage_of(chunk);
      const Parts parts = parts_of(stage);
      all.reducing += parts.reducing, all.gathering += parts.gathering;
      forward += stage.forward, backward += stage.backward;
    }
    Stage& first = stage_of(0);
    const Stage& last = stage_of(shape.chunks - 1);
    const Parts of_first = parts_of(first);
    first.synchronization_waits =
        waits_of_rank(recipe, {all.reducing, passes * (backward - last.backward) + last.backward},
                      {of_first.reducing, first.backward}) +
        waits_of_rank(recipe, {all.gathering, passes * (forward - last.forward) + last.forward},
                      {of_first.gathering, first.forward});
    first.synchronization += first.synchronization_waits;
  }
}

}  // namespace meshloom
