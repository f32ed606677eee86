#include "planner/intra_op/pair_tables.hpp"

#include <numeric>

namespace meshloom::reductions {
namespace {

// The table of a pair is read through the eyes of one end: cost(own strategy, other's strategy).
struct View {
  std::uint32_t other;
  std::size_t own_stride, other_stride, other_size;
};

template <typename Cost>
View view(const ReducedProblem<Cost>& reduced, const PairTable<Cost>& pair, std::uint32_t node) {
  std::size_t columns = reduced.size(pair.b);
  if (pair.a == node) return {pair.b, columns, 1, columns};
  return {pair.a, 1, columns, reduced.size(pair.a)};
}

template <typename Cost>
void fold_if_single(ReducedProblem<Cost>& reduced, std::uint32_t node) {
  if (reduced.size(node) > 1) return;
  for (std::uint32_t position : reduced.pairs_of[node]) {
    PairTable<Cost>& pair = reduced.pairs[position];
    std::uint32_t other = view(reduced, pair, node).other;
    // With one strategy on one side the table is the other side's vector, whichever way it lies.
    for (std::size_t i = 0; i < pair.costs.size(); ++i)
      reduced.costs[other][i] = saturated(reduced.costs[other][i] + pair.costs[i]);
    pair.costs.clear();
    std::erase(reduced.pairs_of[other], position);
  }
  reduced.pairs_of[node].clear();
}

template <typename Cost>
void add_edge(const IntraOpEdge& edge, std::size_t rows, std::size_t columns, PairTable<Cost>& pair) {
  std::size_t row_stride = edge.a == pair.a ? columns : 1, column_stride = edge.a == pair.a ? 1 : rows;
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t column = 0; column < columns; ++column) {
      Cost& cost = pair.costs[row * columns + column];
      cost = saturated(cost + from_input<Cost>(edge.costs[row * row_stride + column * column_stride]));
    }
}

template <typename Cost>
void load_nodes(const IntraOpProblem& problem, const std::vector<bool>& is_kept, ReducedProblem<Cost>& reduced) {
  for (std::uint32_t node = 0; node < problem.nodes.size(); ++node) {
    const std::vector<std::int64_t>& input = problem.nodes[node].costs;
    std::vector<std::uint32_t>& strategies = reduced.strategies.emplace_back(input.size());
    std::iota(strategies.begin(), strategies.end(), 0);
    std::vector<Cost>& costs = reduced.costs.emplace_back(input.size(), Cost{0});
    if (!is_kept[node]) std::transform(input.begin(), input.end(), costs.begin(), from_input<Cost>);
  }
}

template <typename Cost>
void load_edges(const IntraOpProblem& problem, ReducedProblem<Cost>& reduced) {
  using Ends = std::pair<std::uint32_t, std::uint32_t>;
  std::vector<std::pair<Ends, std::uint32_t>> order;
  for (std::uint32_t i = 0; i < problem.edges.size(); ++i)
    order.emplace_back(std::minmax(problem.edges[i].a, problem.edges[i].b), i);
  std::sort(order.begin(), order.end());
  reduced.pairs_of.resize(problem.nodes.size());
  for (const auto& [ends, edge] : order) {
    auto [a, b] = ends;
    if (reduced.pairs.empty() || Ends{reduced.pairs.back().a, reduced.pairs.back().b} != ends) {
      for (std::uint32_t node : {a, b})
        reduced.pairs_of[node].push_back(static_cast<std::uint32_t>(reduced.pairs.size()));
      reduced.pairs.push_back({a, b, std::vector<Cost>(reduced.size(a) * reduced.size(b), Cost{0})});
    }
    add_edge(problem.edges[edge], reduced.size(a), reduced.size(b), reduced.pairs.back());
  }
}

template <typename Cost>
class StrategyDropping {
 public:
  StrategyDropping(const IntraOpProblem& problem, const std::vector<bool>& is_kept, ReducedProblem<Cost>& reduced)
      : problem_(problem), is_kept_(is_kept), reduced_(reduced) {}

