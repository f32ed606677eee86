// Op by op: which kernel runs forward, which ones backward.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costmodel/profiler/graph_step.hpp"
#include "costmodel/profiler/lowered_product.hpp"

namespace meshloom {
namespace {

std::optional<ActivationKernel> activation_of(OpKind kind) {
  if (kind == OpKind::gelu) return ActivationKernel::gelu;
  if (kind == OpKind::relu) return ActivationKernel::relu;
  if (kind == OpKind::silu) return ActivationKernel::silu;
  return std::nullopt;
}

constexpr float scale_factor = 0.125F;  // of `scale`, whose constant a graph does not state

}  // namespace

void GraphStep::build_forward(OpId id) {
  switch (graph_.op(id).kind) {
    case OpKind::einsum:
      return forward_of_product(id);
    case OpKind::add:
    case OpKind::sum:
      return forward_of_sum(id);
    case OpKind::layer_norm:
    case OpKind::rms_norm:
      return forward_of_norm(id);
    case OpKind::attention:
      return forward_of_attention(id);
    default:
      return forward_of_rest(id);
  }
}

void GraphStep::build_backward(OpId id) {
  const Op& op = graph_.op(id);
  if (gradient_of_result(op) == nullptr) return;
  for (const GradientOp& kernel : training_.gradients[index(id)].kernels) switch (op.kind) {
      case OpKind::einsum:
        backward_of_product(id, kernel);
        break;
      case OpKind::add:
      case OpKind::sum:
        backward_of_sum(id, kernel);
        break;
      case OpKind::layer_norm:
      case OpKind::rms_norm:
        backward_of_norm(id);
        break;
      case OpKind::attention:
        backward_of_attention(id);
        break;
      default:
        backward_of_rest(id);
        break;
    }
}

void GraphStep::forward_of_product(OpId id) {
  const Op& op = graph_.op(id);
  if (op.inputs.size() != 2) refuse(op, "an einsum of other than two operands");
  const auto product = lower_product(op.rule.inputs[0], op.rule.inputs[1], op.rule.outputs[0], factor_sizes(op));
  if (!product) refuse(op, "an einsum that is no matrix product without transposing an operand");
  const float* const a = value(op.inputs[0]);
  const float* const b = value(op.inputs[1]);
  float* const c = value(op.outputs[0]);
  add_forward(id, [=] { run_product(*product, a, b, c, Store::write); });
}

void GraphStep::backward_of_product(OpId id, const GradientOp& kernel) {
  const Op& op = graph_.op(id);
  const std::size_t input = kernel.of_inputs[0], other = 1 - input;
  const auto product =
      lower_product(op.rule.outputs[0], op.rule.inputs[other], op.rule.inputs[input], factor_sizes(op));
  if (!product) refuse(op, "an einsum whose gradient is no matrix product without transposing an operand");
  const float* const dy = gradient_of_result(op);
  const float* const operand = value(op.inputs[other]);
  const GradientPlace into = gradient_place(op.inputs[input]);
  add_backward(id, [=] { run_product(*product, dy, operand, into.place, into.store); });
}

void GraphStep::forward_of_sum(OpId id) {
  const Op& op = graph_.op(id);
  const float* const x = value(op.inputs[0]);
  float* const y = value(op.outputs[0]);
  const std::int64_t size = count(op.inputs[0]);
  if (op.kind == OpKind::sum) {
    if (count(op.outputs[0]) != 1) refuse(op, "a sum that leaves more than one element");
    return add_forward(id, [=] { sum_columns({1, size}, x, y); });
  }
  if (op.inputs.size() != 2) refuse(op, "a sum of other than two operands");
  const float* const other = value(op.inputs[1]);
  const std::int64_t width = count(op.inputs[1]);
  if (size != count(op.outputs[0])) refuse(op, "a sum whose first operand is not whole");
  if (width == size) return add_forward(id, [=] { add(size, x, other, y); });
  const RuleOperand& result = op.rule.outputs[0];
  const RuleOperand& bias = op.rule.inputs[1];
  if (!std::equal(bias.rbegin(), bias.rend(), result.rbegin()))
    refuse(op, "a sum whose second operand lacks other than the first dimensions");
  add_forward(id, [=] { add_bias({size / width, width}, x, other, y); });
}

void GraphStep::backward_of_sum(OpId id, const GradientOp& kernel) {
  const Op& op = graph_.op(id);
  const TensorId input = op.inputs[kernel.of_inputs[0]], result = op.outputs[0];
  const float* const dy = gradient_of_result(op);
  if (op.kind == OpKind::sum) {
    const GradientPlace into = gradient_place(input);
    const std::int64_t size = count(input);
    return add_backward(id, [=] { repeat_columns({1, size}, dy, into.place, into.store); });
  }
  if (count(input) == count(result)) return pass_gradient(id, result, input);
  const GradientPlace into = gradient_place(input);
  const Rows rows{count(result) / count(input), count(input)};
  add_backward(id, [=] { sum_rows(rows, dy, into.place, into.store); });
}

void GraphStep::forward_of_norm(OpId id) {
  const Op& op = graph_.op(id);
  const Rows rows = rows_of(op, 0);
  const float* const x = value(op.inputs[0]);
  const float* const weight = value(op.inputs[1]);
  float* const y = value(op.outputs[0]);
  float* const statistics = extras_[index(id)] = new_floats(2 * rows.count);
  if (op.kind == OpKind::rms_norm) return add_forward(id, [=] { rms_norm(rows, x, weight, y, statistics); });
  const float* const bias = value(op.inputs[2]);
  add_forward(id, [=] { layer_norm(rows, x, weight, bias, y, statistics); });
}

void GraphStep::backward_of_norm(OpId id) {
  const Op& op = graph_.op(id);
  const Rows rows = rows_of(op, 0);
  const float* const x = value(op.inputs[0]);
  const float* const weight = value(op.inputs[1]);
  const float* const statistics = extras_[index(id)];
  const float* const dy = gradient_of_result(op);
  const GradientPlace dx = gradient_place(op.inputs[0]), dweight = gradient_place(op.inputs[1]);
  if (op.kind == OpKind::rms_norm)
    return add_backward(id, [=] {
      rms_norm_backward(rows, x, weight, statistics, dy, {dx.place, dweight.place, nullptr}, dx.store, dweight.store);
    });
  const GradientPlace dbias = gradient_place(op.inputs[2]);
  add_backward(id, [=] {
    layer_norm_backward(rows, x, weight, statistics, dy, {dx.place, dweight.place, dbias.place}, dx.store,
                        dweight.store);
  });
}

AttentionShape GraphStep::attention_shape(const Op& op) const {
  const Tensor& query = graph_.tensor(op.inputs[0]);
  const Tensor& key = graph_.tensor(op.inputs[1]);
  if (query.shape.size() != 4 || key.shape != graph_.tensor(op.inputs[2]).shape)
    refuse(op, "attention over other than [sample, position, head, element]");
  const auto size = [&](const Tensor& tensor, std::size_t d) { return tensor.shape[d].at(batch_); };
  return {size(query, 0), size(query, 2), size(key, 2), size(query, 1), size(key, 1), size(query, 3), op.causal};
}

void GraphStep::forward_of_attention(OpId id) {
  const Op& op = graph_.op(id);
  const AttentionShape shape = attention_shape(op);
  const AttentionInputs inputs{value(op.inputs[0]), value(op.inputs[1]), value(op.inputs[2])};
  float* const y = value(op.outputs[0]);
  float* const log_sums = extras_[index(id)] = new_floats(shape.rows());
  add_forward(id, [=] { attention(shape, inputs, y, log_sums); });
}

void GraphStep::backward_of_attention(OpId id) {
  const Op& op = graph_.op(id);
  const AttentionShape shape = attention_shape(op);
  const AttentionInputs inputs{value(op.inputs[0]), value(op.inputs[1]), value(op.inputs[2])};
  const float* const y = value(op.outputs[0]);
  const float* const log_sums = extras_[index(id)];
  const float* const dy = gradient_of_result(op);
  for (const TensorId input : op.inputs)
    if (gradients_[index(input)] != nullptr) refuse(op, "attention whose operands have other consumers, too");
  const AttentionGradients gradients{gradient_place(op.inputs[0]).place, gradient_place(op.inputs[1]).place,
                                     gradient_place(op.inputs[2]).place};
  add_backward(id, [=] { attention_backward(shape, inputs, y, log_sums, dy, gradients); });
}

void GraphStep::forward_of_rest(OpId id) {
  const Op& op = graph_.op(id);
  const float* const x = value(op.inputs[0]);
  float* const y = value(op.outputs[0]);
  const Rows rows = rows_of(op, 0);
  const std::int64_t size = count(op.outputs[0]);
  if (const auto kind = activation_of(op.kind)) return add_forward(id, [=] { activate(*kind, size, x, y); });
  if (op.kind == OpKind::softmax) return add_forward(id, [=] { softmax(rows, x, y); });
  if (op.kind == OpKind::scale) return add_forward(id, [=] { scale(size, scale_factor, x, y, Store::write); });
  if (op.kind == OpKind::multiply && count(op.inputs[1]) == size) {
    const float* const other = value(op.inputs[1]);
    return add_forward(id, [=] { multiply(size, x, other, y, Store::write); });
  }
  if (op.kind == OpKind::rotary) {
    const Tensor& tensor = graph_.tensor(op.inputs[0]);
    const RotaryShape shape{tensor.shape[1].at(batch_), tensor.shape[2].at(batch_)};
    return add_forward(id, [=] { rotary(rows, shape, x, y, Store::write); });
  }
  if (op.kind == OpKind::dropout) {
    masks_[index(id)].resize(static_cast<std::size_t>(size));
    std::uint8_t* const mask = masks_[index(id)].data();
    return add_forward(id, [=] { dropout(size, static_cast<std::uint32_t>(id), x, y, mask); });
  }
  if (op.kind == OpKind::gather) {
    const std::int32_t* const indices = labels(op.inputs[1], rows.count);
    return add_forward(id, [=] { gather({size / rows.width, rows.width}, x, indices, y); });
  }
  if (op.kind == OpKind::cross_entropy) {
    const std::int32_t* const classes = labels(op.inputs[1], rows.width);
    float* const statistics = extras_[index(id)] = new_floats(2 * rows.count);
    return add_forward(id, [=] { cross_entropy(rows, x, classes, y, statistics); });
  }
  refuse(op, fmt::format("kind \"{}\"", traits(op.kind).name));
}

void GraphStep::backward_of_rest(OpId id) {
  const Op& op = graph_.op(id);
  const float* const x = value(op.inputs[0]);
  const float* const y = value(op.outputs[0]);
  const float* const dy = gradient_of_result(op);
  const Rows rows = rows_of(op, 0);
  const std::int64_t size = count(op.outputs[0]);
  if (op.kind == OpKind::gather) {
    const GradientPlace table = gradient_place(op.inputs[0]);
    const std::int32_t* const indices = labels(op.inputs[1], rows.count);
    const std::int64_t whole = table.store == Store::write ? count(op.inputs[0]) : 0;
    return add_backward(id, [=] {
      std::fill(table.place, table.place + whole, 0.0F);
      scatter_add({size / rows.width, rows.width}, indices, dy, table.place);
    });
  }
  if (op.kind == OpKind::multiply) {
    for (const std::size_t input : training_.gradients[index(id)].kernels[0].of_inputs) {
      const float* const other = value(op.inputs[1 - input]);
      const GradientPlace into = gradient_place(op.inputs[input]);
      add_backward(id, [=] { multiply(size, other, dy, into.place, into.store); });
    }
    return;
  }
  const GradientPlace dx = gradient_place(op.inputs[0]);
  if (const auto kind = activation_of(op.kind)) {
    const float* const saved = *kind == ActivationKernel::relu ? y : x;
    return add_backward(id, [=] { activate_backward(*kind, size, saved, dy, dx.place, dx.store); });
  }
  if (op.kind == OpKind::softmax) return add_backward(id, [=] { softmax_backward(rows, y, dy, dx.place, dx.store); });
  if (op.kind == OpKind::scale) return add_backward(id, [=] { scale(size, scale_factor, dy, dx.place, dx.store); });
  if (op.kind == OpKind::rotary) {
    const Tensor& tensor = graph_.tensor(op.inputs[0]);
    const RotaryShape shape{tensor.shape[1].at(batch_), tensor.shape[2].at(batch_)};
    return add_backward(id, [=] { rotary_backward(rows, shape, dy, dx.place, dx.store); });
  }
  if (op.kind == OpKind::dropout) {
    const std::uint8_t* const mask = masks_[index(id)].data();
    return add_backward(id, [=] { dropout_backward(size, mask, dy, dx.place, dx.store); });
  }
  const std::int32_t* const classes = labels(op.inputs[1], rows.width);
  const float* const statistics = extras_[index(id)];
  add_backward(id, [=] { cross_entropy_backward(rows, x, classes, statistics, dy, dx.place, dx.store); });
}

}  // namespace meshloom
