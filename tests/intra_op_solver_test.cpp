#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "planner/intra_op/contest_json.hpp"
#include "planner/intra_op/dual_ascent.hpp"
#include "planner/intra_op/label_elimination.hpp"
#include "planner/intra_op/local_search.hpp"
#include "planner/intra_op/multiplier_search.hpp"
#include "planner/intra_op/problem.hpp"
#include "planner/intra_op/slack_tree.hpp"
#include "planner/intra_op/working_problem.hpp"
#include "tests/intra_op_samples.hpp"

namespace meshloom {
namespace {

using namespace intra_op;

TEST_CASE("auto, anytime and CBC find the optimum of 1,000 random problems of up to nine nodes", "[intra_op]") {
  Random random(11);
  int infeasible = 0, binding = 0, unlimited = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    const IntraOpProblem problem = limited_problem(random, trial);
    IntraOpProblem free = problem;
    free.usage_limit.reset();
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    unlimited += !problem.usage_limit;
    infeasible += oracle.status == SolveStatus::infeasible;
    binding += oracle.status == SolveStatus::optimal && oracle.objective > solve_by_enumeration(free).objective;
    INFO("trial " << trial);
    check_answer(problem, solve_intra_op(problem), oracle);
    check_answer(problem, solve_intra_op(problem, {.solver = Solver::anytime}), oracle);
    check_answer(problem, solve_intra_op(problem, {.solver = Solver::cbc}), oracle);
  }
  CHECK(unlimited > 150);
  CHECK(infeasible > 150);
  CHECK(binding > 100);
}

TEST_CASE("stopped at once, anytime's bound is not above the optimum and its answer not below", "[intra_op]") {
  Random random(12);
  const std::atomic<bool> interrupted = true;
  for (int trial = 0; trial < 300; ++trial) {
    const IntraOpProblem problem = limited_problem(random, trial);
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    const IntraOpSolution stopped = solve_intra_op(problem, {.solver = Solver::anytime, .interrupt = &interrupted});
    INFO("trial " << trial);
    if (oracle.status == SolveStatus::infeasible) {
      CHECK(stopped.choices.empty());
      continue;
    }
    CHECK(stopped.status != SolveStatus::infeasible);
    CHECK(bool(stopped.lower_bound <= oracle.objective));
    if (stopped.choices.empty()) continue;
    CHECK(bool(cost_of(problem, stopped.choices) == stopped.objective));
    CHECK(bool(stopped.objective >= oracle.objective));
  }
}

TEST_CASE("what shrinking leaves has the same optimum under the limit", "[intra_op]") {
  Random random(13);
  int shrunk_to_nothing = 0, left = 0;
  for (int trial = 0; trial < 500; ++trial) {
    const IntraOpProblem problem = limited_problem(random, trial);
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    WorkingProblem working = working_problem(problem);
    shrink(working);
    INFO("trial " << trial);
    if (working.infeasible) {
      CHECK(oracle.status == SolveStatus::infeasible);
      continue;
    }
    // Walks through all choices of what is left.
    const WorkingProblem rest = compacted(working);
    ++(rest.nodes.empty() ? shrunk_to_nothing : left);
    std::vector<std::uint32_t> choices(rest.nodes.size(), 0);
    std::optional<TotalCost> best;
    for (bool more = true; more;) {
      const ChoiceState state(rest, choices);
      if (state.feasible() && state.cost() < infinite_cost && (!best || state.cost() < *best)) {
        best = state.cost();
        const std::vector<std::uint32_t> whole = expand(working, from_compacted(working, choices));
        REQUIRE(bool(cost_of(problem, whole) == *best));
        if (problem.usage_limit) REQUIRE(bool(peak_usage(problem, whole) <= *problem.usage_limit));
      }
      more = false;
      for (NodeIndex node = 0; node < choices.size() && !more; ++node) {
        more = ++choices[node] < rest.nodes[node].costs.size();
        if (!more) choices[node] = 0;
      }
    }
    REQUIRE(best.has_value() == (oracle.status == SolveStatus::optimal));
    if (best) CHECK(bool(*best == oracle.objective));
  }
  CHECK(shrunk_to_nothing > 50);
  CHECK(left > 25);
}

TEST_CASE("a certificate's bound holds, and so does what it says of every strategy and pair", "[intra_op]") {
  Random random(14);
  int tight = 0, strategies = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const IntraOpProblem problem = limited_problem(random, trial);
    WorkingProblem working = working_problem(problem);
    if (!working.infeasible) drop_unsupported(working);
    if (working.infeasible) continue;
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    MultiplierSearchOptions options;
    options.most_updates = 30;
    options.cutoff = std::numeric_limits<double>::infinity();
    options.out_of_time = [] { return false; };
    options.consider = [](const std::vector<std::uint32_t>&) {};
    const Certificate certificate = search_multipliers(working, options).certificate;
    INFO("trial " << trial);
    if (oracle.status == SolveStatus::optimal) {
      CHECK(bool(certificate.lower_bound <= oracle.objective));
      tight += certificate.lower_bound == oracle.objective;
    }
    for (NodeIndex node = 0; node < working.nodes.size(); ++node)
      for (std::size_t k = 0; k < working.nodes[node].strategies.size(); ++k) {
        IntraOpProblem held = problem;
        for (std::size_t other = 0; other < held.nodes[node].costs.size(); ++other)
          if (other != working.nodes[node].strategies[k]) held.nodes[node].costs[other] = infinite_cost;
        const IntraOpSolution with = solve_by_enumeration(held);
        if (with.status != SolveStatus::optimal) continue;
        ++strategies;
        CHECK(bool(with.objective >= certificate.lower_bound + certificate.strategy_excess[node][k]));
      }
    if (oracle.status != SolveStatus::optimal) continue;
    for (std::size_t p = 0; p < working.pairs.size(); ++p) {
      const WorkingPair& pair = working.pairs[p];
      const auto position = [&](NodeIndex node) {
        const auto& left = working.nodes[node].strategies;
        return static_cast<std::size_t>(std::find(left.begin(), left.end(), oracle.choices[node]) - left.begin());
      };
      const std::size_t entry = position(pair.a) * working.size(pair.b) + position(pair.b);
      CHECK(bool(oracle.objective >= certificate.lower_bound + certificate.entry_excess[p][entry]));
    }
  }
  CHECK(tight > 30);
  CHECK(strategies > 500);
}

