#include "graphs/transformer.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/graph_json.hpp"
#include "graphs/input_error.hpp"
#include "planner/baseline.hpp"
#include "tests/planned_samples.hpp"

using namespace meshloom;

namespace {

TransformerOptions deepseek_v3() {
  TransformerOptions options;
  options.layers = 61;
  options.hidden = 7168;
  options.heads = 128;
  options.vocab = 129280;
  options.ffn_hidden = 18432;
  options.latent_attention = LatentAttention{};
  options.experts = Experts{.count = 256, .top_k = 8, .ffn_hidden = 2048, .shared = 1, .first_dense_layers = 3};
  return options;
}

TransformerOptions mixtral(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t wide) {
  TransformerOptions options;
  options.layers = layers;
  options.hidden = hidden;
  options.heads = heads;
  options.kv_heads = 8;
  options.head_dim = 128;
  options.experts = Experts{.count = 8, .top_k = 2, .ffn_hidden = wide};
  return options;
}

TransformerOptions qwen3(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t wide) {
  TransformerOptions options;
  options.layers = layers;
  options.hidden = hidden;
  options.heads = heads;
  options.kv_heads = 4;
  options.head_dim = 128;
  options.vocab = 151936;
  options.query_key_norms = true;
  options.experts = Experts{.count = 128, .top_k = 8, .ffn_hidden = wide};
  return options;
}

TransformerOptions gpt_oss() {
  TransformerOptions options;
  options.layers = 36;
  options.hidden = 2880;
  options.heads = 64;
  options.kv_heads = 8;
  options.head_dim = 64;
  options.vocab = 201088;
  options.window = 128;
  options.full_attention_every = 2;
  options.attention_biases = AttentionBiases::all;
  options.experts = Experts{.count = 128, .top_k = 4, .ffn_hidden = 2880, .biases = true};
  return options;
}

TransformerOptions llama3(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t wide) {
  TransformerOptions options;
  options.layers = layers;
  options.hidden = hidden;
  options.heads = heads;
  options.kv_heads = 8;
  options.ffn_hidden = wide;
  options.vocab = 128256;
  return options;
}

double parameters(const TransformerOptions& options) { return summarize(build_transformer(options)).parameters; }

double forward(const TransformerOptions& options) {
  return summarize(build_transformer(options)).forward_flops_per_sample.value();
}

}  // namespace

TEST_CASE("DeepSeek-V3 has 671B parameters, of which a token meets 37B") {
  // Latent attention: 7168·1536 + 1536 + 1536·128·192 + 7168·(512 + 64) + 512 + 512·128·(128 + 128) + 128·128·7168
  //   = 187,107,328. Norms of a layer 2·7168. Dense MLP 3·7168·18432 = 396,361,728.
  // Experts: router 7168·256, (256 + 1)·3·7168·2048 = 11,318,329,344 + 1,835,008 = 11,320,164,352.
  // 61·(187,107,328 + 14,336) + 3·396,361,728 + 58·11,320,164,352 + 2·129280·7168 + 7168 = 671,026,404,352
  CHECK(parameters(deepseek_v3()) == 671026404352.0);  // 671B [DeepSeek-V3, §4.2]
  // Less 58·(256 − 8)·3·7168·2048.
  CHECK(active_parameters(deepseek_v3()) == 671026404352.0 - 58.0 * 248 * 3 * 7168 * 2048);
  CHECK(active_parameters(deepseek_v3()) == Approx(37.5e9).epsilon(0.005));  // published 37B
}

