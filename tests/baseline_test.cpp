#include "planner/baseline.hpp"

#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/reprice.hpp"
#include "tests/planned_samples.hpp"

namespace meshloom {
namespace {

const OpSharding& sharding_of(const Plan& plan, const std::string& op) {
  for (const Stage& stage : plan.stages)
    for (const OpSharding& sharding : stage.ops)
      if (sharding.op == op) return sharding;
  FAIL("no op " + op);
  return plan.stages.front().ops.front();
}

// Collectives of activations per microbatch: "h0.attn.out>h0.attn.out.add_bias all_reduce forward".
std::vector<Collective> forward_collectives(const Plan& plan) {
  std::vector<Collective> result;
  for (const Stage& stage : plan.stages)
    for (const Conversion& conversion : stage.conversions)
      if (conversion.rate == Rate::per_microbatch)
        for (const CollectiveStep& step : conversion.forward) result.push_back(step.collective);
  return result;
}

UniformLayout sized(UniformLayout layout, std::int64_t micro_batch) {
  layout.micro_batch_per_replica = micro_batch;
  return layout;
}

}  // namespace

TEST_CASE("tensor parallelism shards columns, heads, then rows", "[baseline]") {
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized({8, 1, 1}, 2), 32);
  using Axes = std::vector<std::string>;
  CHECK(sharding_of(plan, "h1.attn.q").axes == Axes{"n"});
  CHECK(sharding_of(plan, "h1.attn.core").axes == Axes{"n"});
  CHECK(sharding_of(plan, "h1.attn.out").axes == Axes{"n"});
  CHECK(sharding_of(plan, "h1.mlp.up").axes == Axes{"f"});
  CHECK(sharding_of(plan, "h1.mlp.down").axes == Axes{"f"});
  CHECK(sharding_of(plan, "h1.ln1").axes == Axes{""});
  // Megatron's g: one all-reduce behind attention and one behind the MLP of each of 4 blocks, and one behind the
  // embedding, whose vocabulary is sharded.
  const std::vector<Collective> collectives = forward_collectives(plan);
  CHECK(collectives == std::vector<Collective>(9, Collective::all_reduce));
}

TEST_CASE("sequence parallelism turns each all-reduce into a reduce-scatter and an all-gather", "[baseline]") {
  UniformLayout layout{8, 1, 1};
  layout.sequence_parallel = true;
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized(layout, 2), 32);
  CHECK(sharding_of(plan, "h1.ln1").axes == std::vector<std::string>{"s"});
  const std::vector<Collective> collectives = forward_collectives(plan);
  // Behind 4 attentions, 4 MLPs and the embedding; before 4 attentions (one for q, k and v), 4 MLPs and the logits.
  CHECK(std::count(collectives.begin(), collectives.end(), Collective::reduce_scatter) == 9);
  CHECK(std::count(collectives.begin(), collectives.end(), Collective::all_gather) == 9);
  CHECK(collectives.size() == 18);
}

// The inner all-reduce of the loss leaves the tokens' losses whole; every device adds up all of them, and their
// gradient is whole, too.
TEST_CASE("sequence parallelism communicates neither the loss nor its gradient", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  UniformLayout layout{8, 1, 1};
  layout.sequence_parallel = true;
  const Plan plan = baseline_plan(input, sized(layout, 2), 32);
  CHECK(sharding_of(plan, "head.token_loss").axes == std::vector<std::string>{"v"});
  CHECK(sharding_of(plan, "head.loss").axes == std::vector<std::string>{""});
  for (const Conversion& conversion : plan.stages[0].conversions) CHECK(conversion.tensor != "head.token_loss");
  // Where no device can have a part of the vocabulary, each has the losses of its part of the tokens.
  GptOptions options;
  options.layers = 2, options.hidden = 1024, options.heads = 16, options.seq_len = 512, options.vocab = 50257;
  input.graph = build_gpt(options);
  const Plan undivided = baseline_plan(input, sized(layout, 2), 32);
  CHECK(sharding_of(undivided, "head.token_loss").axes == std::vector<std::string>{"s"});
  CHECK(sharding_of(undivided, "head.loss").axes == std::vector<std::string>{"s"});
  for (const Conversion& conversion : undivided.stages[0].conversions) CHECK(conversion.tensor != "head.token_loss");
}

