#include "planner/intra_op/neighbourhood_search.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>

#include "planner/intra_op/branch_and_bound.hpp"

namespace meshloom::intra_op {
namespace {

constexpr std::size_t batch = 8;                 // windows; not a matter of threads
constexpr double growth = 1.2, shrinking = 0.8;  // of windows that were solved to the end, or not
constexpr double smallest = 8, largest = 4'000;
constexpr double least_effort = 40e6;          // per window, entries visited: some 40 ms
constexpr double longer = 1.4, shorter = 0.9;  // efforts after a batch without improvements, or with several

}  // namespace

NeighbourhoodSearch::NeighbourhoodSearch(const WorkingProblem& problem, const std::vector<std::uint32_t>& choices)
    : problem_(problem), state_(problem, choices), effort_(least_effort), mark_(problem.nodes.size(), 0) {}

// (the standard distributions are not the same everywhere)
std::uint32_t NeighbourhoodSearch::random_below(std::size_t bound) {
  return static_cast<std::uint32_t>(random_() % bound);
}

// Breadth first along the pairs, neighbours in random order.
void NeighbourhoodSearch::add_region(NodeIndex seed, std::size_t size, std::vector<NodeIndex>& nodes) {
  const auto take = [&](NodeIndex node) {
    if (mark_[node] == regions_) return;
    mark_[node] = regions_;
    nodes.push_back(node);
  };
  const std::size_t first = nodes.size();
  take(seed);
  std::vector<NodeIndex> neighbours;
  for (std::size_t next = first; next < nodes.size() && nodes.size() < first + size; ++next) {
    neighbours.clear();
    for (const std::uint32_t pair : problem_.nodes[nodes[next]].pairs)
      neighbours.push_back(problem_.view(pair, nodes[next]).other);
    for (std::size_t i = neighbours.size(); i > 1; --i) std::swap(neighbours[i - 1], neighbours[random_below(i)]);
    for (const NodeIndex neighbour : neighbours)
      if (nodes.size() < first + size) take(neighbour);
  }
}

NeighbourhoodSearch::Window NeighbourhoodSearch::next_window() {
  Window window;
  window.shape = static_cast<Shape>(random_below(3));
  const std::size_t nodes = problem_.nodes.size();
  const auto size = std::min(nodes, static_cast<std::size_t>(sizes_[static_cast<std::size_t>(window.shape)]));
  ++regions_;
  switch (window.shape) {
    case Shape::consecutive: {
      const NodeIndex first = random_below(nodes - size + 1);
      for (NodeIndex node = first; node < first + size; ++node) window.nodes.push_back(node);
      break;
    }
    case Shape::connected:
      add_region(random_below(nodes), size, window.nodes);
      break;
    case Shape::two_regions:
      add_region(random_below(nodes), size / 2, window.nodes);
      add_region(random_below(nodes), size - window.nodes.size(), window.nodes);
      break;
  }
  std::sort(window.nodes.begin(), window.nodes.end());
  return window;
}

// The window's nodes with what they pay to the others as they are, and what the others leave of the limit.
WorkingProblem NeighbourhoodSearch::part(const std::vector<NodeIndex>& nodes) const {
  WorkingProblem result;
  const auto position = [&](NodeIndex node) {
    return std::lower_bound(nodes.begin(), nodes.end(), node) - nodes.begin();
  };
  std::vector<std::int64_t> change(problem_.slack.size() + 1, 0);
  for (const NodeIndex node : nodes) {
    const WorkingNode& state = problem_.nodes[node];
    WorkingNode& copy = result.nodes.emplace_back();
    for (std::uint32_t k = 0; k < state.costs.size(); ++k) copy.strategies.push_back(k);
    copy.costs = state.costs;
    copy.usage = state.usage;
    for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
      const std::int64_t used = state.usage.of(i)[state_.choices()[node]];
      change[state.usage.spans[i].begin] += used;
      change[state.usage.spans[i].end] -= used;
    }
  }
  result.slack = left_;
  std::int64_t used = 0;
  for (std::uint32_t period = 0; period < result.slack.size(); ++period) {
    result.slack[period] += used += change[period];
    result.period_names.push_back(period);
  }
  for (NodeIndex own = 0; own < nodes.size(); ++own)
    for (const std::uint32_t pair : problem_.nodes[nodes[own]].pairs) {
      const PairView view = problem_.view(pair, nodes[own]);
      const std::vector<std::int64_t>& costs = problem_.pairs[pair].costs;
      const auto other = static_cast<NodeIndex>(position(view.other));
      if (other < nodes.size() && nodes[other] == view.other) {
        if (own > other) continue;
        for (const NodeIndex end : {own, other})
          result.nodes[end].pairs.push_back(static_cast<std::uint32_t>(result.pairs.size()));
        result.pairs.push_back({own, other, costs});
        continue;
      }
      for (std::size_t k = 0; k < result.nodes[own].costs.size(); ++k)
        result.nodes[own].costs[k] = saturated_sum(
            result.nodes[own].costs[k], costs[k * view.own_stride + state_.choices()[view.other] * view.other_stride]);
    }
  return result;
}

NeighbourhoodSearch::Improvement NeighbourhoodSearch::solve(const Window& window,
                                                            const std::function<bool()>& out_of_time) const {
  WorkingProblem problem = part(window.nodes);
  std::vector<std::uint32_t> now;
  for (const NodeIndex node : window.nodes) now.push_back(state_.choices()[node]);
  BranchAndBoundOptions options;
  options.out_of_time = out_of_time;
  options.cutoff = ChoiceState(problem, now).cost();
  options.most_effort = static_cast<std::uint64_t>(effort_);
  options.most_updates = 40;
  shrink(problem);
  const BranchAndBoundAnswer answer = branch_and_bound(problem, options);
  return {answer.complete, answer.effort, answer.choices};
}

bool NeighbourhoodSearch::apply(const Window& window, const Improvement& improvement) {
  if (improvement.choices.empty()) return false;
  std::vector<std::uint32_t> before;
  const TotalCost cost_before = state_.cost();
  for (std::size_t i = 0; i < window.nodes.size(); ++i) {
    before.push_back(state_.choices()[window.nodes[i]]);
    if (improvement.choices[i] != before[i]) state_.move(window.nodes[i], improvement.choices[i]);
  }
  if (state_.feasible() && state_.cost() < cost_before) return true;
  // An earlier window of the batch has changed what this one builds on.
  for (std::size_t i = 0; i < window.nodes.size(); ++i)
    if (state_.choices()[window.nodes[i]] != before[i]) state_.move(window.nodes[i], before[i]);
  return false;
}

std::size_t NeighbourhoodSearch::improve(const std::function<bool()>& out_of_time) {
  std::vector<Window> windows;
  for (std::size_t i = 0; i < batch; ++i) windows.push_back(next_window());
  std::vector<Improvement> improvements(batch);
  left_ = state_.left();
  tbb::parallel_for(std::size_t{0}, batch, [&](std::size_t i) { improvements[i] = solve(windows[i], out_of_time); });
  std::size_t improved = 0;
  for (std::size_t i = 0; i < batch; ++i) {
    improved += apply(windows[i], improvements[i]);
    double& size = sizes_[static_cast<std::size_t>(windows[i].shape)];
    const bool was_easy = improvements[i].complete && static_cast<double>(improvements[i].effort) < effort_ / 2;
    size = std::clamp(size * (was_easy ? growth : shrinking), smallest, largest);
  }
  if (improved == 0) effort_ *= longer;
  if (improved > 1) effort_ = std::max(least_effort, effort_ * shorter);
  return improved;
}

}  // namespace meshloom::intra_op
