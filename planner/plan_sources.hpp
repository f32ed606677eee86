// Where the times of a plan that was priced with profiles come from.
#pragma once

#include <string>
#include <vector>

#include "costmodel/measured_times.hpp"
#include "planner/plan/plan.hpp"

namespace meshloom {

// Says for each op and collective of the plan where its time comes from, and for the whole step how much of the
// device time of computing and collectives is measured, interpolated, extrapolated and modelled (sends between stages
// are modelled and not counted). `cluster` carries the profiles (with_profiles); the plan's own is left as the
// cluster file has it.
void record_sources(Plan& plan, const Graph& graph, const Cluster& cluster, const std::vector<ProfileFile>& profiles);

}  // namespace meshloom