TEST_CASE("data parallelism communicates gradients once per step and nothing else", "[baseline]") {
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized({1, 1, 8}, 1), 32);
  CHECK(forward_collectives(plan).empty());
  for (const Conversion& conversion : plan.stages[0].conversions) {
    CHECK(conversion.rate == Rate::per_step);
    CHECK(conversion.backward.at(0).collective == Collective::all_reduce);
  }
}

TEST_CASE("context parallelism gathers keys and values, and adds up gradients over its devices, too", "[baseline]") {
  UniformLayout layout{.data_parallel = 2, .context_parallel = 4};
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized(layout, 1), 32);
  // Keys and values of each of 4 blocks, 512 tokens in quarters.
  CHECK(forward_collectives(plan) == std::vector<Collective>(8, Collective::all_gather));
  CHECK(sharding_of(plan, "h1.attn.core").axes == std::vector<std::string>{"b", "s"});
  // Gradients are summed over all 8 devices.
  const std::vector<Conversion>& conversions = plan.stages[0].conversions;
  const auto up = std::find_if(conversions.begin(), conversions.end(),
                               [](const Conversion& each) { return each.tensor == "h1.mlp.up.weight"; });
  REQUIRE(up != conversions.end());
  REQUIRE(up->backward.size() == 1);
  CHECK(up->backward[0].axes == std::vector<std::string>{"dp", "cp"});
}

TEST_CASE("expert parallelism sends tokens to their experts and back", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  MoeOptions options;
  options.gpt.layers = 2, options.gpt.hidden = 512, options.gpt.heads = 8, options.gpt.seq_len = 256;
  options.gpt.vocab = 8192, options.experts = 8;
  input.graph = build_moe(options);
  UniformLayout layout{.data_parallel = 8};
  const Plan replicated = baseline_plan(input, sized(layout, 1), 32);
  layout.expert_parallel = 4;
  const Plan plan = baseline_plan(input, sized(layout, 1), 32);
  CHECK(forward_collectives(plan) ==
        std::vector<Collective>(2, Collective::all_to_all));  // one block of two has experts
  CHECK(sharding_of(plan, "h1.moe.up").axes == std::vector<std::string>{"b", "e"});
  const std::vector<TensorLayout>& tensors = plan.stages[0].tensors;
  const auto up = std::find_if(tensors.begin(), tensors.end(),
                               [](const TensorLayout& each) { return each.tensor == "h1.moe.up.weight"; });
  REQUIRE(up != tensors.end());
  CHECK(up->bytes == Bytes(8.0 / 4 * 512 * 4096 * 2));  // two of the eight experts, fp16
  CHECK(plan.stages[0].memory.parameters < replicated.stages[0].memory.parameters);
}

TEST_CASE("ZeRO-1 divides the optimizer's memory by the replicas", "[baseline]") {
  UniformLayout layout{1, 1, 8};
  const Plan replicated = baseline_plan(small_gpt_on_v100s(), sized(layout, 1), 32);
  layout.parameter_state = ParameterState::zero1;
  const Plan sharded = baseline_plan(small_gpt_on_v100s(), sized(layout, 1), 32);
  CHECK(sharded.stages[0].memory.optimizer.value() == Approx(replicated.stages[0].memory.optimizer.value() / 8));
  CHECK(sharded.stages[0].memory.parameters == replicated.stages[0].memory.parameters);
}

