#include "planner/intra_op/label_elimination.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace meshloom::intra_op {
namespace {

using LabelIndex = std::uint32_t;
constexpr LabelIndex nothing = 0;  // the label of no choice at all
constexpr std::size_t values_per_label = 8;
constexpr std::size_t steps_between_looks = 1'000'000;  // at the clock

struct Label {
  std::int64_t excess = 0;                       // over the dual's bound, in its units
  std::int64_t cost = 0;                         // finite
  LabelIndex first = nothing, second = nothing;  // what it is made of
  NodeIndex node = 0;                            // where `chooses`
  std::uint32_t choice = 0;
  std::uint32_t usage = 0;  // its place; at 0 all are 0
  bool chooses = false;
};

struct Row {
  std::uint64_t key = 0;           // the assignment of the scope
  std::vector<LabelIndex> labels;  // none is worse than another in everything
};

struct Table {
  std::vector<NodeIndex> scope;  // ascending
  std::vector<Row> rows;         // ascending keys
};

class Elimination {
 public:
  Elimination(const WorkingProblem& problem, const Reparametrisation& dual, const LabelEliminationOptions& options)
      : problem_(problem),
        dual_(dual),
        options_(options),
        periods_(problem.slack.size()),
        rank_(problem.nodes.size()),
        tables_(problem.nodes.size()) {
    // Excesses from 2^60 are not told apart: where the cutoff is that far away, a nearer one serves.
    cutoff_ = std::min(options.cutoff, problem.constant + ((dual.bound + (TotalCost{1} << 60)) >> dual.shift));
    const TotalCost room = ((cutoff_ - problem.constant) << dual.shift) - dual.bound;
    room_ = static_cast<std::int64_t>(std::max<TotalCost>(room, 0));
    labels_.emplace_back();
    usage_.assign(periods_, 0);
  }

  LabelEliminationAnswer run() {
    LabelEliminationAnswer answer;
    if (too_large_for_keys()) return answer;
    const std::optional<std::vector<NodeIndex>> order = narrow_order();
    if (!order) return answer;
    for (std::size_t step = 0; step < order->size(); ++step) rank_[(*order)[step]] = step;
    for (std::size_t p = 0; p < problem_.pairs.size() && !gave_up(); ++p) hold(table_of_pair(p));
    Table whole{{}, {{0, {nothing}}}};
    for (const NodeIndex node : *order) {
      Table result = eliminate(node);
      if (gave_up()) return answer;
      if (result.scope.empty())
        whole = joined(whole, result, std::nullopt);
      else
        hold(std::move(result));
      if (gave_up()) return answer;
    }
    answer.complete = true;
    answer.lower_bound = cutoff_;
    if (!whole.rows.empty()) read(whole.rows.front().labels, answer);
    return answer;
  }

  std::uint64_t effort() const { return labels_.size(); }

 private:
  bool gave_up() {
    if (values_per_label * (labels_.size() + sums_.size()) + usage_.size() + sum_usage_.size() > options_.most_values)
      stopped_ = true;
    return stopped_;
  }

  // Looks at the clock now and then.
  bool gave_up_after(std::size_t steps) {
    steps_ += steps;
    if (steps_ > steps_between_looks) {
      steps_ = 0;
      if (options_.out_of_time && options_.out_of_time()) stopped_ = true;
    }
    return gave_up();
  }

  static constexpr int bits_per_node = 12;
  bool too_large_for_keys() const {
    return std::any_of(problem_.nodes.begin(), problem_.nodes.end(),
                       [](const WorkingNode& node) { return node.costs.size() >= (1U << bits_per_node); });
  }
  static constexpr std::size_t widest = 64 / bits_per_node;  // nodes of a scope

  static std::uint64_t value_at(std::uint64_t key, std::size_t position) {
    return key >> (position * bits_per_node) & ((1U << bits_per_node) - 1);
  }

  const std::int64_t* usage(LabelIndex label) const { return usage_.data() + labels_[label].usage * periods_; }

  LabelIndex add(const Label& label) {
    labels_.push_back(label);
    return static_cast<LabelIndex>(labels_.size() - 1);
  }

  // With a place for its usage, which is copied from `amounts`.
  LabelIndex add(Label label, const std::int64_t* amounts) {
    if (periods_ == 0) return add(label);
    label.usage = static_cast<std::uint32_t>(usage_.size() / periods_);
    usage_.insert(usage_.end(), amounts, amounts + periods_);
    return add(label);
  }

