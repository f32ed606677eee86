// The clock of measurements on the processor.
#pragma once

#include <ctime>

#include "graphs/units.hpp"

namespace meshloom {

// What passes, or what the process gets of it: where other programs share the cores, only the latter says how long a
// kernel takes alone. It counts all threads of the process, so it is for one.
enum class CpuClock { wall, processor };

inline Seconds read(CpuClock clock) {
  timespec time{};
  clock_gettime(clock == CpuClock::wall ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &time);
  return Seconds(static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec));
}

}  // namespace meshloom
