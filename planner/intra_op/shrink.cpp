#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>
#include <queue>

#include "planner/intra_op/slack_tree.hpp"
#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {
namespace {

constexpr std::size_t most_comparisons = std::size_t{1} << 28;  // of the entries of two strategies, for one node
constexpr std::size_t most_new_entries = std::size_t{1} << 20;  // of a table made by minimising a node out

std::uint64_t key_of(NodeIndex a, NodeIndex b) { return std::uint64_t{std::min(a, b)} << 32 | std::max(a, b); }

// Spans of one node, in any order and overlapping, added up: ascending, disjoint, and measured from the least, which is
// taken from the slack.
class SpanSum {
 public:
  SpanSum(std::size_t strategies, SlackTree& slack) : sums_(strategies, 0), above_(strategies, 0), slack_(slack) {}

  Usage of(const Usage& usage) {
    struct Event {
      std::uint32_t period, span;
      bool begins;
    };
    std::vector<Event> events;
    for (std::uint32_t i = 0; i < usage.spans.size(); ++i) {
      events.push_back({usage.spans[i].begin, i, true});
      events.push_back({usage.spans[i].end, i, false});
    }
    std::sort(events.begin(), events.end(), [](const Event& x, const Event& y) { return x.period < y.period; });
    for (std::size_t i = 0; i < events.size();) {
      const std::uint32_t period = events[i].period;
      for (; i < events.size() && events[i].period == period; ++i) {
        const std::int64_t* change = usage.of(events[i].span);
        for (std::size_t k = 0; k < sums_.size(); ++k) sums_[k] += events[i].begins ? change[k] : -change[k];
      }
      if (i < events.size()) append({period, events[i].period});
    }
    return std::move(result_);
  }

 private:
  void append(Usage::Span span) {
    const auto [least, most] = std::minmax_element(sums_.begin(), sums_.end());
    if (*least > 0) slack_.add(span.begin, span.end, -*least);
    if (*least == *most) return;
    for (std::size_t k = 0; k < sums_.size(); ++k) above_[k] = sums_[k] - *least;
    if (!result_.empty() && result_.spans.back().end == span.begin &&
        std::equal(above_.begin(), above_.end(), result_.amounts.end() - static_cast<std::ptrdiff_t>(above_.size()))) {
      result_.spans.back().end = span.end;
      return;
    }
    result_.spans.push_back(span);
    result_.amounts.insert(result_.amounts.end(), above_.begin(), above_.end());
  }

  std::vector<std::int64_t> sums_, above_;  // at the period that has been reached
  SlackTree& slack_;
  Usage result_;
};

void append(Usage& usage, const Usage& more) {
  usage.spans.insert(usage.spans.end(), more.spans.begin(), more.spans.end());
  usage.amounts.insert(usage.amounts.end(), more.amounts.begin(), more.amounts.end());
}

template <typename Value>
void compact(std::vector<Value>& values, const std::vector<bool>& keep) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (keep[i % keep.size()]) values[next++] = values[i];
  values.resize(next);
}

class Shrinker {
 public:
  explicit Shrinker(WorkingProblem& problem)
      : problem_(problem), slack_(problem.slack), waits_(problem.nodes.size(), false), pending_(problem.nodes.size()) {
    for (std::uint32_t pair = 0; pair < problem.pairs.size(); ++pair)
      if (!problem.pairs[pair].costs.empty()) pair_of_[key_of(problem.pairs[pair].a, problem.pairs[pair].b)] = pair;
  }

  bool run() {
    for (NodeIndex node = 0; node < problem_.nodes.size(); ++node) touch(node);
    while (!queue_.empty() && !problem_.infeasible) {
      const NodeIndex node = queue_.top().second;
      queue_.pop();
      waits_[node] = false;
      if (!problem_.nodes[node].removed) visit(node);
    }
    if (!problem_.infeasible) settle_usage();
    return changed_;
  }