TEST_CASE("full recompute of all layers runs every forward once more", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  input.recipe.recompute_scope = RecomputeScope::all;
  input.recipe.launch = Seconds(0);  // launches hide in part, so that times do not add up
  UniformLayout layout{2, 1, 4};
  const Plan none = baseline_plan(input, sized(layout, 1), 32);
  layout.recompute = Recompute::full;
  const Plan full = baseline_plan(input, sized(layout, 1), 32);
  CHECK(full.stages[0].forward == none.stages[0].forward);
  CHECK(full.stages[0].backward.value() == Approx((none.stages[0].backward + none.stages[0].forward).value()));
  CHECK(full.stages[0].memory.activations_per_microbatch < none.stages[0].memory.activations_per_microbatch);
}

TEST_CASE("stages take equal numbers of blocks, the embedding goes first and the head last", "[baseline]") {
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized({2, 4, 1}, 2), 32);
  REQUIRE(plan.stages.size() == 4);
  CHECK(plan.stages[0].first_layer == 0);  // embed and h0
  CHECK(plan.stages[0].last_layer == 1);
  CHECK(plan.stages[2].first_layer == 3);  // h2
  CHECK(plan.stages[3].last_layer == 5);   // h3 and head
  CHECK(plan.stages[3].devices == std::vector<std::int64_t>{6, 7});
}

TEST_CASE("a layout that does not fit says which stage needs how much", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.device.memory = Bytes(2e9);
  const Plan plan = baseline_plan(input, sized({1, 1, 8}, 4), 32);
  CHECK(plan.status == PlanStatus::infeasible);
  REQUIRE(plan.reasons.size() == 1);
  CHECK(plan.reasons[0].needs == plan.stages[0].memory.peak());
  CHECK(plan.reasons[0].has == Bytes(2e9));
}

TEST_CASE("expert parallelism beyond data parallelism takes devices of context parallelism", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  MoeOptions options;
  options.gpt.layers = 2, options.gpt.hidden = 512, options.gpt.heads = 8, options.gpt.seq_len = 256;
  options.gpt.vocab = 1024;
  input.graph = build_moe(options);
  const auto experts_bytes = [](const Plan& plan) {
    Bytes bytes;
    for (const TensorLayout& tensor : plan.stages[0].tensors)
      if (tensor.parameter && (tensor.tensor.ends_with("moe.up.weight") || tensor.tensor.ends_with("moe.down.weight")))
        bytes += tensor.bytes;
    return bytes;
  };
  UniformLayout layout{.data_parallel = 2, .context_parallel = 4};
  const Plan whole = baseline_plan(input, sized(layout, 2), 32);
  REQUIRE(experts_bytes(whole) > Bytes(0));
  for (const std::int64_t experts : {2, 4, 8}) {
    layout.expert_parallel = experts;
    const Plan plan = baseline_plan(input, sized(layout, 2), 32);
    CHECK(plan.status == PlanStatus::feasible);
    CHECK(experts_bytes(plan) == experts_bytes(whole) / static_cast<double>(experts));
    CHECK(plan.stages[0].memory.activations_per_microbatch < 1.5 * whole.stages[0].memory.activations_per_microbatch);
  }
  layout.expert_parallel = 16;
  CHECK_THROWS_WITH(baseline_plan(input, layout, 32),
                    "--ep: 16 must divide data and context parallelism together, --dp 2 --cp 4; give a divisor");
}

