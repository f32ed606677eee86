// The iteration time that a schedule's formula gives [DESIGN section 6; docs/schedules.md].
#pragma once

#include <cstdint>
#include <vector>

#include "graphs/units.hpp"
#include "planner/plan/schedule.hpp"

namespace meshloom {

// Of one stage, one microbatch. Sends that block the sender count, at the formula's price, into its forward and
// backward: the activation to the stage after it, the gradient to the stage before it.
struct StageTimes {
  Seconds forward, backward, per_step;  // per_step: synchronization and update
  Seconds backward_weight{0};           // the part of `backward` that makes gradients of parameters
};

// With f = forward, b = backward, w = backward_weight, t = f + b, c = b − w, B microbatches, p ranks of v chunks, and
// exposed = max_i max(0, per_step_i − Σ_{j<i} b_j):
//   1F1B, eager 1F1B:  Σt + (B−1)·max t + exposed
//   GPipe:             Σf + (B−1)·max f + Σb + (B−1)·max b + exposed
//   interleaved:       (B·v + p − 1)·max t + exposed, by rank: per_step of all its chunks, b of first chunks
//   ZB-H1, ZB-1p:      B·max t + (p−1)·max(c + max(0, f−w)) + max per_step
//   ZB-H2:             B·max t + (p−1)·max(0, max(c − f + 2·max(0, f−w))) + max per_step
//   ZB-2p:             B·max t + max(0, max((p−1)(f+c) − (2p−1)w), max((p−1)c − p·f)) + max per_step
//   dualpipe:          B·max Σt + (p−1)·max(f + max(0, c−w)) + max per_step, Σt over a rank's chunks
//   inference:         Σf + (B−1)·max f
// With w ≤ f the bubbles of ZB-H1 and ZB-H2 are (p−1)(f+c−w) and (p−1)·max(0, f+c−2w), as published. For equal stages
// and B ≥ 2p all are exact but those of ZB-2p, a bound, and of dualpipe. Zero for a custom schedule: it has no formula.
Seconds schedule_formula(const Schedule& schedule, const std::vector<StageTimes>& stages, std::int64_t microbatches);

// What the formulas of schedules with a split backward take the maximum of, over stages and 0: the bubble. Zero for
// other schedules.
Seconds bubble_of_stage(ScheduleKind kind, std::int64_t ranks, const StageTimes& stage);

}  // namespace meshloom
