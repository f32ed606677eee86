// Resharding between meshes, carried out on devices that hold small integers.
#include "costmodel/cross_mesh.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "graphs/input_error.hpp"
#include "tests/device_content.hpp"

using namespace meshloom;

namespace {

using Elements = std::set<std::int64_t>;  // row-major numbers of elements of the tensor

Cluster cluster_of(std::int64_t hosts, std::int64_t devices_per_host) {
  Cluster cluster;
  cluster.hosts = hosts, cluster.devices_per_host = devices_per_host;
  cluster.intra_host = {BytesPerSecond(100), 1, Seconds(1)};
  cluster.nic = {BytesPerSecond(10), 1, Seconds(2)};
  return cluster;
}

PlacedLayout placed(DeviceMesh mesh, std::int64_t first_device, std::vector<AxisLayout> axes) {
  PlacedLayout result{std::move(mesh), {}, {}};
  result.devices.resize(static_cast<std::size_t>(result.mesh.submesh.devices()));
  std::iota(result.devices.begin(), result.devices.end(), first_device);
  std::copy(axes.begin(), axes.end(), result.layout.axes.begin());
  return result;
}

// The elements of a tile in row-major order of the tile.
std::vector<std::int64_t> elements_of(const Tile& tile, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> elements;
  for (std::int64_t i = 0; i < tile.elements(); ++i) {
    std::int64_t rest = i, number = 0, stride = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      number += (tile.begin[d] + rest % tile.size[d]) * stride;
      rest /= tile.size[d];
      stride *= shape[d];
    }
    elements.push_back(number);
  }
  return elements;
}

// What a device holds of 0, 1, 2, … by the definition of layouts in tests/device_content.hpp.
Elements expected(const PlacedLayout& layout, const std::vector<std::int64_t>& shape, std::size_t place) {
  simulated::Block whole{shape, std::vector<std::int64_t>(static_cast<std::size_t>(Tile{shape, shape}.elements()))};
  std::iota(whole.values.begin(), whole.values.end(), 0);
  const simulated::Block tile =
      simulated::tile(whole, simulated::value_state(layout.layout), simulated::devices_of(layout.mesh), place);
  return {tile.values.begin(), tile.values.end()};
}

// Whether each element reaches each destination's group once: carries the transfers out and then lets the devices that
// want one tile gather it.
void carry_out(const std::vector<std::int64_t>& shape, const PlacedLayout& source, const PlacedLayout& destination,
               const std::vector<Transfer>& transfers) {
  std::map<std::int64_t, Elements> has, wanted;
  for (std::size_t i = 0; i < source.devices.size(); ++i) has[source.devices[i]] = expected(source, shape, i);
  for (std::size_t i = 0; i < destination.devices.size(); ++i)
    wanted[destination.devices[i]] = expected(destination, shape, i);
  const std::map<std::int64_t, Elements> at_first = has;
  std::map<std::pair<Elements, std::int64_t>, int> copies;  // by tile and element
  for (const Transfer& each : transfers)
    for (const std::int64_t element : elements_of(each.slice, shape)) {
      REQUIRE(at_first.at(each.from).contains(element));
      REQUIRE(wanted[each.to].contains(element));
      REQUIRE(has[each.to].insert(element).second);  // it had not been there
      REQUIRE(++copies[{wanted[each.to], element}] == 1);
    }
  for (const auto& [device, tile] : wanted) {
    Elements together;
    for (const auto& [other, same] : wanted)
      if (same == tile) together.insert(has[other].begin(), has[other].end());
    for (const std::int64_t element : tile) REQUIRE(together.contains(element));
  }
}

Submesh random_submesh(std::mt19937& random, std::int64_t devices_per_host) {
  const std::int64_t hosts = 1 + random() % 2;
  if (hosts == 2) return {2, devices_per_host};
  std::int64_t devices = 1;
  while (devices < devices_per_host && random() % 2) devices *= 2;
  return {1, devices};
}