TEST_CASE("degrees that do not fit the cluster or the model are refused", "[baseline]") {
  const PlanningInput input = small_gpt_on_v100s();
  CHECK_THROWS_WITH(baseline_plan(input, {3, 1, 1}, 32),
                    "--tp, --pp, --dp: 3 x 1 x 1 = 3, but the cluster has 8 devices; change a degree or --hosts");
  CHECK_THROWS_WITH(baseline_plan(input, {.data_parallel = 4, .context_parallel = 4}, 32),
                    "--tp, --pp, --dp, --cp: 1 x 1 x 4 x 4 = 16, but the cluster has 8 devices; change a degree or "
                    "--hosts");
  CHECK_THROWS_WITH(baseline_plan(input, {.data_parallel = 8, .expert_parallel = 3}, 32),
                    "--ep: 3 must divide data parallelism, --dp 8; give a divisor");
  CHECK_THROWS_WITH(baseline_plan(input, {1, 8, 1}, 32), "--pp: 8 does not divide the model's 4 layers");
  CHECK_THROWS_WITH(baseline_plan(input, sized({1, 1, 8}, 3), 32),
                    "--microbatch-size: 3 per replica on 8 replicas does not divide the global batch 32");
}

TEST_CASE("a vocabulary that does not divide leaves the logits whole, it does not crash", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  GptOptions options;
  options.layers = 2, options.hidden = 1024, options.heads = 16, options.seq_len = 512, options.vocab = 50257;
  input.graph = build_gpt(options);
  UniformLayout layout{8, 1, 1};
  for (const bool sequence : {false, true}) {
    layout.sequence_parallel = sequence;
    CHECK(baseline_plan(input, layout, 16).stages.size() == 1);
  }
  CHECK(make_plan(input, batch_of(16)).status != PlanStatus::infeasible);
}

// ZeRO-3 shards 2 of 2 + 2 + 12 bytes like the rest, whatever else uses the table: N / 8 parameters of each kind a
// device.
TEST_CASE("ZeRO-3 shards tied embeddings over the replicas in every stage", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = 2;
  UniformLayout layout{1, 2, 8};
  layout.parameter_state = ParameterState::zero3;
  const Plan plan = baseline_plan(input, sized(layout, 1), 32);
  for (const Stage& stage : plan.stages) {
    double parameters = 0;
    for (const TensorLayout& tensor : stage.tensors)
      if (tensor.parameter)
        for (const Tensor& declared : input.graph.tensors)
          if (declared.id == tensor.tensor) parameters += elements(declared, 1);
    CHECK(stage.memory.parameters.value() == Approx(2 * parameters / 8));
    CHECK(stage.memory.optimizer.value() == Approx(12 * parameters / 8));
  }
}

// Korthikanti et al. 2022, table 2, with this graph's fused attention: each layer saves 34·s·b·h bytes a device, b
// samples of a replica, whichever stage it stands in; the received activation is one of them. (Log-sum-exp and
// statistics add less than 1 %.)
TEST_CASE("data parallelism saves a replica's share of activations in every stage", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = 4;
  const Plan plan = baseline_plan(input, sized({1, 4, 8}, 1), 32);
  const double unit = 512.0 * 1 * 2048;
  CHECK(plan.stages[1].memory.activations_per_microbatch.value() == Approx(34 * unit).epsilon(0.01));
  CHECK(plan.stages[2].memory.activations_per_microbatch.value() == Approx(34 * unit).epsilon(0.01));
}

TEST_CASE("sequence parallelism divides all saved activations by its degree", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  input.recipe = find_recipe("megatron");
  UniformLayout layout{8, 1, 1};
  layout.sequence_parallel = true;
  const Plan plan = baseline_plan(input, sized(layout, 1), 32);
  // 34/t·s·b·h per layer; embedding, final norm and logits are left out by taking the difference of two depths.
  GptOptions deeper;
  deeper.layers = 5, deeper.hidden = 2048, deeper.heads = 16, deeper.seq_len = 512, deeper.vocab = 8192;
  input.graph = build_gpt(deeper);
  const Plan next = baseline_plan(input, sized(layout, 1), 32);
  const Bytes layer =
      next.stages[0].memory.activations_per_microbatch - plan.stages[0].memory.activations_per_microbatch;
  CHECK(layer.value() == Approx(34.0 / 8 * 512 * 2048).epsilon(0.01));
}

