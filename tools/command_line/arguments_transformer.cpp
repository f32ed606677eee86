#include "graphs/input_error.hpp"
#include "tools/command_line/arguments_models.hpp"

namespace meshloom {
namespace {

// Writes the value of the chosen name.
template <typename Value>
void add_named(CLI::App& app, const std::string& option, const std::vector<std::pair<std::string, Value>>& named,
               const std::string& help, Value& target) {
  std::vector<std::string> names;
  for (const auto& [name, value] : named) names.push_back(name);
  add_choice(app, option, names, help, [named, &target](const std::string& text) {
    for (const auto& [name, value] : named)
      if (name == text) target = value;
  });
}

void add_layers(CLI::App& app, TransformerOptions& options) {
  add_integer(app, "--ffn-hidden", options.ffn_hidden, most_size,
              "Hidden size of the MLP; 4 times --hidden unless told");
  app.add_flag("--gated-mlp,!--plain-mlp", options.gated_mlp, "A gated MLP (the default), or two matrices");
  add_named<Activation>(app, "--activation",
                        {{"gelu", Activation::gelu}, {"silu", Activation::silu}, {"relu", Activation::relu}},
                        "Of the MLP; silu unless told", options.activation);
  add_named<NormKind>(app, "--norm",
                      {{"rms", NormKind::rms_norm},
                       {"layer", NormKind::layer_norm},
                       {"layer-without-bias", NormKind::layer_norm_without_bias}},
                      "Kind of norm; rms unless told", options.norm);
  app.add_flag("--post-norms", options.post_norms, "Norms behind attention and MLP, too");
  add_named<BlockForm>(app, "--block",
                       {{"sequential", BlockForm::sequential},
                        {"parallel", BlockForm::parallel},
                        {"parallel-one-norm", BlockForm::parallel_one_norm}},
                       "Whether attention and MLP follow each other or read the same; sequential unless told",
                       options.block);
  app.add_flag("--mlp-biases", options.mlp_biases, "Biases in the MLP");
  add_named<PositionKind>(
      app, "--positions",
      {{"rotary", PositionKind::rotary}, {"learned", PositionKind::learned}, {"none", PositionKind::none}},
      "How tokens know their place; rotary unless told", options.positions);
  app.add_flag("--dropout,!--no-dropout", options.dropout, "Dropout after attention and MLP (not by default)");
}

void add_attention(CLI::App& app, Parsed& parsed) {
  TransformerOptions& options = parsed.transformer;
  LatentAttention& latent = parsed.latent_attention;
  add_integer(app, "--kv-heads", options.kv_heads, most_heads, "Key and value heads; as --heads unless told");
  add_integer(app, "--head-dim", options.head_dim, most_heads, "Size of a head; --hidden / --heads unless told");
  add_named<AttentionBiases>(
      app, "--attention-biases",
      {{"none", AttentionBiases::none}, {"qkv", AttentionBiases::query_key_value}, {"all", AttentionBiases::all}},
      "Biases of attention's projections; none unless told", options.attention_biases);
  app.add_flag("--query-key-norms", options.query_key_norms, "Norms over each head of query and key");
  add_integer(app, "--window", options.window, most_tokens, "Keys that a query reads; all unless told");
  add_integer(app, "--full-attention-every", options.full_attention_every, most_layers,
              "Every Nth layer has no window; none unless told");
  app.add_flag("--latent-attention", parsed.has_latent_attention, "Multi-head latent attention, as DeepSeek-V3");
  add_integer(app, "--query-rank", latent.query_rank, most_size,
              fmt::format("Of the compressed query; {} unless told, 0: not compressed", latent.query_rank));
  add_integer(app, "--key-value-rank", latent.key_value_rank, most_size,
              fmt::format("Of the compressed keys and values; {} unless told", latent.key_value_rank));
  add_integer(app, "--nope-head-dim", latent.nope_head_dim, most_heads,
              fmt::format("A head's part without positions; {} unless told", latent.nope_head_dim));
  add_integer(app, "--rope-head-dim", latent.rope_head_dim, most_heads,
              fmt::format("A head's rotated part; {} unless told", latent.rope_head_dim));
  add_integer(app, "--value-head-dim", latent.value_head_dim, most_heads,
              fmt::format("Size of a head's value; {} unless told", latent.value_head_dim));
}

void add_experts(CLI::App& app, Experts& experts) {
  add_integer(app, "--experts", experts.count, most_heads, "Experts of a layer; none unless told");
  add_integer(app, "--top-k", experts.top_k, most_heads,
              fmt::format("Experts of a token; {} unless told", experts.top_k));
  add_integer(app, "--moe-ffn-hidden", experts.ffn_hidden, most_size,
              "Hidden size of an expert; --ffn-hidden unless told");
  add_integer(app, "--shared-experts", experts.shared, most_heads, "Experts of every token; none unless told");
  add_integer(app, "--first-dense-layers", experts.first_dense_layers, most_layers,
              "The first N layers have no experts; 0 unless told");
  add_integer(app, "--moe-every", experts.every, most_layers, "Every Nth layer has experts; 1 unless told");
  add_text(app, "--capacity-factor", "FACTOR",
           "Room of an expert, in even shares of the tokens; 1 (dropless) unless told",
           [&experts](const std::string& text) { experts.capacity_factor = parse_factor("--capacity-factor", text); });
  app.add_flag("--expert-biases", experts.biases, "Biases of router and experts");
}

TransformerOptions put_together(const Parsed& parsed) {
  TransformerOptions options = parsed.transformer;
  if (parsed.has_latent_attention)
    options.latent_attention = parsed.latent_attention;
  else if (parsed.latent_attention != LatentAttention{})
    throw InputError("--latent-attention", "is missing, but its sizes are given; add it or drop them");
  if (parsed.experts.count > 0)
    options.experts = parsed.experts;
  else if (parsed.experts != Experts{.count = 0})
    throw InputError("--experts", "is missing, but options of experts are given; say how many or drop them");
  return options;
}

}  // namespace

void add_transformer(CLI::App& group, Parsed& parsed) {
  CLI::App& app =
      add_command(group, "transformer", "Any transformer: dense or experts, grouped or latent attention",
                  "meshloom graph transformer --layers 48 --hidden 2048 --heads 32 --kv-heads 4 --head-dim 128 "
                  "--experts 128 --top-k 8 --moe-ffn-hidden 768 -o qwen3.json",
                  parsed, [&parsed] {
                    parsed.graph.model = put_together(parsed);
                    return parsed.graph;
                  });
  add_model(app, parsed.transformer);
  add_layers(app, parsed.transformer);
  add_attention(app, parsed);
  add_experts(app, parsed.experts);
  add_graph_outputs(app, parsed.graph);
}

void add_hf(CLI::App& group, Parsed& parsed) {
  HfModel& model = parsed.hf;
  CLI::App& app = add_command(group, "hf", "The model of a Hugging Face config.json",
                              "meshloom graph hf config.json --seq-len 8192 -o model.json", parsed, [&parsed] {
                                parsed.graph.model = parsed.hf;
                                return parsed.graph;
                              });
  app.add_option("CONFIG", model.config, "config.json of the model; - for standard input")->required();
  add_text(app, "--name", "TEXT", "Name of the graph; the model_type unless told",
           [&model](const std::string& text) { model.name = text; });
  add_text(app, "--seq-len", "N", "Tokens per sample; 4096 or the most that the model takes unless told",
           [&model](const std::string& text) { model.seq_len = parse_integer("--seq-len", text, most_tokens); });
  add_integer(app, "--pad-vocab-to", model.pad_vocab_to, most_tokens, "Round the vocabulary up to a multiple of N");
  app.add_flag("--fused-attention,!--unfused-attention", model.fused_attention,
               "Attention as one kernel (the default), or as its single operators");
  app.add_flag("--causal", model.causal, "Fused attention computes only the lower triangle");
  app.add_flag("--dropout,!--no-dropout", model.dropout, "Dropout after attention and MLP (not by default)");
  add_dtype(app, model.dtype);
  add_graph_outputs(app, parsed.graph);
}

}  // namespace meshloom
