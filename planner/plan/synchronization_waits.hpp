// Reducing gradients and gathering parameters once per step, where a framework runs them beside computing
// (OverlapSynchronization::beside_computing): what a rank waits for beyond the share that it always waits for
// (Recipe::exposed_synchronization).
//
// With R what reducing a rank's gradients takes alone, share·R of it is exposed, and all that its backwards do not hide
// once gradients are final: R − W. A chunk's are final with its last backward, and reduced, bucket by bucket, from then
// on, part of the first (the chunk whose backwards end the step) within it:
//
//   W = b₀                          one chunk: the step's last backward
//   W = k·(B − b₀) + b₀             v chunks: k = min(ranks, microbatches) backwards of each of the others come behind
//                                   those of the last chunk [Narayanan et al. 2021, section 2.2]
//
// b₀ the first chunk's backward, B that of all; nor can R₀, the first chunk's, be hidden by more than b₀. Parameters
// are gathered for the first forwards of the step in the same way: chunk by chunk, beside forwards of those before.
#pragma once

#include "planner/plan/plan.hpp"

namespace meshloom {

// Of what takes `exposed` / share alone, beyond `exposed`, when `computing` goes on beside it.
Seconds wait_beyond(const Recipe& recipe, Seconds exposed, Seconds computing);

// Sets each stage's synchronization_waits, and adds them to its synchronization, which is without any before. A rank's
// stand with its first chunk. Nothing where the recipe does not overlap so, or its share is 0.
void add_synchronization_waits(Plan& plan);

}  // namespace meshloom