 private:
  void touch(NodeIndex node) {
    if (problem_.nodes[node].removed || waits_[node]) return;
    waits_[node] = true;
    queue_.emplace(problem_.nodes[node].pairs.size(), node);
  }

  void touch_neighbours(NodeIndex node) {
    for (const std::uint32_t pair : problem_.nodes[node].pairs) touch(problem_.view(pair, node).other);
  }

  bool uses_memory(NodeIndex node) const { return !problem_.nodes[node].usage.empty() || !pending_[node].empty(); }

  void visit(NodeIndex node) {
    for (const std::uint32_t pair : problem_.nodes[node].pairs) move_minima(pair);
    forget_empty_pairs(node);
    if (!drop_infinite(node) || problem_.infeasible) return;
    if (problem_.size(node) == 1) return fix(node);
    if (follow_some_neighbour(node)) return;
    if (!drop_dominated(node)) return;
    if (problem_.size(node) == 1) return fix(node);
    if (!uses_memory(node) && problem_.nodes[node].pairs.size() <= 2) minimise(node);
  }

  // Every choice pays its row's and its column's least cost, so the nodes may carry it. Tables that are sums of a
  // vector per end become zero.
  void move_minima(std::uint32_t position) {
    WorkingPair& pair = problem_.pairs[position];
    const std::size_t rows = problem_.size(pair.a), columns = problem_.size(pair.b);
    bool moved = false;
    for (std::size_t row = 0; row < rows; ++row)
      moved |= move_minimum(&pair.costs[row * columns], columns, 1, problem_.nodes[pair.a].costs[row]);
    for (std::size_t column = 0; column < columns; ++column)
      moved |= move_minimum(&pair.costs[column], rows, columns, problem_.nodes[pair.b].costs[column]);
    if (moved) {
      touch(pair.a);
      touch(pair.b);
    }
    if (std::all_of(pair.costs.begin(), pair.costs.end(), [](std::int64_t cost) { return cost == 0; })) {
      touch(pair.a);
      touch(pair.b);
      pair.costs.clear();
    }
  }

  static bool move_minimum(std::int64_t* costs, std::size_t count, std::size_t stride, std::int64_t& node_cost) {
    std::int64_t least = infinite_cost;
    for (std::size_t i = 0; i < count; ++i) least = std::min(least, costs[i * stride]);
    if (least == 0) return false;
    const bool forbidden = least >= infinite_cost;
    const bool news = !forbidden || node_cost < infinite_cost;
    node_cost = saturated_sum(node_cost, least);
    // What is forbidden is so at the node; the table need not say it again.
    for (std::size_t i = 0; i < count; ++i)
      if (forbidden)
        costs[i * stride] = 0;
      else if (costs[i * stride] < infinite_cost)
        costs[i * stride] -= least;
    return news;
  }

  void forget_empty_pairs(NodeIndex node) {
    std::vector<std::uint32_t> empty;
    for (const std::uint32_t pair : problem_.nodes[node].pairs)
      if (problem_.pairs[pair].costs.empty()) empty.push_back(pair);
    for (const std::uint32_t pair : empty) forget(pair);
  }

  void forget(std::uint32_t position) {
    WorkingPair& pair = problem_.pairs[position];
    for (const NodeIndex end : {pair.a, pair.b}) std::erase(problem_.nodes[end].pairs, position);
    pair_of_.erase(key_of(pair.a, pair.b));
    pair.costs.clear();
    pair.costs.shrink_to_fit();
    changed_ = true;
  }

  // False where a second visit is due.
  bool drop_infinite(NodeIndex node) {
    const std::vector<std::int64_t>& costs = problem_.nodes[node].costs;
    std::vector<bool> keep(costs.size());
    for (std::size_t k = 0; k < costs.size(); ++k) keep[k] = costs[k] < infinite_cost;
    return !drop_all_but(node, keep);
  }

