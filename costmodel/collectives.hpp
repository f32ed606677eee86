// What a collective costs: latency and bandwidth of the level that its group crosses, ring algorithms.
//
// `whole` is the size X that nccl-tests prints: the tensor as it is whole on this group (the all-gather's result, the
// reduce-scatter's operand). On the wire, per device: all-gather and reduce-scatter (n−1)/n·X, all-reduce twice that,
// all-to-all (n−1)/n²·X [Thakur, Rabenseifner, Gropp 2005, §4]; a permutation sends each device's shard X/n once. A
// group of one costs nothing. docs/cost_model.md derives each formula and says what it leaves out.
#pragma once

#include <optional>
#include <string_view>

#include "costmodel/cluster.hpp"
#include "costmodel/device_mesh.hpp"
#include "costmodel/time_source.hpp"

namespace meshloom {

enum class Collective { all_gather, reduce_scatter, all_reduce, all_to_all, permute };
std::string_view name(Collective collective);
// Whether it adds up partial sums.
inline bool reduces(Collective collective) {
  return collective == Collective::all_reduce || collective == Collective::reduce_scatter;
}

// Bytes each device sends.
Bytes wire_bytes(Collective collective, Bytes whole, std::int64_t group_size);

// All NICs of a host together, one direction.
BytesPerSecond host_bandwidth(const Cluster& cluster);
// What a level's uplinks carry of what the hosts below them can send.
double share_of_switches(const Cluster& cluster, std::size_t level);

// Hosts of the group below one switch of the level; none where the group does not leave it. Stages lie so that a group
// of at most a switch's hosts does not straddle two.
std::optional<std::int64_t> hosts_below_switch(const Cluster& cluster, std::size_t level, const DeviceGroup& group);

// Ring bandwidth of a group: the least of a device's intra-host link, its share of its host's NICs, which all groups of
// the host that run at once divide between them, and its share of the uplinks of switches that it crosses: a ring
// enters and leaves each switch once, so one with k hosts below a switch takes a k-th of what one host could send.
BytesPerSecond ring_bandwidth(const Cluster& cluster, const DeviceGroup& group);

// steps · latency + bytes on the wire / bandwidth. Steps: n − 1 (all-gather, reduce-scatter, all-to-all), 2(n − 1)
// (all-reduce), 1 (permute); each costs the latency of the slowest link the group crosses. An all-to-all across hosts
// takes the longer of what a device sends inside its host and what its host sends through its NICs; a permutation
// across hosts is taken as the worst one, which sends every shard to another host.
Seconds modelled_collective_time(const Cluster& cluster, Collective collective, Bytes whole, const DeviceGroup& group);
// What the cluster's profiles make of it.
SourcedTime sourced_collective_time(const Cluster& cluster, Collective collective, Bytes whole,
                                    const DeviceGroup& group);
Seconds collective_time(const Cluster& cluster, Collective collective, Bytes whole, const DeviceGroup& group);

// Point-to-point transfer between two neighbouring stages: `bytes` of unique tiles, spread evenly over `lanes`. Inside
// a host a lane is a device's link of a group of two; between hosts it is all NICs of a host.
enum class LinkClass { intra_host, inter_host };
std::string_view name(LinkClass link);
Seconds send_time(const Cluster& cluster, Bytes bytes, LinkClass link, double lanes);
// Of a stage on this submesh: one for each device of a host, or its hosts; a share where not all devices of a host
// send.
double send_lanes(const Cluster& cluster, const Submesh& stage, LinkClass link);

}  // namespace meshloom
