// The integer program of what reductions leave: a column from 0 to 1 for each strategy of a node, and one for each
// finite entry of a pair's table [the linearisation of Alpa's Eq. 1, as equations: their relaxation is the local
// polytope]. Memory enters row by row, where it is asked for. Private to the solvers.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {

struct IntegerProgram {
  // Columns: those of the first node's strategies, then the second's and so on, then those of entries. Only the
  // strategies' must be whole numbers; then the others are, too.
  std::vector<int> first_column;     // by node, and one more: how many columns strategies have
  std::vector<std::int64_t> costs;   // by column
  std::vector<int> starts, rows;     // by column: its rows stand from starts[c] to starts[c + 1]
  std::vector<double> coefficients;  // alike
  std::vector<double> row_values;    // every row is an equation
};

// All nodes of `problem` are left. `problem.constant` is not in the costs.
IntegerProgram integer_program(const WorkingProblem& problem);

// At most `most`.
struct Row {
  std::vector<int> columns;
  std::vector<double> coefficients;
  double most = 0;
};

// What a period may use, in units of its largest term, so that a solver's tolerance is as small as it gets.
Row usage_row(const WorkingProblem& problem, std::uint32_t period, const IntegerProgram& program);

// These choices, which exceed the period's slack, must not come together again: for what exceeds it by less than a
// solver's tolerance.
Row forbidding_row(const WorkingProblem& problem, std::uint32_t period, const std::vector<std::uint32_t>& choices,
                   const IntegerProgram& program);

}  // namespace meshloom::intra_op
