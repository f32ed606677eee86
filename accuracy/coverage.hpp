// The share of measured times that lie in the intervals of their predictions.
#pragma once

#include <optional>

#include "accuracy/constants.hpp"
#include "accuracy/report.hpp"
#include "accuracy/uncertainty.hpp"

namespace meshloom {

// Of the rows that ran and are not suspect; none without such rows or without intervals.
std::optional<double> interval_coverage(const AccuracyReport& report, const Constants& constants,
                                        const Uncertainty& uncertainty);

}  // namespace meshloom
