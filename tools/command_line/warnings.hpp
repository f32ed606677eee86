// What a user should know about a plan that was asked for: what the framework would do otherwise.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/search.hpp"

namespace meshloom {

// A line each, none mostly. Of a state that was asked for and that the recipe's framework does not have; of a 16-bit type
// of the graph that the recipe computes in the other one; of a vocabulary that leaves the loss whole on devices which
// could share it, where frameworks pad.
std::vector<std::string> warnings_about(const PlanningInput& input, const Plan& plan,
                                        std::optional<ParameterState> asked);
// To standard error.
void print_warnings(const std::vector<std::string>& warnings);

}  // namespace meshloom
