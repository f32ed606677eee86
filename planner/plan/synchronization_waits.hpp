// Reducing gradients and gathering parameters once per step, where a framework runs them beside computing
// (OverlapSynchronization::beside_computing): what a rank waits for beyond the share that it always waits for
// (Recipe::exposed_synchronization).
//
// With R what reducing a rank's gradients takes alone, share·R of it is exposed, or all that its backwards do not hide
// once gradients are final, R − W, if that is more. A chunk's are final with its last backward, and reduced, bucket by
// bucket, from then on, the first ones within it; the last chunk's backwards end first:
//
//   W = b                           one chunk: the step's last backward
//   W = k·(B − b_last) + b_last     v chunks: k = min(ranks, microbatches) backwards of each of the others come behind
//                                   those of the last chunk [Narayanan et al. 2021, section 2.2]
//
// b_last the last chunk's backward, B that of all; nor can R₀, the first chunk's, be hidden by more than b₀: the wait
// is max(0, R − W − share·R, R₀ − b₀ − share·R). Parameters are gathered for the first forwards of the step in the same
// way: chunk by chunk, beside forwards of those before, V = k·(F − f_last) + f_last, and the first chunk's within f₀.
#pragma once

#include "planner/plan/plan.hpp"

namespace meshloom {

// Of what takes `exposed` / share alone, beyond `exposed`, when `computing` goes on beside it.
Seconds wait_beyond(const Recipe& recipe, Seconds exposed, Seconds computing);

// Sets each stage's synchronization_waits, and adds them to its synchronization, which is without any before. A rank's
// stand with its first chunk. Nothing where the recipe does not overlap so, or its share is 0.
void add_synchronization_waits(Plan& plan);

}  // namespace meshloom
