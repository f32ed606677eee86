// Prices of conversions by hand numbers, and what must hold for all of them. Contents: conversions_oracle_test.cpp and
// layouts_test.cpp.

#include "costmodel/conversions.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <random>

using namespace meshloom;

namespace {

Cluster cluster_with(std::int64_t hosts, std::int64_t devices_per_host, Link intra_host, Link nic) {
  Cluster cluster;
  cluster.hosts = hosts;
  cluster.devices_per_host = devices_per_host;
  cluster.intra_host = intra_host;
  cluster.nic = nic;
  return cluster;
}

DeviceMesh mesh_of(Submesh submesh, std::vector<std::int64_t> sizes) {
  DeviceMesh mesh{submesh, {}};
  for (const std::int64_t size : sizes) mesh.axes.push_back({fmt::format("a{}", mesh.axes.size()), size});
  return mesh;
}

Layout layout(std::vector<AxisLayout> axes) {
  Layout result;
  std::copy(axes.begin(), axes.end(), result.axes.begin());
  return result;
}

// "all_gather 4 GB over 01, slice over 0": kinds, whole sizes and axes of the moves.
std::string moves_of(const MovePath& path) {
  static const char* const names[] = {"slice",      "keep_one",   "all_gather", "reduce_scatter",
                                      "all_reduce", "all_to_all", "permute"};
  std::string text;
  for (const Move& move : path.moves) {
    text += (text.empty() ? "" : ", ") + std::string(names[static_cast<std::size_t>(move.kind)]);
    if (move.whole > Bytes(0)) text += fmt::format(" {} GB", move.whole.value() / 1e9);
    text += " over ";
    for (unsigned axis = 0; axis < max_mesh_axes; ++axis)
      if ((move.axis_set >> axis & 1U) != 0) text += std::to_string(axis);
  }
  return text;
}

struct Cell {
  AxisLayout from, to;
  const char* forward;
  const char* backward;
  double forward_bytes, backward_bytes;  // on the wire, in GB
  double forward_steps, backward_steps;
};

// A tensor of 4 GB on four devices. On the wire: all-gather and reduce-scatter 3/4 · 4 GB = 3 GB in 3 steps, all-reduce
// twice both, all-to-all 3/16 · 4 GB = 0.75 GB in 3 steps.
const Cell table[] = {
    {sharded(0), sharded(0), "", "", 0, 0, 0, 0},
    {sharded(0), sharded(1), "all_to_all 4 GB over 0", "all_to_all 4 GB over 0", 0.75, 0.75, 3, 3},
    {sharded(0), replicated_partial_gradient, "all_gather 4 GB over 0", "reduce_scatter 4 GB over 0", 3, 3, 3, 3},
    {sharded(0), replicated, "all_gather 4 GB over 0", "slice over 0", 3, 0, 3, 0},
    {replicated, sharded(1), "slice over 0", "all_gather 4 GB over 0", 0, 3, 0, 3},
    {replicated, replicated_partial_gradient, "", "all_reduce 4 GB over 0", 0, 6, 0, 6},
    {replicated, replicated, "", "", 0, 0, 0, 0},
    {partial, sharded(1), "reduce_scatter 4 GB over 0", "all_gather 4 GB over 0", 3, 3, 3, 3},
    {partial, replicated_partial_gradient, "all_reduce 4 GB over 0", "all_reduce 4 GB over 0", 6, 6, 6, 6},
    {partial, replicated, "all_reduce 4 GB over 0", "", 6, 0, 6, 0},
    // From a tensor's node that is R/P: its gradient is made a partial sum without communication.
    {replicated_partial_gradient, sharded(0), "slice over 0", "keep_one over 0", 0, 0, 0, 0},
    {replicated_partial_gradient, replicated_partial_gradient, "", "", 0, 0, 0, 0},
    {replicated_partial_gradient, replicated, "", "keep_one over 0", 0, 0, 0, 0},
};

struct Sample {
  Cluster cluster;
  DeviceMesh mesh;
  std::vector<std::int64_t> shape;
};

// Random links on meshes of eight to sixteen devices.
std::vector<Sample> samples() {
  std::mt19937 random(11);
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  std::vector<Sample> result;
  const std::pair<Submesh, std::vector<std::int64_t>> meshes[] = {
      {{1, 8}, {8}}, {{1, 8}, {2, 4}}, {{2, 4}, {2, 4}}, {{2, 4}, {4, 2}}, {{2, 8}, {2, 4, 2}}, {{4, 2}, {2, 2, 2}}};
  for (const auto& [submesh, sizes] : meshes)
    for (int i = 0; i < 3; ++i) {
      const double latency = i == 0 ? 0 : 1e-5;
      const Link inside{BytesPerSecond(uniform(1e9, 1e12)), uniform(0.5, 1), Seconds(uniform(0, latency))};
      const Link nic{BytesPerSecond(uniform(1e9, 1e11)), uniform(0.5, 1), Seconds(uniform(0, latency))};
      const Cluster cluster = cluster_with(submesh.hosts, submesh.devices_per_host, inside, nic);
      result.push_back({cluster, mesh_of(submesh, sizes), {64, 4}});
    }
  return result;
}

// Every layout that the shape allows, with these states on each axis.
std::vector<Layout> layouts(const Sample& sample, const std::vector<AxisLayout>& states) {
  std::vector<Layout> result{Layout{}};
  for (std::size_t axis = 0; axis < sample.mesh.dimensions(); ++axis) {
    std::vector<Layout> longer;
    for (Layout one : result)
      for (const AxisLayout& state : states) one.axes[axis] = state, longer.push_back(one);
    result = std::move(longer);
  }
  const ConversionTable prices(sample.cluster, sample.mesh, sample.shape, Bytes(2));
  std::erase_if(result, [&](const Layout& one) { return !prices.divides(one); });
  return result;
}

const std::vector<AxisLayout> of_results = {sharded(0), sharded(1), replicated, partial};
const std::vector<AxisLayout> of_nodes = {sharded(0), sharded(1), replicated, replicated_partial_gradient};

bool at_most(Seconds a, Seconds b) { return a.value() <= b.value() * (1 + 1e-9); }

}  // namespace

