// What `plan` and `baseline` write.
#pragma once

#include "planner/plan/plan.hpp"
#include "tools/command_line/commands.hpp"

namespace meshloom {

// Before the search: refuses paths that cannot be written and two outputs on standard output.
void check_outputs(const PlanOutputs& outputs);

// Plan file and report (not when nothing fits), then the summary.
ExitCode write_outputs(const Plan& plan, Seconds search_time, const PlanOutputs& outputs);

}  // namespace meshloom
