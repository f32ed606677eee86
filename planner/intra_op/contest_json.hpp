// Files of the ASPLOS 2025 contest on intra-operator parallelism (docs/solve.md), which also hold problems of our own.
#pragma once

#include <string>
#include <string_view>

#include "planner/intra_op/problem.hpp"

namespace meshloom {

// Reads a problem in one pass, plain or gzip; "-" is standard input. Memory: the problem's own. Throws InputError with
// file and JSON pointer; what it returns passes check_problem.
IntraOpProblem read_contest_problem(const std::string& path);
IntraOpProblem parse_contest_problem(const std::string& text, const std::string& file);

// Usages that were left out are written as zeros, intervals that are empty as [0, 0] when they are reversed.
std::string write_contest_problem(const IntraOpProblem& problem, std::string_view name);

}  // namespace meshloom
