#include "planner/layer_elimination.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace meshloom {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double most_entries = 1 << 27;  // of one table; 1 GiB
// Beyond so many entries, dropping choices that a setting makes useless is worth its time, and the intra-op solver
// does that.
constexpr double most_entries_here = 3e7;

// least[j] = min over x of bases[x] + rows[x·stride + j]
void min_plus(const std::vector<double>& bases, const double* rows, std::size_t stride, std::size_t width,
              double* least) {
  constexpr std::size_t block = 8;  // stays in registers while x runs
  std::size_t j = 0;
  for (; j + block <= width; j += block) {
    double minima[block];
    std::fill_n(minima, block, infinity);
    const double* row = rows + j;
    for (const double base : bases) {
      for (std::size_t k = 0; k < block; ++k) minima[k] = std::min(minima[k], base + row[k]);
      row += stride;
    }
    std::copy_n(minima, block, least + j);
  }
  for (; j < width; ++j) {
    double minimum = infinity;
    for (std::size_t x = 0; x < bases.size(); ++x) minimum = std::min(minimum, bases[x] + rows[x * stride + j]);
    least[j] = minimum;
  }
}

}  // namespace

LayerElimination::LayerElimination(const LayerModel& model) : model_(&model) {
  for (std::size_t n = model.interior; n < model.nodes.size(); ++n)
    sizes_.push_back(static_cast<std::uint32_t>(model.nodes[n].choices.size()));
  find_order();
  if (largest_table_ > most_entries) throw std::length_error("layer: a table would exceed 2^27 entries");
  if (entries_ <= most_entries_here) lay_out();
}

// Greedily the node whose elimination touches the fewest entries; ties: the lowest node.
void LayerElimination::find_order() {
  const std::size_t count = model_->nodes.size();
  std::vector<std::vector<std::uint32_t>> neighbours(count);
  const auto connect = [&](std::uint32_t node, std::uint32_t other) {
    auto& known = neighbours[node];
    const auto place = std::lower_bound(known.begin(), known.end(), other);
    if (place == known.end() || *place != other) known.insert(place, other);
  };
  for (const ModelEdge& edge : model_->edges) connect(edge.a, edge.b), connect(edge.b, edge.a);
  const auto entries = [&](std::uint32_t node) {
    auto product = static_cast<double>(model_->nodes[node].choices.size());
    for (const std::uint32_t other : neighbours[node])
      product *= static_cast<double>(model_->nodes[other].choices.size());
    return product;
  };
  std::vector<std::uint32_t> open(model_->interior);
  std::iota(open.begin(), open.end(), 0U);
  while (!open.empty()) {
    auto next = open.begin();
    double least = entries(*next);
    for (auto node = open.begin() + 1; node != open.end(); ++node)
      if (const double cost = entries(*node); cost < least) next = node, least = cost;
    const std::uint32_t node = *next;
    open.erase(next);
    nodes_.push_back(node);
    entries_ += least;
    largest_table_ = std::max(largest_table_, least / static_cast<double>(model_->nodes[node].choices.size()));
    for (const std::uint32_t a : neighbours[node]) {
      std::erase(neighbours[a], node);
      for (const std::uint32_t b : neighbours[node])
        if (a != b) connect(a, b);
    }
  }
  for (std::uint32_t n = static_cast<std::uint32_t>(model_->interior); n < count; ++n) nodes_.push_back(n);
  variable_of_.resize(count);
  for (Variable variable = 0; variable < count; ++variable) variable_of_[nodes_[variable]] = variable;
}

std::size_t LayerElimination::size(Variable variable) const { return model_->nodes[nodes_[variable]].choices.size(); }

std::size_t LayerElimination::add_table(std::vector<Variable> scope) {
  Table table{std::move(scope), values_.size(), 1};
  for (const Variable variable : table.scope) table.entries *= size(variable);
  values_.resize(values_.size() + table.entries, 0);
  const std::size_t begin = table.begin;
  if (table.scope.size() == 1)
    own_[table.scope.front()] = std::move(table);
  else
    first_[table.scope.front()].push_back(std::move(table));
  return begin;
}

