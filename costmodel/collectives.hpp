// What a collective costs: latency and bandwidth of the level that its group crosses, ring algorithms.
//
// `whole` is the size X that nccl-tests prints: the tensor as it is whole on this group (the all-gather's result, the
// reduce-scatter's operand). On the wire, per device: all-gather and reduce-scatter (n−1)/n·X, all-reduce twice that,
// all-to-all (n−1)/n²·X [Thakur, Rabenseifner, Gropp 2005, §4]. A group of one costs nothing.
#pragma once

#include <string_view>

#include "costmodel/cluster.hpp"
#include "costmodel/device_mesh.hpp"

namespace meshloom {

enum class Collective { all_gather, reduce_scatter, all_reduce, all_to_all, permute };
std::string_view name(Collective collective);

// Bytes each device sends.
Bytes wire_bytes(Collective collective, Bytes whole, std::int64_t group_size);

// Ring bandwidth of a group: the least of a device's intra-host link and its share of its host's NICs, which all groups
// of the host that run at once divide between them.
Seconds collective_time(const Cluster& cluster, Collective collective, Bytes whole, const DeviceGroup& group);

// Point-to-point transfer between two neighbouring stages: `bytes` of unique tiles, spread over `lanes` device pairs
// inside a host, or over the NICs of the hosts concerned.
enum class LinkClass { intra_host, inter_host };
std::string_view name(LinkClass link);
Seconds send_time(const Cluster& cluster, Bytes bytes, LinkClass link, std::int64_t lanes);

}  // namespace meshloom
