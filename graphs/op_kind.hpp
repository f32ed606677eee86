// The kinds of operator: how each is priced and what its backward reads. A new kind is one row of this table.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meshloom {

enum class OpKind {
  // Multilinear: the gradient of each input follows from the rule.
  einsum,   // FLOPs: 2·Π factors
  conv,     // FLOPs: 2·Π factors of kernel and result
  sum,      // a sum over the factors that the output lacks
  gather,   // table, indices -> rows (embedding), or sums of rows over a factor of the indices alone
  reshape,  // no cost when it keeps the layout; a transpose is a reshape that moves bytes
  broadcast,
  add,    // elementwise sum of operands, each may lack dimensions (bias)
  scale,  // times a constant
  // Not multilinear: one row each.
  multiply,  // elementwise product of activations
  gelu,
  relu,
  silu,
  softmax,
  layer_norm,
  rms_norm,
  batch_norm,  // over samples and positions
  rotary,
  concat,  // operands joined along a dimension; one that lacks dimensions of the result is repeated
  dropout,
  max_pool,   // the largest of each window
  attention,  // fused: query, key, value -> output
  cross_entropy,
  custom,  // states its own cost
};

struct OpKindTraits {
  std::string_view name;  // as written in a graph file
  bool multilinear;
  bool priced_by_flops;  // einsum, conv, attention; others by bytes
  // What the backward reads, thus what is saved. For multilinear kinds `reads_inputs` means: the gradient of X reads
  // the other inputs (einsum, conv), or only the indices (gather), or nothing (sum, add, reshape, broadcast, scale).
  bool reads_inputs;
  bool reads_outputs;
  double extra_bytes_per_output_element;  // saved besides (dropout's mask: 1)
  double extra_bytes_per_row;             // saved per row, i.e. output elements over whole or ~ factors (statistics)
  double backward_cost;  // of the joint backward kernel relative to the forward; 0: from the gradients' rules
  // All-reduces of the row statistics, 4 bytes per row each, that a sharded `~` factor costs.
  int inner_collectives_forward;
  int inner_collectives_backward;
};

const OpKindTraits& traits(OpKind kind);
std::optional<OpKind> op_kind_named(std::string_view name);
std::vector<std::string> op_kind_names();

}  // namespace meshloom
