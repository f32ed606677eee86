// Plan files (`meshloom.plan/1`): reading with every check, and writing. No timestamps: equal plans give equal bytes.
#pragma once

#include <string>

#include "planner/plan/plan.hpp"

namespace meshloom {

// read(write(p)) == p: numbers are written with 17 significant digits where needed.
std::string write_plan(const Plan& plan);
// Refuses, with the place: unknown or missing keys, negative or non-finite numbers, stages that do not cover the layers
// in order, devices used twice or outside the cluster, a mesh whose axes do not multiply to its devices,
// microbatch_size × microbatches ≠ global_batch.
Plan read_plan(const std::string& path);
Plan parse_plan(const std::string& text, const std::string& file);

// The object that `plan`, `baseline` and `simulate` print under --json; the keys are a contract with scripts.
std::string summary_json(const Plan& plan, Seconds search_time);

}  // namespace meshloom
