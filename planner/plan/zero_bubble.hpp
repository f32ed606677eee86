// The order of runs that the automatic zero-bubble schedules give each rank; private to make_program.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/plan/program.hpp"

namespace meshloom {

// Runs only, by rank: forwards, input and weight gradients of one chunk.
using RunOrders = std::vector<std::vector<Instruction>>;

// By hand: on rank r of p a warm-up of p − r + extra·(p − r − 1) forwards, then in turn an input gradient, a weight
// gradient and a forward; every rank holds p + extra·(p − 1) microbatches, which says how far the weight gradients stay
// behind. ZB-H1 is extra = 0, ZB-H2 extra = 1.
RunOrders handcrafted_orders(std::int64_t ranks, std::int64_t microbatches, std::int64_t extra);

// The best of the handcrafted orders and of some greedy ones, none of them with more than `most_in_flight` microbatches
// in flight on any rank, by the time after which the step can begin again [Qi et al. 2024, section 3.1].
RunOrders searched_orders(std::int64_t microbatches, std::int64_t most_in_flight,
                          const std::vector<RunLengths>& lengths);

}  // namespace meshloom
