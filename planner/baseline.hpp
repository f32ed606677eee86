// Manual baselines: a uniform Megatron-style layout, priced by the same cost model and written as the same plan.
//
// The layout becomes restrictions on strategies: the "dp" axis may shard only the batch (and, as ZeRO, parameter
// states), the "tp" axis shards every matrix product that has a parameter, and with sequence parallelism the
// activations between them along the sequence; the "cp" axis shards tokens everywhere, so that attention gathers keys
// and values [Llama 3, section 3.3.2]; the "ep" axis takes part of data parallelism's devices and shards the experts.
// Within the restrictions the intra-op search decides; the stages take equal numbers of layers. On an
// unequal cluster they take the devices in order, each within one group.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "planner/search.hpp"

namespace meshloom {

struct UniformLayout {
  std::int64_t tensor_parallel = 1, pipeline_parallel = 1, data_parallel = 1;
  bool sequence_parallel = false;
  ParameterState parameter_state = ParameterState::replicated;  // --zero 0…3
  Recompute recompute = Recompute::none;
  Schedule schedule;
  std::optional<std::int64_t> micro_batch_per_replica;  // none: the fastest that fits
  // Megatron's --account-for-embedding-in-pipeline-split and --account-for-loss-in-pipeline-split: what stands before
  // the first block, what stands after the last, take the place of a block, so that their chunks have one block fewer.
  bool embedding_counts_as_block = false, loss_counts_as_block = false;
  // Where the chunks do not divide the blocks: some chunks have one block fewer, from the two ends inwards, the last
  // first, as they hold the head and the embedding, too. Otherwise that is an error.
  bool uneven_blocks = false;
  // Expert parallelism takes neighbours first: tensor-parallel devices that divide no expert, then context, then data
  // parallelism's. The experts' parameters have data_parallel · context_parallel · tensor_parallel /
  // expert_tensor_parallel / expert_parallel replicas.
  std::int64_t context_parallel = 1, expert_parallel = 1;
  // So many of the tensor-parallel devices divide each expert; tensor_parallel / expert_tensor_parallel of them are
  // part of expert parallelism's devices and hold whole ones (Megatron's --expert-tensor-parallel-size). None: as the
  // recipe's frameworks have it.
  std::optional<std::int64_t> expert_tensor_parallel;
  bool operator==(const UniformLayout&) const = default;
};
std::string describe(const UniformLayout& layout);  // "tp=4 pp=2 dp=1 sequence-parallel zero=1"

// The plan of one layout; status infeasible with reasons when it does not fit.
// Throws InputError: dp·tp·pp·cp differs from the devices, a degree below 1, experts that a model lacks or that ep does
// not divide, tokens of a sample that cp does not divide, attention heads or hidden sizes of MLPs that tp does not
// divide, key-value heads that it neither divides nor is a multiple of, more stages than layers, a microbatch that does
// not divide the batch, microbatches that the schedule cannot have.
Plan baseline_plan(const PlanningInput& input, const UniformLayout& layout, std::int64_t global_batch);

// Plans many layouts of one graph under one recipe: what depends on these alone is found once. Not for several threads
// at a time.
class BaselinePlanner {
 public:
  explicit BaselinePlanner(PlanningInput input);
  ~BaselinePlanner();
  BaselinePlanner(const BaselinePlanner&) = delete;
  BaselinePlanner& operator=(const BaselinePlanner&) = delete;

  const PlanningInput& input() const;
  // On another cluster from here on.
  void move_to(const Cluster& cluster);
  // As baseline_plan.
  Plan plan(const UniformLayout& layout, std::int64_t global_batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace meshloom
