// A plan's step when devices are slow or times vary.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/plan/plan.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {

// A straggler: computes `factor` times as long. The devices of a rank wait for each other in every run, so one slow
// device slows its rank; of several the slowest counts. Collectives and sends keep their times.
struct Slowdown {
  enum class Of : std::uint8_t { rank, device };
  Of of = Of::rank;
  std::int64_t number = 0;
  double factor = 1;
  bool operator==(const Slowdown&) const = default;
};

// Throws InputError when the plan has no such rank or uses no such device.
std::vector<StageDurations> slowed_durations(const Plan& plan, const std::vector<Slowdown>& slowdowns);
Simulation simulate(const Plan& plan, const std::vector<Slowdown>& slowdowns);

struct Noise {
  std::vector<Slowdown> slowdowns;
  double jitter = 0;  // standard deviation of each duration, as a share of it
  std::uint64_t seed = 1;
  std::int64_t runs = 1;
};

// The step's time in each run, ascending.
std::vector<Picoseconds> noisy_step_times(const Plan& plan, const Noise& noise);

// The least of the ascending `times` that `percent` of them do not exceed (nearest rank).
Picoseconds percentile(const std::vector<Picoseconds>& times, std::int64_t percent);

}  // namespace meshloom
