// What a uniform pipeline divides among its stages.
#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "planner/baseline.hpp"

using namespace meshloom;

namespace {

PlanningInput input_of(const Graph& graph) {
  return {graph, read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/dgx_a100.json"), find_recipe("neutral"), {}, {}};
}

TransformerOptions small_model() {
  TransformerOptions options;
  options.layers = 4, options.hidden = 256, options.heads = 4, options.seq_len = 128, options.vocab = 1024;
  return options;
}

// The last layer of each stage.
std::vector<std::int64_t> ends(const Graph& graph, std::int64_t stages) {
  PlanningInput input = input_of(graph);
  input.cluster.device.memory = Bytes(1e15);
  UniformLayout layout{1, stages, 8 / stages};
  layout.micro_batch_per_replica = 1;
  std::vector<std::int64_t> result;
  for (const Stage& stage : baseline_plan(input, layout, 8).stages) result.push_back(stage.last_layer);
  return result;
}

using Ends = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("layers with windows and layers without are blocks alike", "[baseline]") {
  TransformerOptions options = small_model();
  options.window = 32, options.full_attention_every = 2;
  CHECK(ends(build_transformer(options), 4) == Ends{1, 2, 3, 5});  // embedding 0, blocks 1 to 4, head 5
}

TEST_CASE("a first layer unlike the others is a block", "[baseline]") {
  TransformerOptions options = small_model();
  options.experts = Experts{.count = 4, .top_k = 2, .ffn_hidden = 128, .first_dense_layers = 1};
  CHECK(ends(build_transformer(options), 4) == Ends{1, 2, 3, 5});
  CHECK(ends(build_transformer(options), 2) == Ends{2, 5});
}

TEST_CASE("a wide residual network divides its blocks, the stem goes with the first and the head with the last",
          "[baseline]") {
  const Graph graph = build_wresnet({.depth = 50, .base_channels = 16});
  // 3 + 4 + 6 + 3 blocks are layers 1 to 16.
  CHECK(ends(graph, 2) == Ends{8, 17});
  CHECK(ends(graph, 8) == Ends{2, 4, 6, 8, 10, 12, 14, 17});
}
