#include "planner/mesh_pricer.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "planner/schedule_search.hpp"

namespace meshloom {
namespace {

// Prices of memory to try, relative to the time of a step: filling a device's memory costs that many steps. 0 comes
// first, then the highest, which tells what can fit at all.
constexpr double memory_prices[] = {10000, 100, 10, 3, 1, 0.3, 0.1, 0.03, 0.01};
// How much dearer a byte is that every microbatch in flight holds.
constexpr double activation_weights[] = {1, 8};
// Prices for bounds, relative to the longest time that a stage may take.
constexpr double bounding_prices[] = {10000, 3, 1, 0.3, 0.1, 0.03};
constexpr double rounding_of_sums = 1e-12;  // relative, generous: bounds stay proven

bool any(const std::vector<bool>& set) { return std::find(set.begin(), set.end(), true) != set.end(); }

bool dominates(const StageCandidate& a, const StageCandidate& b) {
  return a.cost.forward <= b.cost.forward && a.cost.per_microbatch() <= b.cost.per_microbatch() &&
         a.cost.per_step() <= b.cost.per_step() && a.max_following_stages >= b.max_following_stages &&
         a.cost.shared_gradients <= b.cost.shared_gradients;
}

bool dominates_in_memory_too(const StageCandidate& a, const StageCandidate& b) {
  return dominates(a, b) && a.cost.fixed <= b.cost.fixed && a.cost.transient() <= b.cost.transient() &&
         a.cost.activations <= b.cost.activations;
}

// Where the backward is split, its input gradients' part is waited for and the weight gradients' part fills gaps.
bool dominates_in_parts(const StageCandidate& a, const StageCandidate& b) {
  return dominates_in_memory_too(a, b) && a.cost.backward_weight >= b.cost.backward_weight &&
         a.cost.backward - a.cost.backward_weight <= b.cost.backward - b.cost.backward_weight;
}

using Dominates = bool (*)(const StageCandidate&, const StageCandidate&);

Dominates dominance_for(const SearchSpace& space) {
  if (std::any_of(space.schedules.begin(), space.schedules.end(), splits_backward)) return dominates_in_parts;
  return compares_memory(space) ? dominates_in_memory_too : dominates;
}

// Of equal candidates the one stays whose weights say most: low prices, all microbatches, the work once per step.
void plainest_first(std::vector<StageCandidate>& candidates) {
  const auto order = [](const StageCandidate& candidate) {
    const Weights& weights = candidate.settings.weights;
    return std::tuple(weights.seconds_per_fixed_byte, weights.seconds_per_activation_byte, -weights.microbatches,
                      -weights.per_step);
  };
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const StageCandidate& a, const StageCandidate& b) { return order(a) < order(b); });
}

bool possible(const Cost& cost) { return cost.forward < impossible; }

}  // namespace

void keep_undominated(const SearchSpace& space, std::vector<StageCandidate>& candidates) {
  const Dominates dominates = dominance_for(space);
  std::vector<StageCandidate> kept;
  for (const StageCandidate& candidate : candidates) {
    if (std::any_of(kept.begin(), kept.end(), [&](const auto& other) { return dominates(other, candidate); })) continue;
    std::erase_if(kept, [&](const auto& other) { return dominates(candidate, other); });
    kept.push_back(candidate);
  }
  candidates = std::move(kept);
}

void keep_lean(std::vector<LeanWay>& ways, const LeanWay& way) {
  const auto needs_no_more = [](const LeanWay& a, const LeanWay& b) {
    return a.cost.activations <= b.cost.activations &&
           a.cost.fixed + a.cost.transient() <= b.cost.fixed + b.cost.transient();
  };
  if (std::any_of(ways.begin(), ways.end(), [&](const auto& other) { return needs_no_more(other, way); })) return;
  std::erase_if(ways, [&](const auto& other) { return needs_no_more(way, other); });
  ways.push_back(way);
}

