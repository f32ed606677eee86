#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "graphs/hf_config.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::int64_t most_size = std::int64_t{1} << 31;
constexpr std::int64_t usual_seq_len = 4096;

std::int64_t size_at(const JsonInput& config, const std::string& key) { return config.at(key).integer(1, most_size); }

std::int64_t size_or(const JsonInput& config, const std::string& key, std::int64_t otherwise) {
  const std::optional<JsonInput> value = config.find(key);
  return value ? value->integer(0, most_size) : otherwise;
}

bool flag_or(const JsonInput& config, const std::string& key, bool otherwise) {
  const std::optional<JsonInput> value = config.find(key);
  return value ? value->boolean() : otherwise;
}

Activation activation_of(const JsonInput& value) {
  const std::string text = value.string();
  if (text.find("gelu") != std::string::npos) return Activation::gelu;
  if (text == "silu" || text == "swish") return Activation::silu;
  if (text == "relu" || text == "relu2") return Activation::relu;
  value.fail(fmt::format("unknown activation \"{}\"; known are gelu, silu, relu and their kin", text));
}

void set_seq_len(TransformerOptions& options, const JsonInput& config, const std::string& key) {
  options.seq_len = std::min(usual_seq_len, size_or(config, key, usual_seq_len));
}

// Sizes under the names that most models use.
void read_sizes(TransformerOptions& options, const JsonInput& config) {
  options.layers = size_at(config, "num_hidden_layers");
  options.hidden = size_at(config, "hidden_size");
  options.heads = size_at(config, "num_attention_heads");
  options.vocab = size_at(config, "vocab_size");
  options.ffn_hidden = size_at(config, "intermediate_size");
  set_seq_len(options, config, "max_position_embeddings");
  if (const auto activation = config.find("hidden_act")) options.activation = activation_of(*activation);
  options.tied_embeddings = flag_or(config, "tie_word_embeddings", false);
}

void read_heads(TransformerOptions& options, const JsonInput& config) {
  options.kv_heads = size_or(config, "num_key_value_heads", options.heads);
  if (options.kv_heads < 1 || options.heads % options.kv_heads != 0)
    config.at("num_key_value_heads")
        .fail(fmt::format("{} does not divide num_attention_heads, {}", options.kv_heads, options.heads));
  options.head_dim = size_or(config, "head_dim", 0);
  if (options.head_dim == 0 && options.hidden % options.heads != 0)
    config.at("num_attention_heads")
        .fail(fmt::format("{} does not divide hidden_size, {}; give head_dim", options.heads, options.hidden));
}

// Which layers have a window: layer_types where it stands, else every layer but each `full_every`-th.
void read_window(TransformerOptions& options, const JsonInput& config, std::int64_t full_every) {
  options.window = size_or(config, "sliding_window", 0);
  if (options.window == 0 || !flag_or(config, "use_sliding_window", true)) {
    options.window = 0;
    return;
  }
  options.full_attention_every = full_every;
  const std::optional<JsonInput> types = config.find("layer_types");
  if (!types) return;
  const std::vector<std::string> names = types->strings();
  if (static_cast<std::int64_t>(names.size()) != options.layers)
    types->fail(fmt::format("has {} entries for num_hidden_layers, {}", names.size(), options.layers));
  const auto first = std::find(names.begin(), names.end(), "full_attention");
  const std::int64_t every = first == names.end() ? 0 : first - names.begin() + 1;
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    const bool full = every > 0 && layer % every == every - 1;
    const std::string expected = full ? "full_attention" : "sliding_attention";
    if (names[static_cast<std::size_t>(layer)] != expected)
      types->elements()[static_cast<std::size_t>(layer)].fail(
          fmt::format("is not {}, but full attention must come every so many layers", expected));
  }
  options.full_attention_every = every;
  if (every == 1) options.window = options.full_attention_every = 0;
}

void read_experts(TransformerOptions& options, const JsonInput& config, const std::string& count_key) {
  Experts experts;
  experts.count = size_at(config, count_key);
  experts.top_k = size_at(config, "num_experts_per_tok");
  if (experts.top_k > experts.count)
    config.at("num_experts_per_tok").fail(fmt::format("{} is above {}, {}", experts.top_k, count_key, experts.count));
  experts.ffn_hidden = size_or(config, "moe_intermediate_size", options.ffn_hidden);
  options.experts = experts;
}