  Table table_of_pair(std::size_t p) {
    const WorkingPair& pair = problem_.pairs[p];
    Table table{{pair.a, pair.b}, {}};
    const std::size_t columns = problem_.size(pair.b);
    for (std::size_t l = 0; l < columns; ++l)
      for (std::size_t k = 0; k < problem_.size(pair.a); ++k) {
        const std::size_t entry = k * columns + l;
        if (pair.costs[entry] >= infinite_cost || dual_.pairs[p][entry] >= room_) continue;
        Label label;
        label.excess = dual_.pairs[p][entry];
        label.cost = pair.costs[entry];
        table.rows.push_back({std::uint64_t{k} | std::uint64_t{l} << bits_per_node, {add(label)}});
      }
    gave_up_after(pair.costs.size());
    return table;
  }

  Table table_of_node(NodeIndex node) {
    const WorkingNode& state = problem_.nodes[node];
    Table table{{node}, {}};
    for (std::uint32_t k = 0; k < state.costs.size(); ++k) {
      if (dual_.nodes[node][k] >= room_) continue;
      Label label;
      label.excess = dual_.nodes[node][k];
      label.cost = state.costs[k];
      label.node = node;
      label.choice = k;
      label.chooses = true;
      std::vector<std::int64_t> amounts(periods_, 0);
      for (std::size_t i = 0; i < state.usage.spans.size(); ++i)
        std::fill(amounts.begin() + state.usage.spans[i].begin, amounts.begin() + state.usage.spans[i].end,
                  state.usage.of(i)[k]);
      table.rows.push_back({k, {state.usage.empty() ? add(label) : add(label, amounts.data())}});
    }
    return table;
  }

  // Greedily the node whose elimination touches the fewest entries; none when some table would have too wide a scope.
  std::optional<std::vector<NodeIndex>> narrow_order() const {
    std::vector<std::set<NodeIndex>> neighbours(problem_.nodes.size());
    for (const WorkingPair& pair : problem_.pairs) {
      neighbours[pair.a].insert(pair.b);
      neighbours[pair.b].insert(pair.a);
    }
    const auto work = [&](NodeIndex node) {
      double entries = static_cast<double>(problem_.size(node));
      for (const NodeIndex other : neighbours[node]) entries *= static_cast<double>(problem_.size(other));
      return entries;
    };
    std::set<std::pair<double, NodeIndex>> queue;
    std::vector<double> queued(problem_.nodes.size());
    for (NodeIndex node = 0; node < queued.size(); ++node) queue.emplace(queued[node] = work(node), node);
    std::vector<NodeIndex> order;
    while (!queue.empty()) {
      const NodeIndex node = queue.begin()->second;
      queue.erase(queue.begin());
      order.push_back(node);
      if (neighbours[node].size() >= widest) return std::nullopt;
      for (const NodeIndex one : neighbours[node]) {
        neighbours[one].erase(node);
        for (const NodeIndex other : neighbours[node])
          if (other != one) neighbours[one].insert(other);
      }
      for (const NodeIndex one : neighbours[node]) {
        queue.erase({queued[one], one});
        queue.emplace(queued[one] = work(one), one);
      }
    }
    return order;
  }

  // At the node of its scope that goes first.
  void hold(Table table) {
    const NodeIndex first = *std::min_element(table.scope.begin(), table.scope.end(),
                                              [&](NodeIndex a, NodeIndex b) { return rank_[a] < rank_[b]; });
    tables_[first].push_back(std::move(table));
  }

  Table eliminate(NodeIndex node) {
    Table joint = table_of_node(node);
    std::vector<Table> with = std::move(tables_[node]);
    std::stable_sort(with.begin(), with.end(),
                     [](const Table& a, const Table& b) { return a.rows.size() < b.rows.size(); });
    if (with.empty()) return joined(joint, Table{{}, {{0, {nothing}}}}, node);
    for (std::size_t i = 0; i + 1 < with.size() && !gave_up(); ++i) joint = joined(joint, with[i], std::nullopt);
    return gave_up() ? Table{} : joined(joint, with.back(), node);
  }

  // Rows that agree on the shared nodes, label by label; `dropped` is minimised out at once, so that only the labels
  // that stay are made.
  Table joined(const Table& a, const Table& b, std::optional<NodeIndex> dropped) {
    Table result;
    std::set_union(a.scope.begin(), a.scope.end(), b.scope.begin(), b.scope.end(), std::back_inserter(result.scope));
    if (dropped) std::erase(result.scope, *dropped);
    if (result.scope.size() > widest) {
      stopped_ = true;
      return {};
    }
    const std::vector<Match> all = matches(a, b, result.scope);
    for (std::size_t first = 0, next = 0; first < all.size(); first = next) {
      sums_.clear();
      sum_usage_.clear();
      for (; next < all.size() && all[next].key == all[first].key && !stopped_; ++next)
        add_sums(a.rows[all[next].row_a].labels, b.rows[all[next].row_b].labels);
      if (sums_.size() > 1) keep_undominated_sums();
      if (stopped_) return {};
      if (!sums_.empty()) result.rows.push_back({all[first].key, labels_of_sums()});
    }
    return result;
  }

