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
#include "planner/deadline.hpp"
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

// Whether a stage's set of useful shardings may be thinned to those that are best at some weights of times and memory.
enum class Thinning { automatic, always, never };  // automatic: unless the graph is small

struct SearchOptions {
  std::int64_t global_batch = 0;                     // samples per step
  std::optional<std::int64_t> microbatch_size;       // samples over all devices of a stage; none: searched
  std::optional<ScheduleKind> schedule;              // none: those that the recipe's framework can run
  std::optional<std::int64_t> chunks;                // per rank of interleaved pipelines, at least 2; none: searched
  std::optional<ParameterState> parameter_state;     // none: those the recipe allows, per parameter
  std::optional<Recompute> recompute;                // none: each, per stage
  std::optional<std::size_t> layers;                 // none: as tagged, or chosen; else groups (planner/layers.hpp)
  std::size_t max_mesh_axes = 2;                     // raise to 3 for hierarchical meshes; the search slows down
  Constraints constraints;                           // stages, submeshes, memory
  Thinning thinning = Thinning::automatic;           // never: only for small graphs
  std::size_t candidates = 4;                        // plans of each schedule, for the simulation to choose from
  std::size_t threads = 0;                           // 0: all cores; the answer does not depend on it
  Deadline deadline;                                 // the best so far is returned then, with status time_limit
  bool remedies = true;                              // when nothing fits, search for changes that help
  std::function<void(const std::string&)> progress;  // called now and then with a line for a person; may be empty
};

// Plans by ascending estimate, at least one. `best_estimate`, `lower_bound` and `status` are set, the simulation's
// fields are not. When the deadline cut the search short: status time_limit, and without a plan so far one plan without
// stages. When nothing fits: one plan with status infeasible, reasons and remedies. Throws InputError: a global
// batch below 1, a microbatch size that does not divide it, a number of layers that the graph cannot have,
// constraints that no pipeline keeps, pins that do
// not fit the graph or that no mesh of the cluster can keep.
std::vector<Plan> search_plans(const PlanningInput& input, const SearchOptions& options);

// Whether search_plans would find a plan, which mostly costs less to know than the best. Throws as it does.
bool finds_plan(const PlanningInput& input, const SearchOptions& options);

}  // namespace meshloom
