// A simulated step as text: one column per `unit`, the microbatch's digit in the row of what runs. docs/simulation.md
// and docs/schedules.md show such drawings.
#pragma once

#include <string>

#include "simulator/simulation.hpp"

namespace meshloom {

std::string draw_timeline(const Simulation& simulation, const PipelineShape& shape, Picoseconds unit);

}  // namespace meshloom
