// Kernels that go through memory once: 16 bytes a thread and turn.
#include <algorithm>

#include "costmodel/profiler/cuda/checks.hpp"
#include "costmodel/profiler/cuda/numbers.cuh"
#include "costmodel/profiler/cuda/work.hpp"

namespace meshloom::cuda {
namespace {

constexpr int threads = 256;
constexpr std::int64_t table_rows = 32'768;

template <int inputs, int outputs, typename T>
struct Streams {
  const T* in[inputs];
  T* out[outputs];
};

// out = f(in), element by element.
template <int inputs, int outputs, typename T, typename Function>
__global__ void map_kernel(Streams<inputs, outputs, T> streams, std::size_t packs, Function function) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t p = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < packs; p += step) {
    Pack<T> in[inputs], out[outputs];
    for (int i = 0; i < inputs; ++i) in[i] = reinterpret_cast<const Pack<T>*>(streams.in[i])[p];
    for (int e = 0; e < pack_size<T>; ++e) {
      float values[inputs], results[outputs];
      for (int i = 0; i < inputs; ++i) values[i] = to_float(in[i].values[e]);
      function(values, results);
      for (int o = 0; o < outputs; ++o) out[o].values[e] = from_float<T>(results[o]);
    }
    for (int o = 0; o < outputs; ++o) reinterpret_cast<Pack<T>*>(streams.out[o])[p] = out[o];
  }
}

unsigned blocks_for(std::size_t items) {
  return static_cast<unsigned>(std::clamp<std::size_t>((items + threads - 1) / threads, 1, 65'536));
}

template <int inputs, int outputs, typename T, typename Function>
Work map(const OperatorTask& task, std::int64_t count, Function function) {
  Work work;
  Streams<inputs, outputs, T> streams;
  for (const T*& in : streams.in) in = static_cast<T*>(work.buffers.numbers(task.key.dtype, count));
  for (T*& out : streams.out) out = static_cast<T*>(work.buffers.numbers(task.key.dtype, count));
  const std::size_t packs = (static_cast<std::size_t>(count) + pack_size<T> - 1) / pack_size<T>;
  work.launch = [=](cudaStream_t stream) {
    map_kernel<inputs, outputs, T><<<blocks_for(packs), threads, 0, stream>>>(streams, packs, function);
    check_launch("map_kernel");
  };
  work.implementation = "meshloom's kernel, 16 bytes a thread";
  return work;
}

__device__ float logistic(float x) { return 1.0F / (1.0F + __expf(-x)); }

struct Copy {
  __device__ void operator()(const float* in, float* out) const { out[0] = in[0]; }
};
struct Scale {
  __device__ void operator()(const float* in, float* out) const { out[0] = 0.125F * in[0]; }
};
struct Add {
  __device__ void operator()(const float* in, float* out) const { out[0] = in[0] + in[1]; }
};
struct Multiply {
  __device__ void operator()(const float* in, float* out) const { out[0] = in[0] * in[1]; }
};
struct MultiplyBackward {
  __device__ void operator()(const float* in, float* out) const {
    out[0] = in[1] * in[2];
    out[1] = in[0] * in[2];
  }
};
struct Gelu {
  __device__ void operator()(const float* in, float* out) const {
    const float x = in[0];
    out[0] = x * logistic(1.5957691216F * (x + 0.044715F * x * x * x));
  }
};
struct GeluBackward {
  __device__ void operator()(const float* in, float* out) const {
    const float x = in[0];
    const float share = logistic(1.5957691216F * (x + 0.044715F * x * x * x));
    const float slope = 1.5957691216F * (1.0F + 0.134145F * x * x);
    out[0] = in[1] * (share + x * share * (1.0F - share) * slope);
  }
};
struct Relu {
  __device__ void operator()(const float* in, float* out) const { out[0] = fmaxf(in[0], 0.0F); }
};
struct ReluBackward {
  __device__ void operator()(const float* in, float* out) const { out[0] = in[0] > 0 ? in[1] : 0.0F; }
};
struct Silu {
  __device__ void operator()(const float* in, float* out) const { out[0] = in[0] * logistic(in[0]); }
};
struct SiluBackward {
  __device__ void operator()(const float* in, float* out) const {
    const float share = logistic(in[0]);
    out[0] = in[1] * share * (1.0F + in[0] * (1.0F - share));
  }
};

// y = x + bias of `row` elements.
template <typename T>
__global__ void add_bias_kernel(const T* x, const T* bias, T* y, std::size_t packs, std::size_t row_packs) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t p = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < packs; p += step) {
    const Pack<T> in = reinterpret_cast<const Pack<T>*>(x)[p],
                  added = reinterpret_cast<const Pack<T>*>(bias)[p % row_packs];
    Pack<T> out;
    for (int e = 0; e < pack_size<T>; ++e)
      out.values[e] = from_float<T>(to_float(in.values[e]) + to_float(added.values[e]));
    reinterpret_cast<Pack<T>*>(y)[p] = out;
  }
}

