// A report on a plan as one HTML page that needs nothing else and loads nothing: the summary, the timeline of the
// simulated step, memory over time, where the time goes, the stages on the cluster, the sharding of every operator, the
// inputs. Its script (simulator/report_page/) draws what report_data gives; docs/simulation.md says what is shown.
#pragma once

#include <string>

#include "simulator/simulation.hpp"

namespace meshloom {

std::string report_html(const Plan& plan, const Simulation& simulation);

}  // namespace meshloom
