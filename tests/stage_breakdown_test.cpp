#include "planner/plan/stage_breakdown.hpp"

#include <catch2/catch.hpp>
#include <random>

#include "simulator/simulation.hpp"
#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {
Seconds time_named(const StageBreakdown& stage, const std::string& name) {
  for (const NamedTime& each : stage.times)
    if (each.name == name) return each.time;
  return Seconds(-1);
}
}  // namespace

TEST_CASE("a stage pays for what it sends: activations forward, gradients of the stage after it back") {
  Plan plan = sample_plan();
  const Simulation simulation = simulate(plan);
  apply_simulation(plan, simulation);
  const std::vector<StageBreakdown> stages = break_down(plan, seen_times(plan, simulation));
  // Three microbatches, 1 us for each activation and 1 us for each gradient.
  CHECK(time_named(stages[0], "send_activations").value() == Approx(3e-6));
  CHECK(time_named(stages[0], "send_gradients").value() == 0);
  CHECK(time_named(stages[1], "send_activations").value() == 0);
  CHECK(time_named(stages[1], "send_gradients").value() == Approx(3e-6));
}

TEST_CASE("the idle time of a stage is what the simulation says its devices wait") {
  Plan plan = sample_plan();
  const Simulation simulation = simulate(plan);
  apply_simulation(plan, simulation);
  const std::vector<StageBreakdown> stages = break_down(plan, seen_times(plan, simulation));
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const auto idle = static_cast<double>(simulation.makespan - simulation.busy[i]) * 1e-12;
    CHECK(time_named(stages[i], "idle").value() == Approx(idle));
  }
}

TEST_CASE("synchronization that buckets leave over is no idle time, what goes on beside the backward counts nothing") {
  Plan plan = sample_plan();
  plan.recipe.overlap_synchronization = OverlapSynchronization::last_backward;
  plan.recipe.bucket_bytes = Bytes(600);
  const Simulation simulation = simulate(plan);
  apply_simulation(plan, simulation);
  // Stage 0 (drawn in docs/simulation.md) runs its last backward from 30 to 34 us. Of its 3 us of synchronization 1 is
  // for gradients shared with another stage; 2 go on in four buckets (2000 B in 600 B each), the last from 34 to 34.5.
  // So 0.5 + 1 us are left, the update ends at 36.5, and 21 us of runs and sends leave 13 idle.
  const std::vector<StageBreakdown> stages = break_down(plan, seen_times(plan, simulation));
  CHECK(plan.iteration_time.value() == Approx(36.5e-6));
  CHECK(time_named(stages[0], "synchronization").value() == Approx(1.5e-6));
  CHECK(time_named(stages[0], "idle").value() == Approx(13e-6));
  CHECK(time_named(stages[1], "synchronization").value() == Approx(2e-6));  // reduces nothing of its own in buckets
  CHECK(time_named(stages[1], "idle").value() == Approx(6.5e-6));
}

TEST_CASE("a send over a shared link keeps its rank busy for as long as it takes there") {
  // Forward only, as in docs/simulation.md: the sends of microbatch 1 from the first stage and of microbatch 0 from the
  // second share one link from 30 to 50 ps, so that each stage sends for 10 + 20 or 20 + 10 ps instead of 20.
  Plan plan;
  plan.schedule = ScheduleKind::inference;
  plan.microbatches = 2;
  plan.stages.resize(3);
  for (Stage& stage : plan.stages) stage.devices = {0}, stage.forward = stage.forward_compute = Seconds(10e-12);
  const Conditions conditions{.activations = {{{{0, 1}}, 0}, {{{0, 1}}, 0}, {}}, .gradients = {3, Route{}}, .links = 1};
  const Simulation simulation =
      simulate(make_program(ScheduleKind::inference, 3, 2), {{10, 0, 10}, {10, 0, 10}, {10, 0, 0}}, conditions);
  apply_simulation(plan, simulation);
  const std::vector<StageBreakdown> stages = break_down(plan, seen_times(plan, simulation));
  CHECK(plan.iteration_time.value() == Approx(80e-12));
  for (const std::size_t sender : {0U, 1U}) {
    CHECK(time_named(stages[sender], "send_activations").value() == Approx(30e-12));
    CHECK(time_named(stages[sender], "idle").value() == Approx(30e-12));
  }
}

TEST_CASE("conversions without a collective are not listed, the longest stands first") {
  const Plan plan = sample_plan();
  for (const StageBreakdown& stage : break_down(plan, seen_times(plan, simulate(plan)))) {
    for (std::size_t i = 0; i < stage.conversions.size(); ++i) {
      CHECK_FALSE(stage.conversions[i].collectives.empty());
      if (i > 0) CHECK(stage.conversions[i - 1].per_step >= stage.conversions[i].per_step);
    }
  }
}

TEST_CASE("layers are named by the first and the last") {
  Plan plan;
  plan.layers = {"embed", "h0", "head"};
  CHECK(layer_names(plan, 0, 2) == "embed…head");
  CHECK(layer_names(plan, 1, 1) == "h0");
}

TEST_CASE("the times of every stage add up to the step's, whatever the schedule") {
  std::mt19937 random(51);
  for (int i = 0; i < 200; ++i) {
    Plan plan = random_plan(random);
    const Simulation simulation = simulate(plan);
    apply_simulation(plan, simulation);
    for (const StageBreakdown& stage : break_down(plan, seen_times(plan, simulation))) {
      Seconds sum;
      for (const NamedTime& each : stage.times) sum += each.time;
      CAPTURE(name(plan.schedule));
      REQUIRE(sum.value() == Approx(plan.iteration_time.value()));
      REQUIRE(time_named(stage, "idle").value() >= -1e-9);  // a rounded picosecond for each instruction
    }
  }
}
