// Builders of well-known models. Each returns a checked Graph whose ops carry layer tags "embed", "h0"…, "head".
#pragma once

#include <cstdint>
#include <string>

#include "graphs/graph.hpp"

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
Graph build_llama(const LlamaOptions& options);

}  // namespace meshloom
