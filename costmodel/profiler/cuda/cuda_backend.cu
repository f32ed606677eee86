#include <cublasLt.h>
#include <nccl.h>

#include <optional>

#include "costmodel/profiler/cuda/checks.hpp"
#include "costmodel/profiler/cuda/collectives.hpp"
#include "costmodel/profiler/cuda/management.hpp"
#include "costmodel/profiler/cuda/work.hpp"
#include "costmodel/profiler/cuda_backend.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

using cuda::check;

// Made once for each device: a stream, the events around what is timed, and memory that empties the cache.
struct Timer {
  Timer() {
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check(cudaEventCreate(&begin), "cudaEventCreate");
    check(cudaEventCreate(&end), "cudaEventCreate");
    int cache = 0;
    check(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, 0), "cudaDeviceGetAttribute");
    flushed_bytes = 2 * static_cast<std::size_t>(cache);
    if (flushed_bytes > 0) check(cudaMalloc(&flushed, flushed_bytes), "cudaMalloc");
  }

  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  void* flushed = nullptr;
  std::size_t flushed_bytes = 0;
};

class CudaTask : public PreparedTask {
 public:
  CudaTask(cuda::Work work, Timer& timer) : work_(std::move(work)), timer_(timer) {
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // the buffers are filled
  }

  Seconds run(std::size_t times) override {
    check(cudaEventRecord(timer_.begin, timer_.stream), "cudaEventRecord");
    for (std::size_t i = 0; i < times; ++i) work_.launch(timer_.stream);
    check(cudaEventRecord(timer_.end, timer_.stream), "cudaEventRecord");
    check(cudaEventSynchronize(timer_.end), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, timer_.begin, timer_.end), "cudaEventElapsedTime");
    return Seconds(1e-3 * static_cast<double>(milliseconds));
  }

  void flush() override {
    if (timer_.flushed_bytes > 0)
      check(cudaMemsetAsync(timer_.flushed, 1, timer_.flushed_bytes, timer_.stream), "cudaMemsetAsync");
  }

  std::string implementation() const override { return work_.implementation; }

 private:
  cuda::Work work_;
  Timer& timer_;
};

// What other processes of the run must not do twice: they wait while rank 0 measures its device.
class IdleTask : public PreparedTask {
 public:
  Seconds run(std::size_t) override { return Seconds(0); }
  void flush() override {}
  std::string implementation() const override { return {}; }
};

// Samples that all processes agree on, so that they stop after as many.
class AgreedTask : public PreparedTask {
 public:
  AgreedTask(std::unique_ptr<PreparedTask> task, cuda::Communicators& communicators)
      : task_(std::move(task)), communicators_(communicators) {}
  Seconds run(std::size_t times) override { return Seconds(communicators_.largest(task_->run(times).value())); }
  void flush() override { task_->flush(); }
  std::string implementation() const override { return task_->implementation(); }

 private:
  std::unique_ptr<PreparedTask> task_;
  cuda::Communicators& communicators_;
};

std::string version_text(std::size_t version, std::size_t major) {
  return std::to_string(version / major) + "." + std::to_string(version % major / (major / 100));
}

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options) : options_(options) {
    const cudaError_t error = cudaGetDeviceCount(&devices_);
    if (error != cudaSuccess || devices_ == 0)
      throw InputError("--backend cuda", std::string("there is no NVIDIA device here (") +
                                             (error == cudaSuccess ? "none found" : cudaGetErrorString(error)) +
                                             "); run it where one is, or give --backend cpu");
    check(cudaSetDevice(0), "cudaSetDevice");
    check(cudaGetDeviceProperties(&properties_, 0), "cudaGetDeviceProperties");
    timer_.emplace();
    if (devices_ > 1 || options.ranks > 1) communicators_.emplace(options, devices_);
    check(cudaSetDevice(0), "cudaSetDevice");
  }

  DeviceDescription describe() const override {
    DeviceDescription description;
    description.name = properties_.name;
    description.devices = devices_ * options_.ranks;
    description.devices_per_host = devices_;
    int driver = 0, runtime = 0, nccl = 0;
    check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    check(ncclGetVersion(&nccl), "ncclGetVersion");
    description.provenance = {{"cuda", version_text(static_cast<std::size_t>(runtime), 1000)},
                              {"cuda of the driver", version_text(static_cast<std::size_t>(driver), 1000)},
                              {"cublasLt", std::to_string(cublasLtGetVersion())},
                              {"nccl", std::to_string(nccl)}};
    if (const std::string version = management_.driver_version(); !version.empty())
      description.provenance.emplace_back("driver", version);
    description.dtypes = {DType::bf16, DType::fp16, DType::fp32};
    if (10 * properties_.major + properties_.minor >= 89) description.dtypes.push_back(DType::fp8);
    return description;
  }

  std::unique_ptr<PreparedTask> prepare(const Task& task) override {
    if (const auto* const collective = std::get_if<CollectiveTask>(&task)) {
      if (!communicators_) throw InputError(meshloom::describe(task), "one device has nobody to communicate with");
      return together([&] { return communicators_->prepare(*collective); });
    }
    check(cudaSetDevice(0), "cudaSetDevice");
    const auto prepare_one = [&]() -> std::unique_ptr<PreparedTask> {
      return std::make_unique<CudaTask>(cuda::make_work(std::get<OperatorTask>(task)), *timer_);
    };
    if (options_.ranks == 1) return prepare_one();
    return std::make_unique<AgreedTask>(together([&]() -> std::unique_ptr<PreparedTask> {
                                          if (options_.rank == 0) return prepare_one();
                                          return std::make_unique<IdleTask>();
                                        }),
                                        *communicators_);
  }

  bool writes_results() const override { return options_.rank == 0; }
  double agreed(double value) override { return options_.ranks == 1 ? value : communicators_->first(value); }
  std::string state_now() const override { return management_.state_of(0); }

 private:
  // If one process cannot, all leave the task out.
  template <typename Prepare>
  std::unique_ptr<PreparedTask> together(const Prepare& prepare_here) {
    if (options_.ranks == 1) return prepare_here();
    std::unique_ptr<PreparedTask> prepared;
    std::string reason = "another process cannot run it";
    try {
      prepared = prepare_here();
    } catch (const InputError& error) {
      reason = error.what();
    }
    if (communicators_->largest(prepared ? 0 : 1) > 0) throw InputError(reason);
    return prepared;
  }

  CudaOptions options_;
  int devices_ = 0;
  cudaDeviceProp properties_{};
  std::optional<Timer> timer_;
  std::optional<cuda::Communicators> communicators_;
  cuda::Management management_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

bool cuda_device_present() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
}

}  // namespace meshloom
