#include "costmodel/device_json.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "costmodel/device_files.hpp"
#include "costmodel/quantity_text.hpp"

namespace meshloom {
namespace {

constexpr std::string_view device_schema = "meshloom.device/1";
constexpr std::string_view typical_source =
    "typical of the GPUs that were measured (docs/cluster_format.md#keys): no measurement of this device";

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

// The device whose constants an object takes where it states none.
std::optional<DeviceFile> liked(const JsonInput& json, const DeviceLookup& others) {
  const std::optional<JsonInput> like = json.find("like");
  if (!like) return std::nullopt;
  const std::string name = like->string();
  std::optional<DeviceFile> found = others(name);
  if (!found) like->fail(fmt::format("no device is named \"{}\"; name one that `meshloom devices` lists", name));
  if (!found->like.empty()) like->fail(fmt::format("\"{}\" is itself like \"{}\"; name that one", name, found->like));
  return found;
}

// A share of the peak that is stated holds for every dtype, whatever those of the other device were.
void read_gemm(const JsonInput& json, GemmEfficiency& gemm) {
  json.only_keys({"of_peak", "of_peak_by_dtype", "wave_penalty", "depth_penalty"});
  if (json.find("of_peak")) gemm.of_peak_by_dtype.clear();
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
  if (json.find("efficiency")) link.efficiency_of_group.clear();
  link.efficiency = share_or(json, "efficiency", link.efficiency);
  if (const auto latency = json.find("latency")) link.latency = Seconds(latency->seconds());
}

}  // namespace

namespace {

Link intra_host_from(const JsonInput& json, const DeviceLookup& others) {
  json.only_keys({"bandwidth", "like", "efficiency", "efficiency_of_group", "latency"});
  const std::optional<DeviceFile> other = liked(json, others);
  Link link = other ? other->intra_host : typical_intra_host();
  read_link(json, link);
  if (const auto groups = json.find("efficiency_of_group"))
    for (const auto& [key, value] : groups->members()) link.efficiency_of_group[group_size(key, value)] = share(value);
  return link;
}

Link nic_from(const JsonInput& json, const DeviceLookup& others) {
  json.only_keys({"bandwidth", "like", "efficiency", "latency"});
  const std::optional<DeviceFile> other = liked(json, others);
  Link link = other ? other->nic : typical_nic();
  read_link(json, link);
  return link;
}

}  // namespace

Link read_link(const JsonInput& json) {
  Link link;
  read_link(json, link);
  return link;
}

Link read_intra_host(const JsonInput& json) { return intra_host_from(json, device_named); }
Link read_nic(const JsonInput& json) { return nic_from(json, device_named); }

DeviceType read_device(const JsonInput& json) {
  json.only_keys({"name", "like", "memory", "memory_bandwidth", "memory_efficiency", "peak", "gemm",
                  "attention_of_peak", "attention_kernels", "launch"});
  const std::optional<DeviceFile> other = liked(json, device_named);
  DeviceType device = other ? other->device : typical_device();
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

constexpr std::string_view may_be_left_out[] = {"/memory_efficiency",  "/gemm/of_peak",          "/gemm/wave_penalty",
                                                "/gemm/depth_penalty", "/attention_of_peak",     "/launch",
                                                "/intra_host/latency", "/intra_host/efficiency", "/nic/latency",
                                                "/nic/efficiency"};

bool has_source(const DeviceFile& file, const std::string& pointer) {
  return std::any_of(file.sources.begin(), file.sources.end(), [&](const auto& source) {
    return pointer.starts_with(source.first) &&
           (pointer.size() == source.first.size() || pointer[source.first.size()] == '/');
  });
}

// Says where the numbers come from that the file left to another device's, of those pointers that begin so.
void take_sources(const Json& stated, const std::optional<DeviceFile>& other,
                  std::initializer_list<std::string_view> beginnings, DeviceFile& file) {
  if (!other) return;
  const Json whole = Json::parse(write_device(file));
  for (const auto& [pointer, text] : other->sources) {
    const Json::json_pointer place(pointer);
    const bool taken = std::any_of(beginnings.begin(), beginnings.end(),
                                   [&, &at = pointer](std::string_view begin) { return at.starts_with(begin); });
    if (taken && whole.contains(place) && !stated.contains(place))
      file.sources.try_emplace(pointer, fmt::format("as {}: {}", other->device.name, text));
  }
}

void fill_sources(const JsonInput& root, const DeviceLookup& others, DeviceFile& file) {
  const Json& stated = root.raw();
  take_sources(stated, liked(root, others),
               {"/memory_efficiency", "/gemm", "/attention_of_peak", "/attention_kernels", "/launch"}, file);
  take_sources(stated, liked(root.at("intra_host"), others), {"/intra_host/"}, file);
  take_sources(stated, liked(root.at("nic"), others), {"/nic/"}, file);
  for (const std::string_view pointer : may_be_left_out)
    if (!stated.contains(Json::json_pointer(std::string(pointer))) && !has_source(file, std::string(pointer)))
      file.sources[std::string(pointer)] = typical_source;
}

DeviceFile device_file_from(const JsonInput& root, const DeviceLookup& others) {
  expect_schema(root, device_schema);
  root.only_keys({"schema", "name", "aliases", "like", "memory", "memory_bandwidth", "memory_efficiency", "peak",
                  "gemm", "attention_of_peak", "attention_kernels", "launch", "devices_per_host",
                  "devices_per_link_domain", "intra_host", "nic", "nics_per_host", "sources"});
  DeviceFile file;
  const std::optional<DeviceFile> other = liked(root, others);
  file.device = other ? other->device : typical_device();
  if (other) file.like = other->device.name;
  read_values(root, file.device);
  if (file.device.name.empty()) root.at("name").fail("is empty; name the device");
  if (const auto aliases = root.find("aliases")) file.aliases = aliases->strings();
  file.devices_per_host = root.at("devices_per_host").integer(1, 1'000'000);
  file.devices_per_link_domain = file.devices_per_host;
  if (const auto domain = root.find("devices_per_link_domain"))
    file.devices_per_link_domain = domain->integer(file.devices_per_host, 1'000'000);
  file.intra_host = intra_host_from(root.at("intra_host"), others);
  file.nic = nic_from(root.at("nic"), others);
  file.nics_per_host = root.at("nics_per_host").integer(1, 1'000'000);
  if (const auto sources = root.find("sources"))
    for (const auto& [key, value] : sources->members()) file.sources[key] = value.string();
  fill_sources(root, others, file);
  return file;
}

}  // namespace

DeviceFile parse_device(const std::string& text, const std::string& file, const DeviceLookup& others) {
  return device_file_from(parse_json(text, file), others);
}

DeviceFile parse_device(const std::string& text, const std::string& file) {
  return parse_device(text, file, device_named);
}

DeviceFile read_device_file(const std::string& path) { return device_file_from(read_json_file(path), device_named); }

bool is_like_another(const std::string& text) { return text.find("\"like\"") != std::string::npos; }

std::string write_device(const DeviceFile& file) {
  Json json = {{"schema", device_schema}};
  json.update(device_json(file.device));
  if (!file.aliases.empty()) json["aliases"] = file.aliases;
  if (!file.like.empty()) json["like"] = file.like;
  json["devices_per_host"] = file.devices_per_host;
  if (file.devices_per_link_domain != file.devices_per_host)
    json["devices_per_link_domain"] = file.devices_per_link_domain;
  json["intra_host"] = link_json(file.intra_host);
  json["nic"] = link_json(file.nic);
  json["nics_per_host"] = file.nics_per_host;
  if (!file.sources.empty()) json["sources"] = file.sources;
  return json.dump(2) + "\n";
}

}  // namespace meshloom
