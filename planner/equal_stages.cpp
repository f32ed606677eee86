#include "planner/equal_stages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

// Whether a layer only begins or ends the model.
bool begins_or_ends(const Graph& graph, const PlanningLayer& layer) {
  return std::any_of(layer.ops.begin(), layer.ops.end(), [&](OpId id) {
    const Op& op = graph.op(id);
    const bool embeds = op.kind == OpKind::gather && graph.tensor(op.inputs[0]).role == TensorRole::parameter;
    const bool is_stem = op.kind == OpKind::conv && graph.tensor(op.inputs[0]).role == TensorRole::input;
    return embeds || is_stem || op.kind == OpKind::cross_entropy;
  });
}

// The blocks that are divided among the chunks: the layers from the first to the last that stand in the model more than
// once, with neighbours that neither embed nor convolve images nor end in the loss (a first layer unlike the others).
// What precedes and follows them goes with the first and the last, unless it counts as a block itself.
std::vector<std::size_t> block_starts(const Graph& graph, const PlanningLayers& layers, const UniformLayout& layout) {
  std::map<std::uint32_t, std::size_t> counts;
  for (const PlanningLayer& layer : layers.layers) ++counts[layer.key];
  std::size_t first = layers.layers.size(), end = 0;
  for (std::size_t l = 0; l < layers.layers.size(); ++l)
    if (counts[layers.layers[l].key] > 1) first = std::min(first, l), end = l + 1;
  if (end == 0) first = 0, end = layers.layers.size();
  while (first > 0 && !begins_or_ends(graph, layers.layers[first - 1])) --first;
  while (end < layers.layers.size() && !begins_or_ends(graph, layers.layers[end])) ++end;
  std::vector<std::size_t> blocks(end - first);
  std::iota(blocks.begin(), blocks.end(), first);
  if (layout.embedding_counts_as_block && first > 0) blocks.insert(blocks.begin(), 0);
  if (layout.loss_counts_as_block && end < layers.layers.size()) blocks.push_back(end);
  return blocks;
}

// How many blocks each chunk has. As many as the others or one fewer, where they are to be spread so.
std::vector<std::size_t> blocks_of_chunks(std::size_t blocks, std::size_t chunks) {
  std::vector<std::size_t> counts(chunks, (blocks + chunks - 1) / chunks);
  const std::size_t missing = counts.front() * chunks - blocks;
  for (std::size_t k = 0; k < missing; ++k) --counts[k % 2 == 0 ? chunks - 1 - k / 2 : k / 2];
  return counts;
}

}  // namespace

LayerRanges equal_stages(const Graph& graph, const PlanningLayers& layers, const UniformLayout& layout) {
  const std::vector<std::size_t> blocks = block_starts(graph, layers, layout);
  const auto count = static_cast<std::size_t>(layout.pipeline_parallel * layout.schedule.chunks);
  const bool counted = layout.embedding_counts_as_block || layout.loss_counts_as_block;
  if (layout.uneven_blocks ? blocks.size() < count : blocks.size() % count != 0)
    throw InputError(layout.schedule.chunks == 1 ? "--pp" : "--pp, --vpp",
                     fmt::format("{} does not divide the model's {} layers{}", count, blocks.size(),
                                 counted ? ", embedding and loss counted as told" : ""));
  LayerRanges result;
  std::size_t block = 0;
  for (const std::size_t own : blocks_of_chunks(blocks.size(), count)) {
    const std::size_t next = block + own;
    result.emplace_back(block == 0 ? 0 : blocks[block],
                        next == blocks.size() ? layers.layers.size() - 1 : blocks[next] - 1);
    block = next;
  }
  return result;
}

}  // namespace meshloom
