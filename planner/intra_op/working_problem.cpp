#include "planner/intra_op/working_problem.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <numeric>
#include <tuple>

#include "graphs/input_error.hpp"

namespace meshloom::intra_op {
namespace {

bool uses_memory(const IntraOpNode& node) {
  return node.live_from < node.live_until &&
         std::any_of(node.usages.begin(), node.usages.end(), [](std::int64_t usage) { return usage > 0; });
}

// A time in every maximal set of live nodes, ascending: a set is maximal when a life ends right after one has begun.
std::vector<std::int64_t> period_times(const IntraOpProblem& problem) {
  enum class Event { end, begin };  // at one time ends come first: lives are half-open
  std::vector<std::pair<std::int64_t, Event>> events;
  for (const IntraOpNode& node : problem.nodes) {
    if (!uses_memory(node)) continue;
    events.emplace_back(node.live_from, Event::begin);
    events.emplace_back(node.live_until, Event::end);
  }
  std::sort(events.begin(), events.end());
  std::vector<std::int64_t> times;
  for (std::size_t i = 1; i < events.size(); ++i)
    if (events[i].second == Event::end && events[i - 1].second == Event::begin) times.push_back(events[i - 1].first);
  return times;
}

// Sums of usages stay in 64 bits, whatever is chosen.
void check_usages(const IntraOpProblem& problem) {
  constexpr std::int64_t most = std::int64_t{1} << 61;
  TotalCost sum = 0;
  for (const IntraOpNode& node : problem.nodes) {
    std::int64_t largest = 0;
    if (uses_memory(node))
      for (const std::int64_t usage : node.usages)
        if (usage <= *problem.usage_limit) largest = std::max(largest, usage);
    sum += largest;
  }
  if (sum > most)
    throw InputError("intra-operator problem",
                     fmt::format("the largest usages of all nodes add up to more than {}; state usages and their limit "
                                 "in a larger unit",
                                 most));
}

void load_node(const IntraOpNode& input, std::optional<std::int64_t> limit, WorkingNode& node) {
  for (std::uint32_t k = 0; k < input.costs.size(); ++k) {
    const bool fits = !limit || !uses_memory(input) || input.usages[k] <= *limit;
    if (input.costs[k] >= infinite_cost || !fits) continue;
    node.strategies.push_back(k);
    node.costs.push_back(input.costs[k]);
  }
}

// Usages are measured from the least, which goes to the slack.
void load_usage(const IntraOpNode& input, const std::vector<std::int64_t>& times, WorkingNode& node,
                std::vector<TotalCost>& change_of_slack) {
  if (!uses_memory(input) || node.strategies.empty()) return;
  const auto position = [&](std::int64_t time) {
    return static_cast<std::uint32_t>(std::lower_bound(times.begin(), times.end(), time) - times.begin());
  };
  const Usage::Span span{position(input.live_from), position(input.live_until)};
  std::vector<std::int64_t> amounts;
  for (const std::uint32_t strategy : node.strategies) amounts.push_back(input.usages[strategy]);
  const auto [least, most] = std::minmax_element(amounts.begin(), amounts.end());
  const std::int64_t base = *least, largest = *most;
  change_of_slack[span.begin] -= base;
  change_of_slack[span.end] += base;
  if (largest == base) return;
  for (std::int64_t& amount : amounts) amount -= base;
  node.usage = {{span}, std::move(amounts)};
}

void load_memory(const IntraOpProblem& whole, WorkingProblem& problem) {
  const std::vector<std::int64_t> times = period_times(whole);
  std::vector<TotalCost> change_of_slack(times.size() + 1, 0);
  for (NodeIndex node = 0; node < whole.nodes.size(); ++node)
    load_usage(whole.nodes[node], times, problem.nodes[node], change_of_slack);
  TotalCost slack = *whole.usage_limit;
  for (std::size_t period = 0; period < times.size(); ++period) {
    slack += change_of_slack[period];
    if (slack < 0) problem.infeasible = true;
    // (as much as all could use together is as good as more)
    problem.slack.push_back(static_cast<std::int64_t>(std::clamp<TotalCost>(slack, 0, TotalCost{1} << 61)));
    problem.period_names.push_back(static_cast<std::uint32_t>(period));
  }
}

void load_pairs(const IntraOpProblem& whole, WorkingProblem& problem) {
  std::vector<std::tuple<NodeIndex, NodeIndex, std::uint32_t>> order;
  for (std::uint32_t i = 0; i < whole.edges.size(); ++i) {
    const auto [a, b] = std::minmax(whole.edges[i].a, whole.edges[i].b);
    order.emplace_back(a, b, i);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [a, b, edge_index] : order) {
    const std::vector<std::uint32_t>&rows = problem.nodes[a].strategies, &columns = problem.nodes[b].strategies;
    if (problem.pairs.empty() || problem.pairs.back().a != a || problem.pairs.back().b != b) {
      for (const NodeIndex end : {a, b})
        problem.nodes[end].pairs.push_back(static_cast<std::uint32_t>(problem.pairs.size()));
      problem.pairs.push_back({a, b, std::vector<std::int64_t>(rows.size() * columns.size(), 0)});
    }
    const IntraOpEdge& edge = whole.edges[edge_index];
    const std::size_t width = whole.nodes[edge.b].costs.size();
    std::int64_t* cost = problem.pairs.back().costs.data();
    for (const std::uint32_t row : rows)
      for (const std::uint32_t column : columns) {
        const std::size_t entry = edge.a == a ? row * width + column : column * width + row;
        *cost = saturated_sum(*cost, std::min(infinite_cost, edge.costs[entry]));
        ++cost;
      }
  }
}

std::size_t position_of(const std::vector<std::uint32_t>& strategies, std::uint32_t strategy) {
  const auto found = std::lower_bound(strategies.begin(), strategies.end(), strategy);
  assert(found != strategies.end() && *found == strategy);
  return static_cast<std::size_t>(found - strategies.begin());
}

class Expansion {
 public:
  explicit Expansion(std::vector<std::uint32_t>& choices) : choices_(choices) {}

