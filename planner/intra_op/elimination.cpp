#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <stdexcept>
#include <tuple>

#include "planner/intra_op/pair_tables.hpp"
#include "planner/intra_op/problem.hpp"

namespace meshloom {
namespace {

using namespace reductions;

constexpr double most_entries = 1 << 27;  // of one table; 1 GiB

// Variables are nodes renumbered in the order of elimination, kept ones last as the caller ordered them. A table's
// scope ascends, so the variable that is eliminated first is always a table's major-most, and the last one is
// contiguous.
using Variable = std::uint32_t;

template <typename Cost>
struct Table {
  std::vector<Variable> scope;
  std::vector<Cost> costs;  // row-major
};

// Dropping strategies first is worth its time when eliminations touch more entries than this, and so many times those
// of the problem itself: long chains of narrow tables touch many, and dropping would only add to that.
constexpr double worth_dropping = 1e7, worth_dropping_times = 50;

struct Order {
  std::vector<std::uint32_t> nodes;
  double entries = 0;        // that all eliminations touch
  double largest_table = 1;  // entries
};

// Greedily the node whose elimination touches the fewest entries; ties: the lowest node.
template <typename Cost>
Order elimination_order(const ReducedProblem<Cost>& problem, const std::vector<bool>& is_kept) {
  std::size_t nodes = is_kept.size();
  std::vector<std::vector<std::uint32_t>> neighbours(nodes);
  for (const PairTable<Cost>& pair : problem.pairs) {
    if (pair.costs.empty()) continue;
    neighbours[pair.a].push_back(pair.b);
    neighbours[pair.b].push_back(pair.a);
  }
  auto entries = [&](std::uint32_t node) {
    double product = static_cast<double>(problem.size(node));
    for (std::uint32_t other : neighbours[node]) product *= static_cast<double>(problem.size(other));
    return product;
  };
  using Candidate = std::pair<double, std::uint32_t>;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  std::vector<double> current(nodes);
  for (std::uint32_t node = 0; node < nodes; ++node) {
    std::sort(neighbours[node].begin(), neighbours[node].end());
    if (!is_kept[node]) queue.emplace(current[node] = entries(node), node);
  }
  std::vector<bool> done = is_kept;
  Order order;
  std::vector<std::uint32_t> joined;
  while (!queue.empty()) {
    auto [cost, node] = queue.top();
    queue.pop();
    if (done[node] || cost != current[node]) continue;  // outdated: a newer entry is in the queue
    done[node] = true;
    order.nodes.push_back(node);
    order.entries += cost;
    order.largest_table = std::max(order.largest_table, cost / static_cast<double>(problem.size(node)));
    for (std::uint32_t neighbour : neighbours[node]) {
      joined.clear();
      std::set_union(neighbours[node].begin(), neighbours[node].end(), neighbours[neighbour].begin(),
                     neighbours[neighbour].end(), std::back_inserter(joined));
      std::erase_if(joined, [&](std::uint32_t other) { return other == node || other == neighbour; });
      std::swap(neighbours[neighbour], joined);
      if (!is_kept[neighbour]) queue.emplace(current[neighbour] = entries(neighbour), neighbour);
    }
  }
  return order;
}

template <typename Cost>
double pair_entries(const ReducedProblem<Cost>& problem) {
  double entries = 0;
  for (const PairTable<Cost>& pair : problem.pairs) entries += static_cast<double>(pair.costs.size());
  return entries;
}

// least[j] = min over x of bases[x] + rows[x·stride + j]
template <typename Cost>
void min_plus(const std::vector<Cost>& bases, const Cost* rows, std::size_t stride, std::size_t width, Cost* least) {
  constexpr std::size_t block = 8;  // stays in registers while x runs
  std::size_t j = 0;
  for (; j + block <= width; j += block) {
    Cost minima[block];
    std::fill_n(minima, block, infinite<Cost>);
    const Cost* row = rows + j;
    for (Cost base : bases) {
      for (std::size_t k = 0; k < block; ++k) minima[k] = std::min(minima[k], base + row[k]);
      row += stride;
    }
    std::copy_n(minima, block, least + j);
  }
  for (; j < width; ++j) {
    Cost minimum = infinite<Cost>;
    for (std::size_t x = 0; x < bases.size(); ++x) minimum = std::min(minimum, bases[x] + rows[x * stride + j]);
    least[j] = minimum;
  }
}

template <typename Cost>
class Elimination {
 public:
  Elimination(const IntraOpProblem& problem, const std::vector<std::uint32_t>& kept) : kept_(kept) {
    std::vector<bool> is_kept(problem.nodes.size(), false);
    for (std::uint32_t node : kept) is_kept[node] = true;
    ReducedProblem<Cost> reduced = merge_edges<Cost>(problem, is_kept);
    Order order = elimination_order(reduced, is_kept);
    if (order.entries > std::max(worth_dropping, worth_dropping_times * pair_entries(reduced))) {
      drop_strategies(problem, is_kept, reduced);
      order = elimination_order(reduced, is_kept);
    }
    too_wide_ = order.largest_table > most_entries;
    if (too_wide_) return;
    nodes_ = std::move(order.nodes);
    eliminated_ = static_cast<Variable>(nodes_.size());
    nodes_.insert(nodes_.end(), kept.begin(), kept.end());
    load(reduced);
    for (Variable variable = 0; variable < eliminated_; ++variable) eliminate(variable);
  }

