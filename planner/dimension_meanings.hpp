// What dimensions of tensors run over, found from the graph's rules without looking at names.
#pragma once

#include <cstdint>
#include <vector>

#include "graphs/graph.hpp"

namespace meshloom {

using DimensionMarks = std::vector<std::vector<bool>>;  // by TensorId, by dimension

// Of one core of attention.
struct AttentionHeads {
  std::int64_t query = 1, key_value = 1;
  bool operator==(const AttentionHeads&) const = default;
};

// Tokens: the dimensions of the graph's inputs, carried along by the rules; they tell a sequence from a hidden
// dimension. Experts: those over which a parameter and what it is multiplied with are batched (e of b e c h, e h f ->
// b e c f), carried along to what is made of the products. The tokens sent to an expert (c) are tokens, too.
// Key-value heads: those that attention has in queries and keys (k of b s (k g) d, b t k d), back to the parameters
// that make keys and values.
struct DimensionMeanings {
  DimensionMarks tokens, experts, key_value_heads;
  std::vector<AttentionHeads>
      heads;  // each pair once, in the order of the ops; cores without such a dimension left out
  bool has_experts() const;
};
DimensionMeanings dimension_meanings(const Graph& graph);

// Whether the factor is in a marked dimension of one of the tensors.
bool in_marked(const std::vector<TensorId>& tensors, const std::vector<RuleOperand>& operands,
               const DimensionMarks& marked, FactorId factor);

// A matrix product, convolution or gather with a parameter.
bool multiplies_a_parameter(const Graph& graph, const Op& op);

}  // namespace meshloom