// Sums of columns: a thread for each column, a block of rows for each blockIdx.y.
template <typename T>
__global__ void sum_rows_kernel(const T* dy, float* sums, std::int64_t rows, std::int64_t columns) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float sum = 0;
  for (std::int64_t r = blockIdx.y; r < rows; r += gridDim.y) sum += to_float(dy[r * columns + column]);
  atomicAdd(sums + column, sum);
}

template <typename T>
Work add(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  if (task.row == 0) {
    if (task.key.direction == Direction::backward)
      refuse(task, "the gradient of a sum of equal operands is passed on: there is no kernel");
    return map<2, 1, T>(task, shape.elements(), Add{});
  }
  Work work;
  work.implementation = "meshloom's kernel";
  const auto* const x = static_cast<const T*>(work.buffers.numbers(task.key.dtype, shape.elements()));
  if (task.key.direction == Direction::backward) {
    auto* const sums = static_cast<float*>(work.buffers.zeros(shape.columns * sizeof(float)));
    const dim3 grid(blocks_for(shape.columns), static_cast<unsigned>(std::min<std::int64_t>(64, shape.rows)));
    work.launch = [=](cudaStream_t stream) {
      check(cudaMemsetAsync(sums, 0, shape.columns * sizeof(float), stream), "cudaMemsetAsync");
      sum_rows_kernel<<<grid, threads, 0, stream>>>(x, sums, shape.rows, shape.columns);
      check_launch("sum_rows_kernel");
    };
    return work;
  }
  if (shape.columns % pack_size<T> != 0) refuse(task, "the bias is no multiple of 16 bytes");
  const auto* const bias = static_cast<const T*>(work.buffers.numbers(task.key.dtype, shape.columns));
  auto* const y = static_cast<T*>(work.buffers.numbers(task.key.dtype, shape.elements()));
  const std::size_t packs = shape.elements() / pack_size<T>, row_packs = shape.columns / pack_size<T>;
  work.launch = [=](cudaStream_t stream) {
    add_bias_kernel<<<blocks_for(packs), threads, 0, stream>>>(x, bias, y, packs, row_packs);
    check_launch("add_bias_kernel");
  };
  return work;
}

// A random number for each element from its position and a seed, as generators with a counter do.
__device__ std::uint32_t scrambled(std::uint32_t value) {
  value = (value ^ (value >> 16)) * 0x7feb352dU;
  value = (value ^ (value >> 15)) * 0x846ca68bU;
  return value ^ (value >> 16);
}

template <typename T>
struct alignas(pack_size<T>) Mask {
  std::uint8_t values[pack_size<T>];
};

template <typename T>
__global__ void dropout_kernel(const T* x, T* y, std::uint8_t* mask, std::size_t packs) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t p = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < packs; p += step) {
    const Pack<T> in = reinterpret_cast<const Pack<T>*>(x)[p];
    Pack<T> out;
    Mask<T> kept;
    for (int e = 0; e < pack_size<T>; ++e) {
      kept.values[e] = scrambled(static_cast<std::uint32_t>(p * pack_size<T> + e)) < 3'865'470'566U ? 1 : 0;
      out.values[e] = from_float<T>(kept.values[e] != 0 ? to_float(in.values[e]) * (1 / 0.9F) : 0.0F);
    }
    reinterpret_cast<Pack<T>*>(y)[p] = out;
    reinterpret_cast<Mask<T>*>(mask)[p] = kept;
  }
}

