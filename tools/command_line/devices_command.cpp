#include <fmt/format.h>

#include "accuracy/uncertainty.hpp"
#include "costmodel/device_files.hpp"
#include "graphs/files.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/json_output.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

std::string constants_text(const ListedDevice& listed) {
  if (listed.measured_runs > 0)
    return fmt::format("fitted, {}", counted(static_cast<std::int64_t>(listed.measured_runs), "run"));
  return listed.file.like.empty() ? "typical" : fmt::format("like {}", listed.file.like);
}

std::string peak_text(const DeviceType& device, DType dtype) {
  const auto found = device.peak.find(dtype);
  return found == device.peak.end() ? "-" : fmt::format("{:.4g}", found->second.value() / 1e12);
}

std::vector<std::string> cells_of(const ListedDevice& listed) {
  const DeviceFile& file = listed.file;
  return {file.device.name,
          fmt::format("{:.1f} GiB", file.device.memory.value() / 1073741824.0),
          fmt::format("{:.0f} GB/s", file.device.memory_bandwidth.value() / 1e9),
          peak_text(file.device, dtype_on(file.device, DType::bf16)),
          peak_text(file.device, DType::fp8),
          fmt::format("{}", file.devices_per_host),
          fmt::format("{:.4g} GB/s", file.intra_host.bandwidth.value() / 1e9),
          fmt::format("{} × {:.0f} Gbit/s", file.nics_per_host, file.nic.bandwidth.value() * 8 / 1e9),
          constants_text(listed)};
}

}  // namespace

ExitCode run(const DevicesCommand& command) {
  std::vector<ListedDevice> devices;
  Table table({"device", "memory", "its bandwidth", "16-bit TFLOP/s", "fp8", "per host", "link inside",
               "NICs of a host", "<constants"});
  for (const DeviceFile& file : built_in_devices()) {
    devices.push_back({file, rows_of_device(shipped_uncertainty(), file.device.name)});
    table.row(cells_of(devices.back()));
  }
  write_file("-", command.json ? devices_json(devices) : table.text());
  return ExitCode::done;
}

}  // namespace meshloom
