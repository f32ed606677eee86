#include <fmt/format.h>

#include <algorithm>

#include "costmodel/cluster.hpp"
#include "costmodel/device_files.hpp"
#include "costmodel/device_json.hpp"
#include "costmodel/groups.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::string_view schema = "meshloom.cluster/1";

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

constexpr std::string_view of_uniform_clusters[] = {"device", "hosts",         "devices_per_host",    "intra_host",
                                                    "nic",    "nics_per_host", "price_per_host_hour", "switch_levels"};

// A device that comes with the program stands for its file.
DeviceFile named_device(const JsonInput& json) {
  const std::string wanted = json.string();
  if (const std::vector<std::string> family = family_named(wanted); !family.empty())
    json.fail(fmt::format("\"{}\" may be any of {}, which differ in memory and speed; name one", wanted,
                          fmt::join(family, ", ")));
  if (const auto found = device_named(wanted)) return *found;
  const std::vector<std::string> with = devices_with(wanted);
  if (!with.empty())
    json.fail(
        fmt::format("no device file is named \"{}\", but its name is part of {}; name one, or write the device as "
                    "an object",
                    wanted, fmt::join(with, ", ")));
  std::vector<std::string> names;
  for (const DeviceFile& file : built_in_devices()) names.push_back(file.device.name);
  json.fail(
      fmt::format("no device file is named \"{}\"; write the device as an object or name one that `meshloom "
                  "devices` lists{}",
                  wanted, did_you_mean(wanted, names)));
}

void take_defaults(const DeviceFile& file, Cluster& cluster) {
  cluster.device = file.device;
  cluster.intra_host = file.intra_host;
  cluster.nic = file.nic;
  cluster.nics_per_host = file.nics_per_host;
  for (const auto& [key, text] : file.sources) {
    if (key == "/like") continue;  // what it is like has been resolved
    const bool of_host = key.starts_with("/intra_host") || key.starts_with("/nic");
    cluster.sources[of_host ? key : "/device" + key] = text;
  }
}

// A uniform cluster, or one of the groups of an unequal one.
Cluster read_uniform(const JsonInput& json) {
  Cluster cluster;
  cluster.name = json.at("name").string();
  std::optional<DeviceFile> file;
  if (const JsonInput device = json.at("device"); device.is_string())
    file = named_device(device);
  else
    cluster.device = read_device(device);
  if (file) take_defaults(*file, cluster);
  if (const auto hosts = json.find("hosts")) cluster.hosts = hosts->integer(1, 1'000'000);
  cluster.devices_per_host = json.at("devices_per_host").integer(1, 1'000'000);
  if (!file || json.find("intra_host")) cluster.intra_host = read_intra_host(json.at("intra_host"));
  if (!file || json.find("nic")) cluster.nic = read_nic(json.at("nic"));
  if (const auto nics = json.find("nics_per_host")) cluster.nics_per_host = nics->integer(1, 1'000'000);
  if (const auto levels = json.find("switch_levels")) cluster.switch_levels = read_switch_levels(*levels);
  if (const auto price = json.find("price_per_host_hour")) cluster.price_per_host_hour = price->number(0);
  return cluster;
}

void read_sources(const JsonInput& json, Cluster& cluster) {
  if (const auto sources = json.find("sources"))
    for (const auto& [key, value] : sources->members()) cluster.sources[key] = value.string();
}

std::vector<Cluster> read_groups(const JsonInput& json) {
  const std::vector<JsonInput> elements = json.elements();
  if (elements.empty() || elements.size() > most_groups)
    json.fail(fmt::format("lists {} groups; give 1 to {}", elements.size(), most_groups));
  std::vector<Cluster> groups;
  for (const JsonInput& element : elements) {
    element.only_keys({"name", "device", "hosts", "devices_per_host", "intra_host", "nic", "nics_per_host",
                       "switch_levels", "price_per_host_hour", "sources"});
    Cluster group = read_uniform(element);
    read_sources(element, group);
    for (const Cluster& other : groups)
      if (other.name == group.name)
        element.at("name").fail(fmt::format("\"{}\" names another group, too; give each its own name", group.name));
    groups.push_back(std::move(group));
  }
  return groups;
}

std::string read_group_name(const JsonInput& json, const std::vector<Cluster>& groups) {
  std::vector<std::string> names;
  for (const Cluster& group : groups) names.push_back(group.name);
  std::string name = json.string();
  if (std::find(names.begin(), names.end(), name) == names.end())
    json.fail(fmt::format("no group is named \"{}\"; the groups are: {}{}", name, fmt::join(names, ", "),
                          did_you_mean(name, names)));
  return name;
}