template <typename T>
__global__ void dropout_backward_kernel(const T* dy, T* dx, const std::uint8_t* mask, std::size_t packs) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t p = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < packs; p += step) {
    const Pack<T> in = reinterpret_cast<const Pack<T>*>(dy)[p];
    const Mask<T> kept = reinterpret_cast<const Mask<T>*>(mask)[p];
    Pack<T> out;
    for (int e = 0; e < pack_size<T>; ++e)
      out.values[e] = from_float<T>(kept.values[e] != 0 ? to_float(in.values[e]) * (1 / 0.9F) : 0.0F);
    reinterpret_cast<Pack<T>*>(dx)[p] = out;
  }
}

template <typename T>
Work dropout(const OperatorTask& task) {
  const std::size_t count = rows_of(task).elements(), packs = (count + pack_size<T> - 1) / pack_size<T>;
  Work work;
  work.implementation = "meshloom's kernel, a byte of mask an element";
  const auto* const x = static_cast<const T*>(work.buffers.numbers(task.key.dtype, count));
  auto* const y = static_cast<T*>(work.buffers.numbers(task.key.dtype, count));
  auto* const mask = static_cast<std::uint8_t*>(work.buffers.zeros(packs * pack_size<T>));
  const bool forward = task.key.direction == Direction::forward;
  work.launch = [=](cudaStream_t stream) {
    if (forward)
      dropout_kernel<<<blocks_for(packs), threads, 0, stream>>>(x, y, mask, packs);
    else
      dropout_backward_kernel<<<blocks_for(packs), threads, 0, stream>>>(x, y, mask, packs);
    check_launch("dropout_kernel");
  };
  return work;
}

// Rotates pairs (i, i + half) of each row; angles from a table of positions.
template <typename T>
__global__ void rotary_kernel(const T* x, T* y, const float2* angles, std::size_t pairs, int half, int positions,
                              float direction) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t p = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < pairs; p += step) {
    const std::size_t row = p / half, i = p % half, at = row * 2 * half + i;
    const float2 turn = angles[row % positions * half + i];
    const float a = to_float(x[at]), b = to_float(x[at + half]);
    y[at] = from_float<T>(a * turn.x - direction * b * turn.y);
    y[at + half] = from_float<T>(direction * a * turn.y + b * turn.x);
  }
}

template <typename T>
Work rotary(const OperatorTask& task) {
  const int half = static_cast<int>(task.row > 1 ? task.row / 2 : 32), positions = 2048;
  const std::size_t count = static_cast<std::size_t>(rows_of(task).elements()) / (2 * half) * (2 * half);
  if (count == 0) refuse(task, "fewer elements than a head has");
  Work work;
  work.implementation = "meshloom's kernel, angles from a table";
  const auto* const x = static_cast<const T*>(work.buffers.numbers(task.key.dtype, count));
  auto* const y = static_cast<T*>(work.buffers.numbers(task.key.dtype, count));
  const auto* const angles = static_cast<const float2*>(work.buffers.numbers(DType::fp32, 2UL * half * positions));
  const float direction = task.key.direction == Direction::forward ? 1.0F : -1.0F;
  work.launch = [=](cudaStream_t stream) {
    rotary_kernel<<<blocks_for(count / 2), threads, 0, stream>>>(x, y, angles, count / 2, half, positions, direction);
    check_launch("rotary_kernel");
  };
  return work;
}

// A row of the table for each index, and back: rows are added to the table's gradient, which accumulates in fp32.
template <typename T>
__global__ void gather_kernel(const T* table, const std::int32_t* indices, T* y, std::int64_t width) {
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x)
    y[blockIdx.x * width + i] = table[indices[blockIdx.x] * width + i];
}
template <typename T>
__global__ void scatter_add_kernel(float* dtable, const std::int32_t* indices, const T* dy, std::int64_t width) {
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x)
    atomicAdd(dtable + indices[blockIdx.x] * width + i, to_float(dy[blockIdx.x * width + i]));
}

