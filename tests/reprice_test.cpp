#include "planner/reprice.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"
#include "planner/uniform_search.hpp"
#include "tests/planned_samples.hpp"

namespace meshloom {
namespace {

std::vector<std::string> paths(const std::vector<PriceDifference>& differences) {
  std::vector<std::string> result;
  for (const PriceDifference& difference : differences) result.push_back(difference.path);
  return result;
}

bool names(const std::vector<PriceDifference>& differences, const std::string& path) {
  const std::vector<std::string> all = paths(differences);
  return std::find(all.begin(), all.end(), path) != all.end();
}

std::size_t first_forward_collective(const Stage& stage) {
  for (std::size_t k = 0; k < stage.conversions.size(); ++k)
    if (!stage.conversions[k].forward.empty()) return k;
  FAIL("the stage has no collective");
  return 0;
}

}  // namespace

TEST_CASE("a plan that was just made prices the same again", "[reprice]") {
  const PlanningInput input = small_gpt_on_v100s();
  const Plan plan = make_plan(input, batch_of(32));
  CHECK(paths(reprice(plan, input.graph, input.cluster)).empty());
}

TEST_CASE("every uniform layout prices the same again", "[reprice]") {
  const PlanningInput input = small_gpt_on_v100s();
  for (const UniformLayout& layout : uniform_layouts(input)) {
    CAPTURE(describe(layout));
    CHECK(paths(reprice(baseline_plan(input, layout, 32), input.graph, input.cluster)).empty());
  }
}

TEST_CASE("a wrong stored time is found at its place", "[reprice]") {
  const PlanningInput input = small_gpt_on_v100s();
  UniformLayout layout{2, 2, 2};
  layout.micro_batch_per_replica = 2;
  const Plan good = baseline_plan(input, layout, 32);
  SECTION("of an op") {
    Plan bad = good;
    bad.stages[1].ops[3].forward *= 1.01;
    CHECK(names(reprice(bad, input.graph, input.cluster), "/stages/1/ops/3/forward_s"));
  }
  SECTION("of a collective") {
    Plan bad = good;
    const std::size_t k = first_forward_collective(bad.stages[0]);
    bad.stages[0].conversions[k].forward[0].time *= 2;
    CHECK(names(reprice(bad, input.graph, input.cluster), fmt::format("/stages/0/conversions/{}/forward/0/time_s", k)));
  }
  SECTION("of a stage") {
    Plan bad = good;
    bad.stages[0].backward *= 1.002;
    CHECK(paths(reprice(bad, input.graph, input.cluster)) == std::vector<std::string>{"/stages/0/backward_s"});
  }
  SECTION("of the step") {
    Plan bad = good;
    bad.estimate *= 1.1;
    CHECK(paths(reprice(bad, input.graph, input.cluster)) == std::vector<std::string>{"/estimate_s"});
  }
  SECTION("a collective that is left out") {
    Plan bad = good;
    const std::size_t k = first_forward_collective(bad.stages[0]);
    bad.stages[0].conversions[k].forward.clear();
    CHECK(names(reprice(bad, input.graph, input.cluster), fmt::format("/stages/0/conversions/{}/forward", k)));
  }
  SECTION("but not one within the tolerance") {
    Plan close = good;
    close.stages[1].ops[3].forward *= 1.0005;
    CHECK(paths(reprice(close, input.graph, input.cluster)).empty());
  }
}

TEST_CASE("another cluster's prices differ", "[reprice]") {
  const PlanningInput input = small_gpt_on_v100s();
  UniformLayout layout{2, 2, 2};
  layout.micro_batch_per_replica = 2;
  const Plan plan = baseline_plan(input, layout, 32);
  Cluster faster = input.cluster;
  faster.intra_host.latency = faster.intra_host.latency * 0.5;
  CHECK_FALSE(reprice(plan, input.graph, faster).empty());
}

TEST_CASE("a plan of another graph is refused", "[reprice]") {
  const PlanningInput input = small_gpt_on_v100s();
  const Plan plan = baseline_plan(input, {1, 1, 8}, 32);
  GptOptions other;
  other.layers = 2, other.hidden = 2048, other.heads = 16, other.seq_len = 512, other.vocab = 8192;
  CHECK_THROWS_AS(reprice(plan, build_gpt(other), input.cluster), InputError);
}

}  // namespace meshloom
