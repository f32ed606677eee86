// What measured runs are priced with: hosts by the names that tables of runs give their GPUs, and what is known of a
// framework by its name there. A value, so that a calibration can try others.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "costmodel/cluster.hpp"
#include "costmodel/recipe.hpp"

namespace meshloom {

// One host with a GPU, by all the names of that GPU.
struct NamedHost {
  std::vector<std::string> gpus;
  Cluster host;
};

// How frameworks whose names begin so train.
struct FrameworkHabits {
  std::string beginning;  // of the name; "" fits all
  Recipe recipe;
  bool fused_attention = true;  // where a run does not name its kernel
  bool dropout = false;
};

struct Constants {
  std::vector<NamedHost> hosts;
  std::vector<FrameworkHabits> frameworks;  // the first that fits counts; the last fits all
};
Constants built_in_constants();

const NamedHost* find_host(const Constants& constants, const std::string& gpu);  // null: unknown
const FrameworkHabits& habits_of(const Constants& constants, const std::string& framework);

}  // namespace meshloom
