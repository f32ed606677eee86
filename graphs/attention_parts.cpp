#include "graphs/attention_parts.hpp"

#include <fmt/format.h>

#include "graphs/input_error.hpp"
#include "graphs/layer_parts.hpp"

namespace meshloom {
namespace {

void check_latent(const LatentAttention& latent) {
  require_at_least("query-rank", latent.query_rank, 0);
  require_at_least("key-value-rank", latent.key_value_rank, 1);
  require_at_least("nope-head-dim", latent.nope_head_dim, 1);
  require_at_least("rope-head-dim", latent.rope_head_dim, 1);
  require_at_least("value-head-dim", latent.value_head_dim, 1);
}

}  // namespace

void AttentionParts::check() const {
  require_at_least("heads", options_.heads, 1);
  require_at_least("kv-heads", options_.kv_heads, 0);
  require_at_least("head-dim", options_.head_dim, 0);
  require_at_least("window", options_.window, 0);
  require_at_least("full-attention-every", options_.full_attention_every, 0);
  if (options_.causal && !options_.fused_attention)
    throw InputError("--causal", "needs fused attention: unfused scores are computed whole; drop --unfused-attention");
  if (options_.window > 0 && !options_.fused_attention)
    throw InputError("--window", "needs fused attention: unfused scores are computed whole; drop --unfused-attention");
  if (options_.full_attention_every > 0 && options_.window == 0)
    throw InputError("--full-attention-every", "without a window every layer has full attention; give --window");
  if (options_.latent_attention) {
    if (options_.kv_heads != 0 && options_.kv_heads != options_.heads)
      throw InputError("--kv-heads", "latent attention has a key and a value for each head; drop --kv-heads");
    if (options_.query_key_norms)
      throw InputError("--query-key-norms", "latent attention norms the compressed query and key; drop the option");
    return check_latent(*options_.latent_attention);
  }
  if (options_.kv_heads != 0) require_divides("kv-heads", options_.kv_heads, "heads", options_.heads);
  if (options_.head_dim == 0) require_divides("heads", options_.heads, "hidden", options_.hidden);
}

void AttentionParts::declare_dims() {
  if (const auto& latent = options_.latent_attention) {
    model_.dim("n", options_.heads);
    if (latent->query_rank > 0) model_.dim("query_rank", latent->query_rank);
    model_.dim("kv_rank", latent->key_value_rank);
    model_.dim("nope", latent->nope_head_dim);
    model_.dim("rope", latent->rope_head_dim);
    model_.dim("d", latent->nope_head_dim + latent->rope_head_dim);
    model_.dim("value", latent->value_head_dim);
    return;
  }
  if (options_.kv_heads == 0) {
    model_.dim("n", options_.heads);
  } else {
    model_.dim("k", options_.kv_heads);
    model_.dim("g", options_.heads / options_.kv_heads);
  }
  model_.dim("d", options_.head_dim == 0 ? options_.hidden / options_.heads : options_.head_dim);
}

std::string AttentionParts::projection(const std::string& name, const std::string& x, const std::string& heads) {
  const std::string result = add_product(model_, name, x, {"h", heads, "d"}, "b s h, h n d -> b s n d");
  if (options_.attention_biases == AttentionBiases::none) return result;
  return add_bias(model_, name, result, {heads, "d"}, "b s n d, n d -> b s n d");
}

// Rotates pairs of the head dimension by angles that depend on the position.
std::string AttentionParts::positioned(const std::string& name, const std::string& x, const std::string& dims) {
  if (options_.positions != PositionKind::rotary) return x;
  return model_.op(name + ".rotary", OpKind::rotary, {x}, fmt::format("{}! -> {}", dims, dims));
}

AttentionParts::Operands AttentionParts::operands(const std::string& x) {
  const std::string query_heads = options_.kv_heads == 0 ? "n" : "k*g";
  const std::string key_heads = options_.kv_heads == 0 ? "n" : "k";
  const auto normed = [&](const std::string& name, const std::string& heads) {
    const std::string projected = projection(name, x, heads);
    return options_.query_key_norms ? add_norm(model_, options_.norm, name + ".norm", projected, "b s n d!")
                                    : projected;
  };
  Operands result;
  result.query = positioned("attn.q", normed("attn.q", query_heads), "b s n d");
  result.key = positioned("attn.k", normed("attn.k", key_heads), "b s n d");
  result.value = projection("attn.v", x, key_heads);
  return result;
}

AttentionParts::Operands AttentionParts::latent_operands(const std::string& x, const LatentAttention& latent) {
  Operands result;
  std::string query;
  if (latent.query_rank > 0) {
    const std::string down =
        add_product(model_, "attn.q.down", x, {"h", "query_rank"}, "b s h, h query_rank -> b s query_rank");
    const std::string normed = add_norm(model_, options_.norm, "attn.q.norm", down, "b s query_rank~");
    query =
        add_product(model_, "attn.q.up", normed, {"query_rank", "n", "d"}, "b s query_rank, query_rank n d -> b s n d");
  } else {
    query = add_product(model_, "attn.q", x, {"h", "n", "d"}, "b s h, h n d -> b s n d");
  }
  result.query = positioned("attn.q", query, "b s n d");
  const std::string down = add_product(model_, "attn.kv.down", x, {"h", "kv_rank"}, "b s h, h kv_rank -> b s kv_rank");
  const std::string normed = add_norm(model_, options_.norm, "attn.kv.norm", down, "b s kv_rank~");
  const std::string rope = add_product(model_, "attn.k.rope", x, {"h", "rope"}, "b s h, h rope -> b s rope");
  const std::string rotated = positioned("attn.k.rope", rope, "b s rope");
  const std::string nope =
      add_product(model_, "attn.k.up", normed, {"kv_rank", "n", "nope"}, "b s kv_rank, kv_rank n nope -> b s n nope");
  result.key = model_.op("attn.k", OpKind::concat, {nope, rotated}, "b s n nope!, b s rope! -> b s n d!");
  result.value = add_product(model_, "attn.v.up", normed, {"kv_rank", "n", "value"},
                             "b s kv_rank, kv_rank n value -> b s n value");
  return result;
}

std::string AttentionParts::fused_core(const Operands& operands, std::int64_t window) {
  const std::string rule = options_.latent_attention ? "b s n d!, b t! n d, b t n value! -> b s n value"
                           : grouped()               ? "b s (k g) d!, b t! k d, b t k d -> b s (k g) d"
                                                     : "b s n d!, b t! n d, b t n d -> b s n d";
  const std::string result =
      model_.op("attn.core", OpKind::attention, {operands.query, operands.key, operands.value}, rule);
  model_.last_op().causal = options_.causal;
  if (window > 0 && window < options_.seq_len) model_.last_op().window = window;
  return result;
}

std::string AttentionParts::unfused_core(const Operands& operands) {
  // With a query head for each key-value head the product (k g) would only hide that there is one head factor.
  const std::string heads = grouped() ? "k g" : "n";
  const std::string query_heads = grouped() ? "(k g)" : "n";
  const std::string key_heads = grouped() ? "k" : "n";
  const std::string value_dim = options_.latent_attention ? "value" : "d";
  const std::string dims = fmt::format("b {} s t", heads);
  const std::string products = model_.op("attn.scores", OpKind::einsum, {operands.query, operands.key},
                                         fmt::format("b s {} d, b t {} d -> {}", query_heads, key_heads, dims));
  const std::string scores = model_.op("attn.scale", OpKind::scale, {products}, fmt::format("{} -> {}", dims, dims));
  std::string shares = model_.op("attn.softmax", OpKind::softmax, {scores}, fmt::format("{}~ -> {}", dims, dims));
  if (options_.dropout)
    shares = model_.op("attn.softmax.dropout", OpKind::dropout, {shares}, fmt::format("{} -> {}", dims, dims));
  return model_.op("attn.values", OpKind::einsum, {shares, operands.value},
                   fmt::format("{}, b t {} {} -> b s {} {}", dims, key_heads, value_dim, query_heads, value_dim));
}

std::string AttentionParts::attention(const std::string& x, std::int64_t window) {
  const Operands read = options_.latent_attention ? latent_operands(x, *options_.latent_attention) : operands(x);
  const std::string mixed = options_.fused_attention ? fused_core(read, window) : unfused_core(read);
  const std::string heads = options_.latent_attention || options_.kv_heads == 0 ? "n" : "k*g";
  const std::string dim = options_.latent_attention ? "value" : "d";
  const std::string result = add_product(model_, "attn.out", mixed, {heads, dim, "h"}, "b s n d, n d h -> b s h");
  if (options_.attention_biases != AttentionBiases::all) return result;
  return add_bias(model_, "attn.out", result, {"h"}, "b s h, h -> b s h");
}

}  // namespace meshloom