template <typename T>
Work gather(const OperatorTask& task) {
  const RowShape shape = rows_of(task);
  Work work;
  work.implementation = "meshloom's kernel; the gradient by atomic additions in fp32";
  const bool forward = task.key.direction == Direction::forward;
  const auto* const table =
      static_cast<const T*>(work.buffers.numbers(task.key.dtype, forward ? table_rows * shape.columns : 1));
  auto* const dtable = static_cast<float*>(work.buffers.numbers(DType::fp32, forward ? 1 : table_rows * shape.columns));
  const auto* const indices = static_cast<const std::int32_t*>(work.buffers.indices(shape.rows, table_rows));
  auto* const y = static_cast<T*>(work.buffers.numbers(task.key.dtype, shape.elements()));
  const auto blocks = static_cast<unsigned>(shape.rows);
  work.launch = [=](cudaStream_t stream) {
    if (forward)
      gather_kernel<<<blocks, threads, 0, stream>>>(table, indices, y, shape.columns);
    else
      scatter_add_kernel<<<blocks, threads, 0, stream>>>(dtable, indices, y, shape.columns);
    check_launch("gather_kernel");
  };
  return work;
}

// Each row's sum; a sum of everything is one of many rows, then of their sums.
template <typename T>
__global__ void sum_kernel(const T* x, float* sums, std::int64_t columns) {
  __shared__ float shared[threads / 32];
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < columns; i += blockDim.x) sum += to_float(x[blockIdx.x * columns + i]);
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <typename T>
Work sum(const OperatorTask& task) {
  RowShape shape = rows_of(task);
  const bool everything = task.row == 0;
  if (everything) shape = {std::min<std::int64_t>(1024, shape.rows), std::max<std::int64_t>(1, shape.rows / 1024)};
  if (task.key.direction == Direction::backward) return map<1, 1, T>(task, shape.elements(), Copy{});
  Work work;
  work.implementation = "meshloom's kernel";
  const auto* const x = static_cast<const T*>(work.buffers.numbers(task.key.dtype, shape.elements()));
  auto* const sums = static_cast<float*>(work.buffers.zeros((shape.rows + 1) * sizeof(float)));
  work.launch = [=](cudaStream_t stream) {
    sum_kernel<<<static_cast<unsigned>(shape.rows), threads, 0, stream>>>(x, sums, shape.columns);
    if (everything) sum_kernel<<<1, threads, 0, stream>>>(sums, sums + shape.rows, shape.rows);
    check_launch("sum_kernel");
  };
  return work;
}

// [rows, columns] -> [columns, rows] by tiles of 32 × 32.
template <typename T>
__global__ void transpose_kernel(const T* x, T* y, int rows, int columns) {
  __shared__ T tile[32][33];
  const int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 32 + threadIdx.y;
  for (int i = 0; i < 32; i += 8)
    if (row + i < rows && column < columns)
      tile[threadIdx.y + i][threadIdx.x] = x[static_cast<std::size_t>(row + i) * columns + column];
  __syncthreads();
  const int to_column = blockIdx.y * 32 + threadIdx.x, to_row = blockIdx.x * 32 + threadIdx.y;
  for (int i = 0; i < 32; i += 8)
    if (to_row + i < columns && to_column < rows)
      y[static_cast<std::size_t>(to_row + i) * rows + to_column] = tile[threadIdx.x][threadIdx.y + i];
}

