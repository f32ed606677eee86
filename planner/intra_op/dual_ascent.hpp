// A proven lower bound on an intra-operator problem by ascent on its dual. Each table of a pair lends vectors to its
// two nodes (messages), and memory enters by a multiplier per period:
//
//   bound = Σ_i min_k ( cost_i(k) + Σ_t multiplier_t · usage_i(k, t) + Σ_pairs message_pair→i(k) )
//         + Σ_pairs min_kl ( cost(k, l) − message_pair→a(k) − message_pair→b(l) ) − Σ_t multiplier_t · slack_t
//
// for any messages and any multipliers from 0. `sweep` raises it: nodes are visited in order and back; each takes what
// the tables towards the nodes before it can give and lends shares of what it has to those after it [sequential message
// passing: Kolmogorov 2006; the local polytope's dual: Werner 2007]. Sweeps use floating point; `certify` evaluates the
// bound in integers, so that what it says is exact.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {

// What the dual proves, in the problem's units.
struct Certificate {
  TotalCost lower_bound = 0;  // rounded up: costs are whole numbers; the problem's constant is in it
  // By node and strategy: how much any choice with it costs at least above the bound, rounded up alike.
  std::vector<std::vector<std::int64_t>> strategy_excess;
  // By pair and entry: likewise for the two strategies together.
  std::vector<std::vector<std::int64_t>> entry_excess;
};

// The problem's costs as the dual sees them, exact: in units of 2^−shift a choice with its memory priced costs bound +
// Σ nodes + Σ pairs, all terms from 0; those beyond 2^60 stand at 2^60.
struct Reparametrisation {
  int shift = 0;
  TotalCost bound = 0;                           // without the problem's constant
  std::vector<std::vector<std::int64_t>> nodes;  // by node and strategy
  std::vector<std::vector<std::int64_t>> pairs;  // by pair and entry
};

// What costs more than `room` above the certificate's bound, dropped from the problem that it was made for. Returns the
// share of strategies or of entries that went, whichever is larger; the problem may turn out infeasible.
double drop_expensive(const Certificate& certificate, TotalCost room, WorkingProblem& problem);

// Where the ascent is.
struct DualPoint {
  struct Messages {
    std::vector<double> to_a, to_b;
  };
  std::vector<Messages> messages;   // by pair
  std::vector<double> multipliers;  // by period
};

class Evaluation;  // of the bound, in integers

class DualAscent {
 public:
  // `problem` must outlive this; all its nodes are left (see `compacted`), and no strategy is unsupported.
  explicit DualAscent(const WorkingProblem& problem);

  // By period, from 0. What the messages say stays.
  void set_multipliers(const std::vector<double>& multipliers);

  const DualPoint& point() const { return point_; }
  void restore(const DualPoint& point);

  void sweep();
  double value() const;  // of the bound, in floating point: not proven
  Certificate certify() const;
  Reparametrisation reparametrisation() const;

  // Entries of tables visited so far: what work was done, whatever the clock says.
  std::uint64_t effort() const { return effort_; }

  // Choices node by node, each with what earlier nodes chose.
  std::vector<std::uint32_t> decode() const;

 private:
  enum class Direction { forward, backward };
  struct Link {  // a pair as one of its nodes sees it
    std::uint32_t pair, other;
    bool is_a;
  };

  struct RoundedMessages {
    std::vector<std::vector<std::int64_t>> to_a, to_b;  // by pair
  };
  RoundedMessages rounded(Evaluation& evaluation) const;

  void visit(std::uint32_t node, Direction direction);
  void take(const Link& link);
  void potentials(std::uint32_t node, std::vector<double>& result) const;

  const WorkingProblem& problem_;
  std::vector<std::vector<Link>> links_;     // by node
  std::vector<std::vector<double>> costs_;   // by node: with the multipliers' share
  std::vector<std::vector<double>> tables_;  // by pair
  DualPoint point_;
  double price_of_slack_ = 0;
  std::vector<double> sums_;
  std::uint64_t effort_ = 0;
};

}  // namespace meshloom::intra_op