  bool drop_all_but(NodeIndex node, const std::vector<bool>& keep) {
    if (std::all_of(keep.begin(), keep.end(), [](bool kept) { return kept; })) return false;
    drop(problem_, node, keep);
    compact(pending_[node].amounts, keep);
    usage_changed_.push_back(node);
    changed_ = true;
    touch(node);
    touch_neighbours(node);
    return true;
  }

  // Takes the node out; its pairs are gone already.
  void remove(NodeIndex node, Removal removal) {
    assert(problem_.nodes[node].pairs.empty());
    problem_.log.push_back(std::move(removal));
    WorkingNode& state = problem_.nodes[node];
    state = {};
    state.removed = true;
    pending_[node] = {};
    changed_ = true;
  }

  void fix(NodeIndex node) {
    WorkingNode& state = problem_.nodes[node];
    for (const std::uint32_t position : std::vector<std::uint32_t>(state.pairs)) {
      const NodeIndex other = problem_.view(position, node).other;
      std::vector<std::int64_t>& costs = problem_.nodes[other].costs;
      for (std::size_t k = 0; k < costs.size(); ++k)
        costs[k] = saturated_sum(costs[k], problem_.pairs[position].costs[k]);
      forget(position);
      touch(other);
    }
    problem_.constant += state.costs.front();
    for (const Usage* usage : {&state.usage, &pending_[node]})
      for (std::size_t i = 0; i < usage->spans.size(); ++i)
        if (*usage->of(i) > 0) slack_.add(usage->spans[i].begin, usage->spans[i].end, -*usage->of(i));
    remove(node, Fixed{node, state.strategies.front()});
  }

  // A node whose strategy follows from a neighbour's is carried by it: costs and usages add up. Exact under the limit.
  bool follow_some_neighbour(NodeIndex node) {
    for (const std::uint32_t position : problem_.nodes[node].pairs) {
      const NodeIndex other = problem_.view(position, node).other;
      const bool is_hub = problem_.nodes[node].pairs.size() > problem_.nodes[other].pairs.size();
      for (const NodeIndex follower : {is_hub ? other : node, is_hub ? node : other}) {
        const std::vector<std::uint32_t> partners = partners_of(follower, position);
        if (partners.empty()) continue;
        follow(follower, position, partners);
        return true;
      }
    }
    return false;
  }

  // The only strategy of `node` that each strategy of the other end allows; empty when some allows several.
  std::vector<std::uint32_t> partners_of(NodeIndex node, std::uint32_t position) const {
    const PairView view = problem_.view(position, node);
    const std::vector<std::int64_t>& costs = problem_.pairs[position].costs;
    std::vector<std::uint32_t> partners;
    if (view.other_size < problem_.size(node)) return partners;  // every strategy has a partner
    for (std::size_t j = 0; j < view.other_size; ++j) {
      std::size_t finite = 0;
      for (std::size_t k = 0; k < problem_.size(node); ++k) {
        if (costs[k * view.own_stride + j * view.other_stride] >= infinite_cost) continue;
        if (++finite > 1) return {};
        partners.push_back(static_cast<std::uint32_t>(k));
      }
      if (finite == 0) return {};
    }
    return partners;
  }

  void follow(NodeIndex node, std::uint32_t position, const std::vector<std::uint32_t>& partner) {
    const PairView view = problem_.view(position, node);
    const NodeIndex leader = view.other;
    Follows removal{node, leader, {}};
    WorkingNode &state = problem_.nodes[node], &leading = problem_.nodes[leader];
    for (std::size_t j = 0; j < partner.size(); ++j) {
      const std::int64_t joint = problem_.pairs[position].costs[partner[j] * view.own_stride + j * view.other_stride];
      leading.costs[j] = saturated_sum(leading.costs[j], saturated_sum(joint, state.costs[partner[j]]));
      removal.strategy_of.emplace_back(leading.strategies[j], state.strategies[partner[j]]);
    }
    forget(position);
    for (const std::uint32_t other : std::vector<std::uint32_t>(state.pairs)) {
      hand_over(node, leader, other, partner);
      forget(other);
    }
    for (const Usage* usage : {&state.usage, &pending_[node]})
      for (std::size_t i = 0; i < usage->spans.size(); ++i) {
        pending_[leader].spans.push_back(usage->spans[i]);
        for (const std::uint32_t k : partner) pending_[leader].amounts.push_back(usage->of(i)[k]);
      }
    if (!pending_[leader].empty()) usage_changed_.push_back(leader);
    remove(node, std::move(removal));
    touch(leader);
    touch_neighbours(leader);
  }

