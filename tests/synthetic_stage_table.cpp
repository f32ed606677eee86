#include "tests/synthetic_stage_table.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace meshloom {
namespace {

// Uniform in [0, 1): the standard's distributions differ between libraries.
double uniform(std::mt19937_64& engine) { return static_cast<double>(engine() >> 11) * 0x1p-53; }

std::vector<Submesh> submeshes_of(const SyntheticTable& size) {
  std::vector<Submesh> submeshes;
  for (std::int64_t devices = 1; devices <= size.devices_per_host; devices *= 2) submeshes.push_back({1, devices});
  for (std::int64_t hosts = 2; hosts <= size.hosts; ++hosts) submeshes.push_back({hosts, size.devices_per_host});
  return submeshes;
}

}  // namespace

ConfiguredProblem synthetic_stage_table(const SyntheticTable& size) {
  std::mt19937_64 engine(size.seed);
  ConfiguredProblem table;
  InterOpProblem& problem = table.problem;
  problem.layers = size.layers, problem.hosts = size.hosts, problem.devices_per_host = size.devices_per_host;
  problem.microbatches = size.microbatches, problem.placement = Placement::devices_only;
  problem.submeshes = submeshes_of(size);
  // A device can hold its share of the layers with half as many microbatches in flight as a pipeline can have stages.
  const double all_devices = static_cast<double>(size.hosts * size.devices_per_host);
  const double memory = size.layers / all_devices * (4 + std::min<double>(size.layers, all_devices) / 2);
  for (std::uint32_t first = 0; first < size.layers; ++first)
    for (std::uint32_t last = first; last < size.layers; ++last)
      for (std::uint32_t submesh = 0; submesh < problem.submeshes.size(); ++submesh)
        for (std::int64_t config = 0; config < size.configs; ++config) {
          const double layers = last - first + 1, devices = static_cast<double>(problem.submeshes[submesh].devices());
          const double slower = 1 + 0.05 * static_cast<double>(config), noise = 0.98 + 0.04 * uniform(engine);
          const double time = 0.1 * layers / std::pow(devices, 0.9) * slower * noise;
          // A layer takes 4 for its state and 1 for each microbatch in flight; slower configs need less.
          const double room = memory * devices * slower / layers - 4;
          problem.options.push_back({first, last, submesh, Seconds(time), Seconds(0), Seconds(0),
                                     static_cast<std::int64_t>(std::floor(room)) - 1});
          table.configs.push_back(config);
        }
  return table;
}

}  // namespace meshloom