PlacedLayout random_placed(std::mt19937& random, std::int64_t devices_per_host, std::int64_t first_host,
                           const std::vector<std::int64_t>& shape) {
  for (;;) {
    const Submesh submesh = random_submesh(random, devices_per_host);
    const std::vector<DeviceMesh> meshes = logical_shapes(submesh, 3);
    PlacedLayout result = placed(meshes[random() % meshes.size()], first_host * devices_per_host, {});
    for (std::size_t axis = 0; axis < result.mesh.dimensions(); ++axis) {
      const std::size_t choice = random() % (shape.size() + 1);
      result.layout.axes[axis] = choice < shape.size() ? sharded(choice) : replicated;
    }
    if (simulated::divides_evenly(result.layout, shape, simulated::devices_of(result.mesh))) return result;
  }
}

}  // namespace

TEST_CASE("after resharding and gathering every device holds its tile, and no element travelled twice for it") {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    const std::int64_t devices_per_host = std::int64_t{1} << random() % 3;
    const Cluster cluster = cluster_of(4, devices_per_host);
    const ClusterLinks links(cluster);
    const std::vector<std::int64_t> shape{8, 4, 1 + static_cast<std::int64_t>(random() % 3)};
    const PlacedLayout source = random_placed(random, devices_per_host, 0, shape);
    // Mostly other hosts; sometimes the same ones, in another layout.
    const PlacedLayout destination = random_placed(random, devices_per_host, random() % 4 ? 2 : 0, shape);
    CAPTURE(round, print_layout(source.layout, source.mesh.dimensions()),
            print_layout(destination.layout, destination.mesh.dimensions()));
    const std::vector<Transfer> transfers = reshard(links, {{shape, Bytes(2), source, destination}});
    carry_out(shape, source, destination, transfers);
    REQUIRE(reshard(links, {{shape, Bytes(2), source, destination}}) == transfers);
  }
}

TEST_CASE("the documented example: rows come once and are gathered on the host") {
  const Cluster cluster = cluster_of(2, 2);
  const ClusterLinks links(cluster);
  const PlacedLayout source = placed({{1, 2}, {{"x", 2}}}, 0, {sharded(0)});
  const PlacedLayout destination = placed({{1, 2}, {{"x", 2}}}, 2, {replicated});
  const std::vector<Transfer> transfers = reshard(links, {{{4, 6}, Bytes(5), source, destination}});
  const Tile upper{{0, 0}, {2, 6}}, lower{{2, 0}, {2, 6}};
  CHECK(transfers == std::vector<Transfer>{{0, 0, 2, upper, Bytes(60)}, {0, 1, 3, lower, Bytes(60)}});
  // 120 B through host 0's one NIC of 10 B/s: 12 s, latency 2.
  CHECK(transfer_time(links, transfers).value() == Approx(2 + 12));
}

TEST_CASE("a device sends over its own NIC, so one device is slower than two") {
  Cluster cluster = cluster_of(2, 2);
  cluster.nics_per_host = 2;
  const ClusterLinks links(cluster);
  const Resharding one{{4}, Bytes(5), placed({{1, 1}, {}}, 0, {}), placed({{1, 1}, {}}, 2, {})};
  CHECK(transfer_time(links, reshard(links, {one})).value() == Approx(2 + 2));  // 20 B at 10 B/s
  const PlacedLayout halves = placed({{1, 2}, {{"x", 2}}}, 0, {sharded(0)});
  const Resharding two{{4}, Bytes(5), halves, placed(halves.mesh, 2, {sharded(0)})};
  CHECK(transfer_time(links, reshard(links, {two})).value() == Approx(2 + 1));
  // With four NICs a device has two.
  cluster.nics_per_host = 4;
  CHECK(transfer_time(ClusterLinks(cluster), reshard(ClusterLinks(cluster), {one})).value() == Approx(2 + 1));
}

TEST_CASE("equal layouts send each tile to its counterpart") {
  const Cluster cluster = cluster_of(2, 2);
  const PlacedLayout source = placed({{1, 2}, {{"x", 2}}}, 0, {sharded(1)});
  CHECK(reshard(ClusterLinks(cluster), {{{4, 6}, Bytes(1), source, placed(source.mesh, 2, {sharded(1)})}}) ==
        std::vector<Transfer>{{0, 0, 2, Tile{{0, 0}, {4, 3}}, Bytes(12)}, {0, 1, 3, Tile{{0, 3}, {4, 3}}, Bytes(12)}});
}

