// What would make a plan possible where none fits: changes of one kind each, every one checked to work.
#pragma once

#include <functional>
#include <vector>

#include "planner/search.hpp"

namespace meshloom {

// Whether a plan is found; what throws InputError finds none.
using Finds = std::function<bool(const PlanningInput& input, const SearchOptions& options)>;

// For an infeasible plan of these options: one remedy per kind of change, the kinds that ask for least first. Each
// alone makes a plan possible, and the next smaller step of its kind does not. Kinds whose every step leaves it
// impossible have none. `options` of a remedy replace the same options of the command; where no option says it, the
// text does. On large clusters the number of searches is bounded;
// kinds that are left then, or when the deadline passes, are left out.
std::vector<Remedy> find_remedies(const PlanningInput& input, const SearchOptions& options, const Plan& infeasible,
                                  const Finds& finds);

}  // namespace meshloom
