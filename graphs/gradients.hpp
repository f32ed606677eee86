// The training graph: each forward op paired with its gradient ops. In the search the two are one node with one
// strategy, so this is all the planner needs to know about differentiation.
#pragma once

#include <vector>

#include "graphs/graph.hpp"

namespace meshloom {

// One gradient kernel. For multilinear kinds there is one for each input that needs a gradient, with its own rule;
// every other kind has one joint kernel for all its inputs.
struct GradientOp {
  std::vector<std::size_t> of_inputs;  // positions in the forward op's inputs
  std::optional<ShardingRule> rule;    // multilinear kinds; factors as in the forward's rule
  double cost_of_forward = 0;          // joint kernels: time relative to the forward
};

// What one forward op leaves for its backward.
struct SavedTensors {
  std::vector<std::size_t> inputs;  // positions in the forward op's inputs that some gradient kernel reads
  std::vector<std::size_t> outputs;
  double extra_bytes_per_output_element = 0;
  double extra_bytes_per_row = 0;
};

struct OpGradient {
  std::vector<GradientOp> kernels;  // empty: nothing upstream needs a gradient
  SavedTensors saved;               // empty with the kernels
  bool makes_logits = false;        // its result goes into a cross-entropy
};

struct TrainingGraph {
  GraphRelations relations;
  std::vector<OpGradient> gradients;  // by OpId
};

TrainingGraph differentiate(const Graph& graph);

}  // namespace meshloom
