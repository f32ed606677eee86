#include <dlfcn.h>

#include "costmodel/profiler/cuda/management.hpp"

namespace meshloom::cuda {
namespace {

using Device = struct nvmlDevice_st*;
constexpr int ok = 0;
constexpr int sm_clock = 1, memory_clock = 2;
// Reasons for a clock below the highest: none, and that nothing runs or an application set it.
constexpr unsigned long long harmless = 0x1ULL | 0x2ULL;

// A function of the library; the signature is the caller's knowledge.
template <typename Function>
Function* function(void* library, const char* name) {
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

Management::Management() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
  auto* const begin = function<int()>(library_, "nvmlInit_v2");
  if (begin != nullptr && begin() == ok) return;
  if (library_ != nullptr) dlclose(library_);
  library_ = nullptr;
}

Management::~Management() {
  if (auto* const end = function<int()>(library_, "nvmlShutdown")) end();
  if (library_ != nullptr) dlclose(library_);
}

std::string Management::driver_version() const {
  char text[96] = {};
  auto* const get = function<int(char*, unsigned)>(library_, "nvmlSystemGetDriverVersion");
  return get != nullptr && get(text, sizeof text) == ok ? text : "";
}

std::string Management::state_of(int device) const {
  auto* const find = function<int(unsigned, Device*)>(library_, "nvmlDeviceGetHandleByIndex_v2");
  auto* const clock = function<int(Device, int, unsigned*)>(library_, "nvmlDeviceGetClockInfo");
  auto* const power = function<int(Device, unsigned*)>(library_, "nvmlDeviceGetPowerUsage");
  auto* const reasons =
      function<int(Device, unsigned long long*)>(library_, "nvmlDeviceGetCurrentClocksThrottleReasons");
  Device found = nullptr;
  if (find == nullptr || clock == nullptr || find(static_cast<unsigned>(device), &found) != ok) return {};
  std::string text;
  unsigned value = 0;
  if (clock(found, sm_clock, &value) == ok) text += "SM " + std::to_string(value) + " MHz";
  if (clock(found, memory_clock, &value) == ok) text += ", memory " + std::to_string(value) + " MHz";
  if (power != nullptr && power(found, &value) == ok) text += ", " + std::to_string(value / 1000) + " W";
  unsigned long long why = 0;
  if (reasons != nullptr && reasons(found, &why) == ok)
    text += (why & ~harmless) == 0 ? ", not throttled" : ", throttled for reasons " + std::to_string(why & ~harmless);
  return text;
}

}  // namespace meshloom::cuda
