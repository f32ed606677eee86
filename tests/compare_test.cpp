#include "planner/plan/compare.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {

std::vector<std::string> print(const Comparison& comparison) {
  std::vector<std::string> lines;
  for (const PlanDifference& difference : comparison.differences)
    lines.push_back(difference.path + ": " + difference.base + " -> " + difference.next);
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("a plan does not differ from itself") {
  const Comparison comparison = compare_plans(sample_plan(), sample_plan());
  CHECK(comparison.differences.empty());
  CHECK(comparison.slowdown == 0);
}

TEST_CASE("the slowdown is of the simulated times") {
  Plan next = sample_plan();
  next.iteration_time = next.iteration_time * 1.5;
  const Comparison comparison = compare_plans(sample_plan(), next);
  CHECK(comparison.base == Seconds(38e-6));
  CHECK(comparison.next == Seconds(57e-6));
  CHECK(comparison.slowdown == Approx(0.5).epsilon(1e-12));
  CHECK(print(comparison) == Lines{"/iteration_time_s: 38.0 us -> 57.0 us"});
}

TEST_CASE("differences of a stage name path and both values, with units") {
  Plan next = sample_plan();
  Stage& stage = next.stages[0];
  stage.mesh = {{"x", 1}, {"y", 2}};
  stage.devices = {0, 3};
  stage.recompute = Recompute::none;
  stage.parameter_state.reset();
  stage.backward = Seconds(0.0125);
  stage.memory.activations_per_microbatch = Bytes(2 * 1073741824.0);
  stage.memory.in_flight = 1;
  // Peak of stage 0: 9100 + 500*2 + 300 = 10400 B = 10.2 KiB before, about 2 GiB after; the plan's was stage 1's 20850
  // B.
  CHECK(print(compare_plans(sample_plan(), next)) ==
        Lines{"/peak_memory_bytes: 20.4 KiB -> 2.00 GiB", "/stages/0/devices: 0-1 -> 0,3",
              "/stages/0/mesh: x=2 -> x=1 y=2", "/stages/0/recompute: full -> none",
              "/stages/0/parameter_state: zero1 -> mixed", "/stages/0/backward_s: 4.00 us -> 12.5 ms",
              "/stages/0/memory/peak_bytes: 10.2 KiB -> 2.00 GiB",
              "/stages/0/memory/activations_per_microbatch_bytes: 500 B -> 2.00 GiB",
              "/stages/0/memory/in_flight: 2 -> 1"});
}

TEST_CASE("schedule and microbatches are compared") {
  Plan next = sample_plan();
  next.schedule = ScheduleKind::gpipe;
  next.microbatch_size = 6;
  next.microbatches = 2;
  CHECK(print(compare_plans(sample_plan(), next)) ==
        Lines{"/schedule: 1f1b -> gpipe", "/microbatch_size: 4 -> 6", "/microbatches: 3 -> 2"});
}

TEST_CASE("plans with different numbers of stages are told apart by their stages, not stage by stage") {
  Plan next = sample_plan();
  next.stages.pop_back();
  next.stages[0].last_layer = 2;
  next.stages[0].submesh = {1, 4};
  CHECK(print(compare_plans(sample_plan(), next)) ==
        Lines{"/peak_memory_bytes: 20.4 KiB -> 10.2 KiB",
              "/stages: 2: layers 0-1 on 1 x 2, layers 2-2 on 1 x 2 -> 1: layers 0-2 on 1 x 4"});
}

TEST_CASE("numbers that three digits do not tell apart are printed with as many as do") {
  Plan next = sample_plan();
  next.estimate = Seconds(3.80001e-5);
  CHECK(print(compare_plans(sample_plan(), next)) == Lines{"/estimate_s: 38 us -> 38.0001 us"});
}

TEST_CASE("numbers are told as numbers, too, and a time that does not exist as none") {
  Plan next = sample_plan();
  next.schedule = ScheduleKind::gpipe;
  next.microbatches = 2;
  next.lower_bound = Seconds(0);
  const std::vector<PlanDifference> found = compare_plans(sample_plan(), next).differences;
  REQUIRE(found.size() == 3);
  CHECK(found[0].path == "/lower_bound_s");
  CHECK(found[0].base_value == sample_plan().lower_bound.value());
  CHECK(found[0].next == "none");
  CHECK(!found[0].next_value);
  CHECK(found[1].path == "/schedule");
  CHECK(!found[1].base_value);
  CHECK(found[2].base_value == 3);
  CHECK(found[2].next_value == 2);
}

TEST_CASE("plans of other graphs or global batches come with a warning each") {
  CHECK(compare_plans(sample_plan(), sample_plan()).warnings.empty());
  Plan next = sample_plan();
  next.graph_name = "other";
  next.global_batch = 24;
  CHECK(compare_plans(sample_plan(), next).warnings ==
        Lines{"the graphs differ: \"" + sample_plan().graph_name + "\" and \"other\"",
              "the global batches differ: 12 and 24 samples per step"});
  Plan same_name = sample_plan();
  same_name.graph.digest = "fnv1a64:0000000000000000";
  CHECK(compare_plans(sample_plan(), same_name).warnings.size() == 1);
  same_name.graph.digest = "";  // was not a file: nothing is known
  CHECK(compare_plans(sample_plan(), same_name).warnings.empty());
}

TEST_CASE("a plan without a simulated time takes forever") {
  Plan infeasible = sample_plan();
  infeasible.iteration_time = Seconds(0);
  CHECK(compare_plans(sample_plan(), infeasible).slowdown == std::numeric_limits<double>::infinity());
  CHECK(compare_plans(infeasible, sample_plan()).slowdown == -1);
  CHECK(compare_plans(infeasible, infeasible).slowdown == 0);
}
