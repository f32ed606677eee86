// Feasible choices near given ones, and better ones near those: one node at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {

// Choices with what they cost and use, kept up to date move by move.
class ChoiceState {
 public:
  // All nodes of `problem` are left; it must outlive this.
  ChoiceState(const WorkingProblem& problem, std::vector<std::uint32_t> choices);

  const std::vector<std::uint32_t>& choices() const { return choices_; }
  TotalCost cost() const { return cost_; }
  TotalCost overuse() const { return overuse_; }  // above the slack, summed over periods
  bool feasible() const { return overuse_ == 0 && forbidden_ == 0; }

  // Moves nodes until no single move lowers what is forbidden, then overuse, then cost. Gives up where overuse stays.
  void improve();

 private:
  struct Change {
    std::int64_t forbidden = 0;  // entries
    TotalCost overuse = 0, cost = 0;
  };
  Change change(NodeIndex node, std::uint32_t strategy) const;
  void move(NodeIndex node, std::uint32_t strategy, const Change& change);
  bool repair_step();
  bool descend();

  const WorkingProblem& problem_;
  std::vector<std::uint32_t> choices_;
  std::vector<std::int64_t> used_;  // by period
  std::int64_t forbidden_ = 0;
  TotalCost cost_ = 0, overuse_ = 0;
};

}  // namespace meshloom::intra_op
