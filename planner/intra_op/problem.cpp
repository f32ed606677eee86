#include "planner/intra_op/problem.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <map>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

std::int64_t usage_of(const IntraOpNode& node, std::uint32_t choice) {
  return node.usages.empty() || node.live_from >= node.live_until ? 0 : node.usages[choice];
}

void check_node(const IntraOpNode& node, const std::string& place) {
  if (node.costs.empty()) throw InputError(place, "has no strategies; give at least one cost");
  if (!node.usages.empty() && node.usages.size() != node.costs.size())
    throw InputError(place, fmt::format("has {} usages for {} strategies; give one for each, or none at all",
                                        node.usages.size(), node.costs.size()));
  for (std::int64_t cost : node.costs)
    if (cost < 0) throw InputError(place, fmt::format("has the cost {}; costs start at 0", cost));
  for (std::int64_t usage : node.usages)
    if (usage < 0) throw InputError(place, fmt::format("has the usage {}; usages start at 0", usage));
}

void check_edge(const IntraOpProblem& problem, const IntraOpEdge& edge, const std::string& place) {
  for (std::uint32_t end : {edge.a, edge.b})
    if (end >= problem.nodes.size())
      throw InputError(place, fmt::format("ends at node {}; there are {}, numbered from 0", end, problem.nodes.size()));
  if (edge.a == edge.b)
    throw InputError(place, fmt::format("joins node {} to itself; add its diagonal to the node's costs", edge.a));
  std::size_t rows = problem.nodes[edge.a].costs.size(), columns = problem.nodes[edge.b].costs.size();
  if (edge.costs.size() != rows * columns)
    throw InputError(place, fmt::format("has {} costs; nodes {} and {} with {} and {} strategies need {}",
                                        edge.costs.size(), edge.a, edge.b, rows, columns, rows * columns));
  for (std::int64_t cost : edge.costs)
    if (cost < 0) throw InputError(place, fmt::format("has the cost {}; costs start at 0", cost));
}

// Depth-first over all choices in lexicographic order; the first of equal ones stays.
class Enumeration {
 public:
  explicit Enumeration(const IntraOpProblem& problem) : problem_(problem), choices_(problem.nodes.size(), 0) {
    edges_to_earlier_.resize(problem.nodes.size());
    for (const IntraOpEdge& edge : problem.edges) edges_to_earlier_[std::max(edge.a, edge.b)].push_back(&edge);
  }

  IntraOpSolution run() {
    visit(0, 0);
    return best_;
  }

 private:
  void visit(std::uint32_t node, TotalCost cost) {
    if (node == problem_.nodes.size()) return consider(cost);
    for (std::uint32_t choice = 0; choice < problem_.nodes[node].costs.size(); ++choice) {
      choices_[node] = choice;
      TotalCost total = cost + problem_.nodes[node].costs[choice];
      for (const IntraOpEdge* edge : edges_to_earlier_[node])
        total += edge->costs[choices_[edge->a] * problem_.nodes[edge->b].costs.size() + choices_[edge->b]];
      visit(node + 1, total);
    }
  }

  void consider(TotalCost cost) {
    if (cost >= infinite_cost) return;
    if (best_.status == SolveStatus::optimal && cost >= best_.objective) return;
    if (problem_.usage_limit && peak_usage(problem_, choices_) > *problem_.usage_limit) return;
    best_ = {SolveStatus::optimal, choices_, cost, cost};
  }

  const IntraOpProblem& problem_;
  std::vector<std::vector<const IntraOpEdge*>> edges_to_earlier_;
  std::vector<std::uint32_t> choices_;
  IntraOpSolution best_;
};

}  // namespace

std::string_view name(SolveStatus status) {
  switch (status) {
    case SolveStatus::optimal:
      return "optimal";
    case SolveStatus::feasible:
      return "feasible";
    case SolveStatus::infeasible:
      return "infeasible";
    case SolveStatus::time_limit:
      return "time_limit";
  }
  return "";
}

std::string_view name(Solver solver) {
  switch (solver) {
    case Solver::automatic:
      return "auto";
    case Solver::elimination:
      return "elimination";
    case Solver::cbc:
      return "cbc";
    case Solver::anytime:
      return "anytime";
  }
  return "";
}

std::optional<Solver> solver_named(std::string_view text) {
  for (Solver solver : {Solver::automatic, Solver::elimination, Solver::cbc, Solver::anytime})
    if (name(solver) == text) return solver;
  return std::nullopt;
}

TotalCost cost_of(const IntraOpProblem& problem, const std::vector<std::uint32_t>& choices) {
  assert(choices.size() == problem.nodes.size());
  TotalCost total = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) total += problem.nodes[i].costs[choices[i]];
  for (const IntraOpEdge& edge : problem.edges)
    total += edge.costs[choices[edge.a] * problem.nodes[edge.b].costs.size() + choices[edge.b]];
  return total;
}

TotalCost peak_usage(const IntraOpProblem& problem, const std::vector<std::uint32_t>& choices) {
  assert(choices.size() == problem.nodes.size());
  std::map<std::int64_t, TotalCost> change_at;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    std::int64_t usage = usage_of(problem.nodes[i], choices[i]);
    if (usage == 0) continue;
    change_at[problem.nodes[i].live_from] += usage;
    change_at[problem.nodes[i].live_until] -= usage;
  }
  TotalCost usage = 0, peak = 0;
  for (const auto& [time, change] : change_at) peak = std::max(peak, usage += change);
  return peak;
}

void check_problem(const IntraOpProblem& problem) {
  for (std::size_t i = 0; i < problem.nodes.size(); ++i)
    check_node(problem.nodes[i], fmt::format("intra-operator problem: node {}", i));
  for (std::size_t i = 0; i < problem.edges.size(); ++i)
    check_edge(problem, problem.edges[i], fmt::format("intra-operator problem: edge {}", i));
  if (problem.usage_limit && *problem.usage_limit < 0)
    throw InputError("intra-operator problem",
                     fmt::format("the usage limit is {}; give 0 or more, or leave it out", *problem.usage_limit));
}

IntraOpSolution solve_by_enumeration(const IntraOpProblem& problem) {
  [[maybe_unused]] double combinations = 1;
  for (const IntraOpNode& node : problem.nodes) combinations *= static_cast<double>(node.costs.size());
  assert(combinations <= 1e7);
  return Enumeration(problem).run();
}

}  // namespace meshloom
