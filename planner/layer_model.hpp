// The intra-op model of one layer on one mesh at one microbatch size: nodes, their choices and what each choice costs,
// before parameter states, recompute and the price of memory are decided. A PricedLayer makes the scalar problem out of
// it and adds up what a solution really takes. The state of a parameter adds no nodes: once weights
// are given, each choice takes the state that is weighted least.
//
// Nodes are ops (choices: strategies), activations with a node of their own (several consumers; saved by producer and
// consumer; or crossing the layer's border) and parameters that several ops use (choices: layouts).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "costmodel/conversions.hpp"
#include "costmodel/op_costs.hpp"
#include "planner/intra_op/problem.hpp"
#include "planner/layers.hpp"
#include "planner/parameter_costs.hpp"
#include "planner/plan/prices.hpp"
#include "planner/strategies.hpp"

namespace meshloom {

// What running layers costs one device: times of one microbatch, or of one step where said.
struct Cost {
  Seconds forward, backward;
  Seconds synchronization, update;  // per step
  Bytes fixed;                      // parameters, gradients, optimizer
  Bytes activations;                // saved per microbatch in flight
  Bytes recomputed;                 // brought back at once by recompute: of the largest layer
  Bytes working;                    // largest working set of one op beyond what is saved
  Bytes gathered;                   // zero3: working copies that several ops use, held throughout
  Bytes shared_gradients;           // of parameters that other layers use, too
  Seconds backward_weight;          // the part of `backward` that makes gradients of parameters
  // Collectives of parameters that run beside computing, in full; `forward` and `backward` have what is waited for.
  Seconds forward_beside{0}, backward_beside{0};
  Seconds parameter_gathers{0};  // the part of `synchronization` that gathers parameters
  Seconds per_microbatch() const { return forward + backward; }
  Seconds per_step() const { return synchronization + update; }
  Bytes transient() const { return recomputed + working + gathered; }
  bool operator==(const Cost&) const = default;
};
Cost add_within_layer(const Cost& a, const Cost& b);
Cost add_layers(const Cost& a, const Cost& b);

double weighted(const Cost& cost, const Weights& weights);

// What one solve is for.
struct RangeSettings {
  ParameterStates states{ParameterState::replicated};  // of which each parameter takes the one that is weighted least
  Recompute recompute = Recompute::none;
  Weights weights;
  bool operator==(const RangeSettings&) const = default;
};

// What one parameter costs in each state.
using ParameterChoices = std::array<ParameterCost, all_parameter_states.size()>;  // by ParameterState
// Of the allowed states the one that is weighted least; of those equally weighted the one with the least work per step,
// then the least memory, then the one that keeps most.
ParameterState best_state(const ParameterChoices& parameter, const RangeSettings& settings);

// One choice of a node before states and recompute.
struct Choice {
  Strategy strategy;  // ops
  Layout layout;      // tensors, parameters
  Seconds forward, backward;
  Bytes saved;
  Bytes working;
  std::vector<ParameterChoices> parameters;  // that only this op uses, in the order of its inputs; or the node's own
  Seconds backward_weight;                   // of ops: the part of `backward` that makes gradients of parameters
};

// What becomes of bytes that a backward reads: kept from the forward on, or made again by a recompute.
enum class Saving { none, kept, made_again };

// The part of a node or an edge in a recompute.
struct RecomputePart {
  ForwardRuns runs = ForwardRuns::in_forward;
  Saving saving = Saving::kept;
  bool operator==(const RecomputePart&) const = default;
};

struct ModelNode {
  enum class Kind { op, activation, parameter } kind = Kind::op;
  OpId op{};          // ops
  TensorId tensor{};  // others
  std::vector<Choice> choices;
  ByRecompute<RecomputePart> parts{};
  // zero3: its own parameters are given up after each use, so that a backward behind a repeated forward gathers them
  // once more (Recipe::live_parameters).
  bool regathers = false;
};

struct EdgeCost {
  Seconds forward, backward;  // impossible: not allowed
  Bytes saved;
  Seconds backward_weight;  // of parameters: the part of `backward` that reduces their gradients
};

struct ModelEdge {
  std::uint32_t a = 0, b = 0;  // nodes: producer or tensor, then tensor or consumer
  TensorId tensor{};
  std::size_t operand = 0;      // of the consumer; unused when b is a tensor's node
  std::vector<EdgeCost> costs;  // row-major
  ByRecompute<RecomputePart> parts{};
};

// Conversion tables by tensor shape and element size, kept for one mesh.
class ConversionTables {
 public:
  // Times are what computing waits for.
  ConversionTables(const Cluster& cluster, const DeviceMesh& mesh, const Waiting& waiting)
      : cluster_(cluster), mesh_(mesh), waiting_(waiting) {}
  ConversionTable& of(const std::vector<std::int64_t>& shape, Bytes element);

