#include "planner/intra_op/local_search.hpp"

#include <algorithm>

namespace meshloom::intra_op {

ChoiceState::ChoiceState(const WorkingProblem& problem, std::vector<std::uint32_t> choices)
    : problem_(problem), choices_(std::move(choices)), used_(problem.slack.size(), 0), cost_(problem.constant) {
  for (NodeIndex node = 0; node < problem.nodes.size(); ++node) {
    const WorkingNode& state = problem.nodes[node];
    cost_ += state.costs[choices_[node]];
    for (std::size_t i = 0; i < state.usage.spans.size(); ++i)
      for (std::uint32_t t = state.usage.spans[i].begin; t < state.usage.spans[i].end; ++t)
        used_[t] += state.usage.of(i)[choices_[node]];
  }
  for (const WorkingPair& pair : problem.pairs) {
    const std::int64_t cost = pair.costs[choices_[pair.a] * problem.size(pair.b) + choices_[pair.b]];
    if (cost >= infinite_cost)
      ++forbidden_;
    else
      cost_ += cost;
  }
  for (std::size_t t = 0; t < used_.size(); ++t) overuse_ += std::max<std::int64_t>(0, used_[t] - problem.slack[t]);
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
  for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
    const std::int64_t more = state.usage.of(i)[strategy] - state.usage.of(i)[now];
    if (more == 0) continue;
    for (std::uint32_t t = state.usage.spans[i].begin; t < state.usage.spans[i].end; ++t) {
      const std::int64_t over = used_[t] - problem_.slack[t];
      result.overuse += std::max<std::int64_t>(0, over + more) - std::max<std::int64_t>(0, over);
    }
  }
  return result;
}

void ChoiceState::move(NodeIndex node, std::uint32_t strategy, const Change& change) {
  const WorkingNode& state = problem_.nodes[node];
  for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
    const std::int64_t more = state.usage.of(i)[strategy] - state.usage.of(i)[choices_[node]];
    for (std::uint32_t t = state.usage.spans[i].begin; t < state.usage.spans[i].end && more != 0; ++t) used_[t] += more;
  }
  choices_[node] = strategy;
  forbidden_ += change.forbidden;
  overuse_ += change.overuse;
  cost_ += change.cost;
}

// The move that frees most per cost.
bool ChoiceState::repair_step() {
  std::optional<Change> best;
  NodeIndex best_node = 0;
  std::uint32_t best_strategy = 0;
  const auto gain = [](const Change& c) { return static_cast<double>(-c.overuse); };
  const auto price = [](const Change& c) { return std::max(1.0, static_cast<double>(c.cost)); };
  for (NodeIndex node = 0; node < choices_.size(); ++node)
    for (std::uint32_t strategy = 0; strategy < problem_.size(node); ++strategy) {
      if (strategy == choices_[node]) continue;
      const Change c = change(node, strategy);
      if (c.forbidden > 0 || (c.forbidden == 0 && c.overuse >= 0)) continue;
      const bool better = !best || c.forbidden < best->forbidden ||
                          (c.forbidden == best->forbidden && gain(c) * price(*best) > gain(*best) * price(c));
      if (!better) continue;
      best = c;
      best_node = node;
      best_strategy = strategy;
    }
  if (best) move(best_node, best_strategy, *best);
  return best.has_value();
}

bool ChoiceState::descend() {
  bool moved = false;
  for (NodeIndex node = 0; node < choices_.size(); ++node)
    for (std::uint32_t strategy = 0; strategy < problem_.size(node); ++strategy) {
      if (strategy == choices_[node]) continue;
      const Change c = change(node, strategy);
      if (c.forbidden > 0 || c.overuse > 0 || c.cost >= 0) continue;
      move(node, strategy, c);
      moved = true;
    }
  return moved;
}

void ChoiceState::improve() {
  while (!feasible())
    if (!repair_step()) return;
  while (descend()) continue;
}

}  // namespace meshloom::intra_op
