#include "tools/command_line/disturbances.hpp"

#include <fmt/format.h>

#include <set>

#include "costmodel/groups.hpp"
#include "simulator/goodput.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

std::int64_t hosts_used(const Plan& plan) {
  std::set<std::int64_t> hosts;
  for (const Stage& stage : plan.stages)
    for (const std::int64_t device : stage.devices) hosts.insert(host_of_device(plan.cluster, device));
  return std::ssize(hosts);
}

NoisyStep noisy_step(const Noise& noise, const Plan& plan) {
  const std::vector<Picoseconds> times = noisy_step_times(plan, noise);
  const auto at = [&times](std::int64_t percent) {
    return Seconds(static_cast<double>(percentile(times, percent)) * 1e-12);
  };
  return {noise.runs, at(50), at(90), at(99)};
}

FailingJob failing_job(const FailureOptions& options, const Plan& plan, Seconds step) {
  FailingJob job;
  job.between = *options.between_of_host / static_cast<double>(hosts_used(plan));
  job.interval = options.interval.value_or(best_checkpoint_interval(job.between, options.checkpoint));
  job.goodput = goodput({job.between, job.interval, options.checkpoint, options.restart});
  job.per_step = step / job.goodput;
  return job;
}

}  // namespace

Disturbances disturbances_of(const SimulateCommand& command, const Plan& plan) {
  Disturbances result;
  Noise noise = command.noise;
  if (noise.jitter == 0) noise.runs = 1;  // all runs would be equal
  if (noise.jitter > 0 || !noise.slowdowns.empty()) result.noise = noisy_step(noise, plan);
  const Seconds step = result.noise ? result.noise->p50 : plan.iteration_time;
  if (command.failures.between_of_host) result.failures = failing_job(command.failures, plan, step);
  return result;
}

std::string disturbances_text(const Plan& plan, const Disturbances& disturbances) {
  std::string text;
  if (disturbances.noise) {
    const NoisyStep& noise = *disturbances.noise;
    const auto change = [&plan](Seconds time) {
      return fmt::format("{:+.1f} %", 100 * (time / plan.iteration_time - 1));
    };
    if (noise.runs == 1)
      text += fmt::format("  disturbed    {} ({})\n", readable(noise.p50), change(noise.p50));
    else
      text +=
          fmt::format("  disturbed    p50 {} ({}), p90 {}, p99 {} ({}) of {}\n", readable(noise.p50), change(noise.p50),
                      readable(noise.p90), readable(noise.p99), change(noise.p99), counted(noise.runs, "run"));
  }
  if (disturbances.failures) {
    const FailingJob& job = *disturbances.failures;
    text += fmt::format(
        "  goodput      {} with a failure every {:.3g} h, a checkpoint every {:.3g} min; a step takes {} on average\n",
        percent(job.goodput), job.between.value() / 3600, job.interval.value() / 60, readable(job.per_step));
  }
  return text;
}

}  // namespace meshloom
