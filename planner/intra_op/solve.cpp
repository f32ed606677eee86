#include "planner/intra_op/problem.hpp"

namespace meshloom {

IntraOpSolution solve_intra_op(const IntraOpProblem& problem, const SolveOptions& options) {
  switch (options.solver) {
    case Solver::elimination:
      return solve_by_elimination(problem);
    case Solver::automatic:
    case Solver::cbc:
    case Solver::anytime:
      return solve_by_cbc(problem, options);
  }
  return {};
}

}  // namespace meshloom