  void operator()(const Fixed& fixed) const { choices_[fixed.node] = fixed.strategy; }

  void operator()(const Follows& follows) const {
    const auto found = std::lower_bound(follows.strategy_of.begin(), follows.strategy_of.end(),
                                        std::pair{choices_[follows.leader], std::uint32_t{0}});
    choices_[follows.node] = found->second;
  }

  void operator()(const Minimised& minimised) const {
    std::vector<std::int64_t> costs = minimised.state.costs;
    for (const Minimised::Neighbour& neighbour : minimised.neighbours) {
      const std::size_t width = neighbour.strategies.size();
      const std::size_t column = position_of(neighbour.strategies, choices_[neighbour.node]);
      for (std::size_t k = 0; k < costs.size(); ++k)
        costs[k] = saturated_sum(costs[k], neighbour.costs[k * width + column]);
    }
    const auto best = static_cast<std::size_t>(std::min_element(costs.begin(), costs.end()) - costs.begin());
    choices_[minimised.node] = minimised.state.strategies[best];
  }

 private:
  std::vector<std::uint32_t>& choices_;
};

}  // namespace

WorkingProblem working_problem(const IntraOpProblem& whole) {
  if (whole.usage_limit) check_usages(whole);
  WorkingProblem problem;
  problem.nodes.resize(whole.nodes.size());
  for (NodeIndex node = 0; node < whole.nodes.size(); ++node) {
    load_node(whole.nodes[node], whole.usage_limit, problem.nodes[node]);
    if (problem.nodes[node].costs.empty()) problem.infeasible = true;
  }
  if (problem.infeasible) return problem;
  if (whole.usage_limit) load_memory(whole, problem);
  load_pairs(whole, problem);
  return problem;
}

void drop_unsupported(WorkingProblem& problem) {
  std::vector<NodeIndex> queue(problem.nodes.size());
  std::iota(queue.begin(), queue.end(), 0);
  while (!queue.empty() && !problem.infeasible) {
    const NodeIndex node = queue.back();
    queue.pop_back();
    std::vector<bool> keep(problem.size(node), true);
    for (const std::uint32_t pair : problem.nodes[node].pairs) {
      const PairView view = problem.view(pair, node);
      const std::int64_t* costs = problem.pairs[pair].costs.data();
      for (std::size_t k = 0; k < keep.size(); ++k) {
        bool supported = false;
        for (std::size_t j = 0; j < view.other_size && !supported; ++j)
          supported = costs[k * view.own_stride + j * view.other_stride] < infinite_cost;
        if (!supported) keep[k] = false;
      }
    }
    if (std::find(keep.begin(), keep.end(), false) == keep.end()) continue;
    drop(problem, node, keep);
    for (const std::uint32_t pair : problem.nodes[node].pairs) queue.push_back(problem.view(pair, node).other);
  }
}

WorkingProblem compacted(const WorkingProblem& problem) {
  WorkingProblem result;
  std::vector<NodeIndex> position(problem.nodes.size());
  for (NodeIndex node = 0; node < position.size(); ++node) {
    const WorkingNode& state = problem.nodes[node];
    if (state.removed) continue;
    position[node] = static_cast<NodeIndex>(result.nodes.size());
    WorkingNode& copy = result.nodes.emplace_back();
    copy.strategies.resize(state.strategies.size());
    std::iota(copy.strategies.begin(), copy.strategies.end(), 0);
    copy.costs = state.costs;
    copy.usage = state.usage;
  }
  for (const WorkingPair& pair : problem.pairs) {
    if (pair.costs.empty()) continue;
    const NodeIndex a = position[pair.a], b = position[pair.b];
    for (const NodeIndex end : {a, b})
      result.nodes[end].pairs.push_back(static_cast<std::uint32_t>(result.pairs.size()));
    result.pairs.push_back({a, b, pair.costs});
  }
  result.slack = problem.slack;
  result.period_names = problem.period_names;
  result.constant = problem.constant;
  result.infeasible = problem.infeasible;
  return result;
}

std::vector<std::uint32_t> from_compacted(const WorkingProblem& problem, const std::vector<std::uint32_t>& choices) {
  std::vector<std::uint32_t> result(problem.nodes.size(), 0);
  auto choice = choices.begin();
  for (NodeIndex node = 0; node < result.size(); ++node)
    if (!problem.nodes[node].removed) result[node] = *choice++;
  return result;
}

std::vector<std::uint32_t> expand(const WorkingProblem& problem, const std::vector<std::uint32_t>& choices) {
  std::vector<std::uint32_t> result(problem.nodes.size());
  for (NodeIndex node = 0; node < result.size(); ++node)
    if (!problem.nodes[node].removed) result[node] = problem.nodes[node].strategies[choices[node]];
  for (auto removal = problem.log.rbegin(); removal != problem.log.rend(); ++removal)
    std::visit(Expansion(result), *removal);
  return result;
}

}  // namespace meshloom::intra_op
