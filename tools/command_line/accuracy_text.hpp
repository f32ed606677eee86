// The comparison with measured runs as tables for a terminal.
#pragma once

#include <cstddef>
#include <string>

#include "accuracy/report.hpp"

namespace meshloom {

// With the `worst` rows of the largest errors.
std::string accuracy_text(const AccuracyReport& report, std::size_t worst);

}  // namespace meshloom