std::vector<GroupLink> read_group_links(const JsonInput& json, const std::vector<Cluster>& groups) {
  std::vector<GroupLink> links;
  for (const JsonInput& element : json.elements()) {
    element.only_keys({"groups", "bandwidth", "efficiency", "latency"});
    const std::vector<JsonInput> ends = element.at("groups").elements();
    if (ends.size() != 2) element.at("groups").fail(fmt::format("names {} groups; a link joins 2", ends.size()));
    GroupLink link{read_group_name(ends[0], groups), read_group_name(ends[1], groups), read_link(element)};
    if (link.one == link.other)
      element.at("groups").fail("joins a group with itself; the links inside a group are its nic");
    for (const GroupLink& other : links)
      if (std::minmax(other.one, other.other) == std::minmax(link.one, link.other))
        element.at("groups").fail("these groups have a link already; state one per pair");
    links.push_back(std::move(link));
  }
  return links;
}

bool are_equal_hosts(const Cluster& one, const Cluster& other) {
  return one.device == other.device && one.devices_per_host == other.devices_per_host &&
         one.intra_host == other.intra_host && one.nic == other.nic && one.nics_per_host == other.nics_per_host &&
         one.switch_levels == other.switch_levels && one.price_per_host_hour == other.price_per_host_hour;
}

bool is_stated(const Cluster& cluster, const std::string& group) {
  return std::any_of(cluster.between_groups.begin(), cluster.between_groups.end(),
                     [&](const GroupLink& link) { return link.one == group || link.other == group; });
}

// Stages may then lie on hosts of both. Groups with links of their own stay apart.
void join_equal_groups(Cluster& cluster) {
  std::vector<Cluster> joined;
  for (Cluster& group : cluster.groups) {
    const bool joins = !joined.empty() && are_equal_hosts(joined.back(), group) &&
                       !is_stated(cluster, joined.back().name) && !is_stated(cluster, group.name);
    if (!joins) {
      joined.push_back(std::move(group));
      continue;
    }
    joined.back().name += "+" + group.name;
    joined.back().hosts += group.hosts;
    joined.back().sources.merge(group.sources);
  }
  cluster.groups = std::move(joined);
  if (cluster.groups.size() > 1) return;
  Cluster only = std::move(cluster.groups.front());
  only.name = std::move(cluster.name);
  only.sources.merge(cluster.sources);
  cluster = std::move(only);
}

Cluster unequal_cluster(const JsonInput& root) {
  for (const std::string_view key : of_uniform_clusters)
    if (const auto value = root.find(std::string(key)))
      value->fail("stands beside /groups; each group has its own, so move it into the groups");
  root.only_keys({"schema", "name", "groups", "between_groups", "sources"});
  Cluster cluster;
  cluster.name = root.at("name").string();
  cluster.groups = read_groups(root.at("groups"));
  if (const auto links = root.find("between_groups")) cluster.between_groups = read_group_links(*links, cluster.groups);
  read_sources(root, cluster);
  join_equal_groups(cluster);
  return cluster;
}

Cluster cluster_from(const JsonInput& root) {
  expect_schema(root, schema);
  if (root.find("groups")) return unequal_cluster(root);
  root.only_keys({"schema", "name", "device", "hosts", "devices_per_host", "intra_host", "nic", "nics_per_host",
                  "switch_levels", "price_per_host_hour", "sources"});
  Cluster cluster = read_uniform(root);
  read_sources(root, cluster);
  return cluster;
}

void add_uniform(Json& json, const Cluster& cluster) {
  json["device"] = device_json(cluster.device);
  json["hosts"] = cluster.hosts;
  json["devices_per_host"] = cluster.devices_per_host;
  json["intra_host"] = link_json(cluster.intra_host);
  json["nic"] = link_json(cluster.nic);
  json["nics_per_host"] = cluster.nics_per_host;
  for (const SwitchLevel& level : cluster.switch_levels)
    json["switch_levels"].push_back(
        {{"hosts_per_switch", level.hosts_per_switch}, {"oversubscription", level.oversubscription}});
  if (cluster.price_per_host_hour > 0) json["price_per_host_hour"] = cluster.price_per_host_hour;
}

}  // namespace

Cluster parse_cluster(const std::string& text, const std::string& file) { return cluster_from(parse_json(text, file)); }

Cluster read_cluster(const std::string& path) { return cluster_from(read_json_file(path)); }

std::string write_cluster(const Cluster& cluster) {
  Json json = {{"schema", schema}, {"name", cluster.name}};
  if (cluster.groups.empty()) add_uniform(json, cluster);
  for (const Cluster& group : cluster.groups) {
    Json& written = json["groups"].emplace_back(Json{{"name", group.name}});
    add_uniform(written, group);
    if (!group.sources.empty()) written["sources"] = group.sources;
  }
  for (const GroupLink& between : cluster.between_groups) {
    Json& written = json["between_groups"].emplace_back(link_json(between.link));
    written["groups"] = {between.one, between.other};
  }
  if (!cluster.sources.empty()) json["sources"] = cluster.sources;
  return json.dump(2) + "\n";
}

}  // namespace meshloom
