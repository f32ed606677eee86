// The links of a cluster as numbered resources, and what transfers between devices put on them.
//
// A device reaches other hosts over its own lane: with as many NICs as devices its NIC, with more its share of them,
// with fewer the NIC that it shares with its neighbours. Inside a host it has one connection. A group of hosts below a
// switch has one uplink. Where a link between two groups of hosts is stated, each of their hosts has it once. All links
// carry both directions at full speed.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "costmodel/cluster.hpp"
#include "costmodel/device_mesh.hpp"
#include "costmodel/groups.hpp"

namespace meshloom {

using LinkLoads = std::map<std::uint32_t, Bytes>;  // by link

class ClusterLinks {
 public:
  // The cluster must outlive it.
  explicit ClusterLinks(const Cluster& cluster);

  std::size_t count() const { return static_cast<std::size_t>(count_); }
  BytesPerSecond capacity(std::uint32_t link) const;
  std::int64_t host_of(std::int64_t device) const { return host_of_device(cluster_, device); }

  // 0: on one host; 1: below one switch, or there are none; 2: over the uplinks of the lowest level; … Between groups
  // of hosts over those of all levels.
  std::size_t distance(std::int64_t from, std::int64_t to) const;
  Seconds latency(std::int64_t from, std::int64_t to) const;
  std::uint32_t lane_out(std::int64_t device) const;
  void add(LinkLoads& loads, std::int64_t from, std::int64_t to, Bytes bytes) const;
  // Every host's lanes, every device's connection and the uplinks that groups like this one cross, as rings of all of
  // these devices load them: `across` is what each host sends to others, `inside` what each device sends on its host.
  // A ring enters and leaves each switch once.
  void add_rings(LinkLoads& loads, const std::vector<std::int64_t>& devices, const DeviceGroup& group, Bytes across,
                 Bytes inside) const;
  // The longest that one link needs for its load.
  Seconds longest(const LinkLoads& loads) const;

 private:
  // The links of one group, numbered from `first_link` on: lanes of hosts, connections of devices, uplinks by level.
  struct Group {
    explicit Group(const Cluster& group);
    const Cluster* cluster;
    std::int64_t first_device = 0, first_link = 0;
    std::int64_t lanes = 1;               // of a host
    std::vector<std::int64_t> uplinks;    // first number by level, then the end of all
    std::vector<BytesPerSecond> upwards;  // of one uplink, by level

    std::int64_t host_of(std::int64_t device) const { return (device - first_device) / cluster->devices_per_host; }
    std::uint32_t lane(std::int64_t device, std::int64_t direction) const;
    std::uint32_t connection(std::int64_t device, std::int64_t direction) const;
    std::uint32_t uplink(std::size_t level, std::int64_t device, std::int64_t direction) const;
    BytesPerSecond capacity(std::int64_t number) const;
    // Lane and uplinks of so many levels, out of the device or into it.
    void add_way(LinkLoads& loads, std::int64_t device, std::int64_t direction, std::size_t levels, Bytes bytes) const;
  };

  const Group& group_of(std::int64_t device) const { return groups_[group_of_device(cluster_, device)]; }
  const GroupLink* stated_link(const Group& one, const Group& other) const;
  std::uint32_t border(std::int64_t device, const GroupLink& link, std::int64_t direction) const;

  const Cluster& cluster_;
  std::vector<Group> groups_;
  std::int64_t count_ = 0, first_border_ = 0;  // each stated link between groups: of every host, both ways
};

}  // namespace meshloom
