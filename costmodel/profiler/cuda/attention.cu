// Fused attention on tensor cores: scores never leave the chip [Dao 2023, FlashAttention-2]. Correct tiling and
// traffic, through the portable matrix instructions: it does not reach what kernels made for one architecture do, which
// the profile's provenance says.
#include <mma.h>

#include <algorithm>

#include "costmodel/profiler/cuda/checks.hpp"
#include "costmodel/profiler/cuda/numbers.cuh"
#include "costmodel/profiler/cuda/work.hpp"

namespace meshloom::cuda {
namespace {

namespace wmma = nvcuda::wmma;

constexpr int warps = 4, threads = 32 * warps, tile = 16;
constexpr int key_block = 64, query_block = 64, backward_query_block = 32;

struct Shape {
  int heads, key_heads, queries, keys;
  float factor;  // of the scores
  bool causal;
};

template <typename T>
using FragmentA = wmma::fragment<wmma::matrix_a, tile, tile, tile, T, wmma::row_major>;
template <typename T>
using FragmentATransposed = wmma::fragment<wmma::matrix_a, tile, tile, tile, T, wmma::col_major>;
template <typename T>
using FragmentB = wmma::fragment<wmma::matrix_b, tile, tile, tile, T, wmma::row_major>;
template <typename T>
using FragmentBTransposed = wmma::fragment<wmma::matrix_b, tile, tile, tile, T, wmma::col_major>;
using Accumulator = wmma::fragment<wmma::accumulator, tile, tile, tile, float>;

// `count` rows of `size` elements, `leading` apart, into shared memory; rows beyond `rows` become zeros.
template <typename T, int count, int size>
__device__ void load_rows(T* place, const T* from, int rows, std::size_t leading) {
  constexpr int packs = size / pack_size<T>;
  for (int i = static_cast<int>(threadIdx.x); i < count * packs; i += threads) {
    const int row = i / packs, pack = i % packs;
    Pack<T> values{};
    if (row < rows) values = reinterpret_cast<const Pack<T>*>(from + row * leading)[pack];
    reinterpret_cast<Pack<T>*>(place + row * size)[pack] = values;
  }
}

// c[rows of this warp's tiles] = a · bᵀ, both with `size` contracted elements in shared memory.
template <typename T, int rows, int columns, int size>
__device__ void scores_of(const T* a, const T* b, float* c) {
  constexpr int tiles = rows / tile * (columns / tile);
  for (int t = static_cast<int>(threadIdx.x) / 32; t < tiles; t += warps) {
    const int row = t / (columns / tile) * tile, column = t % (columns / tile) * tile;
    Accumulator sum;
    wmma::fill_fragment(sum, 0.0F);
    for (int k = 0; k < size; k += tile) {
      FragmentA<T> left;
      FragmentBTransposed<T> right;
      wmma::load_matrix_sync(left, a + row * size + k, size);
      wmma::load_matrix_sync(right, b + column * size + k, size);
      wmma::mma_sync(sum, left, right, sum);
    }
    wmma::store_matrix_sync(c + row * columns + column, sum, columns, wmma::mem_row_major);
  }
}

// c += a · b (or aᵀ · b): a is rows × depth (or depth × rows), b depth × columns.
template <typename T, typename Left, int rows, int columns, int depth, bool transposed>
__device__ void accumulate(const T* a, const T* b, float* c) {
  constexpr int tiles = rows / tile * (columns / tile);
  for (int t = static_cast<int>(threadIdx.x) / 32; t < tiles; t += warps) {
    const int row = t / (columns / tile) * tile, column = t % (columns / tile) * tile;
    Accumulator sum;
    wmma::load_matrix_sync(sum, c + row * columns + column, columns, wmma::mem_row_major);
    for (int k = 0; k < depth; k += tile) {
      Left left;
      FragmentB<T> right;
      wmma::load_matrix_sync(left, transposed ? a + k * rows + row : a + row * depth + k, transposed ? rows : depth);
      wmma::load_matrix_sync(right, b + k * columns + column, columns);
      wmma::mma_sync(sum, left, right, sum);
    }
    wmma::store_matrix_sync(c + row * columns + column, sum, columns, wmma::mem_row_major);
  }
}

struct HeadOffsets {
  std::size_t query, key, query_leading, key_leading;
};

template <int size>
__device__ HeadOffsets offsets(const Shape& shape, int sample, int head) {
  const int key_head = head / (shape.heads / shape.key_heads);
  const std::size_t query_leading = static_cast<std::size_t>(shape.heads) * size;
  const std::size_t key_leading = static_cast<std::size_t>(shape.key_heads) * size;
  return {sample * shape.queries * query_leading + head * size, sample * shape.keys * key_leading + key_head * size,
          query_leading, key_leading};
}

__device__ bool visible(const Shape& shape, int query, int key) {
  return query < shape.queries && key < shape.keys && (!shape.causal || key <= query + shape.keys - shape.queries);
}

template <typename T, int size>
struct ForwardMemory {
  T query[query_block * size], key[key_block * size], value[key_block * size], shares[query_block * key_block];
  float scores[query_block * key_block], output[query_block * size];
  float most[query_block], sum[query_block];
};

// One block of queries of one head; blocks: (query blocks, heads, samples).
template <typename T, int size>
__global__ void __launch_bounds__(threads)
    forward_kernel(Shape shape, const T* query, const T* key, const T* value, T* output, float* log_sums) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<ForwardMemory<T, size>*>(memory);
  const int first = static_cast<int>(blockIdx.x) * query_block, rows = min(query_block, shape.queries - first);
  const HeadOffsets at = offsets<size>(shape, static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.y));
  load_rows<T, query_block, size>(shared.query, query + at.query + first * at.query_leading, rows, at.query_leading);
  for (int i = static_cast<int>(threadIdx.x); i < query_block * size; i += threads) shared.output[i] = 0;
  if (threadIdx.x < query_block) {
    shared.most[threadIdx.x] = -1e30F;
    shared.sum[threadIdx.x] = 0;
  }
  const int end = shape.causal ? min(shape.keys, first + rows + shape.keys - shape.queries) : shape.keys;
  for (int keys = 0; keys < end; keys += key_block) {
    __syncthreads();
    const int count = min(key_block, shape.keys - keys);
    load_rows<T, key_block, size>(shared.key, key + at.key + keys * at.key_leading, count, at.key_leading);
    load_rows<T, key_block, size>(shared.value, value + at.key + keys * at.key_leading, count, at.key_leading);
    __syncthreads();
    scores_of<T, query_block, key_block, size>(shared.query, shared.key, shared.scores);
    __syncthreads();
    // Two threads a row, half of its keys each; they are neighbours in a warp.
    const int row = static_cast<int>(threadIdx.x) / 2, half = static_cast<int>(threadIdx.x) % 2 * (key_block / 2);
    float* const scores = shared.scores + row * key_block + half;
    float most = -1e30F;
    for (int i = 0; i < key_block / 2; ++i) {
      scores[i] = visible(shape, first + row, keys + half + i) ? scores[i] * shape.factor : -1e30F;
      most = fmaxf(most, scores[i]);
    }
    most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, 1));
    const float before = shared.most[row], now = fmaxf(before, most);
    float sum = 0;
    for (int i = 0; i < key_block / 2; ++i) {
      const float share = scores[i] <= -1e30F ? 0.0F : __expf(scores[i] - now);
      sum += share;
      shared.shares[row * key_block + half + i] = from_float<T>(share);
    }
    sum += __shfl_xor_sync(0xffffffffU, sum, 1);
    const float kept = __expf(before - now);
    __syncwarp();
    if (half == 0) {
      shared.most[row] = now;
      shared.sum[row] = shared.sum[row] * kept + sum;
    }
    const int begin = half == 0 ? 0 : size / 2;
    for (int i = 0; i < size / 2; ++i) shared.output[row * size + begin + i] *= kept;
    __syncthreads();
    accumulate<T, FragmentA<T>, query_block, size, key_block, false>(shared.shares, shared.value, shared.output);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < rows * size; i += threads)
    output[at.query + (first + i / size) * at.query_leading + i % size] =
        from_float<T>(shared.output[i] / shared.sum[i / size]);
  if (static_cast<int>(threadIdx.x) < rows)
    log_sums[(blockIdx.z * shape.heads + blockIdx.y) * shape.queries + first + threadIdx.x] =
        shared.most[threadIdx.x] + __logf(shared.sum[threadIdx.x]);
}