  // Adds the follower's table with a third node to the leader's.
  void hand_over(NodeIndex node, NodeIndex leader, std::uint32_t position, const std::vector<std::uint32_t>& partner) {
    const PairView from = problem_.view(position, node);
    const std::vector<std::int64_t> costs = problem_.pairs[position].costs;
    const std::uint32_t target = pair_between(leader, from.other);
    const PairView to = problem_.view(target, leader);
    std::vector<std::int64_t>& sums = problem_.pairs[target].costs;
    for (std::size_t j = 0; j < partner.size(); ++j)
      for (std::size_t k = 0; k < from.other_size; ++k) {
        std::int64_t& sum = sums[j * to.own_stride + k * to.other_stride];
        sum = saturated_sum(sum, costs[partner[j] * from.own_stride + k * from.other_stride]);
      }
  }

  // Its position; made with zeros where there is none.
  std::uint32_t pair_between(NodeIndex a, NodeIndex b) {
    const auto [entry, is_new] = pair_of_.try_emplace(key_of(a, b), static_cast<std::uint32_t>(problem_.pairs.size()));
    if (is_new) {
      problem_.pairs.push_back(
          {std::min(a, b), std::max(a, b), std::vector<std::int64_t>(problem_.size(a) * problem_.size(b), 0)});
      for (const NodeIndex end : {a, b}) problem_.nodes[end].pairs.push_back(entry->second);
    }
    return entry->second;
  }

  // A node without usage that touches at most two others: they take over what its best strategy costs.
  void minimise(NodeIndex node) {
    WorkingNode& state = problem_.nodes[node];
    std::size_t entries = 1;
    for (const std::uint32_t position : state.pairs) entries *= problem_.view(position, node).other_size;
    if (entries > most_new_entries) return;
    Minimised removal{node, {}, {}};
    for (const std::uint32_t position : std::vector<std::uint32_t>(state.pairs)) {
      removal.neighbours.push_back(own_major(node, position));
      forget(position);
    }
    const std::vector<Minimised::Neighbour>& neighbours = removal.neighbours;
    if (neighbours.empty()) {
      problem_.constant += *std::min_element(state.costs.begin(), state.costs.end());
    } else if (neighbours.size() == 1) {
      std::vector<std::int64_t>& costs = problem_.nodes[neighbours[0].node].costs;
      for (std::size_t j = 0; j < costs.size(); ++j) {
        std::int64_t least = infinite_cost;
        for (std::size_t k = 0; k < state.costs.size(); ++k)
          least = std::min(least, saturated_sum(state.costs[k], neighbours[0].costs[k * costs.size() + j]));
        costs[j] = saturated_sum(costs[j], least);
      }
    } else {
      join(state, neighbours[0], neighbours[1]);
    }
    for (const Minimised::Neighbour& neighbour : neighbours) touch(neighbour.node);
    removal.state = std::move(state);
    remove(node, std::move(removal));
  }

  Minimised::Neighbour own_major(NodeIndex node, std::uint32_t position) const {
    const PairView view = problem_.view(position, node);
    Minimised::Neighbour result{view.other, problem_.nodes[view.other].strategies, {}};
    for (std::size_t k = 0; k < problem_.size(node); ++k)
      for (std::size_t j = 0; j < view.other_size; ++j)
        result.costs.push_back(problem_.pairs[position].costs[k * view.own_stride + j * view.other_stride]);
    return result;
  }