 private:
  const Cluster& cluster_;
  const DeviceMesh& mesh_;
  Waiting waiting_;
  std::map<std::pair<std::vector<std::int64_t>, double>, std::unique_ptr<ConversionTable>> tables_;
};

struct ModelContext {
  StrategyContext strategies;  // graph, mesh, roles, batch
  const Cluster& cluster;
  const Recipe& recipe;
  ConversionTables& conversions;
};

struct LayerModel {
  std::vector<ModelNode> nodes;  // interface variables last, in the layer's order
  std::vector<ModelEdge> edges;
  std::size_t interior = 0;  // nodes before the interface variables
};

LayerModel build_layer_model(const ModelContext& context, const PlanningLayer& layer);

// A layer under settings: what each choice costs is found once, for the problem and for the sums of its solutions.
class PricedLayer {
 public:
  // The model must outlive it.
  PricedLayer(const LayerModel& model, const RangeSettings& settings);

  // The scalar problem: interior nodes and edges in picoseconds of a step, interface nodes free.
  IntraOpProblem problem() const;
  // What the choices of the interior and the edges cost; interface variables' own costs are not included.
  Cost cost_of_choices(const std::vector<std::uint32_t>& choices) const;

 private:
  const LayerModel* model_;
  RangeSettings settings_;
  std::vector<std::vector<Cost>> costs_;  // by interior node and choice
};

// Without the model's prices made for all choices first.
Cost cost_of_choices(const LayerModel& model, const RangeSettings& settings, const std::vector<std::uint32_t>& choices);

// The own cost of an interface variable's choice: a parameter's storage; an activation that is saved.
Cost cost_of_variable(const ModelNode& node, std::uint32_t choice, const RangeSettings& settings);

// Between stages unique tiles travel, spread over the devices [Alpa, section 6]. A stage that holds a received
// activation redundantly (R/R) gathers it among its devices first; one whose sent activation is R/R does the same with
// the gradient that comes back. A received activation is never R/P: nobody would reduce its gradient; there the time is
// `impossible`.
Seconds arrival_time(const ModelContext& context, TensorId tensor, const Layout& layout);
Seconds departure_time(const ModelContext& context, TensorId tensor, const Layout& layout);
struct BorderCosts {
  std::vector<Cost> arrival, departure;  // by choice
};
BorderCosts border_costs(const ModelContext& context, const ModelNode& node);
// The axes along which every device holds the same: bit k is mesh axis k.
unsigned redundant_axes(const Layout& layout, const DeviceMesh& mesh);

// The conversion table and element size that price one operand's edge.
ConversionTable& conversion_table(const ModelContext& context, TensorId tensor);

bool shards_experts(const StrategyContext& context, const Op& op, const Strategy& strategy);
OpTime times_imbalance(OpTime time, const Recipe& recipe);
// Of one op under a strategy, without its inner collectives. Where experts are sharded, their products take as long as
// the busiest expert's (Recipe::expert_imbalance).
OpTime sharded_op_time(const StrategyContext& context, const Cluster& cluster, const Recipe& recipe, OpId op,
                       const Strategy& strategy);

// Rows of an op's results on one device, for per-row statistics and inner collectives.
double local_rows(const Op& op, const Strategy& strategy);

}  // namespace meshloom
