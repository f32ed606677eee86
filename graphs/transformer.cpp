#include "graphs/transformer.hpp"

#include <fmt/format.h>

#include "graphs/expert_parts.hpp"
#include "graphs/transformer_parts.hpp"

namespace meshloom {
namespace {

bool has_experts(const TransformerOptions& options, std::int64_t layer) {
  if (!options.experts || layer < options.experts->first_dense_layers) return false;
  return layer % options.experts->every == options.experts->every - 1;
}

class TransformerBuilder {
 public:
  explicit TransformerBuilder(const TransformerOptions& options)
      : options_(options), model_(options.name, options.dtype), parts_(options, model_) {
    if (options.experts) experts_.emplace(options, model_);
  }

  Graph build() {
    if (experts_) experts_->check();
    parts_.declare_dims();
    if (experts_) experts_->declare_dims();
    std::string x = parts_.embedding();
    for (std::int64_t layer = 0; layer < options_.layers; ++layer) {
      model_.layer(fmt::format("h{}", layer));
      x = options_.block == BlockForm::sequential ? sequential(x, layer) : parallel(x, layer);
    }
    parts_.head(x);
    return model_.build();
  }

 private:
  std::string mlp(const std::string& x, std::int64_t layer) {
    return has_experts(options_, layer) ? experts_->experts(x) : parts_.mlp(x);
  }

  std::string sequential(const std::string& x, std::int64_t layer) {
    const std::string mixed = parts_.residual("attn", parts_.attention(parts_.norm(1, x), layer), x);
    return parts_.residual("mlp", mlp(parts_.norm(2, mixed), layer), mixed);
  }

  std::string parallel(const std::string& x, std::int64_t layer) {
    const std::string first = parts_.norm(1, x);
    const std::string second = options_.block == BlockForm::parallel ? parts_.norm(2, x) : first;
    const std::string mixed = parts_.finished("attn", parts_.attention(first, layer));
    const std::string made = parts_.finished("mlp", mlp(second, layer));
    return model_.op("residual", OpKind::add, {mixed, made, x}, "b s h, b s h, b s h -> b s h");
  }

  const TransformerOptions& options_;
  ModelDraft model_;
  TransformerParts parts_;
  std::optional<ExpertParts> experts_;
};

}  // namespace

Graph build_transformer(const TransformerOptions& options) { return TransformerBuilder(options).build(); }

double active_parameters(const TransformerOptions& options) {
  double idle = 0;
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    if (!has_experts(options, layer)) continue;
    const Experts& experts = *options.experts;
    const std::int64_t otherwise = options.ffn_hidden > 0 ? options.ffn_hidden : 4 * options.hidden;
    const double wide = static_cast<double>(experts.ffn_hidden > 0 ? experts.ffn_hidden : otherwise);
    const double matrices = options.gated_mlp ? 3 : 2;
    const double hidden = static_cast<double>(options.hidden);
    const double biases = experts.biases ? (matrices - 1) * wide + hidden : 0;
    idle += static_cast<double>(experts.count - experts.top_k) * (matrices * wide * hidden + biases);
  }
  return summarize(build_transformer(options)).parameters - idle;
}

}  // namespace meshloom
