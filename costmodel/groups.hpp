// Unequal clusters: groups of hosts of one kind each. Every cost is that of a group, which is a uniform cluster, or of
// the border between two groups, which is priced as a uniform cluster with the links between them; a uniform cluster is
// its own only group. Devices and hosts are numbered through, group by group in the order of the file.
#pragma once

#include <cstdint>
#include <string>

#include "costmodel/cluster.hpp"

namespace meshloom {

inline constexpr std::size_t most_groups = 4;  // the search goes through every order of every selection

std::size_t group_count(const Cluster& cluster);
const Cluster& group_at(const Cluster& cluster, std::size_t group);
std::int64_t first_device_of(const Cluster& cluster, std::size_t group);

// The last group for devices beyond the cluster.
std::size_t group_of_device(const Cluster& cluster, std::int64_t device);
std::int64_t host_of_device(const Cluster& cluster, std::int64_t device);
std::int64_t host_count(const Cluster& cluster);

// A uniform cluster like the first group, whose NICs are what connects the two: the slowest of both sides' NICs and of
// the link that is stated between them, at the largest of their latencies, without switches. Of a group with itself:
// the group.
Cluster border_between(const Cluster& cluster, std::size_t one, std::size_t other);

// Bit g: group g.
inline constexpr unsigned all_groups = ~0U;
// The least bandwidths and largest latencies of these groups and their borders. Of one group: itself.
Cluster slowest_links(const Cluster& cluster, unsigned groups = all_groups);

// "32 × A100 and 64 × V100".
std::string devices_text(const Cluster& cluster);

}  // namespace meshloom
