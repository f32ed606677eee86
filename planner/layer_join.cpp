#include "planner/layer_join.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace meshloom {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

void add_scalars(std::vector<double>& scalars, const std::vector<Cost>& costs, const Weights& weights) {
  for (std::size_t c = 0; c < scalars.size(); ++c)
    scalars[c] += costs[c].forward < impossible ? weighted(costs[c], weights) : infinity;
}

// All variables of a join: those open before, then the layer's new ones. Strides are 0 in a table that lacks the
// variable.
struct Joined {
  OpenVariable variable;
  bool stays = true;
  std::size_t front_stride = 0, table_stride = 0, next_stride = 0;
  std::vector<const std::vector<Cost>*> charges;  // by choice
  std::vector<double> scalars;                    // of the charges, by choice
};

class Join {
 public:
  Join(const Front& front, const LayerTable& table, const RangeSettings& settings)
      : front_(front), table_(table), settings_(settings) {
    for (const OpenVariable& open : front.open) {
      joined_.push_back({open});
      ++joined_.back().variable.age;
    }
    std::size_t stride = 1;
    for (std::size_t k = joined_.size(); k-- > 0; stride *= joined_[k].variable.size) joined_[k].front_stride = stride;
  }

  void add_layer(std::size_t layer, const std::vector<InterfaceVariable>& variables) {
    std::size_t stride = 1;
    std::vector<std::size_t> strides(variables.size());
    for (std::size_t v = variables.size(); v-- > 0; stride *= table_.sizes[v]) strides[v] = stride;
    for (std::size_t v = 0; v < variables.size(); ++v) {
      bool fresh = false;
      Joined& joined = find(variables[v], layer, v, fresh);
      joined.table_stride = strides[v];
      joined.stays = variables[v].last_layer > layer;
      charge(joined, variables[v], v, fresh);
    }
  }

  Front run() {
    Front next = empty_next();
    std::vector<std::size_t> best_position(next.scalar.size(), 0);  // in the odometer's order, to find the digits again
    scan(next, best_position);
    for (std::size_t e = 0; e < next.scalar.size(); ++e) {
      if (next.scalar[e] == infinity) continue;
      next.costs[e] = add_layers(front_.costs[next.previous[e]], table_.costs[next.table_entry[e]]);
      std::size_t rest = best_position[e];
      for (std::size_t k = joined_.size(); k-- > 0; rest /= joined_[k].variable.size)
        for (const std::vector<Cost>* costs : joined_[k].charges)
          next.costs[e] = add_layers(next.costs[e], (*costs)[rest % joined_[k].variable.size]);
    }
    return next;
  }

 private:
  Joined& find(const InterfaceVariable& variable, std::size_t layer, std::size_t position, bool& fresh) {
    const std::size_t age = layer - variable.first_layer;
    for (Joined& joined : joined_)
      if (joined.variable.age == age && joined.variable.rank == variable.rank &&
          joined.variable.parameter == variable.parameter)
        return joined;
    fresh = true;
    const bool made_here = !variable.parameter && !variable.incoming;
    joined_.push_back({{age, variable.rank, variable.parameter, false, table_.sizes[position],
                        made_here ? &table_.departure[position] : nullptr}});
    return joined_.back();
  }

  // A parameter costs where it first appears, an activation where it is first saved or arrives from another stage.
  void charge(Joined& joined, const InterfaceVariable& variable, std::size_t position, bool fresh) {
    const bool saved = settings_.recompute == Recompute::full ? variable.incoming : variable.saved_here;
    if (variable.parameter ? fresh : saved && !joined.variable.charged) {
      joined.charges.push_back(&table_.own[position]);
      joined.variable.charged = true;
    }
    if (fresh && variable.incoming) joined.charges.push_back(&table_.arrival[position]);
  }

  Front empty_next() {
    Front next;
    std::size_t entries = 1;
    for (std::size_t k = joined_.size(); k-- > 0;)
      if (joined_[k].stays) {
        joined_[k].next_stride = entries;
        entries *= joined_[k].variable.size;
      }
    for (Joined& joined : joined_) {
      if (joined.stays) next.open.push_back(joined.variable);
      joined.scalars.assign(joined.variable.size, 0);
      for (const std::vector<Cost>* costs : joined.charges) add_scalars(joined.scalars, *costs, settings_.weights);
    }
    next.scalar.assign(entries, infinity);
    next.costs.resize(entries);
    next.previous.assign(entries, 0);
    next.table_entry.assign(entries, 0);
    return next;
  }

  // All assignments in the order of an odometer, whose last digit runs in the innermost loop; ties go to the first.
  void scan(Front& next, std::vector<std::size_t>& best_position) const {
    const Joined none{};
    const Joined& last = joined_.empty() ? none : joined_.back();
    const std::size_t count = joined_.empty() ? 1 : last.variable.size,
                      outer = joined_.empty() ? 0 : joined_.size() - 1;
    std::vector<std::uint32_t> digits(outer, 0);
    std::size_t in_front = 0, in_table = 0, in_next = 0;
    for (std::size_t position = 0;; position += count) {
      double charged = 0;
      for (std::size_t k = 0; k < outer; ++k) charged += joined_[k].scalars[digits[k]];
      for (std::size_t d = 0; d < count; ++d) {
        const std::size_t f = in_front + d * last.front_stride, t = in_table + d * last.table_stride;
        const std::size_t n = in_next + d * last.next_stride;
        double scalar = front_.scalar[f] + table_.scalar[t] + charged;
        if (!(scalar < next.scalar[n])) continue;
        if (!joined_.empty()) scalar += last.scalars[d];
        if (!(scalar < next.scalar[n])) continue;
        next.scalar[n] = scalar;
        next.previous[n] = static_cast<std::uint32_t>(f);
        next.table_entry[n] = static_cast<std::uint32_t>(t);
        best_position[n] = position + d;
      }
      std::size_t k = outer;
      while (k-- > 0) {
        const Joined& joined = joined_[k];
        in_front += joined.front_stride, in_table += joined.table_stride, in_next += joined.next_stride;
        if (++digits[k] < joined.variable.size) break;
        in_front -= digits[k] * joined.front_stride, in_table -= digits[k] * joined.table_stride;
        in_next -= digits[k] * joined.next_stride;
        digits[k] = 0;
      }
      if (k == SIZE_MAX) return;
    }
  }

