// Matrix products by cuBLASLt, as its heuristic chooses them.
#include <cublasLt.h>

#include <algorithm>

#include "costmodel/profiler/cuda/checks.hpp"
#include "costmodel/profiler/cuda/work.hpp"

namespace meshloom::cuda {
namespace {

constexpr std::size_t workspace_bytes = std::size_t{32} << 20;  // what NVIDIA recommends for Hopper

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::fp16:
      return CUDA_R_16F;
    case DType::fp8:
      return CUDA_R_8F_E4M3;
    default:
      return CUDA_R_32F;
  }
}

// One handle for each device, never destroyed: its library outlives the program's statics in no certain order.
cublasLtHandle_t handle() {
  static cublasLtHandle_t handles[64] = {};
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  if (handles[device % 64] == nullptr) check(cublasLtCreate(&handles[device % 64]), "cublasLtCreate");
  return handles[device % 64];
}

template <typename Descriptor, cublasStatus_t (*destroy)(Descriptor)>
std::shared_ptr<void> owned(Descriptor descriptor) {
  return {descriptor, [](void* pointer) { static_cast<void>(destroy(static_cast<Descriptor>(pointer))); }};
}

// Rows first, as they lie in memory: cuBLAS sees columns first, thus each matrix transposed.
struct Stored {
  std::int64_t rows, columns;
};

std::shared_ptr<void> layout(DType dtype, Stored matrix, std::int64_t batch) {
  cublasLtMatrixLayout_t result = nullptr;
  check(cublasLtMatrixLayoutCreate(&result, data_type(dtype), matrix.columns, matrix.rows, matrix.columns),
        "cublasLtMatrixLayoutCreate");
  auto kept = owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>(result);
  const auto count = static_cast<std::int32_t>(batch);
  const std::int64_t stride = matrix.rows * matrix.columns;
  check(cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
        "cublasLtMatrixLayoutSetAttribute");
  check(cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
        "cublasLtMatrixLayoutSetAttribute");
  return kept;
}

// c = a·b with rows first is cᵀ = bᵀ·aᵀ with columns first: cuBLAS' first operand is b.
struct Product {
  std::shared_ptr<void> operation, a, b, c;
  cublasLtMatmulAlgo_t algorithm;
  std::size_t workspace = 0;
};

void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const void* value,
         std::size_t bytes) {
  check(cublasLtMatmulDescSetAttribute(operation, attribute, value, bytes), "cublasLtMatmulDescSetAttribute");
}

Product describe_product(const OperatorTask& task, OperandOrder order, DType result, Buffers& buffers) {
  const std::int64_t batch = task.shape[0], m = task.shape[1], n = task.shape[2], k = task.shape[3];
  const bool a_across = order == OperandOrder::tn || order == OperandOrder::tt;
  const bool b_across = order == OperandOrder::nt || order == OperandOrder::tt;
  cublasLtMatmulDesc_t operation = nullptr;
  check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  Product product;
  product.operation = owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>(operation);
  const cublasOperation_t first = b_across ? CUBLAS_OP_T : CUBLAS_OP_N, second = a_across ? CUBLAS_OP_T : CUBLAS_OP_N;
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
  if (task.key.dtype == DType::fp8) {
    const void* const scales = buffers.numbers(DType::fp32, 4);  // one float each, as with per-tensor scaling
    set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &scales, sizeof scales);
    set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &scales, sizeof scales);
  }
  product.a = layout(task.key.dtype, a_across ? Stored{k, m} : Stored{m, k}, batch);
  product.b = layout(task.key.dtype, b_across ? Stored{n, k} : Stored{k, n}, batch);
  product.c = layout(result, {m, n}, batch);
  return product;
}

void choose_algorithm(Product& product, const OperatorTask& task) {
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  const auto kept = owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>(preference);
  const std::size_t most = workspace_bytes;
  check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most),
        "cublasLtMatmulPreferenceSetAttribute");
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const auto as_layout = [](const std::shared_ptr<void>& each) {
    return static_cast<cublasLtMatrixLayout_t>(each.get());
  };
  check(cublasLtMatmulAlgoGetHeuristic(handle(), static_cast<cublasLtMatmulDesc_t>(product.operation.get()),
                                       as_layout(product.b), as_layout(product.a), as_layout(product.c),
                                       as_layout(product.c), preference, 1, &found, &count),
        "cublasLtMatmulAlgoGetHeuristic");
  if (count == 0) refuse(task, "cuBLASLt has no kernel for this product");
  product.algorithm = found.algo;
  product.workspace = found.workspaceSize;
}

}  // namespace

Work make_gemm(const OperatorTask& task) {
  const bool fp8 = task.key.dtype == DType::fp8;
  const auto count = [&](int one, int other) {
    return static_cast<std::size_t>(task.shape[0] * task.shape[one] * task.shape[other]);
  };
  Work work;
  // fp8 kernels take both operands with the contracted dimension innermost; frameworks transpose as they cast.
  const OperandOrder order = fp8 ? OperandOrder::nt : task.key.operands;
  const DType result = fp8 ? DType::bf16 : task.key.dtype;
  Product product = describe_product(task, order, result, work.buffers);
  choose_algorithm(product, task);
  const void* const a = work.buffers.numbers(task.key.dtype, count(1, 3));
  const void* const b = work.buffers.numbers(task.key.dtype, count(3, 2));
  void* const c = work.buffers.numbers(result, count(1, 2));
  void* const workspace = work.buffers.zeros(std::max<std::size_t>(product.workspace, 16));
  const cublasLtHandle_t library = handle();
  work.launch = [=](cudaStream_t stream) {
    const float one = 1, zero = 0;
    const auto as_layout = [](const std::shared_ptr<void>& each) {
      return static_cast<cublasLtMatrixLayout_t>(each.get());
    };
    check(cublasLtMatmul(library, static_cast<cublasLtMatmulDesc_t>(product.operation.get()), &one, b,
                         as_layout(product.b), a, as_layout(product.a), &zero, c, as_layout(product.c), c,
                         as_layout(product.c), &product.algorithm, workspace, product.workspace, stream),
          "cublasLtMatmul");
  };
  work.implementation = fp8 ? "cuBLASLt, first choice of its heuristic; fp8 e4m3 with per-tensor scales, contracted "
                              "dimension innermost, bf16 result"
                            : "cuBLASLt, first choice of its heuristic";
  return work;
}

}  // namespace meshloom::cuda
