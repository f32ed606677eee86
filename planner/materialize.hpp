// From the choices of a search to the stages of a plan: every op's sharding, every layout, every conversion, and the
// memory and times that add up from them.
#pragma once

#include <optional>

#include "costmodel/groups.hpp"
#include "planner/stage_costs.hpp"

namespace meshloom {

struct StageRequest {
  std::size_t first = 0, last = 0;  // layers
  const DeviceMesh& mesh;
  std::vector<AxisRole> roles;
  RangeSettings settings;
  std::int64_t first_device = 0;          // the stage takes as many as the mesh has, from here on
  std::optional<RangeOrigins> held = {};  // in place of the choices that the settings make
};

// One stage without its boundary, in-flight count, overhead and shared gradients, which the pipeline decides.
Stage materialize_stage(const SearchSpace& space, const StageRequest& request, std::int64_t microbatch_size);
// With a solver of the request's mesh, roles and microbatch size, which stages may share.
Stage materialize_stage(const SearchSpace& space, const StageRequest& request, MeshSolver& solver);

// Makes `forward` and `backward`, which are computing and collectives that are waited for, what the stage takes: with
// the launches of its kernels and what collectives take that run beside computing.
void add_waits(Stage& stage, const Launches& launches, const Launches& beside);

// Joins stages: boundaries between neighbours, memory by position, the plan's fields that need no simulation.
struct PipelineRequest {
  std::vector<Stage> stages;
  std::int64_t microbatch_size = 1, microbatches = 1;
  Schedule schedule;
};
Plan materialize_plan(const SearchSpace& space, PipelineRequest request);

// The way from a stage to the next: inside a host or between hosts, of one group or of two.
struct StageBorder {
  LinkClass link = LinkClass::intra_host;
  std::uint32_t from = 0, to = 0;  // groups
};
// The link that sends from one stage to the next cross, with contiguous placement, and what they cost there.
LinkClass link_between(const Cluster& cluster, const Stage& stage, const Stage& next);
Seconds send_time(const Cluster& cluster, Bytes bytes, const StageBorder& border);

// What of a conversion's collectives on gradients makes gradients of parameters: reductions, not gathers.
Seconds weight_part(const Conversion& conversion, TensorRole role);

// What crosses the cut after a layer, once per microbatch; the formula's prices over one lane.
StageBoundary boundary_after(const SearchSpace& space, std::size_t layer, const StageBorder& border,
                             std::int64_t microbatch_size);

// The formula's prices: activations over the lanes of the stage before the boundary, gradients over those of the next.
void price_sends(const Cluster& cluster, StageBoundary& boundary, const Submesh& stage, const Submesh& next);

// Of a tensor as it is sent, of one microbatch.
Bytes bytes_of(const SearchSpace& space, TensorId t, std::int64_t microbatch_size);

// When the forward of a stage's conversion, once per microbatch, runs: from its producer with that, from a tensor's own
// node, or of parameters, with the op that reads it. What was received is there from the forward on.
struct ConversionEnds {
  TensorRole role = TensorRole::intermediate;
  bool has_node = false;  // the tensor
  ForwardRuns producer = ForwardRuns::in_forward, consumer = ForwardRuns::in_forward;
};
ForwardRuns runs_of(const Conversion& conversion, const ConversionEnds& ends);
bool shares_parameters_outside(const PlanningLayers& layers, std::size_t first, std::size_t last);

}  // namespace meshloom
