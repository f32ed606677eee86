#include "graphs/builders.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "graphs/gradients.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

GptOptions gpt3() { return {.name = "gpt3", .layers = 96, .hidden = 12288, .heads = 96, .seq_len = 2048}; }

LlamaOptions llama2_70b() {
  return {.name = "llama2-70b",
          .layers = 80,
          .hidden = 8192,
          .heads = 64,
          .kv_heads = 8,
          .seq_len = 4096,
          .vocab = 32000,
          .ffn_hidden = 28672};
}

std::map<OpKind, int> kinds_in_layer(const Graph& graph, const std::string& layer) {
  std::map<OpKind, int> result;
  for (const Op& op : graph.ops)
    if (op.layer == layer) ++result[op.kind];
  return result;
}

std::string refusal_of(const GptOptions& options) {
  try {
    build_gpt(options);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("GPT-3 has the published number of parameters") {
  // A layer: query, key, value, output 4·(h² + h); MLP 4h² + 4h + 4h² + h; two norms 4h: 12h² + 13h.
  // 96·(12·12288² + 13·12288) = 173,961,510,912; tables (50257 + 2048)·12288 = 642,723,840; last norm 24,576.
  const double parameters = summarize(build_gpt(gpt3())).parameters;
  CHECK(parameters == 174604259328.0);
  CHECK(parameters == Approx(174.6e9).epsilon(0.001));  // [Brown et al. 2020, table D.1]
}

TEST_CASE("GPT parameters and FLOPs follow the published formulas") {
  GptOptions options = gpt3();
  options.pad_vocab_to = 1024;  // 50257 -> 51200
  const Graph graph = build_gpt(options);
  CHECK(graph.padded_vocabulary == 943);
  const GraphSummary summary = summarize(graph);
  const double l = 96, h = 12288, s = 2048, v = 51200;
  // [Narayanan et al. 2021, equation 2]
  CHECK(summary.parameters == Approx(12 * l * h * h * (1 + 13 / (12 * h) + (v + s) / (12 * l * h))).epsilon(0.001));
  // [ibid., equation 3, without recomputation: 72 for their 96, where V/(16lh) becomes V/(12lh)]. Each factor counts:
  // 6 FLOPs for each of 12h² weights and each of s positions; attention 3·4·s²·h a layer; logits 6·s·h·V.
  const double expected = 72 * s * l * h * h * (1 + s / (6 * h) + v / (12 * l * h));
  CHECK(summary.training_flops_per_sample.value() == Approx(expected).epsilon(1e-12));
  CHECK(summary.forward_flops_per_sample.value() == Approx(expected / 3).epsilon(1e-12));
}

TEST_CASE("unfused attention has the FLOPs and parameters of the fused") {
  GptOptions options{.layers = 3};
  const GraphSummary fused = summarize(build_gpt(options));
  options.fused_attention = false;
  const GraphSummary unfused = summarize(build_gpt(options));
  CHECK(unfused.parameters == fused.parameters);
  CHECK(unfused.training_flops_per_sample.value() == Approx(fused.training_flops_per_sample.value()).epsilon(1e-12));
  CHECK(unfused.ops == fused.ops + 3 * 4);  // scores, scale, softmax, dropout, values for one core
}

TEST_CASE("causal attention has half the FLOPs of full attention, the rest is unchanged") {
  GptOptions options{.layers = 2};
  const double full = summarize(build_gpt(options)).forward_flops_per_sample.value();
  options.causal = true;
  // 4·s²·h a layer, halved: 2·(4·1024²·768)/2
  CHECK(full - summarize(build_gpt(options)).forward_flops_per_sample.value() == 4.0 * 1024 * 1024 * 768);
}

TEST_CASE("Llama-2 70B has the published number of parameters") {
  // A layer: query and output 2·8192², key and value 2·8192·1024, MLP 3·8192·28672, norms 2·8192: 855,654,400.
  // 80 of them, two tables of 32000·8192 and the last norm.
  CHECK(summarize(build_llama(llama2_70b())).parameters == 68976648192.0);
}

TEST_CASE("Llama-2 70B training FLOPs follow from its matrices") {
  // 6 FLOPs for each position and each weight of a matrix (the token table is looked up, norms are no matrices), and
  // 12·s²·(64·128) for attention in each layer: query-key and probabilities-value, forward and two gradients each.
  const double s = 4096;
  const double matrices = 80 * (855654400.0 - 2 * 8192) + 32000.0 * 8192;
  const double expected = 6 * s * matrices + 80 * 12 * s * s * 8192;
  CHECK(summarize(build_llama(llama2_70b())).training_flops_per_sample.value() == Approx(expected).epsilon(1e-12));
}

TEST_CASE("Llama-2 7B, without grouping, has the published number of parameters") {
  // 32·(4·4096² + 3·4096·11008 + 2·4096) + 2·32000·4096 + 4096
  CHECK(summarize(build_llama({})).parameters == 6738415616.0);
}

TEST_CASE("layers are embed, h0 to the last, head") {
  const std::vector<GraphLayer> layers = tagged_layers(build_gpt({.layers = 3}));
  std::vector<std::string> names;
  for (const GraphLayer& layer : layers) names.push_back(layer.name);
  CHECK(names == std::vector<std::string>{"embed", "h0", "h1", "h2", "head"});
  // Equal layers have equally many ops: 2 norms, 6 products, 6 biases, core, gelu, 2 dropouts, 2 residuals.
  for (std::size_t i = 1; i <= 3; ++i) CHECK(layers[i].ops.size() == 20);
}

TEST_CASE("a Llama layer has grouped projections, rotations and a gated MLP") {
  const std::map<OpKind, int> kinds = kinds_in_layer(build_llama({.layers = 1, .kv_heads = 4}), "h0");
  CHECK(kinds == std::map<OpKind, int>{{OpKind::einsum, 7},
                                       {OpKind::add, 2},
                                       {OpKind::multiply, 1},
                                       {OpKind::silu, 1},
                                       {OpKind::rms_norm, 2},
                                       {OpKind::rotary, 2},
                                       {OpKind::attention, 1}});
}

TEST_CASE("tied logits read the embedding's table") {
  const Graph tied = build_gpt({.layers = 1});
  const Graph untied = build_gpt({.layers = 1, .tied_embeddings = false});
  CHECK(summarize(untied).parameters - summarize(tied).parameters == 50257.0 * 768);
  // The table is read by the lookup and by the logits.
  const GraphRelations related = relations(tied);
  for (std::size_t i = 0; i < tied.tensors.size(); ++i)
    if (tied.tensors[i].id == "embed.tokens.weight") CHECK(related.consumers[i].size() == 2);
}

TEST_CASE("query, key and value read one tensor, the norm's result") {
  const Graph graph = build_gpt({.layers = 1});
  std::map<std::string, TensorId> reads;
  for (const Op& op : graph.ops) reads[op.id] = op.inputs[0];
  CHECK(graph.tensor(reads.at("h0.attn.q")).id == "h0.ln1");
  CHECK(reads.at("h0.attn.k") == reads.at("h0.attn.q"));
  CHECK(reads.at("h0.attn.v") == reads.at("h0.attn.q"));
}

TEST_CASE("the sequence can be sharded in every op but the keys of attention") {
  for (const Graph& graph : {build_gpt({.layers = 1}), build_llama({.layers = 1, .kv_heads = 8})}) {
    for (const Op& op : graph.ops) {
      for (const RuleFactor& factor : op.rule.factors) {
        INFO(op.id << ": " << print_rule(op.rule));
        if (factor.name == "s") CHECK(factor.mark == FactorMark::none);
        if (factor.name == "t") CHECK(factor.mark == FactorMark::whole);
      }
    }
  }
}

TEST_CASE("every op that a parameter reaches has a gradient, the tokens and labels have none") {
  const Graph graph = build_gpt({.layers = 2});
  const TrainingGraph training = differentiate(graph);
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    INFO(graph.ops[i].id);
    CHECK_FALSE(training.gradients[i].kernels.empty());
  }
  for (std::size_t i = 0; i < graph.tensors.size(); ++i)
    if (graph.tensors[i].role == TensorRole::input) CHECK_FALSE(training.relations.needs_gradient[i]);
}

TEST_CASE("options that do not fit are refused by the option's name") {
  CHECK(refusal_of({.hidden = 100, .heads = 12}) == "--heads: 12 must divide --hidden 100; change one of them");
  CHECK(refusal_of({.layers = 0}) == "--layers: must be at least 1, is 0");
  CHECK(refusal_of({.pad_vocab_to = 0}) == "--pad-vocab-to: must be at least 1, is 0");
  CHECK_THROWS_WITH(build_llama({.heads = 32, .kv_heads = 12}),
                    "--kv-heads: 12 must divide --heads 32; change one of them");
}

TEST_CASE("causal attention needs the fused kernel") {
  CHECK_THROWS_WITH(build_gpt({.fused_attention = false, .causal = true}),
                    "--causal: needs fused attention: unfused scores are computed whole; drop --unfused-attention");
}
