#include "planner/pipeline_search.hpp"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>

#include "costmodel/groups.hpp"
#include "planner/group_order.hpp"
#include "planner/materialize.hpp"

namespace meshloom {
namespace {

// Calls visit(first, last, class, submesh) for every range and submesh.
template <typename Visit>
void for_each_range(const SearchSpace& space, const Visit& visit) {
  for (std::uint32_t first = 0; first < space.layers.layers.size(); ++first)
    for (std::uint32_t last = first; last < space.layers.layers.size(); ++last)
      for (std::uint32_t submesh = 0; submesh < space.submeshes.size(); ++submesh)
        visit(first, last, space.classes.of[first][last - first], submesh);
}

// The problem with only the submeshes that have options, each group in units of as many hosts as all of its are
// multiples of.
// Only what the solver compares is kept: links between hosts stay links between hosts.
InterOpProblem in_larger_units(InterOpProblem problem) {
  std::vector<std::optional<std::uint32_t>> position(problem.submeshes.size());
  std::vector<Submesh> used;
  for (StageOption& option : problem.options) {
    if (!position[option.submesh]) {
      position[option.submesh] = static_cast<std::uint32_t>(used.size());
      used.push_back(problem.submeshes[option.submesh]);
    }
    option.submesh = *position[option.submesh];
  }
  for (std::uint32_t group = 0; group <= problem.further_groups.size(); ++group) {
    std::int64_t& hosts = group == 0 ? problem.hosts : problem.further_groups[group - 1].hosts;
    const std::int64_t whole =
        group == 0 ? problem.devices_per_host : problem.further_groups[group - 1].devices_per_host;
    std::int64_t unit = hosts;
    for (const Submesh& submesh : used)
      if (submesh.group == group) unit = submesh.devices_per_host == whole ? std::gcd(unit, submesh.hosts) : 1;
    for (Submesh& submesh : used)
      if (submesh.group == group) submesh.hosts /= unit;
    hosts /= unit;
  }
  problem.submeshes = std::move(used);
  return problem;
}

// None: no pipeline through the groups in this order stays below `limit`. With `only` all stages are on that submesh.
std::optional<Pipeline> best_pipeline_through(const GroupOrder& order, const SearchSpace& space,
                                              const StageCosts& costs, std::int64_t microbatch_size,
                                              std::int64_t microbatches, Seconds limit,
                                              std::optional<std::uint32_t> only) {
  InterOpProblem problem = empty_problem(space, order, microbatch_size, microbatches);
  std::vector<const StageCandidate*> origin;
  for_each_range(space, [&](std::uint32_t first, std::uint32_t last, std::size_t c, std::uint32_t submesh) {
    if ((only && submesh != *only) || !is_in(order, space.submeshes[submesh])) return;
    if (!(static_cast<double>(microbatches) * costs.least_time[c][submesh] < limit)) return;
    const bool shares = shares_parameters_outside(space.layers, first, last);
    for (const StageCandidate& candidate : costs.candidates[c][submesh]) {
      Seconds per_step = candidate.cost.per_step();
      if (shares && candidate.cost.shared_gradients > Bytes(0))
        per_step +=
            shared_gradient_time(space.input.cluster, candidate.cost.shared_gradients, space.submeshes[submesh]);
      problem.options.push_back({first, last, submesh, candidate.cost.forward, candidate.cost.backward, per_step,
                                 candidate.max_following_stages});
      origin.push_back(&candidate);
    }
  });
  const InterOpSolution solution = solve_inter_op(in_larger_units(problem), limit);
  if (!solution.feasible) return std::nullopt;
  Pipeline pipeline{solution.objective, microbatch_size, microbatches, {}, {}};
  for (const std::uint32_t option : solution.options) {
    pipeline.options.push_back(problem.options[option]);
    pipeline.candidates.push_back(*origin[option]);
  }
  return pipeline;
}

// None: no pipeline stays below `limit`. With `only` all stages are on that submesh.
std::optional<Pipeline> best_pipeline(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatch_size,
                                      std::int64_t microbatches, Seconds limit,
                                      std::optional<std::uint32_t> only = {}) {
  std::optional<Pipeline> best;
  for (const GroupOrder& order : group_orders(space.input.cluster)) {
    if (only && order != GroupOrder{space.submeshes[*only].group}) continue;
    std::optional<Pipeline> found = best_pipeline_through(order, space, costs, microbatch_size, microbatches,
                                                          best ? std::min(best->estimate, limit) : limit, only);
    if (found && (!best || found->estimate < best->estimate)) best = std::move(found);
  }
  return best;
}

// The least estimate of pipelines whose stages are all on equal submeshes: quickly found, and something to beat.
Seconds best_even_estimate(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatch_size,
                           std::int64_t microbatches) {
  Seconds best = impossible;
  for (std::uint32_t submesh = 0; submesh < space.submeshes.size(); ++submesh) {
    const std::int64_t devices = space.submeshes[submesh].devices();
    const std::int64_t of_group = group_at(space.input.cluster, space.submeshes[submesh].group).devices();
    if (of_group % devices != 0) continue;
    if (of_group / devices > static_cast<std::int64_t>(space.layers.layers.size())) continue;
    if (const auto found = best_pipeline(space, costs, microbatch_size, microbatches, best, submesh))
      best = std::min(best, found->estimate);
  }
  return best;
}

// `problem`: of this order, without options.
Seconds lower_bound_through(const GroupOrder& order, InterOpProblem problem, const SearchSpace& space,
                            const StageCosts& costs, Seconds limit) {
  const auto microbatches = static_cast<double>(problem.microbatches);
  const std::size_t whole = space.classes.of[0].back();
  for_each_range(space, [&](std::uint32_t first, std::uint32_t last, std::size_t c, std::uint32_t submesh) {
    Seconds time = costs.least_time[c][submesh];
    if (!(time < impossible) || !is_in(order, space.submeshes[submesh])) return;
    if (c == whole && space.submeshes[submesh].devices() == devices_of(space.input.cluster, order))
      time = std::max(time, costs.least_single_stage / microbatches);
    if (!(microbatches * time < limit)) return;
    problem.options.push_back({first, last, submesh, Seconds(0), time, Seconds(0), problem.layers});
  });
  const InterOpSolution solution = solve_inter_op(in_larger_units(std::move(problem)), limit);
  return solution.feasible ? std::min(solution.objective, limit) : limit;
}

// The 1F1B formula with the least time of every stage, without per-step work and with memory left out: no plan of this
// space takes less. (GPipe's formula is never below 1F1B's.) A bound that is not below `limit` is reported as that.
Seconds lower_bound(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatch_size,
                    std::int64_t microbatches, Seconds limit) {
  for (const GroupOrder& order : group_orders(space.input.cluster))
    limit = lower_bound_through(order, empty_problem(space, order, microbatch_size, microbatches), space, costs, limit);
  return limit;
}

std::int64_t odd_part(std::int64_t number) {
  while (number % 2 == 0) number /= 2;
  return number;
}

// Powers of two, the same times the odd factor that the batch shares with a group's devices (so that three hosts may
// each take a third), and the whole batch; those that divide it.
std::vector<std::int64_t> microbatch_sizes(const PlanningInput& input, const SearchOptions& options) {
  if (options.microbatch_size) return {*options.microbatch_size};
  const std::int64_t batch = options.global_batch;
  std::set<std::int64_t> sizes{batch};
  std::set<std::int64_t> odd_factors{1};
  for (std::size_t group = 0; group < group_count(input.cluster); ++group)
    odd_factors.insert(std::gcd(odd_part(batch), odd_part(group_at(input.cluster, group).devices())));
  for (const std::int64_t odd : odd_factors)
    for (std::int64_t size = odd; size <= batch; size *= 2)
      if (batch % size == 0) sizes.insert(size);
  return {sizes.begin(), sizes.end()};
}

// What is known about one microbatch size.
struct SizeResult {
  std::int64_t microbatch_size = 1, microbatches = 1;
  StageCosts outline;
  std::optional<Pipeline> pipeline;
  Seconds lower_bound;
  std::vector<MemoryNeed> needs;
};

// Looks for pipelines below `limit`. What memory is short matters only as long as none is known.
void improve(SizeResult& result, const SearchSpace& space, const StageCosts& costs, Seconds limit) {
  std::optional<Pipeline> found = best_pipeline(space, costs, result.microbatch_size, result.microbatches, limit);
  if (found && (!result.pipeline || found->estimate < result.pipeline->estimate)) result.pipeline = std::move(found);
  if (result.pipeline || limit < impossible) return;
  std::vector<MemoryNeed> needs;
  add_needs(needs, space, costs);
  if (result.needs.empty() || (!needs.empty() && needs.front().share() < result.needs.front().share()))
    result.needs = std::move(needs);
}

std::string progress_line(const SizeResult& result) {
  return fmt::format("{} microbatches of {}: {}", result.microbatches, result.microbatch_size,
                     result.pipeline ? fmt::format("{} stages, {:.4g} s", result.pipeline->options.size(),
                                                   result.pipeline->estimate.value())
                                     : "does not fit");
}

// The simulation may prefer a plan whose estimate is so much above the least.
constexpr double simulated_tolerance = 1.05;

// Outlines every microbatch size, then prices those that may be best.
std::vector<SizeResult> search_sizes(const SearchSpace& space) {
  std::vector<SizeResult> results;
  for (const std::int64_t size : microbatch_sizes(space.input, space.options))
    results.push_back({size, space.options.global_batch / size, {}, {}, {}, {}});
  std::vector<Seconds> even(results.size());
  tbb::parallel_for(std::size_t{0}, results.size(), [&](std::size_t k) {
    SizeResult& result = results[k];
    result.outline = outline_stages(space, result.microbatch_size, result.microbatches);
    even[k] = best_even_estimate(space, result.outline, result.microbatch_size, result.microbatches);
  });
  Seconds to_beat = impossible;
  for (const Seconds estimate : even)
    if (estimate < impossible) to_beat = std::min(to_beat, estimate * simulated_tolerance);
  tbb::parallel_for(std::size_t{0}, results.size(), [&](std::size_t k) {
    SizeResult& result = results[k];
    result.lower_bound = lower_bound(space, result.outline, result.microbatch_size, result.microbatches, to_beat);
    if (result.lower_bound < to_beat || !(to_beat < impossible)) improve(result, space, result.outline, to_beat);
  });
  for (const SizeResult& result : results)
    if (result.pipeline) to_beat = std::min(to_beat, result.pipeline->estimate * simulated_tolerance);
  std::mutex progress;
  tbb::parallel_for(std::size_t{0}, results.size(), [&](std::size_t k) {
    SizeResult& result = results[k];
    if (result.lower_bound < to_beat)
      improve(result, space, price_stages(space, result.microbatch_size, result.microbatches, result.outline, to_beat),
              to_beat);
    if (!space.options.progress) return;
    const std::lock_guard lock(progress);
    space.options.progress(progress_line(result));
  });
  return results;
}

}  // namespace

PipelineSearchResult search_pipelines(const SearchSpace& space) {
  PipelineSearchResult result;
  for (SizeResult& size : search_sizes(space)) {
    result.lower_bound = std::min(result.lower_bound, size.lower_bound);
    if (size.pipeline) result.pipelines.push_back(std::move(*size.pipeline));
    result.needs.insert(result.needs.end(), size.needs.begin(), size.needs.end());
  }
  std::stable_sort(result.pipelines.begin(), result.pipelines.end(),
                   [](const Pipeline& a, const Pipeline& b) { return a.estimate < b.estimate; });
  return result;
}

Seconds lower_bound_of_any_placement(const SearchSpace& space) {
  Seconds bound = impossible;
  for (const std::int64_t size : microbatch_sizes(space.input, space.options)) {
    const std::int64_t microbatches = space.options.global_batch / size;
    const StageCosts outline = outline_stages(space, size, microbatches);
    for (const GroupOrder& order : group_orders(space.input.cluster))
      bound =
          lower_bound_through(order, problem_of_any_placement(space, order, size, microbatches), space, outline, bound);
  }
  return bound;
}

}  // namespace meshloom
