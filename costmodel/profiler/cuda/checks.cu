#include <stdexcept>

#include "costmodel/profiler/cuda/checks.hpp"
#include "graphs/input_error.hpp"

namespace meshloom::cuda {
namespace {

std::string place(const char* call, const std::source_location& where) {
  return std::string(call) + " (" + where.file_name() + ":" + std::to_string(where.line()) + ")";
}

}  // namespace

void check(cudaError_t error, const char* call, std::source_location where) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // this error does not stick
    throw InputError(place(call, where), "the device's memory is too small");
  }
  throw std::runtime_error(place(call, where) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
}

void check(cublasStatus_t status, const char* call, std::source_location where) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED)
    throw InputError(place(call, where), "cuBLASLt has no kernel for this product");
  throw std::runtime_error(place(call, where) + ": " + cublasLtGetStatusName(status) + ": " +
                           cublasLtGetStatusString(status));
}

void check(ncclResult_t result, const char* call, std::source_location where) {
  if (result == ncclSuccess) return;
  throw std::runtime_error(place(call, where) + ": " + ncclGetErrorString(result) + ": " + ncclGetLastError(nullptr));
}

void check_launch(const char* kernel, std::source_location where) { check(cudaGetLastError(), kernel, where); }

}  // namespace meshloom::cuda