// The next stage uses a received activation only after it was gathered where it is redundant, and its gradient is
// whole.
TEST_CASE("no stage holds a received activation as R/P", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  const Plan plan = make_plan(input, batch_of(32));
  UniformLayout tensor_parallel{4, 2, 1};
  for (const Plan& checked : {plan, baseline_plan(input, sized(tensor_parallel, 2), 32)})
    for (std::size_t s = 1; s < checked.stages.size(); ++s)
      for (const TensorLayout& tensor : checked.stages[s].tensors)
        for (const std::string& sent : checked.stages[s - 1].boundary.tensors)
          if (tensor.tensor == sent)
            for (const AxisLayout& axis : tensor.layout.axes) CHECK(axis != replicated_partial_gradient);
  const Plan whole = baseline_plan(input, sized(tensor_parallel, 2), 32);
  // Plain tensor parallelism holds the boundary whole on all four devices: one all-gather when it arrives, one of the
  // gradient when it has left.
  const auto borders = [](const Stage& stage, const std::string& consumer) {
    return std::count_if(stage.conversions.begin(), stage.conversions.end(),
                         [&](const Conversion& c) { return c.consumer == consumer; });
  };
  CHECK(borders(whole.stages[1], "receive") == 1);
  CHECK(borders(whole.stages[0], "send") == 1);
}

// A block's values, 12·h² and a little, are gathered in the recompute and stay for the backward: not one matrix's.
TEST_CASE("full recompute under ZeRO-3 holds a whole layer's gathered parameters", "[baseline]") {
  UniformLayout layout{1, 1, 8};
  layout.parameter_state = ParameterState::zero3;
  layout.recompute = Recompute::full;
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized(layout, 1), 32);
  CHECK(plan.stages[0].memory.transient >= Bytes(2.0 * 12 * 2048 * 2048));
}

// The table is gathered once for embedding and logits, so it is held between them: 2 B · 8192 · 2048 besides any op.
TEST_CASE("a gathered table that several layers use is held over all of them", "[baseline]") {
  PlanningInput tied = small_gpt_on_v100s(), untied = small_gpt_on_v100s();
  GptOptions options;
  options.layers = 4, options.hidden = 2048, options.heads = 16, options.seq_len = 512, options.vocab = 8192;
  options.tied_embeddings = false;
  untied.graph = build_gpt(options);
  UniformLayout layout{1, 1, 8};
  layout.parameter_state = ParameterState::zero3;
  const Bytes held = baseline_plan(tied, sized(layout, 1), 32).stages[0].memory.transient;
  const Bytes alone = baseline_plan(untied, sized(layout, 1), 32).stages[0].memory.transient;
  CHECK(held >= alone);
  CHECK(held > Bytes(2.0 * 8192 * 2048));
}

TEST_CASE("virtual stages deal the blocks round the ranks", "[baseline]") {
  UniformLayout layout{2, 2, 2};
  layout.schedule = {ScheduleKind::interleaved, 2};
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized(layout, 2), 32);
  REQUIRE(plan.stages.size() == 4);  // embed h0 | h1 | h2 | h3 head
  for (std::size_t s = 0; s < 4; ++s) {
    CHECK(plan.stages[s].chunk == static_cast<std::int64_t>(s / 2));
    CHECK(plan.stages[s].devices == plan.stages[s % 2].devices);
  }
  CHECK(plan.stages[1].first_layer == 2);
  CHECK(plan.stages[1].last_layer == 2);
  CHECK(plan.devices() == 8);
  // 8 microbatches; p·v + p − 1 chunks on the first rank, (v − 1)·p + 1 on the last.
  CHECK(plan.stages[0].memory.in_flight + plan.stages[2].memory.in_flight == 5);
  CHECK(plan.stages[1].memory.in_flight + plan.stages[3].memory.in_flight == 3);
  const std::vector<StageMemory> chunks = memory_of_rank(plan, 0);
  const double shares = chunks[0].peak().value() + chunks[1].peak().value();
  const double smaller = std::min(chunks[0].transient, chunks[1].transient).value();
  CHECK(plan.peak_memory().value() >= shares - smaller - 1);
  CHECK(parse_plan(write_plan(plan), "plan.json") == plan);
  CHECK(reprice(plan, small_gpt_on_v100s().graph, plan.cluster).empty());
}

