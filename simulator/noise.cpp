#include "simulator/noise.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "graphs/input_error.hpp"
#include "planner/plan/ranks.hpp"

namespace meshloom {
namespace {

std::size_t rank_of(const Plan& plan, const Slowdown& slowdown) {
  if (slowdown.of == Slowdown::Of::rank) {
    if (slowdown.number >= 0 && slowdown.number < plan.ranks()) return static_cast<std::size_t>(slowdown.number);
    throw InputError("slow rank",
                     fmt::format("{} does not exist; the plan has ranks 0 to {}", slowdown.number, plan.ranks() - 1));
  }
  // The chunks of a rank have the same devices; the first stages are the ranks' first chunks.
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(plan.ranks()); ++rank) {
    const std::vector<std::int64_t>& devices = plan.stages[rank].devices;
    if (std::find(devices.begin(), devices.end(), slowdown.number) != devices.end()) return rank;
  }
  throw InputError("slow device", fmt::format("{} is not used by the plan", slowdown.number));
}

Picoseconds longer(Picoseconds time, Seconds compute, double factor) {
  return std::max<Picoseconds>(0, time + std::llround((factor - 1) * compute.value() * 1e12));
}

}  // namespace

std::vector<StageDurations> slowed_durations(const Plan& plan, const std::vector<Slowdown>& slowdowns) {
  std::vector<double> factors(static_cast<std::size_t>(plan.ranks()), 0);
  for (const Slowdown& each : slowdowns) {
    double& factor = factors[rank_of(plan, each)];
    factor = std::max(factor, each.factor);
  }
  std::vector<StageDurations> durations = durations_of(plan);
  const PipelineShape shape = plan.shape();
  for (std::size_t s = 0; s < durations.size(); ++s) {
    const double factor = factors[static_cast<std::size_t>(shape.rank_of(static_cast<std::int64_t>(s)))];
    if (factor == 0) continue;
    const Stage& stage = plan.stages[s];
    StageDurations& each = durations[s];
    each.forward = longer(each.forward, stage.forward_compute, factor);
    each.backward = longer(each.backward, stage.backward_compute, factor);
    each.backward_weight =
        std::min(each.backward, longer(each.backward_weight, backward_weight_compute(stage), factor));
    each.update = longer(each.update, stage.update, factor);
  }
  return durations;
}

Simulation simulate(const Plan& plan, const std::vector<Slowdown>& slowdowns) {
  return simulate(program_of(plan), slowed_durations(plan, slowdowns), conditions_of(plan));
}

std::vector<Picoseconds> noisy_step_times(const Plan& plan, const Noise& noise) {
  const PipelineProgram program = program_of(plan);
  const std::vector<StageDurations> durations = slowed_durations(plan, noise.slowdowns);
  Conditions conditions = conditions_of(plan);
  conditions.jitter.relative = noise.jitter;
  std::vector<Picoseconds> times;
  for (std::int64_t run = 0; run < noise.runs; ++run) {
    conditions.jitter.seed = noise.seed * 1'000'003 + static_cast<std::uint64_t>(run);
    times.push_back(step_time(plan, simulate(program, durations, conditions)));
  }
  std::sort(times.begin(), times.end());
  return times;
}

Picoseconds percentile(const std::vector<Picoseconds>& times, std::int64_t percent) {
  const std::int64_t rank = std::max<std::int64_t>(1, (std::ssize(times) * percent + 99) / 100);
  return times.at(static_cast<std::size_t>(rank - 1));
}

}  // namespace meshloom
