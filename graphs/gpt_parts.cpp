#include "graphs/gpt_parts.hpp"

#include <fmt/format.h>

#include "graphs/input_error.hpp"

namespace meshloom {

void GptParts::declare_dims() {
  require_at_least("layers", options_.layers, 1);
  require_at_least("hidden", options_.hidden, 1);
  require_at_least("heads", options_.heads, 1);
  require_at_least("seq-len", options_.seq_len, 1);
  require_at_least("ffn-hidden", options_.ffn_hidden, 0);
  if (options_.causal && !options_.fused_attention)
    throw InputError("--causal", "needs fused attention: unfused scores are computed whole; drop --unfused-attention");
  require_divides("heads", options_.heads, "hidden", options_.hidden);
  model_.dim("s", options_.seq_len);
  model_.dim("h", options_.hidden);
  model_.dim("n", options_.heads);
  model_.dim("d", options_.hidden / options_.heads);
  model_.dim("f", options_.ffn_hidden == 0 ? 4 * options_.hidden : options_.ffn_hidden);
  model_.vocabulary(options_.vocab, options_.pad_vocab_to);
}

std::string GptParts::embedding() {
  model_.layer("embed");
  const std::string tokens = model_.input("tokens", {"b", "s"}, DType::int32);
  table_ = model_.parameter("tokens.weight", {"v", "h"});
  const std::string positions = model_.parameter("positions.weight", {"s", "h"});
  const std::string rows = model_.op("tokens", OpKind::gather, {table_, tokens}, "v h, b s -> b s h");
  return dropout("dropout", model_.op("positions", OpKind::add, {rows, positions}, "b s h, s h -> b s h"), "b s h");
}

std::string GptParts::norm(const std::string& name, const std::string& x) {
  const std::string scale = model_.parameter(name + ".weight", {"h"});
  const std::string bias = model_.parameter(name + ".bias", {"h"});
  return model_.op(name, OpKind::layer_norm, {x, scale, bias}, "b s h~, h, h -> b s h");
}

std::string GptParts::biased(const std::string& name, const std::string& x, const std::vector<std::string>& shape,
                             const std::string& rule) {
  return model_.op(name + ".add_bias", OpKind::add, {x, model_.parameter(name + ".bias", shape)}, rule);
}

std::string GptParts::head_projection(const std::string& name, const std::string& x) {
  const std::string weight = model_.parameter(name + ".weight", {"h", "n", "d"});
  const std::string heads = model_.op(name, OpKind::einsum, {x, weight}, "b s h, h n d -> b s n d");
  return biased(name, heads, {"n", "d"}, "b s n d, n d -> b s n d");
}

std::string GptParts::attention(const std::string& x) {
  const std::string query = head_projection("attn.q", x);
  const std::string key = head_projection("attn.k", x);
  const std::string value = head_projection("attn.v", x);
  const std::string mixed = options_.fused_attention ? fused_core(query, key, value) : unfused_core(query, key, value);
  const std::string weight = model_.parameter("attn.out.weight", {"n", "d", "h"});
  const std::string projected = model_.op("attn.out", OpKind::einsum, {mixed, weight}, "b s n d, n d h -> b s h");
  return biased("attn.out", projected, {"h"}, "b s h, h -> b s h");
}

std::string GptParts::fused_core(const std::string& query, const std::string& key, const std::string& value) {
  const std::string result =
      model_.op("attn.core", OpKind::attention, {query, key, value}, "b s n d!, b t! n d, b t n d -> b s n d");
  model_.last_op().causal = options_.causal;
  return result;
}

std::string GptParts::unfused_core(const std::string& query, const std::string& key, const std::string& value) {
  const std::string products = model_.op("attn.scores", OpKind::einsum, {query, key}, "b s n d, b t n d -> b n s t");
  const std::string scores = model_.op("attn.scale", OpKind::scale, {products}, "b n s t -> b n s t");
  const std::string shares = model_.op("attn.softmax", OpKind::softmax, {scores}, "b n s t~ -> b n s t");
  return model_.op("attn.values", OpKind::einsum, {dropout("attn.softmax.dropout", shares, "b n s t"), value},
                   "b n s t, b t n d -> b s n d");
}

std::string GptParts::mlp(const std::string& x) {
  const std::string up = model_.parameter("mlp.up.weight", {"h", "f"});
  const std::string wide =
      biased("mlp.up", model_.op("mlp.up", OpKind::einsum, {x, up}, "b s h, h f -> b s f"), {"f"}, "b s f, f -> b s f");
  const std::string active = model_.op("mlp.gelu", OpKind::gelu, {wide}, "b s f -> b s f");
  const std::string down = model_.parameter("mlp.down.weight", {"f", "h"});
  return biased("mlp.down", model_.op("mlp.down", OpKind::einsum, {active, down}, "b s f, f h -> b s h"), {"h"},
                "b s h, h -> b s h");
}

std::string GptParts::dropout(const std::string& name, const std::string& x, const std::string& dims) {
  return options_.dropout ? model_.op(name, OpKind::dropout, {x}, dims + " -> " + dims) : x;
}

std::string GptParts::residual(const std::string& branch, const std::string& branch_result, const std::string& x) {
  const std::string kept = dropout(branch + ".dropout", branch_result, "b s h");
  return model_.op(branch + ".residual", OpKind::add, {kept, x}, "b s h, b s h -> b s h");
}

void GptParts::head(const std::string& x) {
  model_.layer("head");
  const std::string last = norm("ln", x);
  const std::string weight = options_.tied_embeddings ? table_ : model_.parameter("logits.weight", {"v", "h"});
  model_.loss(model_.op("logits", OpKind::einsum, {last, weight}, "b s h, v h -> b s v"));
}

}  // namespace meshloom
