// A report on a plan as one HTML page that needs nothing else: no network, no scripts. The summary, a table of stages,
// bars of time and memory, and the timeline of the simulated step.
#pragma once

#include <string>

#include "simulator/simulation.hpp"

namespace meshloom {

std::string report_html(const Plan& plan, const Simulation& simulation);

}  // namespace meshloom
