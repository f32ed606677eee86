// Why a problem has no answer, as a person can check it by hand.
#pragma once

#include <string>

#include "planner/intra_op/problem.hpp"

namespace meshloom {

// For a checked problem that a solver calls infeasible, the first of these that holds:
//   "at time 110 at least 40 is used, the limit is 39"   every node taking its least usage of those not forbidden
//   "node 3 has only forbidden strategies"               of 10^18 or more
//   "no strategy of node 3 is left: edges forbid each that could be chosen"              [arc consistency]
//   "without what edges forbid, at time 110 at least 40 is used, the limit is 39"
//   "no choices keep the limit without a forbidden cost"
std::string reason_of_infeasibility(const IntraOpProblem& problem);

}  // namespace meshloom
