// `simulate` under stragglers, jitter and failures: what it finds, as text.
#pragma once

#include <optional>
#include <string>

#include "planner/plan/plan.hpp"
#include "tools/command_line/commands.hpp"

namespace meshloom {

struct NoisyStep {
  std::int64_t runs = 1;
  Seconds p50, p90, p99;
};

struct FailingJob {
  Seconds between;   // mean time between failures of the whole job
  Seconds interval;  // of checkpoints, given or the best
  double goodput = 0;
  Seconds per_step;  // on average, lost work, checkpoints and restarts included
};

struct Disturbances {
  std::optional<NoisyStep> noise;      // none: neither slow nor jittering devices were asked for
  std::optional<FailingJob> failures;  // none: no failures were
};

Disturbances disturbances_of(const SimulateCommand& command, const Plan& plan);

std::string disturbances_text(const Plan& plan, const Disturbances& disturbances);

}  // namespace meshloom
