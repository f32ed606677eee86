#include "planner/range_solver.hpp"

#include <algorithm>
#include <deque>
#include <limits>

namespace meshloom {

// A layer under settings. What an entry costs and its choices are found when asked for.
class RangeSolver::SolvedLayer {
 public:
  // `elimination` has run under the settings.
  SolvedLayer(const LayerModel& model, const LayerElimination& elimination, const std::vector<BorderCosts>& borders,
              const RangeSettings& settings)
      : model_(model), elimination_(elimination), settings_(settings) {
    table_.sizes = elimination.sizes();
    table_.scalar = elimination.scalars();
    for (std::size_t v = 0; v < borders.size(); ++v) {
      const ModelNode& node = model.nodes[model.interior + v];
      table_.own.emplace_back();
      for (std::uint32_t choice = 0; choice < node.choices.size(); ++choice)
        table_.own.back().push_back(cost_of_variable(node, choice, settings));
      table_.arrival.push_back(borders[v].arrival);
      table_.departure.push_back(borders[v].departure);
    }
  }

  const LayerTable& table() const { return table_; }
  const std::vector<std::uint32_t>& choices(std::size_t entry) { return entry_of(entry).choices; }
  const Cost& cost(std::size_t entry) { return entry_of(entry).cost; }

 private:
  struct Entry {
    std::size_t entry;
    std::vector<std::uint32_t> choices;
    Cost cost;
  };

  const Entry& entry_of(std::size_t entry) {
    for (const Entry& known : known_)
      if (known.entry == entry) return known;
    std::vector<std::uint32_t> choices = elimination_.choices(entry);
    const Cost cost = cost_of_choices(model_, settings_, choices);
    return known_.emplace_back(Entry{entry, std::move(choices), cost});
  }

  const LayerModel& model_;
  const LayerElimination& elimination_;
  const RangeSettings& settings_;
  LayerTable table_;
  std::deque<Entry> known_;
};

// Ranges under one setting. Ranges that differ only in how many equal layers they have share their fronts.
class RangeSolver::Sweep {
 public:
  struct Range {
    std::size_t front = 0;
    Ages ages;
    std::size_t parent = 0;                           // the range without its last layer
    std::vector<std::pair<std::size_t, Cost>> known;  // entries and what they cost
  };

  Sweep(RangeSolver& solver, const RangeSettings& settings) : solver_(solver), settings_(settings), ranges_(1) {
    add_front(empty_front(), nullptr);
  }

  // Instead of the layer's own table.
  void replace(std::size_t layer, SolvedLayer& solved) {
    replaced_ = layer;
    replacement_ = &solved;
  }

  // Ranges are numbered as they are made; 0 is the empty one.
  std::size_t extended(std::size_t parent, std::size_t layer) {
    const std::vector<InterfaceVariable>& variables = solver_.layers_.layers[layer].variables;
    const Front& front = fronts_[ranges_[parent].front].front;
    const Matches matches = matches_of(front, ranges_[parent].ages, layer, variables);
    const std::size_t next = child(ranges_[parent].front, layer, matches);
    ranges_.push_back({next, ages_after(fronts_[next].front, ranges_[parent].ages, layer, variables), parent, {}});
    return ranges_.size() - 1;
  }

  Cost best_cost(std::size_t range) {
    Known& known = fronts_[ranges_[range].front];
    if (known.best) return with_departures(known.front, *known.best, cost(range, *known.best));
    Cost cost;
    cost.forward = impossible;
    return cost;
  }

  std::optional<RangeChoices> best_choices(std::size_t range) {
    const std::optional<std::size_t> best = fronts_[ranges_[range].front].best;
    if (!best) return std::nullopt;
    RangeChoices result;
    for (std::size_t entry = *best; range != 0; range = ranges_[range].parent) {
      Known& known = fronts_[ranges_[range].front];
      const Origin& origin = origin_in(known, entry);
      result.push_back(known.solved->choices(origin.table_entry));
      entry = origin.previous;
    }
    std::reverse(result.begin(), result.end());
    return result;
  }

 private:
  struct Origin {
    std::size_t entry, previous, table_entry;
    Cost cost;  // of the last layer
  };
  struct Child {
    std::uint32_t key;
    bool replaced;
    Matches matches;
    std::size_t front;
  };
  struct Known {
    Front front;
    SolvedLayer* solved;  // the layer joined last
    std::optional<std::size_t> best;
    std::vector<Child> children;
    std::deque<Origin> origins;
  };

  std::size_t add_front(Front front, SolvedLayer* solved) {
    const std::optional<std::size_t> best = best_end(front, settings_.weights);
    fronts_.push_back({std::move(front), solved, best, {}, {}});
    return fronts_.size() - 1;
  }

