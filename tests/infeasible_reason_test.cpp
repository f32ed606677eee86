#include "planner/inter_op/infeasible_reason.hpp"

#include <catch2/catch.hpp>

#include "planner/intra_op/infeasible_reason.hpp"
#include "tests/intra_op_samples.hpp"

namespace meshloom {
namespace {

TEST_CASE("a time whose least usages exceed the limit is named") {
  // At time 110 nodes 2, 3 and 4 use at least 15 + 10 + 15 = 40; from 50 to 70 nodes 0, 1 and 2 at least 10 + 25 + 15.
  IntraOpProblem problem = contest_example();
  problem.usage_limit = 49;
  CHECK(reason_of_infeasibility(problem) == "at time 50 at least 50 is used, the limit is 49");
}

TEST_CASE("nothing is used at the end of an interval") {
  const IntraOpProblem problem{{{{0}, {8}, 0, 5}, {{0}, {9}, 5, 6}}, {}, 8};  // never 17
  CHECK(reason_of_infeasibility(problem) == "at time 5 at least 9 is used, the limit is 8");
}

TEST_CASE("a forbidden strategy does not count as the least usage") {
  const IntraOpProblem problem{{{{infinite_cost, 0}, {1, 9}, 2, 3}}, {}, 8};
  CHECK(reason_of_infeasibility(problem) == "at time 2 at least 9 is used, the limit is 8");
}

TEST_CASE("a node of forbidden strategies only is named") {
  const IntraOpProblem problem{{{{0}, {}, 0, 0}, {{infinite_cost, infinite_cost}, {}, 0, 0}}, {}, {}};
  CHECK(reason_of_infeasibility(problem) == "node 1 has only forbidden strategies");
}

TEST_CASE("a node that edges leave no strategy is named") {
  // Node 0 must not choose 0 because of node 1, nor 1 because of node 2.
  const std::int64_t no = infinite_cost;
  const IntraOpProblem problem{
      {{{0, 0}, {}, 0, 0}, {{0}, {}, 0, 0}, {{0}, {}, 0, 0}}, {{0, 1, {no, 0}}, {0, 2, {0, no}}}, {}};
  const std::string reason = reason_of_infeasibility(problem);
  CHECK(reason == "no strategy of node 0 is left: edges forbid each that could be chosen");
}

TEST_CASE("what edges force beyond the limit is named with its time") {
  // Node 1 has one strategy, which forbids node 0 the one that uses 1; what is left uses 5 + 4.
  const IntraOpProblem problem{{{{0, 0}, {1, 5}, 3, 4}, {{0}, {4}, 3, 4}}, {{0, 1, {infinite_cost, 0}}}, 8};
  const std::string reason = reason_of_infeasibility(problem);
  CHECK(reason == "without what edges forbid, at time 3 at least 9 is used, the limit is 8");
}

TEST_CASE("what only the whole shows is said of the whole") {
  // Three nodes of two colours, of which no two may be alike.
  const std::int64_t no = infinite_cost;
  IntraOpProblem problem{{{{0, 0}, {}, 0, 0}, {{0, 0}, {}, 0, 0}, {{0, 0}, {}, 0, 0}}, {}, {}};
  for (const auto& [a, b] : {std::pair{0U, 1U}, {0U, 2U}, {1U, 2U}}) problem.edges.push_back({a, b, {no, 0, 0, no}});
  CHECK(solve_intra_op(problem).status == SolveStatus::infeasible);
  CHECK(reason_of_infeasibility(problem) == "no choices are without a forbidden cost");
  problem.usage_limit = 1;
  CHECK(reason_of_infeasibility(problem) == "no choices keep the limit without a forbidden cost");
}

TEST_CASE("layers without an entry are named") {
  InterOpProblem problem;
  problem.layers = 6;
  problem.devices_per_host = 2;
  problem.submeshes = {{1, 1}};
  problem.placement = Placement::devices_only;
  StageOption option{.first = 2, .last = 3};
  problem.options = {option};
  CHECK(reason_of_infeasibility(problem) == "no entry that may be a stage holds layers 0–1, 4–5");
  option.first = 0, option.last = 4;
  problem.options = {option};
  CHECK(reason_of_infeasibility(problem) == "no entry that may be a stage holds layer 5");
  option.last = 5, option.max_following_stages = -1;  // not even as the last stage
  problem.options = {option};
  CHECK(reason_of_infeasibility(problem) == "no entry that may be a stage holds layers 0–5");
}

TEST_CASE("entries for all layers that leave devices idle are no pipeline") {
  InterOpProblem problem;
  problem.layers = 2;
  problem.devices_per_host = 2;
  problem.submeshes = {{1, 1}};
  problem.options = {{.first = 0, .last = 1}};
  problem.placement = Placement::devices_only;
  CHECK_FALSE(solve_inter_op(problem).feasible);
  CHECK(reason_of_infeasibility(problem) ==
        "no entries together cover layers 0–1, use all 2 devices and have no more stages after them than they bear");
}

}  // namespace
}  // namespace meshloom
