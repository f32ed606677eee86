// The best multipliers for memory: subgradient steps on the periods that decoded choices overuse most, few of which
// bind in practice [step length: Polyak 1969], with sweeps of the dual in between.
#pragma once

#include <functional>
#include <map>

#include "planner/intra_op/dual_ascent.hpp"

namespace meshloom::intra_op {

using Multipliers = std::map<std::uint32_t, double>;  // by the period's name; others are 0

struct MultiplierSearchOptions {
  Multipliers start;
  std::size_t most_updates = 200;
  double cutoff = 0;  // enough once the bound reaches it; infinity: none
  std::function<bool()> out_of_time;
  std::function<void(const std::vector<std::uint32_t>&)> consider;  // decoded choices, maybe infeasible
};

struct BestDual {
  Certificate certificate;
  Reparametrisation reparametrisation;
  Multipliers multipliers;
  std::uint64_t effort = 0;  // entries visited
};

// All nodes of `problem` are left.
BestDual search_multipliers(const WorkingProblem& problem, const MultiplierSearchOptions& options);

}  // namespace meshloom::intra_op
