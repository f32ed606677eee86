// What the report's script draws, as one JSON document.
#pragma once

#include <string>

#include "simulator/simulation.hpp"

namespace meshloom {

// Safe inside a <script> element: contains no "<".
std::string report_data(const Plan& plan, const Simulation& simulation);

}  // namespace meshloom