TEST_CASE("Mixtral 8x7B and 8x22B have the published numbers of parameters") {
  // A layer: 2·4096² + 2·4096·1024, 8·3·4096·14336, router 4096·8, norms 2·4096: 1,451,270,144. 32 of them, two tables
  // of 32000·4096 and the last norm: 46.70B, active 12.88B [Mixtral, table 1: 47B, 13B].
  const TransformerOptions small = mixtral(32, 4096, 32, 14336);
  CHECK(parameters(small) == 46702792704.0);
  CHECK(active_parameters(small) == 46702792704.0 - 32.0 * 6 * 3 * 4096 * 14336);
  TransformerOptions large = mixtral(56, 6144, 48, 16384);
  large.vocab = 32768;
  // 56·(2·6144² + 2·6144·1024 + 8·3·6144·16384 + 6144·8 + 2·6144) + 2·32768·6144 + 6144: 140.6B, active 39.2B
  CHECK(parameters(large) == 140630071296.0);
  CHECK(active_parameters(large) == Approx(39.2e9).epsilon(0.005));
}

TEST_CASE("Qwen3 with experts has the published numbers of parameters") {
  // A layer: 2·2048·4096 + 2·2048·512 + 2·128, 128·3·2048·768 + 2048·128, norms 2·2048; 48 of them, two tables of
  // 151936·2048, last norm: 30.5B, active 3.3B. Likewise 235B and 22B [Qwen3, table 2].
  CHECK(parameters(qwen3(48, 2048, 32, 768)) == 30532122624.0);
  CHECK(active_parameters(qwen3(48, 2048, 32, 768)) == Approx(3.35e9).epsilon(0.005));
  CHECK(parameters(qwen3(94, 4096, 64, 1536)) == 235093634560.0);
  CHECK(active_parameters(qwen3(94, 4096, 64, 1536)) == Approx(22.2e9).epsilon(0.005));
}

TEST_CASE("GPT-OSS 120B has the published numbers of parameters but for its attention sinks") {
  // A layer: 2·2880·4096 + 2·2880·512, biases 4096 + 2·512 + 2880; experts 128·(3·2880² + 3·2880), router 2880·128 +
  // 128; norms 2·2880. 36 of them, two tables of 201088·2880, last norm. The sinks, 64 a layer, are left out.
  CHECK(parameters(gpt_oss()) == 116829156672.0 - 36 * 64);  // 116.83B [model card, table 1]
  // Published 5.13B leaves out the token table.
  CHECK(active_parameters(gpt_oss()) - 201088.0 * 2880 == Approx(5.13e9).epsilon(0.005));
}

TEST_CASE("dense models have the published numbers of parameters") {
  // [Llama 3, table 3]: 8B, 70B, 405B. A layer: 2·h² + 2·h·1024 + 3·h·f + 2·h; two tables, last norm.
  CHECK(parameters(llama3(32, 4096, 32, 14336)) == 8030261248.0);
  CHECK(parameters(llama3(80, 8192, 64, 28672)) == 70553706496.0);
  CHECK(parameters(llama3(126, 16384, 128, 53248)) == 405853388800.0);
  // Nemotron-4 340B: head size 192, MLP without gate, no biases but the norms': 96·(2·18432² + 2·18432·8·192 +
  // 2·18432·73728 + 4·18432) + 2·256000·18432 + 2·18432 [table 1: 9.4B embeddings, 331.6B others].
  TransformerOptions nemotron = llama3(96, 18432, 96, 73728);
  nemotron.gated_mlp = false;
  nemotron.activation = Activation::relu;
  nemotron.norm = NormKind::layer_norm;
  nemotron.vocab = 256000;
  CHECK(parameters(nemotron) == Approx(9.4e9 + 331.6e9).epsilon(0.001));
  CHECK(parameters(nemotron) - 2 * 256000.0 * 18432 == Approx(331.6e9).epsilon(0.001));
  // Grok-1: 8 experts, tied table, norms before and behind: 64·(2·6144² + 2·6144·1024 + 8·3·6144·32768 + 6144·8 +
  // 4·6144) + 131072·6144 + 6144 [published 314B]
  TransformerOptions grok = mixtral(64, 6144, 48, 32768);
  grok.vocab = 131072;
  grok.tied_embeddings = grok.post_norms = true;
  CHECK(parameters(grok) == 315684820992.0);
  CHECK(parameters(grok) == Approx(314e9).epsilon(0.01));
}

