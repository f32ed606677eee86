#include "tests/intra_op_samples.hpp"

#include <catch2/catch.hpp>

namespace meshloom {
namespace {

std::int64_t random_cost(Random& random, const ProblemShape& shape) {
  return random.one_in(shape.one_infinite_in) ? infinite_cost : random.between(0, shape.largest_cost);
}

bool is_tiny(const IntraOpProblem& problem) {
  double combinations = 1;
  for (const IntraOpNode& node : problem.nodes) combinations *= static_cast<double>(node.costs.size());
  return combinations <= 20'000;
}

}  // namespace

Random::Random(std::uint64_t seed) : state_(seed) {}

// splitmix64 [Steele, Lea, Flood 2014]
std::int64_t Random::between(std::int64_t low, std::int64_t high) {
  std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  mixed ^= mixed >> 31;
  return low + static_cast<std::int64_t>(mixed % static_cast<std::uint64_t>(high - low + 1));
}

bool Random::one_in(std::int64_t n) { return between(1, n) == 1; }

// The published example of the ASPLOS 2025 intra-operator contest (google/iopddl, Apache-2.0).
IntraOpProblem contest_example() {
  return {{{{15}, {10}, 30, 70},
           {{55, 65}, {25, 25}, 40, 70},
           {{25, 45, 35}, {15, 20, 15}, 50, 120},
           {{85, 75}, {10, 10}, 110, 140},
           {{95}, {15}, 110, 150}},
          {{0, 1, {30, 40}}, {0, 2, {50, 10, 40}}, {1, 3, {90, 10, 20, 80}}, {2, 4, {60, 20, 30}}, {3, 4, {70, 60}}},
          50};
}

IntraOpProblem random_problem(Random& random, const ProblemShape& shape) {
  IntraOpProblem problem;
  std::int64_t nodes = random.between(1, shape.most_nodes);
  for (std::int64_t i = 0; i < nodes; ++i) {
    IntraOpNode node;
    std::int64_t strategies = random.between(1, shape.most_strategies);
    for (std::int64_t k = 0; k < strategies; ++k) node.costs.push_back(random_cost(random, shape));
    if (!random.one_in(4))
      for (std::int64_t k = 0; k < strategies; ++k) node.usages.push_back(random.between(0, 10));
    node.live_from = random.between(0, 6);
    node.live_until = random.between(0, 8);  // some intervals are empty
    problem.nodes.push_back(node);
  }
  std::int64_t edges = nodes < 2 ? 0 : random.between(0, shape.edges_per_node * nodes);
  for (std::int64_t i = 0; i < edges; ++i) {
    IntraOpEdge edge;
    edge.a = static_cast<std::uint32_t>(random.between(0, nodes - 1));
    edge.b = static_cast<std::uint32_t>((edge.a + random.between(1, nodes - 1)) % nodes);
    std::size_t entries = problem.nodes[edge.a].costs.size() * problem.nodes[edge.b].costs.size();
    for (std::size_t k = 0; k < entries; ++k) edge.costs.push_back(random_cost(random, shape));
    problem.edges.push_back(edge);
    if (random.one_in(6)) problem.edges.push_back(edge);  // a parallel one
  }
  return problem;
}

IntraOpProblem limited_problem(Random& random, int trial) {
  while (true) {
    IntraOpProblem problem = random_problem(random, {.most_nodes = 9,
                                                     .largest_cost = trial % 5 == 0 ? 3 : 60,
                                                     .one_infinite_in = trial % 3 == 0 ? 4 : 200,
                                                     .edges_per_node = trial % 2 == 0 ? 2 : 5});
    if (!is_tiny(problem)) continue;
    if (random.one_in(5)) return problem;
    const IntraOpSolution best = solve_by_enumeration(problem);
    const std::int64_t peak = best.choices.empty() ? 20 : static_cast<std::int64_t>(peak_usage(problem, best.choices));
    problem.usage_limit = random.between(peak / 3, peak + 2);
    return problem;
  }
}

IntraOpProblem dense_problem(Random& random, std::uint32_t nodes, std::size_t strategies, std::uint32_t reach) {
  IntraOpProblem problem;
  for (std::uint32_t i = 0; i < nodes; ++i) {
    IntraOpNode& node = problem.nodes.emplace_back();
    for (std::size_t k = 0; k < strategies; ++k) {
      node.costs.push_back(random.between(0, 99));
      node.usages.push_back(random.between(0, 20));
    }
    node.live_from = i;
    node.live_until = i + 1 + random.between(0, reach);
    for (std::uint32_t other = i - std::min(i, reach); other < i; ++other) {
      IntraOpEdge edge{other, i, {}};
      for (std::size_t k = 0; k < strategies * strategies; ++k) edge.costs.push_back(random.between(0, 99));
      problem.edges.push_back(edge);
    }
  }
  return problem;
}

void check_answer(const IntraOpProblem& problem, const IntraOpSolution& solution, const IntraOpSolution& oracle) {
  REQUIRE(solution.status == oracle.status);
  CHECK(bool(solution.objective == oracle.objective));
  CHECK(bool(solution.lower_bound == oracle.objective));
  if (oracle.status == SolveStatus::infeasible) {
    CHECK(solution.choices.empty());
    return;
  }
  CHECK(bool(cost_of(problem, solution.choices) == oracle.objective));
  if (problem.usage_limit) CHECK(bool(peak_usage(problem, solution.choices) <= *problem.usage_limit));
}

}  // namespace meshloom
