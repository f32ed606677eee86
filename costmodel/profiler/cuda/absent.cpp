#include "costmodel/profiler/cuda_backend.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions&) {
  throw InputError("--backend cuda",
                   "this meshloom-profile was built without the CUDA toolkit; install it (nvcc, "
                   "cuBLASLt, NCCL) and build again, or give --backend cpu");
}

bool cuda_device_present() { return false; }

}  // namespace meshloom
