#include "planner/range_solver.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace meshloom {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::size_t least(const std::vector<double>& values) {
  return static_cast<std::size_t>(std::min_element(values.begin(), values.end()) - values.begin());
}

void add_scalars(std::vector<double>& scalars, const std::vector<Cost>& costs, const Weights& weights) {
  for (std::size_t c = 0; c < scalars.size(); ++c)
    scalars[c] += costs[c].forward < impossible ? weighted(costs[c], weights) : infinity;
}

}  // namespace

RangeSolver::RangeSolver(const ModelContext& context, const PlanningLayers& layers, const RangeClasses& classes)
    : context_(context), layers_(layers), classes_(classes) {}

const LayerModel& RangeSolver::model(std::size_t layer) {
  const PlanningLayer& planned = layers_.layers[layer];
  const auto found = models_.find(planned.key);
  return found != models_.end() ? found->second
                                : models_.emplace(planned.key, build_layer_model(context_, planned)).first->second;
}

LayerTable RangeSolver::reduce(const LayerModel& model, const IntraOpProblem& problem,
                               const RangeSettings& settings) const {
  std::vector<std::uint32_t> kept(model.nodes.size() - model.interior);
  std::iota(kept.begin(), kept.end(), static_cast<std::uint32_t>(model.interior));
  ReducedTable reduced = eliminate_all_but(problem, kept);
  LayerTable result;
  result.sizes = reduced.sizes;
  result.choices = std::move(reduced.choices);
  for (std::size_t entry = 0; entry < result.choices.size(); ++entry) {
    const bool possible = !result.choices[entry].empty();
    result.costs.push_back(possible ? cost_of_choices(model, result.choices[entry], settings.state, settings.recompute)
                                    : Cost{});
    result.scalar.push_back(possible ? weighted(result.costs.back(), settings.weights) : infinity);
  }
  for (const std::uint32_t variable : kept) {
    result.own.emplace_back();
    for (std::uint32_t choice = 0; choice < model.nodes[variable].choices.size(); ++choice)
      result.own.back().push_back(cost_of_variable(model.nodes[variable], choice, settings.state, settings.recompute));
    result.arrival.push_back(arrival_costs(context_, model.nodes[variable]));
    result.departure.push_back(departure_costs(context_, model.nodes[variable]));
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
  return reduce(layer_model, layer_problem(layer_model, settings.weights, settings.state, settings.recompute),
                settings);
}

std::vector<double> RangeSolver::objective_by_choice(const RangeSettings& settings, std::size_t first, std::size_t last,
                                                     std::size_t layer, std::uint32_t node) {
  const std::map<std::uint32_t, LayerTable> by_key = tables(settings);
  const LayerModel& held = model(layer);
  const IntraOpProblem problem = layer_problem(held, settings.weights, settings.state, settings.recompute);
  std::vector<double> objectives;
  for (std::size_t choice = 0; choice < held.nodes[node].choices.size(); ++choice) {
    IntraOpProblem pinned = problem;
    for (std::size_t other = 0; other < pinned.nodes[node].costs.size(); ++other)
      if (other != choice) pinned.nodes[node].costs[other] = infinite_cost;
    const LayerTable held_table = reduce(held, pinned, settings);
    Front front = empty_front();
    for (std::size_t l = first; l <= last; ++l)
      front = extend(front, l, l == layer ? held_table : by_key.at(layers_.layers[l].key), settings);
    front = closed(std::move(front), settings.weights);
    objectives.push_back(front.scalar[least(front.scalar)]);
  }
  return objectives;
}

RangeSolver::Front RangeSolver::empty_front() { return {{}, {0.0}, {Cost{}}, {0}, {0}}; }

RangeSolver::Front RangeSolver::extend(const Front& front, std::size_t layer, const LayerTable& table,
                                       const RangeSettings& settings) const {
  // All variables of the join: those open before, then the layer's new ones; each with its strides.
  struct Joined {
    OpenVariable variable;
    std::size_t front_stride = 0, table_stride = 0, next_stride = 0;
    std::vector<const std::vector<Cost>*> charges;
  };
  std::vector<Joined> joined;
  for (const OpenVariable& open : front.open)
    joined.push_back({{open.age + 1, open.rank, open.parameter, open.charged, open.size, open.departure}});
  std::size_t stride = 1;
  for (std::size_t k = joined.size(); k-- > 0; stride *= joined[k].variable.size) joined[k].front_stride = stride;
  const std::vector<InterfaceVariable>& variables = layers_.layers[layer].variables;
  std::vector<bool> stays(joined.size(), true);
  stride = 1;
  std::vector<std::size_t> table_strides(variables.size());
  for (std::size_t v = variables.size(); v-- > 0; stride *= table.sizes[v]) table_strides[v] = stride;
  for (std::size_t v = 0; v < variables.size(); ++v) {
    const InterfaceVariable& variable = variables[v];
    const std::size_t age = layer - variable.first_layer;
    auto found = std::find_if(joined.begin(), joined.end(), [&](const Joined& j) {
      return j.variable.age == age && j.variable.rank == variable.rank && j.variable.parameter == variable.parameter;
    });
    const bool fresh = found == joined.end();
    if (fresh) {
      joined.push_back({{age, variable.rank, variable.parameter, false, table.sizes[v],
                         variable.parameter || variable.incoming ? nullptr : &table.departure[v]}});
      stays.push_back(true);
      found = std::prev(joined.end());
    }
    found->table_stride = table_strides[v];
    const bool saved = settings.recompute == Recompute::full ? variable.incoming : variable.saved_here;
    if (variable.parameter ? fresh : saved && !found->variable.charged) {
      found->charges.push_back(&table.own[v]);
      found->variable.charged = true;
    }
    if (fresh && variable.incoming) found->charges.push_back(&table.arrival[v]);
    stays[static_cast<std::size_t>(found - joined.begin())] = variable.last_layer > layer;
  }
  Front next;
  std::size_t entries = 1;
  for (std::size_t k = joined.size(); k-- > 0;)
    if (stays[k]) {
      joined[k].next_stride = entries;
      entries *= joined[k].variable.size;
    }
  for (std::size_t k = 0; k < joined.size(); ++k)
    if (stays[k]) next.open.push_back(joined[k].variable);
  next.scalar.assign(entries, infinity);
  next.costs.resize(entries);
  next.previous.assign(entries, 0);
  next.table_entry.assign(entries, 0);
  // Own costs of the charged variables, as scalars.
  std::vector<std::vector<double>> charge(joined.size());
  for (std::size_t k = 0; k < joined.size(); ++k) {
    charge[k].assign(joined[k].variable.size, 0);
    for (const std::vector<Cost>* costs : joined[k].charges) add_scalars(charge[k], *costs, settings.weights);
  }
  std::vector<std::uint32_t> digits(joined.size(), 0);
  std::vector<std::size_t> best_position(entries, 0);  // in the odometer's order, to find the digits again
  std::size_t position = 0;
  std::size_t in_front = 0, in_table = 0, in_next = 0;
  while (true) {
    double scalar = front.scalar[in_front] + table.scalar[in_table];
    if (scalar < next.scalar[in_next]) {
      for (std::size_t k = 0; k < joined.size(); ++k) scalar += charge[k][digits[k]];
      if (scalar < next.scalar[in_next]) {
        next.scalar[in_next] = scalar;
        next.previous[in_next] = static_cast<std::uint32_t>(in_front);
        next.table_entry[in_next] = static_cast<std::uint32_t>(in_table);
        best_position[in_next] = position;
      }
    }
    ++position;
    std::size_t k = joined.size();
    while (k-- > 0) {
      in_front += joined[k].front_stride, in_table += joined[k].table_stride, in_next += joined[k].next_stride;
      if (++digits[k] < joined[k].variable.size) break;
      in_front -= digits[k] * joined[k].front_stride, in_table -= digits[k] * joined[k].table_stride;
      in_next -= digits[k] * joined[k].next_stride;
      digits[k] = 0;
    }
    if (k == SIZE_MAX) break;
  }
  for (std::size_t e = 0; e < entries; ++e) {
    if (next.scalar[e] == infinity) continue;
    next.costs[e] = add_layers(front.costs[next.previous[e]], table.costs[next.table_entry[e]]);
    std::size_t rest = best_position[e];
    for (std::size_t k = joined.size(); k-- > 0; rest /= joined[k].variable.size)
      for (const std::vector<Cost>* costs : joined[k].charges)
        next.costs[e] = add_layers(next.costs[e], (*costs)[rest % joined[k].variable.size]);
  }
  return next;
}

RangeSolver::Front RangeSolver::closed(Front front, const Weights& weights) {
  std::size_t stride = 1;
  for (std::size_t k = front.open.size(); k-- > 0; stride *= front.open[k].size) {
    const std::vector<Cost>* departure = front.open[k].departure;
    if (departure == nullptr) continue;
    std::vector<double> scalars(front.open[k].size, 0);
    add_scalars(scalars, *departure, weights);
    for (std::size_t e = 0; e < front.scalar.size(); ++e) {
      const std::size_t choice = e / stride % front.open[k].size;
      front.scalar[e] += scalars[choice];
      if (front.scalar[e] < infinity) front.costs[e] = add_layers(front.costs[e], (*departure)[choice]);
    }
  }
  return front;
}

std::vector<Cost> RangeSolver::solve(const RangeSettings& settings) {
  const std::map<std::uint32_t, LayerTable> by_key = tables(settings);
  std::vector<Front> fronts(classes_.classes.size());
  fronts[0] = empty_front();
  std::vector<Cost> result(classes_.classes.size());
  for (std::size_t c = 1; c < fronts.size(); ++c) {
    const RangeClasses::Class& range = classes_.classes[c];
    fronts[c] = extend(fronts[range.parent], range.last, by_key.at(layers_.layers[range.last].key), settings);
    const Front end = closed(fronts[c], settings.weights);
    const std::size_t entry = least(end.scalar);
    if (end.scalar[entry] < infinity)
      result[c] = end.costs[entry];
    else
      result[c].forward = impossible;
  }
  return result;
}

std::optional<RangeChoices> RangeSolver::choices(const RangeSettings& settings, std::size_t first, std::size_t last) {
  std::map<std::uint32_t, LayerTable> by_key;
  for (std::size_t l = first; l <= last; ++l)
    if (!by_key.contains(layers_.layers[l].key)) by_key.emplace(layers_.layers[l].key, table(l, settings));
  std::vector<Front> fronts{empty_front()};
  for (std::size_t l = first; l <= last; ++l)
    fronts.push_back(extend(fronts.back(), l, by_key.at(layers_.layers[l].key), settings));
  RangeChoices result(last - first + 1);
  const Front end = closed(fronts.back(), settings.weights);
  std::size_t entry = least(end.scalar);
  if (!(end.scalar[entry] < infinity)) return std::nullopt;
  for (std::size_t l = last + 1; l-- > first;) {
    const Front& front = fronts[l - first + 1];
    result[l - first] = by_key.at(layers_.layers[l].key).choices[front.table_entry[entry]];
    entry = front.previous[entry];
  }
  return result;
}

}  // namespace meshloom