TransformerOptions llama(const JsonInput& config) {
  TransformerOptions options;
  read_sizes(options, config);
  read_heads(options, config);
  if (flag_or(config, "attention_bias", false)) options.attention_biases = AttentionBiases::all;
  options.mlp_biases = flag_or(config, "mlp_bias", false);
  return options;
}

TransformerOptions mistral(const JsonInput& config) {
  TransformerOptions options = llama(config);
  read_window(options, config, 0);
  return options;
}

TransformerOptions mixtral(const JsonInput& config) {
  TransformerOptions options = mistral(config);
  read_experts(options, config, "num_local_experts");
  return options;
}

TransformerOptions qwen2(const JsonInput& config) {
  TransformerOptions options = llama(config);
  options.attention_biases = AttentionBiases::query_key_value;
  if (flag_or(config, "use_sliding_window", false))
    config.at("use_sliding_window").fail("windows in the upper layers alone are not built; set it to false");
  return options;
}

TransformerOptions qwen3(const JsonInput& config) {
  TransformerOptions options = llama(config);
  options.query_key_norms = true;
  if (flag_or(config, "use_sliding_window", false))
    config.at("use_sliding_window").fail("windows in the upper layers alone are not built; set it to false");
  return options;
}

TransformerOptions qwen3_moe(const JsonInput& config) {
  TransformerOptions options = qwen3(config);
  config.at("moe_intermediate_size");
  read_experts(options, config, "num_experts");
  options.experts->every = std::max<std::int64_t>(1, size_or(config, "decoder_sparse_step", 1));
  if (const auto dense = config.find("mlp_only_layers"))
    for (const JsonInput& layer : dense->elements())
      if (layer.integer(0, options.layers - 1) != options.experts->first_dense_layers++)
        layer.fail("layers without experts must be the first ones");
  return options;
}

TransformerOptions deepseek(const JsonInput& config) {
  TransformerOptions options;
  read_sizes(options, config);
  LatentAttention latent;
  latent.query_rank = size_or(config, "q_lora_rank", 0);
  latent.key_value_rank = size_at(config, "kv_lora_rank");
  latent.nope_head_dim = size_at(config, "qk_nope_head_dim");
  latent.rope_head_dim = size_at(config, "qk_rope_head_dim");
  latent.value_head_dim = size_at(config, "v_head_dim");
  options.latent_attention = latent;
  if (flag_or(config, "attention_bias", false))
    config.at("attention_bias").fail("latent attention with biases is not built; set it to false");
  if (!config.find("n_routed_experts")) return options;
  config.at("moe_intermediate_size");
  read_experts(options, config, "n_routed_experts");
  options.experts->shared = size_or(config, "n_shared_experts", 0);
  options.experts->first_dense_layers = size_or(config, "first_k_dense_replace", 0);
  if (size_or(config, "moe_layer_freq", 1) != 1)
    config.at("moe_layer_freq").fail("only experts in every layer behind the dense ones are built; set it to 1");
  return options;
}

TransformerOptions gpt_oss(const JsonInput& config) {
  TransformerOptions options = llama(config);
  read_window(options, config, 2);
  read_experts(options, config, "num_local_experts");
  options.attention_biases = flag_or(config, "attention_bias", true) ? AttentionBiases::all : AttentionBiases::none;
  options.experts->biases = true;
  return options;
}

TransformerOptions gemma2(const JsonInput& config) {
  TransformerOptions options = llama(config);
  read_window(options, config, 2);
  if (const auto activation = config.find("hidden_activation")) options.activation = activation_of(*activation);
  options.post_norms = true;
  options.tied_embeddings = flag_or(config, "tie_word_embeddings", true);
  return options;
}

void set_gpt_style(TransformerOptions& options) {
  options.gated_mlp = false;
  options.activation = Activation::gelu;
  options.norm = NormKind::layer_norm;
  options.attention_biases = AttentionBiases::all;
  options.mlp_biases = true;
}

TransformerOptions gpt2(const JsonInput& config) {
  TransformerOptions options;
  set_gpt_style(options);
  options.layers = size_at(config, "n_layer");
  options.hidden = size_at(config, "n_embd");
  options.heads = size_at(config, "n_head");
  if (options.hidden % options.heads != 0)
    config.at("n_head").fail(fmt::format("{} does not divide n_embd, {}", options.heads, options.hidden));
  options.vocab = size_at(config, "vocab_size");
  options.seq_len = size_at(config, "n_positions");
  options.ffn_hidden = size_or(config, "n_inner", 0);
  options.positions = PositionKind::learned;
  options.tied_embeddings = flag_or(config, "tie_word_embeddings", true);
  return options;
}

