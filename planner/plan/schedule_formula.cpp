#include "planner/plan/schedule_formula.hpp"

#include <algorithm>
#include <optional>

#include "planner/plan/program.hpp"

namespace meshloom {
namespace {

// What the formulas are made of.
struct Totals {
  Seconds forward, backward;                           // sums
  Seconds sends, activation_sends;                     // beside computing: sums of all, of activations
  Seconds slowest_forward, slowest_backward, slowest;  // of one stage; the last with its period
  Seconds slowest_send;                                // of an activation, beside computing
  Seconds slowest_rank;                                // Σt of a rank's chunks, or what their sends take
  Seconds bubble;                                      // of schedules with a split backward
  Seconds shared;                                      // until the last of those that share gradients is there
  Seconds exposed, per_step;  // max_i max(0, per_step_i − Σ_{j<i} b_j), its largest; by rank
};

// Since the first of the stages that share gradients began: until each of the others has begun and run all its
// microbatches.
Seconds last_to_share(const std::vector<StageTimes>& stages, std::int64_t microbatches) {
  Seconds last;
  std::optional<Seconds> ahead;
  for (const StageTimes& stage : stages) {
    if (stage.shared > Seconds(0)) {
      if (ahead)
        last = std::max(last, *ahead + static_cast<double>(microbatches) * (stage.forward + stage.backward));
      else
        ahead = Seconds(0);
    }
    if (ahead) *ahead += stage.forward;
  }
  return last;
}

Totals totals_of(const Schedule& schedule, const PipelineShape& shape, const std::vector<StageTimes>& stages,
                 std::int64_t microbatches) {
  Totals totals;
  std::vector<Seconds> rank_time(static_cast<std::size_t>(shape.ranks)), rank_link = rank_time, rank_step = rank_time;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const StageTimes& stage = stages[s];
    const auto rank = static_cast<std::size_t>(shape.rank_of(static_cast<std::int64_t>(s)));
    rank_time[rank] += stage.forward + stage.backward;
    rank_link[rank] += stage.link_beside;
    rank_step[rank] += stage.per_step;
    totals.sends += stage.sends_beside();
    totals.activation_sends += stage.activation_beside;
    totals.forward += stage.forward;
    totals.backward += stage.backward;
    totals.slowest_forward = std::max(totals.slowest_forward, stage.forward);
    totals.slowest_backward = std::max(totals.slowest_backward, stage.backward);
    totals.slowest = std::max(totals.slowest, stage.period());
    totals.slowest_send = std::max(totals.slowest_send, stage.activation_beside);
    totals.bubble = std::max(totals.bubble, bubble_of_stage(schedule.kind, shape.ranks, stage));
  }
  totals.shared = last_to_share(stages, microbatches);
  Seconds backward_before;
  for (std::size_t rank = 0; rank < rank_step.size(); ++rank) {
    totals.exposed = std::max(totals.exposed, rank_step[rank] - backward_before);
    totals.per_step = std::max(totals.per_step, rank_step[rank]);
    totals.slowest_rank = std::max({totals.slowest_rank, rank_time[rank], rank_link[rank]});
    backward_before += stages[rank].backward;
  }
  return totals;
}

}  // namespace

Seconds bubble_of_stage(ScheduleKind kind, std::int64_t ranks, const StageTimes& stage) {
  const Seconds forward = stage.forward, backward = stage.backward, weight = stage.backward_weight;
  const double count = static_cast<double>(ranks), behind = count - 1;
  const Seconds input = backward - weight, over_weight = std::max(Seconds(0), forward - weight);
  switch (kind) {
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_1p:
      return behind * (input + over_weight);
    case ScheduleKind::zb_h2:
      return behind * (input - forward + 2 * over_weight);
    case ScheduleKind::zb_2p:
      return std::max(behind * (forward + input) - (2 * count - 1) * weight, behind * input - count * forward);
    case ScheduleKind::dualpipe:
      return behind * (forward + std::max(Seconds(0), input - weight));
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::eager_one_f_one_b:
    case ScheduleKind::interleaved:
    case ScheduleKind::inference:
    case ScheduleKind::custom:
      break;
  }
  return {};
}

Seconds schedule_formula(const Schedule& schedule, const std::vector<StageTimes>& stages, std::int64_t microbatches) {
  const std::int64_t ranks = std::ssize(stages) / schedule.chunks;
  const Totals totals = totals_of(schedule, shape_of(schedule, ranks), stages, microbatches);
  const double repeats = static_cast<double>(microbatches - 1), count = static_cast<double>(microbatches);
  // Of one microbatch, where sends beside computing lengthen it.
  const Seconds way = totals.sends > Seconds(0) ? totals.forward + totals.backward + totals.sends : Seconds(0);
  switch (schedule.kind) {
    case ScheduleKind::gpipe:
      return totals.forward + repeats * totals.slowest_forward + totals.backward + repeats * totals.slowest_backward +
             totals.exposed + totals.sends +
             repeats * std::max(Seconds(0), totals.slowest - totals.slowest_forward - totals.slowest_backward);
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::eager_one_f_one_b:
      return totals.forward + totals.backward + repeats * totals.slowest + totals.exposed + totals.sends;
    case ScheduleKind::interleaved:
      if (ranks == 1) return count * totals.slowest_rank + totals.exposed;
      return std::max(way, static_cast<double>(microbatches * schedule.chunks + ranks - 1) * totals.slowest) +
             totals.exposed;
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_1p:
    case ScheduleKind::zb_h2:
    case ScheduleKind::zb_2p:
      return std::max({count * totals.slowest + totals.bubble, totals.shared, way}) + totals.per_step;
    case ScheduleKind::dualpipe:
      return std::max(count * totals.slowest_rank + totals.bubble, way) + totals.per_step;
    case ScheduleKind::inference:
      return totals.forward + totals.activation_sends + repeats * std::max(totals.slowest_forward, totals.slowest_send);
    case ScheduleKind::custom:
      return {};
  }
  return {};
}

}  // namespace meshloom