TEST_CASE("each cell of the table of layouts has its collectives, forward and backward") {
  for (const double latency : {0.0, 0.1}) {
    const Cluster cluster = cluster_with(1, 4, {BytesPerSecond(1e9), 1, Seconds(latency)}, {BytesPerSecond(1), 1, {}});
    ConversionTable prices(cluster, mesh_of({1, 4}, {4}), {4, 4}, Bytes(250e6));
    for (const Cell& cell : table) {
      const Layout from = layout({cell.from}), to = layout({cell.to});
      CAPTURE(print_layout(from, 1), print_layout(to, 1), latency);
      CHECK(moves_of(prices.value_path(from, to)) == cell.forward);
      CHECK(moves_of(prices.gradient_path(from, to)) == cell.backward);
      CHECK(prices.value_time(from, to).value() == Approx(cell.forward_bytes + latency * cell.forward_steps));
      CHECK(prices.gradient_time(from, to).value() == Approx(cell.backward_bytes + latency * cell.backward_steps));
    }
  }
}

TEST_CASE("the order of moves and the groups they are made over are those of the least price") {
  // Two hosts of four devices, 8 GB/s inside, one NIC of 2 GB/s; 64 GB. The axis over hosts has four groups, 0.5 GB/s
  // each.
  const Cluster cluster = cluster_with(2, 4, {BytesPerSecond(8e9), 1, {}}, {BytesPerSecond(2e9), 1, {}});
  ConversionTable vector(cluster, mesh_of({2, 4}, {2, 4}), {8}, Bytes(8e9));
  ConversionTable matrix(cluster, mesh_of({2, 4}, {2, 4}), {8, 8}, Bytes(1e9));
  const Layout whole = layout({replicated, replicated}), both = layout({sharded(0), sharded(0)});
  // One after the other: 3/4 · 32 GB at 8 GB/s and 1/2 · 64 GB at 0.5 GB/s, 67 s. As one ring of eight: 7/8 · 64 GB at
  // 2 GB/s.
  CHECK(moves_of(vector.value_path(both, whole)) == "all_gather 64 GB over 01");
  CHECK(vector.value_time(both, whole).value() == Approx(28));
  // With a second dimension, less crosses: first 3/16 · 32 GB at 8 GB/s = 0.75 s, which frees the major axis; then each
  // host fetches only its tiles, 8 GB at 0.5 GB/s = 16 s; then 48 GB at 8 GB/s = 6 s.
  CHECK(moves_of(matrix.value_path(both, whole)) ==
        "all_to_all 32 GB over 1, all_gather 16 GB over 0, all_gather 64 GB over 1");
  CHECK(matrix.value_time(both, whole).value() == Approx(22.75));
  // Reductions first: all-reduce the tile of 16 GB, 16 GB at 0.5 GB/s = 32 s, then gather, 48 GB at 8 GB/s = 6 s; after
  // the gather the all-reduce would cost 128 s.
  const MovePath reduce = vector.value_path(layout({partial, sharded(0)}), whole);
  CHECK(moves_of(reduce) == "all_reduce 16 GB over 0, all_gather 64 GB over 1");
  CHECK(reduce.time.value() == Approx(38));
}

