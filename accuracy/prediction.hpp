// What the program says of a measured run: its layout priced as every baseline is, then simulated.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "accuracy/run_case.hpp"
#include "costmodel/measured_times.hpp"

namespace meshloom {

// Where a step goes, as shares of it, mean over the pipeline's ranks. They add up to 1.
struct TimeShares {
  double compute = 0, recompute = 0;  // without collectives
  double activation_collectives = 0;  // repeated ones included
  double parameter_gathers = 0;       // and reductions of gradients in each microbatch: ZeRO-2 and ZeRO-3
  double waits = 0;            // for the host that starts kernels, for collectives of parameters beside computing
  double sends = 0;            // between stages, as far as ranks wait for them
  double synchronization = 0;  // once per step; what the last backward does not hide
  double update = 0;
  double idle = 0;  // the bubble
};

struct Prediction {
  Seconds iteration_time;
  Bytes peak_memory;  // of the fullest device
  bool fits = false;  // in the device's memory
  double bubble_fraction = 0;
  UniformLayout layout;  // with the recompute that was taken
  TimeShares shares;
  std::optional<TimeBySource> time_by_source{};  // none: no profile is of the run's device
};

// Where the run does not state its recompute: none, selective or full, the first that memory holds; full where none
// does. Throws InputError: a layout that cannot be planned (sizes that degrees do not divide, …). The planner is of the
// case's model and recipe.
Prediction predict(const RunCase& run, BaselinePlanner& planner);
Prediction predict(const RunCase& run);

// Of every run, in their order, on all threads that TBB may use. Runs of one model and recipe share what they can.
// `progress` is called now and then, from any thread, with the number of runs that are done; it may be empty. Runs on
// the device of a profile are priced with it, as plans are.
using Outcome = std::variant<Prediction, SkipReason>;
std::vector<Outcome> predict_all(const std::vector<MeasuredRun>& runs, const Constants& constants,
                                 const std::function<void(std::size_t)>& progress,
                                 const std::vector<ProfileFile>& profiles = {});

}  // namespace meshloom
