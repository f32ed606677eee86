#include <cuda_fp8.h>

#include <algorithm>

#include "costmodel/profiler/cuda/checks.hpp"
#include "costmodel/profiler/cuda/numbers.cuh"
#include "costmodel/profiler/cuda/work.hpp"
#include "graphs/input_error.hpp"

namespace meshloom::cuda {
namespace {

__device__ float number_at(std::size_t i) { return static_cast<float>(i * 7 % 33) * 0.0625F - 1.0F; }

template <typename T>
__global__ void fill(T* place, std::size_t count) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    place[i] = T(number_at(i));
}

__global__ void fill_indices(std::int32_t* place, std::size_t count, std::size_t below) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    place[i] = static_cast<std::int32_t>(i * 2'654'435'761ULL % below);
}

}  // namespace

void* Buffers::zeros(std::size_t bytes) {
  void* place = nullptr;
  const std::size_t whole = (std::max<std::size_t>(bytes, 1) + 15) / 16 * 16;  // kernels read 16 bytes at once
  check(cudaMalloc(&place, whole), "cudaMalloc");
  owned_.emplace_back(place, [](void* pointer) { static_cast<void>(cudaFree(pointer)); });
  check(cudaMemset(place, 0, whole), "cudaMemset");
  return place;
}

void* Buffers::numbers(DType dtype, std::size_t count) {
  void* const place = zeros(count * static_cast<std::size_t>(size_of(dtype).value()));
  switch (dtype) {
    case DType::fp32:
      fill<<<1024, 256>>>(static_cast<float*>(place), count);
      break;
    case DType::fp16:
      fill<<<1024, 256>>>(static_cast<__half*>(place), count);
      break;
    case DType::bf16:
      fill<<<1024, 256>>>(static_cast<__nv_bfloat16*>(place), count);
      break;
    case DType::fp8:
      fill<<<1024, 256>>>(static_cast<__nv_fp8_e4m3*>(place), count);
      break;
    default:
      break;
  }
  check_launch("fill");
  return place;
}

void* Buffers::indices(std::size_t count, std::size_t below) {
  void* const place = zeros(count * sizeof(std::int32_t));
  fill_indices<<<1024, 256>>>(static_cast<std::int32_t*>(place), count, below);
  check_launch("fill_indices");
  return place;
}

void refuse(const OperatorTask& task, const std::string& reason) { throw InputError(describe(Task(task)), reason); }

Work make_work(const OperatorTask& task) {
  switch (task.key.kind) {
    case MeasuredOperator::gemm:
      return make_gemm(task);
    case MeasuredOperator::attention:
      return make_attention(task);
    case MeasuredOperator::softmax:
    case MeasuredOperator::layer_norm:
    case MeasuredOperator::rms_norm:
    case MeasuredOperator::cross_entropy:
      return make_rows(task);
    case MeasuredOperator::batch_norm:
    case MeasuredOperator::max_pool:
      refuse(task, "there is no kernel of this kind");
    default:
      return make_elementwise(task);
  }
}

}  // namespace meshloom::cuda
