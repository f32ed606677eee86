// Elimination under memory on sparse tables: an entry holds labels (cost, usage by period) of which none is worse than
// another in everything, and what cannot become cheaper than a cutoff is left out. Costs are measured from a dual's
// bound, so nearly everything is left out where the bound is near the cutoff.
//
// Where an entry has more labels than a width allows, neighbouring ones become one that is as cheap and as small as any
// of them: the result is then a proven lower bound. Exact when no label had to be merged, or none of the best is.
//
// [Variable elimination: Bertelè and Brioschi 1972; labels: Desrochers 1988; merging as in relaxed decision diagrams:
// Bergman, Cire, van Hoeve 2014]
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "planner/intra_op/dual_ascent.hpp"
#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {

struct LabelEliminationOptions {
  TotalCost cutoff = infinite_cost;       // only what costs less is kept
  std::size_t width = 100;                // labels of an entry
  std::size_t most_values = 100'000'000;  // to hold: 8 and the periods per label
  std::function<bool()> out_of_time;
};

struct LabelEliminationAnswer {
  bool complete = false;      // false: too many labels, or no time; the rest says nothing then
  TotalCost lower_bound = 0;  // of all choices; at most the cutoff (or a nearer one): then none costs less
  // Choices behind the bound: where no label of theirs was merged they reach it; else they may cost or use more, and be
  // forbidden. Empty when nothing is below the cutoff.
  std::vector<std::uint32_t> choices;
  std::uint64_t effort = 0;  // labels made
};

// All nodes of `problem` are left; `dual` is of `problem`.
LabelEliminationAnswer eliminate_by_labels(const WorkingProblem& problem, const Reparametrisation& dual,
                                           const LabelEliminationOptions& options);

}  // namespace meshloom::intra_op
