// Gradients reduced and parameters gathered beside computing: what a rank waits for
// (planner/plan/synchronization_waits.hpp).
#include "planner/plan/synchronization_waits.hpp"

#include <catch2/catch.hpp>

#include "planner/launch_sums.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/reprice.hpp"
#include "planner/search.hpp"
#include "planner/uniform_search.hpp"
#include "tests/planned_samples.hpp"

namespace meshloom {
namespace {

Conversion per_step(Collective collective, double seconds) {
  Conversion conversion;
  conversion.consumer = "optimizer";
  conversion.rate = Rate::per_step;
  conversion.backward = {{collective, {}, Bytes(1), Seconds(seconds)}};
  return conversion;
}

Stage stage_of(double forward, double backward, double reducing, double gathering) {
  Stage stage;
  stage.forward = Seconds(forward), stage.backward = Seconds(backward);
  stage.synchronization = Seconds(reducing + gathering);
  stage.conversions = {per_step(Collective::reduce_scatter, reducing), per_step(Collective::all_gather, gathering)};
  return stage;
}

// One rank for each list of its chunks; a fifth is exposed.
Plan plan_of(std::int64_t ranks, std::int64_t chunks, std::int64_t microbatches, const Stage& stage) {
  Plan plan;
  plan.recipe.overlap_synchronization = OverlapSynchronization::beside_computing;
  plan.recipe.exposed_synchronization = 0.2;
  plan.schedule = chunks > 1 ? Schedule(ScheduleKind::interleaved, chunks) : Schedule(ScheduleKind::one_f_one_b);
  plan.microbatches = microbatches;
  for (std::int64_t s = 0; s < ranks * chunks; ++s) {
    plan.stages.push_back(stage);
    plan.stages.back().chunk = s / ranks;
  }
  return plan;
}

double waits_of(Plan plan) {
  add_synchronization_waits(plan);
  double waits = 0;
  for (const Stage& stage : plan.stages) waits += stage.synchronization_waits.value();
  return waits;
}

// Two hosts of eight V100s: what is reduced between them passes one slow NIC.
PlanningInput slow_links() {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = 2;
  input.cluster.nic.bandwidth = BytesPerSecond(1e9);
  input.recipe = find_recipe("nemo");
  input.recipe.context_memory = Bytes(0);
  input.recipe.exposed_synchronization = 0.2;
  return input;
}

}  // namespace

TEST_CASE("one chunk hides as much as its last backward and its first forward take", "[waits]") {
  // 2 s exposed of 10 that reducing takes alone, 1 of 5 for gathering.
  CHECK(waits_of(plan_of(1, 1, 4, stage_of(4, 8, 2, 1))) == Approx(0).margin(1e-12));  // 10 − 8 = 2, 5 − 4 = 1
  CHECK(waits_of(plan_of(1, 1, 4, stage_of(4, 7, 2, 1))) == Approx(1));                // 10 − 7 = 3, not 2
  CHECK(waits_of(plan_of(1, 1, 4, stage_of(2, 7, 2, 1))) == Approx(3));                // and 5 − 2 = 3, not 1
  CHECK(waits_of(plan_of(1, 1, 1, stage_of(0, 0, 2, 1))) == Approx(12));               // of 15
}

TEST_CASE("chunks hide one another's synchronization", "[waits]") {
  // Two chunks of backward 1 and forward 0.5, four ranks: behind the last of the second chunk come four of the first.
  // Reducing takes 2·2.5/0.2 = 25 alone, gathering 2·1.5/0.2 = 15: 25 − 4·1 − 1 = 20 and 15 − 4·0.5 − 0.5 = 12.5,
  // beyond 5 and 3: 15 and 9.5, for each of the four ranks.
  CHECK(waits_of(plan_of(4, 2, 8, stage_of(0.5, 1, 2.5, 1.5))) == Approx(4 * 24.5));
  // With two microbatches there are but two of them: 25 − 2 − 1 − 5 = 17 and 15 − 1 − 0.5 − 3 = 10.5.
  CHECK(waits_of(plan_of(4, 2, 2, stage_of(0.5, 1, 2.5, 1.5))) == Approx(4 * 27.5));
  // The first chunk's own 12 hide behind one backward of 1 only, however many there are of it behind the second's: with
  // sixteen ranks 24 − 16 − 1 = 7, but 12 − 1 = 11, beyond 24·0.2 = 4.8.
  CHECK(waits_of(plan_of(16, 2, 32, stage_of(100, 1, 2.4, 0))) == Approx(16 * (11 - 4.8)));
  // A last chunk of backward 3 is reduced beside its own last backward and four of 1: 25 − 4 − 3 = 18, beyond 5; one of
  // forward 2 has its parameters beside its own first forward and four of 0.5: 15 − 2 − 2 = 11, beyond 3.
  Plan longer = plan_of(4, 2, 8, stage_of(0.5, 1, 2.5, 1.5));
  for (std::size_t s = 4; s < 8; ++s) longer.stages[s].forward = Seconds(2), longer.stages[s].backward = Seconds(3);
  CHECK(waits_of(longer) == Approx(4 * (13 + 8)));
}

TEST_CASE("other recipes wait for their share, and a share of nothing says nothing", "[waits]") {
  Plan plan = plan_of(1, 1, 1, stage_of(0, 0, 2, 1));
  plan.recipe.overlap_synchronization = OverlapSynchronization::none;
  CHECK(waits_of(plan) == 0);
  plan.recipe.overlap_synchronization = OverlapSynchronization::beside_computing;
  plan.recipe.exposed_synchronization = 0;
  CHECK(waits_of(plan) == 0);
}

TEST_CASE("a cost of one chunk waits as its plan does", "[waits]") {
  for (const double bandwidth : {1e8, 1e9, 1e12}) {
    PlanningInput input = slow_links();
    input.cluster.nic.bandwidth = BytesPerSecond(bandwidth);
    for (const ParameterState state : {ParameterState::replicated, ParameterState::zero1}) {
      UniformLayout layout{1, 1, 16};
      layout.parameter_state = state;
      layout.micro_batch_per_replica = 1;
      const Plan plan = baseline_plan(input, layout, 32);
      const Stage& stage = plan.stages[0];
      CHECK((stage.synchronization_waits > Seconds(0)) == (bandwidth < 1e12));
      Cost cost;
      cost.forward = stage.forward, cost.backward = stage.backward;
      for (const Conversion& conversion : stage.conversions)
        if (conversion.rate == Rate::per_step)
          for (const CollectiveStep& step : conversion.backward)
            if (step.collective == Collective::all_gather) cost.parameter_gathers += step.time;
      cost.synchronization = stage.synchronization - stage.synchronization_waits;
      CHECK(with_synchronization_waits(input.recipe, cost).synchronization.value() ==
            Approx(stage.synchronization.value()));
      CHECK(reprice(plan, input.graph, plan.cluster).empty());
      CHECK(parse_plan(write_plan(plan), "plan") == plan);
    }
  }
}

TEST_CASE("the best uniform plan is the best of all where synchronization waits", "[waits]") {
  const PlanningInput input = slow_links();
  SearchOptions options;
  options.global_batch = 64;
  options.schedule = ScheduleKind::one_f_one_b;
  const std::optional<Plan> best = best_uniform_plan(input, options);
  REQUIRE(best);
  bool waits = false;
  for (UniformLayout layout : uniform_layouts(input))
    for (std::int64_t size = 1; size * layout.data_parallel <= 64; size *= 2) {
      layout.micro_batch_per_replica = size;
      const Plan plan = baseline_plan(input, layout, 64);
      if (plan.status != PlanStatus::feasible) continue;
      waits = waits || plan.stages[0].synchronization_waits > Seconds(0);
      CHECK(best->estimate.value() <= plan.estimate.value() * (1 + 1e-12));
    }
  CHECK(waits);
}

}  // namespace meshloom
