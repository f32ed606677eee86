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
  apply_simulation(plan, simulate(plan));
  const std::vector<StageBreakdown> stages = break_down(plan);
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
  const std::vector<StageBreakdown> stages = break_down(plan);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const auto idle = static_cast<double>(simulation.makespan - simulation.busy[i]) * 1e-12;
    CHECK(time_named(stages[i], "idle").value() == Approx(idle));
  }
}

TEST_CASE("conversions without a collective are not listed, the longest stands first") {
  for (const StageBreakdown& stage : break_down(sample_plan())) {
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
    apply_simulation(plan, simulate(plan));
    for (const StageBreakdown& stage : break_down(plan)) {
      Seconds sum;
      for (const NamedTime& each : stage.times) sum += each.time;
      CAPTURE(name(plan.schedule));
      REQUIRE(sum.value() == Approx(plan.iteration_time.value()));
      REQUIRE(time_named(stage, "idle").value() >= -1e-9);  // a rounded picosecond for each instruction
    }
  }
}
