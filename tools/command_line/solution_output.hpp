// The answers of `solve`, as JSON (docs/schemas/solve_*.schema.json) and as text.
#pragma once

#include <string>

#include "planner/inter_op/stage_table_json.hpp"
#include "planner/intra_op/problem.hpp"

namespace meshloom {

std::string solution_json(const IntraOpProblem& problem, const IntraOpSolution& solution, Seconds time);
std::string solution_text(const IntraOpProblem& problem, const IntraOpSolution& solution, Seconds time);
std::string solution_json(const ConfiguredProblem& table, const InterOpSolution& solution, Seconds time);
std::string solution_text(const ConfiguredProblem& table, const InterOpSolution& solution, Seconds time);

// "cost 445, bound 440, gap 1.14 %".
std::string progress_text(const SolveProgress& progress);

}  // namespace meshloom
