#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"
#include "planner/intra_op/problem.hpp"
#include "tests/intra_op_samples.hpp"

namespace meshloom {
namespace {

std::string message_of(const IntraOpProblem& problem) {
  try {
    check_problem(problem);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("the contest's example costs 415 without its limit and 445 with it", "[intra_op]") {
  IntraOpProblem problem = contest_example();
  check_problem(problem);
  // 15 + 55 + 45 + 75 + 95 nodes, 30 + 10 + 10 + 20 + 60 edges; live at 50: 10 + 25 + 20 = 55 > 50.
  CHECK(bool(cost_of(problem, {0, 0, 1, 1, 0}) == 415));
  CHECK(bool(peak_usage(problem, {0, 0, 1, 1, 0}) == 55));
  // Strategy 2 of node 2 takes 5 less and costs 35 − 45 + 40 − 10 + 30 − 20 = 30 more.
  const std::vector<std::uint32_t> fitting = {0, 0, 2, 1, 0};
  CHECK(solve_by_enumeration(problem).choices == fitting);
  CHECK(bool(solve_by_enumeration(problem).objective == 445));
  CHECK(solve_by_cbc(problem, {}).choices == fitting);
  CHECK(bool(solve_by_cbc(problem, {}).objective == 445));
  problem.usage_limit.reset();
  CHECK(bool(solve_by_enumeration(problem).objective == 415));
  CHECK(bool(solve_by_elimination(problem).objective == 415));
  CHECK(bool(solve_by_cbc(problem, {}).objective == 415));
}

TEST_CASE("the ILP finds the optimum of 300 random problems with memory limits", "[intra_op]") {
  Random random(1);
  int infeasible = 0, binding = 0;
  for (int trial = 0; trial < 300; ++trial) {
    IntraOpProblem problem =
        random_problem(random, {.largest_cost = 40, .one_infinite_in = trial % 4 == 0 ? 12 : 1000});
    IntraOpSolution unlimited = solve_by_enumeration(problem);
    if (!random.one_in(5)) problem.usage_limit = random.between(2, 20);
    IntraOpSolution oracle = solve_by_enumeration(problem);
    infeasible += oracle.status == SolveStatus::infeasible;
    binding += oracle.status == SolveStatus::optimal && oracle.objective > unlimited.objective;
    INFO("trial " << trial);
    check_answer(problem, solve_by_cbc(problem, {}), oracle);
  }
  CHECK(infeasible > 30);
  CHECK(binding > 20);
}

TEST_CASE("elimination finds the optimum of 300 random problems without limits", "[intra_op]") {
  Random random(2);
  int infeasible = 0;
  for (int trial = 0; trial < 300; ++trial) {
    // Every third has costs beyond 2^53, which doubles cannot hold.
    IntraOpProblem problem = random_problem(random, {.largest_cost = trial % 3 == 0 ? 10'000'000'000'000'000 : 20});
    IntraOpSolution oracle = solve_by_enumeration(problem);
    infeasible += oracle.status == SolveStatus::infeasible;
    INFO("trial " << trial);
    check_answer(problem, solve_by_elimination(problem), oracle);
  }
  CHECK(infeasible > 20);
  CHECK(infeasible < 200);
}

// The least cost of `problem` with the kept nodes fixed as `entry` says, their own costs left out.
IntraOpSolution solve_with_fixed(IntraOpProblem problem, const ReducedTable& table, std::size_t entry) {
  for (std::size_t k = table.kept.size(); k-- > 0;) {
    std::vector<std::int64_t>& costs = problem.nodes[table.kept[k]].costs;
    std::fill(costs.begin(), costs.end(), infinite_cost);
    costs[entry % table.sizes[k]] = 0;
    entry /= table.sizes[k];
  }
  return solve_by_enumeration(problem);
}

TEST_CASE("each entry of a reduced table is the optimum with the kept nodes fixed", "[intra_op]") {
  Random random(3);
  int finite = 0, infinite = 0;
  for (int trial = 0; trial < 300; ++trial) {
    IntraOpProblem problem = random_problem(random, {.most_nodes = 7, .most_strategies = 3});
    std::vector<std::uint32_t> kept;
    for (std::uint32_t node = static_cast<std::uint32_t>(problem.nodes.size()); node-- > 0;)
      if (random.one_in(3) && kept.size() < 3) kept.push_back(node);
    ReducedTable table = eliminate_all_but(problem, kept);
    REQUIRE(table.kept == kept);
    for (std::uint32_t node : kept) std::fill(problem.nodes[node].costs.begin(), problem.nodes[node].costs.end(), 0);
    for (std::size_t entry = 0; entry < table.costs.size(); ++entry) {
      INFO("trial " << trial << ", entry " << entry);
      IntraOpSolution oracle = solve_with_fixed(problem, table, entry);
      bool is_finite = oracle.status == SolveStatus::optimal;
      (is_finite ? finite : infinite) += 1;
      CHECK(table.costs[entry] == (is_finite ? static_cast<std::int64_t>(oracle.objective) : infinite_cost));
      REQUIRE(table.choices[entry].empty() != is_finite);
      if (is_finite) CHECK(bool(cost_of(problem, table.choices[entry]) == oracle.objective));
      std::size_t rest = entry;
      for (std::size_t k = kept.size(); is_finite && k-- > 0; rest /= table.sizes[k])
        CHECK(table.choices[entry][kept[k]] == rest % table.sizes[k]);
    }
  }
  CHECK(finite > 500);
  CHECK(infinite > 100);
}

TEST_CASE("costs of kept nodes are left out and edges between them stay in", "[intra_op]") {
  IntraOpProblem problem{{{{7, 9}, {}, 0, 0}, {{1, 2}, {}, 0, 0}, {{5, 6}, {}, 0, 0}},
                         {{2, 0, {100, 200, 300, 400}}, {1, 0, {0, 10, 10, 0}}},
                         {}};
  // Node 1 follows node 0: 1 + 0 or 2 + 0. Entry [node 2][node 0]: 100 + 1, 200 + 2, 300 + 1, 400 + 2.
  ReducedTable table = eliminate_all_but(problem, {2, 0});
  CHECK(table.costs == std::vector<std::int64_t>{101, 202, 301, 402});
  CHECK(table.choices[3] == std::vector<std::uint32_t>{1, 1, 1});
}

TEST_CASE("sums of forbidden costs do not overflow", "[intra_op]") {
  // A chain of 40 nodes whose first strategies are free but for edges of 10^18 among unlike strategies.
  IntraOpProblem problem;
  for (std::uint32_t i = 0; i < 40; ++i) problem.nodes.push_back({{infinite_cost, 1, 2}, {}, 0, 0});
  for (std::uint32_t i = 0; i < 39; ++i) {
    IntraOpEdge edge{i, i + 1, std::vector<std::int64_t>(9, infinite_cost)};
    edge.costs[4] = 3;
    edge.costs[8] = 0;
    problem.edges.push_back(edge);
  }
  // All nodes alike: 40·1 + 39·3 = 157 or 40·2 = 80.
  CHECK(bool(solve_by_elimination(problem).objective == 80));
  CHECK(bool(cost_of(problem, std::vector<std::uint32_t>(40, 0)) == TotalCost{79} * infinite_cost));
  for (IntraOpEdge& edge : problem.edges) edge.costs.assign(9, infinite_cost);
  CHECK(solve_by_elimination(problem).status == SolveStatus::infeasible);
  CHECK(solve_by_cbc(problem, {}).status == SolveStatus::infeasible);
}

TEST_CASE("a finite total just below 10^18 is an answer, and 10^18 is not", "[intra_op]") {
  IntraOpProblem problem{{{{infinite_cost / 2}, {}, 0, 0}, {{infinite_cost / 2 - 1}, {}, 0, 0}}, {}, {}};
  CHECK(bool(solve_by_elimination(problem).objective == infinite_cost - 1));
  CHECK(bool(solve_by_cbc(problem, {}).objective == infinite_cost - 1));
  problem.nodes[1].costs[0] += 1;
  for (const IntraOpSolution& solution :
       {solve_by_elimination(problem), solve_by_cbc(problem, {}), solve_by_enumeration(problem)})
    CHECK(solution.status == SolveStatus::infeasible);
}

TEST_CASE("the ILP tells costs of picoseconds apart when they differ by one in 10^12", "[intra_op]") {
  IntraOpProblem problem{
      {{{1'000'000'000'001, 1'000'000'000'000}, {1, 1}, 0, 1}, {{1'000'000'000'000, 1'000'000'000'003}, {1, 1}, 0, 1}},
      {{0, 1, {0, 0, 2, 0}}},
      2};
  // 1 + 0 + 0, 1 + 3 + 0, 0 + 0 + 2 or 0 + 3 + 0 above 2·10^12.
  IntraOpSolution solution = solve_by_cbc(problem, {});
  CHECK(solution.choices == std::vector<std::uint32_t>{0, 0});
  CHECK(bool(solution.objective == 2'000'000'000'001));
}

TEST_CASE("a limit short by one byte of many gigabytes is kept by the ILP", "[intra_op]") {
  constexpr std::int64_t gigabyte = 1'000'000'000;
  IntraOpProblem problem{
      {{{0, 10}, {8 * gigabyte, gigabyte}, 0, 2}, {{0, 7}, {8 * gigabyte, 2 * gigabyte}, 1, 3}}, {}, 16 * gigabyte};
  CHECK(bool(solve_by_cbc(problem, {}).objective == 0));
  problem.usage_limit = 16 * gigabyte - 1;
  CHECK(bool(solve_by_cbc(problem, {}).objective == 7));
}

TEST_CASE("nodes whose lives only touch do not share memory", "[intra_op]") {
  IntraOpProblem problem{{{{1}, {10}, 0, 5}, {{1}, {10}, 5, 9}, {{1}, {10}, 7, 7}}, {}, 10};
  CHECK(bool(peak_usage(problem, {0, 0, 0}) == 10));  // [0, 5) then [5, 9); [7, 7) is empty
  CHECK(solve_by_cbc(problem, {}).status == SolveStatus::optimal);
  problem.usage_limit = 9;
  CHECK(solve_by_cbc(problem, {}).status == SolveStatus::infeasible);
}

TEST_CASE("problems without edges, without nodes and with one strategy have answers", "[intra_op]") {
  IntraOpProblem problem{{{{4, 3}, {}, 0, 0}, {{5}, {}, 0, 0}}, {}, {}};
  for (const IntraOpSolution& solution : {solve_by_elimination(problem), solve_by_cbc(problem, {})}) {
    CHECK(solution.choices == std::vector<std::uint32_t>{1, 0});
    CHECK(bool(solution.objective == 8));
  }
  for (const IntraOpSolution& solution : {solve_by_elimination({}), solve_by_cbc({}, {}), solve_by_enumeration({})})
    CHECK(solution.status == SolveStatus::optimal);
}

TEST_CASE("among equal strategies elimination takes the lowest", "[intra_op]") {
  IntraOpProblem problem{{{{3, 3, 3}, {}, 0, 0}, {{9, 2, 2}, {}, 0, 0}}, {{0, 1, std::vector<std::int64_t>(9, 1)}}, {}};
  CHECK(solve_by_elimination(problem).choices == std::vector<std::uint32_t>{0, 1});
}

TEST_CASE("elimination ignores a limit that cannot bind and refuses one that can", "[intra_op]") {
  IntraOpProblem problem = contest_example();
  problem.usage_limit = 55;  // the largest usages at 50: 10 + 25 + 20
  CHECK(bool(solve_by_elimination(problem).objective == 415));
  problem.usage_limit = 54;
  CHECK_THROWS_AS(solve_by_elimination(problem), std::logic_error);
}

TEST_CASE("elimination gives up on tables that no memory holds", "[intra_op]") {
  // 12 nodes, each joined to each other, 20 strategies: the first elimination needs 20^11 entries.
  Random random(4);
  IntraOpProblem problem;
  for (int i = 0; i < 12; ++i) problem.nodes.push_back({std::vector<std::int64_t>(20, 0), {}, 0, 0});
  for (std::uint32_t a = 0; a < 12; ++a)
    for (std::uint32_t b = 0; b < a; ++b) {
      IntraOpEdge edge{a, b, {}};
      for (int k = 0; k < 400; ++k) edge.costs.push_back(random.between(0, 1000));
      problem.edges.push_back(edge);
    }
  IntraOpSolution solution = solve_by_elimination(problem);
  CHECK(solution.status == SolveStatus::time_limit);
  CHECK(solution.choices.empty());
}

TEST_CASE("a problem that does not fit together is refused with its place", "[intra_op]") {
  IntraOpProblem good = contest_example();
  CHECK(message_of(good) == "");
  IntraOpProblem problem = good;
  problem.nodes[2].usages.pop_back();
  CHECK(message_of(problem) ==
        "intra-operator problem: node 2: has 2 usages for 3 strategies; give one for each, or none at all");
  problem = good;
  problem.nodes[1].usages[0] = -4;
  CHECK(message_of(problem) == "intra-operator problem: node 1: has the usage -4; usages start at 0");
  problem = good;
  problem.nodes[0].costs[0] = -1;
  CHECK(message_of(problem) == "intra-operator problem: node 0: has the cost -1; costs start at 0");
  problem = good;
  problem.nodes[0] = {};
  CHECK(message_of(problem) == "intra-operator problem: node 0: has no strategies; give at least one cost");
  problem = good;
  problem.edges[3].b = 5;
  CHECK(message_of(problem) == "intra-operator problem: edge 3: ends at node 5; there are 5, numbered from 0");
  problem = good;
  problem.edges[3].b = 2;
  CHECK(message_of(problem) ==
        "intra-operator problem: edge 3: joins node 2 to itself; add its diagonal to the node's costs");
  problem = good;
  problem.edges[2].costs.push_back(0);
  CHECK(message_of(problem) ==
        "intra-operator problem: edge 2: has 5 costs; nodes 1 and 3 with 2 and 2 strategies need 4");
}

}  // namespace
}  // namespace meshloom
