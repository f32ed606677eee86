#include "planner/pipeline_search.hpp"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>

#include "costmodel/groups.hpp"
#include "planner/group_order.hpp"
#include "planner/materialize.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/schedule_search.hpp"
#include "planner/shared_parameters.hpp"
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

bool lies_in_a_row(ScheduleKind kind) { return kind != ScheduleKind::interleaved && !splits_backward(kind); }

// Whether pipelines of this kind may have stages on this submesh.
bool may_lie_on(const SearchSpace& space, ScheduleKind kind, std::int64_t microbatches, std::uint32_t submesh) {
  if (lies_in_a_row(kind)) return true;
  const std::optional<std::int64_t> ranks = ranks_that_tile(space, submesh);
  if (!ranks || *ranks > static_cast<std::int64_t>(space.layers.layers.size())) return false;
  return kind != ScheduleKind::interleaved || can_interleave(*ranks, microbatches);
}

// None: no pipeline through the groups in this order stays below `limit`. With `only` all stages are on that submesh.
std::optional<Pipeline> best_pipeline_through(const GroupOrder& order, const SearchSpace& space, ScheduleKind kind,
                                              const StageCosts& costs, std::int64_t microbatch_size,
                                              std::int64_t microbatches, Seconds limit,
                                              std::optional<std::uint32_t> only) {
  InterOpProblem problem = empty_problem(space, order, kind, microbatch_size, microbatches);
  unsigned groups = 0;
  for (const std::uint32_t group : order) groups |= 1U << group;
  std::vector<const StageCandidate*> origin;
  for_each_range(space, [&](std::uint32_t first, std::uint32_t last, std::size_t c, std::uint32_t submesh) {
    if ((only && submesh != *only) || !is_in(order, space.submeshes[submesh])) return;
    if (!may_lie_on(space, kind, microbatches, submesh)) return;
    const double scale = memory_scale(space, order, space.submeshes[submesh]);
    if (!(static_cast<double>(microbatches) * costs.least_times[c][submesh].front() < limit)) return;
    const bool shares = shares_parameters_outside(space.layers, first, last);
    for (const StageCandidate& candidate : costs.candidates[c][submesh]) {
      if (!space.allowed.on(first, last, space.meshes[candidate.mesh])) continue;
      Seconds shared;
      if (shares && candidate.cost.shared_gradients > Bytes(0))
        shared = shared_gradient_time(space.input.cluster, candidate.cost.shared_gradients, space.submeshes[submesh],
                                      groups);
      problem.options.push_back({first, last, submesh, candidate.cost.forward, candidate.cost.backward,
                                 candidate.cost.per_step() + shared, candidate.max_following_stages,
                                 candidate.cost.backward_weight, scale * candidate.cost.fixed,
                                 scale * candidate.cost.transient(), scale * candidate.cost.activations, shared});
      origin.push_back(&candidate);
    }
  });
  const auto [schedule, solution] = solve_under(kind, space.options, in_larger_units(problem), limit);
  if (!solution.feasible) return std::nullopt;
  Pipeline pipeline{solution.objective, schedule, microbatch_size, microbatches, {}, {}};
  for (const std::uint32_t option : solution.options) {
    pipeline.options.push_back(problem.options[option]);
    pipeline.candidates.push_back(*origin[option]);
  }
  return pipeline;
}

// None: no pipeline stays below `limit`. With `only` all stages are on that submesh.
std::optional<Pipeline> best_pipeline(const SearchSpace& space, ScheduleKind kind, const StageCosts& costs,
                                      std::int64_t microbatch_size, std::int64_t microbatches, Seconds limit,
                                      std::optional<std::uint32_t> only = {}) {
  std::optional<Pipeline> best;
  for (const GroupOrder& order : group_orders(space.input.cluster)) {
    if (only && order != GroupOrder{space.submeshes[*only].group}) continue;
    if (order.size() > 1 && !lies_in_a_row(kind)) continue;
    std::optional<Pipeline> found = best_pipeline_through(order, space, kind, costs, microbatch_size, microbatches,
                                                          best ? std::min(best->estimate, limit) : limit, only);
    if (found && (!best || found->estimate < best->estimate)) best = std::move(found);
  }
  return best;
}