TEST_CASE("dropping what costs more than the best keeps the best", "[intra_op]") {
  // Two nodes of two strategies: (0, 0) costs 3, all others at least 10.
  IntraOpProblem problem{
      {{{1}, {}, 0, 0}, {{1, 9}, {}, 0, 0}, {{1, 9}, {}, 0, 0}}, {{1, 2, {0, 4, 4, 0}}}, std::nullopt};
  WorkingProblem working = working_problem(problem);
  DualAscent dual(working);
  for (int i = 0; i < 3; ++i) dual.sweep();
  const Certificate certificate = dual.certify();
  CHECK(bool(certificate.lower_bound == 3));
  CHECK(drop_expensive(certificate, 0, working) > 0);
  CHECK(working.size(1) == 1);
  CHECK(working.size(2) == 1);
}

TEST_CASE("label elimination is exact where it is wide enough and a bound where it is not", "[intra_op]") {
  Random random(16);
  int exact = 0, bounds_below = 0, none_below = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const IntraOpProblem problem = limited_problem(random, trial);
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    WorkingProblem working = working_problem(problem);
    if (!working.infeasible) drop_unsupported(working);
    if (working.infeasible) continue;
    MultiplierSearchOptions search;
    search.most_updates = static_cast<std::size_t>(random.between(0, 20));
    search.cutoff = std::numeric_limits<double>::infinity();
    search.out_of_time = [] { return false; };
    search.consider = [](const std::vector<std::uint32_t>&) {};
    const Reparametrisation dual = search_multipliers(working, search).reparametrisation;
    const TotalCost optimum = oracle.status == SolveStatus::optimal ? oracle.objective : TotalCost{1'000'000};
    for (const std::size_t width : {1, 2, 3, 5, 100})
      for (const TotalCost cutoff : {optimum + 1'000, optimum + 5, optimum + 1, optimum}) {
        LabelEliminationOptions options;
        options.width = width;
        options.cutoff = cutoff;
        const LabelEliminationAnswer answer = eliminate_by_labels(working, dual, options);
        if (!answer.complete) continue;  // tables over more than five nodes
        INFO("trial " << trial << ", width " << width << ", cutoff " << static_cast<double>(options.cutoff)
                      << ", optimum " << static_cast<double>(optimum) << ", bound "
                      << static_cast<double>(answer.lower_bound));
        REQUIRE(bool(answer.lower_bound <= std::min(optimum, options.cutoff)));
        bounds_below += answer.lower_bound < std::min(optimum, options.cutoff);
        none_below += answer.lower_bound == options.cutoff && answer.choices.empty();
        if (width < 100) continue;  // nothing was merged
        ++exact;
        CHECK(bool(answer.lower_bound == std::min(optimum, options.cutoff)));
        if (optimum >= options.cutoff) continue;
        const std::vector<std::uint32_t> whole = expand(working, answer.choices);
        CHECK(bool(cost_of(problem, whole) == optimum));
        if (problem.usage_limit) CHECK(bool(peak_usage(problem, whole) <= *problem.usage_limit));
      }
  }
  CHECK(exact > 500);
  CHECK(bounds_below > 20);
  CHECK(none_below > 100);
}

