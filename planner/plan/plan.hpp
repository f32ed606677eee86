// The plan: everything an executor needs and everything a reader asks, as one plain value.
// File format `meshloom.plan/1`, docs/plan_format.md. Times are of one device of the stage and, unless said otherwise,
// of one microbatch; bytes are per device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/cluster.hpp"
#include "costmodel/collectives.hpp"
#include "costmodel/cross_mesh.hpp"
#include "costmodel/device_mesh.hpp"
#include "costmodel/layout.hpp"
#include "costmodel/recipe.hpp"
#include "costmodel/time_source.hpp"
#include "planner/plan/pins.hpp"
#include "planner/plan/prices.hpp"
#include "planner/plan/program.hpp"
#include "planner/plan/schedule_formula.hpp"

namespace meshloom {

enum class PlanStatus { optimal, feasible, infeasible, time_limit };
std::string_view name(PlanStatus status);

struct FileReference {
  std::string path;    // as given; "" when it was not a file
  std::string digest;  // of the content (graphs/files.hpp)
  bool operator==(const FileReference&) const = default;
};

// A profile that the plan was priced with.
struct ProfileReference {
  FileReference file;
  std::string device, measured;  // as in its provenance
  bool operator==(const ProfileReference&) const = default;
};

// A strategy: for each mesh axis the factor of the op's rule it shards, or "" for none.
struct OpSharding {
  std::string op;
  std::vector<std::string> axes;
  std::vector<Layout> inputs;
  std::vector<Layout> outputs;
  Seconds forward;  // compute and inner collectives
  Seconds backward;
  std::optional<TimeSource> forward_source{}, backward_source{};  // of most of it; none: priced without profiles
  bool operator==(const OpSharding&) const = default;
};

enum class Rate { per_microbatch, per_step };
std::string_view name(Rate rate);

// One collective on the way between two layouts, in the order it runs.
struct CollectiveStep {
  Collective collective = Collective::all_reduce;
  std::vector<std::string> axes;  // the mesh axes that form its groups
  Bytes whole;                    // as in collectives.hpp
  Seconds time;
  std::optional<TimeSource> source{};  // none: priced without profiles
  bool operator==(const CollectiveStep&) const = default;
};

// A change of layout between a producer (or a tensor's own node, or the parameter store) and a consumer.
struct Conversion {
  std::string tensor;
  std::string consumer;  // op id; "" when to the tensor's own node; "optimizer" for parameters
  Layout from, to;
  Rate rate = Rate::per_microbatch;
  std::vector<CollectiveStep> forward;   // on the value
  std::vector<CollectiveStep> backward;  // on the gradient; includes gathering a saved activation again
  bool operator==(const Conversion&) const = default;
};

// The layout of a tensor that has a node of its own, or of a stored parameter.
struct TensorLayout {
  std::string tensor;
  bool parameter = false;
  Layout layout;                                      // as consumers see it; of a parameter: as the forward uses it
  Layout saved;                                       // as it is kept for the backward
  ParameterState state = ParameterState::replicated;  // of a parameter, on its R/P axes
  Bytes bytes;                                        // of one device's share (parameters: of the working copy)
  bool operator==(const TensorLayout&) const = default;
};

struct StageMemory {
  Bytes parameters, gradients, optimizer;
  Bytes activations_per_microbatch;  // saved between forward and backward of one microbatch
  Bytes transient;                   // largest working set beyond what is saved, recomputed activations included
  Bytes overhead;                    // the recipe's context and fragmentation
  std::int64_t in_flight = 1;
  Bytes peak() const {
    return parameters + gradients + optimizer + double(in_flight) * activations_per_microbatch + transient + overhead;
  }
  bool operator==(const StageMemory&) const = default;
};

// What crosses the cut between a stage and the next for each microbatch, and comes back as gradient. The schedule's
// formula knows no layouts and no neighbours: it takes all tensors at the cut, each tile once, over the lanes of the
// stage that sends (send_lanes), so that without tensors that pass over stages it is never above the transfers. These
// go from the layout here to the layout there over the lanes that they really use, and a tensor that is used beyond the
// next stage straight to each stage that uses it.
struct StageBoundary {
  std::vector<std::string> tensors;     // at the cut
  Bytes forward_bytes, backward_bytes;  // of them, each tile once
  LinkClass link = LinkClass::intra_host;
  Seconds forward_time, backward_time;        // of the transfers, at once and alone; 0 for the last stage
  Seconds formula_forward, formula_backward;  // what the schedule's formula counts
  std::vector<Transfer> activations;          // that this stage sends, by tensors' position
  std::vector<Transfer> gradients;            // that the next stage sends back
  bool operator==(const StageBoundary&) const = default;
};

struct Stage {
  std::int64_t chunk = 0;                        // of its rank; all chunks of a rank have the same devices
  std::int64_t first_layer = 0, last_layer = 0;  // positions in Plan::layers, inclusive
  Submesh submesh;
  std::vector<std::int64_t> devices;  // numbers in the cluster, in mesh order
  std::vector<MeshAxis> mesh;
  Recompute recompute = Recompute::none;
  // The state of all parameters that have a choice (an R/P axis); none: they are in several.
  std::optional<ParameterState> parameter_state = ParameterState::replicated;
  Weights weights;                                             // what the stage was optimised for,
  ParameterStates allowed_states{ParameterState::replicated};  // and the states its parameters could take
  Seconds forward, backward;                                   // collectives and recompute included, sends not
  Seconds forward_compute, backward_compute;                   // the part that is computing
  Seconds backward_recompute;                                  // the part of backward_compute that repeats the forward
  // The parts of `forward` and `backward` beyond computing and collectives that are waited for: the host that starts
  // kernels, collectives of parameters that run beside computing (costmodel/stage_time.hpp).
  Seconds forward_waits, backward_waits;
  Seconds backward_weight;        // the part of `backward` that makes gradients of parameters
  Seconds synchronization;        // gradient collectives and parameter gathers, once per step
  Seconds synchronization_waits;  // the part of it beyond what is always waited for (synchronization_waits.hpp)
  // Gradients of parameters that other stages use, too: all-reduced between two stages, part of `synchronization`.
  Bytes shared_gradients;
  Seconds shared_gradients_time;
  Seconds update;  // optimizer step, once per step
  StageMemory memory;
  StageBoundary boundary;  // to the next stage
  std::vector<OpSharding> ops;
  std::vector<TensorLayout> tensors;
  std::vector<Conversion> conversions;
  bool operator==(const Stage&) const = default;
};

// What Stage::parameter_state is for these tensors. Where no parameter has an R/P axis: the first allowed state.
std::optional<ParameterState> common_state(const Stage& stage);
std::string_view parameter_state_text(const Stage& stage);  // "zero1", "mixed"

struct InfeasibleReason {
  std::int64_t first_layer = 0, last_layer = 0;
  Bytes needs, has;
  bool operator==(const InfeasibleReason&) const = default;
};
struct Remedy {
  std::string text;     // for people: "recompute activations"
  std::string options;  // for the command line: "--recompute full"
  bool operator==(const Remedy&) const = default;
};

struct Plan {
  FileReference graph, cluster_file;
  std::string graph_name;
  bool mixture_of_experts = false;
  Cluster cluster;  // inline, --hosts applied
  Recipe recipe;
  std::string options;              // the command's options, canonical
  std::string origin = "search";    // "search" or "baseline tp=8 …": says when a baseline won
  std::vector<Pin> pins;            // what was fixed before the search
  std::vector<std::string> layers;  // names, in order
  std::vector<ProfileReference> profiles;
  std::optional<TimeBySource> time_by_source;  // device time of a step without sends; none: priced without profiles