// Σ dy·y of each query: a warp a row; rows in the order of [sample, query, head].
template <typename T, int size>
__global__ void dots_kernel(Shape shape, const T* output, const T* doutput, float* dots, std::size_t rows) {
  const std::size_t row = static_cast<std::size_t>(blockIdx.x) * warps + threadIdx.x / 32;
  if (row >= rows) return;
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < size; i += 32)
    sum += to_float(output[row * size + i]) * to_float(doutput[row * size + i]);
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, offset);
  const std::size_t head = row % shape.heads, query = row / shape.heads % shape.queries,
                    sample = row / shape.heads / shape.queries;
  if (threadIdx.x % 32 == 0) dots[(sample * shape.heads + head) * shape.queries + query] = sum;
}

template <typename T, int size>
struct BackwardMemory {
  T key[key_block * size], value[key_block * size];
  T query[backward_query_block * size], doutput[backward_query_block * size];
  T shares[backward_query_block * key_block], slopes[backward_query_block * key_block];
  // Scores and the shares' slopes; then the block's gradient of the queries.
  float work[backward_query_block * (2 * key_block > size ? 2 * key_block : size)];
  float dkey[key_block * size], dvalue[key_block * size];
};

template <typename T>
struct BackwardOperands {
  const T *query, *key, *value, *doutput;
  const float *log_sums, *dots;
  float *dquery, *dkey, *dvalue;  // in fp32: several blocks add to each
};

