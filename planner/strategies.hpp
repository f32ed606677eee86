// Strategies: the ways to run one op on a device mesh. A strategy maps each mesh axis to one factor of the op's rule,
// or to none (redundant work); everything else follows: the layouts of operands and results and the local sizes.
//
//   rule b s h, h f -> b s f on axes x, y;  x ↦ b, y ↦ f
//   operands [S(0), R/P] and [R/P, S(1)], result [S(0), S(2)]
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/device_mesh.hpp"
#include "costmodel/layout.hpp"
#include "graphs/gradients.hpp"
#include "planner/dimension_meanings.hpp"
#include "planner/pins.hpp"

namespace meshloom {

// What a mesh axis may do. The search leaves all axes free; a manual baseline gives each a role.
enum class AxisRole {
  free,
  data_parallel,      // shards the batch wherever it can, nothing else
  tensor_parallel,    // shards the parameters of matrix products, and the activations between them; never tokens. Of
                      // experts' parameters a part of each, never whole ones
  sequence_parallel,  // as tensor_parallel, and the activations elsewhere along the tokens
  context_parallel,   // shards the tokens of a sample wherever it can: the batch stays whole, parameters are replicated
  expert_parallel,    // shards the experts' work by expert and everything else by batch, as data_parallel
  context_and_expert_parallel,  // shards the experts' work by expert and everything else by tokens, as context_parallel
  tensor_and_expert_parallel,   // shards the experts' work by expert and everything else as tensor_parallel
  sequence_and_expert_parallel,  // shards the experts' work by expert and everything else as sequence_parallel
  key_value_copies,  // with the tensor- or sequence-parallel axis before it as with one axis of both; where that is too
                     // many for the key-value heads, its devices share one: each has a copy and a part of its queries
};

struct Strategy {
  std::array<std::optional<FactorId>, max_mesh_axes> axes{};
  std::vector<Layout> inputs;
  std::vector<Layout> outputs;
  std::vector<std::int64_t> local_sizes;  // of the rule's factors
};

// What strategies are enumerated for.
struct StrategyContext {
  const Graph& graph;
  const TrainingGraph& training;
  const DimensionMeanings& meanings;
  const DeviceMesh& mesh;
  std::vector<AxisRole> roles;        // by axis
  std::int64_t batch = 1;             // samples in a microbatch
  const PinnedGraph* pins = nullptr;  // none: nothing is pinned. Enumerations below do not look at it
};

// All strategies, the one without any sharding first where it is allowed; never empty. An axis may shard a factor when
// the product of its axes divides the size, the factor is not marked `!` or `^` (halo exchange is not priced yet),
// every more major factor of a product dimension is sharded out first, and every output has the factor or reduces over
// it.
std::vector<Strategy> enumerate_strategies(const StrategyContext& context, OpId op);

// The strategy for given factors; none where it is not allowed by shapes.
std::optional<Strategy> strategy_for(const StrategyContext& context, OpId op,
                                     const std::array<std::optional<FactorId>, max_mesh_axes>& axes);

// Why axes cannot shard factors of an op: "axis x cannot shard n: 6 is not divisible by 4".
std::vector<std::string> excluded_by_shape(const StrategyContext& context, OpId op);

// Layouts that a tensor's own node may take under the roles: all states per axis whose parts divide the shape.
std::vector<Layout> enumerate_layouts(const StrategyContext& context, TensorId tensor);

// Whether the roles allow turning a result into an operand or node: tensor parallelism keeps reduced results whole,
// sequence parallelism scatters them along the tokens.
bool conversion_allowed(const StrategyContext& context, TensorId tensor, const Layout& from, const Layout& to);

// Sizes of a tensor's dimensions in a microbatch.
std::vector<std::int64_t> sizes_of(const Tensor& tensor, std::int64_t batch);

}  // namespace meshloom