TEST_CASE("the worked example of docs/layouts.md: Q, K and V read one activation") {
  // 8000 tokens of 5000 numbers in bf16, 80 MB, on four devices, 100 GB/s and 10 us a step.
  const Cluster cluster = cluster_with(1, 4, {BytesPerSecond(100e9), 1, Seconds(10e-6)}, {});
  ConversionTable prices(cluster, mesh_of({1, 4}, {4}), {8000, 5000}, Bytes(2));
  const Layout tokens = layout({sharded(0)}), heads = layout({replicated_partial_gradient}),
               redundant = layout({replicated});
  const auto forward = [&](const Layout& from, const Layout& to) { return 1e3 * prices.value_time(from, to).value(); };
  const auto backward = [&](const Layout& from, const Layout& to) {
    return 1e3 * prices.gradient_time(from, to).value();
  };
  // 60 MB and three steps each way.
  CHECK(forward(tokens, heads) == Approx(0.63));
  CHECK(backward(tokens, heads) == Approx(0.63));
  // Each for itself: 3 · 1.26 ms.
  CHECK(3 * (forward(tokens, heads) + backward(tokens, heads)) == Approx(3.78));
  // Through a node that is R/P: one all-gather, one reduce-scatter.
  CHECK(forward(heads, heads) + backward(heads, heads) == 0);
  // Through a node that is R/R: one all-gather; back, an all-reduce for each consumer and a slice.
  CHECK(forward(tokens, redundant) == Approx(0.63));
  CHECK(forward(redundant, heads) == 0);
  CHECK(3 * backward(redundant, heads) == Approx(3.78));
  CHECK(backward(tokens, redundant) == 0);
  // Through a node that is S(0): nothing to the node, all three conversions from it.
  CHECK(forward(tokens, tokens) + backward(tokens, tokens) == 0);
}

TEST_CASE("a shard moves to another axis by a permutation") {
  const Cluster cluster = cluster_with(1, 4, {BytesPerSecond(1e9), 1, {}}, {});
  ConversionTable prices(cluster, mesh_of({1, 4}, {2, 2}), {4, 4}, Bytes(250e6));
  // 4 GB: two devices have each half; each device fetches its 2 GB from another.
  const MovePath path = prices.value_path(layout({sharded(0), replicated}), layout({replicated, sharded(0)}));
  CHECK(moves_of(path) == "permute 8 GB over 01");
  CHECK(path.time.value() == Approx(2));
}

TEST_CASE("no conversion costs nothing, and none goes cheaper through a third layout") {
  for (const Sample& sample : samples()) {
    ConversionTable prices(sample.cluster, sample.mesh, sample.shape, Bytes(2e6));
    const std::vector<Layout> nodes = layouts(sample, of_nodes);
    bool holds = true;
    for (const Layout& a : layouts(sample, of_results)) {
      CHECK(prices.value_time(a, a) == Seconds(0));
      CHECK(prices.gradient_time(a, a) == Seconds(0));
      for (const Layout& b : nodes)
        for (const Layout& c : nodes) {
          holds &= at_most(prices.value_time(a, c), prices.value_time(a, b) + prices.value_time(b, c));
          // A node that is R/P may make a whole gradient a partial sum, which no conversion from c to a would do.
          if (std::find(b.axes.begin(), b.axes.end(), replicated_partial_gradient) == b.axes.end())
            holds &= at_most(prices.gradient_time(a, c), prices.gradient_time(a, b) + prices.gradient_time(b, c));
        }
    }
    CHECK(holds);
  }
}

