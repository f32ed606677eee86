// A graph on one mesh of a small cluster whose numbers are easy to add up, with what the intra-op search refers to.
#pragma once

#include <string>
#include <vector>

#include "planner/stage_costs.hpp"

namespace meshloom {

// One host; every efficiency is 1, messages have no latency, kernels no launch time.
struct ToyCluster {
  std::int64_t devices = 4;
  double flops_per_s = 1e12, memory_bytes_per_s = 1e12, link_bytes_per_s = 1e11;
  double memory_bytes = 1e12;
};
Cluster toy_cluster(const ToyCluster& numbers);

// All devices of one host as axes "x", "y", "z".
DeviceMesh mesh_of(const std::vector<std::int64_t>& sizes);

class MeshCase {
 public:
  MeshCase(Graph graph, const Cluster& cluster, DeviceMesh mesh, const Recipe& recipe, std::int64_t microbatch_size,
           const Pins& pins = {});
  MeshCase(const MeshCase&) = delete;
  MeshCase& operator=(const MeshCase&) = delete;

  const SearchSpace& space() const { return space_; }
  MeshSolver& solver() { return solver_; }
  std::size_t layers() const { return space_.layers.layers.size(); }

  Cost cost(const RangeSettings& settings, std::size_t first, std::size_t last);
  Stage stage(const RangeSettings& settings, std::size_t first, std::size_t last) const;

 private:
  PlanningInput input_;
  SearchOptions options_;
  SearchSpace space_;
  DeviceMesh mesh_;
  std::int64_t microbatch_size_;
  MeshSolver solver_;
};

}  // namespace meshloom