MeshPricer::MeshPricer(const SearchSpace& space, std::uint32_t mesh, std::int64_t microbatch_size,
                       std::int64_t microbatches)
    : space_(space),
      mesh_(mesh),
      microbatches_(microbatches),
      usable_(usable_memory(space, space.meshes[mesh].submesh.group)),
      solver_(space, space.meshes[mesh], std::vector<AxisRole>(space.meshes[mesh].dimensions(), AxisRole::free),
              microbatch_size) {
  const std::size_t classes = space.classes.classes.size();
  result_.candidates.resize(classes);
  result_.least_times.assign(classes, never);
  result_.lean.resize(classes);
  result_.hopeless.assign(classes, 0);
  by_recompute_.assign(space.recomputes.size(), std::vector<LeastTimes>(classes, never));
  const auto layers = static_cast<std::int64_t>(space.layers.layers.size());
  const std::int64_t devices_left = space.input.cluster.devices() - space.meshes[mesh].submesh.devices();
  most_following_.assign(classes, 0);
  demands_.assign(classes, {});
  allowed_.assign(classes, false);
  for (std::int64_t first = 0; first < layers; ++first)
    for (std::int64_t last = first; last < layers; ++last) {
      const std::size_t c = space.classes.of[first][last - first];
      if (space.allowed.on(first, last, space.meshes[mesh])) allowed_[c] = true;
      std::int64_t& most = most_following_[c];
      most = std::max(most, std::min(layers - 1 - last, devices_left));
      if (demands_[c].in_flight == 0) demands_[c] = most_demanded(last - first + 1);
    }
}

MeshPricer::Demand MeshPricer::most_demanded(std::int64_t stage_layers) const {
  Demand most;
  const std::optional<std::int64_t> ranks = ranks_that_tile(space_, space_.submesh_of[mesh_]);
  for (const ScheduleKind kind : space_.schedules) {
    Schedule schedule = kind;
    if (kind == ScheduleKind::one_f_one_b || (kind != ScheduleKind::gpipe && !ranks)) continue;
    if (kind == ScheduleKind::interleaved) {
      if (!can_interleave(*ranks, microbatches_)) continue;
      const auto layers = static_cast<std::int64_t>(space_.layers.layers.size());
      schedule.chunks = std::min(layers / (*ranks * stage_layers), searched_chunks(space_.options).back());
      if (schedule.chunks < 1) continue;
    }
    most.stages = std::max(most.stages, static_cast<double>(schedule.chunks));
    most.in_flight =
        std::max(most.in_flight, static_cast<double>(in_flight(schedule, ranks.value_or(1), 0, microbatches_)));
  }
  return most;
}

bool MeshPricer::meets(const Demand& demand, const Cost& cost) const {
  return demand.stages * cost.fixed + cost.transient() + demand.in_flight * cost.activations <= usable_;
}

Seconds MeshPricer::floor_of_layer(std::size_t layer) const {
  const ModelContext& context = solver_.context();
  Seconds floor;
  for (const OpId op : space_.layers.layers[layer].ops) {
    Seconds least = impossible;
    for (const Strategy& strategy : enumerate_strategies(context.strategies, op)) {
      const OpTime time = op_time(context.cluster, context.recipe, context.strategies.graph,
                                  space_.training.gradients[index(op)], op, strategy.local_sizes);
      least = std::min(least, time.forward + time.backward);
    }
    floor += least;
  }
  return floor;
}

const std::vector<Seconds>& MeshPricer::floors() {
  if (!floors_.empty()) return floors_;
  std::map<std::uint32_t, Seconds> by_key;
  floors_.assign(space_.classes.classes.size(), Seconds(0));
  for (std::size_t c = 1; c < floors_.size(); ++c) {
    const RangeClasses::Class& range = space_.classes.classes[c];
    const auto [layer, added] = by_key.try_emplace(space_.layers.layers[range.last].key);
    if (added) layer->second = floor_of_layer(range.last);
    floors_[c] = floors_[range.parent] + layer->second;
  }
  return floors_;
}

void MeshPricer::outline(const Classes& wanted, Seconds to_beat) {
  to_beat_ = to_beat;
  Classes open = allowed_of(wanted);
  for (std::size_t c = 1; c < floors_.size(); ++c) open[c] = open[c] && floors_[c] < stage_bound();
  for (std::size_t r = 0; r < space_.recomputes.size(); ++r) {
    find_least_times(open, r);
    keep_least_times(r);
    Classes possible = open_below(open, by_recompute_[r]);
    if (r == 0) open = possible;  // the first recomputes least
    sweep_prices(ParameterStates(space_.states), space_.recomputes[r], possible, 1);
    for (std::size_t c = 1; c < possible.size(); ++c) result_.hopeless[c] += possible[c] ? 0 : 1;
    if (takes_all_devices() && open[whole_graph()]) bound_single_stage(space_.recomputes[r], 0);
  }
}

