// Kernels over rows: norms, softmax and cross-entropy, one block a row; parameters' gradients in two passes.
#include <algorithm>

#include "costmodel/profiler/cuda/checks.hpp"
#include "costmodel/profiler/cuda/numbers.cuh"
#include "costmodel/profiler/cuda/work.hpp"

namespace meshloom::cuda {
namespace {

constexpr int threads = 256;
constexpr unsigned partial_rows = 256;  // blocks that sum up parameters' gradients

// Of a norm: y = (x − mean)·factor·weight + bias; without a mean, root mean square.
template <typename T, bool has_mean>
__global__ void norm_kernel(const T* x, const T* weight, const T* bias, T* y, float2* statistics, int columns) {
  __shared__ float shared[threads / 32];
  const T* const row = x + static_cast<std::size_t>(blockIdx.x) * columns;
  float sum = 0, squares = 0;
  for (int i = threadIdx.x; i < columns; i += threads) {
    const float value = to_float(row[i]);
    sum += value;
    squares += value * value;
  }
  const float mean = has_mean ? block_sum(sum, shared) / columns : 0.0F;
  const float factor = rsqrtf(block_sum(squares, shared) / columns - mean * mean + 1e-5F);
  if (threadIdx.x == 0) statistics[blockIdx.x] = make_float2(mean, factor);
  T* const out = y + static_cast<std::size_t>(blockIdx.x) * columns;
  for (int i = threadIdx.x; i < columns; i += threads)
    out[i] =
        from_float<T>((to_float(row[i]) - mean) * factor * to_float(weight[i]) + (has_mean ? to_float(bias[i]) : 0.0F));
}

// dx of each row.
template <typename T, bool has_mean>
__global__ void norm_backward_kernel(const T* x, const T* weight, const float2* statistics, const T* dy, T* dx,
                                     int columns) {
  __shared__ float shared[threads / 32];
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * columns;
  const float2 numbers = statistics[blockIdx.x];
  float sum = 0, product = 0;
  for (int i = threadIdx.x; i < columns; i += threads) {
    const float scaled = to_float(dy[at + i]) * to_float(weight[i]);
    sum += scaled;
    product += scaled * (to_float(x[at + i]) - numbers.x) * numbers.y;
  }
  const float a = has_mean ? block_sum(sum, shared) / columns : 0.0F, b = block_sum(product, shared) / columns;
  for (int i = threadIdx.x; i < columns; i += threads)
    dx[at + i] = from_float<T>(numbers.y * (to_float(dy[at + i]) * to_float(weight[i]) - a -
                                            (to_float(x[at + i]) - numbers.x) * numbers.y * b));
}

// Each block sums the parameters' gradients of every gridDim.y-th row; the next kernel sums the blocks.
template <typename T>
__global__ void norm_parameters_kernel(const T* x, const float2* statistics, const T* dy, float2* partial, int rows,
                                       int columns) {
  const int column = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (column >= columns) return;
  float2 sums = make_float2(0, 0);
  for (int r = static_cast<int>(blockIdx.y); r < rows; r += static_cast<int>(gridDim.y)) {
    const std::size_t at = static_cast<std::size_t>(r) * columns + column;
    const float slope = to_float(dy[at]);
    sums.x += slope * (to_float(x[at]) - statistics[r].x) * statistics[r].y;
    sums.y += slope;
  }
  partial[static_cast<std::size_t>(blockIdx.y) * columns + column] = sums;
}

__global__ void sum_partial_kernel(const float2* partial, float2* sums, int blocks, int columns) {
  const int column = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (column >= columns) return;
  float2 sum = make_float2(0, 0);
  for (int b = 0; b < blocks; ++b) {
    const float2 part = partial[static_cast<std::size_t>(b) * columns + column];
    sum.x += part.x;
    sum.y += part.y;
  }
  sums[column] = sum;
}

template <typename T>
__global__ void softmax_kernel(const T* x, T* y, int columns) {
  __shared__ float shared[threads / 32];
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * columns;
  float most = -INFINITY;
  for (int i = threadIdx.x; i < columns; i += threads) most = fmaxf(most, to_float(x[at + i]));
  most = block_max(most, shared);
  float sum = 0;
  for (int i = threadIdx.x; i < columns; i += threads) sum += __expf(to_float(x[at + i]) - most);
  const float factor = 1.0F / block_sum(sum, shared);
  for (int i = threadIdx.x; i < columns; i += threads)
    y[at + i] = from_float<T>(__expf(to_float(x[at + i]) - most) * factor);
}

template <typename T>
__global__ void softmax_backward_kernel(const T* y, const T* dy, T* dx, int columns) {
  __shared__ float shared[threads / 32];
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * columns;
  float dot = 0;
  for (int i = threadIdx.x; i < columns; i += threads) dot += to_float(y[at + i]) * to_float(dy[at + i]);
  dot = block_sum(dot, shared);
  for (int i = threadIdx.x; i < columns; i += threads)
    dx[at + i] = from_float<T>(to_float(y[at + i]) * (to_float(dy[at + i]) - dot));
}

// Reads the logits once: the maximum and the sum over it grow together.
template <typename T>
__global__ void cross_entropy_kernel(const T* logits, const std::int32_t* labels, float* loss, float2* statistics,
                                     int columns) {
  __shared__ float shared[threads / 32];
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * columns;
  float most = -1e30F, sum = 0;
  for (int i = threadIdx.x; i < columns; i += threads) {
    const float value = to_float(logits[at + i]);
    if (value > most) {
      sum *= __expf(most - value);
      most = value;
    }
    sum += __expf(value - most);
  }
  const float whole_most = block_max(most, shared);
  const float whole_sum = block_sum(sum * __expf(most - whole_most), shared);
  if (threadIdx.x != 0) return;
  statistics[blockIdx.x] = make_float2(whole_most, whole_sum);
  loss[blockIdx.x] = whole_most + __logf(whole_sum) - to_float(logits[at + labels[blockIdx.x]]);
}

template <typename T>
__global__ void cross_entropy_backward_kernel(const T* logits, const std::int32_t* labels, const float2* statistics,
                                              const float* dloss, T* dlogits, int columns) {
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * columns;
  const float2 numbers = statistics[blockIdx.x];
  const float slope = dloss[blockIdx.x], factor = slope / numbers.y;
  for (int i = threadIdx.x; i < columns; i += threads)
    dlogits[at + i] =
        from_float<T>(factor * __expf(to_float(logits[at + i]) - numbers.x) - (i == labels[blockIdx.x] ? slope : 0.0F));
}

struct Size {
  unsigned rows;
  int columns;
  std::size_t elements;
};

Size size_of_rows(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  if (shape.rows > 2'000'000'000 || shape.columns > 2'000'000'000) refuse(task, "more rows than the kernel's grid has");
  return {static_cast<unsigned>(shape.rows), static_cast<int>(shape.columns),
          static_cast<std::size_t>(shape.elements())};
}

template <typename T, bool has_mean>
Work norm(const OperatorTask& task) {
  const Size size = size_of_rows(task);
  Work work;
  work.implementation = "meshloom's kernel, a block a row; parameters' gradients in two passes";
  const auto numbers = [&](std::size_t count) { return static_cast<T*>(work.buffers.numbers(task.key.dtype, count)); };
  const T *const x = numbers(size.elements), *const weight = numbers(size.columns), *const bias = numbers(size.columns);
  T* const y = numbers(size.elements);
  auto* const statistics = static_cast<float2*>(work.buffers.numbers(DType::fp32, 2UL * size.rows));
  if (task.key.direction == Direction::forward) {
    work.launch = [=](cudaStream_t stream) {
      norm_kernel<T, has_mean><<<size.rows, threads, 0, stream>>>(x, weight, bias, y, statistics, size.columns);
      check_launch("norm_kernel");
    };
    return work;
  }
  const T* const dy = numbers(size.elements);
  const unsigned blocks = std::min(partial_rows, size.rows);
  auto* const partial = static_cast<float2*>(work.buffers.zeros(sizeof(float2) * blocks * size.columns));
  auto* const sums = static_cast<float2*>(work.buffers.zeros(sizeof(float2) * size.columns));
  const unsigned columns = (static_cast<unsigned>(size.columns) + threads - 1) / threads;
  work.launch = [=](cudaStream_t stream) {
    norm_backward_kernel<T, has_mean><<<size.rows, threads, 0, stream>>>(x, weight, statistics, dy, y, size.columns);
    norm_parameters_kernel<<<dim3(columns, blocks), threads, 0, stream>>>(x, statistics, dy, partial,
                                                                          static_cast<int>(size.rows), size.columns);
    sum_partial_kernel<<<columns, threads, 0, stream>>>(partial, sums, static_cast<int>(blocks), size.columns);
    check_launch("norm_backward_kernel");
  };
  return work;
}

template <typename T>
Work softmax(const OperatorTask& task) {
  const Size size = size_of_rows(task);
  Work work;
  work.implementation = "meshloom's kernel, a block a row";
  const auto numbers = [&] { return static_cast<T*>(work.buffers.numbers(task.key.dtype, size.elements)); };
  const T *const x = numbers(), *const dy = numbers();
  T* const y = numbers();
  const bool forward = task.key.direction == Direction::forward;
  work.launch = [=](cudaStream_t stream) {
    if (forward)
      softmax_kernel<<<size.rows, threads, 0, stream>>>(x, y, size.columns);
    else
      softmax_backward_kernel<<<size.rows, threads, 0, stream>>>(x, dy, y, size.columns);
    check_launch("softmax_kernel");
  };
  return work;
}

template <typename T>
Work cross_entropy(const OperatorTask& task) {
  const Size size = size_of_rows(task);
  Work work;
  work.implementation = "meshloom's kernel, a block a row, logits read once";
  const auto* const logits = static_cast<const T*>(work.buffers.numbers(task.key.dtype, size.elements));
  const auto* const labels = static_cast<const std::int32_t*>(work.buffers.indices(size.rows, size.columns));
  auto* const loss = static_cast<float*>(work.buffers.zeros(sizeof(float) * size.rows));
  auto* const statistics = static_cast<float2*>(work.buffers.zeros(sizeof(float2) * size.rows));
  const auto forward = [=](cudaStream_t stream) {
    cross_entropy_kernel<<<size.rows, threads, 0, stream>>>(logits, labels, loss, statistics, size.columns);
    check_launch("cross_entropy_kernel");
  };
  work.launch = forward;
  if (task.key.direction == Direction::forward) return work;
  forward(nullptr);
  auto* const dlogits = static_cast<T*>(work.buffers.numbers(task.key.dtype, size.elements));
  work.launch = [=](cudaStream_t stream) {
    cross_entropy_backward_kernel<<<size.rows, threads, 0, stream>>>(logits, labels, statistics, loss, dlogits,
                                                                     size.columns);
    check_launch("cross_entropy_backward_kernel");
  };
  return work;
}

template <typename T>
Work make(const OperatorTask& task) {
  if (task.key.kind == MeasuredOperator::layer_norm) return norm<T, true>(task);
  if (task.key.kind == MeasuredOperator::rms_norm) return norm<T, false>(task);
  return task.key.kind == MeasuredOperator::softmax ? softmax<T>(task) : cross_entropy<T>(task);
}

}  // namespace

Work make_rows(const OperatorTask& task) {
  switch (task.key.dtype) {
    case DType::fp32:
      return make<float>(task);
    case DType::fp16:
      return make<__half>(task);
    case DType::bf16:
      return make<__nv_bfloat16>(task);
    default:
      refuse(task, "kernels over rows compute in fp32, fp16 and bf16");
  }
}

}  // namespace meshloom::cuda
