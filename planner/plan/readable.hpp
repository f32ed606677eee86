// Quantities as people read them, in three digits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "graphs/units.hpp"

namespace meshloom {

std::string readable(Seconds time);  // "12.3 s", "4.56 ms", "7.80 us"; "-" when not finite
std::string readable(Bytes size);    // "14.2 GiB"
std::string percent(double share);   // "3.1 %"; "-" when not finite

// "1 host", "2 hosts"; "3 microbatches" with the ending "es".
std::string counted(std::int64_t count, std::string_view noun, std::string_view plural_ending = "s");

}  // namespace meshloom
