// Stage tables of any size that look like those of Alpa's searches, for tests and benchmarks.
#pragma once

#include <cstdint>

#include "planner/inter_op/stage_table_json.hpp"

namespace meshloom {

struct SyntheticTable {
  std::uint32_t layers = 64;
  std::int64_t hosts = 32, devices_per_host = 8;
  std::int64_t configs = 4;  // logical shapes of each submesh
  std::int64_t microbatches = 128;
  std::uint64_t seed = 1;
};

// An entry for every range of layers, every submesh of Alpa's, (1, 2^k) and (k, all), and every config; each time with
// 2 % of seeded noise. Small submeshes are used better but hold fewer microbatches, or cannot hold their layers at all.
ConfiguredProblem synthetic_stage_table(const SyntheticTable& size);

}  // namespace meshloom
