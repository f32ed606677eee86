// Measured against predicted times as one SVG picture that needs nothing else.
#pragma once

#include <string>

#include "accuracy/report.hpp"

namespace meshloom {

// Logarithmic axes, a colour and a shape for each source, lines where prediction and measurement agree and where they
// differ by a tenth. Runs that ran out of memory are not drawn; suspect ones are hollow.
std::string scatter_svg(const AccuracyReport& report);

}  // namespace meshloom
