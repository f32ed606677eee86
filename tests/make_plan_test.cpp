#include "tools/join/make_plan.hpp"

#include <catch2/catch.hpp>
#include <random>

#include "graphs/input_error.hpp"
#include "planner/baseline.hpp"
#include "planner/explain.hpp"
#include "planner/plan/plan_json.hpp"
#include "tests/planned_samples.hpp"

namespace meshloom {

TEST_CASE("the simulation chooses, not the formula", "[make_plan]") {
  Plan by_formula, by_simulation;
  by_formula.estimate = Seconds(1);
  by_simulation.estimate = Seconds(2);
  const auto run = [](const Plan& plan) {
    Simulation simulation;
    simulation.makespan = plan.estimate == Seconds(1) ? 3'000'000'000'000 : 2'500'000'000'000;
    return simulation;
  };
  const Plan chosen = choose_by_simulation({by_formula, by_simulation}, run);
  CHECK(chosen.estimate == Seconds(2));
  CHECK(chosen.iteration_time == Seconds(2.5));
}

TEST_CASE("with baselines as candidates the simulated time is no worse than without", "[make_plan]") {
  const PlanningInput input = small_gpt_on_v100s();
  MakePlanOptions options = batch_of(32);
  const Plan with = make_plan(input, options);
  options.with_baselines = false;
  const Plan without = make_plan(input, options);
  CHECK(with.iteration_time <= without.iteration_time);
  CHECK(with.best_estimate <= without.best_estimate);
  CHECK(with.lower_bound <= with.best_estimate);
}

namespace {

// What estimates get wrong most: few slow links between the hosts, over which pipelines send as long as they compute.
PlanningInput behind_slow_links(std::mt19937& random, const char* recipe) {
  const auto one_of = [&](std::initializer_list<double> values) { return values.begin()[random() % values.size()]; };
  GptOptions graph{.layers = 6, .hidden = 2048, .heads = 16, .seq_len = 1024, .vocab = 4096};
  PlanningInput input{build_gpt(graph),
                      read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/aws_p3_16xlarge.json"),
                      find_recipe(recipe),
                      {},
                      {}};
  input.cluster.hosts = static_cast<std::int64_t>(one_of({2, 4}));
  input.cluster.devices_per_host = static_cast<std::int64_t>(one_of({1, 2}));
  input.cluster.nic.bandwidth = BytesPerSecond(one_of({0.6e9, 1.25e9, 3e9}));
  input.cluster.device.memory = Bytes(one_of({6e9, 16e9}));
  return input;
}

}  // namespace

TEST_CASE("auto is never slower than a schedule of the recipe asked for by name", "[make_plan]") {
  std::mt19937 random(8);
  for (int i = 0; i < 5; ++i) {
    const char* recipe = i % 3 == 0 ? "alpa" : "neutral";
    const PlanningInput input = behind_slow_links(random, recipe);
    MakePlanOptions options = batch_of(i % 2 == 0 ? 32 : 64);
    options.search.remedies = false;
    const Plan automatic = make_plan(input, options);
    REQUIRE(automatic.status != PlanStatus::infeasible);
    CHECK(automatic.lower_bound <= automatic.best_estimate);
    for (const std::string& schedule : input.recipe.schedules) {
      options.search.schedule = schedule_named(schedule);
      const Plan named = make_plan(input, options);
      CAPTURE(i, recipe, schedule, name(automatic.schedule), input.cluster.hosts, input.cluster.devices_per_host);
      if (named.status != PlanStatus::infeasible) CHECK(automatic.iteration_time <= named.iteration_time);
    }
  }
}

TEST_CASE("one thread and two write the same plan", "[make_plan]") {
  const PlanningInput input = small_gpt_on_v100s();
  MakePlanOptions options = batch_of(32);
  options.search.threads = 1;
  const std::string one = write_plan(make_plan(input, options));
  options.search.threads = 2;
  CHECK(write_plan(make_plan(input, options)) == one);
  CHECK(write_plan(parse_plan(one, "plan.json")) == one);
}

TEST_CASE("explaining the optimum of an op finds nothing better", "[explain]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.device.memory = Bytes(64e9);  // memory does not bind, so time alone decides
  const Plan plan = make_plan(input, [] {
    MakePlanOptions options = batch_of(32);
    options.with_baselines = false;
    return options;
  }());
  for (const char* op : {"h1.attn.q", "h1.mlp.down", "h1.ln1", "head.logits"}) {
    CAPTURE(op);
    const OpExplanation explained = explain_op(plan, input.graph, op);
    CHECK(explained.priced_difference >= Seconds(-1e-9));
    if (plan.stages[explained.stage].mesh.size() > 0) CHECK(explained.runner_up.has_value());
  }
  CHECK_THROWS_WITH(explain_op(plan, input.graph, "h1.mlp.upp"), Catch::Contains("did you mean \"h1.mlp.up\"?"));
}

TEST_CASE("what cannot fit is an answer with a reason and remedies that work", "[make_plan]") {
  PlanningInput input = small_gpt_on_v100s();
  input.recipe.context_memory = Bytes(1073741824);  // not the recipe's own, which is fitted
  input.cluster.device.memory = Bytes(1.5e9);
  const Plan plan = make_plan(input, batch_of(32));
  REQUIRE(plan.status == PlanStatus::infeasible);
  REQUIRE(plan.reasons.size() == 1);
  CHECK(plan.reasons[0].needs > plan.reasons[0].has);
  REQUIRE(plan.remedies.size() == 2);
  // 1.5 GB are less than 2 GiB.
  CHECK(plan.remedies[0].options == "--device-memory \"2 GiB\"");
  PlanningInput larger = input;
  larger.cluster.device.memory = Bytes(2.0 * 1024 * 1024 * 1024);
  CHECK(make_plan(larger, batch_of(32)).status != PlanStatus::infeasible);
  const Remedy& hosts = plan.remedies[1];
  REQUIRE(hosts.options.starts_with("--hosts "));
  larger = input;
  larger.cluster.hosts = std::stoll(hosts.options.substr(8));
  CHECK(make_plan(larger, batch_of(32)).status != PlanStatus::infeasible);
}

TEST_CASE("three hosts can share a batch in thirds", "[make_plan]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = 3;
  MakePlanOptions options = batch_of(576);     // sizes 1, 2, 4 … 64 and 3, 6 … 192, and more
  options.search.layers = 1;                   // one stage, so the hosts can only share work within it
  options.search.recompute = Recompute::none;  // and the whole batch at once does not fit
  input.cluster.device.memory = Bytes(5e9);
  const Plan plan = make_plan(input, options);
  CHECK(plan.microbatch_size % 3 == 0);
  CHECK(plan.microbatch_size < 576);
}

TEST_CASE("a device smaller than the context is refused at once, whatever its number", "[make_plan]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.device.memory = input.recipe.context_memory;
  const Plan plan = make_plan(input, batch_of(32));
  CHECK(plan.status == PlanStatus::infeasible);
  for (const Remedy& remedy : plan.remedies) CHECK(remedy.options.starts_with("--device-memory"));
  CHECK(plan.reasons.at(0).needs == input.recipe.context_memory);
}

// The search's prices of memory pass over some layouts; what a uniform layout can do is still found.
TEST_CASE("what fits as a uniform layout is never called infeasible", "[make_plan]") {
  PlanningInput input = small_gpt_on_v100s();
  GptOptions graph;
  graph.layers = 4, graph.hidden = 512, graph.heads = 8, graph.seq_len = 512, graph.vocab = 8192;
  input.graph = build_gpt(graph);
  UniformLayout layout{4, 1, 2};
  layout.sequence_parallel = true;
  layout.parameter_state = ParameterState::zero3;
  layout.recompute = Recompute::full;
  layout.micro_batch_per_replica = 1;
  const Plan tight = baseline_plan(input, layout, 16);
  input.cluster.device.memory = tight.peak_memory();
  MakePlanOptions options = batch_of(16);
  options.search.microbatch_size = 2;
  options.search.remedies = false;
  CHECK(make_plan(input, options).status == PlanStatus::feasible);
}

}  // namespace meshloom
