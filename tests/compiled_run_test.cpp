#include "accuracy/compiled_run.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "accuracy/compiled_runs.hpp"
#include "accuracy/prediction.hpp"
#include "costmodel/device_files.hpp"
#include "planner/plan/ranks.hpp"

using namespace meshloom;

namespace {

Cluster cluster_of(const std::string& device, std::int64_t hosts, std::int64_t devices_per_host) {
  const DeviceFile file = device_named(device).value();
  Cluster cluster;
  cluster.name = device;
  cluster.device = file.device;
  cluster.hosts = hosts;
  cluster.devices_per_host = devices_per_host;
  cluster.intra_host = file.intra_host;
  cluster.nic = file.nic;
  cluster.nics_per_host = file.nics_per_host;
  return cluster;
}

// Other numbers everywhere, none of them by a plain factor of all.
void perturb(Cluster& cluster, Recipe& recipe, double by) {
  cluster.device.gemm.of_peak *= 1 - by;
  cluster.device.gemm.wave_penalty *= 1 + 2 * by;
  cluster.device.attention_of_peak *= 1 + by;
  for (auto& [kernel, share] : cluster.device.attention_kernels) share *= 1 + by;
  cluster.device.memory_efficiency *= 1 - 0.5 * by;
  cluster.device.launch = (1 + 3 * by) * cluster.device.launch;
  cluster.intra_host.efficiency *= 1 - by;
  for (auto& [size, share] : cluster.intra_host.efficiency_of_group) share *= 1 - 0.7 * by;
  cluster.intra_host.latency = (1 + by) * cluster.intra_host.latency;
  cluster.nic.efficiency *= 1 - 0.3 * by;
  recipe.elementwise_traffic *= 1 + by;
  recipe.norm_traffic *= 1 + by;
  recipe.loss_traffic *= 1 - by;
  recipe.launch = (1 + by) * Seconds(20e-6);
  recipe.backward_launch = 1.5 + by;
  recipe.exposed_activations *= 1 - by;
  recipe.exposed_parameters *= 1 - 0.5 * by;
  recipe.exposed_synchronization *= 1 - 0.4 * by;
  recipe.parameter_slowdown *= 1 + by;
  recipe.gather_traffic += by;
  recipe.reduction_traffic += 2 * by;
  recipe.optimizer_traffic *= 1 - by;
  recipe.context_memory = (1 + by) * recipe.context_memory;
  recipe.memory_fragmentation += 0.1 * by;
}

struct NamedCase {
  std::string name;
  RunCase run;
};

std::vector<NamedCase> cases() {
  TransformerOptions gpt, llama;
  gpt.layers = llama.layers = 8;
  gpt.hidden = 1024, gpt.heads = 16, gpt.seq_len = 512, gpt.vocab = 50257, gpt.pad_vocab_to = 512;
  gpt.fused_attention = gpt.gated_mlp = false;
  gpt.tied_embeddings = gpt.dropout = true;
  llama.hidden = 2048, llama.heads = 16, llama.kv_heads = 4, llama.ffn_hidden = 5632, llama.gated_mlp = true;
  llama.seq_len = 1024, llama.vocab = 32000, llama.pad_vocab_to = 512;
  const Recipe megatron = find_recipe("megatron"), neutral = find_recipe("neutral");
  Recipe overlapping = megatron;
  overlapping.overlap_synchronization = OverlapSynchronization::last_backward;
  overlapping.overlap_sends = OverlapSends::all;
  Recipe synchronizing = megatron;
  synchronizing.overlap_synchronization = OverlapSynchronization::beside_computing;
  synchronizing.exposed_synchronization = 0.2;
  synchronizing.bucket_bytes_per_device = Bytes(40e6);
  Recipe beside = neutral;
  beside.overlap_parameters = true;
  beside.exposed_parameters = 0.2;
  Recipe pieces = beside;
  pieces.live_parameters = 1e6;
  pieces.reduction_bytes = Bytes(4);
  UniformLayout data{1, 1, 16}, tensor{4, 2, 2}, interleaved{2, 4, 2}, bubbles{1, 8, 2}, sharded{1, 1, 16};
  for (UniformLayout* layout : {&data, &tensor, &interleaved, &bubbles, &sharded}) layout->micro_batch_per_replica = 2;
  data.parameter_state = ParameterState::zero1;
  tensor.recompute = Recompute::full;
  tensor.sequence_parallel = true;
  interleaved.schedule = {ScheduleKind::interleaved, 2};
  interleaved.recompute = Recompute::selective;
  bubbles.schedule = ScheduleKind::zb_1p;
  sharded.parameter_state = ParameterState::zero3;
  sharded.recompute = Recompute::full;
  const Cluster a100 = cluster_of("A100-80GB", 2, 8), v100 = cluster_of("V100-SXM2-32GB", 4, 4);
  const Cluster pairs = cluster_of("A100-80GB", 8, 2);  // replicas reduce between hosts, so that chunks wait
  return {{"data parallel, ZeRO-1", {gpt, v100, megatron, data, true, 64}},
          {"tensor, sequence and pipeline parallel, full recompute", {gpt, a100, megatron, tensor, true, 64}},
          {"the same with everything overlapped", {llama, a100, overlapping, tensor, true, 64}},
          {"interleaved, selective recompute", {llama, a100, megatron, interleaved, true, 64}},
          {"data parallel, synchronizing beside computing", {llama, v100, synchronizing, data, true, 64}},
          {"interleaved, synchronizing beside computing", {llama, pairs, synchronizing, interleaved, true, 64}},
          {"zero bubble by search", {gpt, a100, megatron, bubbles, true, 64}},
          {"ZeRO-3", {llama, a100, neutral, sharded, true, 64}},
          {"ZeRO-3 beside computing", {llama, a100, beside, sharded, true, 64}},
          {"ZeRO-3 gathered op by op", {llama, a100, pieces, sharded, true, 64}}};
}

// The choices of a plan, without what they cost.
bool same_choices(const Plan& a, const Plan& b) {
  for (std::size_t s = 0; s < a.stages.size(); ++s) {
    const Stage &one = a.stages[s], &other = b.stages[s];
    if (one.ops.size() != other.ops.size() || one.conversions.size() != other.conversions.size()) return false;
    for (std::size_t k = 0; k < one.ops.size(); ++k)
      if (one.ops[k].axes != other.ops[k].axes) return false;
    for (std::size_t k = 0; k < one.conversions.size(); ++k)
      if (one.conversions[k].from != other.conversions[k].from || one.conversions[k].to != other.conversions[k].to)
        return false;
  }
  return true;
}

Plan planned(const RunCase& run) {
  BaselinePlanner planner({build_transformer(run.model), run.cluster, run.recipe, {}, {}, {}});
  Plan plan = planner.plan(run.layout, run.global_batch);
  apply_simulation(plan, simulate(plan));
  return plan;
}

}  // namespace

