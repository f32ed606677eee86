// The computation graph: tensors and the operators between them, with the batch dimension left open.
//
// A Graph is a plain value that has passed every check of `check_graph` (graph_draft.hpp): the planner never meets a
// malformed one.
// Sizes are in elements; the dimension named `batch_dim` has a size only once a microbatch size is chosen, so sizes are
// Extents. Ops stand in a topological order; a layer is a contiguous run of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "graphs/ids.hpp"
#include "graphs/op_kind.hpp"
#include "graphs/sharding_rule.hpp"
#include "graphs/units.hpp"

namespace meshloom {

// `size`, or `size` per sample when it scales with the batch. at(4) of {2, true} is 8.
struct Extent {
  std::int64_t size = 1;
  bool scales_with_batch = false;
  std::int64_t at(std::int64_t batch) const { return scales_with_batch ? size * batch : size; }
  bool operator==(const Extent&) const = default;
};

enum class DType { bf16, fp16, fp32, fp8, fp4, int32, int64, int8, boolean };
std::string_view name(DType dtype);
std::optional<DType> dtype_named(std::string_view name);
Bytes size_of(DType dtype);  // as written in the graph; a recipe decides what a 16-bit float is computed in
bool is_floating(DType dtype);

enum class TensorRole { input, parameter, intermediate };

struct Tensor {
  std::string id;
  std::vector<Extent> shape;
  std::vector<std::string> shape_text;  // as written: "b", "n*d", "1024"; for declared tensors
  DType dtype = DType::bf16;
  TensorRole role = TensorRole::intermediate;
  bool stop_gradient = false;  // the user's wish; integer tensors and graph inputs never have a gradient
  bool declared = false;       // stands in the file; undeclared intermediates are inferred from rules
  bool operator==(const Tensor&) const = default;
};

struct Op {
  std::string id;
  OpKind kind = OpKind::custom;
  std::string layer;  // empty: none given
  std::vector<TensorId> inputs;
  std::vector<TensorId> outputs;
  ShardingRule rule;
  std::vector<Extent> factor_sizes;  // of rule.factors
  bool causal = false;               // attention: only the lower triangle is computed, half the FLOPs
  std::int64_t window = 0;           // attention: keys that a query reads; 0: all
  // Custom ops: forward FLOPs and bytes per element of the first output, and the backward's cost over the forward's.
  double custom_flops_per_element = 0;
  double custom_bytes_per_element = 0;
  double custom_backward_cost = 1;
  bool operator==(const Op&) const = default;
};

struct Graph {
  std::string name;
  std::string batch_dim;
  std::vector<std::pair<std::string, std::int64_t>> dims;  // in file order
  DType dtype = DType::bf16;                               // of undeclared intermediates
  std::int64_t padded_vocabulary = 0;                      // elements the builder added to the vocabulary; 0: none
  std::vector<Tensor> tensors;                             // indexed by TensorId
  std::vector<Op> ops;                                     // indexed by OpId, topological
  bool operator==(const Graph&) const = default;

  const Tensor& tensor(TensorId id) const { return tensors[index(id)]; }
  const Op& op(OpId id) const { return ops[index(id)]; }
};

// Derived relations, computed once: who makes and who reads each tensor, and which tensors get a gradient.
struct GraphRelations {
  std::vector<std::optional<OpId>> producer;  // by tensor
  std::vector<std::vector<OpId>> consumers;   // by tensor, ascending, each op once
  std::vector<bool> needs_gradient;           // by tensor: floating, not stopped, and it is or depends on a parameter
};
GraphRelations relations(const Graph& graph);

// Elements of a tensor when the batch dimension has `batch` samples.
double elements(const Tensor& tensor, std::int64_t batch);
// 2·Π factors for einsum; conv: 2·Π over the factors of kernel and result, so that a stride, which stands in the image
// alone, does not count; attention: 2·Π over the factors of query and key plus 2·Π over those of value and
// output, which is 4·Π of all when keys and values have one head size, times computed_share; custom: as it states. 0
// for kinds priced by bytes. One forward execution.
Flops forward_flops(const Op& op, std::int64_t batch);
// The share of all pairs of query and key that attention computes: half when causal, window/keys in a window, and where
// both limit, the window less its corner: w/t − (w/t)²/2 of t keys.
double computed_share(const Op& op);
// The gradients' FLOPs: the forward's once per input with a gradient (einsum, conv), or backward_cost times the
// forward's FLOPs. Model FLOPs: a fused attention's recomputation inside its backward is not counted here (2, not 2.5).
Flops backward_model_flops(const Graph& graph, const GraphRelations& relations, OpId op, std::int64_t batch);

struct GraphSummary {
  double parameters = 0;
  Flops forward_flops_per_sample;
  Flops training_flops_per_sample;  // forward and backward, no recompute
  std::size_t ops = 0;
  std::size_t tensors = 0;
};
GraphSummary summarize(const Graph& graph);

// Layers in order: maximal runs of equal `layer` tags; an op without a tag belongs to the layer of the op before it
// (the first ones to the layer that follows them). Without any tag: one layer without a name.
struct GraphLayer {
  std::string name;
  std::vector<OpId> ops;
};
std::vector<GraphLayer> tagged_layers(const Graph& graph);

}  // namespace meshloom
