#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "planner/inter_op/problem.hpp"
#include "tests/random_tables.hpp"

namespace meshloom {
namespace {

void add_submeshes(InterOpProblem& problem, std::int64_t hosts, std::int64_t devices_per_host, std::uint32_t group) {
  for (std::int64_t devices = 1; devices <= devices_per_host; devices *= 2)
    problem.submeshes.push_back({1, devices, group});
  if (hosts == 2) problem.submeshes.push_back({2, devices_per_host, group});
}

void add_options(InterOpProblem& problem, Random& random) {
  for (std::uint32_t first = 0; first < problem.layers; ++first)
    for (std::uint32_t last = first; last < problem.layers; ++last)
      for (std::uint32_t submesh = 0; submesh < problem.submeshes.size(); ++submesh)
        for (std::int64_t i = random.between(0, 3); i > 0; --i) {
          StageOption option{first, last, submesh, random.seconds(100), random.seconds(200), {}, random.between(-1, 3)};
          if (!random.one_in(3)) option.per_step = random.seconds(600);
          problem.options.push_back(option);
        }
}

// Two or three groups of one or two hosts of one to four devices, two to five layers.
InterOpProblem random_problem(Random& random) {
  InterOpProblem problem;
  problem.layers = static_cast<std::uint32_t>(random.between(2, 5));
  problem.hosts = random.between(1, 2);
  problem.devices_per_host = 1 << random.between(0, 1);
  problem.microbatches = random.one_in(4) ? 1 : random.between(2, 16);
  add_submeshes(problem, problem.hosts, problem.devices_per_host, 0);
  const bool sends = !random.one_in(4);
  const std::uint32_t cuts = sends ? problem.layers - 1 : 0;
  for (std::uint32_t cut = 0; cut < cuts; ++cut)
    problem.cuts.push_back({{random.seconds(10), random.seconds(40)}, {random.seconds(10), random.seconds(40)}});
  const std::uint32_t groups = random.one_in(4) ? 3 : 2;
  for (std::uint32_t group = 1; group < groups; ++group) {
    InterOpProblem::FurtherGroup further{random.between(1, 2), 1 << random.between(0, 2), {}};
    for (std::uint32_t cut = 0; cut < cuts; ++cut)
      further.cuts.push_back({{random.seconds(10), random.seconds(40), random.seconds(200)},
                              {random.seconds(10), random.seconds(40), random.seconds(200)}});
    add_submeshes(problem, further.hosts, further.devices_per_host, group);
    problem.further_groups.push_back(std::move(further));
  }
  add_options(problem, random);
  return problem;
}

TEST_CASE("the dynamic program finds the optimum of 500 random problems of two and three groups",
          "[inter_op][groups]") {
  Random random(41);
  int infeasible = 0, border_matters = 0, more_than_a_stage_per_group = 0;
  for (int trial = 0; trial < 500; ++trial) {
    const InterOpProblem problem = random_problem(random);
    const InterOpSolution oracle = solve_inter_op_by_enumeration(problem), solution = solve_inter_op(problem);
    INFO("trial " << trial);
    REQUIRE(solution.feasible == oracle.feasible);
    CHECK(solution.objective == oracle.objective);
    infeasible += !oracle.feasible;
    if (!oracle.feasible) continue;
    CHECK(objective_of(problem, solution.options) == solution.objective);
    more_than_a_stage_per_group += solution.options.size() > problem.further_groups.size() + 1;
    InterOpProblem without_borders = problem;
    for (auto& group : without_borders.further_groups)
      for (auto& cut : group.cuts) cut.forward[2] = cut.backward[2] = Seconds(0);
    border_matters += solve_inter_op(without_borders).objective < solution.objective;
  }
  CHECK(infeasible > 50);
  CHECK(border_matters > 80);
  CHECK(more_than_a_stage_per_group > 50);
}

TEST_CASE("stages lie within one group, and the border costs what the third link says", "[inter_op][groups]") {
  // Two layers, a host of two devices and another of one. Each layer may run on each host's devices.
  InterOpProblem problem;
  problem.layers = 2;
  problem.devices_per_host = 2;
  problem.microbatches = 10;
  problem.submeshes = {{1, 2, 0}, {1, 1, 1}, {1, 1, 0}};
  problem.options = {{0, 0, 0, Seconds(1), Seconds(2), Seconds(0), 4},
                     {1, 1, 1, Seconds(1), Seconds(3), Seconds(0), 4},
                     {0, 1, 0, Seconds(1), Seconds(1), Seconds(0), 4}};
  problem.cuts = {{{Seconds(50), Seconds(60)}, {Seconds(50), Seconds(60)}}};
  problem.further_groups = {
      {1, 1, {{{Seconds(70), Seconds(80), Seconds(0.5)}, {Seconds(70), Seconds(80), Seconds(0.25)}}}}};
  // t = 1.5 + 2 and 1 + 3.25: their sum 7.75, and nine more times the slower, 4.25.
  const InterOpSolution solution = solve_inter_op(problem);
  REQUIRE(solution.feasible);
  CHECK(solution.objective == Seconds(7.75 + 9 * 4.25));
  CHECK(solution.options == std::vector<std::uint32_t>{0, 1});
  // The whole graph on the first group alone leaves devices over, and no stage spans the groups.
  CHECK_FALSE(objective_of(problem, {2}));
  problem.options[2].submesh = 1;
  CHECK_FALSE(objective_of(problem, {2}));
  // A submesh of the second group cannot come first.
  problem.options = {{0, 0, 1, Seconds(1), Seconds(1), Seconds(0), 4},
                     {1, 1, 0, Seconds(1), Seconds(1), Seconds(0), 4}};
  CHECK_FALSE(solve_inter_op(problem).feasible);
}

// The same hosts as groups of so many each, with the links between hosts at the borders.
InterOpProblem divided(const InterOpProblem& uniform, const std::vector<std::int64_t>& hosts) {
  InterOpProblem problem = uniform;
  problem.hosts = hosts.front();
  problem.submeshes.clear();
  problem.options.clear();
  for (std::uint32_t group = 0; group < hosts.size(); ++group)
    for (std::uint32_t s = 0; s < uniform.submeshes.size(); ++s) {
      for (const StageOption& option : uniform.options) {
        if (option.submesh != s) continue;
        problem.options.push_back(option);
        problem.options.back().submesh = static_cast<std::uint32_t>(problem.submeshes.size());
      }
      problem.submeshes.push_back(uniform.submeshes[s]);
      problem.submeshes.back().group = group;
    }
  for (std::size_t group = 1; group < hosts.size(); ++group) {
    InterOpProblem::FurtherGroup further{hosts[group], uniform.devices_per_host, {}};
    for (const InterOpProblem::Cut& cut : uniform.cuts)
      further.cuts.push_back(
          {{cut.forward[0], cut.forward[1], cut.forward[1]}, {cut.backward[0], cut.backward[1], cut.backward[1]}});
    problem.further_groups.push_back(std::move(further));
  }
  return problem;
}

TEST_CASE("groups of equal hosts, linked like their hosts, are as good as one cluster where stages stay within hosts",
          "[inter_op][groups]") {
  Random random(43);
  int feasible = 0;
  for (int trial = 0; trial < 100; ++trial) {
    InterOpProblem uniform;
    uniform.layers = static_cast<std::uint32_t>(random.between(6, 8));
    uniform.hosts = 4;
    uniform.devices_per_host = 2;
    uniform.microbatches = random.between(1, 8);
    uniform.submeshes = {{1, 1}, {1, 2}};
    add_options(uniform, random);
    for (std::uint32_t cut = 0; cut + 1 < uniform.layers; ++cut)
      uniform.cuts.push_back({{random.seconds(10), random.seconds(40)}, {random.seconds(10), random.seconds(40)}});
    const InterOpSolution solution = solve_inter_op(uniform);
    feasible += solution.feasible;
    INFO("trial " << trial);
    for (const std::vector<std::int64_t>& hosts : {std::vector<std::int64_t>{2, 2}, {1, 3}, {1, 1, 1, 1}}) {
      const InterOpSolution same = solve_inter_op(divided(uniform, hosts));
      REQUIRE(same.feasible == solution.feasible);
      CHECK(same.objective == solution.objective);
    }
  }
  CHECK(feasible > 20);
}

}  // namespace
}  // namespace meshloom