TEST_CASE("two axes at once never cost more than one after the other") {
  std::size_t saved = 0;
  for (const Sample& sample : samples()) {
    if (sample.mesh.dimensions() != 2) continue;
    ConversionTable prices(sample.cluster, sample.mesh, sample.shape, Bytes(2e6));
    bool holds = true;
    for (const Layout& from : layouts(sample, of_results))
      for (const Layout& to : layouts(sample, of_nodes))
        for (const Layout& between : {layout({from.axes[0], to.axes[1]}), layout({to.axes[0], from.axes[1]})}) {
          if (!prices.divides(between)) continue;
          const Seconds apart = prices.value_time(from, between) + prices.value_time(between, to);
          holds &= at_most(prices.value_time(from, to), apart);
          saved += prices.value_time(from, to) < 0.99 * apart && apart < impossible;
        }
    CHECK(holds);
  }
  CHECK(saved > 0);
}

TEST_CASE("twice the bytes cost more, but at most twice as much") {
  for (const Sample& sample : samples()) {
    ConversionTable once(sample.cluster, sample.mesh, sample.shape, Bytes(2));
    ConversionTable twice(sample.cluster, sample.mesh, sample.shape, Bytes(4));
    bool holds = true;
    for (const Layout& from : layouts(sample, of_results))
      for (const Layout& to : layouts(sample, of_nodes))
        for (const auto time : {&ConversionTable::value_time, &ConversionTable::gradient_time}) {
          const Seconds a = (once.*time)(from, to), b = (twice.*time)(from, to);
          holds &= a < impossible && (a == Seconds(0) ? b == a : b > a) && at_most(b, 2 * a);
        }
    CHECK(holds);
  }
}

TEST_CASE("a gradient that is summed on its way back costs what its value's gather costs") {
  for (const Sample& sample : samples()) {
    ConversionTable prices(sample.cluster, sample.mesh, sample.shape, Bytes(2e6));
    const std::size_t axes = sample.mesh.dimensions();
    const Layout used_in_part = layout(std::vector<AxisLayout>(axes, replicated_partial_gradient));
    const Layout whole = layout(std::vector<AxisLayout>(axes, replicated));
    const Layout summed = layout(std::vector<AxisLayout>(axes, partial));
    for (const Layout& result : layouts(sample, {sharded(0), sharded(1)})) {
      CAPTURE(print_layout(result, axes));
      // All-gather forward, reduce-scatter backward: the same bytes over the same groups.
      CHECK(prices.gradient_time(result, used_in_part).value() ==
            Approx(prices.value_time(result, used_in_part).value()));
      // A gradient's way from S to R is that of a value.
      CHECK(prices.gradient_time(whole, result).value() ==
            Approx(prices.value_time(result, whole).value()).epsilon(1e-12));
      CHECK(prices.gradient_time(summed, result).value() ==
            Approx(prices.value_time(result, whole).value()).epsilon(1e-12));
    }
    CHECK(prices.gradient_time(whole, used_in_part) == prices.value_time(summed, whole));
  }
}

TEST_CASE("a tensor's bytes on a device are its bytes divided by its shards") {
  const Cluster cluster = cluster_with(1, 8, {BytesPerSecond(1e9), 1, {}}, {});
  const DeviceMesh mesh = mesh_of({1, 8}, {2, 4});
  const ConversionTable prices(cluster, mesh, {8, 12}, Bytes(2));  // 192 B
  CHECK(prices.local_bytes(layout({partial, replicated})) == Bytes(192));
  CHECK(prices.local_bytes(layout({replicated_partial_gradient, sharded(1)})) == Bytes(48));
  CHECK(prices.local_bytes(layout({sharded(0), sharded(0)})) == Bytes(24));
  CHECK(prices.divides(layout({sharded(0), sharded(0)})));
  CHECK(prices.divides(layout({sharded(0), sharded(1)})));
  CHECK_FALSE(prices.divides(layout({sharded(1), sharded(1)})));  // 12 is no multiple of 8
}
