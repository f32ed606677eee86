#include "tools/join/make_plan.hpp"

#include <algorithm>
#include <optional>

#include "graphs/input_error.hpp"
#include "planner/baseline.hpp"

namespace meshloom {
namespace {

// The best uniform layout that agrees with the options, if any fits.
std::optional<Plan> best_baseline(const PlanningInput& input, const SearchOptions& options) {
  std::optional<Plan> best;
  for (UniformLayout layout : uniform_layouts(input)) {
    if (options.parameter_state && layout.parameter_state != *options.parameter_state) continue;
    if (options.recompute && layout.recompute != *options.recompute) continue;
    if (options.schedule) layout.schedule = *options.schedule;
    if (options.global_batch % layout.data_parallel != 0) continue;
    if (options.microbatch_size) {
      if (*options.microbatch_size % layout.data_parallel != 0) continue;
      layout.micro_batch_per_replica = *options.microbatch_size / layout.data_parallel;
    }
    Plan plan;
    try {
      plan = baseline_plan(input, layout, options.global_batch);
    } catch (const InputError&) {
      continue;  // sizes that do not divide
    }
    if (plan.status == PlanStatus::feasible && (!best || plan.estimate < best->estimate)) best = std::move(plan);
  }
  return best;
}

}  // namespace

Plan choose_by_simulation(std::vector<Plan> candidates, const std::function<Simulation(const Plan&)>& run) {
  for (Plan& plan : candidates) apply_simulation(plan, run(plan));
  return *std::min_element(candidates.begin(), candidates.end(),
                           [](const Plan& a, const Plan& b) { return a.iteration_time < b.iteration_time; });
}

Plan make_plan(const PlanningInput& input, const MakePlanOptions& options) {
  std::vector<Plan> candidates = search_plans(input, options.search);
  // Baselines take every layer as it is and two axes; where the user asked for a coarser space they are no part of it.
  if (options.with_baselines && !options.search.layers && options.search.max_mesh_axes >= 2) {
    if (std::optional<Plan> baseline = best_baseline(input, options.search)) {
      baseline->options = candidates.front().options;
      candidates.push_back(std::move(*baseline));
    }
  }
  // Prices of memory thin the search: a layout may fit that it has not seen.
  if (candidates.front().status == PlanStatus::infeasible) {
    if (candidates.size() == 1) return candidates.front();
    candidates.erase(candidates.begin());
  }
  const auto least = std::min_element(candidates.begin(), candidates.end(),
                                      [](const Plan& a, const Plan& b) { return a.estimate < b.estimate; });
  const Seconds best_estimate = least->estimate;
  // A baseline may lie outside the searched space (degrees that no submesh has); then nothing is proven about it.
  const Seconds searched = candidates.front().lower_bound;
  const Seconds lower_bound = best_estimate < searched * (1 - 1e-9) ? Seconds(0) : std::min(searched, best_estimate);
  Plan chosen = choose_by_simulation(std::move(candidates), [](const Plan& plan) { return simulate(plan); });
  chosen.best_estimate = best_estimate;
  chosen.lower_bound = lower_bound;
  const bool proven = lower_bound > Seconds(0) && chosen.gap() <= 1e-9 && chosen.estimate <= best_estimate;
  chosen.status = proven ? PlanStatus::optimal : PlanStatus::feasible;
  return chosen;
}

}  // namespace meshloom