void MeshPricer::bound(const Classes& wanted, Seconds to_beat) {
  to_beat_ = to_beat;
  Classes open = allowed_of(wanted);
  for (std::size_t r = 0; r < space_.recomputes.size(); ++r) {
    const std::vector<Cost> unpriced = find_least_times(open, r);
    if (r == 0) open = open_below(open, by_recompute_[r]);  // the first recomputes least
    if (takes_all_devices() && open[whole_graph()])
      bound_single_stage(space_.recomputes[r], std::size(bounding_prices));
    for (std::size_t depth = 0; depth < bounded_depths.size(); ++depth) raise_with_memory(unpriced, r, depth);
    keep_least_times(r);
    if (may_hold_chunks()) price_chunks(open, space_.recomputes[r]);
  }
}

bool MeshPricer::may_hold_chunks() const {
  const std::vector<ScheduleKind>& kinds = space_.schedules;
  if (std::find(kinds.begin(), kinds.end(), ScheduleKind::interleaved) == kinds.end()) return false;
  const std::optional<std::int64_t> ranks = ranks_that_tile(space_, space_.submesh_of[mesh_]);
  return ranks && 2 * *ranks <= static_cast<std::int64_t>(space_.layers.layers.size()) &&
         can_interleave(*ranks, microbatches_);
}

// A chunk may be small enough to fit alone; what counts is what all chunks of a rank hold together.
void MeshPricer::price_chunks(const Classes& wanted, Recompute recompute) {
  if (!any(wanted)) return;
  if (result_.priced_times.empty()) {
    result_.priced_times.emplace_back().fill(impossible);
    result_.priced_times.resize(wanted.size(), result_.priced_times.front());
  }
  for (std::size_t k = 0; k < chunk_prices.size(); ++k) {
    const double byte = chunk_prices[k] * stage_bound() / Seconds(usable_.value());
    const RangeSettings settings{ParameterStates(space_.states), recompute, {1, 0, byte, byte}};
    const std::vector<Cost> costs = solver_.ranges().solve(settings, wanted);
    for (std::size_t c = 1; c < costs.size(); ++c)
      if (wanted[c] && possible(costs[c]))
        result_.priced_times[c][k] = std::min(result_.priced_times[c][k],
                                              Seconds(weighted(costs[c], settings.weights) * (1 - rounding_of_sums)));
  }
}

void MeshPricer::sweep(const Classes& wanted, Seconds to_beat) {
  to_beat_ = to_beat;
  for (std::size_t r = 0; r < space_.recomputes.size(); ++r) {
    Classes open = open_below(wanted, by_recompute_[r]);
    for (const ParameterStates& states : state_sets())
      sweep_prices(states, space_.recomputes[r], open, std::size(memory_prices));
  }
}

MeshResult MeshPricer::take() {
  for (auto& candidates : result_.candidates) {
    plainest_first(candidates);
    keep_undominated(space_, candidates);
  }
  return std::move(result_);
}

MeshPricer::Classes MeshPricer::allowed_of(const Classes& wanted) const {
  Classes both = wanted;
  for (std::size_t c = 1; c < both.size(); ++c) both[c] = both[c] && allowed_[c];
  return both;
}

bool MeshPricer::takes_all_devices() const { return is_whole_group(space_, space_.meshes[mesh_].submesh); }

bool MeshPricer::fits(const Cost& cost, std::int64_t in_flight) const {
  return cost.fixed + static_cast<double>(in_flight) * cost.activations <= usable_;
}

std::int64_t MeshPricer::most_in_flight(std::size_t c) const { return std::min(microbatches_, most_following_[c] + 1); }

// A state for each parameter, and all parameters in one: prices are tried at a few points only and do not count what
// comes and goes, so one state for all may fit where the mixture found is too large.
std::vector<ParameterStates> MeshPricer::state_sets() const {
  std::vector<ParameterStates> sets{ParameterStates(space_.states)};
  if (space_.states.size() > 1 && space_.meshes[mesh_].dimensions() > 0)
    sets.insert(sets.end(), space_.states.begin(), space_.states.end());
  return sets;
}

