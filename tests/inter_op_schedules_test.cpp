#include <catch2/catch.hpp>

#include "planner/inter_op/schedules.hpp"
#include "tests/random_tables.hpp"

namespace meshloom {
namespace {

// What a device holds is scarce in two of three problems.
InterOpProblem random_problem(Random& random, std::int64_t least_layers, std::int64_t most_layers) {
  InterOpProblem problem;
  problem.layers = static_cast<std::uint32_t>(random.between(least_layers, most_layers));
  problem.hosts = random.between(1, 2);
  problem.devices_per_host = 1 << random.between(0, 1);
  problem.microbatches = random.one_in(3) ? random.between(1, 5) : 2 * random.between(1, 4);
  for (std::int64_t devices = 1; devices <= problem.devices_per_host; devices *= 2)
    problem.submeshes.push_back({1, devices});
  if (problem.hosts == 2) problem.submeshes.push_back({2, problem.devices_per_host});
  for (std::uint32_t first = 0; first < problem.layers; ++first)
    for (std::uint32_t last = first; last < problem.layers; ++last)
      for (std::uint32_t submesh = 0; submesh < problem.submeshes.size(); ++submesh)
        for (std::int64_t i = random.one_in(5) ? 0 : random.between(1, 3); i > 0; --i) {
          StageOption option{first, last, submesh, random.seconds(100), random.seconds(200), {}, 1};
          if (!random.one_in(3)) option.per_step = random.seconds(900);
          option.backward_weight = Seconds(static_cast<double>(random.between(0, 4)) / 4 * option.backward.value());
          option.fixed = random.bytes(40), option.transient = random.bytes(10), option.activations = random.bytes(12);
          problem.options.push_back(option);
        }
  if (random.one_in(4)) problem.stages = static_cast<std::uint32_t>(random.between(1, 3));
  if (!random.one_in(3)) problem.memory = Bytes(static_cast<double>(random.between(20, 120)));
  if (!random.one_in(3))
    for (std::uint32_t cut = 0; cut + 1 < problem.layers; ++cut)
      problem.cuts.push_back({{random.seconds(10), random.seconds(40)}, {random.seconds(10), random.seconds(40)}});
  return problem;
}

struct Seen {
  int infeasible = 0, pipelined = 0, short_of_memory = 0;
};

void count(Seen& seen, InterOpProblem problem, const Schedule& schedule, const InterOpSolution& oracle) {
  seen.infeasible += !oracle.feasible;
  seen.pipelined += oracle.options.size() > 1;
  problem.memory = Bytes(1e9);
  const InterOpSolution roomy = solve_by_enumeration(problem, schedule);
  seen.short_of_memory += roomy.feasible && !(oracle.feasible && oracle.objective == roomy.objective);
}

TEST_CASE("GPipe: the search finds the optimum of 500 random stage tables", "[inter_op]") {
  Random random(21);
  Seen seen;
  for (int trial = 0; trial < 500; ++trial) {
    const InterOpProblem problem = random_problem(random, 2, 4);
    const InterOpSolution oracle = solve_by_enumeration(problem, ScheduleKind::gpipe), found = solve_gpipe(problem);
    INFO("trial " << trial);
    REQUIRE(found.feasible == oracle.feasible);
    CHECK(found.objective == oracle.objective);
    if (found.feasible) CHECK(objective_of(problem, ScheduleKind::gpipe, found.options) == found.objective);
    count(seen, problem, ScheduleKind::gpipe, oracle);
  }
  CHECK(seen.infeasible > 30);
  CHECK(seen.pipelined > 100);
  CHECK(seen.short_of_memory > 40);
}

TEST_CASE("zero bubble: the search finds the optimum of 500 random stage tables for each kind", "[inter_op]") {
  for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_1p, ScheduleKind::zb_2p}) {
    Random random(22);
    Seen seen;
    for (int trial = 0; trial < 500; ++trial) {
      const InterOpProblem problem = random_problem(random, 2, 5);
      const InterOpSolution oracle = solve_by_enumeration(problem, kind), found = solve_zero_bubble(problem, kind);
      INFO("trial " << trial << ", " << name(kind));
      REQUIRE(found.feasible == oracle.feasible);
      CHECK(found.objective == oracle.objective);
      count(seen, problem, kind, oracle);
    }
    CHECK(seen.infeasible > 30);
    CHECK(seen.pipelined > 100);
    CHECK(seen.short_of_memory > 40);
  }
}

