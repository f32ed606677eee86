// The intra-op problem as Alpa gives it to CBC [Alpa, Eq. 1; auto_sharding.py]: what our solvers are measured against.
#pragma once

#include "planner/intra_op/problem.hpp"

namespace meshloom {

struct PlainCbcAnswer {
  IntraOpSolution solution;  // objective recomputed from the choices; bound as CBC states it, up to its tolerances
  std::size_t columns = 0, rows = 0;
  double solve_s = 0;  // without building the model
};

// One binary column for each strategy and each entry of each edge; one choice a node, one entry an edge, entries below
// their row's and column's choice, usage below the limit at every maximal set of live nodes. Forbidden entries are
// fixed at 0. CBC's defaults, no reductions of ours.
PlainCbcAnswer solve_by_plain_cbc(const IntraOpProblem& problem, double time_limit_s);

}  // namespace meshloom
