#include "tools/join/make_plan.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

#include "planner/pipeline_search.hpp"
#include "planner/remedies.hpp"
#include "planner/stage_costs.hpp"
#include "planner/uniform_search.hpp"

namespace meshloom {
Plan choose_by_simulation(std::vector<Plan> candidates, const std::function<Simulation(const Plan&)>& run) {
  for (Plan& plan : candidates) apply_simulation(plan, run(plan));
  Plan chosen = *std::min_element(candidates.begin(), candidates.end(),
                                  [](const Plan& a, const Plan& b) { return a.iteration_time < b.iteration_time; });
  // Of the same time to the last digits: the same plan by another name.
  for (const Plan& plan : candidates)
    if (plan.iteration_time > chosen.iteration_time * (1 + 1e-9))
      chosen.runner_up = chosen.runner_up ? std::min(*chosen.runner_up, plan.iteration_time) : plan.iteration_time;
  return chosen;
}

namespace {

// Baselines take every layer as it is and two axes; where the user asked for a coarser space they are no part of it.
std::vector<Plan> baseline_candidates(const PlanningInput& input, SearchOptions search, bool wanted) {
  std::vector<Plan> plans;
  const auto add = [&] {
    if (!wanted || search.layers || search.max_mesh_axes < 2 || search.deadline.passed()) return;
    // The interleaved formula can be far off: the best of each number of chunks is simulated.
    std::vector<Plan> best = best_uniform_plans(input, search);
    std::move(best.begin(), best.end(), std::back_inserter(plans));
  };
  std::vector<ScheduleKind> kinds = schedules_searched_apart(input, search);
  if (kinds.empty()) add();
  const std::vector<ScheduleKind> open = searched_schedules(input.recipe, search);
  const auto has_chunks = [](const std::vector<ScheduleKind>& in) {
    return std::find(in.begin(), in.end(), ScheduleKind::interleaved) != in.end();
  };
  if (open.size() > 1 && has_chunks(open) && !has_chunks(kinds)) kinds.push_back(ScheduleKind::interleaved);
  for (const ScheduleKind kind : kinds) {
    search.schedule = kind;
    add();
  }
  return plans;
}

Plan with_remedies(Plan plan, const PlanningInput& input, const MakePlanOptions& options) {
  if (plan.status != PlanStatus::infeasible || !options.search.remedies) return plan;
  plan.remedies =
      find_remedies(input, options.search, plan, [&](const PlanningInput& other, const SearchOptions& search) {
        return finds_plan(other, search) || !baseline_candidates(other, search, options.with_baselines).empty();
      });
  return plan;
}

}  // namespace

Plan make_plan(const PlanningInput& input, const MakePlanOptions& options) {
  SearchOptions search = options.search;
  search.remedies = false;  // a baseline may fit
  std::vector<Plan> candidates = search_plans(input, search);
  for (Plan& baseline : baseline_candidates(input, search, options.with_baselines)) {
    baseline.options = candidates.front().options;
    candidates.push_back(std::move(baseline));
  }
  // Prices of memory thin the search: a layout may fit that it has not seen.
  const bool cut_short = candidates.front().status == PlanStatus::time_limit;
  if (candidates.front().stages.empty()) {
    if (candidates.size() == 1) return with_remedies(std::move(candidates.front()), input, options);
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
  chosen.status = proven ? PlanStatus::optimal : cut_short ? PlanStatus::time_limit : PlanStatus::feasible;
  return chosen;
}

}  // namespace meshloom
