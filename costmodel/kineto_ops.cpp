#include "costmodel/kineto_ops.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace meshloom {
namespace {

struct MovedBytes {
  std::string_view name;
  MeasuredOperator kind;
  Direction direction;
  double tensors;  // of the first argument's size, that the forward reads and writes
};

// In the backward the first argument is the gradient of the result, as large as it.
constexpr std::array moved{
    MovedBytes{"aten::copy_", MeasuredOperator::copy, Direction::forward, 2},
    MovedBytes{"aten::add", MeasuredOperator::add, Direction::forward, 3},
    MovedBytes{"aten::add_", MeasuredOperator::add, Direction::forward, 3},
    MovedBytes{"aten::mul", MeasuredOperator::multiply, Direction::forward, 3},
    MovedBytes{"aten::gelu", MeasuredOperator::gelu, Direction::forward, 2},
    MovedBytes{"aten::gelu_backward", MeasuredOperator::gelu, Direction::backward, 2},
    MovedBytes{"aten::silu", MeasuredOperator::silu, Direction::forward, 2},
    MovedBytes{"aten::silu_backward", MeasuredOperator::silu, Direction::backward, 2},
    MovedBytes{"aten::relu", MeasuredOperator::relu, Direction::forward, 2},
    MovedBytes{"aten::_softmax", MeasuredOperator::softmax, Direction::forward, 2},
    MovedBytes{"aten::_softmax_backward_data", MeasuredOperator::softmax, Direction::backward, 2},
    MovedBytes{"aten::native_layer_norm", MeasuredOperator::layer_norm, Direction::forward, 2},
    MovedBytes{"aten::native_layer_norm_backward", MeasuredOperator::layer_norm, Direction::backward, 2},
    MovedBytes{"aten::native_dropout", MeasuredOperator::dropout, Direction::forward, 2},
    MovedBytes{"aten::native_dropout_backward", MeasuredOperator::dropout, Direction::backward, 2},
};

using Sizes = std::vector<std::int64_t>;

// In bounds that products of four of them, times bytes, do not leave.
bool sensible(const Sizes& sizes) {
  double product = 1;
  for (const std::int64_t size : sizes) {
    if (size < 1) return false;
    product *= static_cast<double>(size);
  }
  return product < 1e13;
}

std::optional<TorchSample> product(const TorchCall& call, const Sizes& left, const Sizes& right) {
  const std::size_t dimensions = left.size();
  if ((dimensions != 2 && dimensions != 3) || right.size() != dimensions) return std::nullopt;
  if (left[dimensions - 1] != right[dimensions - 2] || (dimensions == 3 && left[0] != right[0])) return std::nullopt;
  return TorchSample{
      {.kind = MeasuredOperator::gemm, .dtype = call.dtype},
      {dimensions == 3 ? left[0] : 1, left[dimensions - 2], right[dimensions - 1], left[dimensions - 1]}};
}

// Query, key and value are batch, heads, length, head size; in the backward they follow the gradient.
std::optional<TorchSample> attention(const TorchCall& call, std::size_t first, Direction direction) {
  if (call.sizes.size() < first + 2) return std::nullopt;
  const Sizes &query = call.sizes[first], &key = call.sizes[first + 1];
  if (query.size() != 4 || key.size() != 4 || query[0] != key[0] || query[3] != key[3] || query[1] % key[1] != 0)
    return std::nullopt;
  return TorchSample{
      {.kind = MeasuredOperator::attention, .dtype = call.dtype, .causal = call.causal, .direction = direction},
      {query[0], query[1], key[1], query[2], key[2], query[3]}};
}

std::optional<TorchSample> by_bytes(const TorchCall& call, const MovedBytes& row) {
  const Sizes& sizes = call.sizes[0];
  if (sizes.empty()) return std::nullopt;
  // Operands of other sizes are broadcast, and scalars are none: other kernels.
  if (row.tensors == 3 && (call.sizes.size() < 2 || call.sizes[1] != sizes)) return std::nullopt;
  double elements = 1;
  for (const std::int64_t size : sizes) elements *= static_cast<double>(size);
  TorchSample sample{{.kind = row.kind, .dtype = call.dtype, .direction = row.direction},
                     {static_cast<std::int64_t>(row.tensors * elements * size_of(call.dtype).value())}};
  if (shape_names(row.kind).size() == 2) sample.shape.push_back(sizes.back());
  return sample;
}

}  // namespace

std::optional<TorchSample> sample_of(const TorchCall& call) {
  if (call.sizes.empty() || !std::all_of(call.sizes.begin(), call.sizes.end(), sensible)) return std::nullopt;
  if ((call.name == "aten::mm" || call.name == "aten::bmm") && call.sizes.size() >= 2)
    return product(call, call.sizes[0], call.sizes[1]);
  if (call.name == "aten::addmm" && call.sizes.size() >= 3) return product(call, call.sizes[1], call.sizes[2]);
  for (const std::string_view kernel : {"flash", "efficient", "cudnn"}) {
    if (call.name == "aten::_scaled_dot_product_" + std::string(kernel) + "_attention")
      return attention(call, 0, Direction::forward);
    if (call.name == "aten::_scaled_dot_product_" + std::string(kernel) + "_attention_backward")
      return attention(call, 1, Direction::backward);
  }
  for (const MovedBytes& row : moved)
    if (row.name == call.name) return by_bytes(call, row);
  return std::nullopt;
}

}  // namespace meshloom
