// A device mesh: a submesh of the cluster seen as named axes. Devices are numbered host by host; the last axis is the
// minor-most, so neighbours along it are neighbouring devices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/cluster.hpp"

namespace meshloom {

struct Submesh {
  std::int64_t hosts = 1;
  std::int64_t devices_per_host = 1;
  std::uint32_t group = 0;  // of the cluster, in which it lies (costmodel/groups.hpp)
  std::int64_t devices() const { return hosts * devices_per_host; }
  auto operator<=>(const Submesh&) const = default;
};

// What a stage on this submesh has to send to other hosts with, in whole hosts' NICs: all of its hosts', or of some
// devices of a host those that they have; `nics`: of a host, as far as devices can use them apart.
inline double hosts_to_send_with(const Submesh& stage, std::int64_t devices_per_host, std::int64_t nics) {
  if (stage.devices_per_host == devices_per_host) return static_cast<double>(stage.hosts);
  const std::int64_t own = stage.devices_per_host * nics / devices_per_host;
  return static_cast<double>(own > 1 ? own : 1) / static_cast<double>(nics);
}

struct MeshAxis {
  std::string name;
  std::int64_t size = 1;
  bool operator==(const MeshAxis&) const = default;
};

// The devices that take part in one collective, and who shares links with it at the same time.
struct DeviceGroup {
  std::int64_t size = 1;             // devices of one group
  std::int64_t hosts = 1;            // hosts that one group spans
  std::int64_t groups_per_host = 1;  // groups that run at once with a member on one host, thus share its NICs
  std::int64_t host_stride = 1;      // from one of its hosts to the nearest
  std::int64_t host_span = 1;        // from its first host to its last, both counted; at least as hosts and stride say
  auto operator<=>(const DeviceGroup&) const = default;
};

struct DeviceMesh {
  Submesh submesh;
  std::vector<MeshAxis> axes;  // major first; the product of the sizes is submesh.devices()
  bool operator==(const DeviceMesh&) const = default;

  std::size_t dimensions() const { return axes.size(); }
  std::int64_t size(std::size_t axis) const { return axes[axis].size; }
};

// The group formed by a set of axes (bit k: axis k). The axes of `mesh` must be aligned to hosts (see logical_shapes).
DeviceGroup group_of(const DeviceMesh& mesh, unsigned axis_set);

// Every way to see `submesh` as at most `max_axes` axes named "x", "y", "z" of size > 1 whose product is its devices
// and whose groups lie evenly on hosts: an axis' stride and extent divide a host's devices or are multiples of them.
// A submesh of one device has the one mesh without axes. Order: fewer axes first, then larger major axes first.
std::vector<DeviceMesh> logical_shapes(const Submesh& submesh, std::size_t max_axes);

}  // namespace meshloom
