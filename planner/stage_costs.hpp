// Stage costs: for each class of layer ranges and each submesh the useful ways to run it, over logical mesh shapes,
// shardings, the state of each parameter, recompute and prices of memory; and a lower bound on the time of each.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/range_solver.hpp"
#include "planner/search.hpp"

namespace meshloom {

// Everything that does not depend on the microbatch size.
struct SearchSpace {
  const PlanningInput& input;
  const SearchOptions& options;
  TrainingGraph training;
  DimensionMeanings meanings;
  PlanningLayers layers;
  RangeClasses classes;
  std::vector<Submesh> submeshes;         // by group: (1, 2^k) inside a host, then (2^k, all) and (hosts, all)
  std::vector<DeviceMesh> meshes;         // the logical shapes of all submeshes
  std::vector<std::uint32_t> submesh_of;  // by mesh
  std::vector<ParameterState> states;
  std::vector<Recompute> recomputes;
  PinnedGraph pins;
};
SearchSpace search_space(const PlanningInput& input, const SearchOptions& options);

// What a device may hold beyond the recipe's overhead: (memory − context) / (1 + fragmentation). Of a uniform cluster.
Bytes usable_memory(const Cluster& cluster, const Recipe& recipe);

// The groups that a pipeline passes through, as a set: bit g is group g. A pipeline uses all devices of its groups.
std::vector<unsigned> group_selections(const Cluster& cluster);  // all but the empty one, larger ones last
std::int64_t devices_of(const Cluster& cluster, unsigned groups);

// How many stages may follow one with this cost (see StageOption), at most `most`; none: it does not fit at all.
std::optional<std::int64_t> following_stages(const Cost& cost, Bytes usable, ScheduleKind schedule,
                                             std::int64_t microbatches, std::int64_t most);

struct StageCandidate {
  Cost cost;
  std::uint32_t mesh = 0;
  RangeSettings settings;
  std::int64_t max_following_stages = 0;
};

struct StageCosts {
  // By class and submesh; undominated in (forward, time, per step, following stages).
  std::vector<std::vector<std::vector<StageCandidate>>> candidates;
  // By class and submesh: no way to run it takes less per microbatch; impossible where there is none.
  std::vector<std::vector<Seconds>> least_time;
  // No way to run all layers as one stage on all devices (of one group) takes less than this for a step.
  Seconds least_single_stage{0};
  // By class and submesh: whether it may fit. Where not, nothing that runs it holds less than a device has.
  std::vector<std::vector<bool>> may_fit;
  // By class and submesh: the least bytes a device was seen to need for one microbatch in flight.
  std::vector<std::vector<Bytes>> least_memory;
};
// A first look at a fraction of the work: time and memory each on its own.
StageCosts outline_stages(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches);
// Everything that a pipeline which takes less than `to_beat` may be made of, as far as the outline tells.
StageCosts price_stages(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches,
                        const StageCosts& outline, Seconds to_beat);

// A solver of ranges on one mesh with what it refers to.
class MeshSolver {
 public:
  MeshSolver(const SearchSpace& space, const DeviceMesh& mesh, std::vector<AxisRole> roles,
             std::int64_t microbatch_size);
  MeshSolver(const MeshSolver&) = delete;
  MeshSolver& operator=(const MeshSolver&) = delete;

  RangeSolver& ranges() { return ranges_; }
  const ModelContext& context() const { return context_; }

 private:
  DeviceMesh mesh_;
  ConversionTables conversions_;
  ModelContext context_;
  RangeSolver ranges_;
};

}  // namespace meshloom