TEST_CASE("a slack tree answers as a plain array does", "[intra_op]") {
  Random random(15);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<std::int64_t> plain;
    for (std::int64_t i = random.between(1, 20); i > 0; --i) plain.push_back(random.between(0, 50));
    SlackTree tree(plain);
    const auto last = static_cast<std::int64_t>(plain.size());
    for (int step = 0; step < 20; ++step) {
      const std::int64_t begin = random.between(0, last - 1), end = random.between(begin + 1, last);
      const std::int64_t amount = random.between(-9, 9);
      tree.add(static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), amount);
      for (std::int64_t i = begin; i < end; ++i) plain[static_cast<std::size_t>(i)] += amount;
      const std::int64_t from = random.between(0, last - 1), until = random.between(from + 1, last);
      CHECK(tree.least(static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(until)) ==
            *std::min_element(plain.begin() + from, plain.begin() + until));
      CHECK(tree.values() == plain);
      CHECK(plain[tree.position_of_least()] == *std::min_element(plain.begin(), plain.end()));
    }
  }
}

TEST_CASE("a chain of nodes that follow each other is one node with all their usage", "[intra_op]") {
  // Each node must take the strategy of the one before it: 0 costs 1 and uses 3 each, 1 costs 2 and uses 1 each.
  IntraOpProblem problem;
  for (int i = 0; i < 40; ++i) {
    problem.nodes.push_back({{1, 2}, {3, 1}, i, i + 10});
    if (i > 0)
      problem.edges.push_back(
          {static_cast<std::uint32_t>(i - 1), static_cast<std::uint32_t>(i), {0, infinite_cost, infinite_cost, 0}});
  }
  problem.usage_limit = 29;  // ten live at once: 30 with strategy 0
  WorkingProblem working = working_problem(problem);
  shrink(working);
  CHECK(compacted(working).nodes.empty());
  CHECK(bool(working.constant == 80));
  CHECK(expand(working, std::vector<std::uint32_t>(40, 0)) == std::vector<std::uint32_t>(40, 1));
}

TEST_CASE("totals near 10^18 add up exactly and saturate where they are forbidden", "[intra_op]") {
  // 5·10^17 + 4·10^17 + (10^17 − 1) = 10^18 − 1 is an answer; one more is not.
  const std::int64_t big = 100'000'000'000'000'000;
  IntraOpProblem problem{{{{5 * big, infinite_cost}, {}, 0, 0}, {{4 * big, infinite_cost - 1}, {}, 0, 0}},
                         {{0, 1, {big - 1, 0, infinite_cost, 0}}},
                         std::nullopt};
  for (const Solver solver : {Solver::automatic, Solver::anytime, Solver::elimination}) {
    const IntraOpSolution solution = solve_intra_op(problem, {.solver = solver});
    CHECK(solution.status == SolveStatus::optimal);
    CHECK(bool(solution.objective == infinite_cost - 1));
  }
  problem.edges[0].costs[0] = big;
  for (const Solver solver : {Solver::automatic, Solver::anytime, Solver::elimination})
    CHECK(solve_intra_op(problem, {.solver = solver}).status == SolveStatus::infeasible);
  // Thirty forbidden costs side by side would leave 64 bits.
  IntraOpProblem star;
  star.nodes.push_back({{1, 2}, {}, 0, 0});
  for (std::uint32_t i = 1; i <= 30; ++i) {
    star.nodes.push_back({{infinite_cost - 1, 0}, {}, 0, 0});
    star.edges.push_back({0, i, {infinite_cost - 1, 0, 0, infinite_cost}});
  }
  CHECK(bool(solve_intra_op(star).objective == 1));
  CHECK(bool(cost_of(star, std::vector<std::uint32_t>(31, 0)) ==
             TotalCost{1} + TotalCost{60} * (infinite_cost - 1)));  // 128 bits hold it
}

TEST_CASE("instance G of the contest is solved exactly under its limit", "[intra_op]") {
  const IntraOpProblem problem =
      read_contest_problem(MESHLOOM_SOURCE_DIR "/tests/data/intra_op_contest/asplos-2025-iopddl-G.json.gz");
  std::vector<SolveProgress> progress;
  SolveOptions options;
  options.progress = [&](const SolveProgress& now) { progress.push_back(now); };
  const IntraOpSolution solution = solve_intra_op(problem, options);
  CHECK(solution.status == SolveStatus::optimal);
  CHECK(bool(solution.objective == 217'039));  // the contest's best, known to be optimal
  CHECK(bool(cost_of(problem, solution.choices) == 217'039));
  CHECK(bool(peak_usage(problem, solution.choices) <= *problem.usage_limit));
  REQUIRE(!progress.empty());
  for (const SolveProgress& now : progress) {
    CHECK(bool(now.lower_bound <= 217'039));
    if (now.cost) CHECK(bool(*now.cost >= 217'039));
  }
  CHECK(solve_intra_op(problem).choices == solution.choices);  // and again the same ones
}

}  // namespace
}  // namespace meshloom
