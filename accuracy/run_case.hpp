// From a measured run to what is planned: the model, the cluster, the recipe and the layout, as values. A run's model
// name, id and source decide nothing.
//
// What a run leaves open:
// - virtual stages: 1; schedule: 1F1B, interleaved with virtual stages; attention kernel and dropout: the framework's
//   habit; vocabulary: GPT-2's; network: the device's default. The vocabulary is padded to a multiple of 128·tp
// - recompute: the least that memory holds (prediction.hpp)
// - uneven pipelines: where layers + 2 divide by the chunks and layers do not, embedding and loss take a layer's place
//   each; else chunks have nearly equal numbers of layers
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "accuracy/constants.hpp"
#include "accuracy/measured_runs.hpp"
#include "graphs/builders.hpp"
#include "planner/baseline.hpp"

namespace meshloom {

// What a graph is built from: equal models have equal graphs.
struct CaseModel {
  std::int64_t layers = 1, hidden = 1, heads = 1, kv_heads = 1, head_dim = 1, ffn_hidden = 1, vocab = 1,
               pad_vocab_to = 1, seq_len = 1;
  bool gated_mlp = false, fused_attention = true, dropout = false;
  auto operator<=>(const CaseModel&) const = default;
};
Graph build_graph(const CaseModel& model);

struct RunCase {
  CaseModel model;
  Cluster cluster;
  Recipe recipe;
  UniformLayout layout;
  bool recompute_stated = true;
  std::int64_t global_batch = 1;
};

// Why a run is not priced: what it needs that the program does not have.
struct SkipReason {
  std::string text;
};

std::variant<RunCase, SkipReason> make_case(const MeasuredRun& run, const Constants& constants);

}  // namespace meshloom
