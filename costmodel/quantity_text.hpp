// Quantities as people write them: "80 GB", "25 Gbit/s", "5 us". The text reads back to the same double.
#pragma once

#include <string>

#include "graphs/units.hpp"

namespace meshloom {

std::string text_of(Bytes bytes);
std::string text_of(BytesPerSecond bandwidth);
std::string text_of(FlopsPerSecond speed);
std::string text_of(Seconds time);

}  // namespace meshloom
