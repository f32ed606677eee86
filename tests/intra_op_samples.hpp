// Intra-operator problems for tests: the contest's example and small random ones.
#pragma once

#include <cstdint>

#include "planner/intra_op/problem.hpp"

namespace meshloom {

// Seeded, and the same on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed);
  std::int64_t between(std::int64_t low, std::int64_t high);  // both included
  bool one_in(std::int64_t n);

 private:
  std::uint64_t state_;
};

// The published example of the ASPLOS 2025 intra-operator contest (google/iopddl, Apache-2.0).
IntraOpProblem contest_example();

struct ProblemShape {
  std::int64_t most_nodes = 8, most_strategies = 4;
  std::int64_t largest_cost = 20;  // small: many ties
  std::int64_t one_infinite_in = 12;
  std::int64_t edges_per_node = 2;  // at most
};
// Parallel edges, empty lives, nodes without usage; no limit.
IntraOpProblem random_problem(Random& random, const ProblemShape& shape);

// At most nine nodes and a limit near what the best choices use: some bind, some cannot be kept, some do not matter.
// Every fifth has none.
IntraOpProblem limited_problem(Random& random, int trial);

// What reductions leave alone: each node is joined to the `reach` before it by random costs, lives about as long, and
// has usages that say nothing of its costs. No limit.
IntraOpProblem dense_problem(Random& random, std::uint32_t nodes, std::size_t strategies, std::uint32_t reach);

// Checks status, objective, bound and choices against an oracle's; the oracle may have chosen otherwise among equals.
void check_answer(const IntraOpProblem& problem, const IntraOpSolution& solution, const IntraOpSolution& oracle);

}  // namespace meshloom
