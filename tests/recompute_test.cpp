#include <catch2/catch.hpp>

#include "graphs/attention_core.hpp"
#include "graphs/builders.hpp"
#include "graphs/graph_json.hpp"
#include "planner/baseline.hpp"
#include "planner/layers.hpp"
#include "planner/reprice.hpp"
#include "planner/stage_costs.hpp"
#include "tests/planned_samples.hpp"

namespace meshloom {
namespace {

std::vector<std::string> core_of(const Graph& graph) {
  const std::vector<bool> core = attention_core(graph, relations(graph));
  std::vector<std::string> names;
  for (std::size_t o = 0; o < graph.ops.size(); ++o)
    if (core[o]) names.push_back(graph.ops[o].id);
  return names;
}

Graph graph_of(const std::string& tensors, const std::string& ops) {
  return parse_graph(R"({"schema": "meshloom.graph/1", "name": "small", "batch_dim": "b", "dims": {"s": 8, "h": 4},
    "tensors": [)" + tensors +
                         R"(], "ops": [)" + ops + "]}",
                     "small.json");
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("the core of attention is a fused kernel, or lies between two products of activations around a softmax",
          "[recompute]") {
  GptOptions gpt{.layers = 1, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32};
  CHECK(core_of(build_gpt(gpt)) == Names{"h0.attn.core"});
  gpt.fused_attention = false;
  CHECK(core_of(build_gpt(gpt)) ==
        Names{"h0.attn.scores", "h0.attn.scale", "h0.attn.softmax", "h0.attn.softmax.dropout", "h0.attn.values"});
  LlamaOptions llama{.layers = 1, .hidden = 16, .heads = 4, .kv_heads = 2, .seq_len = 8, .vocab = 32, .ffn_hidden = 24};
  llama.fused_attention = false;
  CHECK(core_of(build_llama(llama)) == Names{"h0.attn.scores", "h0.attn.scale", "h0.attn.softmax", "h0.attn.values"});
}

TEST_CASE("neither a router's softmax nor convolutions make a core", "[recompute]") {
  MoeOptions moe;
  moe.gpt = {.layers = 2, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32, .fused_attention = false};
  moe.experts = 4;
  const Names core = core_of(build_moe(moe));
  CHECK(core.size() == 10);  // five ops of two attentions
  for (const std::string& op : core) CHECK(op.find(".attn.") != std::string::npos);
  CHECK(core_of(build_wresnet({})).empty());
}

TEST_CASE("a core goes by what is multiplied, not by names", "[recompute]") {
  const std::string tensors =
      R"({"id": "x", "shape": ["b", "s", "h"], "dtype": "bf16", "role": "input"},
         {"id": "w", "shape": ["h", "h"], "role": "parameter"}, {"id": "bias", "shape": ["s", "s"], "role": "parameter"})";
  const std::string project =
      R"({"id": "a", "kind": "einsum", "inputs": ["x", "w"], "outputs": ["a"], "rule": "b s h, h k -> b s k"},)";
  const std::string score =
      R"({"id": "p", "kind": "einsum", "inputs": ["a", "a"], "outputs": ["p"], "rule": "b s h, b t h -> b s t"},
         {"id": "q", "kind": "add", "inputs": ["p", "bias"], "outputs": ["q"], "rule": "b s t, s t -> b s t"},
         {"id": "r", "kind": "softmax", "inputs": ["q"], "outputs": ["r"], "rule": "b s t~ -> b s t"},)";
  // A learned bias added to the scores lies in the core.
  CHECK(core_of(graph_of(tensors, project + score +
                                      R"({"id": "o", "kind": "einsum", "inputs": ["r", "a"], "outputs": ["o"],
                                          "rule": "b s t, b t h -> b s h"})")) == Names{"p", "q", "r", "o"});
  // Shares that nothing is mixed by are no attention.
  CHECK(core_of(graph_of(tensors, project + score +
                                      R"({"id": "o", "kind": "gelu", "inputs": ["r"], "outputs": ["o"],
                                          "rule": "b s t -> b s t"})"))
            .empty());
}

namespace {

// One device, or t tensor-parallel ones, of a host with as many; Megatron's 22B model [Korthikanti et al. 2022, table
// 3] with two or three blocks and a microbatch of 4 (attention dropout included, as the paper counts).
constexpr double s = 2048, b = 4, h = 6144, a = 64, v = 51200;

PlanningInput megatron_input(std::int64_t layers, std::int64_t tensor_parallel) {
  PlanningInput input{build_gpt({.layers = layers,
                                 .hidden = 6144,
                                 .heads = 64,
                                 .seq_len = 2048,
                                 .vocab = 51200,
                                 .fused_attention = false,
                                 .dtype = DType::fp16}),
                      read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/dgx_a100.json"),
                      find_recipe("megatron"),
                      {},
                      {}};
  input.cluster.devices_per_host = tensor_parallel;
  return input;
}

UniformLayout layout_of(std::int64_t tensor_parallel, bool sequence_parallel, Recompute recompute) {
  UniformLayout layout{tensor_parallel, 1, 1, sequence_parallel};
  layout.recompute = recompute;
  layout.micro_batch_per_replica = 4;
  return layout;
}

StageMemory memory_of(std::int64_t layers, const UniformLayout& layout) {
  return baseline_plan(megatron_input(layers, layout.tensor_parallel), layout, 4).stages[0].memory;
}

// Bytes that one more block saves.
double of_a_block(const UniformLayout& layout) {
  return (memory_of(3, layout).activations_per_microbatch - memory_of(2, layout).activations_per_microbatch).value();
}

// Mean and reciprocal deviation of a token, 4 bytes each, of two norms: the table leaves them out.
constexpr double statistics = 16 * s * b;

}  // namespace

// Bytes per layer, Korthikanti et al. 2022, table 2. The 34 sbh of one device: attention 11 (norm's result 2, query and
// key 4, value 2, mixed values 2, dropout's mask 1), MLP 19 (norm's result 2, GELU's input 8 and result 8, dropout's
// mask 1), the two norms' inputs 4. 5as/h: softmax's shares 2, dropout's mask 1 and result 2, as²b each.
TEST_CASE("a block without recompute saves what the paper counts, and its norms' statistics", "[recompute]") {
  CHECK(of_a_block(layout_of(1, false, Recompute::none)) == 34 * s * b * h + 5 * a * s * s * b + statistics);
  // Tensor parallelism over 8 leaves both norms, their inputs and the dropouts behind the products whole: 4 + 4 + 2.
  CHECK(of_a_block(layout_of(8, false, Recompute::none)) ==
        (10 + 24.0 / 8) * s * b * h + 5 * a * s * s * b / 8 + statistics);
  // Sequence parallelism shards those, and the norms' rows.
  CHECK(of_a_block(layout_of(8, true, Recompute::none)) == (34 * s * b * h + 5 * a * s * s * b + statistics) / 8);
}

TEST_CASE("selective recompute saves all of a block but what grows with the square of its sequence", "[recompute]") {
  CHECK(of_a_block(layout_of(1, false, Recompute::selective)) == s * b * h * 34 + statistics);
  CHECK(of_a_block(layout_of(8, false, Recompute::selective)) == s * b * h * (10 + 24.0 / 8) + statistics);
  CHECK(of_a_block(layout_of(8, true, Recompute::selective)) == s * b * h * 34 / 8 + statistics / 8);
}

TEST_CASE("full recompute saves a block's input", "[recompute]") {
  CHECK(of_a_block(layout_of(1, false, Recompute::full)) == 2 * s * b * h);
  CHECK(of_a_block(layout_of(8, false, Recompute::full)) == 2 * s * b * h);
  CHECK(of_a_block(layout_of(8, true, Recompute::full)) == 2 * s * b * h / 8);  // the paper's table keeps it whole
}

// Outside the blocks: 4-byte tokens and targets; the embedding's dropout mask sbh; the final norm's input 2sbh and
// statistics 8sb; the logits' input 2sbh; the logits 2sbv, sharded; maximum and sum of their exponentials 8sb.
TEST_CASE("embedding and head keep what they save, whatever is recomputed in blocks", "[recompute]") {
  const double outside =
      8 * s * b + s * b * h + (2 * s * b * h + 8 * s * b) + 2 * s * b * h + 2 * s * b * v / 8 + 8 * s * b;
  for (const Recompute recompute : all_recomputes) {
    const UniformLayout layout = layout_of(8, false, recompute);
    INFO(name(recompute));
    CHECK(memory_of(2, layout).activations_per_microbatch.value() - 2 * of_a_block(layout) == outside);
  }
}

// What is not saved is there again while one block's backward runs: 5as²b, and under full recompute all but its input.
TEST_CASE("what a recompute makes again is transient, of one block at a time", "[recompute]") {
  const auto transient = [](Recompute recompute) {
    return memory_of(2, layout_of(8, true, recompute)).transient.value();
  };
  const double of_block = of_a_block(layout_of(8, true, Recompute::none));
  CHECK(transient(Recompute::selective) - transient(Recompute::none) == 5 * a * s * s * b / 8);
  CHECK(transient(Recompute::full) - transient(Recompute::none) == of_block - 2 * s * b * h / 8);
}

TEST_CASE("selective recompute runs the core's forward once more in the backward", "[recompute]") {
  PlanningInput input = megatron_input(2, 8);
  input.recipe.launch = Seconds(0);  // launches hide in part, so that times do not add up
  const Stage none = baseline_plan(input, layout_of(8, true, Recompute::none), 4).stages[0];
  const Stage selective = baseline_plan(input, layout_of(8, true, Recompute::selective), 4).stages[0];
  const std::vector<bool> core = attention_core(input.graph, relations(input.graph));
  Seconds repeated;
  for (std::size_t o = 0; o < selective.ops.size(); ++o)
    if (core[o]) repeated += selective.ops[o].forward;
  CHECK(repeated > Seconds(0));
  CHECK(selective.forward == none.forward);
  CHECK(selective.backward.value() == Approx((none.backward + repeated).value()));
  CHECK(selective.backward_recompute.value() == Approx(repeated.value()));
}

TEST_CASE("full recompute repeats the blocks, or with scope all embedding, head and loss, too", "[recompute]") {
  PlanningInput input = megatron_input(2, 8);
  input.recipe.launch = Seconds(0);
  const UniformLayout layout = layout_of(8, false, Recompute::full);
  const Stage blocks = baseline_plan(input, layout, 4).stages[0];
  input.recipe.recompute_scope = RecomputeScope::all;
  const Stage all = baseline_plan(input, layout, 4).stages[0];
  Seconds outside;
  for (const OpSharding& op : blocks.ops)
    if (op.op[0] != 'h' || op.op.starts_with("head")) outside += op.forward;
  for (const Conversion& conversion : blocks.conversions)
    if (conversion.tensor.starts_with("embed") || conversion.tensor.starts_with("head"))
      for (const CollectiveStep& step : conversion.forward) outside += step.time;
  CHECK(outside > Seconds(0));
  CHECK((all.backward - blocks.backward).value() == Approx(outside.value()).epsilon(1e-6));
  CHECK(all.backward_recompute.value() == Approx(all.forward_compute.value()));
  CHECK(all.memory.activations_per_microbatch < blocks.memory.activations_per_microbatch);
}

// A step that drops its loss runs the last layer's forward in the backward alone.
TEST_CASE("with scope all but last the forward of the loss's layer runs once, in the backward", "[recompute]") {
  PlanningInput input = megatron_input(2, 8);
  input.recipe.launch = Seconds(0);
  const UniformLayout layout = layout_of(8, false, Recompute::full);
  input.recipe.recompute_scope = RecomputeScope::all;
  const Stage all = baseline_plan(input, layout, 4).stages[0];
  input.recipe.recompute_scope = RecomputeScope::all_but_last;
  const Stage but_last = baseline_plan(input, layout, 4).stages[0];
  Seconds head;
  for (const OpSharding& op : all.ops)
    if (op.op.starts_with("head")) head += op.forward;
  for (const Conversion& conversion : all.conversions)
    if (conversion.tensor.starts_with("head"))
      for (const CollectiveStep& step : conversion.forward) head += step.time;
  CHECK(head > Seconds(0));
  CHECK((all.forward - but_last.forward).value() == Approx(head.value()).epsilon(1e-6));
  CHECK(but_last.backward.value() == Approx(all.backward.value()));
  CHECK((all.backward_recompute - but_last.backward_recompute).value() ==
        Approx((all.forward_compute - but_last.forward_compute).value()));

  // Without tags the last of the layers that are chosen.
  Graph untagged = build_gpt({.layers = 2, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32});
  for (Op& op : untagged.ops) op.layer.clear();
  const RepeatedOps ops = repeated_ops(untagged, differentiate(untagged), RecomputeScope::all_but_last);
  CHECK(ops.full.front() == ForwardRuns::in_both);
  CHECK(ops.full.back() == ForwardRuns::in_backward);
}

// Of two blocks and the head the inputs stay, 2sbh each. The logits are made in the backward, for one microbatch at a
// time, whatever the number in flight: GPipe's 8 microbatches hold 8 times the inputs and once what a layer makes.
TEST_CASE("what the loss's layer makes is held for one microbatch at a time where its forward runs in the backward",
          "[recompute]") {
  for (const ScheduleKind schedule : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b}) {
    PlanningInput input = megatron_input(2, 8);
    UniformLayout layout = layout_of(8, false, Recompute::full);
    layout.schedule = schedule;
    input.recipe.recompute_scope = RecomputeScope::all_but_last;
    const StageMemory held = baseline_plan(input, layout, 32).stages[0].memory;
    CHECK(held.activations_per_microbatch == Bytes(3 * 2 * s * b * h));
    CHECK(held.in_flight == (schedule == ScheduleKind::gpipe ? 8 : 1));
    input.recipe.recompute_scope = RecomputeScope::all;
    CHECK(held == baseline_plan(input, layout, 32).stages[0].memory);
  }
}

// One block of one head has little to make again, so the head's layer is the largest: normalized input 2sbh, its
// statistics 8sb, logits 2sbv, what the loss keeps of them 8sb, targets 4sb. The largest working set is the product's
// that makes the logits: its input and its result.
TEST_CASE("logits made in the backward are held once, whatever is in flight", "[recompute]") {
  constexpr double seq = 64, samples = 4, hidden = 16, vocab = 4096;
  PlanningInput input = megatron_input(1, 1);
  input.graph = build_gpt({.layers = 1, .hidden = 16, .heads = 1, .seq_len = 64, .vocab = 4096, .dtype = DType::fp16});
  input.recipe.recompute_scope = RecomputeScope::all_but_last;
  UniformLayout layout = layout_of(1, false, Recompute::full);
  layout.schedule = ScheduleKind::gpipe;
  const StageMemory held = baseline_plan(input, layout, 32).stages[0].memory;
  CHECK(held.activations_per_microbatch == Bytes(2 * 2 * seq * samples * hidden));
  const double made_again = 2 * seq * samples * hidden + 8 * seq * samples + 2 * seq * samples * vocab +
                            8 * seq * samples + 4 * seq * samples;
  CHECK(held.transient == Bytes(made_again + 2 * seq * samples * hidden + 2 * seq * samples * vocab));
}

TEST_CASE("blocks are the layers from the first to the last that are repeated, however layers are grouped",
          "[recompute]") {
  const auto repeated = [](const Graph& graph) {
    const RepeatedOps ops = repeated_ops(graph, differentiate(graph), RecomputeScope::blocks);
    std::vector<std::string> layers;
    for (std::size_t o = 0; o < graph.ops.size(); ++o)
      if (ops.full[o] == ForwardRuns::in_both && (layers.empty() || layers.back() != graph.ops[o].layer))
        layers.push_back(graph.ops[o].layer);
    return layers;
  };
  const GptOptions gpt{.layers = 3, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32};
  CHECK(repeated(build_gpt(gpt)) == Names{"h0", "h1", "h2"});
  MoeOptions moe;  // dense and expert layers in turns
  moe.gpt = {.layers = 4, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32};
  moe.experts = 4;
  CHECK(repeated(build_moe(moe)) == Names{"h0", "h1", "h2", "h3"});
  GptOptions single = gpt;
  single.layers = 1;
  CHECK(repeated(build_gpt(single)) == Names{"embed", "h0", "head"});  // nothing is repeated

  // Three groups, "embed…h0" the first: its block is repeated all the same, its embedding is not.
  const Graph graph = build_gpt(gpt);
  const PlanningLayers layers = planning_layers(graph, differentiate(graph), 3, {}, RecomputeScope::blocks);
  const PlanningLayer& first = layers.layers.front();
  REQUIRE(first.name == "embed…h0");
  for (std::size_t k = 0; k < first.ops.size(); ++k)
    CHECK(runs_in_backward(first.runs[k][2]) == (graph.op(first.ops[k]).layer == "h0"));
}

TEST_CASE("plans with every recompute are priced again without a difference", "[recompute]") {
  for (const RecomputeScope scope : {RecomputeScope::blocks, RecomputeScope::all, RecomputeScope::all_but_last})
    for (const Recompute recompute : all_recomputes)
      for (const bool sequence : {false, true}) {
        PlanningInput input = megatron_input(2, 8);
        input.recipe.recompute_scope = scope;
        const Plan plan = baseline_plan(input, layout_of(8, sequence, recompute), 4);
        CAPTURE(name(scope), name(recompute), sequence);
        CHECK(reprice(plan, input.graph, input.cluster, 1e-9).empty());
      }
}

TEST_CASE("the search tries selective recompute where it saves a tensor", "[recompute]") {
  const auto tried = [](const Graph& graph) {
    PlanningInput input = small_gpt_on_v100s();
    input.graph = graph;
    return search_space(input, {.global_batch = 8}).recomputes.size();
  };
  GptOptions gpt{.layers = 2, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32};
  CHECK(tried(build_gpt(gpt)) == 2);  // fused: a float a row
  gpt.fused_attention = false;
  CHECK(tried(build_gpt(gpt)) == 3);
  CHECK(tried(build_wresnet({})) == 2);
}

// Between what a step needs with selective recompute and without: full recompute fits, too, but repeats more.
TEST_CASE("where memory is a little short the search recomputes the core alone", "[recompute]") {
  PlanningInput input = small_gpt_on_v100s();
  input.graph =
      build_gpt({.layers = 4, .hidden = 512, .heads = 16, .seq_len = 2048, .vocab = 1024, .fused_attention = false});
  input.cluster.devices_per_host = 1;
  SearchOptions options{.global_batch = 8, .microbatch_size = 8, .candidates = 1, .remedies = false};
  const auto plan_with = [&](std::optional<Recompute> recompute) {
    options.recompute = recompute;
    return search_plans(input, options).front();
  };
  input.cluster.device.memory = Bytes(1e12);
  const Bytes none = plan_with(Recompute::none).peak_memory(),
              selective = plan_with(Recompute::selective).peak_memory();
  REQUIRE(selective < none);
  input.cluster.device.memory = 0.5 * (selective + none);
  const Plan best = plan_with({}), full = plan_with(Recompute::full);
  REQUIRE(best.status != PlanStatus::infeasible);
  CHECK(best.stages[0].recompute == Recompute::selective);
  CHECK(best.peak_memory() <= input.cluster.device.memory);
  CHECK(best.best_estimate < full.best_estimate);
  CHECK(plan_with(Recompute::none).status == PlanStatus::infeasible);
}

}  // namespace meshloom
