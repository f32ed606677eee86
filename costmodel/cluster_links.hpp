// The links of a cluster as numbered resources, and what transfers between devices put on them.
//
// A device reaches other hosts over its own lane: with as many NICs as devices its NIC, with more its share of them,
// with fewer the NIC that it shares with its neighbours. Inside a host it has one connection. A group of hosts below a
// switch has one uplink. All links carry both directions at full speed.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "costmodel/cluster.hpp"

namespace meshloom {

using LinkLoads = std::map<std::uint32_t, Bytes>;  // by link

class ClusterLinks {
 public:
  // The cluster must outlive it.
  explicit ClusterLinks(const Cluster& cluster);

  std::size_t count() const { return static_cast<std::size_t>(uplinks_.back()); }
  BytesPerSecond capacity(std::uint32_t link) const;
  std::int64_t host_of(std::int64_t device) const { return device / cluster_.devices_per_host; }

  // 0: on one host; 1: below one switch, or there are none; 2: over the uplinks of the lowest level; …
  std::size_t distance(std::int64_t from, std::int64_t to) const;
  Seconds latency(std::int64_t from, std::int64_t to) const;
  std::uint32_t lane_out(std::int64_t device) const { return lane(device, 0); }
  void add(LinkLoads& loads, std::int64_t from, std::int64_t to, Bytes bytes) const;
  // Every host's lanes, and every device's connection, as collectives of all of these devices load them: `across` is
  // what each host sends to others, `inside` what each device sends on its host.
  void add_collective(LinkLoads& loads, const std::vector<std::int64_t>& devices, Bytes across, Bytes inside) const;
  // The longest that one link needs for its load.
  Seconds longest(const LinkLoads& loads) const;

 private:
  std::uint32_t lane(std::int64_t device, std::int64_t direction) const;
  std::uint32_t connection(std::int64_t device, std::int64_t direction) const;
  std::uint32_t uplink(std::size_t level, std::int64_t host, std::int64_t direction) const;

  const Cluster& cluster_;
  std::int64_t lanes_ = 1;               // of a host
  std::vector<std::int64_t> uplinks_;    // first number by level, then the end of all
  std::vector<BytesPerSecond> upwards_;  // of one uplink, by level
};

}  // namespace meshloom