// One block of keys of one query head; blocks: (key blocks, heads, samples).
template <typename T, int size>
__global__ void __launch_bounds__(threads) backward_kernel(Shape shape, BackwardOperands<T> of) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<BackwardMemory<T, size>*>(memory);
  constexpr int rows_at_once = backward_query_block;
  const int keys = static_cast<int>(blockIdx.x) * key_block, count = min(key_block, shape.keys - keys);
  const HeadOffsets at = offsets<size>(shape, static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.y));
  const std::size_t statistics = (blockIdx.z * shape.heads + blockIdx.y) * static_cast<std::size_t>(shape.queries);
  load_rows<T, key_block, size>(shared.key, of.key + at.key + keys * at.key_leading, count, at.key_leading);
  load_rows<T, key_block, size>(shared.value, of.value + at.key + keys * at.key_leading, count, at.key_leading);
  for (int i = static_cast<int>(threadIdx.x); i < key_block * size; i += threads) {
    shared.dkey[i] = 0;
    shared.dvalue[i] = 0;
  }
  float *const scores = shared.work, *const dshares = shared.work + rows_at_once * key_block;
  const int start = shape.causal ? max(0, keys + shape.queries - shape.keys) / rows_at_once * rows_at_once : 0;
  for (int first = start; first < shape.queries; first += rows_at_once) {
    __syncthreads();
    const int rows = min(rows_at_once, shape.queries - first);
    const std::size_t begin = at.query + first * at.query_leading;
    load_rows<T, rows_at_once, size>(shared.query, of.query + begin, rows, at.query_leading);
    load_rows<T, rows_at_once, size>(shared.doutput, of.doutput + begin, rows, at.query_leading);
    __syncthreads();
    scores_of<T, rows_at_once, key_block, size>(shared.query, shared.key, scores);
    scores_of<T, rows_at_once, key_block, size>(shared.doutput, shared.value, dshares);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < rows_at_once * key_block; i += threads) {
      const int row = i / key_block;
      const bool seen = visible(shape, first + row, keys + i % key_block);
      const float share = seen ? __expf(scores[i] * shape.factor - of.log_sums[statistics + first + row]) : 0.0F;
      shared.shares[i] = from_float<T>(share);
      shared.slopes[i] =
          from_float<T>(seen ? share * (dshares[i] - of.dots[statistics + first + row]) * shape.factor : 0.0F);
    }
    __syncthreads();
    accumulate<T, FragmentATransposed<T>, key_block, size, rows_at_once, true>(shared.shares, shared.doutput,
                                                                               shared.dvalue);
    accumulate<T, FragmentATransposed<T>, key_block, size, rows_at_once, true>(shared.slopes, shared.query,
                                                                               shared.dkey);
    for (int i = static_cast<int>(threadIdx.x); i < rows_at_once * size; i += threads) shared.work[i] = 0;
    __syncthreads();
    accumulate<T, FragmentA<T>, rows_at_once, size, key_block, false>(shared.slopes, shared.key, shared.work);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < rows * size; i += threads)
      atomicAdd(of.dquery + begin + i / size * at.query_leading + i % size, shared.work[i]);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count * size; i += threads) {
    const std::size_t place = at.key + (keys + i / size) * at.key_leading + i % size;
    atomicAdd(of.dkey + place, shared.dkey[i]);
    atomicAdd(of.dvalue + place, shared.dvalue[i]);
  }
}

template <typename T>
__global__ void convert_kernel(const float* from, T* to, std::size_t count) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    to[i] = from_float<T>(from[i]);
}

template <typename Kernel>
void allow_shared_memory(Kernel kernel, std::size_t bytes, const OperatorTask& task) {
  int device = 0, most = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
  if (bytes > static_cast<std::size_t>(most)) refuse(task, "the kernel needs more shared memory than the device has");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "cudaFuncSetAttribute");
}

