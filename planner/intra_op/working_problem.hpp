// The intra-operator problem as the exact solvers hold it while they shrink it: one table per pair of nodes, usage
// over periods instead of times, and a log that leads back to the choices of the whole problem. Private to the solvers.
//
//   periods       the maximal sets of nodes that are live at one time; the others are implied
//   slack         what the limit leaves in a period when every node takes its least usage there
//   usage         of a node's strategies beyond its least, in spans of periods
//   constant      what every choice pays
//
// Whatever shrinks the problem keeps its least cost under the limit and at least one choice that reaches it.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "planner/intra_op/problem.hpp"

namespace meshloom::intra_op {

using NodeIndex = std::uint32_t;

constexpr std::int64_t saturated_sum(std::int64_t a, std::int64_t b) {
  return a + b < infinite_cost ? a + b : infinite_cost;
}

// Spans of periods, half-open, with an amount for each strategy of a node.
struct Usage {
  struct Span {
    std::uint32_t begin = 0, end = 0;
  };
  std::vector<Span> spans;
  std::vector<std::int64_t> amounts;  // by span, by strategy

  bool empty() const { return spans.empty(); }
  const std::int64_t* of(std::size_t span) const { return &amounts[span * (amounts.size() / spans.size())]; }
};

struct WorkingNode {
  std::vector<std::uint32_t> strategies;  // those left, by their numbers in the whole problem
  std::vector<std::int64_t> costs;        // finite
  Usage usage;                            // ascending, disjoint; in each span the least is 0, the most above
  std::vector<std::uint32_t> pairs;       // positions in WorkingProblem::pairs
  bool removed = false;
};

struct WorkingPair {
  NodeIndex a = 0, b = 0;           // a < b
  std::vector<std::int64_t> costs;  // row-major: [a][b]; empty: removed
};

// A pair's table through the eyes of one end: costs[own · own_stride + others · other_stride].
struct PairView {
  NodeIndex other;
  std::size_t own_stride, other_stride, other_size;
};

// How to find a removed node's choice, given those of the nodes removed after it and of those that are left. Strategies
// by their numbers in the whole problem.
struct Fixed {
  NodeIndex node;
  std::uint32_t strategy;
};
struct Follows {  // one strategy for each of the leader's
  NodeIndex node, leader;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> strategy_of;  // leader's strategy → node's, ascending
};
struct Minimised {  // the best one given the neighbours'; ties: the first
  NodeIndex node;
  WorkingNode state;
  struct Neighbour {
    NodeIndex node;
    std::vector<std::uint32_t> strategies;
    std::vector<std::int64_t> costs;  // row-major: [node][neighbour]
  };
  std::vector<Neighbour> neighbours;
};
using Removal = std::variant<Fixed, Follows, Minimised>;

struct WorkingProblem {
  std::vector<WorkingNode> nodes;  // as many as in the whole problem
  std::vector<WorkingPair> pairs;
  std::vector<std::int64_t> slack;          // by period; empty without a limit
  std::vector<std::uint32_t> period_names;  // by period: numbers that stay when others are dropped
  TotalCost constant = 0;
  bool infeasible = false;
  std::vector<Removal> log;

  std::size_t size(NodeIndex node) const { return nodes[node].costs.size(); }
  PairView view(std::uint32_t pair, NodeIndex node) const {
    const WorkingPair& table = pairs[pair];
    const std::size_t columns = size(table.b);
    if (table.a == node) return {table.b, columns, 1, columns};
    return {table.a, 1, columns, size(table.a)};
  }
};

// Costs of `infinite_cost` are dropped, parallel edges added up, usages measured from the least. Throws InputError
// where usages under a limit are so large that their sums would leave 64 bits.
WorkingProblem working_problem(const IntraOpProblem& problem);

// Shrinks until nothing more is found: strategies that cannot be chosen, cannot fit or are never better than another
// one; nodes of one strategy; tables that are a sum of two vectors; nodes that follow a neighbour because each of its
// strategies leaves them one; and nodes without usage that have at most two neighbours. Returns whether anything was.
bool shrink(WorkingProblem& problem);

// Drops the periods that cannot bind and those that a neighbouring one implies; returns whether there were any. Part of
// `shrink`.
bool drop_periods(WorkingProblem& problem);

// Drops what costs too much: `keep[node][strategy]` false. Then `shrink` makes use of it.
void drop(WorkingProblem& problem, NodeIndex node, const std::vector<bool>& keep);

// Drops strategies that some neighbour's strategies all forbid, until there is none [arc consistency]. Part of
// `shrink`.
void drop_unsupported(WorkingProblem& problem);

// What is left as a problem of its own: its whole problem is the rest, nodes and strategies numbered anew, an empty
// log.
WorkingProblem compacted(const WorkingProblem& problem);
// Choices for `compacted(problem)` as `expand` wants them.
std::vector<std::uint32_t> from_compacted(const WorkingProblem& problem, const std::vector<std::uint32_t>& choices);

// Choices of the whole problem out of those for the nodes that are left (by position in WorkingNode::strategies;
// anything for removed nodes).
std::vector<std::uint32_t> expand(const WorkingProblem& problem, const std::vector<std::uint32_t>& choices);

}  // namespace meshloom::intra_op
