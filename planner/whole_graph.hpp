// The whole training graph on one device mesh as one intra-op problem: the layers' models joined at the variables they
// share, costs in picoseconds of a step, and what each choice holds in memory from when to when.
//
// Times are steps of the device: op p of n runs forward at time p and backward at 2n − 1 − p. Parameters with their
// gradients and optimizer state live always; a saved activation lives from its producer (under full recompute: from
// the backward of its layer's last op) until the backward of its first reader. One node has one life, so what an op
// keeps besides its parameters is a node of its own, tied to the op by an edge of zeros and infinities; so is what
// depends on both ends of an edge. Working sets of single ops are not counted: leave them room in the limit.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "planner/layer_model.hpp"

namespace meshloom {

struct WholeGraphOptions {
  // Seconds of a step: B microbatches and what happens once. Prices on memory stay 0: the limit is a limit here.
  Weights weights;
  // What each op may do with its parameters. Without a limit it takes the cheapest of each strategy.
  std::vector<ParameterState> states{ParameterState::replicated};
  Recompute recompute = Recompute::none;
  std::optional<Bytes> memory;  // of a device; none: no usages and no limit
};

// What a node of the problem stands for, and each of its choices: a choice of the layer model and a parameter state.
struct WholeGraphNode {
  enum class Kind { op, tensor, usage } kind = Kind::usage;  // usage: follows from the choices of others
  OpId op{};                                                 // ops
  std::size_t layer = 0;                                     // a tensor that several layers share: the first of them
  std::uint32_t model_node = 0;                              // of ops and tensors
  struct Choice {
    std::uint32_t choice = 0;
    ParameterState state = ParameterState::replicated;
  };
  std::vector<Choice> choices;  // of ops and tensors
};

struct WholeGraph {
  IntraOpProblem problem;
  std::vector<WholeGraphNode> nodes;           // as the problem's
  std::vector<std::uint32_t> keys;             // by layer
  std::map<std::uint32_t, LayerModel> models;  // by key
  const LayerModel& model(std::size_t layer) const { return models.at(keys[layer]); }
};

WholeGraph whole_graph_problem(const ModelContext& context, const PlanningLayers& layers,
                               const WholeGraphOptions& options);

// The way back: what the choices of a solution mean, by OpId.
struct OpDecision {
  Strategy strategy;
  ParameterState state = ParameterState::replicated;
};
std::vector<OpDecision> op_decisions(const WholeGraph& whole, const std::vector<std::uint32_t>& choices);

}  // namespace meshloom