  void join(const WorkingNode& state, const Minimised::Neighbour& first, const Minimised::Neighbour& second) {
    const std::uint32_t target = pair_between(first.node, second.node);
    const PairView view = problem_.view(target, first.node);
    std::vector<std::int64_t>& sums = problem_.pairs[target].costs;
    const std::size_t rows = first.strategies.size(), columns = second.strategies.size();
    std::vector<std::int64_t> least(columns);
    for (std::size_t i = 0; i < rows; ++i) {
      std::fill(least.begin(), least.end(), infinite_cost);
      for (std::size_t k = 0; k < state.costs.size(); ++k) {
        const std::int64_t base = saturated_sum(state.costs[k], first.costs[k * rows + i]);
        for (std::size_t j = 0; j < columns; ++j) least[j] = std::min(least[j], base + second.costs[k * columns + j]);
      }
      for (std::size_t j = 0; j < columns; ++j) {
        std::int64_t& sum = sums[i * view.own_stride + j * view.other_stride];
        sum = saturated_sum(sum, least[j]);
      }
    }
  }

  // Goldstein's criterion of dead-end elimination: whatever the neighbours choose, changing b to a costs no more, nor
  // does it use more. Among equals the lowest stays. False where a second visit is due.
  bool drop_dominated(NodeIndex node) {
    const WorkingNode& state = problem_.nodes[node];
    if (!pending_[node].empty()) return true;
    gather_rows(node);
    const std::size_t values = width_ + state.usage.spans.size() + 1;
    if (state.costs.size() * state.costs.size() * values > most_comparisons) return true;
    std::vector<bool> keep(state.costs.size(), true);
    for (std::size_t b = 0; b < keep.size(); ++b)
      for (std::size_t a = 0; a < keep.size() && keep[b]; ++a)
        if (a != b && keep[a] && state.costs[a] <= state.costs[b] && uses_no_more(state, a, b))
          keep[b] = !never_better(state, b, a);
    return !drop_all_but(node, keep);
  }

  static bool uses_no_more(const WorkingNode& state, std::size_t a, std::size_t b) {
    const std::vector<std::int64_t>& amounts = state.usage.amounts;
    for (std::size_t first = 0; first < amounts.size(); first += state.costs.size())
      if (amounts[first + a] > amounts[first + b]) return false;
    return true;
  }

  void gather_rows(NodeIndex node) {
    rows_.clear();
    width_ = 0;
    const WorkingNode& state = problem_.nodes[node];
    for (const std::uint32_t position : state.pairs) width_ += problem_.view(position, node).other_size;
    rows_.resize(width_ * state.costs.size());
    part_ends_.clear();
    std::size_t begin = 0;
    for (const std::uint32_t position : state.pairs) {
      const PairView view = problem_.view(position, node);
      const std::vector<std::int64_t>& costs = problem_.pairs[position].costs;
      for (std::size_t k = 0; k < state.costs.size(); ++k)
        for (std::size_t j = 0; j < view.other_size; ++j)
          rows_[k * width_ + begin + j] = costs[k * view.own_stride + j * view.other_stride];
      part_ends_.push_back(begin += view.other_size);
    }
  }

  // Σ over neighbours of max_j (a_j − b_j) ≤ cost of b − cost of a. Row minima are 0, so every part only takes.
  bool never_better(const WorkingNode& state, std::size_t b, std::size_t a) const {
    TotalCost gap = TotalCost{state.costs[b]} - state.costs[a] - (a < b ? 0 : 1);
    const std::int64_t *row_a = &rows_[a * width_], *row_b = &rows_[b * width_];
    std::size_t j = 0;
    for (const std::size_t end : part_ends_) {
      std::int64_t excess = 0;
      bool any = false;
      for (; j < end; ++j) {
        if (row_b[j] >= infinite_cost) continue;
        if (row_a[j] >= infinite_cost) return false;
        excess = any ? std::max(excess, row_a[j] - row_b[j]) : row_a[j] - row_b[j];
        any = true;
      }
      gap -= excess;
    }
    return gap >= 0;
  }

