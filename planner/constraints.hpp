// What a user fixes about the pipeline before the search, and which stages that leaves.
//
// A list of stages fixes everything but the sharding inside them, which is how plans of other planners are priced. File
// format `meshloom.stages/1`, docs/constraints.md:
//
//   {"schema": "meshloom.stages/1", "stages": [
//     {"layers": 4, "submesh": [1, 8], "mesh": [2, 4]},                   the first four layers, on one host seen as
//     2×4
//     {"first": "h15", "last": "head", "submesh": [1, 8]}]}               from layer h15 to layer head, in any shape
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "costmodel/device_mesh.hpp"
#include "planner/layers.hpp"

namespace meshloom {

struct FixedStage {
  std::optional<std::int64_t> count;              // of its layers; none: named by the next two
  std::string first, last;                        // layers
  Submesh submesh;                                // hosts × devices of each
  std::optional<std::vector<std::int64_t>> mesh;  // sizes of its axes, those of size 1 left out; none: any
  bool operator==(const FixedStage&) const = default;
};

struct StageList {
  std::string file;  // for complaints
  std::vector<FixedStage> stages;
  bool operator==(const StageList&) const = default;
};

// Throws InputError: a stage without layers, or with both ways to say them.
StageList parse_stage_list(const std::string& text, const std::string& file);
StageList read_stage_list(const std::string& path);

struct Constraints {
  std::optional<std::uint32_t> stages;  // exactly so many
  std::vector<Submesh> submeshes;       // only these; empty: see allowed_submeshes
  std::vector<std::string> boundaries;  // layers that begin a stage; others may, too
  std::optional<StageList> stage_list;  // excludes the three above
  double memory_share = 1;              // of a device's memory that a plan may take at most
  bool operator==(const Constraints&) const = default;

  bool of_stages() const { return stages || !submeshes.empty() || !boundaries.empty() || stage_list; }
};
// " --stages 4 --submeshes 1x4,1x8", as the command line takes it; "" where nothing is fixed. A list of stages is not
// part of it.
std::string options_text(const Constraints& constraints);
std::string submeshes_text(const std::vector<Submesh>& submeshes);  // "1x4,1x8"

// The constraints against a graph's layers and a cluster: the stages that a pipeline may have.
class AllowedStages {
 public:
  AllowedStages() = default;  // any
  // Throws InputError with the place and what would do: no layer of that name, stages that are not all layers in order,
  // a submesh that no pipeline of this cluster can have, more stages than layers, a shape that is none of the submesh,
  // submeshes or a number of stages that cannot fill the cluster; a list of stages on an unequal cluster.
  AllowedStages(const Constraints& constraints, const PlanningLayers& layers, const Cluster& cluster,
                std::size_t max_mesh_axes);

  bool on(std::size_t first, std::size_t last, const Submesh& submesh) const;
  bool on(std::size_t first, std::size_t last, const DeviceMesh& mesh) const;
  // Whether two meshes of one submesh may differ in what they may run.
  bool fix_meshes() const;
  const std::optional<std::uint32_t>& count() const { return count_; }

 private:
  void check_filling(const Constraints& constraints, std::size_t layers, const Cluster& cluster) const;
  std::size_t last_layer(std::size_t stage, std::size_t begin, const PlanningLayers& layers) const;

  std::optional<std::uint32_t> count_;
  std::vector<std::size_t> boundaries_;  // layers, ascending
  std::optional<StageList> list_;
  std::vector<std::pair<std::size_t, std::size_t>> ranges_;  // first and last layer of each stage of the list
};

// The submeshes that pipelines are searched over: those of the constraints; or (1, n) for every divisor n of a host's
// devices, and (n, all) for every power of two and every divisor n of the hosts. Of a number with more than 24 divisors
// only those with its whole odd part count (hosts / 2^k). Of each group of the cluster those that it can have. Throws
// InputError for one that no group can have.
std::vector<Submesh> allowed_submeshes(const Constraints& constraints, const Cluster& cluster);

}  // namespace meshloom