  bool too_wide() const { return too_wide_; }

  std::size_t kept_entries() const {
    std::size_t entries = 1;
    for (Variable variable = eliminated_; variable < sizes_.size(); ++variable) entries *= sizes_[variable];
    return entries;
  }

  // Least cost of everything but the kept nodes' own costs, when these are assigned as entry `entry` says.
  Cost cost(std::size_t entry) {
    assign_kept(entry);
    Cost sum = constant_;
    for (Variable variable = eliminated_; variable < sizes_.size(); ++variable)
      sum = saturated(sum + cost_at(variable, assignment_[variable]));
    return sum;
  }

  // The choices behind `cost(entry)`; it must be finite. Each variable takes the lowest of its best strategies.
  std::vector<std::uint32_t> choices(std::size_t entry) {
    assign_kept(entry);
    std::vector<std::uint32_t> result(nodes_.size());
    for (Variable variable = static_cast<Variable>(sizes_.size()); variable-- > 0;) {
      if (variable < eliminated_) assignment_[variable] = best_strategy(variable);
      result[nodes_[variable]] = strategies_[variable][assignment_[variable]];
    }
    return result;
  }

 private:
  void load(ReducedProblem<Cost>& reduced) {
    std::vector<Variable> variable_of(nodes_.size());
    for (Variable variable = 0; variable < nodes_.size(); ++variable) {
      std::uint32_t node = nodes_[variable];
      variable_of[node] = variable;
      sizes_.push_back(static_cast<std::uint32_t>(reduced.size(node)));
      strategies_.push_back(std::move(reduced.strategies[node]));
      unary_.push_back(std::move(reduced.costs[node]));
    }
    buckets_.resize(nodes_.size());
    scopes_.resize(nodes_.size());
    best_.resize(nodes_.size());
    assignment_.resize(nodes_.size());
    for (PairTable<Cost>& pair : reduced.pairs) {
      if (pair.costs.empty()) continue;
      Variable a = variable_of[pair.a], b = variable_of[pair.b];
      if (a < b)
        buckets_[a].push_back({{a, b}, std::move(pair.costs)});
      else
        buckets_[b].push_back({{b, a}, transposed(pair.costs, sizes_[a], sizes_[b])});
    }
  }

  static std::vector<Cost> transposed(const std::vector<Cost>& costs, std::size_t rows, std::size_t columns) {
    std::vector<Cost> result(costs.size());
    for (std::size_t row = 0; row < rows; ++row)
      for (std::size_t column = 0; column < columns; ++column)
        result[column * rows + row] = costs[row * columns + column];
    return result;
  }

  std::size_t entries_of(const std::vector<Variable>& scope) const {
    std::size_t entries = 1;
    for (Variable variable : scope) entries *= sizes_[variable];
    return entries;
  }

  std::vector<Variable> neighbours_of(Variable variable) const {
    std::vector<Variable> result;
    for (const Table<Cost>& table : buckets_[variable])
      result.insert(result.end(), table.scope.begin() + 1, table.scope.end());
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
  }

  // A table at the eliminated variable as the loop over the result sees it.
  struct Operand {
    const Cost* costs;
    std::size_t stride;                // of the eliminated variable
    std::vector<std::size_t> strides;  // of each outer variable of the result; 0: not in the table
  };

  Operand operand(const Table<Cost>& table, const std::vector<Variable>& outer) const {
    Operand result{table.costs.data(), table.costs.size() / sizes_[table.scope.front()], {}};
    for (Variable variable : outer) {
      std::size_t stride = result.stride;
      auto position = std::find(table.scope.begin() + 1, table.scope.end(), variable);
      for (auto before = table.scope.begin() + 1; before != table.scope.end() && before <= position; ++before)
        stride /= sizes_[*before];
      result.strides.push_back(position == table.scope.end() ? 0 : stride);
    }
    return result;
  }