  // Adds up what followers brought, then drops what no longer fits anywhere and periods that say nothing.
  void settle_usage() {
    std::sort(usage_changed_.begin(), usage_changed_.end());
    usage_changed_.erase(std::unique(usage_changed_.begin(), usage_changed_.end()), usage_changed_.end());
    for (const NodeIndex node : usage_changed_) {
      WorkingNode& state = problem_.nodes[node];
      if (state.removed) continue;
      append(pending_[node], state.usage);
      state.usage = SpanSum(state.costs.size(), slack_).of(pending_[node]);
      pending_[node] = {};
    }
    problem_.slack = slack_.values();
    if (std::any_of(problem_.slack.begin(), problem_.slack.end(), [](std::int64_t left) { return left < 0; }))
      problem_.infeasible = true;
    for (NodeIndex node = 0; node < problem_.nodes.size() && !problem_.infeasible; ++node) drop_what_cannot_fit(node);
    if (!problem_.infeasible) changed_ |= drop_periods(problem_);
  }

  void drop_what_cannot_fit(NodeIndex node) {
    const WorkingNode& state = problem_.nodes[node];
    if (state.usage.empty()) return;
    std::vector<bool> keep(state.costs.size(), true);
    for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
      const std::int64_t left = slack_.least(state.usage.spans[i].begin, state.usage.spans[i].end);
      for (std::size_t k = 0; k < keep.size(); ++k)
        if (state.usage.of(i)[k] > left) keep[k] = false;
    }
    drop_all_but(node, keep);
  }

  WorkingProblem& problem_;
  SlackTree slack_;
  std::unordered_map<std::uint64_t, std::uint32_t> pair_of_;  // looked up only, never walked
  // Nodes to visit, those with few neighbours first: so hubs collect their neighbours and not the other way round.
  using Visit = std::pair<std::size_t, NodeIndex>;
  std::priority_queue<Visit, std::vector<Visit>, std::greater<>> queue_;
  std::vector<bool> waits_;
  std::vector<Usage> pending_;  // by node: usage that followers brought
  std::vector<NodeIndex> usage_changed_;
  bool changed_ = false;
  std::vector<std::int64_t> rows_;  // of the node whose strategies are compared: all its tables side by side
  std::size_t width_ = 0;
  std::vector<std::size_t> part_ends_;
};

}  // namespace

void drop(WorkingProblem& problem, NodeIndex node, const std::vector<bool>& keep) {
  WorkingNode& state = problem.nodes[node];
  if (std::find(keep.begin(), keep.end(), true) == keep.end()) {
    problem.infeasible = true;
    return;
  }
  for (const std::uint32_t position : state.pairs) {
    WorkingPair& pair = problem.pairs[position];
    if (pair.costs.empty()) continue;
    const std::size_t rows = problem.size(pair.a), columns = problem.size(pair.b);
    std::size_t next = 0;
    for (std::size_t row = 0; row < rows; ++row)
      for (std::size_t column = 0; column < columns; ++column)
        if (keep[pair.a == node ? row : column]) pair.costs[next++] = pair.costs[row * columns + column];
    pair.costs.resize(next);
  }
  compact(state.strategies, keep);
  compact(state.costs, keep);
  compact(state.usage.amounts, keep);
}

bool shrink(WorkingProblem& problem) {
  if (problem.infeasible) return false;
  bool changed = false;
  while (Shrinker(problem).run() && !problem.infeasible) changed = true;
  return changed;
}

}  // namespace meshloom::intra_op
