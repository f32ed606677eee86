// What measures: a device behind one interface. Implementations: the processor (cpu_backend.hpp), NVIDIA's devices
// (cuda_backend.hpp), and the tests' fake.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "costmodel/profiler/task.hpp"
#include "graphs/units.hpp"

namespace meshloom {

// What a kernel finds in the caches: what the run before it left, or nothing of its operands.
enum class CacheState { as_left, flushed };

// One task with its buffers, ready to run. The outside world: its implementations launch kernels.
class PreparedTask {
 public:
  virtual ~PreparedTask() = default;
  // Runs it so many times in a row and says how long all of them took, by the device's clock.
  virtual Seconds run(std::size_t times) = 0;
  // Empties the device's caches.
  virtual void flush() = 0;
  // Which implementation ran, as in "OpenBLAS sgemm".
  virtual std::string implementation() const = 0;
};

struct DeviceDescription {
  std::string name;  // as its driver prints it
  std::int64_t devices = 1, devices_per_host = 1;
  // Driver, library versions, clocks: what a reader must know to trust or repeat the numbers. In a fixed order.
  std::vector<std::pair<std::string, std::string>> provenance;
  std::vector<DType> dtypes;  // that products are computed in
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual DeviceDescription describe() const = 0;
  // Throws InputError when the device cannot run it: no kernel for it, not enough memory. In a program of several
  // processes each prepares the same tasks in the same order.
  virtual std::unique_ptr<PreparedTask> prepare(const Task& task) = 0;
  // Whether this process writes the profile: rank 0 of several.
  virtual bool writes_results() const { return true; }
  // The same value on every rank of several processes: rank 0's. What ranks decide together follows from it.
  virtual double agreed(double value) { return value; }
  // What the device says of itself now: clocks and reasons for throttling. Empty when it says nothing.
  virtual std::string state_now() const { return {}; }
};

}  // namespace meshloom
