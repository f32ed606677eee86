// Large-neighbourhood search: frees a window of nodes, holds the others, and solves what is free exactly [Shaw 1998].
// Deterministic: windows come from a seeded generator, a batch is solved against the same choices on any number of
// threads, and its improvements are applied in order.
#pragma once

#include <atomic>
#include <functional>
#include <random>

#include "planner/intra_op/local_search.hpp"
#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {

class NeighbourhoodSearch {
 public:
  // `choices` are feasible; all nodes of `problem` are left; it must outlive this.
  NeighbourhoodSearch(const WorkingProblem& problem, const std::vector<std::uint32_t>& choices);

  const ChoiceState& state() const { return state_; }

  // One batch of windows; returns how many of them made the choices cheaper. `out_of_time` may be asked from any
  // thread.
  std::size_t improve(const std::function<bool()>& out_of_time);

 private:
  enum class Shape { consecutive, connected, two_regions };
  struct Window {
    Shape shape = Shape::consecutive;
    std::vector<NodeIndex> nodes;  // ascending
  };
  struct Improvement {
    bool complete = false;
    std::uint64_t effort = 0;
    std::vector<std::uint32_t> choices;  // by position in the window; empty: none
  };

  std::uint32_t random_below(std::size_t bound);
  Window next_window();
  void add_region(NodeIndex seed, std::size_t size, std::vector<NodeIndex>& nodes);
  WorkingProblem part(const std::vector<NodeIndex>& nodes) const;
  Improvement solve(const Window& window, const std::function<bool()>& out_of_time) const;
  bool apply(const Window& window, const Improvement& improvement);

  const WorkingProblem& problem_;
  ChoiceState state_;
  std::vector<std::int64_t> left_;  // of the slack, while a batch is solved
  std::mt19937_64 random_{1};
  double sizes_[3] = {24, 24, 24};   // nodes of the next window, by shape
  double effort_;                    // of one window
  std::vector<std::uint32_t> mark_;  // by node: the last region that took it
  std::uint32_t regions_ = 0;
};

}  // namespace meshloom::intra_op
