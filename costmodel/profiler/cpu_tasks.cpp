#include "costmodel/profiler/cpu_tasks.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "costmodel/profiler/cpu_kernels.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

constexpr const char* loops = "vectorised loops";
constexpr std::int64_t table_rows = 16'384;  // of an embedding, whose size a profile does not know

// Floats between −1 and 1 that repeat after a prime number of elements: zeros and denormals would change the speed.
class Buffer {
 public:
  explicit Buffer(std::int64_t count) : values_(static_cast<std::size_t>(count)) {
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<float>(i * 7 % 1009) / 504.5F - 1.0F;
  }
  float* operator()() { return values_.data(); }

 private:
  std::vector<float> values_;
};

// The buffers of one task. Shared, because std::function copies what it holds.
class Buffers {
 public:
  float* floats(std::int64_t count) { return floats_.emplace_back(std::make_shared<Buffer>(count))->operator()(); }
  std::int32_t* indices(std::int64_t count, std::int64_t below) {
    auto& values = indices_.emplace_back(std::make_shared<std::vector<std::int32_t>>(static_cast<std::size_t>(count)));
    for (std::size_t i = 0; i < values->size(); ++i)
      (*values)[i] = static_cast<std::int32_t>((i * 2'654'435'761U) % static_cast<std::uint64_t>(below));
    return values->data();
  }
  std::uint8_t* bytes(std::int64_t count) {
    return bytes_.emplace_back(std::make_shared<std::vector<std::uint8_t>>(static_cast<std::size_t>(count)))->data();
  }

 private:
  std::vector<std::shared_ptr<Buffer>> floats_;
  std::vector<std::shared_ptr<std::vector<std::int32_t>>> indices_;
  std::vector<std::shared_ptr<std::vector<std::uint8_t>>> bytes_;
};

CpuWork work(Buffers buffers, std::function<void()> run) {
  return {[buffers = std::move(buffers), run = std::move(run)] { run(); }, loops};
}

[[noreturn]] void refuse(const OperatorTask& task, const std::string& reason) {
  throw InputError(describe(Task(task)), reason);
}

void check_memory(const OperatorTask& task) {
  double bytes = static_cast<double>(task.shape[0]) * 2;
  if (task.key.kind == MeasuredOperator::gemm) {
    const double batch = double(task.shape[0]), m = double(task.shape[1]), n = double(task.shape[2]),
                 k = double(task.shape[3]);
    bytes = 4 * batch * (m * k + k * n + m * n);
  }
  if (task.key.kind == MeasuredOperator::optimizer) bytes = 16 * double(task.shape[0]);
  const double has = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
  if (bytes > 0.5 * has)
    refuse(task, fmt::format("needs {:.3g} GB, over half of the machine's {:.3g} GB", bytes / 1e9, has / 1e9));
}

CpuWork make_gemm(const OperatorTask& task) {
  const std::int64_t m = task.shape[1], n = task.shape[2], k = task.shape[3];
  MatrixProduct product = dense_product(task.shape[0], m, n, k);
  const OperandOrder order = task.key.operands;
  if (order == OperandOrder::tn || order == OperandOrder::tt) product.a = {true, m, m * k};
  if (order == OperandOrder::nt || order == OperandOrder::tt) product.b = {true, k, k * n};
  Buffers buffers;
  const float* const a = buffers.floats(product.batch * m * k);
  const float* const b = buffers.floats(product.batch * k * n);
  float* const c = buffers.floats(product.batch * m * n);
  CpuWork result = work(buffers, [=] { multiply_matrices(product, a, b, c, Store::write); });
  result.implementation = "OpenBLAS sgemm";
  return result;
}

CpuWork make_attention(const OperatorTask& task) {
  const AttentionShape shape{task.shape[0], task.shape[1], task.shape[2],  task.shape[3],
                             task.shape[4], task.shape[5], task.key.causal};
  Buffers buffers;
  const AttentionInputs inputs{buffers.floats(shape.query_elements()), buffers.floats(shape.key_elements()),
                               buffers.floats(shape.key_elements())};
  float* const output = buffers.floats(shape.query_elements());
  float* const log_sums = buffers.floats(shape.rows());
  std::function<void()> run = [=] { attention(shape, inputs, output, log_sums); };
  if (task.key.direction == Direction::backward) {
    run();  // the backward reads a true output and its log-sums
    const float* const doutput = buffers.floats(shape.query_elements());
    const AttentionGradients gradients{buffers.floats(shape.query_elements()), buffers.floats(shape.key_elements()),
                                       buffers.floats(shape.key_elements())};
    run = [=] { attention_backward(shape, inputs, output, log_sums, doutput, gradients); };
  }
  CpuWork result = work(buffers, run);
  result.implementation = "OpenBLAS sgemm over blocks of queries, vectorised softmax";
  return result;
}

CpuWork make_optimizer(const OperatorTask& task) {
  const std::int64_t count = task.shape[0];
  Buffers buffers;
  const float* const gradient = buffers.floats(count);
  float* const parameter = buffers.floats(count);
  float* const first = buffers.floats(count);
  float* const second = buffers.floats(count);
  for (std::int64_t i = 0; i < count; ++i) second[i] = second[i] * second[i];
  return work(buffers, [=] { adam(count, 1e-3F, gradient, parameter, first, second); });
}

CpuWork make_add(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  const Rows rows{shape.rows, shape.columns};
  Buffers buffers;
  const float* const x = buffers.floats(rows.elements());
  if (task.key.direction == Direction::backward) {
    if (task.row == 0) refuse(task, "the gradient of a sum of equal operands is passed on: there is no kernel");
    float* const dbias = buffers.floats(rows.width);
    return work(buffers, [=] { sum_rows(rows, x, dbias, Store::write); });
  }
  float* const y = buffers.floats(rows.elements());
  if (task.row > 0) {
    const float* const bias = buffers.floats(rows.width);
    return work(buffers, [=] { add_bias(rows, x, bias, y); });
  }
  const float* const other = buffers.floats(rows.elements());
  return work(buffers, [=] { add(rows.elements(), x, other, y); });
}

CpuWork make_activation(const OperatorTask& task, ActivationKernel kind) {
  const std::int64_t count = rows_of(task).elements();
  Buffers buffers;
  const float* const x = buffers.floats(count);
  float* const y = buffers.floats(count);
  if (task.key.direction == Direction::forward) return work(buffers, [=] { activate(kind, count, x, y); });
  const float* const dy = buffers.floats(count);
  return work(buffers, [=] { activate_backward(kind, count, x, dy, y, Store::write); });
}

CpuWork make_multiply(const OperatorTask& task) {
  const std::int64_t count = rows_of(task).elements();
  Buffers buffers;
  const float* const a = buffers.floats(count);
  const float* const b = buffers.floats(count);
  float* const y = buffers.floats(count);
  if (task.key.direction == Direction::forward) return work(buffers, [=] { multiply(count, a, b, y, Store::write); });
  const float* const dy = buffers.floats(count);
  float* const db = buffers.floats(count);
  return work(buffers, [=] {
    multiply(count, b, dy, y, Store::write);
    multiply(count, a, dy, db, Store::write);
  });
}

CpuWork make_softmax(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  const Rows rows{shape.rows, shape.columns};
  Buffers buffers;
  const float* const x = buffers.floats(rows.elements());
  float* const y = buffers.floats(rows.elements());
  if (task.key.direction == Direction::forward) return work(buffers, [=] { softmax(rows, x, y); });
  const float* const dy = buffers.floats(rows.elements());
  return work(buffers, [=] { softmax_backward(rows, x, dy, y, Store::write); });
}

CpuWork make_norm(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  const Rows rows{shape.rows, shape.columns};
  const bool has_mean = task.key.kind == MeasuredOperator::layer_norm;
  Buffers buffers;
  const float* const x = buffers.floats(rows.elements());
  const float* const weight = buffers.floats(rows.width);
  const float* const bias = buffers.floats(rows.width);
  float* const y = buffers.floats(rows.elements());
  float* const statistics = buffers.floats(2 * rows.count);
  if (task.key.direction == Direction::forward) {
    if (has_mean) return work(buffers, [=] { layer_norm(rows, x, weight, bias, y, statistics); });
    return work(buffers, [=] { rms_norm(rows, x, weight, y, statistics); });
  }
  const float* const dy = buffers.floats(rows.elements());
  const NormGradients gradients{y, buffers.floats(rows.width), buffers.floats(rows.width)};
  if (has_mean)
    return work(buffers,
                [=] { layer_norm_backward(rows, x, weight, statistics, dy, gradients, Store::write, Store::write); });
  return work(buffers,
              [=] { rms_norm_backward(rows, x, weight, statistics, dy, gradients, Store::write, Store::write); });
}

CpuWork make_cross_entropy(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  const Rows rows{shape.rows, shape.columns};
  Buffers buffers;
  const float* const logits = buffers.floats(rows.elements());
  const std::int32_t* const labels = buffers.indices(rows.count, rows.width);
  float* const loss = buffers.floats(rows.count);
  float* const statistics = buffers.floats(2 * rows.count);
  if (task.key.direction == Direction::forward)
    return work(buffers, [=] { cross_entropy(rows, logits, labels, loss, statistics); });
  cross_entropy(rows, logits, labels, loss, statistics);
  float* const dlogits = buffers.floats(rows.elements());
  return work(buffers, [=] { cross_entropy_backward(rows, logits, labels, statistics, loss, dlogits, Store::write); });
}

CpuWork make_rotary(const OperatorTask& task) {
  const std::int64_t width = task.row > 1 ? task.row : 64, count = rows_of(task).elements();
  const Rows rows{std::max<std::int64_t>(1, count / width), width};
  const RotaryShape shape{std::min<std::int64_t>(rows.count, 2048), 1};
  Buffers buffers;
  const float* const x = buffers.floats(rows.elements());
  float* const y = buffers.floats(rows.elements());
  if (task.key.direction == Direction::forward) return work(buffers, [=] { rotary(rows, shape, x, y, Store::write); });
  return work(buffers, [=] { rotary_backward(rows, shape, x, y, Store::write); });
}

CpuWork make_dropout(const OperatorTask& task) {
  const std::int64_t count = rows_of(task).elements();
  Buffers buffers;
  const float* const x = buffers.floats(count);
  float* const y = buffers.floats(count);
  std::uint8_t* const mask = buffers.bytes(count);
  if (task.key.direction == Direction::forward) return work(buffers, [=] { dropout(count, 1, x, y, mask); });
  return work(buffers, [=] { dropout_backward(count, mask, x, y, Store::write); });
}

CpuWork make_gather(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  const Rows rows{shape.rows, shape.columns};
  Buffers buffers;
  float* const table = buffers.floats(table_rows * rows.width);
  const std::int32_t* const indices = buffers.indices(rows.count, table_rows);
  float* const y = buffers.floats(rows.elements());
  if (task.key.direction == Direction::forward) return work(buffers, [=] { gather(rows, table, indices, y); });
  return work(buffers, [=] { scatter_add(rows, indices, y, table); });
}

CpuWork make_sum(const OperatorTask& task) {
  RowShape shape = rows_of(task);
  if (task.row == 0) shape = {1, shape.rows};
  const Rows rows{shape.rows, shape.columns};
  Buffers buffers;
  float* const x = buffers.floats(rows.elements());
  float* const sums = buffers.floats(rows.count);
  if (task.key.direction == Direction::forward) return work(buffers, [=] { sum_columns(rows, x, sums); });
  return work(buffers, [=] { repeat_columns(rows, sums, x, Store::write); });
}

// One stream in, one out: copy, and scale in both directions.
CpuWork make_stream(const OperatorTask& task) {
  const std::int64_t count = rows_of(task).elements();
  Buffers buffers;
  const float* const x = buffers.floats(count);
  float* const y = buffers.floats(count);
  if (task.key.kind == MeasuredOperator::copy) return work(buffers, [=] { copy(count, x, y); });
  return work(buffers, [=] { scale(count, 0.5F, x, y, Store::write); });
}

}  // namespace

CpuWork make_cpu_work(const OperatorTask& task) {
  if (task.key.dtype != DType::fp32)
    refuse(task, "the processor's kernels compute in fp32; give a graph of --dtype fp32");
  check_memory(task);
  switch (task.key.kind) {
    case MeasuredOperator::gemm:
      return make_gemm(task);
    case MeasuredOperator::attention:
      return make_attention(task);
    case MeasuredOperator::optimizer:
      return make_optimizer(task);
    case MeasuredOperator::copy:
    case MeasuredOperator::scale:
      return make_stream(task);
    case MeasuredOperator::add:
      return make_add(task);
    case MeasuredOperator::multiply:
      return make_multiply(task);
    case MeasuredOperator::gelu:
      return make_activation(task, ActivationKernel::gelu);
    case MeasuredOperator::relu:
      return make_activation(task, ActivationKernel::relu);
    case MeasuredOperator::silu:
      return make_activation(task, ActivationKernel::silu);
    case MeasuredOperator::softmax:
      return make_softmax(task);
    case MeasuredOperator::layer_norm:
    case MeasuredOperator::rms_norm:
      return make_norm(task);
    case MeasuredOperator::cross_entropy:
      return make_cross_entropy(task);
    case MeasuredOperator::rotary:
      return make_rotary(task);
    case MeasuredOperator::dropout:
      return make_dropout(task);
    case MeasuredOperator::gather:
      return make_gather(task);
    case MeasuredOperator::sum:
      return make_sum(task);
    case MeasuredOperator::transpose:
    case MeasuredOperator::batch_norm:
    case MeasuredOperator::max_pool:
      break;
  }
  refuse(task, "the processor has no kernel for this kind");
}

}  // namespace meshloom