void clear(float* place, std::size_t count, cudaStream_t stream) {
  check(cudaMemsetAsync(place, 0, count * sizeof(float), stream), "cudaMemsetAsync");
}

struct Operands {
  Shape shape;
  unsigned samples;
  std::size_t query_count, key_count, rows;
};

Operands operands_of(const OperatorTask& task) {
  const auto size = [&](std::size_t i) { return static_cast<std::size_t>(task.shape[i]); };
  const Shape shape{static_cast<int>(size(1)),
                    static_cast<int>(size(2)),
                    static_cast<int>(size(3)),
                    static_cast<int>(size(4)),
                    1.0F / sqrtf(static_cast<float>(size(5))),
                    task.key.causal};
  if (size(0) > 65'535 || size(1) > 65'535) refuse(task, "more samples or heads than the kernel's grid has");
  return {shape, static_cast<unsigned>(size(0)), size(0) * size(1) * size(3) * size(5),
          size(0) * size(2) * size(4) * size(5), size(0) * size(1) * size(3)};
}

template <typename T, int size>
Work make(const OperatorTask& task) {
  const Operands of = operands_of(task);
  const Shape shape = of.shape;
  Work work;
  work.implementation = "meshloom's flash-style kernel through wmma; slower than kernels made for one architecture";
  const auto numbers = [&](std::size_t count) { return static_cast<T*>(work.buffers.numbers(task.key.dtype, count)); };
  const auto floats = [&](std::size_t count) { return static_cast<float*>(work.buffers.zeros(count * sizeof(float))); };
  const T *const query = numbers(of.query_count), *const key = numbers(of.key_count),
                 *const value = numbers(of.key_count);
  T* const output = numbers(of.query_count);
  float* const log_sums = floats(of.rows);
  const auto grid_of = [&](int whole, int block) {
    return dim3(static_cast<unsigned>((whole + block - 1) / block), static_cast<unsigned>(shape.heads), of.samples);
  };
  const dim3 grid = grid_of(shape.queries, query_block);
  allow_shared_memory(forward_kernel<T, size>, sizeof(ForwardMemory<T, size>), task);
  work.launch = [=](cudaStream_t stream) {
    forward_kernel<T, size>
        <<<grid, threads, sizeof(ForwardMemory<T, size>), stream>>>(shape, query, key, value, output, log_sums);
    check_launch("forward_kernel");
  };
  if (task.key.direction == Direction::forward) return work;

  work.launch(nullptr);  // the backward reads a true output and its log-sums
  const T* const doutput = numbers(of.query_count);
  float* const dots = floats(of.rows);
  const BackwardOperands<T> operands{
      query, key, value, doutput, log_sums, dots, floats(of.query_count), floats(of.key_count), floats(of.key_count)};
  T *const dquery = numbers(of.query_count), *const dkey = numbers(of.key_count), *const dvalue = numbers(of.key_count);
  const dim3 backward_grid = grid_of(shape.keys, key_block);
  const auto dot_blocks = static_cast<unsigned>((of.rows + warps - 1) / warps);
  allow_shared_memory(backward_kernel<T, size>, sizeof(BackwardMemory<T, size>), task);
  work.launch = [=](cudaStream_t stream) {
    clear(operands.dquery, of.query_count, stream);
    clear(operands.dkey, of.key_count, stream);
    clear(operands.dvalue, of.key_count, stream);
    dots_kernel<T, size><<<dot_blocks, threads, 0, stream>>>(shape, output, doutput, dots, of.rows);
    backward_kernel<T, size><<<backward_grid, threads, sizeof(BackwardMemory<T, size>), stream>>>(shape, operands);
    convert_kernel<<<1024, 256, 0, stream>>>(operands.dquery, dquery, of.query_count);
    convert_kernel<<<1024, 256, 0, stream>>>(operands.dkey, dkey, of.key_count);
    convert_kernel<<<1024, 256, 0, stream>>>(operands.dvalue, dvalue, of.key_count);
    check_launch("backward_kernel");
  };
  return work;
}

template <typename T>
Work make_for_size(const OperatorTask& task) {
  if (task.shape[5] == 64) return make<T, 64>(task);
  if (task.shape[5] == 128) return make<T, 128>(task);
  refuse(task, "the attention kernel is for heads of 64 or 128 elements");
}

}  // namespace

Work make_attention(const OperatorTask& task) {
  if (task.key.dtype == DType::bf16) return make_for_size<__nv_bfloat16>(task);
  if (task.key.dtype == DType::fp16) return make_for_size<__half>(task);
  refuse(task, "the attention kernel computes in bf16 and fp16");
}

}  // namespace meshloom::cuda
