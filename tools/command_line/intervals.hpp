// Between what a plan's measured time will lie, and whether its runner-up may be as good.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "accuracy/uncertainty.hpp"
#include "planner/plan/plan.hpp"

namespace meshloom {

// By the calibration that comes with the program; none without one for anything, or without a simulated time. A cluster
// of several kinds of devices has that of an unknown device.
std::optional<TimeInterval> interval_of(const Plan& plan);

// The devices of which there is no row in the calibration: no measured run supports their constants. In the order of
// the groups.
std::vector<std::string> unmeasured_devices(const Cluster& cluster);

// The summary with "iteration_time_interval_s", "runner_up_s" and "within_uncertainty", each null where there is none,
// and "unmeasured_devices".
std::string with_interval(const std::string& summary, const Plan& plan);

// Lines of the plan's text; empty without an interval and without a runner-up.
std::string interval_text(const Plan& plan);

}  // namespace meshloom
