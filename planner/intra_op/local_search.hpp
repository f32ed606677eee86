// Choices that are changed one node at a time, with what they cost and what they leave of the limit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/intra_op/slack_tree.hpp"
#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {

class ChoiceState {
 public:
  // All nodes of `problem` are left; it must outlive this.
  ChoiceState(const WorkingProblem& problem, std::vector<std::uint32_t> choices);

  const std::vector<std::uint32_t>& choices() const { return choices_; }
  TotalCost cost() const { return cost_; }  // without forbidden entries
  bool feasible() const { return forbidden_ == 0 && left_.least(0, periods_) >= 0; }
  std::vector<std::int64_t> left() const { return left_.values(); }  // of the slack, by period

  // Makes the choices feasible where greedy moves can; then no move of one node makes them cheaper.
  void improve();
  void move(NodeIndex node, std::uint32_t strategy);

 private:
  struct Change {
    std::int64_t forbidden = 0;  // entries
    TotalCost cost = 0;
  };
  Change change(NodeIndex node, std::uint32_t strategy) const;
  // Whether no period gets short by the move, or shorter.
  bool fits(NodeIndex node, std::uint32_t strategy) const;
  bool avoid_forbidden();
  bool free_memory(std::uint32_t period);
  bool descend();

  const WorkingProblem& problem_;
  std::uint32_t periods_;
  std::vector<std::uint32_t> choices_;
  SlackTree left_;
  std::int64_t forbidden_ = 0;
  TotalCost cost_ = 0;
};

}  // namespace meshloom::intra_op
