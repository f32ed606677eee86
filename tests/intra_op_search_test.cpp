// The parts of the exact and the anytime search, each against brute force or a hand-made example.
#include <tbb/global_control.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"
#include "planner/intra_op/branch_and_bound.hpp"
#include "planner/intra_op/local_search.hpp"
#include "planner/intra_op/neighbourhood_search.hpp"
#include "planner/intra_op/problem.hpp"
#include "planner/intra_op/working_problem.hpp"
#include "tests/intra_op_samples.hpp"

namespace meshloom {
namespace {

using namespace intra_op;

// Node 0 may use 5 more in both periods, node 1 may use 3 more in the second one.
WorkingProblem two_periods(std::int64_t first_slack, std::int64_t second_slack) {
  WorkingProblem problem;
  problem.nodes = {{{0, 1}, {1, 0}, {{{0, 2}}, {0, 5}}, {}}, {{0, 1}, {1, 0}, {{{1, 2}}, {0, 3}}, {}}};
  problem.slack = {first_slack, second_slack};
  problem.period_names = {0, 1};
  return problem;
}

using Names = std::vector<std::uint32_t>;
using Slack = std::vector<std::int64_t>;

TEST_CASE("a period is dropped when a neighbouring one implies it, and kept when neither does", "[intra_op]") {
  // The first uses at most what the second does, and has as much left: the second implies it.
  WorkingProblem problem = two_periods(4, 4);
  CHECK(drop_periods(problem));
  CHECK(problem.period_names == Names{1});
  CHECK(problem.slack == Slack{4});
  for (const WorkingNode& node : problem.nodes) {
    REQUIRE(node.usage.spans.size() == 1);
    CHECK(node.usage.spans[0].begin == 0);
    CHECK(node.usage.spans[0].end == 1);
  }
  // The second uses at most 3 more and has 3 more left: the first implies it, and node 1 uses no memory any more.
  problem = two_periods(4, 7);
  CHECK(drop_periods(problem));
  CHECK(problem.period_names == Names{0});
  CHECK(problem.nodes[1].usage.empty());
  // 3 more used and only 2 more left, or 5 exceed 4 and not 6: differences alone drop neither.
  problem = two_periods(4, 6);
  CHECK(!drop_periods(problem));
  CHECK(problem.period_names == Names{0, 1});
  // 5 and 5 + 3 are the most: nothing binds.
  problem = two_periods(5, 8);
  CHECK(drop_periods(problem));
  CHECK(problem.period_names.empty());
  CHECK(problem.nodes[0].usage.empty());
}

// Calls `visit` with all choices.
template <typename Visit>
void for_all_choices(const WorkingProblem& problem, const Visit& visit) {
  std::vector<std::uint32_t> choices(problem.nodes.size(), 0);
  for (bool more = true; more;) {
    visit(choices);
    more = false;
    for (NodeIndex node = 0; node < choices.size() && !more; ++node) {
      more = ++choices[node] < problem.nodes[node].costs.size();
      if (!more) choices[node] = 0;
    }
  }
}

bool fits(const WorkingProblem& problem, const std::vector<std::uint32_t>& choices) {
  for (const std::int64_t left : ChoiceState(problem, choices).left())
    if (left < 0) return false;
  return true;
}

TEST_CASE("dropping periods changes no choices' fitting", "[intra_op]") {
  Random random(21);
  std::size_t dropped = 0, kept = 0, fitting = 0, exceeding = 0;
  for (int trial = 0; trial < 300; ++trial) {
    IntraOpProblem problem = limited_problem(random, trial);
    if (trial % 2 == 0) {
      problem = dense_problem(random, 6, 3, 3);
      problem.usage_limit = random.between(15, 60);
    }
    const WorkingProblem before = working_problem(problem);
    if (before.infeasible) continue;
    WorkingProblem after = before;
    drop_periods(after);
    dropped += before.slack.size() - after.slack.size();
    kept += after.slack.size();
    bool same = true;
    for_all_choices(before, [&](const std::vector<std::uint32_t>& choices) {
      const bool does_fit = fits(before, choices);
      ++(does_fit ? fitting : exceeding);
      same = same && does_fit == fits(after, choices);
    });
    INFO("trial " << trial);
    CHECK(same);
  }
  CHECK(dropped > 100);
  CHECK(kept > 100);
  CHECK(fitting > 10'000);
  CHECK(exceeding > 10'000);
}

// A limit that binds, or cannot be kept.
IntraOpProblem binding_problem(Random& random, std::uint32_t nodes, std::size_t strategies) {
  IntraOpProblem problem = dense_problem(random, nodes, strategies, 4);
  problem.usage_limit =
      static_cast<std::int64_t>(peak_usage(problem, solve_by_enumeration(problem).choices)) - random.between(1, 12);
  return problem;
}

BranchAndBoundOptions with_cutoff(TotalCost cutoff) {
  BranchAndBoundOptions options;
  options.out_of_time = [] { return false; };
  options.cutoff = cutoff;
  return options;
}

TEST_CASE("branch and bound finds nothing below the optimum, and the optimum below one more", "[intra_op]") {
  Random random(22);
  int feasible = 0;
  for (int trial = 0; trial < 60; ++trial) {
    const IntraOpProblem problem = binding_problem(random, 7, 4);
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    WorkingProblem working = working_problem(problem);
    shrink(working);
    INFO("trial " << trial);
    if (oracle.status == SolveStatus::infeasible) {
      const BranchAndBoundAnswer none = branch_and_bound(working, with_cutoff(infinite_cost));
      CHECK(none.complete);
      CHECK(none.choices.empty());
      continue;
    }
    ++feasible;
    const BranchAndBoundAnswer nothing = branch_and_bound(working, with_cutoff(oracle.objective));
    CHECK(nothing.complete);
    CHECK(nothing.choices.empty());
    CHECK(bool(nothing.lower_bound == oracle.objective));
    const BranchAndBoundAnswer best = branch_and_bound(working, with_cutoff(oracle.objective + 1));
    CHECK(best.complete);
    CHECK(bool(best.cost == oracle.objective));
    CHECK(bool(best.lower_bound == oracle.objective));
    REQUIRE(best.choices.size() == problem.nodes.size());
    CHECK(bool(cost_of(problem, best.choices) == oracle.objective));
    CHECK(bool(peak_usage(problem, best.choices) <= *problem.usage_limit));
  }
  CHECK(feasible > 40);
}

TEST_CASE("branch and bound that runs out of effort has a bound that holds", "[intra_op]") {
  Random random(23);
  int stopped = 0;
  for (int trial = 0; trial < 60; ++trial) {
    const IntraOpProblem problem = binding_problem(random, 7, 4);
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    if (oracle.status == SolveStatus::infeasible) continue;
    WorkingProblem working = working_problem(problem);
    shrink(working);
    BranchAndBoundOptions options = with_cutoff(infinite_cost);
    options.most_updates = 3;
    options.most_effort = static_cast<std::uint64_t>(random.between(1, 500'000));
    TotalCost proved = 0;
    options.proved = [&](TotalCost bound) { proved = bound; };
    const BranchAndBoundAnswer answer = branch_and_bound(working, options);
    INFO("trial " << trial);
    stopped += !answer.complete;
    CHECK(bool(answer.lower_bound <= oracle.objective));
    CHECK(bool(proved <= oracle.objective));
    if (!answer.choices.empty()) CHECK(bool(cost_of(problem, answer.choices) >= oracle.objective));
  }
  CHECK(stopped > 20);
}

// Forty nodes under a limit that binds, and choices that keep it.
struct Start {
  WorkingProblem problem;
  std::vector<std::uint32_t> choices;
};

Start start_of_search(std::uint64_t seed) {
  Random random(seed);
  IntraOpProblem problem = dense_problem(random, 40, 4, 3);
  problem.usage_limit = 25;
  Start start{working_problem(problem), {}};
  ChoiceState state(start.problem, std::vector<std::uint32_t>(40, 0));
  state.improve();
  REQUIRE(state.feasible());
  start.choices = state.choices();
  return start;
}

constexpr int batches = 1;

std::vector<std::uint32_t> searched(const Start& start, std::size_t threads) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, threads);
  NeighbourhoodSearch search(start.problem, start.choices);
  for (int batch = 0; batch < batches; ++batch) search.improve([] { return false; });
  return search.state().choices();
}

TEST_CASE("a search of neighbourhoods never makes choices worse and always keeps the limit", "[intra_op]") {
  std::size_t improvements = 0;
  for (std::uint64_t seed = 31; seed < 33; ++seed) {
    const Start start = start_of_search(seed);
    NeighbourhoodSearch search(start.problem, start.choices);
    for (int batch = 0; batch < batches; ++batch) {
      const TotalCost before = search.state().cost();
      const std::size_t improved = search.improve([] { return false; });
      improvements += improved;
      const ChoiceState after(start.problem, search.state().choices());  // summed anew
      CHECK(after.feasible());
      CHECK(bool(after.cost() == search.state().cost()));
      CHECK((after.cost() < before) == (improved > 0));
      CHECK(bool(after.cost() <= before));
    }
  }
  CHECK(improvements > 2);
}

TEST_CASE("a search of neighbourhoods finds the same choices with one thread and with two", "[intra_op]") {
  const Start start = start_of_search(35);
  const std::vector<std::uint32_t> choices = searched(start, 1);
  CHECK(choices != start.choices);
  CHECK(searched(start, 2) == choices);
}

TEST_CASE("CBC finds the optimum of problems that reductions leave whole", "[intra_op]") {
  Random random(24);
  int infeasible = 0;
  for (int trial = 0; trial < 12; ++trial) {
    const IntraOpProblem problem = binding_problem(random, 6, 3);
    const IntraOpSolution oracle = solve_by_enumeration(problem);
    infeasible += oracle.status == SolveStatus::infeasible;
    INFO("trial " << trial);
    check_answer(problem, solve_by_cbc(problem, {}), oracle);
    check_answer(problem, solve_intra_op(problem), oracle);
  }
  CHECK(infeasible < 4);
}

TEST_CASE("CBC's bound holds at any time limit, and its progress says so", "[intra_op]") {
  Random random(25);
  int stopped = 0;
  for (int trial = 0; trial < 6; ++trial) {
    IntraOpProblem problem = dense_problem(random, 25, 4, 3);
    problem.usage_limit = 32;
    const IntraOpSolution best = solve_intra_op(problem);
    REQUIRE(best.status == SolveStatus::optimal);
    SolveOptions options{.time_limit_s = 0.005 * trial * trial};
    options.progress = [&](const SolveProgress& now) {
      CHECK(bool(now.lower_bound <= best.objective));
      if (now.cost) CHECK(bool(*now.cost >= best.objective));
    };
    const IntraOpSolution answer = solve_by_cbc(problem, options);
    INFO("trial " << trial);
    stopped += answer.status != SolveStatus::optimal;
    CHECK(answer.status != SolveStatus::infeasible);
    CHECK(bool(answer.lower_bound <= best.objective));
    if (answer.choices.empty()) continue;
    CHECK(bool(cost_of(problem, answer.choices) == answer.objective));
    CHECK(bool(answer.objective >= best.objective));
    CHECK(bool(peak_usage(problem, answer.choices) <= 32));
  }
  CHECK(stopped > 1);
}

TEST_CASE("the elimination solver reduces first, so a limit that reductions settle is kept", "[intra_op]") {
  // Node 2's strategy 1 does not fit, and then nothing can exceed the limit: 445 as by hand.
  CHECK(bool(solve_intra_op(contest_example(), {.solver = Solver::elimination}).objective == 445));
  // Two nodes whose cheap strategies do not fit together, though each fits alone.
  const IntraOpProblem problem{{{{0, 10}, {8, 1}, 0, 2}, {{0, 7}, {8, 2}, 1, 3}}, {}, 15};
  CHECK_THROWS_WITH(
      solve_intra_op(problem, {.solver = Solver::elimination}),
      "--solver elimination: cannot keep the usage limit 15, which choices may exceed; use --solver auto");
  CHECK_THROWS_AS(solve_intra_op(problem, {.solver = Solver::elimination}), InputError);
  Random random(26);
  int solved = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const IntraOpProblem limited = limited_problem(random, trial);
    INFO("trial " << trial);
    try {
      check_answer(limited, solve_intra_op(limited, {.solver = Solver::elimination}), solve_by_enumeration(limited));
      ++solved;
    } catch (const InputError&) {
      CHECK(limited.usage_limit.has_value());
    }
  }
  CHECK(solved > 200);
}

}  // namespace
}  // namespace meshloom
