// Problems of unusual shapes and sizes.
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "planner/intra_op/problem.hpp"
#include "tests/intra_op_samples.hpp"

namespace meshloom {
namespace {

void check_optimal(const IntraOpProblem& problem, TotalCost objective) {
  const IntraOpSolution solution = solve_intra_op(problem);
  REQUIRE(solution.status == SolveStatus::optimal);
  CHECK(bool(solution.objective == objective));
  CHECK(bool(cost_of(problem, solution.choices) == objective));
  if (problem.usage_limit) CHECK(bool(peak_usage(problem, solution.choices) <= *problem.usage_limit));
}

// Every two of `nodes` nodes are joined.
IntraOpProblem clique(std::uint32_t nodes, std::size_t strategies, std::uint64_t seed) {
  Random random(seed);
  IntraOpProblem problem;
  for (std::uint32_t node = 0; node < nodes; ++node)
    problem.nodes.push_back({std::vector<std::int64_t>(strategies, 0), {}, 0, 0});
  for (std::uint32_t a = 0; a < nodes; ++a)
    for (std::uint32_t b = 0; b < a; ++b) {
      IntraOpEdge edge{a, b, {}};
      for (std::size_t k = 0; k < strategies * strategies; ++k) edge.costs.push_back(random.between(0, 999));
      problem.edges.push_back(edge);
    }
  return problem;
}

TEST_CASE("a star of 1,000 nodes is solved under a limit", "[intra_op]") {
  // The centre's strategy 1 costs 7 and makes all edges free, which otherwise cost at least 1 each. A leaf's strategy 1
  // costs 4 instead of 5 but uses 1, and 200 of them fit.
  IntraOpProblem problem;
  problem.nodes.push_back({{0, 7}, {0, 0}, 0, 1});
  for (std::uint32_t leaf = 1; leaf <= 1'000; ++leaf) {
    problem.nodes.push_back({{5, 4}, {0, 1}, 0, 1});
    problem.edges.push_back({0, leaf, {1, 3, 0, 0}});
  }
  problem.usage_limit = 200;
  check_optimal(problem, 7 + 800 * 5 + 200 * 4);
}

TEST_CASE("a star whose entries add up beyond 64 bits is not called infeasible", "[intra_op]") {
  // Twenty leaves must take the centre's strategy or pay 9·10^17. Strategy 1 costs the centre 2 and a leaf 1; three may
  // take strategy 0, which uses memory, so all take strategy 1.
  IntraOpProblem problem;
  problem.nodes.push_back({{0, 2}, {}, 0, 0});
  const std::int64_t huge = 900'000'000'000'000'000;
  for (std::uint32_t leaf = 1; leaf <= 20; ++leaf) {
    problem.nodes.push_back({{0, 1}, {1, 0}, 0, 1});
    problem.edges.push_back({0, leaf, {0, huge, huge, 0}});
  }
  problem.usage_limit = 3;
  check_optimal(problem, 2 + 20 * 1);
}

TEST_CASE("usages whose sums would leave 64 bits are refused, large limits are not", "[intra_op]") {
  const std::int64_t large = 1'500'000'000'000'000'000;
  IntraOpProblem problem{{{{0, 10}, {large, 0}, 0, 1}, {{0, 10}, {large, 0}, 0, 1}}, {}, 2 * large};
  CHECK_THROWS_WITH(solve_intra_op(problem), Catch::Contains("in a larger unit"));
  problem.nodes[1].usages = {7, 0};
  for (const std::int64_t limit : {large + 7, std::int64_t{9'000'000'000'000'000'000}}) {
    problem.usage_limit = limit;
    check_optimal(problem, 0);
  }
  problem.usage_limit = large + 6;
  check_optimal(problem, 10);
}

TEST_CASE("twenty thousand strategies a node are not compared one by one", "[intra_op]") {
  // Strategy k costs 20,000 − k and uses k; three nodes share 30,000: their costs add up to 60,000 − 30,000.
  IntraOpProblem problem;
  for (int node = 0; node < 3; ++node) {
    IntraOpNode& made = problem.nodes.emplace_back();
    for (std::int64_t k = 0; k < 20'000; ++k) {
      made.costs.push_back(20'000 - k);
      made.usages.push_back(k);
    }
    made.live_until = 1;
  }
  problem.usage_limit = 30'000;
  const IntraOpSolution solution = solve_intra_op(problem, {.time_limit_s = 0.2});
  REQUIRE(!solution.choices.empty());
  CHECK(bool(peak_usage(problem, solution.choices) <= 30'000));
  CHECK(bool(solution.lower_bound <= 30'000));
  CHECK(bool(solution.objective >= 30'000));
}

TEST_CASE("a star whose leaves differ is solved", "[intra_op]") {
  Random random(1);
  IntraOpProblem problem;
  problem.nodes.push_back({{3, 1, 2}, {}, 0, 0});
  TotalCost totals[3] = {3, 1, 2};
  for (std::uint32_t leaf = 1; leaf <= 1'000; ++leaf) {
    problem.nodes.push_back({{random.between(0, 9), random.between(0, 9)}, {}, 0, 0});
    IntraOpEdge edge{0, leaf, {}};
    for (std::size_t k = 0; k < 3; ++k) {
      for (int other = 0; other < 2; ++other) edge.costs.push_back(random.between(0, 9));
      totals[k] += std::min(problem.nodes[leaf].costs[0] + edge.costs[2 * k],
                            problem.nodes[leaf].costs[1] + edge.costs[2 * k + 1]);
    }
    problem.edges.push_back(edge);
  }
  check_optimal(problem, std::min({totals[0], totals[1], totals[2]}));
}

TEST_CASE("a chain of 20,000 nodes is solved, with usage and without", "[intra_op]") {
  // Alternating strategies are free, equal ones cost 3; strategy 1 costs 1: every second node takes it.
  IntraOpProblem problem;
  for (std::uint32_t node = 0; node < 20'000; ++node) {
    problem.nodes.push_back({{0, 1}, {2, 1}, node, std::int64_t{node} + 2});
    if (node > 0) problem.edges.push_back({node - 1, node, {3, 0, 0, 3}});
  }
  check_optimal(problem, 10'000);
  problem.usage_limit = 4;  // two nodes at a time: never binds
  check_optimal(problem, 10'000);
  problem.usage_limit = 3;  // 2 + 1 at every time: alternating still fits
  check_optimal(problem, 10'000);
  problem.usage_limit = 2;  // all take strategy 1: 20,000 and 3 for each of 19,999 edges
  check_optimal(problem, 20'000 + 3 * 19'999);
}

TEST_CASE("a clique that no solver closes is left at the time limit with an answer and a bound", "[intra_op]") {
  const IntraOpProblem problem = clique(60, 2, 5);
  for (const Solver solver : {Solver::automatic, Solver::anytime, Solver::cbc}) {
    const IntraOpSolution solution = solve_intra_op(problem, {.solver = solver, .time_limit_s = 0.5});
    INFO(name(solver));
    REQUIRE(solution.status == SolveStatus::feasible);
    CHECK(bool(cost_of(problem, solution.choices) == solution.objective));
    CHECK(bool(solution.lower_bound < solution.objective));
    CHECK(bool(solution.lower_bound > 0));
  }
}

TEST_CASE("an interrupt ends the search for a clique's optimum", "[intra_op]") {
  const IntraOpProblem problem = clique(24, 5, 6);
  for (const Solver solver : {Solver::automatic, Solver::anytime, Solver::cbc}) {
    std::atomic<bool> interrupt = false;
    std::thread user([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      interrupt = true;
    });
    const IntraOpSolution solution = solve_intra_op(problem, {.solver = solver, .interrupt = &interrupt});
    user.join();
    INFO(name(solver));
    CHECK(solution.status == SolveStatus::feasible);
  }
}

TEST_CASE("all costs zero: everything is a tie", "[intra_op]") {
  IntraOpProblem problem = clique(60, 6, 7);
  for (IntraOpEdge& edge : problem.edges) edge.costs.assign(edge.costs.size(), 0);
  check_optimal(problem, 0);
  // Three of 60 may take a strategy that uses 1; the others take strategy 5, which uses nothing.
  for (IntraOpNode& node : problem.nodes) node = {std::vector<std::int64_t>(6, 0), {1, 1, 1, 1, 1, 0}, 0, 1};
  problem.usage_limit = 3;
  check_optimal(problem, 0);
}

TEST_CASE("three hundred equal strategies of a node are one", "[intra_op]") {
  IntraOpProblem problem;
  for (int node = 0; node < 4; ++node)
    problem.nodes.push_back({std::vector<std::int64_t>(300, 2), std::vector<std::int64_t>(300, 5), 0, 1});
  for (std::uint32_t node = 0; node < 4; ++node)
    problem.edges.push_back({node, (node + 1) % 4, std::vector<std::int64_t>(90'000, 3)});
  problem.usage_limit = 20;
  check_optimal(problem, 4 * 2 + 4 * 3);
  problem.usage_limit = 19;
  CHECK(solve_intra_op(problem).status == SolveStatus::infeasible);
}

TEST_CASE("three hundred strategies that differ, on both ends of an edge", "[intra_op]") {
  // Strategies k and l cost |k − l|, k alone (300 − k), and use k: under the limit, k = l = 180.
  IntraOpProblem problem;
  for (int node = 0; node < 2; ++node) {
    IntraOpNode& made = problem.nodes.emplace_back();
    for (std::int64_t k = 0; k < 300; ++k) {
      made.costs.push_back(300 - k);
      made.usages.push_back(k);
    }
    made.live_until = 1;
  }
  IntraOpEdge edge{0, 1, {}};
  for (std::int64_t k = 0; k < 300; ++k)
    for (std::int64_t l = 0; l < 300; ++l) edge.costs.push_back(std::abs(k - l));
  problem.edges.push_back(edge);
  problem.usage_limit = 360;
  check_optimal(problem, 2 * 120);
}

TEST_CASE("a limit of zero allows what uses nothing, and only that", "[intra_op]") {
  IntraOpProblem problem = clique(30, 3, 8);
  for (IntraOpNode& node : problem.nodes) node = {{1, 2, 0}, {0, 0, 1}, 0, 1};
  for (IntraOpEdge& edge : problem.edges) edge.costs.assign(9, 0);
  problem.usage_limit = 0;
  check_optimal(problem, 30);
  problem.nodes[17].usages = {1, 1, 1};
  CHECK(solve_intra_op(problem).status == SolveStatus::infeasible);
}

TEST_CASE("usages that all exceed the limit leave no answer, unless their lives are empty", "[intra_op]") {
  IntraOpProblem problem = clique(40, 3, 9);
  for (IntraOpNode& node : problem.nodes) node = {{1, 2, 3}, {10, 11, 12}, 5, 5};
  for (IntraOpEdge& edge : problem.edges) edge.costs.assign(9, 1);
  problem.usage_limit = 9;
  check_optimal(problem, 40 * 1 + 40 * 39 / 2);
  problem.nodes[3].live_until = 4;  // reversed: empty as well
  check_optimal(problem, 40 * 1 + 40 * 39 / 2);
  problem.nodes[3].live_until = 6;
  for (const Solver solver : {Solver::automatic, Solver::anytime, Solver::cbc, Solver::elimination})
    CHECK(solve_intra_op(problem, {.solver = solver}).status == SolveStatus::infeasible);
}

}  // namespace
}  // namespace meshloom