  void run() {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::uint32_t node = 0; node < is_kept_.size(); ++node)
        if (!is_kept_[node] && reduced_.size(node) > 1) changed |= drop_at(node);
    }
  }

 private:
  // The rows of all tables at `node`, side by side: row k holds the costs of strategy k with each neighbour's strategy.
  struct Rows {
    std::size_t width = 0;
    std::vector<std::size_t> ends;  // of each neighbour's part of a row
    std::vector<Cost> costs;
    std::vector<Cost> part_minima;  // [strategy][neighbour]
    std::vector<Cost> totals;       // node cost plus the part minima
  };

  void gather_rows(std::uint32_t node) {
    rows_.ends.clear();
    rows_.width = 0;
    for (std::uint32_t position : reduced_.pairs_of[node])
      rows_.ends.push_back(rows_.width += view(reduced_, reduced_.pairs[position], node).other_size);
    std::size_t strategies = reduced_.size(node), parts = rows_.ends.size();
    rows_.costs.resize(strategies * rows_.width);
    rows_.part_minima.resize(strategies * parts);
    rows_.totals = reduced_.costs[node];
    for (std::size_t part = 0; part < parts; ++part) {
      const PairTable<Cost>& pair = reduced_.pairs[reduced_.pairs_of[node][part]];
      View seen = view(reduced_, pair, node);
      for (std::size_t own = 0; own < strategies; ++own) {
        Cost* row = &rows_.costs[own * rows_.width + rows_.ends[part] - seen.other_size];
        Cost least = infinite<Cost>;
        for (std::size_t k = 0; k < seen.other_size; ++k) {
          row[k] = pair.costs[own * seen.own_stride + k * seen.other_stride];
          least = std::min(least, row[k]);
        }
        rows_.part_minima[own * parts + part] = least;
        rows_.totals[own] = saturated(rows_.totals[own] + least);
      }
    }
  }

  bool never_better(std::size_t b, std::size_t a) const {
    // Σ_parts max_j(a_j − b_j) ≤ cost_b − cost_a, measured from the minima so that every part only takes from the gap.
    Cost gap = rows_.totals[b] - rows_.totals[a];
    Cost needed = a < b ? Cost{0} : Cost{1};  // costs are whole numbers: 1 is strictly better
    std::size_t parts = rows_.ends.size(), begin = 0;
    for (std::size_t part = 0; part < parts && gap >= needed; ++part) {
      Cost shift = rows_.part_minima[a * parts + part] - rows_.part_minima[b * parts + part];
      const Cost *row_a = &rows_.costs[a * rows_.width], *row_b = &rows_.costs[b * rows_.width];
      Cost excess = 0;
      for (std::size_t j = begin; j < rows_.ends[part]; ++j) {
        if (row_b[j] >= infinite<Cost>) continue;
        if (row_a[j] >= infinite<Cost>) return false;
        excess = std::max(excess, row_a[j] - row_b[j] - shift);
      }
      gap -= excess;
      begin = rows_.ends[part];
    }
    return gap >= needed;
  }

  // Under a limit a strategy is only replaced by one that uses no more.
  bool may_replace(std::uint32_t node, std::size_t b, std::size_t a) const {
    const std::vector<std::int64_t>& usages = problem_.nodes[node].usages;
    if (!problem_.usage_limit || usages.empty()) return true;
    return usages[reduced_.strategies[node][a]] <= usages[reduced_.strategies[node][b]];
  }

  bool drop_at(std::uint32_t node) {
    gather_rows(node);
    std::size_t strategies = reduced_.size(node);
    // Only what is forbidden with every strategy of a neighbour, and what some better one replaces, goes.
    drop_.assign(strategies, false);
    for (std::size_t b = 0; b < strategies; ++b) drop_[b] = rows_.totals[b] >= infinite<Cost>;
    for (std::size_t b = 0; b < strategies; ++b)
      for (std::size_t a = 0; a < strategies && !drop_[b]; ++a)
        if (a != b && !drop_[a] && rows_.totals[a] <= rows_.totals[b] && may_replace(node, b, a))
          drop_[b] = never_better(b, a);
    if (std::find(drop_.begin(), drop_.end(), false) == drop_.end()) forbid_all_but_first(node);
    if (std::find(drop_.begin(), drop_.end(), true) == drop_.end()) return false;
    compact(node);
    fold_if_single(reduced_, node);
    return true;
  }

  void forbid_all_but_first(std::uint32_t node) {
    drop_.front() = false;
    reduced_.costs[node].front() = infinite<Cost>;
  }

  void compact(std::uint32_t node) {
    for (std::uint32_t position : reduced_.pairs_of[node]) {
      PairTable<Cost>& pair = reduced_.pairs[position];
      std::size_t rows = reduced_.size(pair.a), columns = reduced_.size(pair.b), next = 0;
      for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t column = 0; column < columns; ++column)
          if (!drop_[pair.a == node ? row : column]) pair.costs[next++] = pair.costs[row * columns + column];
      pair.costs.resize(next);
    }
    std::size_t next = 0;
    for (std::size_t k = 0; k < drop_.size(); ++k) {
      if (drop_[k]) continue;
      reduced_.strategies[node][next] = reduced_.strategies[node][k];
      reduced_.costs[node][next++] = reduced_.costs[node][k];
    }
    reduced_.strategies[node].resize(next);
    reduced_.costs[node].resize(next);
  }

  const IntraOpProblem& problem_;
  const std::vector<bool>& is_kept_;
  ReducedProblem<Cost>& reduced_;
  Rows rows_;
  std::vector<bool> drop_;
};

}  // namespace

template <typename Cost>
ReducedProblem<Cost> merge_edges(const IntraOpProblem& problem, const std::vector<bool>& is_kept) {
  ReducedProblem<Cost> reduced;
  load_nodes(problem, is_kept, reduced);
  load_edges(problem, reduced);
  for (std::uint32_t node = 0; node < is_kept.size(); ++node) fold_if_single(reduced, node);
  return reduced;
}

template <typename Cost>
void drop_strategies(const IntraOpProblem& problem, const std::vector<bool>& is_kept, ReducedProblem<Cost>& reduced) {
  StrategyDropping<Cost>(problem, is_kept, reduced).run();
}

template ReducedProblem<double> merge_edges(const IntraOpProblem&, const std::vector<bool>&);
template ReducedProblem<std::int64_t> merge_edges(const IntraOpProblem&, const std::vector<bool>&);
template void drop_strategies(const IntraOpProblem&, const std::vector<bool>&, ReducedProblem<double>&);
template void drop_strategies(const IntraOpProblem&, const std::vector<bool>&, ReducedProblem<std::int64_t>&);

}  // namespace meshloom::reductions
