// The best of a grid of uniform layouts: the manual baseline that a plan has to beat, and a candidate for the plan.
#pragma once

#include <optional>
#include <vector>

#include "planner/baseline.hpp"

namespace meshloom {

// Under the schedule of the options, with as many chunks as they say or each number that is searched; without one 1F1B,
// if the recipe has it. The feasible plan of least estimate over uniform_layouts and all microbatch sizes that agree
// with the options, of interleaved ones those of each number of chunks for up to three choices of degrees; the least
// first, none when none fits, or when the options' deadline came before. Layouts are priced side by side; only the best
// are written out.
std::vector<Plan> best_uniform_plans(const PlanningInput& input, const SearchOptions& options);
std::optional<Plan> best_uniform_plan(const PlanningInput& input, const SearchOptions& options);  // the first

// Every uniform layout with power-of-two degrees that multiply to the devices, with context parallelism where a device
// keeps 2,048 tokens of a sample or more (best_uniform_plans has them with one sample for each replica); on an unequal
// cluster dp and pp need not be powers of two.
std::vector<UniformLayout> uniform_layouts(const PlanningInput& input);

}  // namespace meshloom