TEST_CASE("a compiled run's price is what planning and simulating says, whatever the constants", "[compiled_run]") {
  std::size_t compared = 0;
  for (const NamedCase& each : cases()) {
    INFO(each.name);
    const Plan plan = planned(each.run);
    CompiledRun compiled(std::make_shared<const CompiledGraph>(build_transformer(each.run.model), each.run.recipe),
                         plan);
    for (const double by : {0.0, 0.05, 0.2, -0.1}) {
      RunCase changed = each.run;
      perturb(changed.cluster, changed.recipe, by);
      const Plan again = planned(changed);
      if (!same_choices(plan, again)) continue;  // the planner would choose another layout now
      ++compared;
      INFO("constants moved by " << by);
      const RunPrice price = compiled.price(changed.cluster, changed.recipe);
      // The simulation's clock ticks in picoseconds: sums in another order may differ by a few of them in a second.
      CHECK(price.seconds == Approx(again.iteration_time.value()).epsilon(1e-11).margin(2e-10));
      const MemoryUse memory = tightest_memory(again);
      CHECK(price.peak_bytes == Approx(memory.peak.value()).epsilon(1e-12));
      CHECK(price.capacity_bytes == memory.capacity.value());
    }
  }
  CHECK(compared >= 20);  // of 28
}

