// Plans for tests: one small with every field set, and random ones that pass every check of the reader.
#pragma once

#include <random>

#include "planner/plan/plan.hpp"

namespace meshloom {

// Two stages of two layers on one host with four devices: stage 0 on devices 0-1 (axis x=2), stage 1 on 2-3.
// Durations are those of docs/simulation.md: 38 us.
Plan sample_plan();

// The same when stage 0 needs more memory than there is.
Plan infeasible_plan();

// Consistent, with random stages, meshes, layouts, ops and numbers of any magnitude.
Plan random_plan(std::mt19937& random);

}  // namespace meshloom
