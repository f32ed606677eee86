// Exact search on what reductions leave: bounds by dual ascent, strategies and pairs of strategies that cost too much
// dropped, what follows from that reduced, and a node split where nothing more follows.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {

struct BranchAndBoundOptions {
  std::function<bool()> out_of_time;
  std::uint64_t most_effort = std::numeric_limits<std::uint64_t>::max();  // entries of tables visited
  std::size_t most_updates = 200;                                         // of multipliers, at the root
  std::optional<TotalCost> cutoff;                                        // only what costs less is searched for
  // Called with the cost of better choices, and with better bounds; may be empty.
  std::function<void(TotalCost)> found, proved;
};

struct BranchAndBoundAnswer {
  bool complete = false;               // searched to the end: `choices` are best, or nothing is below the cutoff
  std::vector<std::uint32_t> choices;  // of the whole problem; empty: none found
  TotalCost cost = 0;
  TotalCost lower_bound = 0;  // on everything, at most the cutoff
  std::uint64_t effort = 0;   // entries of tables visited
};

// `problem` as `shrink` left it.
BranchAndBoundAnswer branch_and_bound(const WorkingProblem& problem, const BranchAndBoundOptions& options);

}  // namespace meshloom::intra_op
