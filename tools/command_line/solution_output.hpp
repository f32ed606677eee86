// The answers of `solve`, as JSON (docs/schemas/solve_*.schema.json) and as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "planner/inter_op/stage_table_json.hpp"
#include "planner/intra_op/problem.hpp"

namespace meshloom {

// table_size: --solver elimination would need a table of more than 2^27 entries.
enum class StoppedBy { proof, gap, interrupt, time_limit, table_size };
std::string_view name(StoppedBy cause);  // as in JSON

struct IntraOpAnswer {
  IntraOpSolution solution;
  StoppedBy stopped_by = StoppedBy::proof;
  Seconds time;
};

// Cost over bound, less 1; none above a bound of 0.
std::optional<double> gap(TotalCost cost, TotalCost lower_bound);

std::string solution_json(const IntraOpProblem& problem, const IntraOpAnswer& answer);
std::string solution_text(const IntraOpProblem& problem, const IntraOpAnswer& answer);
std::string solution_json(const ConfiguredProblem& table, const InterOpSolution& solution, Seconds time);
std::string solution_text(const ConfiguredProblem& table, const InterOpSolution& solution, Seconds time);

// "cost 445, bound 440, gap 1.14 %"; "gap –" above 1000 %.
std::string progress_text(const SolveProgress& progress);

}  // namespace meshloom