// Returns the classes that leave less room than there can be stages behind them.
MeshPricer::Classes MeshPricer::add_candidates(const std::vector<Cost>& costs, const RangeSettings& settings) {
  Classes tight(costs.size(), false);
  const Weights step{static_cast<double>(microbatches_), 1, 0, 0};
  for (std::size_t c = 1; c < costs.size(); ++c) {
    if (!possible(costs[c])) continue;
    const auto following =
        following_stages(costs[c], usable_, ScheduleKind::one_f_one_b, microbatches_, most_following_[c]);
    tight[c] = following.value_or(-1) < most_following_[c] || !meets(demands_[c], costs[c]);
    keep_lean(result_.lean[c], {costs[c], mesh_});
    if (!following || !may_beat(weighted(costs[c], step))) continue;
    const auto& [parent, first, last] = space_.classes.classes[c];
    result_.candidates[c].push_back(
        {waiting_cost(space_, costs[c], first, last, settings.recompute), mesh_, settings, *following});
  }
  return tight;
}

// Those of the wanted classes that have room below what is to beat.
MeshPricer::Classes MeshPricer::open_below(const Classes& wanted, const std::vector<LeastTimes>& times) const {
  Classes open = wanted;
  for (std::size_t c = 1; c < open.size(); ++c) open[c] = open[c] && times[c].front() < stage_bound();
  return open;
}

// The least time per microbatch: weight on nothing else. With nothing recomputed it is a candidate, too: where a
// stage's work once per step hides behind other stages, nothing else counts.
std::vector<Cost> MeshPricer::find_least_times(const Classes& wanted, std::size_t r) {
  if (!any(wanted)) return std::vector<Cost>(wanted.size(), Cost{impossible});
  const RangeSettings settings{ParameterStates(space_.states), space_.recomputes[r], {1, 0, 0, 0}};
  std::vector<Cost> costs = solver_.ranges().solve(settings, wanted);
  if (r == 0) add_candidates(costs, settings);
  for (std::size_t c = 1; c < costs.size(); ++c)
    if (possible(costs[c])) by_recompute_[r][c].fill(costs[c].per_microbatch());
  return costs;
}

void MeshPricer::keep_least_times(std::size_t r) {
  for (std::size_t c = 1; c < by_recompute_[r].size(); ++c)
    for (std::size_t depth = 0; depth < bounded_depths.size(); ++depth)
      result_.least_times[c][depth] = std::min(result_.least_times[c][depth], by_recompute_[r][c][depth]);
}

// What fits with n microbatches in flight holds fixed + n·activations ≤ usable. So at a price for a fixed byte and n
// times that for one of activations its time is at least the least priced time less what all usable memory costs: the
// Lagrangian bound, for n in flight and for more.
void MeshPricer::raise_with_memory(const std::vector<Cost>& unpriced, std::size_t r, std::size_t depth) {
  const std::int64_t in_flight = bounded_depths[depth];
  std::vector<LeastTimes>& times = by_recompute_[r];
  const auto open = [&](std::size_t c) { return times[c][depth] < stage_bound(); };
  const auto raise = [&](std::size_t c, Seconds bound) {
    for (std::size_t deeper = depth; deeper < bounded_depths.size(); ++deeper)
      times[c][deeper] = std::max(times[c][deeper], bound);
  };
  Classes tight(unpriced.size(), false);
  for (std::size_t c = 1; c < unpriced.size(); ++c)
    tight[c] = possible(unpriced[c]) && open(c) && in_flight <= most_in_flight(c) && !fits(unpriced[c], in_flight);
  for (const double price : bounding_prices) {
    if (!any(tight)) return;
    const double byte = price * stage_bound() / Seconds(usable_.value());
    const RangeSettings settings{
        ParameterStates(space_.states), space_.recomputes[r], {1, 0, byte, byte * static_cast<double>(in_flight)}};
    const std::vector<Cost> costs = solver_.ranges().solve(settings, tight);
    for (std::size_t c = 1; c < costs.size(); ++c) {
      if (!tight[c]) continue;
      raise(c, Seconds(weighted(costs[c], settings.weights) * (1 - rounding_of_sums) - byte * usable_.value()));
      // Where the least does not fit at this price, lower ones bound less.
      tight[c] = open(c) && fits(costs[c], in_flight);
    }
  }
}

