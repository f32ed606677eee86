// The parts of a transformer, from which the builders put their models together.
#pragma once

#include <string>

#include "graphs/attention_parts.hpp"
#include "graphs/model_draft.hpp"
#include "graphs/transformer.hpp"

namespace meshloom {

// Adds ops to a draft. Factors as in AttentionParts, f MLP, v vocabulary. Each function takes and returns ids of
// tensors; names of ops begin with the draft's layer.
class TransformerParts {
 public:
  // Both must outlive the parts.
  TransformerParts(const TransformerOptions& options, ModelDraft& model)
      : options_(options), model_(model), attention_(options, model) {}

  // Checks the options but the experts', and declares the dims.
  void declare_dims();
  std::string embedding();
  // The norm before attention (1) or the MLP (2).
  std::string norm(int position, const std::string& x);
  std::string attention(const std::string& x, std::int64_t layer);
  std::string mlp(const std::string& x);
  // Behind the branch ("attn", "mlp"): the sum with x.
  std::string residual(const std::string& branch, const std::string& branch_result, const std::string& x);
  // As a branch enters a sum: normed and with dropout where the options say so.
  std::string finished(const std::string& branch, const std::string& branch_result);
  // The last norm, the logits and the loss.
  void head(const std::string& x);

 private:
  std::string norm_name() const { return options_.norm == NormKind::rms_norm ? "norm" : "ln"; }
  std::string wide(const std::string& name, const std::string& x);
  std::string dropout(const std::string& name, const std::string& x);

  const TransformerOptions& options_;
  ModelDraft& model_;
  AttentionParts attention_;
  std::string table_;
};

}  // namespace meshloom
