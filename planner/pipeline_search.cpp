#include "planner/pipeline_search.hpp"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>

#include "costmodel/groups.hpp"
#include "planner/group_order.hpp"
#include "planner/materialize.hpp"
#include "planner/work_bound.hpp"

namespace meshloom {
namespace {

// Calls visit(first, last, class, submesh) for every range and submesh that may be a stage.
template <typename Visit>
void for_each_range(const SearchSpace& space, const Visit& visit) {
  for (std::uint32_t first = 0; first < space.layers.layers.size(); ++first)
    for (std::uint32_t last = first; last < space.layers.layers.size(); ++last)
      for (std::uint32_t submesh = 0; submesh < space.submeshes.size(); ++submesh)
        if (space.allowed.on(first, last, space.submeshes[submesh]))
          visit(first, last, space.classes.of[first][last - first], submesh);
}

// None: no pipeline through the groups in this order stays below `limit`. With `only` all stages are on that submesh.
std::optional<Pipeline> best_pipeline_through(const GroupOrder& order, const SearchSpace& space,
                                              const StageCosts& costs, std::int64_t microbatch_size,
                                              std::int64_t microbatches, Seconds limit,
                                              std::optional<std::uint32_t> only) {
  InterOpProblem problem = empty_problem(space, order, microbatch_size, microbatches);
  unsigned groups = 0;
  for (const std::uint32_t group : order) groups |= 1U << group;
  std::vector<const StageCandidate*> origin;
  for_each_range(space, [&](std::uint32_t first, std::uint32_t last, std::size_t c, std::uint32_t submesh) {
    if ((only && submesh != *only) || !is_in(order, space.submeshes[submesh])) return;
    if (!(static_cast<double>(microbatches) * costs.least_times[c][submesh].front() < limit)) return;
    const bool shares = shares_parameters_outside(space.layers, first, last);
    for (const StageCandidate& candidate : costs.candidates[c][submesh]) {
      if (!space.allowed.on(first, last, space.meshes[candidate.mesh])) continue;
      Seconds per_step = candidate.cost.per_step();
      if (shares && candidate.cost.shared_gradients > Bytes(0))
        per_step += shared_gradient_time(space.input.cluster, candidate.cost.shared_gradients, space.submeshes[submesh],
                                         groups);
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

// The best of the pipelines whose stages are all on equal submeshes: quickly found, and something to beat. On an
// unequal cluster no such pipeline uses all groups; there it is the best one of what is known.
std::optional<Pipeline> best_even_pipeline(const SearchSpace& space, const StageCosts& costs,
                                           std::int64_t microbatch_size, std::int64_t microbatches) {
  if (!space.input.cluster.groups.empty())
    return best_pipeline(space, costs, microbatch_size, microbatches, impossible);
  std::optional<Pipeline> best;
  for (std::uint32_t submesh = 0; submesh < space.submeshes.size(); ++submesh) {
    const std::int64_t devices = space.submeshes[submesh].devices();
    if (space.input.cluster.devices() % devices != 0) continue;
    if (space.input.cluster.devices() / devices > static_cast<std::int64_t>(space.layers.layers.size())) continue;
    const Seconds limit = best ? best->estimate : impossible;
    if (auto found = best_pipeline(space, costs, microbatch_size, microbatches, limit, submesh))
      best = std::move(found);
  }
  return best;
}

// By how many stages may follow: a stage's least times as options without per-step work.
void add_least_times(InterOpProblem& problem, const StageOption& place, const LeastTimes& times, Seconds limit) {
  for (std::size_t depth = 0; depth < times.size(); ++depth) {
    if (!(static_cast<double>(problem.microbatches) * times[depth] < limit)) return;
    const bool deepest = depth + 1 == times.size() || bounded_depths[depth + 1] > problem.microbatches;
    StageOption option = place;
    option.backward = times[depth];
    // So many that one more would reach the next depth.
    option.max_following_stages = deepest ? problem.layers : bounded_depths[depth + 1] - 2;
    problem.options.push_back(option);
    if (deepest) return;
  }
}

Seconds lower_bound_through(const GroupOrder& order, const SearchSpace& space, const StageCosts& costs,
                            std::int64_t microbatch_size, std::int64_t microbatches, Seconds limit) {
  InterOpProblem problem = empty_problem(space, order, microbatch_size, microbatches);
  const std::size_t whole = space.classes.of[0].back();
  for_each_range(space, [&](std::uint32_t first, std::uint32_t last, std::size_t c, std::uint32_t submesh) {
    if (!is_in(order, space.submeshes[submesh])) return;
    LeastTimes times = costs.least_times[c][submesh];
    if (c == whole && space.submeshes[submesh].devices() == devices_of(space.input.cluster, order))
      for (Seconds& time : times) time = std::max(time, costs.least_single_stage / static_cast<double>(microbatches));
    add_least_times(problem, {first, last, submesh, Seconds(0), Seconds(0), Seconds(0), 0}, times, limit);
  });
  const InterOpSolution solution = solve_inter_op(in_larger_units(std::move(problem)), limit);
  return solution.feasible ? std::min(solution.objective, limit) : limit;
}

// The 1F1B formula with the least time of every stage that its place in the pipeline allows, without per-step work: no
// plan of this space takes less. (GPipe's formula is never below 1F1B's.) A bound that is not below `limit` is reported
// as that.
Seconds lower_bound(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatch_size,
                    std::int64_t microbatches, Seconds limit) {
  for (const GroupOrder& order : group_orders(space.input.cluster))
    limit = lower_bound_through(order, space, costs, microbatch_size, microbatches, limit);
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
  std::optional<Pipeline> even, pipeline;
  Seconds lower_bound;
  bool cut_short = false;
};

// Looks for pipelines below `limit`.
void improve(SizeResult& result, const SearchSpace& space, const StageCosts& costs, Seconds limit) {
  std::optional<Pipeline> found = best_pipeline(space, costs, result.microbatch_size, result.microbatches, limit);
  if (found && (!result.pipeline || found->estimate < result.pipeline->estimate)) result.pipeline = std::move(found);
}

std::string progress_line(const SizeResult& result) {
  return fmt::format("{} microbatches of {}: {}", result.microbatches, result.microbatch_size,
                     result.pipeline ? fmt::format("{} stages, {:.4g} s", result.pipeline->options.size(),
                                                   result.pipeline->estimate.value())
                                     : "does not fit");
}

// The simulation may prefer a plan whose estimate is so much above the least.
constexpr double simulated_tolerance = 1.05;

// Looks for what beats `to_beat`.
void outline(SizeResult& result, const SearchSpace& space, Seconds to_beat) {
  if (space.options.deadline.passed()) {
    result.cut_short = true;
    return;
  }
  result.outline = outline_stages(space, result.microbatch_size, result.microbatches, to_beat);
  result.even = best_even_pipeline(space, result.outline, result.microbatch_size, result.microbatches);
  result.cut_short = !result.outline.complete;
}

// What the deadline left unknown is bounded by its arithmetic.
void look_at_outline(SizeResult& result, const SearchSpace& space, Seconds to_beat) {
  result.cut_short = result.cut_short || space.options.deadline.passed();
  if (result.cut_short) {
    result.lower_bound = std::min(to_beat, least_time_of_products(space.input, space.options.global_batch));
    return;
  }
  result.lower_bound = lower_bound(space, result.outline, result.microbatch_size, result.microbatches, to_beat);
  if (result.lower_bound < to_beat || !(to_beat < impossible)) improve(result, space, result.outline, to_beat);
}

// Prices everything, unless a bound that sees memory tells that nothing stays below `limit`.
void price(SizeResult& result, const SearchSpace& space, Seconds limit) {
  if (!(result.lower_bound < limit)) return;
  result.cut_short = result.cut_short || space.options.deadline.passed();
  if (result.cut_short) return;
  if (result.outline.exact) {  // what there is below the limit has been found
    result.lower_bound = result.pipeline ? std::min(result.pipeline->estimate, limit) : limit;
    return;
  }
  StagePricing pricing(space, result.microbatch_size, result.microbatches, result.outline, limit);
  result.cut_short = !pricing.bounds().complete;
  if (result.cut_short) return;
  if (limit < impossible)
    result.lower_bound = std::max(
        result.lower_bound, lower_bound(space, pricing.bounds(), result.microbatch_size, result.microbatches, limit));
  if (!(result.lower_bound < limit)) return;
  StageCosts costs = pricing.price();
  result.cut_short = !costs.complete;
  improve(result, space, costs, limit);
  result.outline.lean = std::move(costs.lean);
}

// Sizes near 8 first: the best is mostly among them, and what it takes spares work on the others.
std::vector<std::size_t> outline_order(const std::vector<SizeResult>& results) {
  std::vector<std::size_t> order(results.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto distance = [&](std::size_t k) {
    return std::abs(std::log2(static_cast<double>(results[k].microbatch_size) / 8));
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return distance(a) < distance(b); });
  return order;
}

// Outlines every microbatch size, then prices those that may be best.
std::vector<SizeResult> search_sizes(const SearchSpace& space) {
  std::vector<SizeResult> results;
  for (const std::int64_t size : microbatch_sizes(space.input, space.options))
    results.push_back({size, space.options.global_batch / size});
  Seconds to_beat = impossible;
  for (const std::size_t k : outline_order(results)) {
    outline(results[k], space, to_beat);
    if (results[k].even) to_beat = std::min(to_beat, results[k].even->estimate * simulated_tolerance);
  }
  tbb::parallel_for(std::size_t{0}, results.size(),
                    [&](std::size_t k) { look_at_outline(results[k], space, to_beat); });
  for (const SizeResult& result : results)
    if (result.pipeline) to_beat = std::min(to_beat, result.pipeline->estimate * simulated_tolerance);
  std::mutex progress;
  tbb::parallel_for(std::size_t{0}, results.size(), [&](std::size_t k) {
    price(results[k], space, to_beat);
    if (!space.options.progress) return;
    const std::lock_guard lock(progress);
    space.options.progress(progress_line(results[k]));
  });
  for (SizeResult& result : results)
    if (result.cut_short && !result.pipeline) result.pipeline = std::move(result.even);
  return results;
}

// The microbatch size that needs least decides.
std::optional<MemoryNeed> least_need(const SearchSpace& space, const std::vector<SizeResult>& sizes) {
  std::optional<MemoryNeed> least;
  for (const SizeResult& size : sizes) {
    if (const auto need = tightest_stage(space, size.outline, size.microbatches, least)) least = need;
  }
  return least;
}

}  // namespace

PipelineSearchResult search_pipelines(const SearchSpace& space) {
  PipelineSearchResult result;
  std::vector<SizeResult> sizes = search_sizes(space);
  for (SizeResult& size : sizes) {
    result.lower_bound = std::min(result.lower_bound, size.lower_bound);
    result.cut_short = result.cut_short || size.cut_short;
    if (size.pipeline) result.pipelines.push_back(std::move(*size.pipeline));
  }
  if (result.pipelines.empty() && !result.cut_short) result.need = least_need(space, sizes);
  std::stable_sort(result.pipelines.begin(), result.pipelines.end(),
                   [](const Pipeline& a, const Pipeline& b) { return a.estimate < b.estimate; });
  return result;
}

// Small microbatches first: they need the least memory.
bool has_pipeline(const SearchSpace& space) {
  if (!has_usable_memory(space)) return false;
  const std::vector<std::int64_t> sizes = microbatch_sizes(space.input, space.options);
  std::vector<StageCosts> outlines;
  const auto fits = [&](const StageCosts& costs, std::int64_t size) {
    return best_pipeline(space, costs, size, space.options.global_batch / size, impossible).has_value();
  };
  for (const std::int64_t size : sizes) {
    outlines.push_back(outline_stages(space, size, space.options.global_batch / size, impossible));
    if (fits(outlines.back(), size)) return true;
  }
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    if (outlines[k].exact) continue;
    StagePricing pricing(space, sizes[k], space.options.global_batch / sizes[k], outlines[k], impossible);
    if (fits(pricing.price(), sizes[k])) return true;
  }
  return false;
}

}  // namespace meshloom
