// What a stage takes when several things limit it at once: its devices' computing and the collectives it waits for, the
// host that starts its kernels, collectives that run beside computing.
#pragma once

#include "graphs/units.hpp"

namespace meshloom {

// The p-norm of the parts: the longest where it is by far the longest, more where two are close, because neither stays
// ahead of the other all the time. The exponent was fitted to published, measured runs of small models
// [docs/cost_model.md].
inline constexpr double overlap_exponent = 2.7;
struct StageParts {
  Seconds devices;   // computing, and what of collectives it waits for
  Seconds launches;  // of kernels, on the host
  Seconds beside;    // collectives of parameters that run beside computing
};
Seconds stage_time(const StageParts& parts);

}  // namespace meshloom
