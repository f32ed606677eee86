// NCCL's collectives over groups of the devices of all processes.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>

#include "costmodel/profiler/backend.hpp"
#include "costmodel/profiler/cuda_backend.hpp"

namespace meshloom::cuda {

class Communicators {
 public:
  // All processes call it: they find each other through the file of the options. Every host has `local_devices`.
  Communicators(const CudaOptions& options, int local_devices);
  ~Communicators();
  Communicators(const Communicators&) = delete;
  Communicators& operator=(const Communicators&) = delete;

  std::unique_ptr<PreparedTask> prepare(const CollectiveTask& task);
  // Rank 0's value, and the largest of all processes' values.
  double first(double value);
  double largest(double value);

  class State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace meshloom::cuda
