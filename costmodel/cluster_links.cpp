#include "costmodel/cluster_links.hpp"

#include <algorithm>
#include <set>

#include "costmodel/collectives.hpp"

namespace meshloom {

ClusterLinks::Group::Group(const Cluster& group)
    : cluster(&group), lanes(std::min(group.nics_per_host, group.devices_per_host)) {
  uplinks.push_back(2 * group.hosts * (lanes + group.devices_per_host));
  for (std::size_t level = 0; level < group.switch_levels.size(); ++level) {
    const std::int64_t below = group.switch_levels[level].hosts_per_switch;
    upwards.push_back(static_cast<double>(below) * share_of_switches(group, level) * host_bandwidth(group));
    uplinks.push_back(uplinks.back() + 2 * ((group.hosts + below - 1) / below));
  }
}

std::uint32_t ClusterLinks::Group::lane(std::int64_t device, std::int64_t direction) const {
  const std::int64_t place = (device - first_device) % cluster->devices_per_host;
  const std::int64_t number = host_of(device) * lanes + place * lanes / cluster->devices_per_host;
  return static_cast<std::uint32_t>(first_link + 2 * number + direction);
}

std::uint32_t ClusterLinks::Group::connection(std::int64_t device, std::int64_t direction) const {
  return static_cast<std::uint32_t>(first_link + 2 * (cluster->hosts * lanes + device - first_device) + direction);
}

std::uint32_t ClusterLinks::Group::uplink(std::size_t level, std::int64_t device, std::int64_t direction) const {
  const std::int64_t number = host_of(device) / cluster->switch_levels[level].hosts_per_switch;
  return static_cast<std::uint32_t>(first_link + uplinks[level] + 2 * number + direction);
}

BytesPerSecond ClusterLinks::Group::capacity(std::int64_t number) const {
  if (number < 2 * cluster->hosts * lanes) return host_bandwidth(*cluster) / static_cast<double>(lanes);
  if (number < uplinks.front()) return cluster->intra_host.effective(2);
  const auto level = std::upper_bound(uplinks.begin(), uplinks.end(), number) - uplinks.begin() - 1;
  return upwards[static_cast<std::size_t>(level)];
}

void ClusterLinks::Group::add_way(LinkLoads& loads, std::int64_t device, std::int64_t direction, std::size_t levels,
                                  Bytes bytes) const {
  loads[lane(device, direction)] += bytes;
  for (std::size_t level = 0; level < levels; ++level) loads[uplink(level, device, direction)] += bytes;
}

ClusterLinks::ClusterLinks(const Cluster& cluster) : cluster_(cluster) {
  for (std::size_t g = 0; g < group_count(cluster); ++g) {
    Group group(group_at(cluster, g));
    group.first_device = first_device_of(cluster, g);
    group.first_link = count_;
    count_ += group.uplinks.back();
    groups_.push_back(std::move(group));
  }
  first_border_ = count_;
  count_ += 2 * host_count(cluster) * std::ssize(cluster.between_groups);
}

BytesPerSecond ClusterLinks::capacity(std::uint32_t link) const {
  const std::int64_t number = link;
  if (number >= first_border_) {
    const std::int64_t position = (number - first_border_) / (2 * host_count(cluster_));
    return cluster_.between_groups[static_cast<std::size_t>(position)].link.effective();
  }
  const auto after = std::find_if(groups_.begin() + 1, groups_.end(),
                                  [number](const Group& group) { return group.first_link > number; });
  return std::prev(after)->capacity(number - std::prev(after)->first_link);
}

const GroupLink* ClusterLinks::stated_link(const Group& one, const Group& other) const {
  for (const GroupLink& link : cluster_.between_groups)
    if ((link.one == one.cluster->name && link.other == other.cluster->name) ||
        (link.one == other.cluster->name && link.other == one.cluster->name))
      return &link;
  return nullptr;
}

std::uint32_t ClusterLinks::border(std::int64_t device, const GroupLink& link, std::int64_t direction) const {
  const std::int64_t position = &link - cluster_.between_groups.data();
  return static_cast<std::uint32_t>(first_border_ + 2 * (position * host_count(cluster_) + host_of(device)) +
                                    direction);
}

std::size_t ClusterLinks::distance(std::int64_t from, std::int64_t to) const {
  const Group &here = group_of(from), &there = group_of(to);
  if (&here != &there) return 1 + std::max(here.upwards.size(), there.upwards.size());
  const std::int64_t a = here.host_of(from), b = here.host_of(to);
  if (a == b) return 0;
  std::size_t distance = 1;
  for (const SwitchLevel& level : here.cluster->switch_levels)
    if (a / level.hosts_per_switch != b / level.hosts_per_switch) ++distance;
  return distance;
}

Seconds ClusterLinks::latency(std::int64_t from, std::int64_t to) const {
  const Group &here = group_of(from), &there = group_of(to);
  if (distance(from, to) == 0) return here.cluster->intra_host.latency;
  const Seconds latency = std::max(here.cluster->nic.latency, there.cluster->nic.latency);
  const GroupLink* stated = &here == &there ? nullptr : stated_link(here, there);
  return stated ? std::max(latency, stated->link.latency) : latency;
}

std::uint32_t ClusterLinks::lane_out(std::int64_t device) const { return group_of(device).lane(device, 0); }

void ClusterLinks::add(LinkLoads& loads, std::int64_t from, std::int64_t to, Bytes bytes) const {
  const Group &here = group_of(from), &there = group_of(to);
  const std::size_t distance = this->distance(from, to);
  if (distance == 0) {
    loads[here.connection(from, 0)] += bytes;
    loads[here.connection(to, 1)] += bytes;
    return;
  }
  const bool same = &here == &there;
  here.add_way(loads, from, 0, same ? distance - 1 : here.upwards.size(), bytes);
  there.add_way(loads, to, 1, same ? distance - 1 : there.upwards.size(), bytes);
  const GroupLink* stated = same ? nullptr : stated_link(here, there);
  if (!stated) return;
  loads[border(from, *stated, 0)] += bytes;
  loads[border(to, *stated, 1)] += bytes;
}

void ClusterLinks::add_rings(LinkLoads& loads, const std::vector<std::int64_t>& devices, const DeviceGroup& group,
                             Bytes across, Bytes inside) const {
  std::set<std::int64_t> hosts;  // by a first device
  for (const std::int64_t device : devices) {
    const Group& here = group_of(device);
    hosts.insert(here.first_device + here.host_of(device) * here.cluster->devices_per_host);
    for (const std::int64_t direction : {0, 1})
      if (inside > Bytes(0)) loads[here.connection(device, direction)] += inside;
  }
  if (!(across > Bytes(0))) return;
  std::map<std::uint32_t, double> rings;  // by uplink; hosts of one ring below a switch have one way out
  for (const std::int64_t first : hosts) {
    const Group& here = group_of(first);
    for (const std::int64_t direction : {0, 1}) {
      for (std::int64_t k = 0; k < here.lanes; ++k)
        loads[static_cast<std::uint32_t>(here.lane(first, direction) + 2 * k)] +=
            across / static_cast<double>(here.lanes);
      for (std::size_t level = 0; level < here.upwards.size(); ++level)
        if (const auto together = hosts_below_switch(*here.cluster, level, group))
          rings[here.uplink(level, first, direction)] += 1 / static_cast<double>(*together);
    }
  }
  for (const auto& [uplink, count] : rings) loads[uplink] += std::max(1.0, count) * across;
}

Seconds ClusterLinks::longest(const LinkLoads& loads) const {
  Seconds longest;
  for (const auto& [link, bytes] : loads) longest = std::max(longest, bytes / capacity(link));
  return longest;
}

}  // namespace meshloom
