#include <fmt/format.h>

#include "costmodel/cluster.hpp"
#include "costmodel/quantity_text.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::string_view schema = "meshloom.cluster/1";

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
  for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32, DType::fp8}) names.emplace_back(name(dtype));
  return names;
}

std::map<DType, FlopsPerSecond> read_peaks(const JsonInput& json) {
  std::map<DType, FlopsPerSecond> peaks;
  for (const auto& [key, value] : json.members()) {
    const std::vector<std::string> names = floating_names();
    if (std::find(names.begin(), names.end(), key) == names.end())
      value.fail(fmt::format("unknown dtype \"{}\"; expected one of: {}{}", key, fmt::join(names, ", "),
                             did_you_mean(key, names)));
    peaks[*dtype_named(key)] = FlopsPerSecond(above_zero(value, value.flops_per_second()));
  }
  if (!peaks.contains(DType::bf16) && !peaks.contains(DType::fp16) && !peaks.contains(DType::fp32))
    json.fail("states no peak for bf16, fp16 or fp32; give at least one, such as \"bf16\": \"312 TFLOP/s\"");
  return peaks;
}

GemmEfficiency read_gemm(const JsonInput& json) {
  json.only_keys({"of_peak", "wave_penalty", "depth_penalty"});
  GemmEfficiency gemm;
  gemm.of_peak = share_or(json, "of_peak", gemm.of_peak);
  if (const auto value = json.find("wave_penalty")) gemm.wave_penalty = value->number(0);
  if (const auto value = json.find("depth_penalty")) gemm.depth_penalty = value->number(0);
  return gemm;
}

DeviceType read_device(const JsonInput& json) {
  json.only_keys(
      {"name", "memory", "memory_bandwidth", "memory_efficiency", "peak", "gemm", "attention_of_peak", "launch"});
  DeviceType device;
  device.name = json.at("name").string();
  device.memory = Bytes(above_zero(json.at("memory"), json.at("memory").bytes()));
  device.memory_bandwidth = bandwidth(json.at("memory_bandwidth"));
  device.memory_efficiency = share_or(json, "memory_efficiency", device.memory_efficiency);
  device.peak = read_peaks(json.at("peak"));
  if (const auto gemm = json.find("gemm")) device.gemm = read_gemm(*gemm);
  device.attention_of_peak = share_or(json, "attention_of_peak", device.attention_of_peak);
  if (const auto launch = json.find("launch")) device.launch = Seconds(launch->seconds());
  return device;
}

Link read_link(const JsonInput& json) {
  Link link;
  link.bandwidth = bandwidth(json.at("bandwidth"));
  link.efficiency = share_or(json, "efficiency", link.efficiency);
  if (const auto latency = json.find("latency")) link.latency = Seconds(latency->seconds());
  return link;
}

std::int64_t group_size(const std::string& key, const JsonInput& place) {
  const bool digits = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
  const std::int64_t size = digits ? std::stoll(key) : 0;
  if (size < 2 || std::to_string(size) != key)
    place.fail(fmt::format("the key \"{}\" is not a group size; write a whole number from 2, such as \"4\"", key));
  return size;
}

Link read_intra_host(const JsonInput& json) {
  json.only_keys({"bandwidth", "efficiency", "efficiency_of_group", "latency"});
  Link link = read_link(json);
  if (const auto groups = json.find("efficiency_of_group"))
    for (const auto& [key, value] : groups->members()) link.efficiency_of_group[group_size(key, value)] = share(value);
  return link;
}

Link read_nic(const JsonInput& json) {
  json.only_keys({"bandwidth", "efficiency", "latency"});
  return read_link(json);
}

