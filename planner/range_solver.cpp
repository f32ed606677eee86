#include "planner/range_solver.hpp"

#include <algorithm>
#include <deque>
#include <limits>
#include <numeric>

namespace meshloom {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::size_t least(const std::vector<double>& values) {
  return static_cast<std::size_t>(std::min_element(values.begin(), values.end()) - values.begin());
}

// A front, grown by so many equal layers.
struct Reached {
  std::size_t front = 0, repeats = 0;
};

// The fronts of some ranges. Equal layers are joined only until one more adds a constant.
class Fronts {
 public:
  Fronts(const std::map<std::uint32_t, LayerTable>& tables, const RangeSettings& settings)
      : tables_(tables), settings_(settings), fronts_{empty_front()}, last_key_(1), ends_(1) {}

  Reached empty() const { return {}; }

  // The range `from` and the layer behind it.
  Reached extended(const Reached& from, const PlanningLayers& layers, std::size_t position) {
    const PlanningLayer& layer = layers.layers[position];
    if (fronts_[from.front].growth && last_key_[from.front] == layer.key) return {from.front, from.repeats + 1};
    const LayerTable& table = tables_.at(layer.key);
    fronts_.push_back(from.repeats == 0 ? join(fronts_[from.front], position, layer.variables, table, settings_)
                                        : join(grown(fronts_[from.front], from.repeats), position, layer.variables,
                                               table, settings_));
    last_key_.push_back(layer.key);
    ends_.push_back(end_of(fronts_.back()));
    return {fronts_.size() - 1, 0};
  }

  // The best entry of the range as a stage; none where it cannot be run.
  std::optional<std::size_t> best_entry(const Reached& range) const { return ends_[range.front].entry; }
  Cost best_cost(const Reached& range) const {
    const Cost& cost = ends_[range.front].cost;
    return range.repeats == 0 ? cost : grown(cost, *fronts_[range.front].growth, range.repeats);
  }

  const Front& front(const Reached& range) const { return fronts_[range.front]; }

 private:
  struct End {
    std::optional<std::size_t> entry;
    Cost cost;
  };

  // Growing changes no order among entries, so the best one stays.
  End end_of(const Front& front) const {
    const Front end = closed(front, settings_.weights);
    const std::size_t entry = least(end.scalar);
    if (!(end.scalar[entry] < infinity)) return {};
    return {entry, end.costs[entry]};
  }

  const std::map<std::uint32_t, LayerTable>& tables_;
  const RangeSettings& settings_;
  std::deque<Front> fronts_;
  std::vector<std::uint32_t> last_key_;  // by front: of the layer joined last
  std::vector<End> ends_;                // by front
};

}  // namespace

RangeSolver::RangeSolver(const ModelContext& context, const PlanningLayers& layers, const RangeClasses& classes)
    : context_(context), layers_(layers), classes_(classes) {}

const ThinnedModel& RangeSolver::thinned(std::size_t layer) {
  const std::uint32_t key = layers_.layers[layer].key;
  const auto found = models_.find(key);
  if (found != models_.end()) return found->second;
  return models_.emplace(key, without_dominated(full_model(layer))).first->second;
}

LayerModel RangeSolver::full_model(std::size_t layer) const {
  return build_layer_model(context_, layers_.layers[layer]);
}

LayerTable RangeSolver::reduce(const LayerModel& model, const PricedLayer& priced, const IntraOpProblem& problem,
                               const RangeSettings& settings) const {
  std::vector<std::uint32_t> kept(model.nodes.size() - model.interior);
  std::iota(kept.begin(), kept.end(), static_cast<std::uint32_t>(model.interior));
  ReducedTable reduced = eliminate_all_but(problem, kept);
  LayerTable result;
  result.sizes = reduced.sizes;
  result.choices = std::move(reduced.choices);
  for (std::size_t entry = 0; entry < result.choices.size(); ++entry) {
    const bool possible = !result.choices[entry].empty();
    result.costs.push_back(possible ? priced.cost_of_choices(result.choices[entry]) : Cost{});
    result.scalar.push_back(possible ? weighted(result.costs.back(), settings.weights) : infinity);
  }
  for (const std::uint32_t variable : kept) {
    result.own.emplace_back();
    for (std::uint32_t choice = 0; choice < model.nodes[variable].choices.size(); ++choice)
      result.own.back().push_back(cost_of_variable(model.nodes[variable], choice, settings));
    BorderCosts border = border_costs(context_, model.nodes[variable]);
    result.arrival.push_back(std::move(border.arrival));
    result.departure.push_back(std::move(border.departure));
  }
  return result;
}

