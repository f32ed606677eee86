// What meshloom-profile prints under --json.
#pragma once

#include <string>
#include <vector>

#include "costmodel/profiler/graph_step.hpp"
#include "costmodel/profiler/session.hpp"

namespace meshloom {

std::string summary_json(const std::string& output, const SessionResult& result);
// `times` ascending by their totals.
std::string step_json(const std::vector<StepTimes>& times, float loss, const std::vector<KernelTime>& kernels);

}  // namespace meshloom
