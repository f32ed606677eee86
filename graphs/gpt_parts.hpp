// The parts of a GPT, which other builders share: a mixture of experts replaces some of its MLPs.
#pragma once

#include <string>
#include <vector>

#include "graphs/builders.hpp"
#include "graphs/model_draft.hpp"

namespace meshloom {

// Adds ops to a draft. Factors: b sample, s position (query), t position (key), h hidden, n head, d head dimension, f
// MLP, v vocabulary. Each function takes and returns ids of tensors; names of ops begin with the draft's layer.
class GptParts {
 public:
  // Both must outlive the parts.
  GptParts(const GptOptions& options, ModelDraft& model) : options_(options), model_(model) {}

  // Checks the options and declares the dims.
  void declare_dims();
  std::string embedding();
  std::string norm(const std::string& name, const std::string& x);
  std::string attention(const std::string& x);
  std::string mlp(const std::string& x);
  std::string residual(const std::string& branch, const std::string& branch_result, const std::string& x);
  // The last norm, the logits and the loss.
  void head(const std::string& x);

 private:
  std::string biased(const std::string& name, const std::string& x, const std::vector<std::string>& shape,
                     const std::string& rule);
  std::string head_projection(const std::string& name, const std::string& x);
  std::string fused_core(const std::string& query, const std::string& key, const std::string& value);
  std::string unfused_core(const std::string& query, const std::string& key, const std::string& value);
  std::string dropout(const std::string& name, const std::string& x, const std::string& dims);

  const GptOptions& options_;
  ModelDraft& model_;
  std::string table_;
};

}  // namespace meshloom
