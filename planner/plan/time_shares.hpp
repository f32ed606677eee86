// Where the times of a plan come from, for people.
#pragma once

#include <string>

#include "planner/plan/plan.hpp"

namespace meshloom {

// "71.3 % measured, 20.0 % interpolated, 8.7 % modelled"; empty for a plan that was priced without profiles.
std::string time_shares_text(const Plan& plan);

}  // namespace meshloom