  SolvedLayer& solved(std::size_t layer) {
    std::unique_ptr<SolvedLayer>& known = solved_[solver_.layers_.layers[layer].key];
    if (!known) {
      Structure& structure = solver_.structure(layer);
      structure.elimination.run(settings_);
      known =
          std::make_unique<SolvedLayer>(structure.thinned.model, structure.elimination, structure.borders, settings_);
    }
    return *known;
  }

  std::size_t child(std::size_t front, std::size_t layer, const Matches& matches) {
    const std::uint32_t key = solver_.layers_.layers[layer].key;
    const bool replaced = replacement_ != nullptr && layer == replaced_;
    for (const Child& known : fronts_[front].children)
      if (known.key == key && known.replaced == replaced && known.matches == matches) return known.front;
    SolvedLayer& behind = replaced ? *replacement_ : solved(layer);
    const std::size_t next = add_front(
        join(fronts_[front].front, matches, layer, solver_.layers_.layers[layer].variables, behind.table(), settings_),
        &behind);
    fronts_[front].children.push_back({key, replaced, matches, next});
    if (only_adds_a_constant(fronts_[next].front)) fronts_[next].children.push_back({key, replaced, matches, next});
    return next;
  }

  const Origin& origin_in(Known& known, std::size_t entry) {
    for (const Origin& origin : known.origins)
      if (origin.entry == entry) return origin;
    const EntryOrigin origin = origin_of(known.front, entry);
    return known.origins.emplace_back(Origin{entry, origin.previous, origin.table_entry,
                                             add_layers(known.solved->cost(origin.table_entry), origin.charged)});
  }

  Cost cost(std::size_t range, std::size_t entry) {
    if (range == 0) return {};
    for (const auto& [known, cost] : ranges_[range].known)
      if (known == entry) return cost;
    const Origin& origin = origin_in(fronts_[ranges_[range].front], entry);
    const Cost result = add_layers(cost(ranges_[range].parent, origin.previous), origin.cost);
    ranges_[range].known.emplace_back(entry, result);
    return result;
  }

  RangeSolver& solver_;
  const RangeSettings& settings_;
  std::map<std::uint32_t, std::unique_ptr<SolvedLayer>> solved_;  // by layer key
  std::size_t replaced_ = 0;
  SolvedLayer* replacement_ = nullptr;
  std::deque<Known> fronts_;
  std::vector<Range> ranges_;
};

RangeSolver::RangeSolver(const ModelContext& context, const PlanningLayers& layers, const RangeClasses& classes)
    : context_(context), layers_(layers), classes_(classes) {}

RangeSolver::Structure& RangeSolver::structure(std::size_t layer) {
  std::unique_ptr<Structure>& known = structures_[layers_.layers[layer].key];
  if (!known) {
    known = std::make_unique<Structure>(without_dominated(full_model(layer)));
    known->borders = borders_of(known->thinned.model);
  }
  return *known;
}

LayerModel RangeSolver::full_model(std::size_t layer) const {
  return build_layer_model(context_, layers_.layers[layer]);
}

std::vector<BorderCosts> RangeSolver::borders_of(const LayerModel& model) const {
  std::vector<BorderCosts> borders;
  for (std::size_t n = model.interior; n < model.nodes.size(); ++n)
    borders.push_back(border_costs(context_, model.nodes[n]));
  return borders;
}

std::vector<Cost> RangeSolver::costs_by_choice(const RangeSettings& settings, std::size_t first, std::size_t last,
                                               std::size_t layer, std::uint32_t node) {
  const LayerModel held = full_model(layer);
  LayerElimination elimination(held);
  const std::vector<BorderCosts> borders = borders_of(held);
  std::vector<Cost> costs;
  for (std::uint32_t choice = 0; choice < held.nodes[node].choices.size(); ++choice) {
    elimination.run(settings, LayerElimination::Held{node, choice});
    SolvedLayer solved(held, elimination, borders, settings);
    Sweep sweep(*this, settings);
    sweep.replace(layer, solved);
    std::size_t range = 0;
    for (std::size_t l = first; l <= last; ++l) range = sweep.extended(range, l);
    costs.push_back(sweep.best_cost(range));
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
  Sweep sweep(*this, settings);
  std::vector<std::size_t> ranges(classes_.classes.size(), 0);
  std::vector<Cost> result(classes_.classes.size());
  for (std::size_t c = 1; c < ranges.size(); ++c) {
    result[c].forward = impossible;
    if (!needed[c]) continue;
    const RangeClasses::Class& range = classes_.classes[c];
    ranges[c] = sweep.extended(ranges[range.parent], range.last);
    if (wanted[c]) result[c] = sweep.best_cost(ranges[c]);
  }
  return result;
}

std::optional<RangeChoices> RangeSolver::choices(const RangeSettings& settings, std::size_t first, std::size_t last) {
  Sweep sweep(*this, settings);
  std::size_t range = 0;
  for (std::size_t l = first; l <= last; ++l) range = sweep.extended(range, l);
  return sweep.best_choices(range);
}

}  // namespace meshloom
