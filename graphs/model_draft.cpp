#include "graphs/model_draft.hpp"

#include <fmt/format.h>

#include "graphs/input_error.hpp"

namespace meshloom {

ModelDraft::ModelDraft(const std::string& name, DType dtype) : draft_{name, name, "b", {}, dtype, 0, {}, {}} {}

void ModelDraft::dim(const std::string& name, std::int64_t size) { draft_.dims.emplace_back(name, size); }

void ModelDraft::layer(const std::string& name) { layer_ = name; }

std::string ModelDraft::input(const std::string& id, const std::vector<std::string>& shape, DType dtype) {
  draft_.tensors.push_back({id, shape, dtype, TensorRole::input, false});
  return id;
}

std::string ModelDraft::parameter(const std::string& name, const std::vector<std::string>& shape) {
  draft_.tensors.push_back({layer_ + "." + name, shape, draft_.dtype, TensorRole::parameter, false});
  return draft_.tensors.back().id;
}

std::string ModelDraft::intermediate(const std::string& name, const std::vector<std::string>& shape, DType dtype) {
  draft_.tensors.push_back({layer_ + "." + name, shape, dtype, TensorRole::intermediate, false});
  return draft_.tensors.back().id;
}

std::string ModelDraft::op(const std::string& name, OpKind kind, const std::vector<std::string>& inputs,
                           const std::string& rule) {
  OpDraft op;
  op.id = layer_ + "." + name;
  op.kind = kind;
  op.layer = layer_;
  op.inputs = inputs;
  op.outputs = {op.id};
  op.rule = rule;
  draft_.ops.push_back(std::move(op));
  return draft_.ops.back().id;
}

void ModelDraft::vocabulary(std::int64_t size, std::int64_t pad_to) {
  require_at_least("vocab", size, 1);
  require_at_least("pad-vocab-to", pad_to, 1);
  const std::int64_t padded = (size + pad_to - 1) / pad_to * pad_to;
  dim("v", padded);
  draft_.padded_vocabulary = padded - size;
}

void ModelDraft::loss(const std::string& logits) {
  const std::string labels = input("labels", {"b", "s"}, DType::int32);
  const std::string tokens = op("token_loss", OpKind::cross_entropy, {logits, labels}, "b s v~, b s -> b s");
  op("loss", OpKind::sum, {tokens}, "b s -> ");
}

Graph ModelDraft::build() const { return check_graph(draft_); }

void require_at_least(const std::string& option, std::int64_t value, std::int64_t least) {
  if (value < least) throw InputError("--" + option, fmt::format("must be at least {}, is {}", least, value));
}

void require_at_most(const std::string& option, std::int64_t value, const std::string& most_option, std::int64_t most) {
  if (value > most)
    throw InputError("--" + option, fmt::format("{} is above --{} {}; change one of them", value, most_option, most));
}

void require_divides(const std::string& part_option, std::int64_t part, const std::string& whole_option,
                     std::int64_t whole) {
  if (whole % part != 0)
    throw InputError("--" + part_option,
                     fmt::format("{} must divide --{} {}; change one of them", part, whole_option, whole));
}

}  // namespace meshloom
