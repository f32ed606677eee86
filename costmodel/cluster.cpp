#include "costmodel/cluster.hpp"

#include <fmt/format.h>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

std::vector<DType> fallbacks(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return {DType::bf16, DType::fp16};
    case DType::fp16:
      return {DType::fp16, DType::bf16};
    case DType::fp8:
      return {DType::fp8, DType::bf16, DType::fp16};
    case DType::fp4:
      return {DType::fp4, DType::fp8, DType::bf16, DType::fp16};
    case DType::fp32:
    case DType::int32:
    case DType::int64:
    case DType::int8:
    case DType::boolean:
      return {dtype};
  }
  return {dtype};
}

}  // namespace

BytesPerSecond Link::effective(std::int64_t group_size) const {
  const auto above = efficiency_of_group.upper_bound(group_size);
  return above == efficiency_of_group.begin() ? effective() : bandwidth * std::prev(above)->second;
}

std::int64_t Cluster::devices() const {
  if (groups.empty()) return hosts * devices_per_host;
  std::int64_t total = 0;
  for (const Cluster& group : groups) total += group.devices();
  return total;
}

double GemmEfficiency::share_of_peak(DType dtype) const {
  const auto found = of_peak_by_dtype.find(dtype);
  return found == of_peak_by_dtype.end() ? of_peak : found->second;
}

double attention_share(const DeviceType& device, const std::string& kernel) {
  const auto found = device.attention_kernels.find(kernel);
  return found == device.attention_kernels.end() ? device.attention_of_peak : found->second;
}

FlopsPerSecond peak_for(const DeviceType& device, DType dtype) { return device.peak.at(dtype_on(device, dtype)); }

DType dtype_on(const DeviceType& device, DType dtype) {
  for (const DType candidate : fallbacks(dtype))
    if (device.peak.contains(candidate)) return candidate;
  throw InputError(fmt::format("device \"{}\"", device.name),
                   fmt::format("has no peak for {}; add one under /device/peak of the cluster file", name(dtype)));
}

}  // namespace meshloom