// The best, if better than `best`, of the pipelines whose stages are all on equal submeshes: quickly found, and
// something to beat. On an unequal cluster no such pipeline uses all groups; there it is the best one of what is known.
void improve_with_even_stages(std::optional<Pipeline>& best, const SearchSpace& space, ScheduleKind kind,
                              const StageCosts& costs, std::int64_t microbatch_size, std::int64_t microbatches) {
  if (!space.input.cluster.groups.empty()) {
    const Seconds limit = best ? best->estimate : impossible;
    auto found = best_pipeline(space, kind, costs, microbatch_size, microbatches, limit);
    if (found && found->estimate < limit) best = std::move(found);
    return;
  }
  for (std::uint32_t submesh = 0; submesh < space.submeshes.size(); ++submesh) {
    const std::int64_t devices = space.submeshes[submesh].devices();
    if (space.input.cluster.devices() % devices != 0) continue;
    if (space.input.cluster.devices() / devices > static_cast<std::int64_t>(space.layers.layers.size())) continue;
    const Seconds limit = best ? best->estimate : impossible;
    auto found = best_pipeline(space, kind, costs, microbatch_size, microbatches, limit, submesh);
    if (found && found->estimate < limit) best = std::move(found);
  }
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
  InterOpProblem problem = empty_problem(space, order, ScheduleKind::one_f_one_b, microbatch_size, microbatches);
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
Seconds lower_bound_in_a_row(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatch_size,
                             std::int64_t microbatches, Seconds limit) {
  for (const GroupOrder& order : group_orders(space.input.cluster))
    limit = lower_bound_through(order, space, costs, microbatch_size, microbatches, limit);
  return limit;
}

Seconds lower_bound_under(ScheduleKind kind, const SearchSpace& space, const StageCosts& costs,
                          std::int64_t microbatch_size, std::int64_t microbatches, Seconds limit) {
  return lies_in_a_row(kind) ? lower_bound_in_a_row(space, costs, microbatch_size, microbatches, limit)
                             : lower_bound_on_equal_submeshes(space, costs, microbatches, kind, limit);
}

// Under all schedules.
Seconds lower_bound(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatch_size,
                    std::int64_t microbatches, Seconds limit) {
  for (const ScheduleKind kind : space.schedules)
    limit = lower_bound_under(kind, space, costs, microbatch_size, microbatches, limit);
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
  std::optional<Pipeline> even;
  std::vector<std::optional<Pipeline>> pipelines;  // by position in SearchSpace::schedules
  Seconds lower_bound;
  bool cut_short = false;
};

const Pipeline* best_of(const SizeResult& result) {
  const Pipeline* best = nullptr;
  for (const std::optional<Pipeline>& pipeline : result.pipelines)
    if (pipeline && (best == nullptr || pipeline->estimate < best->estimate)) best = &*pipeline;
  return best;
}

// Looks for pipelines below `limit`, of each schedule.
void improve(SizeResult& result, const SearchSpace& space, ScheduleKind kind, const StageCosts& costs, Seconds limit) {
  if (!lies_in_a_row(kind) && limit < impossible &&
      !(lower_bound_on_equal_submeshes(space, costs, result.microbatches, kind, limit) < limit))
    return;
  const auto k = std::find(space.schedules.begin(), space.schedules.end(), kind) - space.schedules.begin();
  result.pipelines.resize(space.schedules.size());
  std::optional<Pipeline>& known = result.pipelines[static_cast<std::size_t>(k)];
  std::optional<Pipeline> found = best_pipeline(space, kind, costs, result.microbatch_size, result.microbatches, limit);
  if (found && (!known || found->estimate < known->estimate)) known = std::move(found);
}

// The schedules that are solved faster; all where there are none.
std::vector<ScheduleKind> quick_schedules(const SearchSpace& space) {
  std::vector<ScheduleKind> quick;
  std::copy_if(space.schedules.begin(), space.schedules.end(), std::back_inserter(quick), lies_in_a_row);
  return quick.empty() ? space.schedules : quick;
}

// Whether pricing may find something below `limit`. Bounds of schedules on equal submeshes do not see memory and so
// rule out little: where another schedule is searched, they count only if the outline showed a pipeline close to the
// best.
bool worth_pricing(const SizeResult& result, const SearchSpace& space, const StageCosts& bounds, Seconds limit) {
  if (!(result.lower_bound < limit)) return false;
  const bool any_in_a_row = std::any_of(space.schedules.begin(), space.schedules.end(), lies_in_a_row);
  if (!(limit < impossible) || !any_in_a_row || best_of(result) != nullptr) return true;
  return lower_bound_in_a_row(space, bounds, result.microbatch_size, result.microbatches, limit) < limit;
}

std::string progress_line(const SizeResult& result) {
  const Pipeline* best = best_of(result);
  return fmt::format("{} microbatches of {}: {}", result.microbatches, result.microbatch_size,
                     best != nullptr ? fmt::format("{}, {} stages, {:.4g} s", name(best->schedule),
                                                   best->options.size(), best->estimate.value())
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
  for (const ScheduleKind kind : quick_schedules(space))
    improve_with_even_stages(result.even, space, kind, result.outline, result.microbatch_size, result.microbatches);
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
  if (!(result.lower_bound < to_beat) && to_beat < impossible) return;
  for (const ScheduleKind kind : result.outline.exact ? space.schedules : quick_schedules(space))
    improve(result, space, kind, result.outline, to_beat);
}

// With all useful ways to run a stage, what there is below the limit has been found under 1F1B. Other schedules compare
// more than those ways were chosen by.
Seconds bound_of_exact(const SizeResult& result, const SearchSpace& space, Seconds limit) {
  for (std::size_t k = 0; k < space.schedules.size(); ++k)
    if (space.schedules[k] != ScheduleKind::one_f_one_b)
      limit = lower_bound_under(space.schedules[k], space, result.outline, result.microbatch_size, result.microbatches,
                                limit);
    else if (const std::optional<Pipeline>& found = result.pipelines[k])
      limit = std::min(limit, found->estimate);
  return limit;
}

// Prices everything, unless a bound that sees memory tells that nothing stays below `limit`.
void price(SizeResult& result, const SearchSpace& space, Seconds limit) {
  if (!worth_pricing(result, space, result.outline, limit)) return;
  result.cut_short = result.cut_short || space.options.deadline.passed();
  if (result.cut_short) return;
  if (result.outline.exact) {
    result.lower_bound = bound_of_exact(result, space, limit);
    return;
  }
  StagePricing pricing(space, result.microbatch_size, result.microbatches, result.outline, limit);
  result.cut_short = !pricing.bounds().complete;
  if (result.cut_short) return;
  if (limit < impossible)
    result.lower_bound = std::max(
        result.lower_bound, lower_bound(space, pricing.bounds(), result.microbatch_size, result.microbatches, limit));
  if (!worth_pricing(result, space, pricing.bounds(), limit)) return;
  StageCosts costs = pricing.price();
  result.cut_short = !costs.complete;
  for (const ScheduleKind kind : space.schedules) improve(result, space, kind, costs, limit);
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
    if (const Pipeline* best = best_of(result)) to_beat = std::min(to_beat, best->estimate * simulated_tolerance);
  std::mutex progress;
  tbb::parallel_for(std::size_t{0}, results.size(), [&](std::size_t k) {
    price(results[k], space, to_beat);
    if (!space.options.progress) return;
    const std::lock_guard lock(progress);
    space.options.progress(progress_line(results[k]));
  });
  for (SizeResult& result : results)
    if (result.cut_short && best_of(result) == nullptr) result.pipelines = {std::move(result.even)};
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

bool faster(const Pipeline& a, const Pipeline& b) { return a.estimate < b.estimate; }

// The best of each schedule. Formulas err by schedule, so one schedule's do not crowd out another's.
std::vector<Pipeline> worth_simulating(std::vector<Pipeline> pipelines, std::size_t most) {
  std::stable_sort(pipelines.begin(), pipelines.end(), faster);
  std::map<ScheduleKind, std::size_t> kept;
  std::erase_if(pipelines, [&](const Pipeline& pipeline) {
    return ++kept[pipeline.schedule.kind] > std::max<std::size_t>(1, most);
  });
  return pipelines;
}

PipelineSearchResult search_together(const SearchSpace& space) {
  PipelineSearchResult result;
  std::vector<SizeResult> sizes = search_sizes(space);
  std::vector<Pipeline> pipelines;
  for (SizeResult& size : sizes) {
    result.lower_bound = std::min(result.lower_bound, size.lower_bound);
    result.cut_short = result.cut_short || size.cut_short;
    for (std::optional<Pipeline>& pipeline : size.pipelines)
      if (pipeline) pipelines.push_back(std::move(*pipeline));
  }
  result.pipelines = worth_simulating(std::move(pipelines), space.options.candidates);
  if (result.pipelines.empty() && !result.cut_short) result.need = least_need(space, sizes);
  return result;
}

// The same space, whatever was left out of it, for the schedule that these options name; they must outlive it.
SearchSpace under_one_schedule(const SearchSpace& space, const SearchOptions& options) {
  return {space.input,      options,         space.training, space.meanings,   space.layers,
          space.classes,    space.submeshes, space.meshes,   space.submesh_of, space.states,
          space.recomputes, space.pins,      space.allowed,  space.launches,   {*options.schedule}};
}

// Ops times devices up to which a search takes about a second.
constexpr std::size_t small_problem = 16'384;

}  // namespace

std::vector<ScheduleKind> schedules_searched_apart(const PlanningInput& input, const SearchOptions& options) {
  if (options.schedule || options.chunks) return {};
  if (input.recipe.schedules.size() < 2) return {};
  const bool small = input.graph.ops.size() * static_cast<std::size_t>(input.cluster.devices()) <= small_problem;
  const bool waits = input.recipe.overlap_synchronization == OverlapSynchronization::beside_computing;
  std::vector<ScheduleKind> kinds;
  for (const std::string& name : input.recipe.schedules) {
    const ScheduleKind kind = *schedule_named(name);
    if (small || (waits && kind != ScheduleKind::interleaved)) kinds.push_back(kind);
  }
  return kinds;
}

PipelineSearchResult search_pipelines(const SearchSpace& space) {
  PipelineSearchResult result = search_together(space);
  for (const ScheduleKind kind : schedules_searched_apart(space.input, space.options)) {
    SearchOptions own = space.options;
    own.schedule = kind;
    std::vector<Pipeline> found = search_together(under_one_schedule(space, own)).pipelines;
    std::move(found.begin(), found.end(), std::back_inserter(result.pipelines));
  }
  std::stable_sort(result.pipelines.begin(), result.pipelines.end(), faster);
  return result;
}

// Small microbatches first: they need the least memory.
bool has_pipeline(const SearchSpace& space) {
  if (!has_usable_memory(space)) return false;
  const std::vector<std::int64_t> sizes = microbatch_sizes(space.input, space.options);
  std::vector<StageCosts> outlines;
  const auto fits = [&](const StageCosts& costs, std::int64_t size) {
    return std::any_of(space.schedules.begin(), space.schedules.end(), [&](ScheduleKind kind) {
      return best_pipeline(space, kind, costs, size, space.options.global_batch / size, impossible).has_value();
    });
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
