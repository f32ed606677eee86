#include "planner/uniform_meshes.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "planner/plan/plan_json.hpp"
#include "planner/reprice.hpp"
#include "planner/uniform_search.hpp"
#include "tests/planned_samples.hpp"

namespace meshloom {
namespace {

std::vector<std::string> axes_of(const Plan& plan, const std::string& op) {
  for (const Stage& stage : plan.stages)
    for (const OpSharding& sharding : stage.ops)
      if (sharding.op == op) return sharding.axes;
  FAIL("no op " + op);
  return {};
}

PlanningInput llama_on_v100s(std::int64_t heads, std::int64_t key_value_heads, std::int64_t ffn_hidden = 4096) {
  PlanningInput input = small_gpt_on_v100s();
  LlamaOptions options;
  options.layers = 2, options.hidden = 64 * heads, options.heads = heads, options.kv_heads = key_value_heads;
  options.seq_len = 512, options.vocab = 8192, options.ffn_hidden = ffn_hidden;
  input.graph = build_llama(options);
  return input;
}

}  // namespace

TEST_CASE("heads and hidden sizes that tensor parallelism does not divide are refused", "[baseline]") {
  CHECK_THROWS_WITH(baseline_plan(llama_on_v100s(33, 33), {2, 1, 4}, 32),
                    "--tp: 2 does not divide the model's 33 attention heads; give a divisor");
  CHECK(baseline_plan(llama_on_v100s(33, 33), {1, 1, 8}, 32).status == PlanStatus::feasible);
  CHECK_THROWS_WITH(baseline_plan(llama_on_v100s(12, 6), {4, 1, 2}, 32),
                    "--tp: 4 devices cannot share the model's 6 key-value heads; give a divisor or a multiple");
  CHECK_THROWS_WITH(baseline_plan(llama_on_v100s(16, 16, 4098), {4, 1, 2}, 32),
                    "--tp: 4 does not divide 4098, the hidden size that \"h0.mlp.silu\" works on; give a divisor");
  // Nor are they among the layouts that a plan is held against.
  for (const UniformLayout& layout : uniform_layouts(llama_on_v100s(6, 6, 4098))) CHECK(layout.tensor_parallel <= 2);
}

TEST_CASE("a sample's tokens that context parallelism does not divide are refused, and experts that are not there",
          "[baseline]") {
  PlanningInput input = llama_on_v100s(16, 16);
  UniformLayout layout{1, 1, 1};
  layout.context_parallel = 8;
  CHECK(baseline_plan(input, layout, 32).status == PlanStatus::feasible);
  LlamaOptions odd;
  odd.layers = 2, odd.hidden = 1024, odd.heads = odd.kv_heads = 16, odd.seq_len = 1001, odd.vocab = 8192;
  odd.ffn_hidden = 4096;
  input.graph = build_llama(odd);
  CHECK_THROWS_WITH(baseline_plan(input, layout, 32), Catch::Contains("--cp: 8 does not divide the 1001"));
  layout.context_parallel = 1, layout.data_parallel = layout.expert_parallel = 8;
  CHECK_THROWS_WITH(baseline_plan(input, layout, 32), Catch::Contains("--ep: 8 devices have no experts"));
}

TEST_CASE("experts that expert parallelism does not divide are refused", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  TransformerOptions options;
  options.layers = 2, options.hidden = 256, options.heads = options.kv_heads = 4, options.seq_len = 128;
  options.vocab = 1024;
  options.experts = Experts{};
  options.experts->count = 4, options.experts->top_k = 2, options.experts->ffn_hidden = 256;
  input.graph = build_transformer(options);
  UniformLayout layout{1, 1, 8};
  layout.expert_parallel = 4;
  CHECK(baseline_plan(input, layout, 32).status == PlanStatus::feasible);
  layout.expert_parallel = 8;
  CHECK_THROWS_WITH(baseline_plan(input, layout, 32),
                    Catch::Contains("--ep: 8 does not divide the model's 4 experts; give a divisor"));
}

namespace {

PlanningInput experts_on_v100s(std::int64_t experts) {
  PlanningInput input = small_gpt_on_v100s();
  TransformerOptions options;
  options.layers = 2, options.hidden = 256, options.heads = options.kv_heads = 4, options.seq_len = 128;
  options.vocab = 1024;
  options.experts = Experts{};
  options.experts->count = experts, options.experts->top_k = 2, options.experts->ffn_hidden = 256;
  input.graph = build_transformer(options);
  return input;
}

struct OfExperts {
  std::string axes;         // of the mesh, the major-most first
  std::string shards;       // of the experts' first product: each axis' factor
  Bytes parameters;         // of one device
  std::string collectives;  // that bring the experts' tokens forward
};

OfExperts experts_of(const PlanningInput& input, UniformLayout layout) {
  layout.micro_batch_per_replica = 1;
  const Plan plan = baseline_plan(input, layout, 32);
  REQUIRE(plan.status == PlanStatus::feasible);
  const Stage& stage = plan.stages[0];
  OfExperts result;
  const std::vector<std::string> factors = axes_of(plan, "h1.moe.up");
  for (std::size_t axis = 0; axis < stage.mesh.size(); ++axis) {
    result.axes += fmt::format(" {} {}", stage.mesh[axis].name, stage.mesh[axis].size);
    result.shards += " " + (factors[axis].empty() ? "-" : factors[axis]);
  }
  for (const TensorLayout& tensor : stage.tensors)
    if (tensor.parameter && tensor.tensor == "h1.moe.up.weight") result.parameters += tensor.bytes;
  for (const Conversion& conversion : stage.conversions)
    if (conversion.rate == Rate::per_microbatch && conversion.tensor == "h1.moe.dispatch")
      for (const CollectiveStep& step : conversion.forward)
        result.collectives += fmt::format(" {}", name(step.collective));
  return result;
}

}  // namespace

// Eight experts of 256 by 256 numbers of 2 bytes.
TEST_CASE("--etp says how many of the tensor-parallel devices divide each expert; the others hold whole ones",
          "[baseline]") {
  const PlanningInput input = experts_on_v100s(8);
  const Bytes all(8.0 * 256 * 256 * 2);
  UniformLayout layout{.tensor_parallel = 4, .data_parallel = 2, .sequence_parallel = true};
  layout.expert_parallel = 2, layout.expert_tensor_parallel = 4;
  const OfExperts divided = experts_of(input, layout);
  CHECK(divided.axes == " ep 2 tp 4");
  CHECK(divided.shards == " e m");
  CHECK(divided.parameters == all / 8);
  layout.expert_parallel = 8, layout.expert_tensor_parallel = 1;
  const OfExperts whole = experts_of(input, layout);
  CHECK(whole.axes == " ep 2 tp-ep 4");
  CHECK(whole.shards == " e e");
  CHECK(whole.parameters == all / 8);
  layout.expert_parallel = 4;  // of the tensor-parallel devices alone: each replica has all experts
  const OfExperts inside = experts_of(input, layout);
  CHECK(inside.axes == " dp 2 tp-ep 4");
  CHECK(inside.parameters == all / 4);
  UniformLayout context{.data_parallel = 2, .context_parallel = 4, .expert_parallel = 4};
  CHECK(experts_of(input, context).axes == " dp 2 cp-ep 4");  // neighbours first, as Megatron-Core's expert groups
  context.expert_parallel = 8;
  CHECK(experts_of(input, context).axes == " ep 2 cp-ep 4");
  context.expert_parallel = 2;
  CHECK(experts_of(input, context).axes == " dp 2 cp 2 cp-ep 2");
  layout.expert_tensor_parallel = 2;
  const OfExperts both = experts_of(input, layout);
  CHECK(both.axes == " ep 2 tp-ep 2 tp 2");
  CHECK(both.shards == " e e m");
  CHECK(both.parameters == all / 8);
}

TEST_CASE("whether experts are divided is the recipe's where no layout says it", "[baseline]") {
  const PlanningInput many = experts_on_v100s(32), few = experts_on_v100s(8);
  UniformLayout layout{.tensor_parallel = 4, .data_parallel = 2, .expert_parallel = 8};
  const auto etp = [&](const PlanningInput& input, bool divides) {
    Recipe recipe = input.recipe;
    recipe.divides_experts = divides;
    return with_expert_degrees(input.graph, dimension_meanings(input.graph), recipe, layout).expert_tensor_parallel;
  };
  CHECK(etp(many, true) == 4);
  CHECK(etp(many, false) == 1);
  CHECK(etp(few, false) == 4);  // one for each of eight devices: none left for tensor parallelism
  layout.expert_parallel = 2;   // not a multiple of the devices that would hold different ones
  CHECK(etp(many, false) == 4);
  layout.expert_tensor_parallel = 2;
  CHECK(etp(many, true) == 2);
  layout.expert_tensor_parallel.reset(), layout.tensor_parallel = 1;
  CHECK_FALSE(etp(many, true));
  CHECK_FALSE(with_expert_degrees(small_gpt_on_v100s().graph, dimension_meanings(small_gpt_on_v100s().graph),
                                  find_recipe("megatron"), {.tensor_parallel = 8})
                  .expert_tensor_parallel);
}

TEST_CASE("degrees of experts that cannot be had together are refused", "[baseline]") {
  PlanningInput input = experts_on_v100s(8);
  UniformLayout layout{.tensor_parallel = 4, .data_parallel = 2};
  const auto refused = [&](std::int64_t ep, std::int64_t etp, const std::string& text) {
    layout.expert_parallel = ep, layout.expert_tensor_parallel = etp;
    CHECK_THROWS_WITH(baseline_plan(input, layout, 32), text);
  };
  refused(2, 3, "--etp: 3 does not divide tensor parallelism, --tp 4; give a divisor");
  refused(2, 1,
          "--etp: 1 spreads experts over 4 groups of the devices of --tp 4, so --ep must be a multiple of 4, but is 2; "
          "give "
          "--ep 4 or --etp 4");
  refused(4, 4, "--ep: 4 must divide data parallelism, --dp 2; give a divisor");
  refused(8, 2, "--ep: 8 must divide data and tensor parallelism together, --dp 2 --tp 4 of --etp 2; give a divisor");
  input = small_gpt_on_v100s();
  refused(1, 4, "--etp: the model has no experts to divide; leave it out");
}

// Copying costs more than dividing a head would, and attention is so small here that dividing it saves nothing: what
// frameworks do does not depend on that.
TEST_CASE("heads are never divided, nor attention repeated, whatever that would cost", "[baseline]") {
  using Axes = std::vector<std::string>;
  UniformLayout layout{8, 1, 1};
  layout.micro_batch_per_replica = 1;
  const Plan one = baseline_plan(llama_on_v100s(8, 1), layout, 8);
  CHECK(one.stages[0].mesh == std::vector<MeshAxis>{{"tp", 8}});
  CHECK(axes_of(one, "h1.attn.core") == Axes{"g"});
  CHECK(axes_of(one, "h1.attn.q") == Axes{"n"});
  CHECK(axes_of(one, "h1.attn.k") == Axes{""});
  CHECK(axes_of(one, "h1.attn.v") == Axes{""});
  const Plan two = baseline_plan(llama_on_v100s(64, 2), layout, 8);
  CHECK(two.stages[0].mesh == std::vector<MeshAxis>{{"tp", 2}, {"tp-kv", 4}});
  CHECK(axes_of(two, "h1.attn.core") == Axes{"k", "g"});
  CHECK(axes_of(two, "h1.attn.k") == Axes{"n", ""});
  CHECK(axes_of(two, "h1.attn.v") == Axes{"n", ""});
}

// 16 query heads and 4 key-value heads of 64 on 8 devices: pairs share a head. A device has half the queries of one
// head, all of its key and value: weights of 1024 · 64 · 2 B, a quarter of the model's.
TEST_CASE("with fewer key-value heads than tensor-parallel devices a head is copied, and attention divided",
          "[baseline]") {
  const PlanningInput input = llama_on_v100s(16, 4);
  for (const bool sequence : {false, true}) {
    UniformLayout layout{8, 1, 1};
    layout.sequence_parallel = sequence;
    layout.micro_batch_per_replica = 2;
    const Plan plan = baseline_plan(input, layout, 32);
    const Stage& stage = plan.stages[0];
    CHECK(stage.mesh == std::vector<MeshAxis>{{"tp", 4}, {"tp-kv", 2}});
    using Axes = std::vector<std::string>;
    CHECK(axes_of(plan, "h1.attn.core") == Axes{"k", "g"});
    CHECK(axes_of(plan, "h1.attn.q") == Axes{"n", "n"});
    CHECK(axes_of(plan, "h1.attn.out") == Axes{"n", "n"});
    CHECK(axes_of(plan, "h1.mlp.up") == Axes{"f", "f"});
    CHECK(axes_of(plan, "h1.attn.v") == Axes{"n", ""});
    for (const TensorLayout& tensor : stage.tensors)
      if (tensor.tensor == "h1.attn.v.weight") CHECK(tensor.bytes == Bytes(1024.0 * 64 * 2));
    // Each query head's gradient of the value is a part of the head's.
    const auto to_core = std::find_if(stage.conversions.begin(), stage.conversions.end(), [](const Conversion& each) {
      return each.tensor == "h1.attn.v" && each.consumer == "h1.attn.core";
    });
    REQUIRE(to_core != stage.conversions.end());
    CHECK(to_core->forward.empty());
    REQUIRE(to_core->backward.size() == 1);
    CHECK(to_core->backward[0].collective == Collective::all_reduce);
    CHECK(to_core->backward[0].axes == Axes{"tp-kv"});
    CHECK(reprice(plan, input.graph, plan.cluster).empty());
    CHECK(parse_plan(write_plan(plan), "plan.json") == plan);
  }
}

}  // namespace meshloom
