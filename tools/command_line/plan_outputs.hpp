// What `plan` and `baseline` write.
#pragma once

#include "planner/plan/plan.hpp"
#include "tools/command_line/commands.hpp"

namespace meshloom {

// Before the search: refuses paths that cannot be written or are inputs, too, and two outputs to one place.
void check_outputs(const InputPaths& inputs, const PlanOutputs& outputs);

// Plan file (when nothing fits, too: it says why), report (not then), then the summary.
ExitCode write_outputs(const Plan& plan, Seconds search_time, const PlanOutputs& outputs);

}  // namespace meshloom
