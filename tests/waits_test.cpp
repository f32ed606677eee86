// What a stage waits for beyond its devices: the host that starts kernels, collectives of parameters beside computing.
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "costmodel/stage_time.hpp"
#include "planner/baseline.hpp"
#include "planner/launch_sums.hpp"
#include "planner/parameter_costs.hpp"
#include "planner/plan/stage_breakdown.hpp"
#include "planner/stage_costs.hpp"
#include "simulator/simulation.hpp"
#include "tests/planned_samples.hpp"
#include "tests/random_chain.hpp"

namespace meshloom {
namespace {

Stage only_stage(const PlanningInput& input, ParameterState state, Recompute recompute = Recompute::none) {
  UniformLayout layout{1, 1, 8};
  layout.micro_batch_per_replica = 1;
  layout.parameter_state = state;
  layout.recompute = recompute;
  return baseline_plan(input, layout, 8).stages.at(0);
}

// Eight devices of one host, 100 GB/s without latency.
Cluster eight_devices() {
  Cluster cluster;
  cluster.devices_per_host = 8;
  cluster.intra_host = {BytesPerSecond(100e9), 1, Seconds(0)};
  cluster.device.memory_bandwidth = BytesPerSecond(1.4e12);
  return cluster;
}

ParameterCost cost_of(const Recipe& recipe, ParameterState state) {
  return parameter_cost(eight_devices(), recipe, {{1, 8}, {{"data", 8}}}, {{replicated_partial_gradient}}, 1e9,
                        DType::bf16, state);
}

}  // namespace

TEST_CASE("a stage takes the p-norm of what limits it", "[waits]") {
  CHECK(stage_time({Seconds(2), Seconds(0), Seconds(0)}) == Seconds(2));
  CHECK(stage_time({Seconds(0), Seconds(0), Seconds(0)}) == Seconds(0));
  // Two equal parts: (2·1)^(1/2.7) = e^(0.6931/2.7) = 1.2927; three: e^(1.0986/2.7) = 1.5021.
  CHECK(stage_time({Seconds(1), Seconds(1), Seconds(0)}).value() == Approx(1.2927).epsilon(1e-4));
  CHECK(stage_time({Seconds(1), Seconds(0), Seconds(1)}).value() == Approx(1.2927).epsilon(1e-4));
  CHECK(stage_time({Seconds(1), Seconds(1), Seconds(1)}).value() == Approx(1.5021).epsilon(1e-4));
  // A tenth of the longest hardly counts: 10 · (1 + 10^-2.7)^(1/2.7) = 10 · (1 + 0.001995 / 2.7).
  CHECK(stage_time({Seconds(10), Seconds(1), Seconds(0)}).value() == Approx(10.0074).epsilon(1e-5));
}

TEST_CASE("kernels that the host starts make a stage wait, and the plan says how long", "[waits]") {
  PlanningInput input = small_gpt_on_v100s();
  input.recipe.launch = Seconds(0);
  const Stage free = only_stage(input, ParameterState::replicated);
  CHECK(free.forward_waits == Seconds(0));
  CHECK(free.backward_waits == Seconds(0));
  // As many kernels as make the launches of the forward take as long as the devices do.
  const TrainingGraph training = differentiate(input.graph);
  input.recipe.launch = Seconds(1);
  input.recipe.backward_launch = 0;
  double kernels = 0;
  for (std::uint32_t o = 0; o < input.graph.ops.size(); ++o)
    kernels += launches(input.recipe, input.graph, training.gradients[o], OpId{o}).forward.value();
  CHECK(kernels > 50);
  input.recipe.launch = free.forward / kernels;
  const Stage bound = only_stage(input, ParameterState::replicated);
  CHECK(bound.forward.value() == Approx(std::pow(2, 1 / 2.7) * free.forward.value()));
  CHECK(bound.forward_waits.value() == Approx((std::pow(2, 1 / 2.7) - 1) * free.forward.value()));
  CHECK(bound.forward_compute == free.forward_compute);
  CHECK(bound.backward == free.backward);
  // Full recompute starts the forward's kernels of the blocks again.
  const Stage again = only_stage(input, ParameterState::replicated, Recompute::full);
  CHECK(again.backward_waits > Seconds(0));
}

TEST_CASE("a breakdown of a stage says what it waits, and its parts still add up", "[waits]") {
  PlanningInput input = small_gpt_on_v100s();
  input.recipe.launch = Seconds(50e-6);
  UniformLayout layout{1, 1, 8};
  layout.micro_batch_per_replica = 1;
  Plan plan = baseline_plan(input, layout, 16);
  const Simulation simulation = simulate(plan);
  apply_simulation(plan, simulation);
  Seconds total, waits;
  for (const NamedTime& each : break_down(plan, seen_times(plan, simulation)).at(0).times) {
    total += each.time;
    if (each.name == "waits") waits = each.time;
  }
  const Stage& stage = plan.stages[0];
  CHECK(waits.value() == Approx(2 * (stage.forward_waits + stage.backward_waits).value()));  // two microbatches
  CHECK(waits > Seconds(0));
  CHECK(total.value() == Approx(plan.iteration_time.value()));
}

// docs/layouts.md: an all-gather of 2 GB takes 17.5 ms, a reduce-scatter of 4 GB 35 ms.
TEST_CASE("collectives of parameters beside computing are waited for in part and limit the stage in full", "[waits]") {
  Recipe recipe;
  recipe.overlap_parameters = true;
  recipe.exposed_parameters = 0.1;
  recipe.parameter_slowdown = 2;
  recipe.exposed_synchronization = 0.25;
  const ParameterCost zero3 = cost_of(recipe, ParameterState::zero3);
  CHECK(total_time(zero3.forward).value() == Approx(0.1 * 2 * 17.5e-3));
  CHECK(zero3.forward_beside.value() == Approx(2 * 17.5e-3));
  CHECK(total_time(zero3.backward).value() == Approx(0.1 * 2 * (17.5e-3 + 35e-3)));
  CHECK(zero3.backward_beside.value() == Approx(2 * (17.5e-3 + 35e-3)));
  // Once per step: a quarter, at full speed, beside nothing.
  const ParameterCost zero1 = cost_of(recipe, ParameterState::zero1);
  CHECK(total_time(zero1.per_step).value() == Approx(0.25 * (35e-3 + 17.5e-3)));
  CHECK(zero1.forward_beside == Seconds(0));
  recipe.overlap_parameters = false;
  CHECK(cost_of(recipe, ParameterState::zero3).forward_beside == Seconds(0));
  CHECK(total_time(cost_of(recipe, ParameterState::zero3).forward).value() == Approx(0.1 * 2 * 17.5e-3));
}

TEST_CASE("a stage whose parameters are gathered beside computing takes the p-norm of both", "[waits]") {
  PlanningInput input = small_gpt_on_v100s();
  input.recipe.launch = Seconds(0);
  input.recipe.exposed_parameters = 0;
  const Stage free = only_stage(input, ParameterState::zero3);
  CHECK(free.forward_waits == Seconds(0));
  input.recipe.exposed_parameters = 1;
  const Stage waited = only_stage(input, ParameterState::zero3);
  const Seconds gathers = waited.forward - free.forward;
  input.recipe.exposed_parameters = 0;
  input.recipe.overlap_parameters = true;
  const Stage beside = only_stage(input, ParameterState::zero3);
  CHECK(beside.forward.value() == Approx(stage_time({free.forward, Seconds(0), gathers}).value()));
  CHECK(beside.forward < waited.forward);
}

TEST_CASE("waits never make a range take less than its parts, and add to it at most them", "[waits]") {
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    const PlanningInput input = [&] {
      PlanningInput drawn = random_input(random, draw(random, 2, 4));
      drawn.recipe.launch = Seconds(1e-7 * static_cast<double>(draw(random, 0, 30)));
      return drawn;
    }();
    const SearchOptions options{.global_batch = 8};
    const SearchSpace space = search_space(input, options);
    Cost cost;
    cost.forward = Seconds(1e-6 * static_cast<double>(draw(random, 1, 100)));
    cost.backward = Seconds(1e-6 * static_cast<double>(draw(random, 1, 100)));
    cost.backward_weight = 0.5 * cost.backward;
    cost.forward_beside = Seconds(1e-6 * static_cast<double>(draw(random, 0, 100)));
    cost.backward_beside = Seconds(1e-6 * static_cast<double>(draw(random, 0, 100)));
    const std::size_t last = space.layers.layers.size() - 1;
    for (const Recompute recompute : space.recomputes) {
      const Launches own = space.launches.of(0, last, recompute);
      const Cost all = space.launches.with_waits(cost, 0, last, recompute);
      CHECK(all.forward >= std::max({cost.forward, own.forward, cost.forward_beside}));
      CHECK(all.forward <= (cost.forward + own.forward + cost.forward_beside) * (1 + 1e-12));
      CHECK(all.backward >= std::max({cost.backward, own.backward, cost.backward_beside}));
      CHECK(all.backward_weight.value() == Approx(0.5 * all.backward.value()));
    }
  }
}

}  // namespace meshloom
