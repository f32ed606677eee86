// Every call of CUDA and its libraries goes through one of these: a failure says which call, where, and why.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <nccl.h>

#include <source_location>
#include <string>

namespace meshloom::cuda {

// Throws InputError when memory is short, so that the task is left out and the run goes on; std::runtime_error for all
// else, after which the device cannot be trusted.
void check(cudaError_t error, const char* call, std::source_location where = std::source_location::current());
void check(cublasStatus_t status, const char* call, std::source_location where = std::source_location::current());
void check(ncclResult_t result, const char* call, std::source_location where = std::source_location::current());
// After a kernel launch.
void check_launch(const char* kernel, std::source_location where = std::source_location::current());

}  // namespace meshloom::cuda
