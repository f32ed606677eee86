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

struct Outcome {
  std::map<std::int64_t, Elements> held;  // by destination device, before the gathers and then after
  std::map<std::int64_t, std::int64_t> into_host;
};

Outcome carried_out(const Cluster& cluster, const std::vector<std::int64_t>& shape, const PlacedLayout& source,
                    const PlacedLayout& destination, const Resharding& resharding) {
  std::map<std::int64_t, Elements> has;
  for (std::size_t i = 0; i < source.devices.size(); ++i) has[source.devices[i]] = expected(source, shape, i);
  std::map<std::int64_t, Elements> wanted;
  for (std::size_t i = 0; i < destination.devices.size(); ++i)
    wanted[destination.devices[i]] = expected(destination, shape, i);
  Outcome outcome;
  for (const PieceSend& send : resharding.sends) {
    const std::vector<std::int64_t> piece = elements_of(send.piece, shape);
    for (std::int64_t i = send.begin; i < send.end; ++i) {
      const std::int64_t element = piece.at(static_cast<std::size_t>(i));
      REQUIRE(has[send.from].contains(element));
      REQUIRE(wanted[send.to].contains(element));
      REQUIRE(has[send.to].insert(element).second);  // it had not been there
    }
    const std::int64_t from = send.from / cluster.devices_per_host, to = send.to / cluster.devices_per_host;
    if (from != to) outcome.into_host[to] += send.end - send.begin;
  }
  for (const LocalGather& gather : resharding.gathers) {
    Elements together;
    for (const std::int64_t device : gather.devices) {
      REQUIRE(device / cluster.devices_per_host == gather.devices[0] / cluster.devices_per_host);
      together.insert(has[device].begin(), has[device].end());
    }
    for (const std::int64_t device : gather.devices)
      for (const std::int64_t element : elements_of(gather.tile, shape))
        if (together.contains(element)) has[device].insert(element);
  }
  for (const auto& [device, elements] : wanted)
    for (const std::int64_t element : elements)
      if (has[device].contains(element)) outcome.held[device].insert(element);
  return outcome;
}

// Elements that devices of the host want and none of them holds as a source.
std::map<std::int64_t, std::int64_t> least_into_hosts(const Cluster& cluster, const std::vector<std::int64_t>& shape,
                                                      const PlacedLayout& source, const PlacedLayout& destination) {
  std::map<std::int64_t, Elements> wanted;
  for (std::size_t i = 0; i < destination.devices.size(); ++i)
    wanted[destination.devices[i] / cluster.devices_per_host].merge(expected(destination, shape, i));
  for (std::size_t i = 0; i < source.devices.size(); ++i)
    for (const std::int64_t element : expected(source, shape, i))
      if (wanted.contains(source.devices[i] / cluster.devices_per_host))
        wanted[source.devices[i] / cluster.devices_per_host].erase(element);
  std::map<std::int64_t, std::int64_t> counts;
  for (const auto& [host, elements] : wanted)
    if (!elements.empty()) counts[host] = std::ssize(elements);
  return counts;
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

TEST_CASE("after resharding every destination device holds its tile, and no element entered its host twice") {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    const std::int64_t devices_per_host = std::int64_t{1} << random() % 3;
    const Cluster cluster = cluster_of(4, devices_per_host);
    const std::vector<std::int64_t> shape{8, 4, 1 + static_cast<std::int64_t>(random() % 3)};
    const PlacedLayout source = random_placed(random, devices_per_host, 0, shape);
    // Mostly other hosts; sometimes the same ones, in another layout.
    const PlacedLayout destination = random_placed(random, devices_per_host, random() % 4 ? 2 : 0, shape);
    CAPTURE(round, print_layout(source.layout, source.mesh.dimensions()),
            print_layout(destination.layout, destination.mesh.dimensions()));
    const Resharding resharding = reshard(cluster, shape, source, destination);
    const Outcome outcome = carried_out(cluster, shape, source, destination, resharding);
    for (std::size_t i = 0; i < destination.devices.size(); ++i)
      REQUIRE(outcome.held.at(destination.devices[i]) == expected(destination, shape, i));
    REQUIRE(outcome.into_host == least_into_hosts(cluster, shape, source, destination));
    REQUIRE(reshard(cluster, shape, source, destination) == resharding);
  }
}

