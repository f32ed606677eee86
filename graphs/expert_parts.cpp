#include "graphs/expert_parts.hpp"

#include <fmt/format.h>

#include <cmath>

#include "graphs/input_error.hpp"
#include "graphs/layer_parts.hpp"

namespace meshloom {
namespace {

// Beyond this many no context or sequence parallelism goes.
constexpr std::int64_t most_token_groups = 64;

std::int64_t room(const Experts& experts, std::int64_t tokens) {
  const double share = static_cast<double>(experts.top_k * tokens) / static_cast<double>(experts.count);
  return static_cast<std::int64_t>(std::ceil(share * experts.capacity_factor));
}

// As many as need no more room than one, for each group's room is rounded up.
std::int64_t token_groups(const Experts& experts, std::int64_t tokens) {
  std::int64_t groups = 1;
  for (std::int64_t more = 2; more <= most_token_groups && tokens % more == 0; more *= 2)
    if (more * room(experts, tokens / more) <= room(experts, tokens)) groups = more;
  return groups;
}

}  // namespace

void ExpertParts::check() const {
  require_at_least("experts", experts_.count, 1);
  require_at_least("top-k", experts_.top_k, 1);
  require_at_most("top-k", experts_.top_k, "experts", experts_.count);
  require_at_least("moe-ffn-hidden", experts_.ffn_hidden, 0);
  require_at_least("shared-experts", experts_.shared, 0);
  require_at_least("first-dense-layers", experts_.first_dense_layers, 0);
  require_at_least("moe-every", experts_.every, 1);
  if (!(experts_.capacity_factor > 0) || !std::isfinite(experts_.capacity_factor))
    throw InputError("--capacity-factor", fmt::format("must be above 0, is {}", experts_.capacity_factor));
}

std::int64_t ExpertParts::ffn_hidden() const {
  if (experts_.ffn_hidden > 0) return experts_.ffn_hidden;
  return options_.ffn_hidden > 0 ? options_.ffn_hidden : 4 * options_.hidden;
}

void ExpertParts::declare_dims() {
  const std::int64_t groups = token_groups(experts_, options_.seq_len);
  model_.dim("p", groups);
  model_.dim("e", experts_.count);
  model_.dim("c", room(experts_, options_.seq_len / groups));
  model_.dim("a", experts_.top_k);
  model_.dim("m", ffn_hidden());
  if (experts_.shared > 0) model_.dim("w", experts_.shared * ffn_hidden());
}

ExpertParts::Routes ExpertParts::routes(const std::string& x) {
  std::string logits = add_product(model_, "moe.router", x, {"h", "e"}, "b s h, h e -> b s e");
  if (experts_.biases) logits = add_bias(model_, "moe.router", logits, {"e"}, "b s e, e -> b s e");
  const std::string shares = model_.op("moe.softmax", OpKind::softmax, {logits}, "b s e~ -> b s e");
  const std::string places = model_.intermediate("moe.places", {"b", "p", "e", "c"}, DType::int32);
  const std::string homes = model_.intermediate("moe.homes", {"b", "s", "a"}, DType::int32);
  const std::string weights =
      model_.op("moe.top_k", OpKind::custom, {shares}, "b (p u!) e! -> b p e c!, b p e c, b (p u) a!");
  OpDraft& top_k = model_.last_op();
  top_k.outputs.push_back(places);
  top_k.outputs.push_back(homes);
  // Of each token sent: reads its part of the shares (2 bytes an expert), writes a weight and two places.
  const double experts_per_sent = static_cast<double>(experts_.count) / static_cast<double>(experts_.top_k);
  top_k.bytes_per_element = 2 * experts_per_sent + 2 + 4 + 4;
  return {weights, places, homes};
}

std::string ExpertParts::expert_bias(const std::string& name, const std::string& x, const std::string& dim) {
  if (!experts_.biases) return x;
  return add_bias(model_, name, x, {"e", dim}, fmt::format("b p e c {}, e {} -> b p e c {}", dim, dim, dim));
}

std::string ExpertParts::wide(const std::string& name, const std::string& x) {
  return expert_bias(name, add_product(model_, name, x, {"e", "h", "m"}, "b p e c h, e h m -> b p e c m"), "m");
}

// The weights scale what the experts' second product reads, as fused kernels do; where that has a bias, its result.
std::string ExpertParts::routed(const std::string& x) {
  const Routes routes = this->routes(x);
  const std::string sent =
      model_.op("moe.dispatch", OpKind::gather, {x, routes.places}, "b (p u) h, b p e c -> b p e c h");
  std::vector<std::string> factors;
  if (options_.gated_mlp) {
    const std::string gate = wide("moe.gate", sent);
    const std::string up = wide("moe.up", sent);
    factors = {add_activation(model_, options_.activation, "moe", gate, "b p e c m"), up};
  } else {
    factors = {add_activation(model_, options_.activation, "moe", wide("moe.up", sent), "b p e c m")};
  }
  if (!experts_.biases) factors.push_back(routes.weights);
  std::string active = factors.front();
  if (factors.size() > 1) {
    std::string rule = "b p e c m";
    for (std::size_t i = 1; i < factors.size(); ++i) rule += factors[i] == routes.weights ? ", b p e c" : ", b p e c m";
    active = model_.op("moe.gated", OpKind::multiply, factors, rule + " -> b p e c m");
  }
  std::string made = add_product(model_, "moe.down", active, {"e", "m", "h"}, "b p e c m, e m h -> b p e c h");
  if (experts_.biases)
    made = model_.op("moe.weighted", OpKind::multiply, {expert_bias("moe.down", made, "h"), routes.weights},
                     "b p e c h, b p e c -> b p e c h");
  return model_.op("moe.combine", OpKind::gather, {made, routes.homes}, "b p e c h, b (p u) a -> b (p u) h");
}

std::string ExpertParts::shared(const std::string& x) {
  const auto wide = [&](const std::string& name) {
    return add_product(model_, name, x, {"h", "w"}, "b s h, h w -> b s w");
  };
  std::string active;
  if (options_.gated_mlp) {
    const std::string gate = wide("moe.shared.gate");
    const std::string up = wide("moe.shared.up");
    const std::string open = add_activation(model_, options_.activation, "moe.shared", gate, "b s w");
    active = model_.op("moe.shared.gated", OpKind::multiply, {open, up}, "b s w, b s w -> b s w");
  } else {
    active = add_activation(model_, options_.activation, "moe.shared", wide("moe.shared.up"), "b s w");
  }
  return add_product(model_, "moe.shared.down", active, {"w", "h"}, "b s w, w h -> b s h");
}

std::string ExpertParts::experts(const std::string& x) {
  const std::string combined = routed(x);
  if (experts_.shared == 0) return combined;
  return model_.op("moe.sum", OpKind::add, {combined, shared(x)}, "b s h, b s h -> b s h");
}

}  // namespace meshloom
