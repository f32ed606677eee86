#include "planner/intra_op/infeasible_reason.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "planner/intra_op/working_problem.hpp"

namespace meshloom {
namespace {

using namespace intra_op;

using Strategies = std::vector<std::vector<std::uint32_t>>;  // by node: those that may be chosen

Strategies not_forbidden(const IntraOpProblem& problem) {
  Strategies strategies(problem.nodes.size());
  for (std::size_t node = 0; node < problem.nodes.size(); ++node)
    for (std::uint32_t k = 0; k < problem.nodes[node].costs.size(); ++k)
      if (problem.nodes[node].costs[k] < infinite_cost) strategies[node].push_back(k);
  return strategies;
}

// "at time 110 at least 40 is used, the limit is 39", of the fullest time; none where it fits.
std::optional<std::string> overfull_time(const IntraOpProblem& problem, const Strategies& strategies) {
  if (!problem.usage_limit) return std::nullopt;
  std::map<std::int64_t, TotalCost> changes;  // by time
  for (std::size_t i = 0; i < problem.nodes.size(); ++i) {
    const IntraOpNode& node = problem.nodes[i];
    if (node.usages.empty() || strategies[i].empty() || node.live_from >= node.live_until) continue;
    const std::uint32_t thrifty =
        *std::min_element(strategies[i].begin(), strategies[i].end(),
                          [&](std::uint32_t a, std::uint32_t b) { return node.usages[a] < node.usages[b]; });
    changes[node.live_from] += node.usages[thrifty];
    changes[node.live_until] -= node.usages[thrifty];
  }
  TotalCost usage = 0, most = *problem.usage_limit;
  std::optional<std::int64_t> fullest;
  for (const auto& [time, change] : changes) {
    usage += change;
    if (usage <= most) continue;
    most = usage;
    fullest = time;
  }
  if (!fullest) return std::nullopt;
  return fmt::format("at time {} at least {} is used, the limit is {}", *fullest, most, *problem.usage_limit);
}

// Whether each of its strategies has a neighbour that forbids it.
bool is_unsupported(const WorkingProblem& problem, NodeIndex node) {
  const auto supported = [&](std::size_t k) {
    return std::all_of(problem.nodes[node].pairs.begin(), problem.nodes[node].pairs.end(), [&](std::uint32_t pair) {
      const PairView view = problem.view(pair, node);
      for (std::size_t j = 0; j < view.other_size; ++j)
        if (problem.pairs[pair].costs[k * view.own_stride + j * view.other_stride] < infinite_cost) return true;
      return false;
    });
  };
  for (std::size_t k = 0; k < problem.size(node); ++k)
    if (supported(k)) return false;
  return true;
}

}  // namespace

std::string reason_of_infeasibility(const IntraOpProblem& problem) {
  Strategies strategies = not_forbidden(problem);
  if (const auto reason = overfull_time(problem, strategies)) return *reason;
  for (std::size_t node = 0; node < strategies.size(); ++node)
    if (strategies[node].empty()) return fmt::format("node {} has only forbidden strategies", node);

  WorkingProblem working = working_problem(problem);
  drop_unsupported(working);
  for (NodeIndex node = 0; working.infeasible && node < working.nodes.size(); ++node)
    if (is_unsupported(working, node))
      return fmt::format("no strategy of node {} is left: edges forbid each that could be chosen", node);
  for (std::size_t node = 0; node < strategies.size(); ++node) strategies[node] = working.nodes[node].strategies;
  if (const auto reason = overfull_time(problem, strategies)) return "without what edges forbid, " + *reason;
  return problem.usage_limit ? "no choices keep the limit without a forbidden cost"
                             : "no choices are without a forbidden cost";
}

}  // namespace meshloom