// Each level gathers whole switches of the one below.
std::vector<SwitchLevel> read_switch_levels(const JsonInput& json) {
  std::vector<SwitchLevel> levels;
  for (const JsonInput& element : json.elements()) {
    element.only_keys({"hosts_per_switch", "oversubscription"});
    const JsonInput hosts = element.at("hosts_per_switch");
    const SwitchLevel level{hosts.integer(1, 1'000'000), element.at("oversubscription").number(1)};
    if (!levels.empty() && (level.hosts_per_switch % levels.back().hosts_per_switch != 0 ||
                            level.hosts_per_switch == levels.back().hosts_per_switch))
      hosts.fail(
          fmt::format("is {}, but a switch of this level joins whole switches of {} hosts; give a larger multiple",
                      level.hosts_per_switch, levels.back().hosts_per_switch));
    levels.push_back(level);
  }
  return levels;
}

Cluster cluster_from(const JsonInput& root) {
  expect_schema(root, schema);
  root.only_keys({"schema", "name", "device", "hosts", "devices_per_host", "intra_host", "nic", "nics_per_host",
                  "switch_levels", "price_per_host_hour", "sources"});
  Cluster cluster;
  cluster.name = root.at("name").string();
  cluster.device = read_device(root.at("device"));
  if (const auto hosts = root.find("hosts")) cluster.hosts = hosts->integer(1, 1'000'000);
  cluster.devices_per_host = root.at("devices_per_host").integer(1, 1'000'000);
  cluster.intra_host = read_intra_host(root.at("intra_host"));
  cluster.nic = read_nic(root.at("nic"));
  if (const auto nics = root.find("nics_per_host")) cluster.nics_per_host = nics->integer(1, 1'000'000);
  if (const auto levels = root.find("switch_levels")) cluster.switch_levels = read_switch_levels(*levels);
  if (const auto price = root.find("price_per_host_hour")) cluster.price_per_host_hour = price->number(0);
  if (const auto sources = root.find("sources"))
    for (const auto& [key, value] : sources->members()) cluster.sources[key] = value.string();
  return cluster;
}

Json device_json(const DeviceType& device) {
  Json peak = Json::object();
  for (const auto& [dtype, speed] : device.peak) peak[std::string(name(dtype))] = text_of(speed);
  return {{"name", device.name},
          {"memory", text_of(device.memory)},
          {"memory_bandwidth", text_of(device.memory_bandwidth)},
          {"memory_efficiency", device.memory_efficiency},
          {"peak", peak},
          {"gemm",
           {{"of_peak", device.gemm.of_peak},
            {"wave_penalty", device.gemm.wave_penalty},
            {"depth_penalty", device.gemm.depth_penalty}}},
          {"attention_of_peak", device.attention_of_peak},
          {"launch", text_of(device.launch)}};
}

Json link_json(const Link& link) {
  Json json = {{"bandwidth", text_of(link.bandwidth)}, {"efficiency", link.efficiency}};
  for (const auto& [size, efficiency] : link.efficiency_of_group)
    json["efficiency_of_group"][std::to_string(size)] = efficiency;
  json["latency"] = text_of(link.latency);
  return json;
}

}  // namespace

Cluster parse_cluster(const std::string& text, const std::string& file) { return cluster_from(parse_json(text, file)); }

Cluster read_cluster(const std::string& path) { return cluster_from(read_json_file(path)); }

std::string write_cluster(const Cluster& cluster) {
  Json json = {{"schema", schema},
               {"name", cluster.name},
               {"device", device_json(cluster.device)},
               {"hosts", cluster.hosts},
               {"devices_per_host", cluster.devices_per_host},
               {"intra_host", link_json(cluster.intra_host)},
               {"nic", link_json(cluster.nic)},
               {"nics_per_host", cluster.nics_per_host}};
  for (const SwitchLevel& level : cluster.switch_levels)
    json["switch_levels"].push_back(
        {{"hosts_per_switch", level.hosts_per_switch}, {"oversubscription", level.oversubscription}});
  if (cluster.price_per_host_hour > 0) json["price_per_host_hour"] = cluster.price_per_host_hour;
  if (!cluster.sources.empty()) json["sources"] = cluster.sources;
  return json.dump(2) + "\n";
}

}  // namespace meshloom