TEST_CASE("chunks on one device share tied embeddings: nothing is all-reduced, stored or updated twice", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = input.cluster.devices_per_host = 1;
  input.cluster.device.memory = Bytes(1e12);
  input.recipe.launch = Seconds(0);  // launches hide in part, so that the times of two chunks do not add up to one's
  UniformLayout layout{1, 1, 1};
  const auto simulated = [](Plan plan) {
    apply_simulation(plan, simulate(plan));
    return plan.iteration_time.value();
  };
  const Plan one = baseline_plan(input, sized(layout, 1), 8);
  layout.schedule = {ScheduleKind::interleaved, 2};
  const Plan two = baseline_plan(input, sized(layout, 1), 8);
  const std::vector<StageMemory> chunks = memory_of_rank(two, 0);
  CHECK(simulated(two) == Approx(simulated(one)));
  CHECK(two.stages[0].shared_gradients == Bytes(0));
  CHECK((chunks[0].parameters + chunks[1].parameters) == one.stages[0].memory.parameters);
  CHECK((chunks[0].gradients + chunks[1].gradients) == one.stages[0].memory.gradients);
  CHECK((chunks[0].optimizer + chunks[1].optimizer) == one.stages[0].memory.optimizer);
  CHECK(parse_plan(write_plan(two), "plan.json") == two);
  CHECK(reprice(two, input.graph, two.cluster).empty());
}

TEST_CASE("a pipeline that comes back keeps tied embeddings on its first rank", "[baseline]") {
  UniformLayout layout{1, 2, 4};
  const Plan plain = baseline_plan(small_gpt_on_v100s(), sized(layout, 1), 32);
  CHECK(plain.stages[0].shared_gradients == Bytes(8192.0 * 2048 * 2));  // vocabulary × hidden, fp16
  layout.schedule = ScheduleKind::dualpipe;
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized(layout, 1), 32);
  for (const Stage& stage : plan.stages) CHECK(stage.shared_gradients_time == Seconds(0));
  Bytes straight, back;
  for (const Stage& stage : plain.stages) straight += stage.memory.parameters;
  for (const Stage& stage : plan.stages) back += stage.memory.parameters;
  CHECK(straight - back == Bytes(8192.0 * 2048 * 2));
  CHECK(reprice(plan, small_gpt_on_v100s().graph, plan.cluster).empty());
}

// Hosts 0 and 3 of 4, one NIC of 10 GB/s each without latency: of 2 devices each sends the 33.5 MB once, over an uplink
// that carries a quarter of what the two hosts below its switch can send: half of one host's NIC.
TEST_CASE("tied embeddings are all-reduced over the switches between their stages", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = 4, input.cluster.devices_per_host = 1, input.cluster.nics_per_host = 1;
  input.cluster.nic = {BytesPerSecond(10e9), 1, Seconds(0)};
  input.cluster.intra_host.latency = Seconds(0);
  input.cluster.device.memory = Bytes(1e12);
  const auto time = [&] {
    const Plan plan = baseline_plan(input, sized({1, 4, 1}, 1), 32);
    CHECK(reprice(plan, input.graph, plan.cluster).empty());
    CHECK(plan.stages[3].shared_gradients_time == plan.stages[0].shared_gradients_time);
    return plan.stages[0].shared_gradients_time.value();
  };
  CHECK(time() == Approx(8192.0 * 2048 * 2 / 10e9));
  input.cluster.switch_levels = {{2, 4.0}};
  CHECK(time() == Approx(8192.0 * 2048 * 2 / 5e9));
}