  PlanStatus status = PlanStatus::feasible;
  Schedule schedule;
  std::optional<PipelineProgram> program;  // the lists, when the schedule is custom
  std::int64_t global_batch = 1;
  std::int64_t microbatch_size = 1;  // samples over all devices of a stage
  std::int64_t microbatches = 1;
  std::vector<Stage> stages;

  Seconds estimate;                       // the schedule's formula, of this plan
  Seconds best_estimate;                  // the least formula value found
  Seconds lower_bound;                    // proven, same formula and space
  Seconds iteration_time;                 // simulated
  std::optional<Seconds> runner_up;       // simulated: of the next best candidate that takes another time
  double bubble_fraction = 0;             // simulated: idle device-seconds / (devices × iteration time)
  Flops model_flops;                      // of one step, recompute not counted
  std::vector<InfeasibleReason> reasons;  // when infeasible, with stages empty
  std::vector<Remedy> remedies;

  std::int64_t ranks() const { return std::ssize(stages) / schedule.chunks; }
  PipelineShape shape() const;                     // which stage is which chunk of which rank
  std::int64_t devices() const;                    // used by the stages
  std::vector<std::int64_t> idle_devices() const;  // of groups that the plan leaves out
  Bytes peak_memory() const;                       // of the largest device
  double flops_per_device_second() const;          // idle devices count
  double gap() const { return best_estimate / lower_bound - 1; }
  bool operator==(const Plan&) const = default;
};

// Counts what stages send each other, at the formula's price, where it counts under the schedule and the recipe's rule:
// a stage's activation over the boundary behind it, its gradient over the one before it. The last boundary is nothing.
struct BoundarySends {
  Seconds forward, backward;
  LinkClass link = LinkClass::intra_host;
};
void add_sends(std::vector<StageTimes>& times, const std::vector<BoundarySends>& boundaries, const Recipe& recipe,
               ScheduleKind schedule);

// What schedule_formula.hpp is given.
std::vector<StageTimes> stage_times(const Plan& plan);

}  // namespace meshloom
