#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "costmodel/groups.hpp"
#include "graphs/builders.hpp"
#include "graphs/graph_draft.hpp"
#include "graphs/input_error.hpp"
#include "planner/uniform_search.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/reprice.hpp"
#include "planner/search.hpp"
#include "simulator/simulation.hpp"
#include "tests/mesh_case.hpp"
#include "tests/random_chain.hpp"

namespace meshloom {
namespace {

// Products of 64 × 64: a layer is 2·64·64 FLOPs per sample forward and twice that backward.
Graph chain(std::size_t layers) {
  GraphDraft draft{"chain", "chain", "b", {}, DType::bf16, 0, {}, {}};
  draft.tensors.push_back({"x", {"b", "64"}, DType::bf16});
  std::string last = "x";
  for (std::size_t l = 0; l < layers; ++l) {
    const std::string tag = fmt::format("l{}", l);
    draft.tensors.push_back({tag + ".w", {"64", "64"}, DType::bf16, TensorRole::parameter});
    draft.ops.push_back({tag + ".y", OpKind::einsum, tag, {last, tag + ".w"}, {tag + ".y"}, "b i, i j -> b j"});
    last = tag + ".y";
  }
  return check_graph(draft);
}

// One device; only its products take time worth naming.
Cluster one_device(const std::string& name, double flops_per_s) {
  Cluster group = toy_cluster({.devices = 1,
                               .flops_per_s = flops_per_s,
                               .memory_bytes_per_s = 1e30,
                               .link_bytes_per_s = 1e30,
                               .memory_bytes = 1e15});
  group.name = group.device.name = name;
  return group;
}

PlanningInput on_groups(Graph graph, std::vector<Cluster> groups) {
  PlanningInput input;
  input.graph = std::move(graph);
  input.cluster.name = "mixed";
  input.cluster.groups = std::move(groups);
  input.recipe = find_recipe("neutral");
  input.recipe.launch = Seconds(0);
  return input;
}

SearchOptions options_for(std::int64_t global_batch, std::int64_t microbatch_size) {
  SearchOptions options;
  options.global_batch = global_batch;
  options.microbatch_size = microbatch_size;
  options.recompute = Recompute::none;
  options.threads = 1;
  return options;
}

// Of one microbatch of 4 samples, a layer forward and backward: 3 · 4 · 2·64·64 FLOPs.
constexpr double layer_flops = 3 * 4 * 2 * 64 * 64;

TEST_CASE("layers are shared out by the speed of the groups, and the uniform plan waits for the slow one", "[groups]") {
  // A device of 3 GFLOP/s and one of 1 GFLOP/s, 8 layers: 6 and 2 layers take 2 layer times of the slow device each.
  // The first layer, whose input needs no gradient, takes 2/3 of a layer time: best on the slow device.
  const PlanningInput input = on_groups(chain(8), {one_device("fast", 3e9), one_device("slow", 1e9)});
  const SearchOptions options = options_for(4 * 32, 4);
  const Plan plan = search_plans(input, options).front();
  REQUIRE(plan.stages.size() == 2);
  CHECK(plan.stages[0].submesh.group == 1);
  CHECK(plan.stages[0].last_layer == 1);
  CHECK(plan.stages[0].devices == std::vector<std::int64_t>{1});
  CHECK(plan.stages[1].submesh.group == 0);
  CHECK(plan.stages[1].devices == std::vector<std::int64_t>{0});
  const double layer = layer_flops / 1e9;  // on the slow device
  CHECK(plan.estimate.value() == Approx((5.0 / 3 + 2 + 31 * 2) * layer).epsilon(1e-6));
  CHECK(plan.status == PlanStatus::optimal);
  const std::optional<Plan> uniform = best_uniform_plan(input, options);
  REQUIRE(uniform);
  // Four and four layers in the order of the devices: 11/3 layer times at three times the speed, and 4.
  CHECK(uniform->estimate.value() == Approx((11.0 / 9 + 4 + 31 * 4) * layer).epsilon(1e-6));
  // The margin is (11/9 + 128) / (5/3 + 64) = 1.97, on the way to 2 for ever more microbatches.
  CHECK(uniform->estimate / plan.estimate == Approx((11.0 / 9 + 128) / (5.0 / 3 + 64)).epsilon(1e-6));
}

TEST_CASE("a group that would only hold up the others is left idle, and its devices count", "[groups]") {
  // A device of 100 GFLOP/s and one of 1 GFLOP/s: of 8 layers even the first, 2/3 of another, takes the slow device 8
  // times as long as all take the fast one.
  const PlanningInput input = on_groups(chain(8), {one_device("slow", 1e9), one_device("fast", 100e9)});
  Plan plan = search_plans(input, options_for(4 * 32, 4)).front();
  REQUIRE(plan.stages.size() == 1);
  CHECK(plan.stages[0].devices == std::vector<std::int64_t>{1});
  CHECK(plan.stages[0].submesh.group == 1);
  CHECK(plan.idle_devices() == std::vector<std::int64_t>{0});
  CHECK(plan.estimate.value() == Approx(32 * (7 + 2.0 / 3) * layer_flops / 100e9).epsilon(1e-6));
  apply_simulation(plan, simulate(plan));
  // 100 GFLOP/s over two devices.
  CHECK(plan.flops_per_device_second() == Approx(50e9).epsilon(1e-3));
  CHECK(parse_plan(write_plan(plan), "written") == plan);
}

TEST_CASE("a stage's memory is that of its group", "[groups]") {
  // Alike but in memory: all parameters with their optimizer need more than half of what the chain takes on one device.
  Cluster large = one_device("large", 1e9), small = one_device("small", 1e9);
  const PlanningInput roomy = on_groups(chain(8), {large, small});
  SearchOptions options = options_for(4 * 32, 4);
  const Plan even = search_plans(roomy, options).front();
  REQUIRE(even.stages.size() == 2);
  CHECK(even.stages[0].last_layer == 3);
  const Bytes of_four = even.peak_memory();
  small.device.memory = of_four * 0.8;
  const PlanningInput tight = on_groups(chain(8), {large, small});
  const Plan plan = search_plans(tight, options).front();
  REQUIRE(plan.status != PlanStatus::infeasible);
  CHECK(plan.estimate > even.estimate);
  for (std::size_t s = 0; s < plan.stages.size(); ++s)
    CHECK(device_memory(memory_of_rank(plan, s)) <= memory_capacity(plan, s));
  options.remedies = false;
  large.device.memory = small.device.memory;
  const Plan none = search_plans(on_groups(chain(8), {large, small}), options).front();
  REQUIRE(none.status == PlanStatus::infeasible);
  CHECK(none.reasons.front().has == small.device.memory);
}

std::int64_t layers_on(const Plan& plan, std::uint32_t group) {
  std::int64_t layers = 0;
  for (const Stage& stage : plan.stages)
    if (stage.submesh.group == group) layers += stage.last_layer - stage.first_layer + 1;
  return layers;
}

TEST_CASE("GPT-39B on 4 A100 and 8 V100 hosts takes two thirds of the best uniform plan's time", "[groups]") {
  GptOptions gpt;
  gpt.layers = 48, gpt.hidden = 8192, gpt.heads = 64, gpt.seq_len = 1024, gpt.vocab = 51200;
  const PlanningInput input{build_gpt(gpt),
                            read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/aws_4_p4d_8_p3.json"),
                            find_recipe("megatron"),
                            {},
                            {}};
  SearchOptions options;
  options.global_batch = 1024, options.microbatch_size = 1, options.schedule = ScheduleKind::one_f_one_b;
  const Plan plan = search_plans(input, options).front();
  const std::optional<Plan> uniform = best_uniform_plan(input, options);
  REQUIRE(uniform);
  CHECK(plan.estimate <= uniform->estimate * (2.0 / 3));
  CHECK(plan.idle_devices().empty());
  // The uniform plan has a third of the devices, and so of the layers, on A100s; ours what their pace asks for, give or
  // take a layer of each of the groups' ends.
  CHECK(layers_on(*uniform, 0) == 1 + 48 / 3);
  std::vector<Seconds> alone;
  for (const Cluster& group : input.cluster.groups) {
    PlanningInput only = input;
    only.cluster = group;
    alone.push_back(search_plans(only, options).front().estimate);
    CHECK(plan.estimate < alone.back());
  }
  const double share = alone[1] / (alone[0] + alone[1]) * 50;
  CHECK(std::abs(static_cast<double>(layers_on(plan, 0)) - share) <= 2);
}

// Two groups of one or two hosts, unlike in everything.
PlanningInput random_groups(std::mt19937& random) {
  const std::size_t layers = draw(random, 2, 5);
  PlanningInput input = random_input(random, layers, Tying::some);
  Cluster first = input.cluster, second = random_input(random, 1).cluster;
  first.name = "a", second.name = "b";
  first.device.memory = second.device.memory = Bytes(1e12);
  second.device.peak = {{DType::fp32, FlopsPerSecond(5e7)}, {DType::bf16, FlopsPerSecond(5e7)}};
  input.cluster = Cluster{};
  input.cluster.name = "mixed";
  input.cluster.groups = {first, second};
  if (draw(random, 0, 1) == 0) input.cluster.between_groups = {{"b", "a", {BytesPerSecond(1e6), 1, Seconds(5e-6)}}};
  return input;
}

TEST_CASE("plans of random unequal clusters are priced again to the same times and survive writing", "[groups]") {
  int with_both = 0, second_first = 0;
  for (std::uint32_t seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    const PlanningInput input = random_groups(random);
    SearchOptions options = options_for(16, 4);
    options.max_mesh_axes = 1;
    Plan plan = search_plans(input, options).front();
    INFO("seed " << seed);
    REQUIRE(!plan.stages.empty());
    CHECK(plan.lower_bound <= plan.best_estimate);
    with_both += plan.idle_devices().empty();
    second_first += plan.stages.front().submesh.group == 1 && plan.stages.back().submesh.group == 0;
    CHECK(reprice(plan, input.graph, input.cluster).empty());
    apply_simulation(plan, simulate(plan));
    CHECK(parse_plan(write_plan(plan), "written") == plan);
    // Leaving out a group is allowed, so no group alone is better.
    for (const Cluster& group : input.cluster.groups) {
      PlanningInput alone = input;
      alone.cluster = group;
      CHECK(plan.best_estimate <= search_plans(alone, options).front().best_estimate * (1 + 1e-6));
    }
    if (const std::optional<Plan> uniform = best_uniform_plan(input, options)) {
      CHECK(reprice(*uniform, input.graph, input.cluster).empty());
      CHECK(plan.best_estimate <= uniform->estimate * (1 + 1e-6));
    }
  }
  CHECK(with_both > 5);
  CHECK(second_first > 0);
}

TEST_CASE("two groups of equal hosts are planned as one cluster", "[groups]") {
  std::mt19937 random(5);
  const PlanningInput one = random_input(random, 4);
  PlanningInput two = one;
  Cluster half = one.cluster;
  half.hosts = 1, half.devices_per_host = 2;
  two.cluster = Cluster{};
  two.cluster.name = "halves";
  two.cluster.groups = {half, half};
  two.cluster.groups[0].name = "left", two.cluster.groups[1].name = "right";
  PlanningInput whole = one;
  whole.cluster = half;
  whole.cluster.hosts = 2;
  const SearchOptions options = options_for(16, 4);
  // As a value, stages stay within groups; as a file, the reader makes them one.
  CHECK(search_plans(two, options).front().best_estimate >= search_plans(whole, options).front().best_estimate);
  two.cluster = parse_cluster(write_cluster(two.cluster), "written");
  CHECK(search_plans(two, options).front().best_estimate == search_plans(whole, options).front().best_estimate);
}

TEST_CASE("a stage of a uniform plan that would straddle two groups is refused", "[groups]") {
  Cluster wide = toy_cluster({.devices = 4}), narrow = toy_cluster({.devices = 2});
  wide.name = "wide", narrow.name = "narrow";
  // Six layers: two in each of three stages.
  const PlanningInput input = on_groups(chain(6), {wide, narrow});
  CHECK_THROWS_WITH(baseline_plan(input, {.tensor_parallel = 1, .pipeline_parallel = 1, .data_parallel = 6}, 24),
                    Catch::Contains("--tp, --dp"));
  // Three stages of two devices do lie within the groups.
  const Plan plan = baseline_plan(input, {.tensor_parallel = 1, .pipeline_parallel = 3, .data_parallel = 2}, 24);
  REQUIRE(plan.stages.size() == 3);
  CHECK(plan.stages[1].submesh.group == 0);
  CHECK(plan.stages[2].submesh.group == 1);
  CHECK(plan.stages[2].devices == std::vector<std::int64_t>{4, 5});
  CHECK(plan.stages[0].boundary.link == LinkClass::intra_host);
  CHECK(plan.stages[1].boundary.link == LinkClass::inter_host);
}

}  // namespace
}  // namespace meshloom
