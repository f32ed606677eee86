#include "costmodel/collectives.hpp"

#include <algorithm>
#include <vector>

#include "costmodel/measured_times.hpp"

namespace meshloom {
namespace {

std::int64_t steps(Collective collective, std::int64_t n) {
  switch (collective) {
    case Collective::all_gather:
    case Collective::reduce_scatter:
    case Collective::all_to_all:
      return n - 1;
    case Collective::all_reduce:
      return 2 * (n - 1);
    case Collective::permute:
      return 1;
  }
  return 0;
}

Seconds step_latency(const Cluster& cluster, const DeviceGroup& group) {
  return group.hosts > 1 ? std::max(cluster.intra_host.latency, cluster.nic.latency) : cluster.intra_host.latency;
}

// A level of switches as a group meets it.
struct Crossing {
  double share = 1;  // what its uplinks carry of what the hosts below can send
  double hosts = 1;  // of the group, below one switch
};

std::vector<Crossing> crossings(const Cluster& cluster, const DeviceGroup& group) {
  std::vector<Crossing> result;
  for (std::size_t level = 0; level < cluster.switch_levels.size(); ++level) {
    const std::optional<std::int64_t> hosts = hosts_below_switch(cluster, level, group);
    if (hosts) result.push_back({share_of_switches(cluster, level), static_cast<double>(*hosts)});
  }
  return result;
}

// The devices of a host that take part send `each` to other hosts, all through the host's NICs.
Seconds crossing_time(const Cluster& cluster, const DeviceGroup& group, Bytes each) {
  if (group.hosts == 1) return Seconds{};
  const double senders = double(group.groups_per_host * group.size) / double(group.hosts);
  return senders * each / host_bandwidth(cluster);
}

Seconds all_to_all_transfer(const Cluster& cluster, Bytes whole, const DeviceGroup& group) {
  const double n = double(group.size);
  const double on_host = n / double(group.hosts);
  const Bytes to_each = whole / (n * n);
  Seconds time = std::max((on_host - 1) * to_each / cluster.intra_host.effective(group.size / group.hosts),
                          crossing_time(cluster, group, (n - on_host) * to_each));
  for (const Crossing& level : crossings(cluster, group))
    time = std::max(time, crossing_time(cluster, group, (n - on_host * level.hosts) * to_each) / level.share);
  return time;
}

// The worst permutation sends every shard over the highest level that the group crosses.
Seconds permutation_transfer(const Cluster& cluster, const DeviceGroup& group, Bytes each) {
  if (group.hosts == 1) return each / cluster.intra_host.effective(group.size);
  double share = 1;
  for (const Crossing& level : crossings(cluster, group)) share = std::min(share, level.share);
  return crossing_time(cluster, group, each) / share;
}

Seconds transfer(const Cluster& cluster, Collective collective, Bytes whole, const DeviceGroup& group) {
  const Bytes wire = wire_bytes(collective, whole, group.size);
  switch (collective) {
    case Collective::all_gather:
    case Collective::reduce_scatter:
    case Collective::all_reduce:
      return wire / ring_bandwidth(cluster, group);
    case Collective::all_to_all:
      return all_to_all_transfer(cluster, whole, group);
    case Collective::permute:
      return permutation_transfer(cluster, group, wire);
  }
  return Seconds{};
}

}  // namespace

std::string_view name(Collective collective) {
  switch (collective) {
    case Collective::all_gather:
      return "all_gather";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::all_to_all:
      return "all_to_all";
    case Collective::permute:
      return "permute";
  }
  return "";
}

std::string_view name(LinkClass link) {
  switch (link) {
    case LinkClass::intra_host:
      return "intra_host";
    case LinkClass::inter_host:
      return "inter_host";
  }
  return "";
}

Bytes wire_bytes(Collective collective, Bytes whole, std::int64_t group_size) {
  if (group_size == 1) return Bytes{};
  const double n = double(group_size);
  switch (collective) {
    case Collective::all_gather:
    case Collective::reduce_scatter:
      return (n - 1) / n * whole;
    case Collective::all_reduce:
      return 2 * (n - 1) / n * whole;
    case Collective::all_to_all:
      return (n - 1) / (n * n) * whole;
    case Collective::permute:
      return whole / n;
  }
  return Bytes{};
}

BytesPerSecond host_bandwidth(const Cluster& cluster) {
  return static_cast<double>(cluster.nics_per_host) * cluster.nic.effective();
}

std::optional<std::int64_t> hosts_below_switch(const Cluster& cluster, std::size_t level, const DeviceGroup& group) {
  const std::int64_t below = cluster.switch_levels[level].hosts_per_switch;
  const std::int64_t span = std::max(group.host_span, (group.hosts - 1) * group.host_stride + 1);
  if (group.hosts == 1 || span <= below) return std::nullopt;
  return std::max<std::int64_t>(1, std::min(group.hosts / 2, below / group.host_stride));
}

double share_of_switches(const Cluster& cluster, std::size_t level) {
  double share = 1;
  for (std::size_t below = 0; below <= level; ++below) share /= cluster.switch_levels[below].oversubscription;
  return share;
}

BytesPerSecond ring_bandwidth(const Cluster& cluster, const DeviceGroup& group) {
  if (group.hosts == 1) return cluster.intra_host.effective(group.size);
  // A ring enters and leaves each host once, whatever the number of its members there: one device's bytes cross.
  BytesPerSecond share = host_bandwidth(cluster) / double(group.groups_per_host);
  double of_uplinks = 1;
  for (const Crossing& level : crossings(cluster, group)) of_uplinks = std::min(of_uplinks, level.share * level.hosts);
  share = share * of_uplinks;
  return std::min(share, cluster.intra_host.effective(group.size / group.hosts));
}

Seconds modelled_collective_time(const Cluster& cluster, Collective collective, Bytes whole, const DeviceGroup& group) {
  if (group.size == 1) return Seconds{};
  return double(steps(collective, group.size)) * step_latency(cluster, group) +
         transfer(cluster, collective, whole, group);
}

SourcedTime sourced_collective_time(const Cluster& cluster, Collective collective, Bytes whole,
                                    const DeviceGroup& group) {
  const Seconds modelled = modelled_collective_time(cluster, collective, whole, group);
  if (!cluster.measured) return {modelled, TimeSource::modelled};
  return cluster.measured->of(collective, whole, group, modelled);
}

Seconds collective_time(const Cluster& cluster, Collective collective, Bytes whole, const DeviceGroup& group) {
  return sourced_collective_time(cluster, collective, whole, group).time;
}

double send_lanes(const Cluster& cluster, const Submesh& stage, LinkClass link) {
  switch (link) {
    case LinkClass::intra_host:
      return double(stage.devices_per_host);
    case LinkClass::inter_host:
      return hosts_to_send_with(stage, cluster.devices_per_host,
                                std::min(cluster.nics_per_host, cluster.devices_per_host));
  }
  return 1;
}

Seconds send_time(const Cluster& cluster, Bytes bytes, LinkClass link, double lanes) {
  switch (link) {
    case LinkClass::intra_host:
      return cluster.intra_host.latency + bytes / (lanes * cluster.intra_host.effective(2));
    case LinkClass::inter_host:
      return cluster.nic.latency + bytes / (lanes * host_bandwidth(cluster));
  }
  return Seconds{};
}

}  // namespace meshloom
