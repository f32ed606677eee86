// The files of training_recipes/ that calibration reads and writes, as part of the program.
#pragma once

#include <string_view>

namespace meshloom {

std::string_view embedded_calibration_list();  // training_recipes/calibration.json
std::string_view embedded_uncertainty();       // training_recipes/uncertainty.json

}  // namespace meshloom
