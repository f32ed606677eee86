// Exact reductions of an intra-operator problem, private to its solvers. What is left has the same least cost for every
// assignment of the kept nodes, under the usage limit where there is one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "planner/intra_op/problem.hpp"

namespace meshloom::reductions {

// Costs are int64 saturated at infinite_cost, or, where all sums stay below 2^53 and are thus exact, double: its
// minimum and addition are vector instructions on every x86-64, which halves the time.
template <typename Cost>
constexpr Cost infinite = std::numeric_limits<Cost>::has_infinity ? std::numeric_limits<Cost>::infinity()
                                                                  : static_cast<Cost>(infinite_cost);

template <typename Cost>
constexpr Cost saturated(Cost sum) {
  return std::min(sum, infinite<Cost>);
}

template <typename Cost>
constexpr Cost from_input(std::int64_t cost) {
  return cost >= infinite_cost ? infinite<Cost> : static_cast<Cost>(cost);
}

// One table per pair of nodes that share edges; a < b.
template <typename Cost>
struct PairTable {
  std::uint32_t a = 0, b = 0;
  std::vector<Cost> costs;  // row-major: [a][b]
};

template <typename Cost>
struct ReducedProblem {
  std::vector<std::vector<std::uint32_t>> strategies;  // by node: those left, by their original numbers
  std::vector<std::vector<Cost>> costs;              // by node and strategy left; of kept nodes only what was folded in
  std::vector<PairTable<Cost>> pairs;                // without costs where folded
  std::vector<std::vector<std::uint32_t>> pairs_of;  // by node: positions in pairs of those that are not folded

  std::size_t size(std::uint32_t node) const { return strategies[node].size(); }
};

// Adds parallel edges up and folds nodes of one strategy into their neighbours.
template <typename Cost>
ReducedProblem<Cost> merge_edges(const IntraOpProblem& problem, const std::vector<bool>& is_kept);

// Drops strategies that are forbidden or never better than another one of their node (Goldstein's criterion of dead-end
// elimination: whatever the neighbours choose, changing b to a does not cost more; nor, under a limit, use more). Among
// equals the lowest number stays. Kept nodes lose no strategy. It costs more than eliminating a narrow problem does.
template <typename Cost>
void drop_strategies(const IntraOpProblem& problem, const std::vector<bool>& is_kept, ReducedProblem<Cost>& reduced);

}  // namespace meshloom::reductions
