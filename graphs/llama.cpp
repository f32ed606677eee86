#include <fmt/format.h>

#include "graphs/builders.hpp"
#include "graphs/input_error.hpp"
#include "graphs/model_draft.hpp"

namespace meshloom {
namespace {

// Factors as in GPT; the query heads are n = (k g): k key-value heads, each shared by a group of g query heads, so that
// head h reads key-value head h / g and one axis shards k in queries, keys and values alike.
class LlamaBuilder {
 public:
  explicit LlamaBuilder(const LlamaOptions& options) : options_(options), model_(options.name, options.dtype) {}

  Graph build() {
    declare_dims();
    std::string x = embedding();
    for (std::int64_t layer = 0; layer < options_.layers; ++layer) {
      model_.layer(fmt::format("h{}", layer));
      x = residual("attn", attention(norm("norm1", x)), x);
      x = residual("mlp", mlp(norm("norm2", x)), x);
    }
    head(x);
    return model_.build();
  }

 private:
  void declare_dims() {
    require_at_least("layers", options_.layers, 1);
    require_at_least("hidden", options_.hidden, 1);
    require_at_least("heads", options_.heads, 1);
    require_at_least("kv-heads", options_.kv_heads, 1);
    require_at_least("seq-len", options_.seq_len, 1);
    require_at_least("ffn-hidden", options_.ffn_hidden, 1);
    require_at_least("head-dim", options_.head_dim, 0);
    if (options_.causal && !options_.fused_attention)
      throw InputError("--causal", "needs fused attention: unfused scores are computed whole; drop --unfused-attention");
    require_divides("kv-heads", options_.kv_heads, "heads", options_.heads);
    if (options_.head_dim == 0) require_divides("heads", options_.heads, "hidden", options_.hidden);
    model_.dim("s", options_.seq_len);
    model_.dim("h", options_.hidden);
    model_.dim("k", options_.kv_heads);
    model_.dim("g", options_.heads / options_.kv_heads);
    model_.dim("d", options_.head_dim == 0 ? options_.hidden / options_.heads : options_.head_dim);
    model_.dim("f", options_.ffn_hidden);
    model_.vocabulary(options_.vocab, options_.pad_vocab_to);
  }

  std::string embedding() {
    model_.layer("embed");
    const std::string tokens = model_.input("tokens", {"b", "s"}, DType::int32);
    table_ = model_.parameter("tokens.weight", {"v", "h"});
    return model_.op("tokens", OpKind::gather, {table_, tokens}, "v h, b s -> b s h");
  }

  std::string norm(const std::string& name, const std::string& x) {
    return model_.op(name, OpKind::rms_norm, {x, model_.parameter(name + ".weight", {"h"})}, "b s h~, h -> b s h");
  }

  std::string head_projection(const std::string& name, const std::string& x, const std::string& heads) {
    const std::string weight = model_.parameter(name + ".weight", {"h", heads, "d"});
    return model_.op(name, OpKind::einsum, {x, weight}, "b s h, h n d -> b s n d");
  }

  // Rotates pairs of the head dimension by angles that depend on the position.
  std::string rotated(const std::string& name, const std::string& x) {
    return model_.op(name, OpKind::rotary, {x}, "b s n d! -> b s n d");
  }

  std::string attention(const std::string& x) {
    const std::string query = rotated("attn.q.rotary", head_projection("attn.q", x, "k*g"));
    const std::string key = rotated("attn.k.rotary", head_projection("attn.k", x, "k"));
    const std::string value = head_projection("attn.v", x, "k");
    const std::string mixed =
        options_.fused_attention ? fused_core(query, key, value) : unfused_core(query, key, value);
    const std::string weight = model_.parameter("attn.out.weight", {"k*g", "d", "h"});
    return model_.op("attn.out", OpKind::einsum, {mixed, weight}, "b s n d, n d h -> b s h");
  }

  // With a query head for each key-value head the product (k g) would only hide that there is one head factor.
  bool grouped() const { return options_.heads != options_.kv_heads; }

  std::string fused_core(const std::string& query, const std::string& key, const std::string& value) {
    const std::string result = model_.op(
        "attn.core", OpKind::attention, {query, key, value},
        grouped() ? "b s (k g) d!, b t! k d, b t k d -> b s (k g) d" : "b s n d!, b t! n d, b t n d -> b s n d");
    model_.last_op().causal = options_.causal;
    return result;
  }

  std::string unfused_core(const std::string& query, const std::string& key, const std::string& value) {
    const std::string heads = grouped() ? "k g" : "n";
    const std::string query_heads = grouped() ? "(k g)" : "n";
    const std::string key_heads = grouped() ? "k" : "n";
    const std::string scores_dims = fmt::format("b {} s t", heads);
    const std::string products =
        model_.op("attn.scores", OpKind::einsum, {query, key},
                  fmt::format("b s {} d, b t {} d -> {}", query_heads, key_heads, scores_dims));
    const std::string scores =
        model_.op("attn.scale", OpKind::scale, {products}, fmt::format("{} -> {}", scores_dims, scores_dims));
    const std::string shares =
        model_.op("attn.softmax", OpKind::softmax, {scores}, fmt::format("{}~ -> {}", scores_dims, scores_dims));
    return model_.op("attn.values", OpKind::einsum, {shares, value},
                     fmt::format("{}, b t {} d -> b s {} d", scores_dims, key_heads, query_heads));
  }

  std::string mlp(const std::string& x) {
    const std::string gate_weight = model_.parameter("mlp.gate.weight", {"h", "f"});
    const std::string gate = model_.op("mlp.gate", OpKind::einsum, {x, gate_weight}, "b s h, h f -> b s f");
    const std::string up_weight = model_.parameter("mlp.up.weight", {"h", "f"});
    const std::string up = model_.op("mlp.up", OpKind::einsum, {x, up_weight}, "b s h, h f -> b s f");
    const std::string open = model_.op("mlp.silu", OpKind::silu, {gate}, "b s f -> b s f");
    const std::string gated = model_.op("mlp.gated", OpKind::multiply, {open, up}, "b s f, b s f -> b s f");
    const std::string down_weight = model_.parameter("mlp.down.weight", {"f", "h"});
    return model_.op("mlp.down", OpKind::einsum, {gated, down_weight}, "b s f, f h -> b s h");
  }

  std::string residual(const std::string& branch, const std::string& branch_result, const std::string& x) {
    return model_.op(branch + ".residual", OpKind::add, {branch_result, x}, "b s h, b s h -> b s h");
  }

  void head(const std::string& x) {
    model_.layer("head");
    const std::string last = norm("norm", x);
    const std::string weight = options_.tied_embeddings ? table_ : model_.parameter("logits.weight", {"v", "h"});
    model_.loss(model_.op("logits", OpKind::einsum, {last, weight}, "b s h, v h -> b s v"));
  }

  const LlamaOptions& options_;
  ModelDraft model_;
  std::string table_;
};

}  // namespace

Graph build_llama(const LlamaOptions& options) { return LlamaBuilder(options).build(); }

}  // namespace meshloom
