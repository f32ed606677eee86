#include "planner/intra_op/local_search.hpp"

#include <algorithm>
#include <queue>
#include <tuple>

namespace meshloom::intra_op {
namespace {

std::int64_t usage_at(const WorkingNode& node, std::uint32_t strategy, std::uint32_t period) {
  const auto& spans = node.usage.spans;
  auto after = std::upper_bound(spans.begin(), spans.end(), period,
                                [](std::uint32_t time, const Usage::Span& span) { return time < span.begin; });
  if (after == spans.begin()) return 0;
  const auto span = static_cast<std::size_t>(--after - spans.begin());
  return period < spans[span].end ? node.usage.of(span)[strategy] : 0;
}

}  // namespace

ChoiceState::ChoiceState(const WorkingProblem& problem, std::vector<std::uint32_t> choices)
    : problem_(problem),
      periods_(static_cast<std::uint32_t>(problem.slack.size())),
      choices_(std::move(choices)),
      left_({}),
      cost_(problem.constant) {
  std::vector<std::int64_t> change(problem.slack.size() + 1, 0), left = problem.slack;
  for (NodeIndex node = 0; node < problem.nodes.size(); ++node) {
    const WorkingNode& state = problem.nodes[node];
    cost_ += state.costs[choices_[node]];
    for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
      change[state.usage.spans[i].begin] += state.usage.of(i)[choices_[node]];
      change[state.usage.spans[i].end] -= state.usage.of(i)[choices_[node]];
    }
  }
  std::int64_t used = 0;
  for (std::size_t period = 0; period < left.size(); ++period) left[period] -= used += change[period];
  left_ = SlackTree(left);
  for (const WorkingPair& pair : problem.pairs) {
    const std::int64_t cost = pair.costs[choices_[pair.a] * problem.size(pair.b) + choices_[pair.b]];
    if (cost >= infinite_cost)
      ++forbidden_;
    else
      cost_ += cost;
  }
}

ChoiceState::Change ChoiceState::change(NodeIndex node, std::uint32_t strategy) const {
  const WorkingNode& state = problem_.nodes[node];
  const std::uint32_t now = choices_[node];
  Change result;
  result.cost = TotalCost{state.costs[strategy]} - state.costs[now];
  for (const std::uint32_t position : state.pairs) {
    const PairView view = problem_.view(position, node);
    const std::int64_t* column = &problem_.pairs[position].costs[choices_[view.other] * view.other_stride];
    const std::int64_t before = column[now * view.own_stride], after = column[strategy * view.own_stride];
    result.forbidden += (after >= infinite_cost) - (before >= infinite_cost);
    result.cost += (after >= infinite_cost ? 0 : after) - (before >= infinite_cost ? 0 : before);
  }
  return result;
}

bool ChoiceState::fits(NodeIndex node, std::uint32_t strategy) const {
  const WorkingNode& state = problem_.nodes[node];
  for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
    const std::int64_t more = state.usage.of(i)[strategy] - state.usage.of(i)[choices_[node]];
    if (more > 0 && left_.least(state.usage.spans[i].begin, state.usage.spans[i].end) < more) return false;
  }
  return true;
}

void ChoiceState::move(NodeIndex node, std::uint32_t strategy) {
  const Change made = change(node, strategy);
  forbidden_ += made.forbidden;
  cost_ += made.cost;
  const WorkingNode& state = problem_.nodes[node];
  for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
    const std::int64_t more = state.usage.of(i)[strategy] - state.usage.of(i)[choices_[node]];
    if (more != 0) left_.add(state.usage.spans[i].begin, state.usage.spans[i].end, -more);
  }
  choices_[node] = strategy;
}

// One pass over the nodes.
bool ChoiceState::avoid_forbidden() {
  bool moved = false;
  for (NodeIndex node = 0; node < choices_.size() && forbidden_ > 0; ++node) {
    Change best;
    std::uint32_t strategy = choices_[node];
    for (std::uint32_t k = 0; k < problem_.size(node); ++k) {
      const Change c = change(node, k);
      if (c.forbidden < best.forbidden || (c.forbidden == best.forbidden && c.forbidden < 0 && c.cost < best.cost)) {
        best = c;
        strategy = k;
      }
    }
    if (best.forbidden == 0) continue;
    move(node, strategy);
    moved = true;
  }
  return moved;
}

// Moves that free memory there, those that cost least per byte first, until it is not short; none may run another
// period short. False where they do not suffice.
bool ChoiceState::free_memory(std::uint32_t period) {
  struct Move {
    double price;  // per unit of usage
    NodeIndex node;
    std::uint32_t strategy;
    bool operator<(const Move& other) const {  // the cheapest is a priority queue's top
      return std::tie(price, node, strategy) > std::tie(other.price, other.node, other.strategy);
    }
  };
  std::priority_queue<Move> moves;
  const auto priced = [&](NodeIndex node, std::uint32_t strategy) -> std::optional<Move> {
    const WorkingNode& state = problem_.nodes[node];
    const std::int64_t freed = usage_at(state, choices_[node], period) - usage_at(state, strategy, period);
    if (freed <= 0) return std::nullopt;
    const Change c = change(node, strategy);
    if (c.forbidden > 0) return std::nullopt;
    return Move{static_cast<double>(c.cost) / static_cast<double>(freed), node, strategy};
  };
  for (NodeIndex node = 0; node < choices_.size(); ++node)
    if (usage_at(problem_.nodes[node], choices_[node], period) > 0)
      for (std::uint32_t strategy = 0; strategy < problem_.size(node); ++strategy)
        if (const auto candidate = priced(node, strategy)) moves.push(*candidate);
  while (left_.least(period, period + 1) < 0) {
    if (moves.empty()) return false;
    const Move top = moves.top();
    moves.pop();
    const auto now = priced(top.node, top.strategy);
    if (!now) continue;
    if (now->price > top.price)
      moves.push(*now);  // neighbours have moved
    else if (fits(top.node, top.strategy))
      move(top.node, top.strategy);
  }
  return true;
}

bool ChoiceState::descend() {
  bool moved = false;
  for (NodeIndex node = 0; node < choices_.size(); ++node)
    for (std::uint32_t strategy = 0; strategy < problem_.size(node); ++strategy) {
      if (strategy == choices_[node]) continue;
      const Change c = change(node, strategy);
      if (c.forbidden > 0 || c.cost >= 0 || !fits(node, strategy)) continue;
      move(node, strategy);
      moved = true;
    }
  return moved;
}

void ChoiceState::improve() {
  for (std::int64_t before = forbidden_ + 1; forbidden_ > 0 && forbidden_ < before;) {
    before = forbidden_;
    avoid_forbidden();
  }
  if (forbidden_ > 0) return;
  while (left_.least(0, periods_) < 0)
    if (!free_memory(left_.position_of_least())) return;
  while (descend()) continue;
}

}  // namespace meshloom::intra_op
