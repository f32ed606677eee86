// The iteration time that a schedule's formula gives [DESIGN section 6; docs/schedules.md].
#pragma once

#include <algorithm>
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
  // The part of per_step in which stages that hold the same parameters add up their gradients (tied embeddings); of
  // those that have such a part none begins it before all others have come there.
  Seconds shared{0};
  // Sends that go on beside computing, at the formula's price, and what the link with most of them takes.
  Seconds activation_beside{0}, gradient_beside{0}, link_beside{0};

  Seconds sends_beside() const { return activation_beside + gradient_beside; }
  // From one microbatch to the next, at least.
  Seconds period() const { return std::max(forward + backward, link_beside); }
};

// With f = forward, b = backward, w = backward_weight, t = f + b, c = b − w, B microbatches, p ranks of v chunks, and
// exposed = max_i max(0, per_step_i − Σ_{j<i} b_j):
//   1F1B, eager 1F1B:  Σt + (B−1)·max t + exposed
//   GPipe:             Σf + (B−1)·max f + Σb + (B−1)·max b + exposed
//   interleaved:       (B·v + p − 1)·max t + exposed, by rank: per_step of all its chunks, b of first chunks; on one
//                      rank, where no chunk waits for another, B·Σt + exposed
//   zero bubble:       max(B·max t + bubble, max_{i<k shared} (Σ_{i≤j<k} f_j + B·t_k)) + max per_step, with the bubble
//     ZB-H1, ZB-1p:    (p−1)·max(c + max(0, f−w))
//     ZB-H2:           (p−1)·max(0, max(c − f + 2·max(0, f−w)))
//     ZB-2p:           max(0, max((p−1)(f+c) − (2p−1)w), max((p−1)c − p·f))
//   dualpipe:          B·max Σt + (p−1)·max(f + max(0, c−w)) + max per_step, Σt over a rank's chunks
//   inference:         Σf + (B−1)·max f
// The steps of zero-bubble schedules lie beside each other as parallelograms; stages that share gradients (i, k) wait
// for the one that began last.
// Sends beside computing lengthen the way of a microbatch, Σt, by Σ sends_beside, and hold up what follows it: max t is
// the longest period, max Σt over chunks no less than the sum of their link_beside, and nothing takes less than the way
// of one microbatch.
// With w ≤ f the bubbles of ZB-H1 and ZB-H2 are (p−1)(f+c−w) and (p−1)·max(0, f+c−2w), as published. For equal stages
// and B ≥ 2p all are exact but those of ZB-2p, a bound, and of dualpipe. Zero for a custom schedule: it has no formula.
Seconds schedule_formula(const Schedule& schedule, const std::vector<StageTimes>& stages, std::int64_t microbatches);

// What the formulas of schedules with a split backward take the maximum of, over stages and 0: the bubble. Zero for
// other schedules.
Seconds bubble_of_stage(ScheduleKind kind, std::int64_t ranks, const StageTimes& stage);

}  // namespace meshloom
