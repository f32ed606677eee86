#include "costmodel/profiler/measuring.hpp"

#include <algorithm>
#include <cmath>

namespace meshloom {
namespace {

// More would hide nothing more of the clock's resolution.
constexpr double most_runs_per_sample = 10'000;

// How many runs make one sample.
std::size_t runs_per_sample(Seconds one_run, const MeasuringOptions& options) {
  if (options.cache == CacheState::flushed || one_run >= options.least_sample) return 1;
  if (one_run <= Seconds{}) return static_cast<std::size_t>(most_runs_per_sample);
  return static_cast<std::size_t>(std::min(most_runs_per_sample, std::ceil(options.least_sample / one_run)));
}

// After the samples so far. Looked at when their number has grown by a quarter: sorting after each would cost more than
// short tasks do.
bool known_well(const std::vector<Seconds>& samples, std::size_t& next_look, const MeasuringOptions& options) {
  if (samples.size() < next_look) return false;
  next_look = samples.size() + std::max<std::size_t>(1, samples.size() / 4);
  return summarize_samples(samples).uncertainty <= options.uncertainty;
}

}  // namespace

SampleSummary measure(PreparedTask& task, const MeasuringOptions& options, const std::function<Seconds()>& now) {
  Seconds last;
  for (std::size_t i = 0; i < std::max<std::size_t>(1, options.warm_up); ++i) last = task.run(1);
  const std::size_t runs = runs_per_sample(last, options);
  const Seconds begin = now();
  std::vector<Seconds> samples;
  std::size_t next_look = std::max<std::size_t>(1, options.least_repetitions);
  while (samples.size() < options.most_repetitions) {
    if (options.cache == CacheState::flushed) task.flush();
    samples.push_back(task.run(runs) / static_cast<double>(runs));
    if (samples.size() >= options.least_repetitions && now() - begin >= options.time_limit) break;
    if (known_well(samples, next_look, options)) break;
  }
  return summarize_samples(std::move(samples));
}

}  // namespace meshloom
