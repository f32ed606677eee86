#include <fmt/format.h>

#include <cmath>

#include "graphs/builders.hpp"
#include "graphs/input_error.hpp"
#include "graphs/transformer_parts.hpp"

namespace meshloom {
namespace {

TransformerOptions with_width(const GptOptions& options) {
  TransformerOptions result = as_transformer(options);
  if (result.ffn_hidden == 0) result.ffn_hidden = 8 * result.hidden;
  return result;
}

// Factors besides GPT's: e expert, c token in an expert's share of a group. The group is the sample, factor b.
class MoeBuilder {
 public:
  explicit MoeBuilder(const MoeOptions& options)
      : options_(options), gpt_(with_width(options.gpt)), model_(gpt_.name, gpt_.dtype), parts_(gpt_, model_) {}

  Graph build() {
    declare_dims();
    std::string x = parts_.embedding();
    for (std::int64_t layer = 0; layer < gpt_.layers; ++layer) {
      model_.layer(fmt::format("h{}", layer));
      x = parts_.residual("attn", parts_.attention(parts_.norm(1, x), layer), x);
      const bool is_moe = layer % options_.moe_every == options_.moe_every - 1;
      const std::string normed = parts_.norm(2, x);
      x = parts_.residual("mlp", is_moe ? experts(normed) : parts_.mlp(normed), x);
    }
    parts_.head(x);
    return model_.build();
  }

 private:
  void declare_dims() {
    require_at_least("experts", options_.experts, 1);
    require_at_least("top-k", options_.top_k, 1);
    require_at_least("moe-every", options_.moe_every, 1);
    require_at_most("top-k", options_.top_k, "experts", options_.experts);
    if (!(options_.capacity_factor > 0) || !std::isfinite(options_.capacity_factor))
      throw InputError("--capacity-factor", fmt::format("must be above 0, is {}", options_.capacity_factor));
    parts_.declare_dims();
    model_.dim("e", options_.experts);
    const double share = static_cast<double>(options_.top_k * gpt_.seq_len) / static_cast<double>(options_.experts);
    model_.dim("c", static_cast<std::int64_t>(std::ceil(share * options_.capacity_factor)));
  }

  std::string experts(const std::string& x) {
    const std::string router = model_.parameter("moe.router.weight", {"h", "e"});
    const std::string logits = model_.op("moe.router", OpKind::einsum, {x, router}, "b s h, h e -> b s e");
    const std::string shares = model_.op("moe.softmax", OpKind::softmax, {logits}, "b s e~ -> b s e");
    // Which tokens go to which place of which expert, and how much of the result comes back.
    const std::string mask = model_.intermediate("moe.mask", {"b", "s", "e", "c"}, DType::boolean);
    const std::string weights = model_.op("moe.top_k", OpKind::custom, {shares}, "b s! e! -> b s e c!, b s e c");
    model_.last_op().outputs.push_back(mask);
    model_.last_op().bytes_per_element = 3;  // writes a 16-bit weight and a byte of the mask
    const std::string sent = model_.op("moe.dispatch", OpKind::einsum, {x, mask}, "b s h, b s e c -> b e c h");
    const std::string up = model_.parameter("moe.up.weight", {"e", "h", "f"});
    const std::string wide = model_.op("moe.up", OpKind::einsum, {sent, up}, "b e c h, e h f -> b e c f");
    const std::string active = model_.op("moe.gelu", OpKind::gelu, {wide}, "b e c f -> b e c f");
    const std::string down = model_.parameter("moe.down.weight", {"e", "f", "h"});
    const std::string made = model_.op("moe.down", OpKind::einsum, {active, down}, "b e c f, e f h -> b e c h");
    return model_.op("moe.combine", OpKind::einsum, {made, weights}, "b e c h, b s e c -> b s h");
  }

  const MoeOptions& options_;
  TransformerOptions gpt_;
  ModelDraft model_;
  TransformerParts parts_;
};

}  // namespace

Graph build_moe(const MoeOptions& options) { return MoeBuilder(options).build(); }

}  // namespace meshloom
