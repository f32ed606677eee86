#include "planner/uniform_search.hpp"

#include <catch2/catch.hpp>

#include "tests/planned_samples.hpp"
#include "tests/uniform_layouts_with_chunks.hpp"

namespace meshloom {
namespace {

PlanningInput gpt_on_two_hosts(double nic_gigabits) {
  PlanningInput input = small_gpt_on_v100s();
  GptOptions options;
  options.layers = 8, options.hidden = 1024, options.heads = 16, options.seq_len = 512, options.vocab = 8192;
  input.graph = build_gpt(options);
  input.recipe = find_recipe("megatron");
  input.cluster.hosts = 2;
  input.cluster.devices_per_host = 4;
  input.cluster.nic.bandwidth = BytesPerSecond(nic_gigabits * 1e9 / 8);
  return input;
}

std::optional<Plan> best_of_all(const PlanningInput& input, ScheduleKind kind) {
  std::optional<Plan> best;
  for (UniformLayout layout : layouts_with_chunks(input, kind))
    for (std::int64_t size = 1; size * layout.data_parallel <= 64; size *= 2) {
      if (64 % (size * layout.data_parallel) != 0) continue;
      if (why_impossible(layout.schedule, layout.pipeline_parallel, 64 / (size * layout.data_parallel))) continue;
      layout.micro_batch_per_replica = size;
      Plan plan = baseline_plan(input, layout, 64);
      if (plan.status == PlanStatus::feasible && (!best || plan.estimate < best->estimate)) best = std::move(plan);
    }
  return best;
}

}  // namespace

TEST_CASE("the best uniform plan is the one of least estimate among all, with chunks too", "[uniform]") {
  const ScheduleKind kind = GENERATE(ScheduleKind::one_f_one_b, ScheduleKind::interleaved);
  PlanningInput input = gpt_on_two_hosts(5);
  input.recipe = find_recipe(GENERATE("megatron", "nemo"));  // nemo waits for what chunks do not hide
  const double share = GENERATE(1.0, 0.3);                   // of the memory: with the less most layouts do not fit
  input.cluster.device.memory = share * input.cluster.device.memory;
  INFO(input.recipe.name << ", " << name(kind) << ", " << share << " of the memory");
  SearchOptions options;
  options.global_batch = 64;
  options.schedule = kind;
  const std::optional<Plan> found = best_uniform_plan(input, options), best = best_of_all(input, kind);
  REQUIRE(best);
  REQUIRE(found);
  CHECK(found->estimate.value() == Approx(best->estimate.value()).epsilon(1e-12));
  CHECK(found->schedule.kind == kind);
}

TEST_CASE("a number of chunks that is asked for is kept", "[uniform]") {
  SearchOptions options;
  options.global_batch = 64;
  options.chunks = 2;
  const std::optional<Plan> found = best_uniform_plan(gpt_on_two_hosts(100), options);
  REQUIRE(found);
  CHECK(found->schedule == Schedule(ScheduleKind::interleaved, 2));
  options.chunks = 3;  // divides no eight blocks
  CHECK_FALSE(best_uniform_plan(gpt_on_two_hosts(100), options));
}

TEST_CASE("context parallelism is tried as far as devices keep 2,048 tokens of a sample", "[uniform]") {
  PlanningInput input = gpt_on_two_hosts(100);
  GptOptions options;
  options.layers = 2, options.hidden = 256, options.heads = 4, options.vocab = 1024;
  for (const std::int64_t tokens : {2048, 4096, 8192}) {
    options.seq_len = tokens;
    input.graph = build_gpt(options);
    std::int64_t most = 1;
    for (const UniformLayout& layout : uniform_layouts(input)) {
      most = std::max(most, layout.context_parallel);
      CHECK(layout.tensor_parallel * layout.pipeline_parallel * layout.data_parallel * layout.context_parallel == 8);
    }
    CHECK(most == tokens / 2048);
  }
}

TEST_CASE("a plan is no slower than the best uniform one with chunks", "[uniform]") {
  const double nic_gigabits = GENERATE(0.5, 10.0);
  const PlanningInput input = gpt_on_two_hosts(nic_gigabits);
  MakePlanOptions options = batch_of(64);
  const Plan plan = make_plan(input, options);
  options.search.schedule = ScheduleKind::interleaved;
  std::optional<Plan> uniform = best_uniform_plan(input, options.search);
  REQUIRE(uniform);
  apply_simulation(*uniform, simulate(*uniform));
  CHECK(plan.iteration_time <= uniform->iteration_time * (1 + 1e-12));
}

}  // namespace meshloom
