// The training recipe: what the framework that will run the plan does, as far as cost and memory depend on it.
// File format `meshloom.recipe/1`, docs/recipe_format.md. The plan records the recipe it was made with.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graphs/graph.hpp"
#include "graphs/units.hpp"

namespace meshloom {

enum class ParameterState { replicated, zero1, zero2, zero3 };
std::string_view name(ParameterState state);  // "replicated", "zero1", …
std::optional<ParameterState> parameter_state_named(std::string_view name);

// What the backward computes again instead of keeping it: nothing, the cores of attention, or whole layers (as far as
// the recipe's scope goes).
enum class Recompute { none, selective, full };
inline constexpr std::array all_recomputes{Recompute::none, Recompute::selective, Recompute::full};
template <typename Value>
using ByRecompute = std::array<Value, all_recomputes.size()>;
std::string_view name(Recompute recompute);
std::optional<Recompute> recompute_named(std::string_view name);

// What full recompute repeats: the layers from the first to the last that stand in the graph more than once (a graph
// without such: all), all layers, or all but the last, whose forward a step that drops the loss needs only once: in the
// backward.
enum class RecomputeScope { blocks, all, all_but_last };
std::string_view name(RecomputeScope scope);
std::optional<RecomputeScope> recompute_scope_named(std::string_view name);

// What selective recompute repeats: the cores of attention that is not one kernel; or these and what is cheap to make
// again in the blocks: norms, activation functions, gates, rotations; or also sums and every second product with a
// parameter of each block.
enum class SelectiveRecompute { attention, elementwise, alternate_products };
std::string_view name(SelectiveRecompute selective);
std::optional<SelectiveRecompute> selective_recompute_named(std::string_view name);

// Which sends between pipeline stages go on while the sender computes: of the schedules that are made for it (eager and
// interleaved 1F1B, zero bubble, DualPipe), or of all.
enum class OverlapSends { none, by_schedule, all };
std::string_view name(OverlapSends overlap);
std::optional<OverlapSends> overlap_sends_named(std::string_view name);

// Whether gradients are reduced, bucket by bucket, while the last backward of the step still runs; or also while
// other chunks' do, and parameters gathered while the first forwards run (planner/plan/synchronization_waits.hpp).
enum class OverlapSynchronization { none, last_backward, beside_computing };
std::string_view name(OverlapSynchronization overlap);
std::optional<OverlapSynchronization> overlap_synchronization_named(std::string_view name);

struct Recipe {
  std::string name;
  // 16-bit floats of the graph are computed in this; bf16 falls to fp16 on a device without it.
  DType compute_dtype = DType::bf16;
  Bytes parameter_bytes{2};  // per parameter: the working copy
  Bytes gradient_bytes{4};   // per parameter: the accumulated gradient
  // Per parameter: what is sent where gradients are reduced; none: gradient_bytes.
  std::optional<Bytes> reduction_bytes;
  bool zero1_all_reduces = false;  // every device has all sums, though it needs those of its own shard alone
  // Collectives of parameters and gradients run in buckets of this size: a small tensor pays its share of a latency.
  // At least as much as this for each device of the group, so that pieces on a long ring do not get too short.
  Bytes bucket_bytes{25e6};
  Bytes bucket_bytes_per_device{0};
  Bytes optimizer_bytes{12};      // per parameter: master copy and moments
  double optimizer_traffic = 28;  // bytes moved per parameter by one optimizer step
  double gradient_traffic = 0;    // bytes moved per parameter to add a microbatch's gradient to those before it
  // The same of both where 16-bit floats are computed in fp16, which some frameworks add up in 16 bits and bf16 in 32.
  std::optional<Bytes> fp16_gradient_bytes;
  std::optional<double> fp16_gradient_traffic;
  std::vector<ParameterState> parameter_states{ParameterState::replicated, ParameterState::zero1,
                                               ParameterState::zero3};
  // Saved activations stay in the layout the producer made (Megatron's sequence parallelism) and are gathered again in
  // the backward, at that price; otherwise they are saved as the consumers use them.
  bool regather_saved_activations = false;
  RecomputeScope recompute_scope = RecomputeScope::blocks;
  SelectiveRecompute selective_recompute = SelectiveRecompute::attention;
  // Of runs that do not state their virtual stages: one block for each chunk, where the schedule allows that.
  bool interleaves_by_default = false;
  // Of runs that do not state what they recompute: this, or more where memory does not hold it.
  Recompute recompute_by_default = Recompute::none;
  // Products with a parameter, but that of the logits, are computed in this; none: compute_dtype. Their other operands
  // and their results' gradients are cast, which moves cast_bytes for each element.
  std::optional<DType> linear_dtype;
  double cast_bytes = 0;
  double elementwise_traffic = 1;  // bytes moved over bytes of operands and results, for kinds priced by bytes: fusion
  double norm_traffic = 1;         // of norms, times that
  double softmax_traffic = 1;      // of scores between the products of attention that is not fused, times that
  double dispatch_traffic = 1;     // of gathers that bring tokens to experts and back, times that
  double loss_traffic = 1;         // of the loss, times that
  bool fused_gates = false;        // activation functions that only gate run again in the backward: results not saved
  bool fused_attention = true;     // graphs that are made for a run have one kernel for the core of attention
  std::string attention_kernel;    // by which a device knows how fast it is (DeviceType::attention_kernels)
  double small_head_cost = 1;      // times what fused attention takes, for heads of less than 100
  // The processor of the host starts kernels one after the other: a stage takes the p-norm of its devices' time and of
  // what starting its kernels takes (stage_time.hpp).
  Seconds launch;              // of one kernel in the forward
  double backward_launch = 1;  // of one in the backward, over that
  // What the framework adds to each collective of activations: starting it, waiting for the slowest device's host.
  Seconds collective_overhead;
  // Of the time of collectives, the share that computing waits for; more than 1 where they take longer in
  // training than alone.
  double exposed_activations = 1;
  double exposed_all_to_all = 1;  // of those that bring tokens to experts and back
  double exposed_parameters = 1;
  double exposed_synchronization = 1;
  // Collectives of parameters in every microbatch (zero2, zero3) run beside computing: a stage waits for the exposed
  // share, and takes no less than all of them do, this many times what they take alone.
  bool overlap_parameters = false;
  double parameter_slowdown = 1;
  // Copies between these collectives' buffers and the tensors that kernels use, which computing waits for: bytes moved
  // over bytes gathered, over bytes reduced.
  double gather_traffic = 0;
  double reduction_traffic = 0;
  // zero3: a layer with more parameters than this gathers them op by op, and again after a recompute; none: always
  // layer by layer.
  std::optional<double> live_parameters;
  // Of layouts that do not state it: whether tensor-parallel devices always divide each expert of a mixture, or only
  // where there are too few for each of them to hold whole ones.
  bool divides_experts = false;
  double expert_imbalance = 1;  // the tokens of the busiest expert over the mean
  double expert_streams = 0;    // products of so many experts run at once, each a kernel; 0: one kernel for all
  // Pipeline schedules that the framework can run, by name (planner/plan/schedule.hpp): what `auto` searches.
  std::vector<std::string> schedules{"1f1b", "interleaved-1f1b"};
  OverlapSends overlap_sends = OverlapSends::by_schedule;
  OverlapSynchronization overlap_synchronization = OverlapSynchronization::none;
  Bytes context_memory{0};              // per device: CUDA context, communicator buffers
  double memory_fragmentation = 0;      // allocator overhead as a share of what is allocated
  double norm_bytes = 0;                // saved besides, per element of a norm's result (fp32 copies)
  double logits_bytes = 0;              // saved besides, per entry of the logits on their device (fp32 copies)
  double gathered_logits_bytes = 0;     // on every device with the loss, per token and entry of the whole vocabulary
  std::string kernels;                  // the kernel set that was chosen; "": the recipe's default
  std::vector<std::string> frameworks;  // what tables of measured runs call frameworks that this describes
  std::string successor;                // the recipe of the framework's releases for devices with fp8; "": this one
  std::vector<std::pair<std::string, std::string>> sources;  // key -> where its number comes from
  bool operator==(const Recipe&) const = default;
};

// A recipe that comes with the program (training_recipes/) by its name, or the path of a file. Throws InputError with
// the names. A file may start from one that comes with the program ("extends": "megatron"); keys it lacks have the
// values of that, else of "neutral". `kernels` chooses one of the recipe's kernel sets, whose keys then replace the
// recipe's; "" is the recipe's own default.
Recipe find_recipe(const std::string& name_or_path, const std::string& kernels = "");
std::vector<std::string> recipe_presets();
std::vector<std::string> kernel_sets(const std::string& name_or_path);
// Of a run's framework: the recipe that lists it; none.
std::optional<std::string> recipe_of_framework(const std::string& framework);
// As one of so many microbatches meets it, on average: the first one's gradients are written, with nothing to add to.
Recipe averaged_over(Recipe recipe, std::int64_t microbatches);
Recipe parse_recipe(const std::string& text, const std::string& file, const std::string& kernels = "");
std::string write_recipe(const Recipe& recipe);

}  // namespace meshloom