  struct Match {
    std::uint64_t key;  // of the result
    std::size_t row_a, row_b;
  };

  // Ascending keys.
  std::vector<Match> matches(const Table& a, const Table& b, const std::vector<NodeIndex>& scope) const {
    std::vector<NodeIndex> shared;
    std::set_intersection(a.scope.begin(), a.scope.end(), b.scope.begin(), b.scope.end(), std::back_inserter(shared));
    std::vector<std::pair<std::uint64_t, std::size_t>> index;
    for (std::size_t row = 0; row < b.rows.size(); ++row) index.emplace_back(projected(b, row, shared), row);
    std::sort(index.begin(), index.end());
    std::vector<Match> result;
    for (std::size_t row = 0; row < a.rows.size(); ++row) {
      const std::uint64_t key = projected(a, row, shared);
      for (auto match = std::lower_bound(index.begin(), index.end(), std::pair{key, std::size_t{0}});
           match != index.end() && match->first == key; ++match)
        result.push_back({merged_key(a, row, b, match->second, scope), row, match->second});
    }
    std::stable_sort(result.begin(), result.end(), [](const Match& x, const Match& y) { return x.key < y.key; });
    return result;
  }

  static std::uint64_t projected(const Table& table, std::size_t row, const std::vector<NodeIndex>& onto) {
    std::uint64_t key = 0;
    std::size_t position = 0;
    for (std::size_t i = 0; i < table.scope.size(); ++i)
      if (position < onto.size() && table.scope[i] == onto[position])
        key |= value_at(table.rows[row].key, i) << (position++ * bits_per_node);
    return key;
  }

  static std::uint64_t merged_key(const Table& a, std::size_t row_a, const Table& b, std::size_t row_b,
                                  const std::vector<NodeIndex>& scope) {
    std::uint64_t key = 0;
    for (const auto& [table, row] : {std::pair{&a, row_a}, std::pair{&b, row_b}})
      for (std::size_t i = 0; i < table->scope.size(); ++i) {
        const auto position = std::lower_bound(scope.begin(), scope.end(), table->scope[i]) - scope.begin();
        if (static_cast<std::size_t>(position) == scope.size() || scope[position] != table->scope[i]) continue;
        const std::uint64_t shift = static_cast<std::uint64_t>(position) * bits_per_node;
        key |= value_at(table->rows[row].key, i) << shift;  // shared nodes agree
      }
    return key;
  }

  // A sum of two labels before it is worth being one.
  struct Sum {
    std::int64_t excess;
    std::int64_t cost;
    LabelIndex first, second;
    std::size_t usage;  // position in sum_usage_
  };

  void add_sums(const std::vector<LabelIndex>& a, const std::vector<LabelIndex>& b) {
    for (const LabelIndex first : a) {
      for (const LabelIndex second : b)
        if (labels_[first].excess + labels_[second].excess < room_) add_sum(first, second);
      if (gave_up_after(b.size() * (1 + periods_))) return;
    }
  }

  std::vector<LabelIndex> labels_of_sums() {
    std::vector<LabelIndex> result;
    for (const Sum& sum : sums_) {
      Label label;
      label.excess = sum.excess;
      label.cost = sum.cost;
      label.first = sum.first;
      label.second = sum.second;
      result.push_back(add(label, sum_usage_.data() + sum.usage));
    }
    merge_down_to_width(result);
    return result;
  }

  void add_sum(LabelIndex first, LabelIndex second) {
    const std::int64_t cost = labels_[first].cost + labels_[second].cost;
    if (cost >= infinite_cost) return;
    const std::size_t start = sum_usage_.size();
    for (std::size_t t = 0; t < periods_; ++t) {
      const std::int64_t used = usage(first)[t] + usage(second)[t];
      if (used > problem_.slack[t]) {
        sum_usage_.resize(start);
        return;
      }
      sum_usage_.push_back(used);
    }
    sums_.push_back({labels_[first].excess + labels_[second].excess, cost, first, second, start});
  }

  void keep_undominated_sums() {
    keep_undominated(
        sums_, [](const Sum& sum) { return sum.cost; },
        [this](const Sum& sum) { return sum_usage_.data() + sum.usage; },
        [](Sum& sum) -> std::int64_t& { return sum.excess; });
  }

