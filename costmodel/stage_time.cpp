#include "costmodel/stage_time.hpp"

#include <algorithm>
#include <cmath>

namespace meshloom {

Seconds stage_time(const StageParts& parts) {
  const Seconds longest = std::max({parts.devices, parts.launches, parts.beside});
  if (longest == parts.devices && parts.launches == Seconds(0) && parts.beside == Seconds(0)) return parts.devices;
  double sum = 0;
  for (const Seconds part : {parts.devices, parts.launches, parts.beside})
    sum += std::pow(part / longest, overlap_exponent);
  return longest * std::pow(sum, 1 / overlap_exponent);
}

}  // namespace meshloom
