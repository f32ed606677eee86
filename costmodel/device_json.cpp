#include "costmodel/device_json.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "costmodel/device_files.hpp"
#include "costmodel/embedded_files.hpp"
#include "costmodel/quantity_text.hpp"

namespace meshloom {
namespace {

constexpr std::string_view device_schema = "meshloom.device/1";

double above_zero(const JsonInput& place, double value) {
  if (value <= 0) place.fail(fmt::format("must be more than zero, is {}", place.raw().dump()));
  return value;
}

BytesPerSecond bandwidth(const JsonInput& value) { return BytesPerSecond(above_zero(value, value.bytes_per_second())); }

double share(const JsonInput& value) { return above_zero(value, value.number(0, 1)); }

double share_or(const JsonInput& object, const std::string& key, double otherwise) {
  const std::optional<JsonInput> value = object.find(key);
  return value ? share(*value) : otherwise;
}

std::vector<std::string> floating_names() {
  std::vector<std::string> names;
  for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32, DType::fp8, DType::fp4})
    names.emplace_back(name(dtype));
  return names;
}

DType floating_dtype(const std::string& key, const JsonInput& value) {
  const std::vector<std::string> names = floating_names();
  if (std::find(names.begin(), names.end(), key) == names.end())
    value.fail(fmt::format("unknown dtype \"{}\"; expected one of: {}{}", key, fmt::join(names, ", "),
                           did_you_mean(key, names)));
  return *dtype_named(key);
}

std::map<DType, FlopsPerSecond> read_peaks(const JsonInput& json) {
  std::map<DType, FlopsPerSecond> peaks;
  for (const auto& [key, value] : json.members())
    peaks[floating_dtype(key, value)] = FlopsPerSecond(above_zero(value, value.flops_per_second()));
  if (!peaks.contains(DType::bf16) && !peaks.contains(DType::fp16) && !peaks.contains(DType::fp32))
    json.fail("states no peak for bf16, fp16 or fp32; give at least one, such as \"bf16\": \"312 TFLOP/s\"");
  return peaks;
}

// Of what the device files of four generations (V100, A100, H100, Blackwell) were fitted to: middles, rounded.
DeviceType typical_device() {
  DeviceType device;
  device.memory_efficiency = 0.85;
  device.gemm = {.of_peak = 0.73, .wave_penalty = 1.8e6, .depth_penalty = 300};
  device.attention_of_peak = 0.4;
  device.launch = Seconds(10e-6);
  return device;
}
Link typical_intra_host() { return {.bandwidth = {}, .efficiency = 0.8, .latency = Seconds(5e-6)}; }
Link typical_nic() { return {.bandwidth = {}, .efficiency = 0.85, .latency = Seconds(15e-6)}; }

void read_gemm(const JsonInput& json, GemmEfficiency& gemm) {
  json.only_keys({"of_peak", "of_peak_by_dtype", "wave_penalty", "depth_penalty"});
  gemm.of_peak = share_or(json, "of_peak", gemm.of_peak);
  if (const auto shares = json.find("of_peak_by_dtype"))
    for (const auto& [key, value] : shares->members()) gemm.of_peak_by_dtype[floating_dtype(key, value)] = share(value);
  if (const auto value = json.find("wave_penalty")) gemm.wave_penalty = value->number(0);
  if (const auto value = json.find("depth_penalty")) gemm.depth_penalty = value->number(0);
}

void read_values(const JsonInput& json, DeviceType& device) {
  device.name = json.at("name").string();
  device.memory = Bytes(above_zero(json.at("memory"), json.at("memory").bytes()));
  device.memory_bandwidth = bandwidth(json.at("memory_bandwidth"));
  device.memory_efficiency = share_or(json, "memory_efficiency", device.memory_efficiency);
  device.peak = read_peaks(json.at("peak"));
  if (const auto gemm = json.find("gemm")) read_gemm(*gemm, device.gemm);
  device.attention_of_peak = share_or(json, "attention_of_peak", device.attention_of_peak);
  if (const auto kernels = json.find("attention_kernels"))
    for (const auto& [kernel, value] : kernels->members()) device.attention_kernels[kernel] = share(value);
  if (const auto launch = json.find("launch")) device.launch = Seconds(launch->seconds());
}

std::int64_t group_size(const std::string& key, const JsonInput& place) {
  const bool digits = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
  const std::int64_t size = digits ? std::stoll(key) : 0;
  if (size < 2 || std::to_string(size) != key)
    place.fail(fmt::format("the key \"{}\" is not a group size; write a whole number from 2, such as \"4\"", key));
  return size;
}

void read_link(const JsonInput& json, Link& link) {
  link.bandwidth = bandwidth(json.at("bandwidth"));
  link.efficiency = share_or(json, "efficiency", link.efficiency);
  if (const auto latency = json.find("latency")) link.latency = Seconds(latency->seconds());
}

std::string normalized(const std::string& name) {
  std::string result;
  for (const char c : name)
    if (c != ' ' && c != '-' && c != '_') result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return result.starts_with("nvidia") ? result.substr(6) : result;
}

}  // namespace

Link read_link(const JsonInput& json) {
  Link link;
  read_link(json, link);
  return link;
}

Link read_intra_host(const JsonInput& json) {
  json.only_keys({"bandwidth", "efficiency", "efficiency_of_group", "latency"});
  Link link = typical_intra_host();
  read_link(json, link);
  if (const auto groups = json.find("efficiency_of_group"))
    for (const auto& [key, value] : groups->members()) link.efficiency_of_group[group_size(key, value)] = share(value);
  return link;
}