  // Neighbours by cost become one label each that is as good as any of them.
  void merge_down_to_width(std::vector<LabelIndex>& labels) {
    if (labels.size() <= options_.width) return;
    std::sort(labels.begin(), labels.end(), [&](LabelIndex a, LabelIndex b) {
      return std::pair{labels_[a].cost, a} < std::pair{labels_[b].cost, b};
    });
    std::vector<LabelIndex> merged;
    for (std::size_t group = 0; group < options_.width; ++group) {
      const std::size_t begin = group * labels.size() / options_.width;
      const std::size_t end = (group + 1) * labels.size() / options_.width;
      merged.push_back(end - begin == 1 ? labels[begin] : merge(labels, begin, end));
    }
    labels = std::move(merged);
  }

  LabelIndex merge(const std::vector<LabelIndex>& labels, std::size_t begin, std::size_t end) {
    Label label = labels_[labels[begin]];  // whose choices it stands for
    std::vector<std::int64_t> amounts(usage(labels[begin]), usage(labels[begin]) + periods_);
    for (std::size_t i = begin + 1; i < end; ++i) {
      label.excess = std::min(label.excess, labels_[labels[i]].excess);
      label.cost = std::min(label.cost, labels_[labels[i]].cost);
      for (std::size_t t = 0; t < periods_; ++t) amounts[t] = std::min(amounts[t], usage(labels[i])[t]);
    }
    return add(label, amounts.data());
  }

  // Leaves those of which none is as cheap and as small as another; of equal ones the first. Ascending costs. An excess
  // follows from cost and usage, except a merged label's: it stands for those that it drives out, too, so it takes the
  // least of theirs.
  template <typename Item, typename CostOf, typename UsageOf, typename ExcessOf>
  void keep_undominated(std::vector<Item>& items, const CostOf& cost_of, const UsageOf& usage_of,
                        const ExcessOf& excess_of) {
    std::stable_sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
      if (cost_of(a) != cost_of(b)) return cost_of(a) < cost_of(b);
      return std::lexicographical_compare(usage_of(a), usage_of(a) + periods_, usage_of(b), usage_of(b) + periods_);
    });
    const auto no_larger = [&](const Item& a, const Item& b) {
      for (std::size_t t = 0; t < periods_; ++t)
        if (usage_of(a)[t] > usage_of(b)[t]) return false;
      return true;
    };
    std::vector<Item> kept;
    for (Item& item : items) {
      if (gave_up_after(periods_ <= 1 ? 1 : kept.size())) return;
      const auto first = periods_ <= 1 && !kept.empty() ? kept.end() - 1 : kept.begin();
      const auto driver = std::find_if(first, kept.end(), [&](const Item& k) { return no_larger(k, item); });
      if (driver == kept.end())
        kept.push_back(item);
      else
        excess_of(*driver) = std::min(excess_of(*driver), excess_of(item));
    }
    items = std::move(kept);
  }

  // What a label of everything proves.
  TotalCost bound_of(const Label& label) const {
    const TotalCost by_dual = -((-(dual_.bound + label.excess)) >> dual_.shift);  // rounded up
    return problem_.constant + std::max(TotalCost{label.cost}, by_dual);
  }

  void read(const std::vector<LabelIndex>& labels, LabelEliminationAnswer& answer) const {
    for (const LabelIndex label : labels) {
      const TotalCost bound = bound_of(labels_[label]);
      if (bound >= answer.lower_bound) continue;
      answer.lower_bound = bound;
      answer.choices = choices_of(label);
    }
  }

  std::vector<std::uint32_t> choices_of(LabelIndex whole) const {
    std::vector<std::uint32_t> choices(problem_.nodes.size(), 0);
    std::vector<LabelIndex> open{whole};
    while (!open.empty()) {
      const Label& label = labels_[open.back()];
      open.pop_back();
      if (label.chooses) choices[label.node] = label.choice;
      for (const LabelIndex part : {label.first, label.second})
        if (part != nothing) open.push_back(part);
    }
    return choices;
  }

  const WorkingProblem& problem_;
  const Reparametrisation& dual_;
  const LabelEliminationOptions& options_;
  std::size_t periods_;
  TotalCost cutoff_ = 0;
  std::int64_t room_ = 0;  // from the dual's bound to the cutoff
  std::vector<Label> labels_;
  std::vector<std::int64_t> usage_;         // by label and period
  std::vector<std::size_t> rank_;           // by node: when it is eliminated
  std::vector<std::vector<Table>> tables_;  // by the first of their scope to be eliminated
  std::vector<Sum> sums_;                   // of the two lists that are joined
  std::vector<std::int64_t> sum_usage_;
  std::size_t steps_ = 0;  // since the last look at the clock
  bool stopped_ = false;
};

}  // namespace

LabelEliminationAnswer eliminate_by_labels(const WorkingProblem& problem, const Reparametrisation& dual,
                                           const LabelEliminationOptions& options) {
  Elimination elimination(problem, dual, options);
  LabelEliminationAnswer answer = elimination.run();
  answer.effort = elimination.effort();
  return answer;
}

}  // namespace meshloom::intra_op