void LayerElimination::lay_out() {
  own_.resize(nodes_.size());
  first_.resize(nodes_.size());
  values_.push_back(0);  // what does not depend on the interface
  for (Variable variable = 0; variable < nodes_.size(); ++variable) add_table({variable});
  for (const ModelEdge& edge : model_->edges) {
    const auto [a, b] = std::minmax(variable_of_[edge.a], variable_of_[edge.b]);
    const auto known = [&, b = b](const Table& table) { return table.scope.back() == b; };
    if (std::none_of(first_[a].begin(), first_[a].end(), known)) add_table({a, b});
  }
  priced_ = values_.size();
  choose_amounts();
  for (const Recompute recompute : all_recomputes) {
    const std::size_t position = amounts_of_[static_cast<std::size_t>(recompute)];
    if (position < amounts_.size()) continue;
    Amounts& amounts = amounts_.emplace_back(Amounts{std::vector<double>(priced_, 0), std::vector<double>(priced_, 0)});
    for (Variable variable = 0; variable < model_->interior; ++variable) load_node(variable, recompute, amounts);
    for (const ModelEdge& edge : model_->edges) load_edge(edge, recompute, amounts);
  }
  for (Variable variable = 0; variable < model_->interior; ++variable) load_parameters(variable);
  for (Variable variable = 0; variable < model_->interior; ++variable) plan_step(variable);
}

void LayerElimination::choose_amounts() {
  const auto same = [&](std::size_t m, std::size_t other) {
    const auto equal = [&](const auto& each) { return each.parts[m] == each.parts[other]; };
    return std::all_of(model_->nodes.begin(), model_->nodes.end(), equal) &&
           std::all_of(model_->edges.begin(), model_->edges.end(), equal);
  };
  std::size_t count = 0;
  for (std::size_t m = 0; m < amounts_of_.size(); ++m) {
    std::size_t other = 0;
    while (other < m && !same(m, other)) ++other;
    amounts_of_[m] = other < m ? amounts_of_[other] : count++;
  }
}

void LayerElimination::load_node(Variable variable, Recompute recompute, Amounts& amounts) {
  const ModelNode& node = model_->nodes[nodes_[variable]];
  const RecomputePart& part = node.parts[static_cast<std::size_t>(recompute)];
  std::size_t value = own_[variable].begin;
  for (const Choice& choice : node.choices) {
    const bool possible = choice.forward < impossible;
    const Seconds repeated = part.runs == ForwardRuns::in_both ? choice.forward : Seconds(0);
    amounts.time[value] = possible ? (choice.forward + choice.backward + repeated).value() : infinity;
    if (part.saving == Saving::kept) amounts.saved[value] = choice.saved.value();
    ++value;
  }
}

void LayerElimination::load_parameters(Variable variable) {
  std::size_t value = own_[variable].begin;
  for (const Choice& choice : model_->nodes[nodes_[variable]].choices) {
    for (const ParameterChoices& parameter : choice.parameters) {
      ParameterPrices& prices = parameters_.emplace_back();
      prices.value = value;
      for (std::size_t state = 0; state < parameter.size(); ++state) {
        const ParameterCost& cost = parameter[state];
        prices.time[state] = (total_time(cost.forward) + total_time(cost.backward)).value();
        prices.per_step[state] = (total_time(cost.per_step) + cost.update).value();
        prices.fixed[state] = (cost.parameters + cost.gradients + cost.optimizer).value();
      }
    }
    ++value;
  }
}

void LayerElimination::load_edge(const ModelEdge& edge, Recompute recompute, Amounts& amounts) {
  const Variable a = variable_of_[edge.a], b = variable_of_[edge.b];
  const auto table = std::find_if(first_[std::min(a, b)].begin(), first_[std::min(a, b)].end(),
                                  [&](const Table& known) { return known.scope.back() == std::max(a, b); });
  const RecomputePart& part = edge.parts[static_cast<std::size_t>(recompute)];
  const std::size_t rows = size(a), columns = size(b);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t column = 0; column < columns; ++column) {
      const EdgeCost& cost = edge.costs[row * columns + column];
      const std::size_t value = table->begin + (a < b ? row * columns + column : column * rows + row);
      const Seconds repeated = part.runs == ForwardRuns::in_both ? cost.forward : Seconds(0);
      amounts.time[value] += cost.forward < impossible ? (cost.forward + cost.backward + repeated).value() : infinity;
      if (part.saving == Saving::kept) amounts.saved[value] += cost.saved.value();
    }
}

LayerElimination::Operand LayerElimination::operand(const Table& table, const std::vector<Variable>& outer) const {
  Operand result{table.begin, table.entries / size(table.scope.front()), {}};
  for (const Variable variable : outer) {
    const auto position = std::find(table.scope.begin() + 1, table.scope.end(), variable);
    std::size_t stride = 1;
    if (position != table.scope.end())
      for (auto behind = position + 1; behind != table.scope.end(); ++behind) stride *= size(*behind);
    result.strides.push_back(position == table.scope.end() ? 0 : stride);
  }
  return result;
}

