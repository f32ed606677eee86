// A transformer of any common make: dense or with experts, attention with query groups or latent (MLA), full or in a
// window. Layers carry the tags "embed", "h0"…, "head". `build_gpt` and `build_llama` are choices of these options.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "graphs/graph.hpp"

namespace meshloom {

enum class NormKind { layer_norm, layer_norm_without_bias, rms_norm };
enum class Activation { gelu, silu, relu };
enum class PositionKind { none, learned, rotary };  // none: also ALiBi, which a fused kernel adds at no price
enum class AttentionBiases { none, query_key_value, all };
enum class BlockForm {
  sequential,         // the MLP reads attention's result
  parallel,           // both read the layer's input, each with a norm of its own (GPT-NeoX)
  parallel_one_norm,  // both read one norm (Falcon-7B, GPT-J, Phi-2)
};

// Multi-head latent attention [DeepSeek-V2, §2.1]. The defaults are those of DeepSeek-V3: query and key-value are
// compressed, normed and expanded to the heads; each head's query and key have a part without positions and a rotated
// part, and the key's rotated part is shared by all heads.
struct LatentAttention {
  std::int64_t query_rank = 1536;  // 0: the query is projected at once (DeepSeek-V2-Lite)
  std::int64_t key_value_rank = 512;
  std::int64_t nope_head_dim = 128, rope_head_dim = 64, value_head_dim = 128;
  bool operator==(const LatentAttention&) const = default;
};

// Experts in place of MLPs. Dropless: groups are balanced and each token reaches its top_k experts; tokens are moved to
// experts and back by gathers, which cost bytes. A token group is a part of a sample, so that context parallelism keeps
// its tokens; with experts sharded, the way there and back is an all-to-all of top_k·tokens·hidden each.
struct Experts {
  std::int64_t count = 8;
  std::int64_t top_k = 2;
  std::int64_t ffn_hidden = 0;          // of an expert; 0: the model's
  std::int64_t shared = 0;              // experts of every token, as one MLP of shared·ffn_hidden
  std::int64_t first_dense_layers = 0;  // these have the model's MLP
  std::int64_t every = 1;      // layers every−1, 2·every−1, … have experts, as far as they are not dense
  double capacity_factor = 1;  // room of an expert in even shares; dropless: 1
  bool biases = false;         // of router and experts
  bool operator==(const Experts&) const = default;
};

struct TransformerOptions {
  std::string name = "transformer";
  std::int64_t layers = 32, hidden = 4096, heads = 32, seq_len = 4096, vocab = 32000;
  std::int64_t kv_heads = 0;    // 0: as heads; 1: multi-query
  std::int64_t head_dim = 0;    // 0: hidden / heads
  std::int64_t ffn_hidden = 0;  // 0: 4·hidden
  std::int64_t pad_vocab_to = 1;
  bool gated_mlp = true;
  Activation activation = Activation::silu;
  NormKind norm = NormKind::rms_norm;
  bool query_key_norms = false;  // over each head (Qwen3)
  bool post_norms = false;       // also behind attention and MLP (Gemma 2, Grok-1)
  BlockForm block = BlockForm::sequential;
  AttentionBiases attention_biases = AttentionBiases::none;
  bool mlp_biases = false;
  PositionKind positions = PositionKind::rotary;
  bool tied_embeddings = false;
  bool dropout = false;
  bool fused_attention = true;
  bool causal = false;
  std::int64_t window = 0;                // keys that a query reads; 0: all
  std::int64_t full_attention_every = 0;  // layers n−1, 2n−1, … have no window; 0: none such (GPT-OSS, Gemma 2: 2)
  std::optional<LatentAttention> latent_attention;
  std::optional<Experts> experts;
  DType dtype = DType::bf16;
  bool operator==(const TransformerOptions&) const = default;
};

Graph build_transformer(const TransformerOptions& options);

// Parameters that one token meets: all but the experts it is not sent to.
double active_parameters(const TransformerOptions& options);

}  // namespace meshloom
