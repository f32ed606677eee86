#include "graphs/layer_parts.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace meshloom {

std::string add_norm(ModelDraft& model, NormKind kind, const std::string& name, const std::string& x,
                     const std::string& dims) {
  std::string result = dims;
  result.erase(std::remove_if(result.begin(), result.end(), [](char c) { return c == '~' || c == '!'; }), result.end());
  const std::string last = result.substr(result.rfind(' ') + 1);
  const std::string scale = model.parameter(name + ".weight", {last});
  if (kind == NormKind::rms_norm)
    return model.op(name, OpKind::rms_norm, {x, scale}, fmt::format("{}, {} -> {}", dims, last, result));
  if (kind == NormKind::layer_norm_without_bias)
    return model.op(name, OpKind::layer_norm, {x, scale}, fmt::format("{}, {} -> {}", dims, last, result));
  const std::string bias = model.parameter(name + ".bias", {last});
  return model.op(name, OpKind::layer_norm, {x, scale, bias},
                  fmt::format("{}, {}, {} -> {}", dims, last, last, result));
}

std::string add_product(ModelDraft& model, const std::string& name, const std::string& x,
                        const std::vector<std::string>& shape, const std::string& rule) {
  return model.op(name, OpKind::einsum, {x, model.parameter(name + ".weight", shape)}, rule);
}

std::string add_bias(ModelDraft& model, const std::string& name, const std::string& x,
                     const std::vector<std::string>& shape, const std::string& rule) {
  return model.op(name + ".add_bias", OpKind::add, {x, model.parameter(name + ".bias", shape)}, rule);
}

std::string add_activation(ModelDraft& model, Activation activation, const std::string& name, const std::string& x,
                           const std::string& dims) {
  const std::string rule = fmt::format("{} -> {}", dims, dims);
  switch (activation) {
    case Activation::gelu:
      return model.op(name + ".gelu", OpKind::gelu, {x}, rule);
    case Activation::silu:
      return model.op(name + ".silu", OpKind::silu, {x}, rule);
    case Activation::relu:
      return model.op(name + ".relu", OpKind::relu, {x}, rule);
  }
  return x;
}

}  // namespace meshloom
