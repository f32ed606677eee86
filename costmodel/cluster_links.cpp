#include "costmodel/cluster_links.hpp"

#include <algorithm>
#include <set>

#include "costmodel/collectives.hpp"

namespace meshloom {

ClusterLinks::ClusterLinks(const Cluster& cluster)
    : cluster_(cluster), lanes_(std::min(cluster.nics_per_host, cluster.devices_per_host)) {
  uplinks_.push_back(2 * cluster.hosts * (lanes_ + cluster.devices_per_host));
  for (std::size_t level = 0; level < cluster.switch_levels.size(); ++level) {
    const std::int64_t below = cluster.switch_levels[level].hosts_per_switch;
    upwards_.push_back(static_cast<double>(below) * share_of_switches(cluster, level) * host_bandwidth(cluster));
    uplinks_.push_back(uplinks_.back() + 2 * ((cluster.hosts + below - 1) / below));
  }
}

std::uint32_t ClusterLinks::lane(std::int64_t device, std::int64_t direction) const {
  const std::int64_t place = device % cluster_.devices_per_host;
  const std::int64_t number = host_of(device) * lanes_ + place * lanes_ / cluster_.devices_per_host;
  return static_cast<std::uint32_t>(2 * number + direction);
}

std::uint32_t ClusterLinks::connection(std::int64_t device, std::int64_t direction) const {
  return static_cast<std::uint32_t>(2 * (cluster_.hosts * lanes_ + device) + direction);
}

std::uint32_t ClusterLinks::uplink(std::size_t level, std::int64_t host, std::int64_t direction) const {
  return static_cast<std::uint32_t>(uplinks_[level] + 2 * (host / cluster_.switch_levels[level].hosts_per_switch) +
                                    direction);
}

BytesPerSecond ClusterLinks::capacity(std::uint32_t link) const {
  const std::int64_t number = link;
  if (number < 2 * cluster_.hosts * lanes_) return host_bandwidth(cluster_) / static_cast<double>(lanes_);
  if (number < uplinks_.front()) return cluster_.intra_host.effective(2);
  const auto level = std::upper_bound(uplinks_.begin(), uplinks_.end(), number) - uplinks_.begin() - 1;
  return upwards_[static_cast<std::size_t>(level)];
}

std::size_t ClusterLinks::distance(std::int64_t from, std::int64_t to) const {
  const std::int64_t a = host_of(from), b = host_of(to);
  if (a == b) return 0;
  std::size_t distance = 1;
  for (const SwitchLevel& level : cluster_.switch_levels)
    if (a / level.hosts_per_switch != b / level.hosts_per_switch) ++distance;
  return distance;
}

Seconds ClusterLinks::latency(std::int64_t from, std::int64_t to) const {
  return distance(from, to) == 0 ? cluster_.intra_host.latency : cluster_.nic.latency;
}

void ClusterLinks::add(LinkLoads& loads, std::int64_t from, std::int64_t to, Bytes bytes) const {
  const std::size_t distance = this->distance(from, to);
  if (distance == 0) {
    loads[connection(from, 0)] += bytes;
    loads[connection(to, 1)] += bytes;
    return;
  }
  loads[lane(from, 0)] += bytes;
  loads[lane(to, 1)] += bytes;
  for (std::size_t level = 0; level + 1 < distance; ++level) {
    loads[uplink(level, host_of(from), 0)] += bytes;
    loads[uplink(level, host_of(to), 1)] += bytes;
  }
}

void ClusterLinks::add_collective(LinkLoads& loads, const std::vector<std::int64_t>& devices, Bytes across,
                                  Bytes inside) const {
  std::set<std::int64_t> hosts;
  for (const std::int64_t device : devices) {
    hosts.insert(host_of(device));
    for (const std::int64_t direction : {0, 1})
      if (inside > Bytes(0)) loads[connection(device, direction)] += inside;
  }
  if (!(across > Bytes(0))) return;
  for (const std::int64_t host : hosts)
    for (std::int64_t k = 0; k < lanes_; ++k)
      for (const std::int64_t direction : {0, 1})
        loads[static_cast<std::uint32_t>(2 * (host * lanes_ + k) + direction)] += across / static_cast<double>(lanes_);
}

Seconds ClusterLinks::longest(const LinkLoads& loads) const {
  Seconds longest;
  for (const auto& [link, bytes] : loads) longest = std::max(longest, bytes / capacity(link));
  return longest;
}

}  // namespace meshloom
