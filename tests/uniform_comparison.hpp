// The search against every uniform Megatron-style layout, with the same number of microbatches and without showing it
// any.
#pragma once

#include <string>
#include <vector>

#include "planner/search.hpp"

namespace meshloom {

struct ComparedCase {
  std::string name;
  PlanningInput input;
  std::int64_t global_batch = 1;
  std::vector<std::int64_t> microbatch_sizes;
};

struct ComparedRow {
  std::int64_t microbatch_size = 1;
  std::size_t feasible_layouts = 0;
  std::string best_layout;  // by estimate
  Seconds search_estimate, search_iteration;
  Seconds layout_estimate, layout_iteration;  // the least of each over the feasible layouts
  bool search_feasible = false;
};

// One row per microbatch size; sizes at which neither side fits are left out.
std::vector<ComparedRow> compare_with_uniform_layouts(const ComparedCase& compared);

// Six models on six clusters; `small` ones have a few narrow layers and plan in well under a second.
std::vector<ComparedCase> small_cases();
std::vector<ComparedCase> large_cases();

}  // namespace meshloom
