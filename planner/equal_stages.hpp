// The stages of a uniform layout: as many blocks for each.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "graphs/graph.hpp"
#include "planner/baseline.hpp"
#include "planner/layers.hpp"

namespace meshloom {

using LayerRanges = std::vector<std::pair<std::size_t, std::size_t>>;  // first and last layer

// Equal numbers of blocks for all chunks, or nearly so where the layout asks for it, in layer order: chunk c of rank r
// is the (c·ranks + r)-th. Throws InputError: chunks that do not divide the blocks.
LayerRanges equal_stages(const Graph& graph, const PlanningLayers& layers, const UniformLayout& layout);

}  // namespace meshloom
