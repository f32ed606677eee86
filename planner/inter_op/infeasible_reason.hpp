// Why a stage table has no pipeline, as a person can check it by hand.
#pragma once

#include <string>

#include "planner/inter_op/problem.hpp"

namespace meshloom {

// For a problem whose solution is not feasible: "no entry that may be a stage holds layers 3–5, 7" where so; else that
// no entries together make a pipeline on all devices.
std::string reason_of_infeasibility(const InterOpProblem& problem);

}  // namespace meshloom