void LayerElimination::plan_step(Variable variable) {
  std::vector<Variable> scope;
  for (const Table& table : first_[variable]) scope.insert(scope.end(), table.scope.begin() + 1, table.scope.end());
  std::sort(scope.begin(), scope.end());
  scope.erase(std::unique(scope.begin(), scope.end()), scope.end());
  Step step;
  step.variable = variable;
  if (!scope.empty()) {
    step.outer.assign(scope.begin(), scope.end() - 1);
    step.width = size(scope.back());
    for (const Table& table : first_[variable])
      (table.scope.back() == scope.back() ? step.wide : step.flat).push_back(operand(table, step.outer));
  }
  step.adds = scope.size() <= 1;
  step.result = scope.empty() ? 0 : scope.size() == 1 ? own_[scope.front()].begin : add_table(scope);
  steps_.push_back(std::move(step));
}

void LayerElimination::price(const RangeSettings& settings) {
  const double microbatches = settings.weights.microbatches, per_step = settings.weights.per_step,
               fixed = settings.weights.seconds_per_fixed_byte;
  const Amounts& amounts = amounts_[amounts_of_[static_cast<std::size_t>(settings.recompute)]];
  const double saved = settings.weights.seconds_per_activation_byte;
  for (std::size_t v = 0; v < priced_; ++v) values_[v] = microbatches * amounts.time[v] + saved * amounts.saved[v];
  const std::vector<ParameterState> states = settings.states.list();
  for (const ParameterPrices& parameter : parameters_) {
    double least = infinity;
    for (const ParameterState state : states) {
      const auto s = static_cast<std::size_t>(state);
      least = std::min(
          least, microbatches * parameter.time[s] + per_step * parameter.per_step[s] + fixed * parameter.fixed[s]);
    }
    values_[parameter.value] += least;
  }
}

void LayerElimination::run(const RangeSettings& settings, std::optional<Held> held) {
  if (entries_ > most_entries_here) return run_elsewhere(settings, held);
  price(settings);
  if (held) {
    const Table& own = own_[variable_of_[held->node]];
    for (std::size_t c = 0; c < own.entries; ++c)
      if (c != held->choice) values_[own.begin + c] = infinity;
  }
  for (const Step& step : steps_) eliminate(step);
  std::size_t entries = 1;
  for (const std::uint32_t choices : sizes_) entries *= choices;
  scalars_.assign(entries, values_.front());
  for (Variable variable = static_cast<Variable>(model_->interior); variable < nodes_.size(); ++variable) {
    add_to_result(own_[variable]);
    for (const Table& table : first_[variable]) add_to_result(table);
  }
}

// Walks the result row by row. Tables that have the result's last variable are added up into rows, the others into one
// base per choice of the eliminated variable.
void LayerElimination::eliminate(const Step& step) {
  const Table& own = own_[step.variable];
  std::vector<std::size_t> flat, wide, outer_sizes, position(step.outer.size(), 0);
  for (const Operand& operand : step.flat) flat.push_back(operand.begin);
  for (const Operand& operand : step.wide) wide.push_back(operand.begin);
  for (const Variable variable : step.outer) outer_sizes.push_back(size(variable));
  std::vector<double> added(step.adds ? step.width : 0);
  double* least = step.adds ? added.data() : &values_[step.result];
  do {
    bases_.assign(values_.begin() + static_cast<std::ptrdiff_t>(own.begin),
                  values_.begin() + static_cast<std::ptrdiff_t>(own.begin + own.entries));
    for (std::size_t t = 0; t < flat.size(); ++t)
      for (std::size_t x = 0; x < bases_.size(); ++x) bases_[x] += values_[flat[t] + x * step.flat[t].stride];
    if (wide.empty()) {
      *least = *std::min_element(bases_.begin(), bases_.end());
    } else if (wide.size() == 1) {
      min_plus(bases_, &values_[wide.front()], step.wide.front().stride, step.width, least);
    } else {
      sum_rows(step, wide);
      min_plus(bases_, sums_.data(), step.width, step.width, least);
    }
    least += step.width;
  } while (advance(step, outer_sizes, position, flat, wide));
  for (std::size_t j = 0; j < added.size(); ++j) values_[step.result + j] += added[j];
}

void LayerElimination::sum_rows(const Step& step, const std::vector<std::size_t>& wide) {
  const std::size_t count = size(step.variable);
  sums_.resize(count * step.width);
  for (std::size_t x = 0; x < count; ++x) {
    double* sum = &sums_[x * step.width];
    std::copy_n(&values_[wide.front() + x * step.wide.front().stride], step.width, sum);
    for (std::size_t table = 1; table < wide.size(); ++table) {
      const double* row = &values_[wide[table] + x * step.wide[table].stride];
      for (std::size_t j = 0; j < step.width; ++j) sum[j] += row[j];
    }
  }
}