TEST_CASE("prices do not depend on what was priced before", "[compiled_run]") {
  for (const NamedCase& each : cases()) {
    INFO(each.name);
    const Plan plan = planned(each.run);
    const auto graph = std::make_shared<const CompiledGraph>(build_transformer(each.run.model), each.run.recipe);
    CompiledRun used(graph, plan), fresh(graph, plan);
    RunCase changed = each.run;
    perturb(changed.cluster, changed.recipe, 0.3);
    used.price(each.run.cluster, each.run.recipe);
    CHECK(used.price(changed.cluster, changed.recipe).seconds == fresh.price(changed.cluster, changed.recipe).seconds);
  }
}

TEST_CASE("equal runs by another name are one configuration, another layout is another", "[compiled_run]") {
  MeasuredRun run;
  run.model.layers = 24;
  run.tensor_parallel = 2;
  MeasuredRun renamed = run;
  renamed.model.name = "another";
  renamed.id = "another";
  renamed.source = "another";
  CHECK(configuration_of(run) == configuration_of(renamed));
  MeasuredRun wider = run;
  wider.tensor_parallel = 4;
  CHECK(configuration_of(run) != configuration_of(wider));
  MeasuredRun larger = run;
  larger.gpus = 64;
  CHECK(configuration_of(run) != configuration_of(larger));
}

TEST_CASE("a precision that a release spells another way is the same configuration", "[compiled_run]") {
  MeasuredRun run, other;
  for (const auto& [one, another] : {std::pair("FP8", "FP8-CS"), std::pair("MXFP8", "float8-tensorwise"),
                                     std::pair("NVFP4", "fp4"), std::pair("BF16", "bf16")}) {
    run.precision = one;
    other.precision = another;
    CHECK(configuration_of(run) == configuration_of(other));
  }
  run.precision = "fp16";
  CHECK(configuration_of(run) != configuration_of(other));
  run.precision = "fp8";
  CHECK(configuration_of(run) != configuration_of(other));
}

TEST_CASE("what a recipe inherits changes with what it is inherited from", "[compiled_run]") {
  ConstantFiles files = built_in_constant_files();
  files["recipes/heir"] = R"({"schema": "meshloom.recipe/1", "name": "heir", "extends": "megatron"})";
  const auto constants = parse_calibration_list(R"({"schema": "meshloom.calibration/1", "constants": [
    {"files": ["recipes/megatron"], "pointer": "/elementwise_traffic", "prior": 1, "spread": 1, "low": 0.1, "high": 10,
     "source": ""}]})",
                                                "list.json", files);
  const ConstantFiles changed = with_values(files, constants, {0.625});
  CHECK(parse_recipe(resolved_recipe(changed, "heir"), "heir").elementwise_traffic == 0.625);
  CHECK(recipe_ancestry(files, "heir") == std::vector<std::string>{"heir", "megatron", "neutral"});
  for (const std::string& name : recipe_presets()) CHECK(kernel_sets_in(files, name) == kernel_sets(name));
  // Otherwise a resolved recipe says what the file says.
  for (const std::string& name : recipe_presets()) {
    Recipe resolved = parse_recipe(resolved_recipe(files, name), name), read = find_recipe(name);
    resolved.sources.clear();
    read.sources.clear();
    CHECK(resolved == read);
  }
}

TEST_CASE("the cases that synchronize beside computing wait for it", "[compiled_run]") {
  std::size_t waiting = 0;
  for (const NamedCase& each : cases()) {
    if (each.run.recipe.overlap_synchronization != OverlapSynchronization::beside_computing) continue;
    INFO(each.name);
    const Plan plan = planned(each.run);
    CHECK(std::any_of(plan.stages.begin(), plan.stages.end(),
                      [](const Stage& stage) { return stage.synchronization_waits > Seconds(0); }));
    ++waiting;
  }
  CHECK(waiting == 2);
}

TEST_CASE("the estimate for derivatives changes as the price does", "[compiled_run]") {
  for (const NamedCase& each : cases()) {
    INFO(each.name);
    CompiledRun compiled(std::make_shared<const CompiledGraph>(build_transformer(each.run.model), each.run.recipe),
                         planned(each.run));
    RunCase changed = each.run;
    perturb(changed.cluster, changed.recipe, 0.05);
    const auto change = [&](auto price) {
      return std::log((compiled.*price)(changed.cluster, changed.recipe).seconds /
                      (compiled.*price)(each.run.cluster, each.run.recipe).seconds);
    };
    CHECK(change(&CompiledRun::estimate) == Approx(change(&CompiledRun::price)).epsilon(0.1));
  }
}
