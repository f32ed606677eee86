#include "costmodel/profiler/task.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace meshloom {
namespace {

std::string describe_task(const OperatorTask& task) {
  std::string text = describe(task.key);
  const auto names = shape_names(task.key.kind);
  for (std::size_t i = 0; i < task.shape.size(); ++i) text += fmt::format(" {}={}", names[i], task.shape[i]);
  return text;
}

std::string describe_task(const CollectiveTask& task) {
  return fmt::format("{} bytes={}", describe(task.key), task.bytes);
}

// Bytes of one row of operands and results, and bytes that the op moves whatever the rows.
struct RowBytes {
  double row, fixed = 0;
};

RowBytes row_bytes(const OperatorTask& task, std::int64_t columns) {
  const double element = size_of(task.key.dtype).value(), index = 4;
  const double row = element * static_cast<double>(columns);
  switch (task.key.kind) {
    case MeasuredOperator::layer_norm:
      return {2 * row, 2 * row};
    case MeasuredOperator::rms_norm:
      return {2 * row, row};
    case MeasuredOperator::cross_entropy:  // logits, the label, the loss
      return {row + index + element};
    case MeasuredOperator::add:
      return task.row > 0 ? RowBytes{2 * row, row} : RowBytes{3 * row};
    case MeasuredOperator::multiply:
      return {3 * row};
    case MeasuredOperator::sum:
      return {row + (task.row > 0 ? element : 0)};
    case MeasuredOperator::gather:
      return {2 * row + index};
    default:
      return {2 * row};
  }
}

std::int64_t columns_of(const OperatorTask& task) {
  if (task.shape.size() == 2) return task.shape[1];
  return task.row > 0 ? task.row : 1;
}

}  // namespace

std::string describe(const Task& task) {
  return std::visit([](const auto& each) { return describe_task(each); }, task);
}

RowShape rows_of(const OperatorTask& task) {
  const std::int64_t columns = columns_of(task);
  const RowBytes bytes = row_bytes(task, columns);
  const double rows = (static_cast<double>(task.shape[0]) - bytes.fixed) / bytes.row;
  return {std::max<std::int64_t>(1, static_cast<std::int64_t>(rows + 0.5)), columns};
}

Flops flops_of(const OperatorTask& task) {
  const auto product = [&] {
    double result = 1;
    for (const std::int64_t size : task.shape) result *= static_cast<double>(size);
    return result;
  };
  if (task.key.kind == MeasuredOperator::gemm) return Flops(2 * product());
  if (task.key.kind != MeasuredOperator::attention) return Flops(0);
  // kv_heads share the work of their query heads; five products backward against two forward.
  const double forward = 4 * product() / static_cast<double>(task.shape[2]) * (task.key.causal ? 0.5 : 1);
  return Flops(task.key.direction == Direction::forward ? forward : 2.5 * forward);
}

}  // namespace meshloom
