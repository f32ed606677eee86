// The cores of attention: what selective recompute repeats [Korthikanti et al. 2022, section 5].
//
// A core is a fused `attention` op; or a softmax, the product of two activations whose results it is given, and the
// product of its shares with a third activation, with the elementwise ops between them (scale, mask, dropout):
//
//   b s n d, b t n d -> b n s t    softmax over t    b n s t, b t n d -> b s n d
//
// Nothing goes by names. The softmax of a router is none: its logits are a product with a parameter.
#pragma once

#include <vector>

#include "graphs/graph.hpp"

namespace meshloom {

// By OpId.
std::vector<bool> attention_core(const Graph& graph, const GraphRelations& relations);

}  // namespace meshloom