TEST_CASE("dropless experts multiply each token with top_k of them and moving tokens is no FLOP") {
  TransformerOptions options = mixtral(1, 4096, 32, 14336);
  options.seq_len = 512;
  const double router = 2.0 * 512 * 4096 * 8;
  const double experts = 2.0 * 512 * 3 * 4096 * 14336 * 2;  // top_k
  TransformerOptions dense = options;
  dense.experts.reset();
  dense.ffn_hidden = 14336;
  CHECK(forward(options) - forward(dense) == router + experts / 2);
}

TEST_CASE("a token group costs no room: 64 groups where it divides, fewer where rounding up would cost") {
  const auto dim = [](const Graph& graph, const std::string& name) {
    for (const auto& [each, size] : graph.dims)
      if (each == name) return size;
    return std::int64_t{0};
  };
  TransformerOptions options = qwen3(1, 2048, 32, 768);
  const Graph even = build_transformer(options);  // 8·4096/128 = 256 tokens for each expert
  CHECK(dim(even, "p") * dim(even, "c") == 256);
  CHECK(dim(even, "p") == 64);
  options.experts->count = 384;  // 85.3 tokens: 86, or 2 groups of 43
  const Graph uneven = build_transformer(options);
  CHECK(dim(uneven, "p") == 2);
  CHECK(dim(uneven, "c") == 43);
}

TEST_CASE("a window's scores are those of the window, and every second layer has none") {
  TransformerOptions options = gpt_oss();
  options.layers = 2;
  const double windowed = forward(options);
  options.window = 0;
  options.full_attention_every = 0;
  // One of two layers reads 128 of 4096 keys: 4·4096·(4096 − 128)·64·64 less.
  CHECK(forward(options) - windowed == 4.0 * 4096 * (4096 - 128) * 64 * 64);
  options.causal = true;
  const double causal = forward(options);
  options.window = 128;
  options.full_attention_every = 2;
  // Half a square of 4096 against a band of 128 without its corner of 128²/2.
  CHECK(causal - forward(options) == 4.0 * 64 * 64 * (4096.0 * 4096 / 2 - (4096.0 * 128 - 128.0 * 128 / 2)));
}

TEST_CASE("latent attention multiplies query and key over 192, values over 128") {
  TransformerOptions options = deepseek_v3();
  options.layers = 1;
  options.experts.reset();
  const double fused = forward(options);
  // 2·4096 FLOPs for each weight of a matrix, 2·4096²·128·(192 + 128) for the core.
  const double matrices = 187107328.0 - 1536 - 512 + 3.0 * 7168 * 18432 + 129280.0 * 7168;
  CHECK(fused == 2 * 4096 * matrices + 2.0 * 4096 * 4096 * 128 * (192 + 128));
  options.fused_attention = false;
  CHECK(forward(options) == fused);
}

TEST_CASE("graphs of every kind of transformer are read back as they were written") {
  TransformerOptions latent = deepseek_v3();
  latent.layers = 4;
  TransformerOptions windowed = gpt_oss();
  windowed.layers = 2;
  TransformerOptions parallel = llama3(1, 64, 8, 128);
  parallel.block = BlockForm::parallel_one_norm;
  parallel.norm = NormKind::layer_norm_without_bias;
  for (const TransformerOptions& options : {latent, windowed, parallel}) {
    const Graph graph = build_transformer(options);
    CHECK(parse_graph(write_graph(graph), "g.json") == graph);
  }
}

