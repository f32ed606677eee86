#include "tools/join/make_plan.hpp"

#include <algorithm>
#include <optional>

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
    Plan plan = baseline_plan(input, layout, options.global_batch);
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
  if (candidates.front().status == PlanStatus::infeasible) return candidates.front();
  if (options.with_baselines) {
    if (std::optional<Plan> baseline = best_baseline(input, options.search)) {
      baseline->options = candidates.front().options;
      candidates.push_back(std::move(*baseline));
    }
  }
  const auto least = std::min_element(candidates.begin(), candidates.end(),
                                      [](const Plan& a, const Plan& b) { return a.estimate < b.estimate; });
  const Seconds best_estimate = least->estimate;
  const Seconds lower_bound = std::min(candidates.front().lower_bound, best_estimate);
  Plan chosen = choose_by_simulation(std::move(candidates), [](const Plan& plan) { return simulate(plan); });
  chosen.best_estimate = best_estimate;
  chosen.lower_bound = lower_bound;
  chosen.status = chosen.gap() <= 1e-9 && chosen.estimate <= best_estimate ? PlanStatus::optimal : PlanStatus::feasible;
  return chosen;
}

}  // namespace meshloom
