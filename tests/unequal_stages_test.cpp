// Where stages of unequal submeshes win: the figures are in docs/alpa_comparison.md.
#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "planner/uniform_search.hpp"

namespace meshloom {
namespace {

// Alpa's 6.8B Wide-ResNet on 32 V100: convolutions get fewer pixels and more channels from group to group.
PlanningInput wide_resnet() {
  PlanningInput input{build_wresnet({.depth = 50, .base_channels = 320, .width = 16}),
                      read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/aws_p3_16xlarge.json"),
                      find_recipe("alpa"),
                      {},
                      {}};
  input.cluster.hosts = 4;
  return input;
}

}  // namespace

TEST_CASE("a Wide-ResNet is fastest on unequal submeshes, faster than on any equal ones and any uniform layout",
          "[unequal_stages]") {
  const PlanningInput input = wide_resnet();
  SearchOptions options;
  options.global_batch = 1520;
  options.microbatch_size = 16;
  options.candidates = 1;
  const Plan best = search_plans(input, options).front();
  REQUIRE(best.status != PlanStatus::infeasible);
  CHECK(std::any_of(best.stages.begin(), best.stages.end(),
                    [&](const Stage& stage) { return stage.submesh != best.stages.front().submesh; }));
  for (const Submesh& submesh : {Submesh{1, 2}, Submesh{1, 4}, Submesh{1, 8}, Submesh{2, 8}, Submesh{4, 8}}) {
    SearchOptions equal = options;
    equal.constraints.submeshes = {submesh};
    const Plan plan = search_plans(input, equal).front();
    INFO("submeshes of " << submesh.hosts << " x " << submesh.devices_per_host);
    REQUIRE(plan.status != PlanStatus::infeasible);
    CHECK(best.best_estimate < 0.997 * plan.best_estimate);
  }
  const std::optional<Plan> uniform = best_uniform_plan(input, options);
  REQUIRE(uniform.has_value());
  CHECK(best.best_estimate < 0.92 * uniform->estimate);  // two blocks on each of eight stages of four
}

}  // namespace meshloom
