#include "planner/constraints.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>

#include "planner/plan/plan_json.hpp"
#include "planner/work_bound.hpp"
#include "tests/planned_samples.hpp"

using namespace meshloom;
using Catch::Matchers::Equals;

namespace {

// embed, h0 to h3 and head, on four hosts of two devices: submeshes 1x1, 1x2, 2x2, 4x2.
PlanningInput gpt_on_four_hosts() {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = 4;
  input.cluster.devices_per_host = 2;
  return input;
}

SearchOptions options_with(const Constraints& constraints) {
  SearchOptions options = batch_of(32).search;
  options.constraints = constraints;
  return options;
}

Plan planned(const Constraints& constraints) {
  return search_plans(gpt_on_four_hosts(), options_with(constraints)).front();
}

Constraints listed(const std::string& stages) {
  Constraints constraints;
  constraints.stage_list = parse_stage_list(R"({"schema": "meshloom.stages/1", "stages": [)" + stages + "]}", "s.json");
  return constraints;
}

std::string complaint(const Constraints& constraints) {
  try {
    planned(constraints);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a list of stages fixes layers, submeshes and shapes", "[constraints]") {
  const Plan plan = planned(listed(R"({"layers": 2, "submesh": [1, 2], "mesh": [2, 1]},
      {"first": "h1", "last": "h2", "submesh": [1, 1]}, {"layers": 1, "submesh": [1, 1]},
      {"layers": 1, "submesh": [2, 2], "mesh": [2, 2]})"));
  REQUIRE(plan.stages.size() == 4);
  const std::vector<std::pair<std::int64_t, std::int64_t>> layers{{0, 1}, {2, 3}, {4, 4}, {5, 5}};
  for (std::size_t s = 0; s < 4; ++s)
    CHECK(std::pair(plan.stages[s].first_layer, plan.stages[s].last_layer) == layers[s]);
  CHECK(plan.stages[1].submesh == Submesh{1, 1});
  CHECK(plan.stages[3].submesh == Submesh{2, 2});
  REQUIRE(plan.stages[3].mesh.size() == 2);
  CHECK(plan.stages[0].mesh.size() == 1);
  CHECK(plan.lower_bound <= plan.best_estimate);
}

// Equal layers on equal submeshes: what is best in one shape must not drive out what is best in the other.
TEST_CASE("equal stages of a list may have different shapes", "[constraints]") {
  PlanningInput input = gpt_on_four_hosts();
  input.cluster.hosts = 8;
  for (const auto& [first, second] : {std::pair("[4]", "[2, 2]"), std::pair("[2, 2]", "[4]")}) {
    const std::string stage = R"({"layers": 2, "submesh": [2, 2], "mesh": )";
    const Plan plan =
        search_plans(input, options_with(listed(R"({"layers": 1, "submesh": [2, 2]}, )" + stage + first + "}, " +
                                                stage + second + R"(}, {"layers": 1, "submesh": [2, 2]})")))
            .front();
    REQUIRE(plan.stages.size() == 4);
    CHECK(plan.stages[1].mesh.size() == (first == std::string("[4]") ? 1 : 2));
    CHECK(plan.stages[2].mesh.size() == (first == std::string("[4]") ? 2 : 1));
  }
}

TEST_CASE("a plan entered as its own list of stages is found again", "[constraints]") {
  const Plan best = planned({});
  std::string stages;
  for (const Stage& stage : best.stages) {
    std::string sizes;
    for (const MeshAxis& axis : stage.mesh) sizes += (sizes.empty() ? "" : ", ") + std::to_string(axis.size);
    stages += (stages.empty() ? "" : ", ") + std::string(R"({"layers": )") +
              std::to_string(stage.last_layer - stage.first_layer + 1) + R"(, "submesh": [)" +
              std::to_string(stage.submesh.hosts) + ", " + std::to_string(stage.submesh.devices_per_host) +
              R"(], "mesh": [)" + sizes + "]}";
  }
  const Plan again = planned(listed(stages));
  CHECK(again.best_estimate.value() == Approx(best.best_estimate.value()).epsilon(1e-9));
}

TEST_CASE("each constraint is kept, and none makes the best estimate better", "[constraints]") {
  const Seconds free = planned({}).best_estimate;
  const auto check = [&](const Constraints& constraints, const std::function<bool(const Plan&)>& keeps) {
    const Plan plan = planned(constraints);
    INFO(options_text(constraints));
    REQUIRE_FALSE(plan.stages.empty());
    CHECK(keeps(plan));
    CHECK(plan.best_estimate >= free * (1 - 1e-9));
  };
  for (const std::uint32_t stages : {1U, 2U, 3U, 5U})
    check({.stages = stages}, [&](const Plan& plan) { return plan.ranks() == stages; });
  check({.submeshes = {{1, 2}}}, [](const Plan& plan) {
    return plan.stages.size() == 4 && std::all_of(plan.stages.begin(), plan.stages.end(), [](const Stage& stage) {
             return stage.submesh == Submesh{1, 2};
           });
  });
  check({.boundaries = {"h1", "h3"}}, [](const Plan& plan) {
    const auto begins = [&](std::int64_t layer) {
      return std::any_of(plan.stages.begin(), plan.stages.end(), [&](const auto& s) { return s.first_layer == layer; });
    };
    return begins(2) && begins(4);
  });
  check({.memory_share = 0.3}, [](const Plan& plan) { return plan.peak_memory() <= 0.3 * plan.cluster.device.memory; });
}

TEST_CASE("constraints that no pipeline keeps are refused with what would do", "[constraints]") {
  CHECK_THAT(complaint({.stages = 7}), Equals("--stages: 7 stages need as many layers, the graph has 6; ask for fewer, "
                                              "or cut it into more (--layers)"));
  CHECK_THAT(complaint({.stages = 3, .submeshes = {{1, 2}}}),
             Equals("--stages: 3 stages cannot fill 4 hosts of 2 devices with the layers and submeshes that are "
                    "allowed; possible are 4"));
  CHECK_THAT(complaint({.submeshes = {{3, 2}}}),
             Equals("--submeshes: at least 1 stage on submeshes 3x2 cannot fill 4 hosts of 2 devices; allow more "
                    "submeshes"));
  CHECK_THAT(complaint({.submeshes = {{2, 1}}}),
             Equals("--submeshes: 2x1 cannot be: a stage on several hosts takes all "
                    "their devices; write 2x2 or 1x1"));
  CHECK_THAT(complaint({.boundaries = {"h11"}}), Equals("--boundaries: there is no layer \"h11\"; did you mean "
                                                        "\"h1\"?"));
  CHECK_THAT(complaint(listed(R"({"layers": 5, "submesh": [4, 2]})")),
             Equals("s.json: /stages: end with layer 4 (5 of 6 layers); add the rest, from head on"));
  CHECK_THAT(complaint(listed(R"({"layers": 6, "submesh": [2, 2]})")),
             Equals("s.json: /stages: take 4 devices, the cluster has 8; enlarge them, or give other --hosts"));
  CHECK_THAT(complaint(listed(R"({"layers": 1, "submesh": [1, 1]}, {"layers": 5, "submesh": [2, 2]})")),
             Equals("s.json: /stages/1/submesh: 2x2 cannot begin at device 1 of 4 hosts of 2 devices: it must not "
                    "straddle two hosts, and on several begins at a host's first; change the order or the submeshes"));
  CHECK_THAT(complaint(listed(R"({"layers": 6, "submesh": [4, 2], "mesh": [3, 2]})")),
             Equals("s.json: /stages/0/mesh: [3, 2] is no shape of submesh 4x2 with at most 2 axes (--max-mesh-axes); "
                    "it has [8], [4, 2], [2, 4]"));
}

TEST_CASE("no plan takes less than the products of its graph at the devices' peak", "[constraints]") {
  const PlanningInput input = gpt_on_four_hosts();
  const Plan plan = search_plans(input, options_with({})).front();
  const Seconds products = least_time_of_products(input, 32);
  CHECK(products < plan.lower_bound);
  CHECK(products > 0.2 * plan.lower_bound);
}

TEST_CASE("a deadline that has passed leaves no plan and no reasons", "[constraints]") {
  SearchOptions options = options_with({});
  options.deadline = Deadline::after(Seconds(0));
  const Plan plan = search_plans(gpt_on_four_hosts(), options).front();
  CHECK(plan.status == PlanStatus::time_limit);
  CHECK(plan.stages.empty());
  CHECK(plan.reasons.empty());
  options.deadline = Deadline::after(Seconds(3600));
  CHECK(write_plan(search_plans(gpt_on_four_hosts(), options).front()) == write_plan(planned({})));
}