  void eliminate(Variable variable) {
    scopes_[variable] = neighbours_of(variable);
    const std::vector<Variable>& scope = scopes_[variable];
    if (scope.empty()) {
      constant_ = saturated(constant_ + *std::min_element(unary_[variable].begin(), unary_[variable].end()));
      return;
    }
    Table<Cost> result{scope, std::vector<Cost>(entries_of(scope))};
    fill(variable, result);
    if (scope.size() > 1) return buckets_[scope.front()].push_back(std::move(result));
    std::vector<Cost>& unary = unary_[scope.front()];
    for (std::size_t i = 0; i < unary.size(); ++i) unary[i] = saturated(unary[i] + result.costs[i]);
  }

  // Walks the result row by row. Tables that have the result's last variable are added up into rows, the others into
  // one base per strategy of the eliminated variable.
  void fill(Variable variable, Table<Cost>& result) {
    std::vector<Variable> outer(result.scope.begin(), result.scope.end() - 1);
    std::vector<Operand> flat, wide;
    for (const Table<Cost>& table : buckets_[variable])
      (table.scope.back() == result.scope.back() ? wide : flat).push_back(operand(table, outer));
    std::size_t width = sizes_[result.scope.back()], size = sizes_[variable];
    std::vector<Cost> bases, sums(wide.size() > 1 ? size * width : 0);
    std::vector<std::uint32_t> position(outer.size(), 0);
    for (Cost* least = result.costs.data();; least += width) {
      bases = unary_[variable];
      for (const Operand& table : flat)
        for (std::size_t x = 0; x < size; ++x) bases[x] = saturated(bases[x] + table.costs[x * table.stride]);
      if (wide.size() > 1) {
        add_rows(wide, size, width, sums);
        min_plus(bases, sums.data(), width, width, least);
      } else {
        min_plus(bases, wide.front().costs, wide.front().stride, width, least);
      }
      if (!advance(outer, position, flat, wide)) return;
    }
  }

  static void add_rows(const std::vector<Operand>& wide, std::size_t size, std::size_t width, std::vector<Cost>& sums) {
    for (std::size_t x = 0; x < size; ++x) {
      Cost* sum = &sums[x * width];
      std::copy_n(wide.front().costs + x * wide.front().stride, width, sum);
      for (std::size_t table = 1; table < wide.size(); ++table) {
        const Cost* row = wide[table].costs + x * wide[table].stride;
        for (std::size_t j = 0; j < width; ++j) sum[j] = saturated(sum[j] + row[j]);
      }
    }
  }

  // Steps to the next row of the result, the operands with it; false after the last.
  bool advance(const std::vector<Variable>& outer, std::vector<std::uint32_t>& position, std::vector<Operand>& flat,
               std::vector<Operand>& wide) const {
    for (std::size_t k = outer.size(); k-- > 0;) {
      bool wraps = ++position[k] == sizes_[outer[k]];
      for (std::vector<Operand>* operands : {&flat, &wide})
        for (Operand& table : *operands) {
          table.costs += table.strides[k];
          if (wraps) table.costs -= table.strides[k] * sizes_[outer[k]];
        }
      if (!wraps) return true;
      position[k] = 0;
    }
    return false;
  }

  void assign_kept(std::size_t entry) {
    for (Variable variable = static_cast<Variable>(sizes_.size()); variable-- > eliminated_;) {
      assignment_[variable] = static_cast<std::uint32_t>(entry % sizes_[variable]);
      entry /= sizes_[variable];
    }
  }

  // What the variable's own costs and the tables that begin with it say, given the assignment of the later ones.
  Cost cost_at(Variable variable, std::uint32_t strategy) const {
    Cost sum = unary_[variable][strategy];
    for (const Table<Cost>& table : buckets_[variable]) {
      std::size_t index = strategy;
      for (auto other = table.scope.begin() + 1; other != table.scope.end(); ++other)
        index = index * sizes_[*other] + assignment_[*other];
      sum = saturated(sum + table.costs[index]);
    }
    return sum;
  }

