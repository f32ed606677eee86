// The processor as a device: kernels of cpu_kernels.hpp in 32-bit floats, timed by one of two clocks. One process, one
// device, no collectives.
#pragma once

#include <memory>

#include "costmodel/profiler/backend.hpp"
#include "costmodel/profiler/cpu_clock.hpp"

namespace meshloom {

struct CpuOptions {
  int threads = 1;                  // of matrix products; every other kernel runs in one
  CpuClock clock = CpuClock::wall;  // processor: with one thread
};

// Named as the operating system names the processor, with the threads: "Intel(R) Xeon(R) Processor, 1 thread".
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);

}  // namespace meshloom
