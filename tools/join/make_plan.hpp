// The one place where planner and simulator meet: candidates from the search, the choice by simulation.
#pragma once

#include <functional>
#include <vector>

#include "planner/search.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {

// The candidate with the least simulated time, its simulation applied; ties: the first.
Plan choose_by_simulation(std::vector<Plan> candidates, const std::function<Simulation(const Plan&)>& run);

// Search, and unless `with_baselines` is false the best uniform layouts as further candidates; Plan::origin says which
// won. Remedies of what does not fit count baselines in, too.
struct MakePlanOptions {
  SearchOptions search;
  bool with_baselines = true;
};
Plan make_plan(const PlanningInput& input, const MakePlanOptions& options);

}  // namespace meshloom
