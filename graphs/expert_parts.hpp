// Dropless experts of a transformer: tokens are gathered for experts and their results gathered back.
#pragma once

#include <string>

#include "graphs/model_draft.hpp"
#include "graphs/transformer.hpp"

namespace meshloom {

// Factors: p token group and u token in it (s = p·u), e expert, c token in an expert's share of a group, a expert of a
// token (of top_k), m an expert's hidden dimension, w that of the shared experts.
class ExpertParts {
 public:
  // All must outlive the parts; options.experts is set.
  ExpertParts(const TransformerOptions& options, ModelDraft& model)
      : options_(options), experts_(*options.experts), model_(model) {}

  void check() const;
  void declare_dims();
  // From [b, s, h] to [b, s, h].
  std::string experts(const std::string& x);

 private:
  struct Routes {
    std::string weights;  // [b, p, e, c]: how much of an expert's result comes back
    std::string places;   // [b, p, e, c]: which token of the group an expert reads
    std::string homes;    // [b, s, a]: where a token's results lie in its group
  };
  Routes routes(const std::string& x);
  std::string routed(const std::string& x);
  std::string shared(const std::string& x);
  std::string wide(const std::string& name, const std::string& x);
  std::string expert_bias(const std::string& name, const std::string& x, const std::string& dim);
  std::int64_t ffn_hidden() const;

  const TransformerOptions& options_;
  const Experts& experts_;
  ModelDraft& model_;
};

}  // namespace meshloom
