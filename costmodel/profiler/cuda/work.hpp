// From a task to what is launched for it on one device, with buffers of its own.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "costmodel/profiler/task.hpp"

namespace meshloom::cuda {

// Device memory of one task.
class Buffers {
 public:
  void* zeros(std::size_t bytes);
  // Numbers between −1 and 1, 0.0625 apart: zeros would draw less power and clock higher.
  void* numbers(DType dtype, std::size_t count);
  void* indices(std::size_t count, std::size_t below);

 private:
  std::vector<std::shared_ptr<void>> owned_;
};

struct Work {
  Buffers buffers;
  std::function<void(cudaStream_t)> launch;
  std::string implementation;
};

// Throws InputError: no kernel for this kind, dtype or shape.
Work make_work(const OperatorTask& task);

// The parts, by kind.
Work make_gemm(const OperatorTask& task);
Work make_attention(const OperatorTask& task);
Work make_elementwise(const OperatorTask& task);
Work make_rows(const OperatorTask& task);

[[noreturn]] void refuse(const OperatorTask& task, const std::string& reason);

}  // namespace meshloom::cuda
