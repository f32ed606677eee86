// What recipes say of memory and of experts, in plans.
#include <catch2/catch.hpp>
#include <set>

#include "planner/baseline.hpp"
#include "planner/layers.hpp"
#include "planner/reprice.hpp"
#include "tests/planned_samples.hpp"

namespace meshloom {
namespace {

constexpr double s = 512, b = 2, h = 1024, f = 4096, v = 8192;

TransformerOptions llama_of(std::int64_t layers) {
  TransformerOptions options;
  options.layers = layers, options.hidden = 1024, options.heads = 8, options.ffn_hidden = 4096, options.seq_len = 512;
  options.vocab = 8192;
  return options;
}

UniformLayout one_replica(std::int64_t tensor_parallel) {
  UniformLayout layout{tensor_parallel, 1, 1};
  layout.micro_batch_per_replica = 2;
  return layout;
}

double activations(const TransformerOptions& model, const Recipe& recipe, std::int64_t tensor_parallel) {
  PlanningInput input = small_gpt_on_v100s();
  input.graph = build_transformer(model);
  input.recipe = recipe;
  input.cluster.devices_per_host = tensor_parallel;
  return baseline_plan(input, one_replica(tensor_parallel), 2).stages[0].memory.activations_per_microbatch.value();
}

PlanningInput with_experts() {
  PlanningInput input = small_gpt_on_v100s();
  TransformerOptions options = llama_of(2);
  options.experts = Experts{.count = 8, .top_k = 2, .ffn_hidden = 512};
  input.graph = build_transformer(options);
  return input;
}

const OpSharding& op_named(const Plan& plan, const std::string& id) {
  for (const OpSharding& op : plan.stages[0].ops)
    if (op.op == id) return op;
  FAIL("no op " + id);
  return plan.stages[0].ops.front();
}

}  // namespace

TEST_CASE("norms keep what the recipe's kernels keep besides, per element of their result", "[recipe_effects]") {
  const Recipe plain = find_recipe("neutral");
  Recipe copies = plain;
  copies.norm_bytes = 4;
  // Two norms in a block and one before the head.
  for (const std::int64_t layers : {2, 3})
    CHECK(activations(llama_of(layers), copies, 1) - activations(llama_of(layers), plain, 1) ==
          Approx((2 * double(layers) + 1) * 4 * s * b * h));
}

TEST_CASE("gathered logits are kept whole on every device, however the vocabulary is sharded", "[recipe_effects]") {
  const Recipe plain = find_recipe("neutral");
  Recipe gathered = plain;
  gathered.gathered_logits_bytes = 17;
  for (const std::int64_t tensor_parallel : {1, 4})
    CHECK(activations(llama_of(2), gathered, tensor_parallel) - activations(llama_of(2), plain, tensor_parallel) ==
          Approx(17 * s * b * v));
}

TEST_CASE("an unfused loss keeps its copies of the logits where these are", "[recipe_effects]") {
  const Recipe plain = find_recipe("neutral");
  Recipe copies = plain;
  copies.logits_bytes = 8;
  for (const std::int64_t tensor_parallel : {1, 4})
    CHECK(activations(llama_of(2), copies, tensor_parallel) - activations(llama_of(2), plain, tensor_parallel) ==
          Approx(8 * s * b * v / double(tensor_parallel)));
}

TEST_CASE("a fused gate keeps its two inputs and not the activation function's result", "[recipe_effects]") {
  const Recipe plain = find_recipe("neutral");
  Recipe fused = plain;
  fused.fused_gates = true;
  CHECK(activations(llama_of(3), plain, 1) - activations(llama_of(3), fused, 1) == Approx(3 * 2 * s * b * f));
  TransformerOptions without_gate = llama_of(2);
  without_gate.gated_mlp = false;  // its function's result is the next product's operand
  CHECK(activations(without_gate, plain, 1) == activations(without_gate, fused, 1));
}

TEST_CASE("selective recompute of cheap ops keeps of a block what products and attention make", "[recipe_effects]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.devices_per_host = 1;
  input.cluster.device.memory = Bytes(1e12);
  input.recipe.launch = Seconds(0);
  const auto stage = [&](std::int64_t layers, Recompute recompute) {
    input.graph = build_transformer(llama_of(layers));
    UniformLayout layout = one_replica(1);
    layout.recompute = recompute;
    return baseline_plan(input, layout, 2).stages[0];
  };
  const auto of_a_block = [&](Recompute recompute) {
    return (stage(3, recompute).memory.activations_per_microbatch -
            stage(2, recompute).memory.activations_per_microbatch)
        .value();
  };
  const double none = of_a_block(Recompute::none);
  input.recipe.selective_recompute = SelectiveRecompute::elementwise;
  // Made again: the results of two norms and a statistic of each row, of the gate's function, of the gate. Rotations,
  // too, but what they read is saved in place of what they make. Not the core of attention, one kernel.
  CHECK(none - of_a_block(Recompute::selective) == Approx(2 * (2 * s * b * h + 4 * s * b) + 2 * 2 * s * b * f));
  CHECK(of_a_block(Recompute::none) == none);
  const Stage kept = stage(2, Recompute::none), again = stage(2, Recompute::selective);
  Seconds repeated;
  for (const OpSharding& op : again.ops)
    for (const Op& declared : input.graph.ops)
      if (declared.id == op.op && op.op[0] == 'h' && !op.op.starts_with("head") &&
          (declared.kind == OpKind::rms_norm || declared.kind == OpKind::silu || declared.kind == OpKind::multiply ||
           declared.kind == OpKind::rotary))
        repeated += op.forward;
  CHECK(repeated > Seconds(0));
  CHECK(again.backward_recompute.value() == Approx(repeated.value()));
  CHECK(again.backward.value() == Approx((kept.backward + repeated).value()));
}

TEST_CASE("selective recompute of every second product keeps the other products' results of a block",
          "[recipe_effects]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.devices_per_host = 1;
  input.cluster.device.memory = Bytes(1e12);
  input.recipe.launch = Seconds(0);
  const auto stage = [&](std::int64_t layers, SelectiveRecompute selective) {
    input.graph = build_transformer(llama_of(layers));
    input.recipe.selective_recompute = selective;
    UniformLayout layout = one_replica(1);
    layout.recompute = Recompute::selective;
    return baseline_plan(input, layout, 2).stages[0];
  };
  const auto of_a_block = [&](SelectiveRecompute selective) {
    return (stage(3, selective).memory.activations_per_microbatch -
            stage(2, selective).memory.activations_per_microbatch)
        .value();
  };
  // Of query, key, value, output, gate, up and down the second, fourth and sixth run again. Key and up are kept no
  // more, nor is the sum behind the output; the sum behind down runs again from down's result, which is kept instead:
  // 2·s·b·(h + f + h - h).
  CHECK(of_a_block(SelectiveRecompute::elementwise) - of_a_block(SelectiveRecompute::alternate_products) ==
        Approx(2 * s * b * (h + f)));
  const Stage cheap = stage(2, SelectiveRecompute::elementwise);
  const Stage products = stage(2, SelectiveRecompute::alternate_products);
  Seconds repeated;
  for (const OpSharding& op : products.ops)
    for (const std::string block : {"h0.", "h1."})
      for (const std::string name : {"attn.k", "attn.out", "mlp.up"})
        if (op.op == block + name) repeated += op.forward;
  CHECK(repeated > Seconds(0));
  // Sums move bytes and compute nothing; they run again, too.
  for (const OpSharding& op : products.ops)
    for (const Op& declared : input.graph.ops)
      if (declared.id == op.op && declared.kind == OpKind::add) repeated += op.forward;
  CHECK((products.backward_recompute - cheap.backward_recompute).value() == Approx(repeated.value()));
}

TEST_CASE("a layer with more than the live parameters gathers op by op, and once more behind its recompute",
          "[recipe_effects]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.devices_per_host = 8;
  input.cluster.hosts = 1;
  input.recipe.launch = Seconds(0);
  input.graph = build_transformer(llama_of(2));
  const auto plan_with = [&](double live) {
    input.recipe.live_parameters = live;
    UniformLayout layout{1, 1, 8};
    layout.micro_batch_per_replica = 2;
    layout.parameter_state = ParameterState::zero3;
    layout.recompute = Recompute::full;
    return baseline_plan(input, layout, 16);
  };
  // A block has 4·h² + 3·h·f + 2·h = 16,779,264 parameters of 2 B; embedding and head have fewer.
  const Plan layers = plan_with(16'779'264), ops = plan_with(16'779'263);
  const Stage &whole = layers.stages[0], &pieces = ops.stages[0];
  // Then a block's recompute holds none of them. The head is still what works with most, with its own 16 MiB.
  CHECK((whole.memory.transient - pieces.memory.transient).value() == Approx(2 * (4 * h * h + 3 * h * f + 2 * h)));
  Seconds gathers;
  for (const Conversion& conversion : pieces.conversions) {
    const bool of_block = conversion.tensor.starts_with("h0.") || conversion.tensor.starts_with("h1.");
    CAPTURE(conversion.tensor);
    if (conversion.rate == Rate::per_step || conversion.forward.empty()) continue;
    CHECK(conversion.backward.size() == (of_block ? 3U : 2U));
    if (of_block) gathers += conversion.forward.at(0).time;
  }
  CHECK(gathers > Seconds(0));
  CHECK((pieces.backward - whole.backward).value() == Approx(gathers.value()));
  CHECK(pieces.forward == whole.forward);
  CHECK(reprice(ops, input.graph, input.cluster, 1e-9).empty());
}

TEST_CASE("sharded experts take as long as the busiest, experts that are all in one place as long as the mean",
          "[recipe_effects]") {
  PlanningInput input = with_experts();
  UniformLayout apart{.data_parallel = 8, .expert_parallel = 8}, together{.data_parallel = 8};
  apart.micro_batch_per_replica = together.micro_batch_per_replica = 1;
  const Plan even = baseline_plan(input, apart, 8), even_together = baseline_plan(input, together, 8);
  input.recipe.expert_imbalance = 1.5;
  const Plan uneven = baseline_plan(input, apart, 8), uneven_together = baseline_plan(input, together, 8);
  int products = 0;
  for (const OpSharding& op : even.stages[0].ops) {
    INFO(op.op);
    const bool product = op.op.ends_with("moe.gate") || op.op.ends_with("moe.up") || op.op.ends_with("moe.down");
    products += product;
    const double slower = product ? 1.5 : 1;
    CHECK(op_named(uneven, op.op).forward.value() == Approx(slower * op.forward.value()));
    CHECK(op_named(uneven, op.op).backward.value() == Approx(slower * op.backward.value()));
    CHECK(op_named(uneven_together, op.op).forward == op_named(even_together, op.op).forward);
  }
  CHECK(products == 2 * 3);  // of two blocks
  // Pricing a plan again from its layouts agrees.
  CHECK(reprice(uneven, input.graph, input.cluster).empty());
}

}  // namespace meshloom