TEST_CASE("interleaved: the search finds the optimum of 500 random stage tables", "[inter_op]") {
  Random random(23);
  Seen seen;
  for (int trial = 0; trial < 500; ++trial) {
    const InterOpProblem problem = random_problem(random, 4, 6);
    const Schedule schedule{ScheduleKind::interleaved, random.between(2, 3)};
    const InterOpSolution oracle = solve_by_enumeration(problem, schedule);
    const InterleavedSolution found = solve_interleaved(problem, {schedule.chunks});
    INFO("trial " << trial << ", " << schedule.chunks << " chunks");
    REQUIRE(found.best.feasible == oracle.feasible);
    CHECK(found.best.objective == oracle.objective);
    CHECK(found.exact);
    if (oracle.feasible) CHECK(found.lower_bound == oracle.objective);
    count(seen, problem, schedule, oracle);
  }
  CHECK(seen.infeasible > 100);
  CHECK(seen.pipelined > 60);
  CHECK(seen.short_of_memory > 40);
}

TEST_CASE("several numbers of chunks are searched as each on its own", "[inter_op]") {
  Random random(26);
  int three = 0;
  for (int trial = 0; trial < 200; ++trial) {
    InterOpProblem problem = random_problem(random, 6, 6);
    for (StageOption& option : problem.options) {  // so that short chunks pay
      const double layers = option.last - option.first + 1;
      option.forward = layers * layers * option.forward, option.backward = layers * layers * option.backward;
    }
    const InterleavedSolution both = solve_interleaved(problem, {2, 3});
    const InterOpSolution two = solve_interleaved(problem, {2}).best, most = solve_interleaved(problem, {3}).best;
    INFO("trial " << trial);
    REQUIRE(both.best.feasible == (two.feasible || most.feasible));
    if (!both.best.feasible) continue;
    CHECK(both.best.objective ==
          (two.feasible && !(most.feasible && most.objective < two.objective) ? two : most).objective);
    CHECK(objective_of(problem, {ScheduleKind::interleaved, both.chunks}, both.best.options) == both.best.objective);
    three += both.chunks == 3;
  }
  CHECK(three > 3);
}

TEST_CASE("an interleaved search that stops early says so and keeps a proven bound", "[inter_op]") {
  Random random(24);
  int stopped = 0, found_some = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const InterOpProblem problem = random_problem(random, 4, 6);
    const InterOpSolution oracle = solve_by_enumeration(problem, {ScheduleKind::interleaved, 2});
    const InterleavedSolution found = solve_interleaved(problem, {2}, {.nodes = 40});
    if (oracle.feasible) CHECK(found.lower_bound <= oracle.objective);
    if (found.best.feasible) CHECK(found.best.objective >= oracle.objective);
    if (found.exact) CHECK(found.best.feasible == oracle.feasible);
    stopped += !found.exact;
    found_some += !found.exact && found.best.feasible;
  }
  CHECK(stopped > 10);
  CHECK(found_some > 5);
}

TEST_CASE("solvers need not find what does not stay below the limit, and find what does", "[inter_op]") {
  Random random(25);
  for (int trial = 0; trial < 200; ++trial) {
    const InterOpProblem problem = random_problem(random, 2, 5);
    for (const Schedule& schedule :
         {Schedule(ScheduleKind::gpipe), Schedule(ScheduleKind::zb_h1), Schedule(ScheduleKind::interleaved, 2)}) {
      const InterOpSolution oracle = solve_by_enumeration(problem, schedule);
      if (!oracle.feasible) continue;
      const auto solve = [&](Seconds limit) {
        if (schedule.kind == ScheduleKind::gpipe) return solve_gpipe(problem, limit);
        if (schedule.kind == ScheduleKind::zb_h1) return solve_zero_bubble(problem, schedule.kind, limit);
        return solve_interleaved(problem, {schedule.chunks}, {.limit = limit}).best;
      };
      INFO("trial " << trial << ", " << name(schedule));
      CHECK(solve(oracle.objective + Seconds(0.001)).objective == oracle.objective);
      CHECK_FALSE(solve(oracle.objective).feasible);
    }
  }
}