TEST_CASE("the documented example: rows come in halves and are gathered on the host") {
  const Cluster cluster = cluster_of(2, 2);
  const PlacedLayout source = placed({{1, 2}, {{"x", 2}}}, 0, {sharded(0)});
  const PlacedLayout destination = placed({{1, 2}, {{"x", 2}}}, 2, {replicated});
  const Resharding resharding = reshard(cluster, {4, 6}, source, destination);
  const Tile upper{{0, 0}, {2, 6}}, lower{{2, 0}, {2, 6}};
  CHECK(resharding.sends ==
        std::vector<PieceSend>{{upper, 0, 6, 0, 2}, {upper, 6, 12, 0, 3}, {lower, 0, 6, 1, 2}, {lower, 6, 12, 1, 3}});
  CHECK(resharding.gathers == std::vector<LocalGather>{{Tile{{0, 0}, {4, 6}}, {2, 3}}});
  // 24 elements of 5 B through host 0's one NIC of 10 B/s: 12 s, latency 2; the all-gather of 120 B over two devices:
  // one step of latency 1 and 60 B at 100 B/s.
  CHECK(resharding_time(cluster, resharding, Bytes(5)).value() == Approx(2 + 12 + 1 + 0.6));
}

TEST_CASE("equal layouts send each tile to its counterpart and gather nothing") {
  const Cluster cluster = cluster_of(2, 2);
  const PlacedLayout source = placed({{1, 2}, {{"x", 2}}}, 0, {sharded(1)});
  const Resharding resharding = reshard(cluster, {4, 6}, source, placed(source.mesh, 2, {sharded(1)}));
  CHECK(resharding.sends ==
        std::vector<PieceSend>{{Tile{{0, 0}, {4, 3}}, 0, 12, 0, 2}, {Tile{{0, 3}, {4, 3}}, 0, 12, 1, 3}});
  CHECK(resharding.gathers.empty());
}

TEST_CASE("what two hosts need is sent by the source once and handed on") {
  const Cluster cluster = cluster_of(3, 1);
  const PlacedLayout source = placed({{1, 1}, {}}, 0, {});
  const Resharding resharding = reshard(cluster, {4}, source, placed({{2, 1}, {{"x", 2}}}, 1, {replicated}));
  CHECK(resharding.sends == std::vector<PieceSend>{{Tile{{0}, {4}}, 0, 4, 0, 1}, {Tile{{0}, {4}}, 0, 4, 1, 2}});
}

TEST_CASE("copies at the source share the sending") {
  // Two hosts hold the whole; a host wants it cut in two. Each half comes from another host.
  const Cluster cluster = cluster_of(3, 2);
  const PlacedLayout source = placed({{2, 2}, {{"x", 2}, {"y", 2}}}, 0, {replicated, replicated});
  const Resharding resharding = reshard(cluster, {4}, source, placed({{1, 2}, {{"x", 2}}}, 4, {sharded(0)}));
  CHECK(resharding.sends == std::vector<PieceSend>{{Tile{{0}, {2}}, 0, 2, 0, 4}, {Tile{{2}, {2}}, 0, 2, 2, 5}});
}

TEST_CASE("partial sums and tiles of unequal size are refused") {
  const Cluster cluster = cluster_of(2, 2);
  const PlacedLayout whole = placed({{1, 2}, {{"x", 2}}}, 2, {replicated});
  CHECK_THROWS_WITH(reshard(cluster, {4}, placed(whole.mesh, 0, {partial}), whole),
                    "resharding: [P/R] has a partial sum; reduce it before it is sent");
  CHECK_THROWS_WITH(reshard(cluster, {3}, placed(whole.mesh, 0, {sharded(0)}), whole),
                    "resharding: 3 elements do not divide by axis x of 2");
}
