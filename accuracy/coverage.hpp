// Which measured times lie in the intervals of their predictions.
#pragma once

#include <string>

#include "accuracy/constants.hpp"
#include "accuracy/report.hpp"
#include "accuracy/uncertainty.hpp"

namespace meshloom {

// Adds to each row its device, recipe and interval, and to the report how many runs lie in theirs. `constants` are what
// the rows were priced with; `file`: where the uncertainty was read.
void add_intervals(AccuracyReport& report, const Constants& constants, const Uncertainty& uncertainty,
                   const std::string& file);

}  // namespace meshloom
