// The search for pipelines over priced stages: for each microbatch size the best cut of the layers into stages, each on
// a submesh with one of its ways to run, and a bound that no pipeline of the search space stays below.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/infeasibility.hpp"
#include "planner/inter_op/problem.hpp"
#include "planner/stage_costs.hpp"

namespace meshloom {

// One pipeline: an option and the candidate behind it per stage, in order.
struct Pipeline {
  Seconds estimate;
  Schedule schedule;
  std::int64_t microbatch_size = 1, microbatches = 1;
  std::vector<StageOption> options;
  std::vector<StageCandidate> candidates;  // one per stage, chunks in layer order
};

struct PipelineSearchResult {
  // By ascending estimate, of each schedule at most as many as the space's options ask for; none: nothing fits.
  std::vector<Pipeline> pipelines;
  Seconds lower_bound = impossible;
  std::optional<MemoryNeed> need;  // of the microbatch size that needs least, when there is no pipeline
  bool cut_short = false;          // by the deadline: there may be better pipelines, or some at all
};

// All schedules are searched together, among what is at most 5 % above the best estimate. These, all of the recipe's if
// none is given and the problem is small, also each as if it was asked for: estimates of schedules err in different
// ways, and none keeps the best plan of another from the simulation then. Of larger problems, those without chunks
// where their synchronization waits (stage_costs.hpp, waiting_cost).
std::vector<ScheduleKind> schedules_searched_apart(const PlanningInput& input, const SearchOptions& options);

// Calls the progress of the space's options once per microbatch size, and schedule searched apart.
PipelineSearchResult search_pipelines(const SearchSpace& space);

// Whether the search would find a pipeline; the first one that is met answers it.
bool has_pipeline(const SearchSpace& space);

}  // namespace meshloom
