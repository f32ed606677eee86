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

class Join {
 public:
  Join(const Front& before, const LayerTable& table, const RangeSettings& settings)
      : before_(before), table_(table), settings_(settings) {
    std::size_t stride = 1;
    for (const OpenVariable& open : before.open) joined_.emplace_back().variable = open;
    for (std::size_t k = joined_.size(); k-- > 0; stride *= joined_[k].variable.size) joined_[k].front_stride = stride;
  }

  void add_layer(const Matches& matches, std::size_t layer, const std::vector<InterfaceVariable>& variables) {
    std::size_t stride = 1;
    std::vector<std::size_t> strides(variables.size());
    for (std::size_t v = variables.size(); v-- > 0; stride *= table_.sizes[v]) strides[v] = stride;
    for (std::size_t v = 0; v < variables.size(); ++v) {
      JoinedVariable& joined = matches[v] ? joined_[*matches[v]] : opened(variables[v], v);
      joined.of_layer = v;
      joined.table_stride = strides[v];
      joined.stays = variables[v].last_layer > layer;
      charge(joined, variables[v], v, !matches[v]);
    }
  }

  Front run() {
    Front next;
    std::size_t entries = 1;
    for (std::size_t k = joined_.size(); k-- > 0;)
      if (joined_[k].stays) {
        joined_[k].next_stride = entries;
        entries *= joined_[k].variable.size;
      }
    for (JoinedVariable& joined : joined_) {
      if (joined.stays) next.open.push_back(joined.variable);
      joined.scalars.assign(joined.variable.size, 0);
      for (const std::vector<Cost>* costs : joined.charges) add_scalars(joined.scalars, *costs, settings_.weights);
    }
    next.scalar.assign(entries, infinity);
    scan(next.scalar);
    next.joined = std::move(joined_);
    next.before = &before_;
    next.table = &table_;
    return next;
  }

 private:
  JoinedVariable& opened(const InterfaceVariable& variable, std::size_t position) {
    const bool made_here = !variable.parameter && !variable.incoming;
    joined_.emplace_back().variable = {variable.rank, variable.parameter, false, table_.sizes[position],
                                       made_here ? &table_.departure[position] : nullptr};
    return joined_.back();
  }

  // A parameter costs where it first appears, an activation where it is first saved or arrives from another stage.
  void charge(JoinedVariable& joined, const InterfaceVariable& variable, std::size_t position, bool fresh) {
    const bool saved = variable.saved[static_cast<std::size_t>(settings_.recompute)];
    if (variable.parameter ? fresh : saved && !joined.variable.charged) {
      joined.charges.push_back(&table_.own[position]);
      joined.variable.charged = true;
    }
    if (fresh && variable.incoming) joined.charges.push_back(&table_.arrival[position]);
  }

  // All assignments in the order of an odometer, whose last digit runs in the innermost loop.
  void scan(std::vector<double>& next) const {
    if (joined_.empty()) {
      next.front() = before_.scalar.front() + table_.scalar.front();
      return;
    }
    const std::size_t outer = joined_.size() - 1;
    std::vector<std::uint32_t> digits(outer, 0);
    std::size_t in_front = 0, in_table = 0, in_next = 0;
    while (true) {
      double charged = 0;
      for (std::size_t k = 0; k < outer; ++k) charged += joined_[k].scalars[digits[k]];
      scan_last(&before_.scalar[in_front], &table_.scalar[in_table], charged, &next[in_next]);
      std::size_t k = outer;
      while (k-- > 0) {
        const JoinedVariable& joined = joined_[k];
        in_front += joined.front_stride, in_table += joined.table_stride, in_next += joined.next_stride;
        if (++digits[k] < joined.variable.size) break;
        in_front -= digits[k] * joined.front_stride, in_table -= digits[k] * joined.table_stride;
        in_next -= digits[k] * joined.next_stride;
        digits[k] = 0;
      }
      if (k == SIZE_MAX) return;
    }
  }

  void scan_last(const double* front, const double* table, double charged, double* next) const {
    const JoinedVariable& last = joined_.back();
    const std::size_t size = last.variable.size, f = last.front_stride, t = last.table_stride;
    const double* scalars = last.scalars.data();
    if (!last.stays) {
      double least = infinity;
      for (std::size_t d = 0; d < size; ++d) least = std::min(least, front[d * f] + table[d * t] + scalars[d]);
      *next = std::min(*next, least + charged);
    } else if (f == 0 && t == 1) {
      const double base = front[0] + charged;
      for (std::size_t d = 0; d < size; ++d) next[d] = std::min(next[d], base + table[d] + scalars[d]);
    } else {
      for (std::size_t d = 0; d < size; ++d)
        next[d] = std::min(next[d], front[d * f] + table[d * t] + scalars[d] + charged);
    }
  }

