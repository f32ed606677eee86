// Planning layers: the contiguous runs of ops that a stage takes or leaves whole, and what they share with each other.
//
// A layer's interface variables are the tensors it shares with other layers: activations that cross its borders, and
// parameters that several layers use (tied embeddings). Each gets a node of its own in the intra-op problem; what lies
// inside a layer is eliminated before layers are joined. Layers with equal keys have equal structure, so they are
// solved once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/recipe.hpp"
#include "graphs/gradients.hpp"
#include "planner/pins.hpp"

namespace meshloom {

struct InterfaceVariable {
  TensorId tensor{};
  bool parameter = false;
  std::size_t first_layer = 0, last_layer = 0;  // that produce or use it
  // Which of the variables of its sort that begin in its first layer: with its age it names it in any equal layer.
  std::size_t rank = 0;
  bool incoming = false;  // an activation made by an earlier layer
  // An activation: whether it is saved for this layer. Some backward that keeps its operands reads it here (of one made
  // here: its producer's), or recomputing this layer starts from it.
  ByRecompute<bool> saved{};
};

// When an op's forward runs: in the forward alone, again in the backward, or only there, because nothing reads what it
// makes before.
enum class ForwardRuns : std::uint8_t { in_forward, in_both, in_backward };
inline bool runs_in_backward(ForwardRuns runs) { return runs != ForwardRuns::in_forward; }
// The same of gathering an op's parameters, which stay for the backward that follows its repeated forward at once.
inline ForwardRuns runs_of_gathering(ForwardRuns op) {
  return op == ForwardRuns::in_both ? ForwardRuns::in_forward : op;
}

// By OpId. A layer runs those of its own that run in the backward just before its backward.
struct RepeatedOps {
  std::vector<ForwardRuns> selective, full;
  ByRecompute<ForwardRuns> of(OpId op) const {
    return {ForwardRuns::in_forward, selective[index(op)], full[index(op)]};
  }
};
// Selective: attention cores (graphs/attention_core.hpp), with `elementwise` those of several kernels and the cheap ops
// of the blocks. Full: as the scope says. Layers are compared as they are
// tagged, else as they would be chosen.
RepeatedOps repeated_ops(const Graph& graph, const TrainingGraph& training, RecomputeScope scope,
                         SelectiveRecompute selective = SelectiveRecompute::attention);
// Whether some tensor is not saved that would be without recompute.
bool saves_memory(const Graph& graph, const TrainingGraph& training, const std::vector<ForwardRuns>& repeated);

struct PlanningLayer {
  std::string name;
  std::vector<OpId> ops;
  std::vector<ByRecompute<ForwardRuns>> runs;  // by position in ops
  std::vector<InterfaceVariable> variables;    // in order of first appearance in the ops
  std::uint32_t key = 0;                       // equal keys: equal structure
};

struct PlanningLayers {
  std::vector<PlanningLayer> layers;
  std::vector<std::size_t> layer_of;  // by OpId
  // Bytes per sample (or whole, when they do not scale with the batch) are taken from the tensors that cross the cut
  // after layer i: intermediates made at or before it and used behind it.
  std::vector<std::vector<TensorId>> cuts;  // size: layers − 1
};

// Ranges of layers by structure: ranges (first, last) of one class have equal keys in order, so their costs are equal.
struct RangeClasses {
  struct Class {
    std::size_t parent = 0;           // the range without its last layer; class 0 is the empty range
    std::size_t first = 0, last = 0;  // a representative
  };
  std::vector<Class> classes;
  std::vector<std::vector<std::size_t>> of;  // [first][last − first]
};
RangeClasses range_classes(const PlanningLayers& layers);

// Layers from the graph's tags; without tags from cluster_layers, named "l0", "l1", …. With `count` as many layers as
// that: groups of whole tagged layers ("h0…h1"), or clusters of ops without tags. Throws InputError for a count of 0 or
// beyond the tagged layers (the ops).
// Pins, and what recompute repeats, are part of a layer's structure.
PlanningLayers planning_layers(const Graph& graph, const TrainingGraph& training, std::optional<std::size_t> count = {},
                               const PinnedGraph& pins = {}, RecomputeScope scope = RecomputeScope::all,
                               SelectiveRecompute selective = SelectiveRecompute::attention);

}  // namespace meshloom
