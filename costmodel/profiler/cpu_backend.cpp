#include "costmodel/profiler/cpu_backend.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "costmodel/profiler/cpu_kernels.hpp"
#include "costmodel/profiler/cpu_tasks.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

// A line of a system file, after its first colon.
std::string value_in(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key) && line.find(':') != std::string::npos) {
      const std::size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
      return begin == std::string::npos ? "" : line.substr(begin);
    }
  return {};
}

std::string processor_name() {
  const std::string name = value_in("/proc/cpuinfo", "model name");
  return name.empty() ? "processor" : name;
}

// What has to go through the caches to empty them: a core's share of the last level is not known, and less than this on
// processors of today.
std::size_t cache_elements() {
  const long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
  const std::size_t bytes = std::max<std::size_t>(std::size_t{128} << 20, cache > 0 ? 4 * cache : 0);
  return bytes / sizeof(float);
}

class CpuTask : public PreparedTask {
 public:
  CpuTask(CpuWork work, CpuClock clock, std::vector<float>& flushed)
      : work_(std::move(work)), clock_(clock), flushed_(flushed) {}

  Seconds run(std::size_t times) override {
    const Seconds begin = read(clock_);
    for (std::size_t i = 0; i < times; ++i) work_.run();
    return read(clock_) - begin;
  }

  void flush() override {
    if (flushed_.empty()) flushed_.resize(cache_elements());
    for (float& value : flushed_) value += 1;
  }

  std::string implementation() const override { return work_.implementation; }

 private:
  CpuWork work_;
  CpuClock clock_;
  std::vector<float>& flushed_;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options) : options_(options) { set_blas_threads(options.threads); }

  DeviceDescription describe() const override {
    DeviceDescription description;
    description.name =
        fmt::format("{}, {} thread{}", processor_name(), options_.threads, options_.threads == 1 ? "" : "s");
    description.provenance = {{"openblas", blas_configuration()},
                              {"clock", options_.clock == CpuClock::wall ? "wall" : "processor time of the process"}};
    description.dtypes = {DType::fp32};
    return description;
  }

  std::unique_ptr<PreparedTask> prepare(const Task& task) override {
    const auto* const one = std::get_if<OperatorTask>(&task);
    if (one == nullptr) throw InputError(meshloom::describe(task), "one processor has nobody to communicate with");
    return std::make_unique<CpuTask>(make_cpu_work(*one), options_.clock, flushed_);
  }

 private:
  CpuOptions options_;
  std::vector<float> flushed_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) { return std::make_unique<CpuBackend>(options); }

}  // namespace meshloom