TEST_CASE("embedding and loss may take a layer's place in the split", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();  // 4 blocks
  UniformLayout layout{2, 2, 2};
  layout.embedding_counts_as_block = layout.loss_counts_as_block = true;
  const Plan plan = baseline_plan(input, sized(layout, 2), 32);  // embed h0 h1 | h2 h3 head
  CHECK(plan.stages[0].last_layer == 2);
  layout = {1, 2, 4};
  layout.embedding_counts_as_block = layout.loss_counts_as_block = true;
  layout.schedule = {ScheduleKind::interleaved, 3};
  const Plan chunks = baseline_plan(input, sized(layout, 1), 32);
  REQUIRE(chunks.stages.size() == 6);  // each on its own
  CHECK(chunks.stages[0].last_layer == 0);
  CHECK(chunks.stages[5].first_layer == 5);
  layout.schedule = {ScheduleKind::interleaved, 2};
  CHECK_THROWS_WITH(baseline_plan(input, sized(layout, 1), 32),
                    "--pp, --vpp: 4 does not divide the model's 6 layers, embedding and loss counted as told");
}

TEST_CASE("microbatches that the schedule cannot have are refused, or passed over when the size is free",
          "[baseline]") {
  UniformLayout layout{1, 4, 2};
  layout.schedule = ScheduleKind::dualpipe;
  PlanningInput input = small_gpt_on_v100s();
  GptOptions options;
  options.layers = 8, options.hidden = 512, options.heads = 8, options.seq_len = 256, options.vocab = 1024;
  input.graph = build_gpt(options);
  CHECK_THROWS_WITH(baseline_plan(input, sized(layout, 4), 32),
                    "--schedule dualpipe: needs at least two microbatches per pipeline rank, 8, not 4; use smaller "
                    "microbatches");
  CHECK(baseline_plan(input, layout, 32).microbatches >= 8);
}

// Qi et al. 2024, table 1: sbh·24h of a block's backward sbh·(48h + 8s) make weight gradients; here h = 2048, s = 512
// and fused attention's recomputation add to the rest: a little less than half.
TEST_CASE("a little less than half of the backward makes gradients of weights", "[baseline]") {
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized({1, 2, 4}, 2), 32);
  for (const Stage& stage : plan.stages) {
    CHECK(stage.backward_weight > 0.3 * stage.backward);
    CHECK(stage.backward_weight < 0.5 * stage.backward);
  }
}

TEST_CASE("zero bubble beats 1F1B in time, and interleaving lies between", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  GptOptions even;  // with a head so small that no stage is the longest by far
  even.layers = 4, even.hidden = 2048, even.heads = 16, even.seq_len = 512, even.vocab = 512;
  input.graph = build_gpt(even);
  const auto time = [&](const Schedule& schedule) {
    UniformLayout layout{2, 4, 1};
    layout.schedule = schedule;
    Plan plan = baseline_plan(input, sized(layout, 1), 16);
    apply_simulation(plan, simulate(plan));
    return plan.iteration_time;
  };
  CHECK(time(ScheduleKind::zb_1p) < time(ScheduleKind::one_f_one_b));
  CHECK(time(ScheduleKind::zb_2p) < time(ScheduleKind::zb_1p));
  CHECK(time(ScheduleKind::inference) < 0.5 * time(ScheduleKind::one_f_one_b));
}

TEST_CASE("inference keeps no gradients, no optimizer and nothing for a backward", "[baseline]") {
  UniformLayout layout{2, 4, 1};
  layout.schedule = ScheduleKind::inference;
  const Plan plan = baseline_plan(small_gpt_on_v100s(), sized(layout, 1), 16);
  for (const Stage& stage : plan.stages)
    CHECK(stage.memory.gradients + stage.memory.optimizer + stage.memory.activations_per_microbatch == Bytes(0));
}

}  // namespace meshloom