std::map<std::uint32_t, LayerTable> RangeSolver::tables(const RangeSettings& settings) {
  std::map<std::uint32_t, LayerTable> result;
  for (std::size_t l = 0; l < layers_.layers.size(); ++l)
    if (!result.contains(layers_.layers[l].key)) result.emplace(layers_.layers[l].key, table(l, settings));
  return result;
}

LayerTable RangeSolver::table(std::size_t layer, const RangeSettings& settings) {
  const LayerModel& layer_model = model(layer);
  const PricedLayer priced(layer_model, settings);
  return reduce(layer_model, priced, priced.problem(), settings);
}

std::vector<Cost> RangeSolver::costs_by_choice(const RangeSettings& settings, std::size_t first, std::size_t last,
                                               std::size_t layer, std::uint32_t node) {
  const std::map<std::uint32_t, LayerTable> by_key = tables(settings);
  const LayerModel held = full_model(layer);
  const PricedLayer priced(held, settings);
  const IntraOpProblem problem = priced.problem();
  std::vector<Cost> costs;
  for (std::size_t choice = 0; choice < held.nodes[node].choices.size(); ++choice) {
    IntraOpProblem pinned = problem;
    for (std::size_t other = 0; other < pinned.nodes[node].costs.size(); ++other)
      if (other != choice) pinned.nodes[node].costs[other] = infinite_cost;
    const LayerTable held_table = reduce(held, priced, pinned, settings);
    Front front = empty_front();
    for (std::size_t l = first; l <= last; ++l)
      front = join(front, l, layers_.layers[l].variables, l == layer ? held_table : by_key.at(layers_.layers[l].key),
                   settings);
    front = closed(std::move(front), settings.weights);
    const std::size_t entry = least(front.scalar);
    costs.push_back(front.costs[entry]);
    if (!(front.scalar[entry] < infinity)) costs.back().forward = impossible;
  }
  return costs;
}

std::vector<Cost> RangeSolver::solve(const RangeSettings& settings) {
  return solve(settings, std::vector<bool>(classes_.classes.size(), true));
}

std::vector<Cost> RangeSolver::solve(const RangeSettings& settings, const std::vector<bool>& wanted) {
  std::vector<bool> needed = wanted;
  for (std::size_t c = needed.size(); c-- > 1;)  // parents come before their children
    if (needed[c]) needed[classes_.classes[c].parent] = true;
  const std::map<std::uint32_t, LayerTable> by_key = tables(settings);
  Fronts fronts(by_key, settings);
  std::vector<Reached> reached(classes_.classes.size());
  std::vector<Cost> result(classes_.classes.size());
  for (std::size_t c = 1; c < reached.size(); ++c) {
    result[c].forward = impossible;
    if (!needed[c]) continue;
    const RangeClasses::Class& range = classes_.classes[c];
    reached[c] = fronts.extended(reached[range.parent], layers_, range.last);
    if (wanted[c] && fronts.best_entry(reached[c])) result[c] = fronts.best_cost(reached[c]);
  }
  return result;
}

std::optional<RangeChoices> RangeSolver::choices(const RangeSettings& settings, std::size_t first, std::size_t last) {
  std::map<std::uint32_t, LayerTable> by_key;
  for (std::size_t l = first; l <= last; ++l)
    if (!by_key.contains(layers_.layers[l].key)) by_key.emplace(layers_.layers[l].key, table(l, settings));
  Fronts fronts(by_key, settings);
  std::vector<Reached> reached{fronts.empty()};
  for (std::size_t l = first; l <= last; ++l) reached.push_back(fronts.extended(reached.back(), layers_, l));
  RangeChoices result(last - first + 1);
  const std::optional<std::size_t> best = fronts.best_entry(reached.back());
  if (!best) return std::nullopt;
  std::size_t entry = *best;
  for (std::size_t l = last + 1; l-- > first;) {
    const Front& front = fronts.front(reached[l - first + 1]);
    result[l - first] = by_key.at(layers_.layers[l].key).choices[front.table_entry[entry]];
    entry = front.previous[entry];
  }
  return result;
}

}  // namespace meshloom
