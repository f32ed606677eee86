// NVIDIA's devices behind the profiler's interface: cuBLASLt, kernels of our own, NCCL. Built where the CUDA toolkit is
// found (cmake/cuda.cmake); elsewhere make_cuda_backend says that it is not.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "costmodel/profiler/backend.hpp"

namespace meshloom {

// One process drives all devices of its host, or a part of several hosts' devices.
struct CudaOptions {
  std::int64_t ranks = 1, rank = 0;      // processes, one for each host
  std::optional<std::string> unique_id;  // a file that all of them see: rank 0 writes NCCL's id into it
};

// Throws InputError: the program was built without CUDA; no driver; no device; more than one rank without a file.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

// Whether there is a device to measure: what `--backend auto` asks.
bool cuda_device_present();

}  // namespace meshloom