  const Front& front_;
  const LayerTable& table_;
  const RangeSettings& settings_;
  std::vector<Joined> joined_;
};

// Sums of the same terms in another order differ by rounding.
bool same(double a, double b, double size) { return std::abs(a - b) <= 1e-12 * size; }

bool same_variable(const OpenVariable& a, const OpenVariable& b) {
  return a.rank == b.rank && a.parameter == b.parameter && a.charged == b.charged && a.size == b.size &&
         a.departure == b.departure && (a.age == b.age || a.age + 1 == b.age);
}

// Variables that only grow older must stay out of the layer's reach however often it is joined.
bool is_reached(const OpenVariable& open, std::size_t layer, const std::vector<InterfaceVariable>& variables) {
  return std::any_of(variables.begin(), variables.end(), [&](const InterfaceVariable& variable) {
    return variable.rank == open.rank && variable.parameter == open.parameter &&
           layer - variable.first_layer >= open.age;
  });
}

Cost difference(const Cost& a, const Cost& b) {
  return {a.forward - b.forward,
          a.backward - b.backward,
          a.synchronization - b.synchronization,
          a.update - b.update,
          a.fixed - b.fixed,
          a.activations - b.activations,
          a.recomputed - b.recomputed,
          a.working - b.working,
          a.gathered - b.gathered,
          a.shared_gradients - b.shared_gradients};
}

bool same_cost(const Cost& a, const Cost& b, const Cost& size) {
  return same(a.forward.value(), b.forward.value(), size.forward.value()) &&
         same(a.backward.value(), b.backward.value(), size.backward.value()) &&
         same(a.synchronization.value(), b.synchronization.value(), size.synchronization.value()) &&
         same(a.update.value(), b.update.value(), size.update.value()) &&
         same(a.fixed.value(), b.fixed.value(), size.fixed.value()) &&
         same(a.activations.value(), b.activations.value(), size.activations.value()) &&
         same(a.gathered.value(), b.gathered.value(), size.gathered.value()) &&
         same(a.shared_gradients.value(), b.shared_gradients.value(), size.shared_gradients.value());
}

// Largest layers do not add up: they grow once and then stay.
bool maxima_stay(const Cost& growth) { return growth.recomputed == Bytes(0) && growth.working == Bytes(0); }

std::optional<Growth> growth_of(const Front& before, const Front& after, std::size_t layer,
                                const std::vector<InterfaceVariable>& variables) {
  if (before.open.size() != after.open.size()) return std::nullopt;
  Growth growth;
  for (std::size_t k = 0; k < after.open.size(); ++k) {
    if (!same_variable(before.open[k], after.open[k])) return std::nullopt;
    growth.age.push_back(after.open[k].age - before.open[k].age);
    if (growth.age.back() > 0 && is_reached(after.open[k], layer, variables)) return std::nullopt;
  }
  bool any = false;
  for (std::size_t e = 0; e < after.scalar.size(); ++e) {
    if ((before.scalar[e] < infinity) != (after.scalar[e] < infinity)) return std::nullopt;
    if (!(after.scalar[e] < infinity)) continue;
    const double scalar = after.scalar[e] - before.scalar[e];
    const Cost cost = difference(after.costs[e], before.costs[e]);
    if (!any) growth.scalar = scalar, growth.cost = cost;
    any = true;
    if (!maxima_stay(cost) || !same(scalar, growth.scalar, after.scalar[e]) ||
        !same_cost(cost, growth.cost, after.costs[e]))
      return std::nullopt;
  }
  return growth;
}

}  // namespace

Front empty_front() { return {{}, {0.0}, {Cost{}}, {0}, {0}, {}}; }

Front join(const Front& front, std::size_t layer, const std::vector<InterfaceVariable>& variables,
           const LayerTable& table, const RangeSettings& settings) {
  Join joining(front, table, settings);
  joining.add_layer(layer, variables);
  Front next = joining.run();
  next.growth = growth_of(front, next, layer, variables);
  return next;
}

Cost grown(const Cost& cost, const Growth& growth, std::size_t times) {
  const double count = static_cast<double>(times);
  const Cost& one = growth.cost;
  return add_within_layer(cost, {one.forward * count,
                                 one.backward * count,
                                 one.synchronization * count,
                                 one.update * count,
                                 one.fixed * count,
                                 one.activations * count,
                                 {},
                                 {},
                                 one.gathered * count,
                                 one.shared_gradients * count});
}

Front grown(Front front, std::size_t times) {
  if (times == 0) return front;
  const Cost more = grown(Cost{}, *front.growth, times);
  for (std::size_t e = 0; e < front.scalar.size(); ++e) {
    if (!(front.scalar[e] < infinity)) continue;
    front.scalar[e] += front.growth->scalar * static_cast<double>(times);
    front.costs[e] = add_within_layer(front.costs[e], more);
  }
  for (std::size_t k = 0; k < front.open.size(); ++k) front.open[k].age += times * front.growth->age[k];
  return front;
}

Front closed(Front front, const Weights& weights) {
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

}  // namespace meshloom