  const Front& before_;
  const LayerTable& table_;
  const RangeSettings& settings_;
  std::vector<JoinedVariable> joined_;
};

// Sums of the same terms in another order differ by rounding.
bool same(double a, double b, double size) { return std::abs(a - b) <= 1e-12 * size; }

}  // namespace

Front empty_front() { return {{}, {0.0}, {}, nullptr, nullptr}; }

Matches matches_of(const Front& front, const Ages& ages, std::size_t layer,
                   const std::vector<InterfaceVariable>& variables) {
  Matches result(variables.size());
  for (std::size_t v = 0; v < variables.size(); ++v)
    for (std::size_t k = 0; k < front.open.size() && !result[v]; ++k)
      if (ages[k] + 1 == layer - variables[v].first_layer && front.open[k].rank == variables[v].rank &&
          front.open[k].parameter == variables[v].parameter)
        result[v] = k;
  return result;
}

Front join(const Front& before, const Matches& matches, std::size_t layer,
           const std::vector<InterfaceVariable>& variables, const LayerTable& table, const RangeSettings& settings) {
  Join joining(before, table, settings);
  joining.add_layer(matches, layer, variables);
  return joining.run();
}

Ages ages_after(const Front& joined, const Ages& before, std::size_t layer,
                const std::vector<InterfaceVariable>& variables) {
  Ages result;
  for (std::size_t k = 0; k < joined.joined.size(); ++k)
    if (joined.joined[k].stays)
      result.push_back(k < before.size() ? before[k] + 1 : layer - variables[*joined.joined[k].of_layer].first_layer);
  return result;
}

bool only_adds_a_constant(const Front& front) {
  const Front& before = *front.before;
  if (before.open != front.open) return false;
  std::optional<double> constant;
  for (std::size_t e = 0; e < front.scalar.size(); ++e) {
    if ((before.scalar[e] < infinity) != (front.scalar[e] < infinity)) return false;
    if (!(front.scalar[e] < infinity)) continue;
    const double difference = front.scalar[e] - before.scalar[e];
    if (constant && !same(difference, *constant, front.scalar[e])) return false;
    if (!constant) constant = difference;
  }
  return true;
}

EntryOrigin origin_of(const Front& front, std::size_t entry) {
  const std::vector<JoinedVariable>& joined = front.joined;
  std::vector<std::uint32_t> digits(joined.size(), 0), best;
  for (std::size_t k = 0; k < joined.size(); ++k)
    if (joined[k].stays)
      digits[k] = static_cast<std::uint32_t>(entry / joined[k].next_stride % joined[k].variable.size);
  double least = infinity;
  EntryOrigin origin;
  while (true) {
    std::size_t in_front = 0, in_table = 0;
    double scalar = 0;
    for (std::size_t k = 0; k < joined.size(); ++k) {
      in_front += digits[k] * joined[k].front_stride, in_table += digits[k] * joined[k].table_stride;
      scalar += joined[k].scalars[digits[k]];
    }
    scalar += front.before->scalar[in_front] + front.table->scalar[in_table];
    if (scalar < least) {
      least = scalar;
      best = digits;
      origin.previous = in_front, origin.table_entry = in_table;
    }
    std::size_t k = joined.size();
    while (k-- > 0) {
      if (joined[k].stays) continue;
      if (++digits[k] < joined[k].variable.size) break;
      digits[k] = 0;
    }
    if (k == SIZE_MAX) break;
  }
  for (std::size_t k = 0; k < best.size(); ++k)
    for (const std::vector<Cost>* costs : joined[k].charges)
      origin.charged = add_layers(origin.charged, (*costs)[best[k]]);
  return origin;
}

std::optional<std::size_t> best_end(const Front& front, const Weights& weights) {
  std::vector<double> ends = front.scalar;
  std::size_t stride = 1;
  for (std::size_t k = front.open.size(); k-- > 0; stride *= front.open[k].size) {
    if (front.open[k].departure == nullptr) continue;
    std::vector<double> scalars(front.open[k].size, 0);
    add_scalars(scalars, *front.open[k].departure, weights);
    for (double* block = ends.data(); block < ends.data() + ends.size();)
      for (const double leaving : scalars)
        for (const double* next = block + stride; block < next; ++block) *block += leaving;
  }
  const auto least = std::min_element(ends.begin(), ends.end());
  if (!(*least < infinity)) return std::nullopt;
  return static_cast<std::size_t>(least - ends.begin());
}

Cost with_departures(const Front& front, std::size_t entry, Cost cost) {
  for (std::size_t k = front.open.size(); k-- > 0; entry /= front.open[k].size)
    if (front.open[k].departure != nullptr)
      cost = add_layers(cost, (*front.open[k].departure)[entry % front.open[k].size]);
  return cost;
}

}  // namespace meshloom
