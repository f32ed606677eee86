// A plan as people read it.
#pragma once

#include <string>

#include "planner/plan/plan.hpp"
#include "tools/command_line/commands.hpp"

namespace meshloom {

// Headline numbers and one line per stage; when nothing fits: what is short, and the remedies.
std::string summary_text(const Plan& plan);

// Whether the plan can run: neither infeasible nor without stages.
bool is_runnable(const Plan& plan);

// 0, or 3 or 4 for a plan that cannot run.
ExitCode exit_code_of(const Plan& plan);

}  // namespace meshloom