template <typename T>
Work transpose(const OperatorTask& task) {
  const std::int64_t count = rows_of(task).elements(), columns = task.row > 1 ? task.row : 1024;
  const auto rows = std::max<std::int64_t>(1, count / columns);
  if (rows > 65'535LL * 32) refuse(task, "more rows than the kernel's grid has");
  Work work;
  work.implementation = "meshloom's kernel, tiles of 32 x 32";
  const auto* const x = static_cast<const T*>(work.buffers.numbers(task.key.dtype, rows * columns));
  auto* const y = static_cast<T*>(work.buffers.numbers(task.key.dtype, rows * columns));
  const dim3 grid(static_cast<unsigned>((columns + 31) / 32), static_cast<unsigned>((rows + 31) / 32));
  work.launch = [=](cudaStream_t stream) {
    transpose_kernel<<<grid, dim3(32, 8), 0, stream>>>(x, y, static_cast<int>(rows), static_cast<int>(columns));
    check_launch("transpose_kernel");
  };
  return work;
}

// Master copy, gradient and moments in fp32; the working copy is written in its dtype.
template <typename T>
__global__ void adam_kernel(const float4* gradient, float4* master, float4* first, float4* second, T* working,
                            std::size_t packs) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t p = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < packs; p += step) {
    float4 g = gradient[p], m = first[p], v = second[p], w = master[p];
    float* const gs = &g.x;
    float* const ms = &m.x;
    float* const vs = &v.x;
    float* const ws = &w.x;
    for (int e = 0; e < 4; ++e) {
      ms[e] = 0.9F * ms[e] + 0.1F * gs[e];
      vs[e] = 0.999F * vs[e] + 0.001F * gs[e] * gs[e];
      ws[e] -= 1e-4F * ms[e] / (sqrtf(fabsf(vs[e])) + 1e-8F);
      if (working != nullptr) working[4 * p + e] = from_float<T>(ws[e]);
    }
    first[p] = m;
    second[p] = v;
    master[p] = w;
  }
}

template <typename T>
Work optimizer(const OperatorTask& task) {
  const std::size_t packs = (static_cast<std::size_t>(task.shape[0]) + 3) / 4;
  Work work;
  work.implementation = "meshloom's kernel: Adam, gradient, master copy and moments in fp32";
  const auto floats = [&] { return static_cast<float4*>(work.buffers.numbers(DType::fp32, 4 * packs)); };
  const float4* const gradient = floats();
  float4 *const master = floats(), *const first = floats(), *const second = floats();
  T* const working =
      task.key.dtype == DType::fp32 ? nullptr : static_cast<T*>(work.buffers.numbers(task.key.dtype, 4 * packs));
  work.launch = [=](cudaStream_t stream) {
    adam_kernel<<<blocks_for(packs), threads, 0, stream>>>(gradient, master, first, second, working, packs);
    check_launch("adam_kernel");
  };
  return work;
}

template <typename T>
Work make(const OperatorTask& task) {
  const bool forward = task.key.direction == Direction::forward;
  const std::int64_t count = task.key.kind == MeasuredOperator::optimizer ? 0 : rows_of(task).elements();
  switch (task.key.kind) {
    case MeasuredOperator::optimizer:
      return optimizer<T>(task);
    case MeasuredOperator::copy:
      return map<1, 1, T>(task, count, Copy{});
    case MeasuredOperator::scale:
      return map<1, 1, T>(task, count, Scale{});
    case MeasuredOperator::add:
      return add<T>(task);
    case MeasuredOperator::multiply:
      return forward ? map<2, 1, T>(task, count, Multiply{}) : map<3, 2, T>(task, count, MultiplyBackward{});
    case MeasuredOperator::gelu:
      return forward ? map<1, 1, T>(task, count, Gelu{}) : map<2, 1, T>(task, count, GeluBackward{});
    case MeasuredOperator::relu:
      return forward ? map<1, 1, T>(task, count, Relu{}) : map<2, 1, T>(task, count, ReluBackward{});
    case MeasuredOperator::silu:
      return forward ? map<1, 1, T>(task, count, Silu{}) : map<2, 1, T>(task, count, SiluBackward{});
    case MeasuredOperator::dropout:
      return dropout<T>(task);
    case MeasuredOperator::rotary:
      return rotary<T>(task);
    case MeasuredOperator::gather:
      return gather<T>(task);
    case MeasuredOperator::sum:
      return sum<T>(task);
    case MeasuredOperator::transpose:
      return transpose<T>(task);
    default:
      refuse(task, "there is no kernel of this kind");
  }
}

}  // namespace

Work make_elementwise(const OperatorTask& task) {
  switch (task.key.dtype) {
    case DType::fp32:
      return make<float>(task);
    case DType::fp16:
      return make<__half>(task);
    case DType::bf16:
      return make<__nv_bfloat16>(task);
    default:
      refuse(task, "elementwise kernels compute in fp32, fp16 and bf16");
  }
}

}  // namespace meshloom::cuda
