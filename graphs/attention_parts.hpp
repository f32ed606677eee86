// Attention of a transformer: with query groups, or latent.
#pragma once

#include <string>

#include "graphs/model_draft.hpp"
#include "graphs/transformer.hpp"

namespace meshloom {

// Factors: b sample, s position (query), t position (key), h hidden, d head dimension, n head; with kv_heads given the
// query heads are n = (k g): k key-value heads, each shared by a group of g query heads, so that head h reads key-value
// head h / g and one axis shards k in queries, keys and values alike.
class AttentionParts {
 public:
  // Both must outlive the parts.
  AttentionParts(const TransformerOptions& options, ModelDraft& model) : options_(options), model_(model) {}

  void check() const;
  void declare_dims();
  // From [b, s, h] to [b, s, h]. `window`: keys that a query reads; 0: all.
  std::string attention(const std::string& x, std::int64_t window);

 private:
  struct Operands {
    std::string query, key, value;
  };
  bool grouped() const { return options_.kv_heads != 0 && options_.kv_heads != options_.heads; }
  std::string projection(const std::string& name, const std::string& x, const std::string& heads);
  std::string positioned(const std::string& name, const std::string& x, const std::string& dims);
  Operands operands(const std::string& x);
  Operands latent_operands(const std::string& x, const LatentAttention& latent);
  std::string fused_core(const Operands& operands, std::int64_t window);
  std::string unfused_core(const Operands& operands);

  const TransformerOptions& options_;
  ModelDraft& model_;
};

}  // namespace meshloom
