#include "costmodel/device_mesh.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <set>

using namespace meshloom;

namespace {

// Coordinates of a device, by axis: the last axis is the minor-most.
std::vector<std::int64_t> coordinates(const DeviceMesh& mesh, std::int64_t device) {
  std::vector<std::int64_t> result(mesh.dimensions());
  for (std::size_t axis = mesh.dimensions(); axis-- > 0;) {
    result[axis] = device % mesh.size(axis);
    device /= mesh.size(axis);
  }
  return result;
}

// The oracle: places every device, collects the groups, and requires them all to look alike.
DeviceGroup group_by_enumeration(const DeviceMesh& mesh, unsigned axis_set) {
  std::map<std::vector<std::int64_t>, std::vector<std::int64_t>> groups;
  for (std::int64_t device = 0; device < mesh.submesh.devices(); ++device) {
    std::vector<std::int64_t> key = coordinates(mesh, device);
    for (std::size_t axis = 0; axis < key.size(); ++axis)
      if ((axis_set >> axis & 1U) != 0) key[axis] = 0;
    groups[key].push_back(device);
  }
  std::set<DeviceGroup> seen;
  std::map<std::int64_t, std::int64_t> groups_on_host;
  for (const auto& [key, devices] : groups) {
    std::set<std::int64_t> hosts;
    for (const std::int64_t device : devices) hosts.insert(device / mesh.submesh.devices_per_host);
    for (const std::int64_t host : hosts) ++groups_on_host[host];
    DeviceGroup group{std::int64_t(devices.size()), std::int64_t(hosts.size()), 0};
    group.host_span = *hosts.rbegin() - *hosts.begin() + 1;
    if (hosts.size() > 1) group.host_stride = *std::next(hosts.begin()) - *hosts.begin();
    seen.insert(group);
  }
  std::set<std::int64_t> per_host;
  for (const auto& [host, count] : groups_on_host) per_host.insert(count);
  REQUIRE(seen.size() == 1);
  REQUIRE(per_host.size() == 1);
  DeviceGroup group = *seen.begin();
  group.groups_per_host = *per_host.begin();
  return group;
}

std::vector<std::vector<std::int64_t>> sizes(const std::vector<DeviceMesh>& meshes) {
  std::vector<std::vector<std::int64_t>> result;
  for (const DeviceMesh& mesh : meshes) {
    result.emplace_back();
    for (const MeshAxis& axis : mesh.axes) result.back().push_back(axis.size);
  }
  return result;
}

}  // namespace

TEST_CASE("a group's hosts and neighbours equal those of placing every device") {
  for (const Submesh submesh : {Submesh{1, 1}, Submesh{1, 2}, Submesh{1, 6}, Submesh{1, 8}, Submesh{2, 8},
                                Submesh{4, 4}, Submesh{3, 8}, Submesh{4, 1}, Submesh{6, 4}, Submesh{8, 8}})
    for (const DeviceMesh& mesh : logical_shapes(submesh, 4))
      for (unsigned axis_set = 0; axis_set < 1U << mesh.dimensions(); ++axis_set) {
        INFO(submesh.hosts << "x" << submesh.devices_per_host << " axes " << mesh.dimensions() << " set " << axis_set);
        CHECK(group_of(mesh, axis_set) == group_by_enumeration(mesh, axis_set));
      }
}

TEST_CASE("on two hosts of eight, the major axis of 2 crosses hosts with eight groups on each") {
  const DeviceMesh mesh{{2, 8}, {{"x", 2}, {"y", 8}}};
  CHECK(group_of(mesh, 0b01) == DeviceGroup{2, 2, 8, 1, 2});
  CHECK(group_of(mesh, 0b10) == DeviceGroup{8, 1, 1});
  CHECK(group_of(mesh, 0b11) == DeviceGroup{16, 2, 1, 1, 2});
  CHECK(group_of(mesh, 0b00) == DeviceGroup{1, 1, 8});
  // 4 x 4: the major axis takes devices 0, 4 of the first host and 0, 4 of the second.
  CHECK(group_of({{2, 8}, {{"x", 4}, {"y", 4}}}, 0b01) == DeviceGroup{4, 2, 4, 1, 2});
}

TEST_CASE("a group of two axes that are not neighbours") {
  // 2 hosts of 8 as 2 x 2 x 4: the first and the last axis together take four neighbours on each host; two groups a
  // host.
  CHECK(group_of({{2, 8}, {{"x", 2}, {"y", 2}, {"z", 4}}}, 0b101) == DeviceGroup{8, 2, 2, 1, 2});
}

TEST_CASE("a major axis strides over hosts that lie between") {
  // 8 hosts of 1 as 2 x 2 x 2: the first and the last axis take hosts 0, 1, 4, 5.
  const DeviceMesh mesh{{8, 1}, {{"x", 2}, {"y", 2}, {"z", 2}}};
  CHECK(group_of(mesh, 0b001) == DeviceGroup{2, 2, 1, 4, 5});
  CHECK(group_of(mesh, 0b101) == DeviceGroup{4, 4, 1, 1, 6});
}

TEST_CASE("one device has the one mesh without axes") {
  CHECK(logical_shapes({1, 1}, 3) == std::vector<DeviceMesh>{DeviceMesh{{1, 1}, {}}});
}

TEST_CASE("logical shapes come with fewer axes first, then larger major axes first") {
  using Sizes = std::vector<std::vector<std::int64_t>>;
  CHECK(sizes(logical_shapes({1, 8}, 1)) == Sizes{{8}});
  CHECK(sizes(logical_shapes({1, 8}, 3)) == Sizes{{8}, {4, 2}, {2, 4}, {2, 2, 2}});
  CHECK(sizes(logical_shapes({1, 6}, 2)) == Sizes{{6}, {3, 2}, {2, 3}});
  CHECK(sizes(logical_shapes({4, 4}, 2)) == Sizes{{16}, {8, 2}, {4, 4}, {2, 8}});
  // 8 x 3 and 4 x 6 would cut a host of eight into uneven pieces, 2 x 12 one and a half hosts.
  CHECK(sizes(logical_shapes({3, 8}, 2)) == Sizes{{24}, {12, 2}, {6, 4}, {3, 8}});
  CHECK(logical_shapes({1, 8}, 3)[1].axes == std::vector<MeshAxis>{{"x", 4}, {"y", 2}});
}