  // Looked up again for every entry that agrees on the variable's neighbours.
  std::uint32_t best_strategy(Variable variable) {
    if (sizes_[variable] == 1) return 0;
    std::vector<std::uint32_t>& known = best_[variable];
    if (known.empty()) known.assign(entries_of(scopes_[variable]), 0);
    std::size_t index = 0;
    for (Variable other : scopes_[variable]) index = index * sizes_[other] + assignment_[other];
    if (known[index] == 0) {
      std::uint32_t best = 0;
      for (std::uint32_t strategy = 1; strategy < sizes_[variable]; ++strategy)
        if (cost_at(variable, strategy) < cost_at(variable, best)) best = strategy;
      known[index] = best + 1;
    }
    return known[index] - 1;
  }

  std::vector<std::uint32_t> kept_;
  bool too_wide_ = false;
  Variable eliminated_ = 0;                             // the variables below it are eliminated, the others kept
  std::vector<std::uint32_t> nodes_;                    // by variable
  std::vector<std::uint32_t> sizes_;                    // by variable
  std::vector<std::vector<std::uint32_t>> strategies_;  // by variable: original numbers
  std::vector<std::vector<Cost>> unary_;                // by variable
  std::vector<std::vector<Table<Cost>>> buckets_;       // by the first variable of their scope
  std::vector<std::vector<Variable>> scopes_;           // by variable: on what its best strategy depends
  std::vector<std::vector<std::uint32_t>> best_;  // by variable and assignment of its scope: strategy + 1; 0: not yet
  std::vector<std::uint32_t> assignment_;         // by variable
  Cost constant_ = 0;
};

// Doubles are exact while every sum of finite costs stays below 2^53.
bool fits_double(const IntraOpProblem& problem) {
  constexpr std::int64_t limit = std::int64_t{1} << 53;
  std::int64_t sum = 0;
  auto add_largest = [&](const std::vector<std::int64_t>& costs) {
    std::int64_t largest = 0;
    for (std::int64_t cost : costs) largest = std::max(largest, cost >= infinite_cost ? 0 : cost);
    sum = std::min(limit, sum + std::min(limit, largest));
  };
  for (const IntraOpNode& node : problem.nodes) add_largest(node.costs);
  for (const IntraOpEdge& edge : problem.edges) add_largest(edge.costs);
  return sum < limit;
}

bool limit_can_bind(const IntraOpProblem& problem) {
  if (!problem.usage_limit) return false;
  std::vector<std::uint32_t> largest;
  for (const IntraOpNode& node : problem.nodes)
    largest.push_back(static_cast<std::uint32_t>(
        node.usages.empty() ? 0 : std::max_element(node.usages.begin(), node.usages.end()) - node.usages.begin()));
  return peak_usage(problem, largest) > *problem.usage_limit;
}

template <typename Cost>
ReducedTable reduced_table(const IntraOpProblem& problem, const std::vector<std::uint32_t>& kept) {
  Elimination<Cost> elimination(problem, kept);
  if (elimination.too_wide()) throw std::length_error("elimination: a table would exceed 2^27 entries");
  ReducedTable table{kept, {}, {}, {}};
  for (std::uint32_t node : kept) table.sizes.push_back(static_cast<std::uint32_t>(problem.nodes[node].costs.size()));
  std::size_t entries = elimination.kept_entries();
  table.costs.reserve(entries);
  table.choices.resize(entries);
  for (std::size_t entry = 0; entry < entries; ++entry) {
    Cost cost = elimination.cost(entry);
    bool is_finite = cost < infinite<Cost>;
    table.costs.push_back(is_finite ? static_cast<std::int64_t>(cost) : infinite_cost);
    if (is_finite) table.choices[entry] = elimination.choices(entry);
  }
  return table;
}

template <typename Cost>
IntraOpSolution least_cost(const IntraOpProblem& problem) {
  Elimination<Cost> elimination(problem, {});
  IntraOpSolution solution;
  if (elimination.too_wide()) {
    solution.status = SolveStatus::time_limit;
    return solution;
  }
  if (elimination.cost(0) >= infinite<Cost>) return solution;
  solution.status = SolveStatus::optimal;
  solution.choices = elimination.choices(0);
  solution.objective = solution.lower_bound = cost_of(problem, solution.choices);
  return solution;
}

}  // namespace

IntraOpSolution solve_by_elimination(const IntraOpProblem& problem) {
  if (limit_can_bind(problem)) throw std::logic_error("elimination does not know usage limits, and this one can bind");
  return fits_double(problem) ? least_cost<double>(problem) : least_cost<std::int64_t>(problem);
}

ReducedTable eliminate_all_but(const IntraOpProblem& problem, const std::vector<std::uint32_t>& kept) {
  return fits_double(problem) ? reduced_table<double>(problem, kept) : reduced_table<std::int64_t>(problem, kept);
}

}  // namespace meshloom