// Four equal layers on two devices: 1 s forward and 2 s backward each, of which 0.5 s make gradients of parameters.
InterOpProblem four_layers() {
  InterOpProblem problem;
  problem.layers = 4;
  problem.devices_per_host = 2;
  problem.microbatches = 2;
  problem.submeshes = {{1, 1}, {1, 2}};
  for (std::uint32_t first = 0; first < 4; ++first)
    for (std::uint32_t last = first; last < 4; ++last) {
      const double count = last - first + 1;
      StageOption option{first, last, 0, Seconds(count), Seconds(2 * count), {}, 1};
      option.backward_weight = Seconds(count / 2);
      option.fixed = Bytes(10 * count), option.activations = Bytes(count);
      problem.options.push_back(option);
    }
  return problem;
}

TEST_CASE("two stages of 6 s on two ranks by schedule, two microbatches", "[inter_op]") {
  const InterOpProblem problem = four_layers();
  CHECK(solve_inter_op(problem).objective == Seconds(18));                          // 12 + 6
  CHECK(solve_gpipe(problem).objective == Seconds(18));                             // 4 + 2 + 8 + 4
  CHECK(solve_interleaved(problem, {2}).best.objective == Seconds(15));             // (2·2 + 1)·3
  CHECK(solve_zero_bubble(problem, ScheduleKind::zb_h1).objective == Seconds(16));  // 12 + (4 − 1 + 2 − 1)
  CHECK(solve_zero_bubble(problem, ScheduleKind::zb_h2).objective == Seconds(15));  // 12 + (3 − 2 + 2·1)
  CHECK(solve_zero_bubble(problem, ScheduleKind::zb_2p).objective == Seconds(14));  // 12 + (2 + 3 − 3·1)
}

TEST_CASE("chunks of a rank share its memory", "[inter_op]") {
  InterOpProblem problem = four_layers();
  // Four forwards of a layer before the first backward on rank 0: 2 · 10 + 4 · 1.
  problem.memory = Bytes(24);
  CHECK(solve_interleaved(problem, {2}).best.feasible);
  problem.memory = Bytes(23);
  CHECK_FALSE(solve_interleaved(problem, {2}).best.feasible);
  // Each chunk alone would have fitted. A slower way to run the last layer needs less.
  StageOption lean = problem.options.back();
  REQUIRE((lean.first == 3 && lean.last == 3));
  lean.forward = Seconds(1.5), lean.fixed = Bytes(9);
  problem.options.push_back(lean);
  CHECK_FALSE(solve_interleaved(problem, {2}).best.feasible);  // rank 0 is what is short
  for (StageOption& option : problem.options)
    if (option.first == 0) option.activations = Bytes(0);  // rank 0: 20 + 2, rank 1: 20 + 2 + 1 of three forwards
  problem.memory = Bytes(22);
  CHECK(solve_interleaved(problem, {2}).best.objective == Seconds(17.5));  // (4 + 1)·3.5
}

TEST_CASE("128 equal layers on 64 ranks are interleaved at once", "[inter_op]") {
  InterOpProblem problem;
  problem.layers = 128;
  problem.hosts = 64;
  problem.devices_per_host = 8;
  problem.microbatches = 256;
  problem.submeshes = {{1, 8}};
  for (std::uint32_t first = 0; first < 128; ++first)
    for (std::uint32_t last = first; last < std::min(first + 8, 128U); ++last)
      for (int recompute = 0; recompute < 2; ++recompute) {
        const double count = last - first + 1;
        StageOption option{first, last, 0, Seconds(count), Seconds((2 + recompute) * count), Seconds(count), 1};
        option.fixed = Bytes(10 * count), option.activations = Bytes(recompute == 1 ? 0.1 : 1);
        problem.options.push_back(option);
      }
  // Rank 0 holds 2 · 63 + 64 + 1 = 191 of one layer each, the last rank 65 of them; 100 B have room for 80 beside two
  // layers' 20, so the first ranks recompute one chunk or both.
  problem.memory = Bytes(100);
  const InterleavedSolution found = solve_interleaved(problem, {2});
  REQUIRE(found.best.feasible);
  CHECK(found.exact);
  CHECK(found.best.objective == Seconds((256 * 2 + 63) * 4.0 + 2));  // and rank 0's two layers' work once per step
}

}  // namespace
}  // namespace meshloom