TEST_CASE("options of a transformer that contradict each other are refused by name") {
  TransformerOptions options = deepseek_v3();
  options.kv_heads = 8;
  CHECK_THROWS_WITH(build_transformer(options),
                    "--kv-heads: latent attention has a key and a value for each head; drop --kv-heads");
  options = gpt_oss();
  options.window = 0;
  CHECK_THROWS_WITH(build_transformer(options),
                    "--full-attention-every: without a window every layer has full attention; give --window");
  options = gpt_oss();
  options.fused_attention = false;
  CHECK_THROWS_WITH(build_transformer(options),
                    "--window: needs fused attention: unfused scores are computed whole; drop --unfused-attention");
  options = mixtral(1, 64, 8, 128);
  options.experts->top_k = 9;
  CHECK_THROWS_WITH(build_transformer(options), "--top-k: 9 is above --experts 8; change one of them");
}

namespace {

// One MLA layer with dense MLP, one with experts, on eight devices.
PlanningInput small_latent_experts() {
  PlanningInput input = small_gpt_on_v100s();
  TransformerOptions options;
  options.layers = 2;
  options.hidden = 512;
  options.heads = 8;
  options.seq_len = 256;
  options.vocab = 8192;
  options.ffn_hidden = 1024;
  options.latent_attention = LatentAttention{.query_rank = 256, .key_value_rank = 128};
  options.experts = Experts{.count = 8, .top_k = 2, .ffn_hidden = 256, .shared = 1, .first_dense_layers = 1};
  input.graph = build_transformer(options);
  return input;
}

// What one device does of an op.
double share_of_work(const Plan& plan, const std::string& name) {
  double share = 1;
  for (const Stage& stage : plan.stages)
    for (const OpSharding& sharding : stage.ops)
      if (sharding.op == name)
        for (std::size_t axis = 0; axis < sharding.axes.size(); ++axis)
          if (!sharding.axes[axis].empty()) share /= static_cast<double>(stage.mesh[axis].size);
  return share;
}

}  // namespace

TEST_CASE("every uniform layout divides the products of latent attention and experts by all devices", "[baseline]") {
  const PlanningInput input = small_latent_experts();
  std::vector<UniformLayout> layouts{{8, 1, 1}, {1, 1, 8}, {2, 1, 4}, {1, 1, 8}, {1, 1, 2}};
  layouts[2].sequence_parallel = true;
  layouts[3].expert_parallel = 8;
  layouts[4].context_parallel = 4, layouts[4].expert_parallel = 2;
  for (UniformLayout& layout : layouts) {
    layout.micro_batch_per_replica = 1;
    const Plan plan = baseline_plan(input, layout, 32);
    for (const std::string op : {"h0.attn.q.up", "h0.attn.core", "h0.attn.out", "h0.mlp.up", "h1.moe.gate",
                                 "h1.moe.down", "h1.moe.shared.up"}) {
      INFO(op << " at tp " << layout.tensor_parallel << ", ep " << layout.expert_parallel);
      CHECK(share_of_work(plan, op) == 1.0 / 8);
    }
  }
}

TEST_CASE("expert parallelism of dropless experts is an all-to-all of the tokens' copies each way", "[baseline]") {
  UniformLayout layout{1, 1, 8};
  layout.expert_parallel = 8;
  layout.micro_batch_per_replica = 1;
  PlanningInput input = small_latent_experts();
  // Where all of a collective's time is waited for, whichever it is.
  input.recipe.exposed_activations = input.recipe.exposed_all_to_all = 1;
  const Plan plan = baseline_plan(input, layout, 32);
  std::vector<std::string> moved;
  for (const Conversion& conversion : plan.stages[0].conversions)
    if (conversion.rate == Rate::per_microbatch)
      for (const CollectiveStep& step : conversion.forward) {
        CHECK(step.collective == Collective::all_to_all);
        moved.push_back(conversion.tensor);
        // 8 samples of 256 tokens, 2 experts each, 512 numbers of 2 bytes; the routing weights are one number each.
        CHECK(step.whole == Bytes(8.0 * 256 * 2 * 2 * (conversion.tensor == "h1.moe.top_k" ? 1 : 512)));
      }
  std::sort(moved.begin(), moved.end());
  CHECK(moved == std::vector<std::string>{"h1.moe.dispatch", "h1.moe.down", "h1.moe.top_k"});
}
