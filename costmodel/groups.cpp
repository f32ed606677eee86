#include "costmodel/groups.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "costmodel/collectives.hpp"

namespace meshloom {
namespace {

// To these NICs where they are slower, and at the larger latency.
void slow_down(Cluster& cluster, const Link& nic, std::int64_t nics_per_host) {
  const Seconds latency = std::max(cluster.nic.latency, nic.latency);
  if (static_cast<double>(nics_per_host) * nic.effective() < host_bandwidth(cluster)) {
    cluster.nic = nic;
    cluster.nics_per_host = nics_per_host;
  }
  cluster.nic.latency = latency;
}

}  // namespace

std::size_t group_count(const Cluster& cluster) { return std::max<std::size_t>(1, cluster.groups.size()); }

const Cluster& group_at(const Cluster& cluster, std::size_t group) {
  return cluster.groups.empty() ? cluster : cluster.groups[group];
}

std::int64_t first_device_of(const Cluster& cluster, std::size_t group) {
  std::int64_t devices = 0;
  for (std::size_t g = 0; g < group; ++g) devices += group_at(cluster, g).devices();
  return devices;
}

std::size_t group_of_device(const Cluster& cluster, std::int64_t device) {
  std::size_t group = 0;
  for (; group + 1 < group_count(cluster) && device >= group_at(cluster, group).devices(); ++group)
    device -= group_at(cluster, group).devices();
  return group;
}

std::int64_t host_of_device(const Cluster& cluster, std::int64_t device) {
  std::int64_t host = 0;
  for (std::size_t group = 0; group + 1 < group_count(cluster); ++group) {
    const Cluster& here = group_at(cluster, group);
    if (device < here.devices()) return host + device / here.devices_per_host;
    device -= here.devices();
    host += here.hosts;
  }
  return host + device / group_at(cluster, group_count(cluster) - 1).devices_per_host;
}

std::int64_t host_count(const Cluster& cluster) {
  std::int64_t hosts = 0;
  for (std::size_t group = 0; group < group_count(cluster); ++group) hosts += group_at(cluster, group).hosts;
  return hosts;
}

Cluster border_between(const Cluster& cluster, std::size_t one, std::size_t other) {
  Cluster border = group_at(cluster, one);
  if (one == other) return border;
  const Cluster &first = group_at(cluster, std::min(one, other)), &second = group_at(cluster, std::max(one, other));
  border.nic = first.nic;
  border.nics_per_host = first.nics_per_host;
  border.switch_levels.clear();
  slow_down(border, second.nic, second.nics_per_host);
  for (const GroupLink& between : cluster.between_groups)
    if ((between.one == first.name && between.other == second.name) ||
        (between.one == second.name && between.other == first.name))
      slow_down(border, between.link, 1);
  return border;
}

Cluster slowest_links(const Cluster& cluster, unsigned groups) {
  std::vector<std::size_t> chosen;
  for (std::size_t group = 0; group < group_count(cluster); ++group)
    if ((groups >> group & 1U) != 0) chosen.push_back(group);
  Cluster slowest = group_at(cluster, chosen.front());
  for (std::size_t k = 0; k < chosen.size(); ++k)
    for (std::size_t l = k + 1; l < chosen.size(); ++l) {
      const Cluster border = border_between(cluster, chosen[k], chosen[l]);
      slow_down(slowest, border.nic, border.nics_per_host);
      const Link& inside = group_at(cluster, chosen[l]).intra_host;
      if (inside.effective() < slowest.intra_host.effective()) slowest.intra_host = inside;
      slowest.switch_levels.clear();
    }
  return slowest;
}

std::string devices_text(const Cluster& cluster) {
  std::string text;
  for (std::size_t group = 0; group < group_count(cluster); ++group) {
    const Cluster& here = group_at(cluster, group);
    text += fmt::format("{}{} × {}",
                        group == 0                          ? ""
                        : group + 1 == group_count(cluster) ? " and "
                                                            : ", ",
                        here.devices(), here.device.name);
  }
  return text;
}

}  // namespace meshloom
