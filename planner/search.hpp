// The search: from a graph, a cluster and a recipe to ranked plans.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/cluster.hpp"
#include "costmodel/recipe.hpp"
#include "graphs/graph.hpp"
#include "planner/constraints.hpp"
#include "planner/plan/pins.hpp"
#include "planner/plan/plan.hpp"

namespace meshloom {

// What is planned for, with where it came from.
struct PlanningInput {
  Graph graph;
  Cluster cluster;
  Recipe recipe;
  FileReference graph_file, cluster_file;
  Pins pins;  // hold for baselines, too
};

struct SearchOptions {
  std::int64_t global_batch = 0;                  // samples per step
  std::optional<std::int64_t> microbatch_size;    // samples over all devices of a stage; none: searched
  std::optional<ScheduleKind> schedule;           // none: 1F1B (its formula never exceeds GPipe's, nor does its memory)
  std::optional<ParameterState> parameter_state;  // none: those the recipe allows, per parameter
  std::optional<Recompute> recompute;             // none: each, per stage
  std::optional<std::size_t> layers;              // none: as tagged, or chosen; else groups (planner/layers.hpp)
  std::size_t max_mesh_axes = 2;                  // raise to 3 for hierarchical meshes; the search slows down
  Constraints constraints;                        // stages, submeshes, memory
  std::size_t candidates = 4;                     // plans returned for the simulation to choose from
  std::size_t threads = 0;                        // 0: all cores; the answer does not depend on it
  bool remedies = true;                           // when nothing fits, search for changes that help
  std::function<void(const std::string&)> progress;  // called now and then with a line for a person; may be empty
};

// Plans by ascending estimate, at least one. `best_estimate`, `lower_bound` and `status` are set, the simulation's
// fields are not. When nothing fits: one plan with status infeasible, reasons and remedies. Throws InputError: a global
// batch below 1, a microbatch size that does not divide it, a number of layers that the graph cannot have, pins that do
// not fit the graph or that no mesh of the cluster can keep.
std::vector<Plan> search_plans(const PlanningInput& input, const SearchOptions& options);

}  // namespace meshloom
