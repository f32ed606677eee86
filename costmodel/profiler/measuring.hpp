// The measuring core: repeats one prepared task until its median is known well enough or its time is over. It knows
// neither devices nor clocks: both come from outside, so a test gives it false ones.
#pragma once

#include <functional>

#include "costmodel/profiler/backend.hpp"
#include "costmodel/profiler/statistics.hpp"

namespace meshloom {

struct MeasuringOptions {
  double uncertainty = 0.02;          // stop when the median's 95 % interval is within this share on either side
  std::size_t warm_up = 3;            // runs before the first sample
  std::size_t least_repetitions = 7;  // samples before the uncertainty is looked at
  std::size_t most_repetitions = 500;
  Seconds time_limit{2};       // for the samples of one task; least_repetitions are taken all the same
  Seconds least_sample{2e-5};  // shorter tasks are repeated within one sample: a clock's resolution is no measurement
  CacheState cache = CacheState::as_left;
};

// `now` is the wall clock that the limit is about; the samples' durations are what the task says.
SampleSummary measure(PreparedTask& task, const MeasuringOptions& options, const std::function<Seconds()>& now);

}  // namespace meshloom