TransformerOptions gpt_neox(const JsonInput& config) {
  TransformerOptions options;
  set_gpt_style(options);
  read_sizes(options, config);
  read_heads(options, config);
  if (!flag_or(config, "attention_bias", true)) options.attention_biases = AttentionBiases::none;
  if (flag_or(config, "use_parallel_residual", true)) options.block = BlockForm::parallel;
  return options;
}

TransformerOptions falcon(const JsonInput& config) {
  TransformerOptions options;
  set_gpt_style(options);
  options.layers = size_at(config, "num_hidden_layers");
  options.hidden = size_at(config, "hidden_size");
  options.heads = size_at(config, "num_attention_heads");
  options.vocab = size_at(config, "vocab_size");
  options.ffn_hidden = size_or(config, "ffn_hidden_size", 0);
  set_seq_len(options, config, "max_position_embeddings");
  const bool newer = flag_or(config, "new_decoder_architecture", false);
  const std::int64_t otherwise = flag_or(config, "multi_query", true) ? 1 : options.heads;
  options.kv_heads = newer ? size_at(config, "num_kv_heads") : otherwise;
  if (options.heads % options.kv_heads != 0)
    config.at("num_kv_heads")
        .fail(fmt::format("{} does not divide num_attention_heads, {}", options.kv_heads, options.heads));
  if (flag_or(config, "alibi", false)) options.positions = PositionKind::none;
  options.mlp_biases = flag_or(config, "bias", false);
  options.attention_biases = options.mlp_biases ? AttentionBiases::all : AttentionBiases::none;
  const bool one_norm = !newer || size_or(config, "num_ln_in_parallel_attn", 2) == 1;
  if (newer || flag_or(config, "parallel_attn", true))
    options.block = one_norm ? BlockForm::parallel_one_norm : BlockForm::parallel;
  options.tied_embeddings = flag_or(config, "tie_word_embeddings", true);
  return options;
}

TransformerOptions mpt(const JsonInput& config) {
  TransformerOptions options;
  set_gpt_style(options);
  options.layers = size_at(config, "n_layers");
  options.hidden = size_at(config, "d_model");
  options.heads = size_at(config, "n_heads");
  options.vocab = size_at(config, "vocab_size");
  options.ffn_hidden = size_or(config, "expansion_ratio", 4) * options.hidden;
  options.positions = PositionKind::learned;
  if (const auto attention = config.find("attn_config")) {
    if (flag_or(*attention, "alibi", false)) options.positions = PositionKind::none;
    options.kv_heads = size_or(*attention, "kv_n_heads", 0);
  }
  options.seq_len = size_at(config, "max_seq_len");
  if (options.positions == PositionKind::none) options.seq_len = std::min(usual_seq_len, options.seq_len);
  if (flag_or(config, "no_bias", true)) {
    options.norm = NormKind::layer_norm_without_bias;
    options.attention_biases = AttentionBiases::none;
    options.mlp_biases = false;
  }
  options.tied_embeddings = true;
  return options;
}

struct Architecture {
  std::string_view model_type;
  TransformerOptions (*read)(const JsonInput& config);
};
constexpr std::array architectures{
    Architecture{"llama", llama},
    Architecture{"mistral", mistral},
    Architecture{"mixtral", mixtral},
    Architecture{"qwen2", qwen2},
    Architecture{"qwen3", qwen3},
    Architecture{"qwen3_moe", qwen3_moe},
    Architecture{"phi3", mistral},
    Architecture{"gemma2", gemma2},
    Architecture{"gpt_oss", gpt_oss},
    Architecture{"deepseek_v2", deepseek},
    Architecture{"deepseek_v3", deepseek},
    Architecture{"kimi_k2", deepseek},
    Architecture{"gpt2", gpt2},
    Architecture{"gpt_neox", gpt_neox},
    Architecture{"falcon", falcon},
    Architecture{"mpt", mpt},
};

TransformerOptions read_root(const JsonInput& config) {
  const JsonInput type = config.at("model_type");
  std::vector<std::string> names;
  for (const Architecture& architecture : architectures) names.emplace_back(architecture.model_type);
  TransformerOptions options = architectures[type.one_of(names)].read(config);
  options.name = type.string();
  return options;
}

}  // namespace

TransformerOptions read_hf_config(const std::string& path) { return read_root(read_json_file(path)); }

TransformerOptions parse_hf_config(const std::string& text, const std::string& file) {
  return read_root(parse_json(text, file));
}

}  // namespace meshloom
