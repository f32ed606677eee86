#include <catch2/catch.hpp>

#include "planner/inter_op/problem.hpp"
#include "tests/random_tables.hpp"

namespace meshloom {
namespace {

StageOption random_option(Random& random, std::uint32_t first, std::uint32_t last, std::uint32_t submesh) {
  StageOption option{first, last, submesh, random.seconds(100), random.seconds(200), {}, random.between(-1, 3)};
  if (!random.one_in(3)) option.per_step = random.seconds(600);
  return option;
}

InterOpProblem random_problem(Random& random) {
  InterOpProblem problem;
  problem.layers = static_cast<std::uint32_t>(random.between(1, 4));
  problem.hosts = random.between(1, 2);
  problem.devices_per_host = 1 << random.between(0, 2);
  problem.microbatches = random.one_in(4) ? 1 : random.between(2, 16);
  problem.placement = random.one_in(4) ? Placement::devices_only : Placement::contiguous_on_hosts;
  for (std::int64_t devices = 1; devices <= problem.devices_per_host; devices *= 2)
    problem.submeshes.push_back({1, devices});
  if (problem.hosts == 2) problem.submeshes.push_back({2, problem.devices_per_host});
  for (std::uint32_t first = 0; first < problem.layers; ++first)
    for (std::uint32_t last = first; last < problem.layers; ++last)
      for (std::uint32_t submesh = 0; submesh < problem.submeshes.size(); ++submesh)
        for (std::int64_t i = random.between(0, 3); i > 0; --i)
          problem.options.push_back(random_option(random, first, last, submesh));
  if (!random.one_in(3))
    for (std::uint32_t cut = 0; cut + 1 < problem.layers; ++cut)
      problem.cuts.push_back({{random.seconds(10), random.seconds(40)}, {random.seconds(10), random.seconds(40)}});
  if (random.one_in(2))  // powers of two, so that all sums stay exact
    problem.lanes = {std::int64_t{1} << random.between(0, 2), std::int64_t{1} << random.between(0, 2), {}};
  return problem;
}

TEST_CASE("the dynamic program finds the optimum of 300 random stage tables", "[inter_op]") {
  Random random(11);
  int infeasible = 0, pipelined = 0, exposed = 0;
  for (int trial = 0; trial < 300; ++trial) {
    InterOpProblem problem = random_problem(random);
    InterOpSolution oracle = solve_inter_op_by_enumeration(problem), solution = solve_inter_op(problem);
    INFO("trial " << trial);
    REQUIRE(solution.feasible == oracle.feasible);
    CHECK(solution.objective == oracle.objective);
    infeasible += !oracle.feasible;
    pipelined += oracle.options.size() > 1;
    if (!oracle.feasible) continue;
    CHECK(objective_of(problem, solution.options) == solution.objective);
    for (StageOption& option : problem.options) option.per_step = Seconds(0);
    exposed += *objective_of(problem, oracle.options) < oracle.objective;
  }
  CHECK(infeasible > 20);
  CHECK(pipelined > 40);
  CHECK(exposed > 60);
}

TEST_CASE("with a fixed number of stages it finds the optimum of 500 random stage tables", "[inter_op]") {
  Random random(12);
  int infeasible = 0, feasible_otherwise = 0, dearer = 0, more = 0;
  for (int trial = 0; trial < 500; ++trial) {
    InterOpProblem problem = random_problem(random);
    const InterOpSolution free = solve_inter_op(problem);
    problem.stages = static_cast<std::uint32_t>(random.between(1, problem.layers));
    const InterOpSolution oracle = solve_inter_op_by_enumeration(problem), solution = solve_inter_op(problem);
    INFO("trial " << trial);
    REQUIRE(solution.feasible == oracle.feasible);
    CHECK(solution.objective == oracle.objective);
    infeasible += !oracle.feasible;
    feasible_otherwise += !oracle.feasible && free.feasible;
    if (!oracle.feasible) continue;
    CHECK(solution.options.size() == *problem.stages);
    CHECK(objective_of(problem, solution.options) == solution.objective);
    dearer += free.objective < solution.objective;
    more += free.options.size() < solution.options.size() && free.objective < solution.objective;
  }
  CHECK(infeasible > 50);
  CHECK(feasible_otherwise > 50);
  CHECK(dearer > 50);
  CHECK(more > 20);
}

// Two layers on two hosts of two devices; the first two options are one layer per host.
InterOpProblem two_stages() {
  InterOpProblem problem;
  problem.layers = 2;
  problem.hosts = 2;
  problem.devices_per_host = 2;
  problem.microbatches = 10;
  problem.submeshes = {{1, 1}, {1, 2}, {2, 2}};
  problem.options = {{0, 0, 1, Seconds(1), Seconds(2), Seconds(0), 4},
                     {1, 1, 1, Seconds(1), Seconds(3), Seconds(0), 4}};
  return problem;
}

TEST_CASE("two stages of 3 and 4 seconds take 43 for ten microbatches", "[inter_op]") {
  // 3 + 4 + 9·4
  CHECK(solve_inter_op(two_stages()).objective == Seconds(43));
}

TEST_CASE("a sync hides behind the backwards of the stages before it", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.options[1].per_step = Seconds(5);  // 2 of it behind stage 0's backward
  CHECK(solve_inter_op(problem).objective == Seconds(46));
  problem.options[0].per_step = Seconds(4);  // nothing before it
  CHECK(solve_inter_op(problem).objective == Seconds(47));
}

TEST_CASE("activations are sent by the stage before the cut, gradients by the one after it", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.cuts = {{{Seconds(100), Seconds(0.5)}, {Seconds(100), Seconds(0.25)}}};  // between hosts: 0.5 and 0.25
  // 3.5 + 4.25 + 9·4.25
  CHECK(solve_inter_op(problem).objective == Seconds(46));
  problem.hosts = 1;
  problem.devices_per_host = 4;  // the same devices in one host
  // 103 + 104 + 9·104
  CHECK(solve_inter_op(problem).objective == Seconds(1143));
}

TEST_CASE("a stage sends over the lanes of its own devices, and lanes do not shorten latency", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.cuts = {{{Seconds(100), Seconds(0.5)}, {Seconds(100), Seconds(0.25)}}};
  problem.lanes = {2, 1, {Seconds(4), Seconds(0.125)}};
  // Two hosts, whole ones: one lane between them, as without.
  CHECK(solve_inter_op(problem).objective == Seconds(46));
  // Units of two hosts: 0.125 + 0.375/2 there, 0.125 + 0.125/2 back; 3.3125 + 4.1875 + 9·4.1875.
  problem.lanes->hosts_per_unit = 2;
  CHECK(solve_inter_op(problem).objective == Seconds(45.1875));
  // On one host of four devices, two lanes: 3 + 4 + 96/2 there, 4 + 4 + 96/2 back.
  problem.hosts = 1, problem.devices_per_host = 4;
  CHECK(solve_inter_op(problem).objective == Seconds(55 + 56 + 9 * 56));
}

TEST_CASE("one device of four with two NICs has half a host to send with", "[inter_op]") {
  CHECK(hosts_to_send_with({1, 1}, 4, 2) == 0.5);
  CHECK(hosts_to_send_with({1, 2}, 4, 2) == 0.5);
  CHECK(hosts_to_send_with({1, 4}, 4, 2) == 1);
  CHECK(hosts_to_send_with({3, 4}, 4, 2) == 3);
  CHECK(hosts_to_send_with({1, 2}, 8, 8) == 0.25);
}

TEST_CASE("a stage without room for its followers' microbatches is only used where few follow", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.options[1].max_following_stages = 0;
  CHECK(solve_inter_op(problem).feasible);
  problem.options[0].max_following_stages = 0;
  CHECK_FALSE(solve_inter_op(problem).feasible);
  problem.options.push_back({0, 0, 1, Seconds(2), Seconds(4), Seconds(0), 1});  // slower and leaner
  // 6 + 4 + 9·6
  CHECK(solve_inter_op(problem).objective == Seconds(64));
}

TEST_CASE("a submesh inside a host does not straddle two hosts", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.layers = 3;
  // Devices 0 | 1 2 | 3 is no placement; 0 | 1 | 2 3 is.
  problem.options = {{0, 0, 0, Seconds(1), Seconds(1), Seconds(0), 9},
                     {1, 1, 1, Seconds(1), Seconds(1), Seconds(0), 9},
                     {2, 2, 0, Seconds(1), Seconds(1), Seconds(0), 9}};
  CHECK_FALSE(solve_inter_op(problem).feasible);
  problem.placement = Placement::devices_only;
  CHECK(solve_inter_op(problem).objective == Seconds(24));  // 6 + 9·2
  problem.placement = Placement::contiguous_on_hosts;
  problem.options.push_back({1, 1, 0, Seconds(1), Seconds(1), Seconds(0), 9});
  problem.options.push_back({2, 2, 1, Seconds(1), Seconds(1), Seconds(0), 9});
  CHECK(solve_inter_op(problem).options == std::vector<std::uint32_t>{0, 3, 4});
}

TEST_CASE("of equal pipelines the one of fewer stages, then of lower options, is chosen", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.layers = 3;
  // 4 + 1.5 + 1.5 and 4 + 3, both with 9·4.
  problem.options = {{0, 0, 1, Seconds(2), Seconds(2), Seconds(0), 9},
                     {1, 1, 0, Seconds(1), Seconds(0.5), Seconds(0), 9},
                     {2, 2, 0, Seconds(1), Seconds(0.5), Seconds(0), 9},
                     {1, 2, 1, Seconds(2), Seconds(1), Seconds(0), 9},
                     {1, 2, 1, Seconds(2), Seconds(1), Seconds(0), 9}};
  CHECK(solve_inter_op(problem).options == std::vector<std::uint32_t>{0, 3});
  CHECK(solve_inter_op_by_enumeration(problem).options == std::vector<std::uint32_t>{0, 3});
}

TEST_CASE("a stage on all devices of all hosts is a pipeline of one", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.options = {{0, 1, 2, Seconds(2), Seconds(3), Seconds(7), 0}};
  // 5 + 9·5 + 7
  InterOpSolution solution = solve_inter_op(problem);
  CHECK(solution.objective == Seconds(57));
  CHECK(solution.options.size() == 1);
}

TEST_CASE("a table without options has no pipeline", "[inter_op]") {
  InterOpProblem problem = two_stages();
  problem.options.clear();
  CHECK_FALSE(solve_inter_op(problem).feasible);
  CHECK_FALSE(solve_inter_op_by_enumeration(problem).feasible);
}

}  // namespace
}  // namespace meshloom
