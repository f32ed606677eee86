// The cluster: one device type, hosts of equal size, and the links inside a host and between hosts; or several groups
// of hosts, each such a cluster of its own (costmodel/groups.hpp).
// File format `meshloom.cluster/1`, docs/cluster_format.md; the files in cluster_specs/ state a source for each number.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graphs/graph.hpp"
#include "graphs/units.hpp"

namespace meshloom {

// How close matrix products come to the peak [shape of the curve: docs/cost_model.md]:
//   t = flops / (peak·of_peak) · (1 + wave_penalty/(m·n)) · (1 + depth_penalty/k)
// m·n: elements of the result, batch included; k: elements that are contracted.
struct GemmEfficiency {
  double of_peak = 0.8;
  double wave_penalty = 0;   // in output elements: partly filled waves of tiles
  double depth_penalty = 0;  // in elements of the contracted dimension: prologue of the main loop
  bool operator==(const GemmEfficiency&) const = default;
};

struct DeviceType {
  std::string name;
  Bytes memory;
  BytesPerSecond memory_bandwidth;
  double memory_efficiency = 0.85;       // share of memory_bandwidth that streaming kernels reach
  std::map<DType, FlopsPerSecond> peak;  // dense, without sparsity
  GemmEfficiency gemm;
  double attention_of_peak = 0.4;  // fused attention kernels
  Seconds launch;                  // least time of a kernel
  bool operator==(const DeviceType&) const = default;
};

// One direction of one endpoint's connection. Inside a host: of one device to the others. Between hosts: of one NIC.
struct Link {
  BytesPerSecond bandwidth;  // as specified
  double efficiency = 1;     // share that large collectives reach
  Seconds latency;           // of one message, software included
  // Inside a host: the share by the group's size, where small groups reach less (links without a switch). An entry
  // holds from its size up to the next one; below the first and without entries `efficiency` holds.
  std::map<std::int64_t, double> efficiency_of_group{};
  BytesPerSecond effective() const { return bandwidth * efficiency; }
  BytesPerSecond effective(std::int64_t group_size) const;
  bool operator==(const Link&) const = default;
};

// What the way of one host into another group of hosts gives, where that is less than both sides' NICs.
struct GroupLink {
  std::string one, other;  // names of groups; both directions
  Link link;
  bool operator==(const GroupLink&) const = default;
};

// Switches above the hosts: so many hosts, in order, below each. Their uplink carries what enters from below, over the
// oversubscription, in each direction.
struct SwitchLevel {
  std::int64_t hosts_per_switch = 1;
  double oversubscription = 1;
  bool operator==(const SwitchLevel&) const = default;
};

class MeasuredTimes;

struct Cluster {
  std::string name;
  DeviceType device;
  std::int64_t hosts = 1;
  std::int64_t devices_per_host = 1;
  Link intra_host;
  Link nic;
  std::int64_t nics_per_host = 1;
  std::vector<SwitchLevel> switch_levels;      // from the hosts up; none: hosts reach each other at the speed of NICs
  double price_per_host_hour = 0;              // in dollars; 0: not given
  std::map<std::string, std::string> sources;  // key of the file -> where its number comes from
  // An unequal cluster: groups of hosts, each a uniform cluster; devices and hosts are numbered group by group. The
  // members from `device` to `price_per_host_hour` are then unset: every cost is that of a group. Empty: one group,
  // this.
  std::vector<Cluster> groups{};
  std::vector<GroupLink> between_groups{};  // where there is none: the slower of both sides' NICs
  // Times that were measured, at work (costmodel/measured_times.hpp); no part of the file. None: the model alone.
  std::shared_ptr<const MeasuredTimes> measured{};
  std::int64_t devices() const;  // of all groups
  bool operator==(const Cluster&) const = default;
};

// Throws InputError: no hosts, no devices, a peak missing for every 16-bit float, a number without a unit, …
// Neighbouring groups of equal hosts become one group, unless links from them to other groups are stated.
Cluster read_cluster(const std::string& path);
Cluster parse_cluster(const std::string& text, const std::string& file);
std::string write_cluster(const Cluster& cluster);  // with units; read(write(c)) == c up to the last digit of a double

// The peak for a dtype; a bf16 product falls to fp16 on a device without bf16 (V100), an fp16 product to bf16, an fp8
// one to either. Throws InputError naming the device when there is none.
FlopsPerSecond peak_for(const DeviceType& device, DType dtype);

}  // namespace meshloom
