// From a task to a call of the processor's kernels, with buffers of its own.
#pragma once

#include <functional>
#include <string>

#include "costmodel/profiler/task.hpp"

namespace meshloom {

struct CpuWork {
  std::function<void()> run;
  std::string implementation;
};

// Throws InputError: another dtype than fp32, a kind without a kernel, more memory than the machine has.
CpuWork make_cpu_work(const OperatorTask& task);

}  // namespace meshloom