// As one stage on all devices a step is exactly B·t + p, and one microbatch is in flight. Tries the first `prices`.
void MeshPricer::bound_single_stage(Recompute recompute, std::size_t prices) {
  Classes whole(space_.classes.classes.size(), false);
  whole[whole_graph()] = true;
  RangeSettings settings{ParameterStates(space_.states), recompute, {static_cast<double>(microbatches_), 1, 0, 0}};
  const auto solve = [&] { return solver_.ranges().solve(settings, whole)[whole_graph()]; };
  const Cost unpriced = solve();
  if (!possible(unpriced)) return;
  double least = weighted(unpriced, settings.weights);
  for (std::size_t p = 0; p < prices && !fits(unpriced, 1) && may_beat(least); ++p) {
    settings.weights.seconds_per_fixed_byte = settings.weights.seconds_per_activation_byte =
        bounding_prices[p] * to_beat_.value() / usable_.value();
    const Cost cost = solve();
    least = std::max(least, weighted(cost, settings.weights) * (1 - rounding_of_sums) -
                                settings.weights.seconds_per_fixed_byte * usable_.value());
    if (!fits(cost, 1)) break;
  }
  result_.least_single_stage = std::min(result_.least_single_stage, Seconds(least));
}

// The first `prices` of memory_prices, for those of the wanted classes that a price could make fit better. Those that
// can never fit or take too long are wanted no more.
void MeshPricer::sweep_prices(const ParameterStates& states, Recompute recompute, Classes& wanted, std::size_t prices) {
  if (!any(wanted)) return;
  RangeSettings settings{states, recompute, {static_cast<double>(microbatches_), 1, 0, 0}};
  Classes with_whole = wanted;
  with_whole[whole_graph()] = true;
  const std::vector<Cost> unpriced = solver_.ranges().solve(settings, with_whole);
  const Cost& whole = unpriced[whole_graph()];
  const double step = possible(whole) ? weighted(whole, settings.weights) : 0;
  for (std::size_t c = 1; c < unpriced.size(); ++c)
    if (possible(unpriced[c]) && !may_beat(weighted(unpriced[c], settings.weights))) wanted[c] = false;
  if (microbatches_ > 1) {  // away from the slowest stage a microbatch's time counts once, like a step's work
    settings.weights.microbatches = 1;
    add_candidates(solver_.ranges().solve(settings, wanted), settings);
    settings.weights.microbatches = static_cast<double>(microbatches_);
  }
  Classes tight = add_candidates(unpriced, settings);
  for (std::size_t p = 0; p < prices; ++p)
    for (const double activations : activation_weights) {
      if (!any(tight)) return;
      if (space_.options.deadline.passed()) {
        result_.complete = false;
        return;
      }
      settings.weights.seconds_per_fixed_byte = memory_prices[p] * step / usable_.value();
      settings.weights.seconds_per_activation_byte = settings.weights.seconds_per_fixed_byte * activations;
      const std::vector<Cost> costs = solver_.ranges().solve(settings, tight);
      add_candidates(costs, settings);
      if (activations != 1) continue;
      for (std::size_t c = 1; c < costs.size(); ++c)  // the Lagrangian bound of B·t + p for one microbatch in flight
        if (tight[c] && possible(costs[c]))
          tight[c] = may_beat(weighted(costs[c], settings.weights) * (1 - rounding_of_sums) -
                              settings.weights.seconds_per_fixed_byte * usable_.value());
      if (p > 0) continue;
      for (const std::size_t c : hopeless(costs)) tight[c] = wanted[c] = false;
    }
}

// Under the highest price no way to run them holds less; what even so does not fit needs no further prices.
std::vector<std::size_t> MeshPricer::hopeless(const std::vector<Cost>& costs) const {
  std::vector<std::size_t> classes;
  for (std::size_t c = 1; c < costs.size(); ++c)
    if (possible(costs[c]) && !fits(costs[c], 1)) classes.push_back(c);
  return classes;
}

}  // namespace meshloom