Link read_nic(const JsonInput& json) {
  json.only_keys({"bandwidth", "efficiency", "latency"});
  Link link = typical_nic();
  read_link(json, link);
  return link;
}

DeviceType read_device(const JsonInput& json) {
  json.only_keys({"name", "memory", "memory_bandwidth", "memory_efficiency", "peak", "gemm", "attention_of_peak",
                  "attention_kernels", "launch"});
  DeviceType device = typical_device();
  read_values(json, device);
  return device;
}

namespace {

Json gemm_json(const GemmEfficiency& gemm) {
  Json json = {{"of_peak", gemm.of_peak}};
  for (const auto& [dtype, share] : gemm.of_peak_by_dtype) json["of_peak_by_dtype"][std::string(name(dtype))] = share;
  json["wave_penalty"] = gemm.wave_penalty;
  json["depth_penalty"] = gemm.depth_penalty;
  return json;
}

}  // namespace

Json device_json(const DeviceType& device) {
  Json peak = Json::object();
  for (const auto& [dtype, speed] : device.peak) peak[std::string(name(dtype))] = text_of(speed);
  Json json = {{"name", device.name},
               {"memory", text_of(device.memory)},
               {"memory_bandwidth", text_of(device.memory_bandwidth)},
               {"memory_efficiency", device.memory_efficiency},
               {"peak", peak},
               {"gemm", gemm_json(device.gemm)},
               {"attention_of_peak", device.attention_of_peak},
               {"launch", text_of(device.launch)}};
  for (const auto& [kernel, share] : device.attention_kernels) json["attention_kernels"][kernel] = share;
  return json;
}

Json link_json(const Link& link) {
  Json json = {{"bandwidth", text_of(link.bandwidth)}, {"efficiency", link.efficiency}};
  for (const auto& [size, efficiency] : link.efficiency_of_group)
    json["efficiency_of_group"][std::to_string(size)] = efficiency;
  json["latency"] = text_of(link.latency);
  return json;
}

namespace {

DeviceFile device_file_from(const JsonInput& root) {
  expect_schema(root, device_schema);
  root.only_keys({"schema", "name", "aliases", "memory", "memory_bandwidth", "memory_efficiency", "peak", "gemm",
                  "attention_of_peak", "attention_kernels", "launch", "devices_per_host", "devices_per_link_domain",
                  "intra_host", "nic", "nics_per_host", "sources"});
  DeviceFile file;
  file.device = typical_device();
  read_values(root, file.device);
  if (file.device.name.empty()) root.at("name").fail("is empty; name the device");
  if (const auto aliases = root.find("aliases")) file.aliases = aliases->strings();
  file.devices_per_host = root.at("devices_per_host").integer(1, 1'000'000);
  file.devices_per_link_domain = file.devices_per_host;
  if (const auto domain = root.find("devices_per_link_domain"))
    file.devices_per_link_domain = domain->integer(file.devices_per_host, 1'000'000);
  file.intra_host = read_intra_host(root.at("intra_host"));
  file.nic = read_nic(root.at("nic"));
  file.nics_per_host = root.at("nics_per_host").integer(1, 1'000'000);
  if (const auto sources = root.find("sources"))
    for (const auto& [key, value] : sources->members()) file.sources[key] = value.string();
  return file;
}

}  // namespace

DeviceFile parse_device(const std::string& text, const std::string& file) {
  return device_file_from(parse_json(text, file));
}

DeviceFile read_device_file(const std::string& path) { return device_file_from(read_json_file(path)); }

std::string write_device(const DeviceFile& file) {
  Json json = {{"schema", device_schema}};
  json.update(device_json(file.device));
  if (!file.aliases.empty()) json["aliases"] = file.aliases;
  json["devices_per_host"] = file.devices_per_host;
  if (file.devices_per_link_domain != file.devices_per_host)
    json["devices_per_link_domain"] = file.devices_per_link_domain;
  json["intra_host"] = link_json(file.intra_host);
  json["nic"] = link_json(file.nic);
  json["nics_per_host"] = file.nics_per_host;
  if (!file.sources.empty()) json["sources"] = file.sources;
  return json.dump(2) + "\n";
}

std::vector<DeviceFile> built_in_devices() {
  std::vector<DeviceFile> files;
  for (const EmbeddedFile& file : embedded_devices())
    files.push_back(parse_device(std::string(file.text), fmt::format("cluster_specs/devices/{}.json", file.name)));
  return files;
}

std::optional<DeviceFile> device_named(const std::string& name_or_alias) {
  for (const DeviceFile& file : built_in_devices())
    if (goes_by(file, name_or_alias)) return file;
  return std::nullopt;
}

bool spelled_alike(const std::string& one, const std::string& other) { return normalized(one) == normalized(other); }

bool goes_by(const DeviceFile& file, const std::string& name) {
  return spelled_alike(file.device.name, name) ||
         std::any_of(file.aliases.begin(), file.aliases.end(),
                     [&](const std::string& alias) { return spelled_alike(alias, name); });
}

std::vector<std::string> family_named(const std::string& name) {
  std::vector<std::string> members;
  for (const DeviceFile& file : built_in_devices())
    if (normalized(file.device.name).starts_with(normalized(name))) members.push_back(file.device.name);
  return members.size() > 1 ? members : std::vector<std::string>{};
}

}  // namespace meshloom
