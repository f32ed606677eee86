#include "tests/mesh_case.hpp"

#include "planner/materialize.hpp"

namespace meshloom {
namespace {

std::vector<AxisRole> all_free(const DeviceMesh& mesh) {
  return std::vector<AxisRole>(mesh.dimensions(), AxisRole::free);
}

}  // namespace

Cluster toy_cluster(const ToyCluster& numbers) {
  Cluster cluster;
  cluster.name = "toy";
  cluster.devices_per_host = numbers.devices;
  cluster.device.memory = Bytes(numbers.memory_bytes);
  cluster.device.memory_bandwidth = BytesPerSecond(numbers.memory_bytes_per_s);
  cluster.device.memory_efficiency = 1;
  cluster.device.peak = {{DType::bf16, FlopsPerSecond(numbers.flops_per_s)}};
  cluster.device.gemm = {.of_peak = 1, .wave_penalty = 0, .depth_penalty = 0};
  cluster.device.attention_of_peak = 1;
  cluster.intra_host.bandwidth = BytesPerSecond(numbers.link_bytes_per_s);
  cluster.nic.bandwidth = BytesPerSecond(numbers.link_bytes_per_s);
  return cluster;
}

DeviceMesh mesh_of(const std::vector<std::int64_t>& sizes) {
  const std::vector<std::string> names = {"x", "y", "z"};
  DeviceMesh mesh;
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    mesh.axes.push_back({names[axis], sizes[axis]});
    mesh.submesh.devices_per_host *= sizes[axis];
  }
  return mesh;
}

MeshCase::MeshCase(Graph graph, const Cluster& cluster, DeviceMesh mesh, const Recipe& recipe,
                   std::int64_t microbatch_size, const Pins& pins)
    : input_{std::move(graph), cluster, recipe, {}, {}, pins},
      options_{.global_batch = microbatch_size},
      space_(search_space(input_, options_)),
      mesh_(std::move(mesh)),
      microbatch_size_(microbatch_size),
      solver_(space_, mesh_, all_free(mesh_), microbatch_size) {}

Cost MeshCase::cost(const RangeSettings& settings, std::size_t first, std::size_t last) {
  return solver_.ranges().solve(settings)[space_.classes.of[first][last - first]];
}

Stage MeshCase::stage(const RangeSettings& settings, std::size_t first, std::size_t last) const {
  return materialize_stage(space_, {first, last, mesh_, all_free(mesh_), settings, 0}, microbatch_size_);
}

}  // namespace meshloom
