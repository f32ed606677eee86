// Every useful way to run each range of layers on one mesh, nothing thinned: all choices of all ops and all states of
// all parameters, less those that another one equals or betters in every time and every kind of memory. Only for small
// problems; others are priced at a few weights (stage_costs.hpp).
//
// From left to right, as the range solver joins layers, but with sets of costs in place of one weighted cost: what is
// known of a range is, for each assignment of the variables that later layers use, its undominated costs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "planner/stage_costs.hpp"
#include "planner/state_choices.hpp"

namespace meshloom {

struct FrontPoint {
  Cost cost;
  RangeOrigins choices;  // of the range solver's models
};
using RangeFront = std::vector<FrontPoint>;

// Undominated in forward, forward + backward, per step, and each part of memory; of equal ones the first stays.
bool dominates(const Cost& a, const Cost& b);

// By class of RangeClasses (class 0 unused); empty where a range cannot be run. Each cost that is added up takes one of
// `work`; none when that runs out.
std::optional<std::vector<RangeFront>> range_fronts(const SearchSpace& space, MeshSolver& solver, Recompute recompute,
                                                    std::size_t& work);

// All candidates of all meshes at one microbatch size, with exact least times; none: the problem is too large, or the
// options ask for thinned sets. Throws InputError where they forbid thinning and the problem is too large.
std::optional<StageCosts> exact_stage_costs(const SearchSpace& space, std::int64_t microbatch_size,
                                            std::int64_t microbatches);

}  // namespace meshloom
