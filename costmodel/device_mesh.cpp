#include "costmodel/device_mesh.hpp"

#include <algorithm>
#include <array>

namespace meshloom {
namespace {

constexpr std::array<const char*, 4> axis_names = {"x", "y", "z", "w"};

bool lies_evenly(std::int64_t stride, std::int64_t devices_per_host) {
  return devices_per_host % stride == 0 || stride % devices_per_host == 0;
}

// Appends every factorization of `rest` into exactly `axes` further sizes > 1, larger first sizes first.
void factorize(std::int64_t rest, std::size_t axes, std::vector<std::int64_t>& sizes,
               std::vector<std::vector<std::int64_t>>& result) {
  if (axes == 1) {
    sizes.push_back(rest);
    result.push_back(sizes);
    sizes.pop_back();
    return;
  }
  for (std::int64_t size = rest / 2; size >= 2; --size) {
    if (rest % size != 0) continue;
    sizes.push_back(size);
    factorize(rest / size, axes - 1, sizes, result);
    sizes.pop_back();
  }
}

bool lies_evenly(const std::vector<std::int64_t>& sizes, std::int64_t devices_per_host) {
  std::int64_t stride = 1;
  return std::all_of(sizes.rbegin(), sizes.rend(),
                     [&](std::int64_t size) { return lies_evenly(stride *= size, devices_per_host); });
}

}  // namespace

DeviceGroup group_of(const DeviceMesh& mesh, unsigned axis_set) {
  const std::int64_t host = mesh.submesh.devices_per_host;
  DeviceGroup group;
  std::int64_t members_on_host = 1;
  std::int64_t stride = 1;
  for (std::size_t axis = mesh.dimensions(); axis-- > 0;) {
    const std::int64_t size = mesh.size(axis);
    // Along this axis, neighbours up to a host's end stay inside it; an aligned axis crosses hosts in whole strides.
    const std::int64_t inside = stride < host ? std::min(size, host / stride) : 1;
    if ((axis_set >> axis & 1U) != 0) {
      group.size *= size;
      group.hosts *= size / inside;
      members_on_host *= inside;
      const std::int64_t host_stride = std::max<std::int64_t>(1, stride / host);
      if (inside < size && group.host_span == 1) group.host_stride = host_stride;
      group.host_span += (size / inside - 1) * host_stride;
    }
    stride *= size;
  }
  group.groups_per_host = host / members_on_host;
  return group;
}

std::vector<DeviceMesh> logical_shapes(const Submesh& submesh, std::size_t max_axes) {
  if (submesh.devices() == 1) return {DeviceMesh{submesh, {}}};
  std::vector<DeviceMesh> meshes;
  for (std::size_t axes = 1; axes <= std::min(max_axes, axis_names.size()); ++axes) {
    std::vector<std::vector<std::int64_t>> shapes;
    std::vector<std::int64_t> sizes;
    factorize(submesh.devices(), axes, sizes, shapes);
    for (const std::vector<std::int64_t>& shape : shapes) {
      if (!lies_evenly(shape, submesh.devices_per_host)) continue;
      DeviceMesh mesh{submesh, {}};
      for (std::size_t i = 0; i < axes; ++i) mesh.axes.push_back({axis_names[i], shape[i]});
      meshes.push_back(std::move(mesh));
    }
  }
  return meshes;
}

}  // namespace meshloom
