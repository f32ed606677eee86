// Builders of well-known models. Each returns a checked Graph whose ops carry layer tags "embed", "h0"…, "head".
#pragma once

#include <cstdint>
#include <string>

#include "graphs/graph.hpp"
#include "graphs/transformer.hpp"

namespace meshloom {

struct GptOptions {
  std::string name = "gpt";
  std::int64_t layers = 12, hidden = 768, heads = 12, seq_len = 1024, vocab = 50257;
  std::int64_t ffn_hidden = 0;    // 0: 4·hidden
  std::int64_t pad_vocab_to = 1;  // the vocabulary is rounded up to a multiple
  bool tied_embeddings = true;
  bool fused_attention = true;  // else: scores, softmax, dropout, values as ops of their own
  bool causal = false;          // fused attention: count and run only the lower triangle
  bool dropout = true;
  DType dtype = DType::bf16;
};
TransformerOptions as_transformer(const GptOptions& options);
Graph build_gpt(const GptOptions& options);

struct LlamaOptions {
  std::string name = "llama";
  std::int64_t layers = 32, hidden = 4096, heads = 32, kv_heads = 32, seq_len = 4096, vocab = 32000;
  std::int64_t ffn_hidden = 11008;
  std::int64_t head_dim = 0;  // 0: hidden / heads
  std::int64_t pad_vocab_to = 1;
  bool tied_embeddings = false;
  bool fused_attention = true;
  bool causal = false;
  DType dtype = DType::bf16;
};
TransformerOptions as_transformer(const LlamaOptions& options);
Graph build_llama(const LlamaOptions& options);

// A mixture of experts as GShard's [Lepikhin et al. 2021] and Alpa's: a GPT in which every second MLP is replaced by
// experts. The token group is the sample; an expert takes capacity = ⌈top_k·seq_len·capacity_factor/experts⌉ tokens of
// each group, and dispatch and combine are einsums with a mask. Experts have no biases. (`Experts` in transformer.hpp:
// gathers instead of einsums, gated, shared experts.)
struct MoeOptions {
  GptOptions gpt = {.name = "moe", .layers = 8, .vocab = 32000};  // ffn_hidden 0: 8·hidden, as in Alpa
  std::int64_t experts = 8;
  std::int64_t top_k = 2;  // experts of a token
  double capacity_factor = 1;
  std::int64_t moe_every = 2;  // layers moe_every−1, 2·moe_every−1, … are MoE; 1: all
};
Graph build_moe(const MoeOptions& options);

// Wide-ResNet as in Alpa: bottleneck blocks of ResNet-50, 101 or 152 whose 3×3 convolution is `width` times as wide;
// strides in the first block of a group, at the 3×3. Layers "stem", "b0", …, "head".
struct WresnetOptions {
  std::string name = "wresnet";
  std::int64_t depth = 50;  // 50, 101 or 152
  std::int64_t base_channels = 160, width = 2;
  std::int64_t image_size = 224;  // a multiple of 32
  std::int64_t classes = 1024;
  DType dtype = DType::fp32;
};
Graph build_wresnet(const WresnetOptions& options);

}  // namespace meshloom