TEST_CASE("copies at the source share the sending, of several tensors together") {
  // Two hosts hold the whole; a host wants it cut in two. Each half comes from another host.
  const Cluster cluster = cluster_of(3, 2);
  const ClusterLinks links(cluster);
  const PlacedLayout source = placed({{2, 2}, {{"x", 2}, {"y", 2}}}, 0, {replicated, replicated});
  const Resharding cut{{4}, Bytes(1), source, placed({{1, 2}, {{"x", 2}}}, 4, {sharded(0)})};
  CHECK(reshard(links, {cut}) ==
        std::vector<Transfer>{{0, 0, 4, Tile{{0}, {2}}, Bytes(2)}, {0, 2, 5, Tile{{2}, {2}}, Bytes(2)}});
  // To a single device: the first tensor from host 0, the second from host 1.
  const Resharding whole{{4}, Bytes(1), source, placed({{1, 1}, {}}, 4, {})};
  CHECK(reshard(links, {whole, whole}) ==
        std::vector<Transfer>{{0, 0, 4, Tile{{0}, {4}}, Bytes(4)}, {1, 2, 4, Tile{{0}, {4}}, Bytes(4)}});
}

TEST_CASE("shares of a tile that does not divide differ, and a scalar is sent once") {
  CHECK(share_of({{2, 0}, {3, 2}}, 0, 4) == Tile{{2, 0}, {0, 2}});
  CHECK(share_of({{2, 0}, {3, 2}}, 3, 4) == Tile{{4, 0}, {1, 2}});
  CHECK(share_of({{2, 0}, {3, 2}}, 1, 2) == Tile{{2, 1}, {3, 1}});
  const Cluster cluster = cluster_of(2, 2);
  const PlacedLayout one = placed({{1, 1}, {}}, 0, {}), both = placed({{1, 2}, {{"x", 2}}}, 2, {replicated});
  CHECK(reshard(ClusterLinks(cluster), {{{}, Bytes(4), one, both}}) ==
        std::vector<Transfer>{{0, 0, 2, Tile{}, Bytes(4)}});
}

TEST_CASE("an uplink of two hosts with oversubscription 2 doubles what goes over it, and nothing else") {
  // Hosts 0 and 1 below one switch, 2 and 3 below another; both hosts of the first send all they can: 20 B/s of NICs,
  // of which the uplink carries 10.
  Cluster cluster = cluster_of(4, 1);
  const PlacedLayout source = placed({{2, 1}, {{"x", 2}}}, 0, {sharded(0)});
  const Resharding crossing{{4}, Bytes(5), source, placed(source.mesh, 2, {sharded(0)})};
  const auto time = [&](const Resharding& tensor) {
    const ClusterLinks links(cluster);
    return transfer_time(links, reshard(links, {tensor})).value();
  };
  CHECK(time(crossing) == Approx(2 + 1));
  cluster.switch_levels = {{2, 1}};
  CHECK(time(crossing) == Approx(2 + 1));
  cluster.switch_levels = {{2, 2}};
  CHECK(time(crossing) == Approx(2 + 2));
  const Resharding below{{4}, Bytes(5), placed({{1, 1}, {}}, 0, {}), placed({{1, 1}, {}}, 1, {})};
  CHECK(time(below) == Approx(2 + 2));  // 20 B over one NIC
  // One host alone has the whole uplink.
  CHECK(time({{4}, Bytes(5), placed({{1, 1}, {}}, 0, {}), placed({{1, 1}, {}}, 2, {})}) == Approx(2 + 2));
}

TEST_CASE("partial sums and tiles of unequal size are refused") {
  const Cluster cluster = cluster_of(2, 2);
  const ClusterLinks links(cluster);
  const PlacedLayout whole = placed({{1, 2}, {{"x", 2}}}, 2, {replicated});
  CHECK_THROWS_WITH(reshard(links, {{{4}, Bytes(1), placed(whole.mesh, 0, {partial}), whole}}),
                    "resharding: [P/R] has a partial sum; reduce it before it is sent");
  CHECK_THROWS_WITH(reshard(links, {{{3}, Bytes(1), placed(whole.mesh, 0, {sharded(0)}), whole}}),
                    "resharding: 3 elements do not divide by axis x of 2");
}
