#include "graphs/transformer_parts.hpp"

#include <fmt/format.h>

#include "graphs/layer_parts.hpp"

namespace meshloom {

void TransformerParts::declare_dims() {
  require_at_least("layers", options_.layers, 1);
  require_at_least("hidden", options_.hidden, 1);
  require_at_least("seq-len", options_.seq_len, 1);
  require_at_least("ffn-hidden", options_.ffn_hidden, 0);
  attention_.check();
  model_.dim("s", options_.seq_len);
  model_.dim("h", options_.hidden);
  attention_.declare_dims();
  model_.dim("f", options_.ffn_hidden == 0 ? 4 * options_.hidden : options_.ffn_hidden);
  model_.vocabulary(options_.vocab, options_.pad_vocab_to);
}

std::string TransformerParts::embedding() {
  model_.layer("embed");
  const std::string tokens = model_.input("tokens", {"b", "s"}, DType::int32);
  table_ = model_.parameter("tokens.weight", {"v", "h"});
  if (options_.positions != PositionKind::learned)
    return dropout("dropout", model_.op("tokens", OpKind::gather, {table_, tokens}, "v h, b s -> b s h"));
  const std::string positions = model_.parameter("positions.weight", {"s", "h"});
  const std::string rows = model_.op("tokens", OpKind::gather, {table_, tokens}, "v h, b s -> b s h");
  return dropout("dropout", model_.op("positions", OpKind::add, {rows, positions}, "b s h, s h -> b s h"));
}

std::string TransformerParts::norm(int position, const std::string& x) {
  return add_norm(model_, options_.norm, fmt::format("{}{}", norm_name(), position), x, "b s h~");
}

std::string TransformerParts::attention(const std::string& x, std::int64_t layer) {
  const std::int64_t every = options_.full_attention_every;
  const bool full = every > 0 && layer % every == every - 1;
  return attention_.attention(x, full ? 0 : options_.window);
}

std::string TransformerParts::wide(const std::string& name, const std::string& x) {
  const std::string result = add_product(model_, name, x, {"h", "f"}, "b s h, h f -> b s f");
  return options_.mlp_biases ? add_bias(model_, name, result, {"f"}, "b s f, f -> b s f") : result;
}

std::string TransformerParts::mlp(const std::string& x) {
  std::string active;
  if (options_.gated_mlp) {
    const std::string gate = wide("mlp.gate", x);
    const std::string up = wide("mlp.up", x);
    const std::string open = add_activation(model_, options_.activation, "mlp", gate, "b s f");
    active = model_.op("mlp.gated", OpKind::multiply, {open, up}, "b s f, b s f -> b s f");
  } else {
    active = add_activation(model_, options_.activation, "mlp", wide("mlp.up", x), "b s f");
  }
  const std::string result = add_product(model_, "mlp.down", active, {"f", "h"}, "b s f, f h -> b s h");
  return options_.mlp_biases ? add_bias(model_, "mlp.down", result, {"h"}, "b s h, h -> b s h") : result;
}

std::string TransformerParts::dropout(const std::string& name, const std::string& x) {
  return options_.dropout ? model_.op(name, OpKind::dropout, {x}, "b s h -> b s h") : x;
}

std::string TransformerParts::finished(const std::string& branch, const std::string& branch_result) {
  const std::string normed = options_.post_norms
                                 ? add_norm(model_, options_.norm, branch + ".post_norm", branch_result, "b s h~")
                                 : branch_result;
  return dropout(branch + ".dropout", normed);
}

std::string TransformerParts::residual(const std::string& branch, const std::string& branch_result,
                                       const std::string& x) {
  return model_.op(branch + ".residual", OpKind::add, {finished(branch, branch_result), x}, "b s h, b s h -> b s h");
}

void TransformerParts::head(const std::string& x) {
  model_.layer("head");
  const std::string last = add_norm(model_, options_.norm, norm_name(), x, "b s h~");
  const std::string weight = options_.tied_embeddings ? table_ : model_.parameter("logits.weight", {"v", "h"});
  model_.loss(model_.op("logits", OpKind::einsum, {last, weight}, "b s h, v h -> b s v"));
}

}  // namespace meshloom