// Steps to the next row of the result, the operands with it; false after the last.
bool LayerElimination::advance(const Step& step, const std::vector<std::size_t>& sizes,
                               std::vector<std::size_t>& position, std::vector<std::size_t>& flat,
                               std::vector<std::size_t>& wide) {
  for (std::size_t k = position.size(); k-- > 0;) {
    const bool wraps = ++position[k] == sizes[k];
    const auto move = [&](const std::vector<Operand>& operands, std::vector<std::size_t>& at) {
      for (std::size_t t = 0; t < at.size(); ++t) {
        at[t] += operands[t].strides[k];
        if (wraps) at[t] -= operands[t].strides[k] * sizes[k];
      }
    };
    move(step.flat, flat);
    move(step.wide, wide);
    if (!wraps) return true;
    position[k] = 0;
  }
  return false;
}

void LayerElimination::add_to_result(const Table& table) {
  const std::size_t interior = model_->interior;
  std::vector<std::size_t> strides(sizes_.size(), 0), position(sizes_.size(), 0);
  std::size_t stride = 1;
  for (auto variable = table.scope.rbegin(); variable != table.scope.rend(); ++variable) {
    strides[*variable - interior] = stride;
    stride *= size(*variable);
  }
  const std::size_t last = sizes_.size() - 1;
  std::size_t at = table.begin;
  for (double* row = scalars_.data(); row < scalars_.data() + scalars_.size(); row += sizes_[last]) {
    for (std::size_t j = 0; j < sizes_[last]; ++j) row[j] += values_[at + j * strides[last]];
    for (std::size_t k = last; k-- > 0;) {
      at += strides[k];
      if (++position[k] < sizes_[k]) break;
      at -= strides[k] * sizes_[k];
      position[k] = 0;
    }
  }
}

std::vector<std::uint32_t> LayerElimination::choices(std::size_t entry) const {
  if (!known_choices_.empty()) return known_choices_[entry];
  std::vector<std::uint32_t> result(nodes_.size()), assignment(nodes_.size());
  for (std::size_t variable = nodes_.size(); variable-- > model_->interior;) {
    assignment[variable] = static_cast<std::uint32_t>(entry % size(static_cast<Variable>(variable)));
    entry /= size(static_cast<Variable>(variable));
    result[nodes_[variable]] = assignment[variable];
  }
  std::vector<double> costs;
  for (std::size_t variable = model_->interior; variable-- > 0;) {
    const Table& own = own_[variable];
    costs.assign(values_.begin() + static_cast<std::ptrdiff_t>(own.begin),
                 values_.begin() + static_cast<std::ptrdiff_t>(own.begin + own.entries));
    for (const Table& table : first_[variable]) {
      std::size_t rest = 0;
      for (auto other = table.scope.begin() + 1; other != table.scope.end(); ++other)
        rest = rest * size(*other) + assignment[*other];
      const std::size_t stride = table.entries / own.entries;
      for (std::size_t x = 0; x < costs.size(); ++x) costs[x] += values_[table.begin + x * stride + rest];
    }
    assignment[variable] = static_cast<std::uint32_t>(std::min_element(costs.begin(), costs.end()) - costs.begin());
    result[nodes_[variable]] = assignment[variable];
  }
  return result;
}

void LayerElimination::run_elsewhere(const RangeSettings& settings, std::optional<Held> held) {
  IntraOpProblem problem = PricedLayer(*model_, settings).problem();
  if (held)
    for (std::size_t c = 0; c < problem.nodes[held->node].costs.size(); ++c)
      if (c != held->choice) problem.nodes[held->node].costs[c] = infinite_cost;
  std::vector<std::uint32_t> kept(sizes_.size());
  std::iota(kept.begin(), kept.end(), static_cast<std::uint32_t>(model_->interior));
  ReducedTable reduced = eliminate_all_but(problem, kept);
  known_choices_ = std::move(reduced.choices);
  scalars_.clear();
  for (std::size_t entry = 0; entry < reduced.costs.size(); ++entry) {
    bool possible = !known_choices_[entry].empty();
    // Costs of interface variables do not count there, but holding one rules the others out.
    if (possible && held && held->node >= model_->interior)
      possible = known_choices_[entry][held->node] == held->choice;
    scalars_.push_back(possible ? static_cast<double>(reduced.costs[entry]) * 1e-12 : infinity);
  }
}

}  // namespace meshloom
