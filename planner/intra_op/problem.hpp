// The intra-operator problem as a value of our own: choose one strategy per node so that node and edge costs are least
// and memory fits [Alpa, Eq. 1]. Also the problem of the ASPLOS 2025 intra-operator contest.
//
//   minimise  Σ_i cost(i, s_i) + Σ_(i,j) cost(i, s_i, j, s_j)
//   subject to, at every time t:  Σ_{i live at t} usage(i, s_i) ≤ usage_limit
//
// Costs are integers from 0 (in plans: picoseconds), so optima compare exactly; `infinite_cost` forbids a choice, and
// so does a total that reaches it: solvers call a problem infeasible when every choice costs `infinite_cost` or more. A
// node without a live interval has no usage but still costs. Parallel edges add up.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meshloom {

constexpr std::int64_t infinite_cost = 1'000'000'000'000'000'000;  // 10^18
__extension__ typedef __int128 TotalCost;                          // sums of costs

struct IntraOpNode {
  std::vector<std::int64_t> costs;             // by strategy; at least one
  std::vector<std::int64_t> usages;            // by strategy, or empty: none
  std::int64_t live_from = 0, live_until = 0;  // half-open
  bool operator==(const IntraOpNode&) const = default;
};

struct IntraOpEdge {
  std::uint32_t a = 0, b = 0;       // positions in nodes; a ≠ b
  std::vector<std::int64_t> costs;  // row-major: [strategy of a][strategy of b]
  bool operator==(const IntraOpEdge&) const = default;
};

struct IntraOpProblem {
  std::vector<IntraOpNode> nodes;
  std::vector<IntraOpEdge> edges;
  std::optional<std::int64_t> usage_limit;
  bool operator==(const IntraOpProblem&) const = default;
};

enum class SolveStatus { optimal, feasible, infeasible, time_limit };
std::string_view name(SolveStatus status);

struct IntraOpSolution {
  SolveStatus status = SolveStatus::infeasible;
  std::vector<std::uint32_t> choices;  // strategy by node; empty without an answer
  TotalCost objective = 0;
  TotalCost lower_bound = 0;  // proven; equals the objective when optimal
  bool operator==(const IntraOpSolution&) const = default;
};

// automatic: what suits the problem, one after the other until the answer is proven. anytime: the same, but good
// choices come before proofs. elimination: after reductions; only where these leave no limit that can bind.
enum class Solver { automatic, elimination, cbc, anytime };
std::string_view name(Solver solver);  // "auto", "elimination", "cbc", "anytime"
std::optional<Solver> solver_named(std::string_view name);

// How far a solver is: never a cost below the bound.
struct SolveProgress {
  double seconds = 0;             // since its start
  std::optional<TotalCost> cost;  // of the best choices known
  TotalCost lower_bound = 0;      // proven
};

struct SolveOptions {
  Solver solver = Solver::automatic;
  double time_limit_s = 60;                            // the best answer by then; plain elimination ignores it
  double accepted_gap = 0;                             // stop once cost / bound − 1 is this small
  std::function<void(const SolveProgress&)> progress;  // called a few times a second, from one thread; may be empty
  const std::atomic<bool>* interrupt = nullptr;        // once true, the best answer so far is returned; may be null
};

// The best choices that `options.solver` finds in its time and a proven bound. An answer that is proven does not depend
// on time or threads. Status feasible: the limit or the interrupt came first; time_limit: and before any answer. Throws
// InputError where the solver cannot know the problem's limit.
IntraOpSolution solve_intra_op(const IntraOpProblem& problem, const SolveOptions& options = {});

// The cost of given choices; ≥ infinite_cost when a forbidden one is among them. Summed in 128 bits.
TotalCost cost_of(const IntraOpProblem& problem, const std::vector<std::uint32_t>& choices);
// The largest usage at any time; 0 when nothing is live.
TotalCost peak_usage(const IntraOpProblem& problem, const std::vector<std::uint32_t>& choices);
// Throws InputError: sizes that do not match, an edge to itself or to an unknown node, negative costs, usages or limit,
// no strategies. Solvers take checked problems.
void check_problem(const IntraOpProblem& problem);

// Brute force over all choices: the oracle. Only for tiny problems (asserts at most 10^7 combinations).
IntraOpSolution solve_by_enumeration(const IntraOpProblem& problem);

// The ILP as in Alpa: one-hot choices, linearised edges, and a row for the memory of those times only where choices
// exceed it; CBC with one thread and a fixed seed, after exact reductions. Objective and limit are checked in integers
// from the choices; optimal within CBC's tolerance of 1e-9. Stopped by the time limit or the interrupt: status
// feasible, or time_limit without choices; the bound holds for both. It stops within a tenth and a second beyond the
// limit. Calls from several threads run one after another.
IntraOpSolution solve_by_cbc(const IntraOpProblem& problem, const SolveOptions& options);

// Exact variable elimination along a greedy order (least work first), for problems without a usage limit (ignored when
// no choice can reach it; std::logic_error when one can). Status time_limit when a table would exceed 2^27 entries.
// Ties: the lowest strategy, the last eliminated node first, so that answers are reproducible.
IntraOpSolution solve_by_elimination(const IntraOpProblem& problem);

// What is left when all nodes but `kept` are eliminated: for each assignment of the kept nodes (row-major, first kept
// node major) the least cost of the rest and the choices that reach it. Costs of the kept nodes themselves are NOT
// included, edges between them are. Throws std::length_error when a table would exceed 2^27 entries. The usage limit is
// ignored.
struct ReducedTable {
  std::vector<std::uint32_t> kept;
  std::vector<std::uint32_t> sizes;                 // strategies of each kept node
  std::vector<std::int64_t> costs;                  // saturated at infinite_cost
  std::vector<std::vector<std::uint32_t>> choices;  // by entry: strategy of every node; empty where infinite
};
ReducedTable eliminate_all_but(const IntraOpProblem& problem, const std::vector<std::uint32_t>& kept);

}  // namespace meshloom
