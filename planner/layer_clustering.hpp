// Layer clustering: a list of ops cut into contiguous layers [Alpa, Eq. 6], for graphs without layer tags and for
// coarser layers than the tags give.
//
// A layer receives the activations that it reads and an earlier layer made, each once. Of all clusterings into L layers
// whose loads are within the bound the answer is, in this order,
//   1. the one whose largest received bytes (of one sample) are least,
//   2. then of the least variance of forward FLOPs,
//   3. then of the least sum of received bytes,
//   4. then of the earliest cuts.
// The bound is (1 + δ) times the average forward FLOPs of a layer, or, where no clustering keeps it, the least bound
// that one keeps. What cannot be cut is no load: a layer in which a single op (a single unit, see `may_begin`) has
// FLOPs.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "graphs/gradients.hpp"

namespace meshloom {

struct ClusteringOptions {
  std::optional<std::size_t> layers;  // L; none: chosen, see cluster_layers
  double imbalance = 0.5;             // δ
  std::size_t most_layers = 64;       // when L is chosen
  // Ops at which a layer may begin, ascending, 0 first; what lies between two is a unit that stays whole. Empty: every
  // op.
  std::vector<std::size_t> may_begin;
};

// The layers' ops, in order; never an empty layer.
//
// L is chosen for graphs that repeat blocks: it is the largest number, at most a third of the ops with FLOPs
// ("products") and `most_layers`, for which there is a clustering with
// - narrow cuts only: no cut fewer than three products away, with products on both of its sides, is crossed by fewer
// bytes;
// - three products in each layer, or one of at least half the average FLOPs (the logits);
// - loads within (1 + δ) times the average, where the ops between two narrow cuts are a unit;
// - few different ranges of layers, because the search solves each different range once: at most 300 or 4·L.
// Throws InputError for `layers` = 0 or more than there are units.
std::vector<std::vector<OpId>> cluster_layers(const Graph& graph, const TrainingGraph& training,
                                              const ClusteringOptions& options);

// What rule 1 makes small: the bytes of one sample that the ops [begin, end) read and ops before them made.
Bytes received_bytes(const Graph& graph, const TrainingGraph& training, std::size_t begin, std::size_t end);

}  // namespace meshloom
