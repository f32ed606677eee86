#include "costmodel/recipe_presets.hpp"

namespace meshloom {
namespace {

constexpr Bytes gibibyte{1073741824};

constexpr const char* zero_paper =
    "Rajbhandari et al. 2020 (ZeRO), section 3.1: mixed-precision Adam keeps 2 B of parameters, 2 B of gradients and "
    "12 B of optimizer state (fp32 master copy, momentum, variance) per parameter";
constexpr const char* adam_traffic =
    "counted: one Adam step reads the gradient, reads and writes master copy and two moments (24 B) and writes the "
    "working copy (2 B)";

// No framework in particular: what the literature counts, and nothing fused.
Recipe neutral() {
  Recipe recipe;
  recipe.name = "neutral";
  recipe.compute_dtype = DType::bf16;
  recipe.parameter_bytes = Bytes(2);
  recipe.gradient_bytes = Bytes(2);
  recipe.bucket_bytes = Bytes(25 * 1048576.0);
  recipe.optimizer_bytes = Bytes(12);
  recipe.optimizer_traffic = 28;
  recipe.parameter_states = {ParameterState::replicated, ParameterState::zero1, ParameterState::zero3};
  recipe.regather_saved_activations = false;
  recipe.recompute_scope = RecomputeScope::blocks;
  recipe.elementwise_traffic = 1;
  recipe.schedules = {"1f1b", "interleaved-1f1b"};
  recipe.context_memory = gibibyte;
  recipe.memory_fragmentation = 0.04;
  recipe.sources = {
      {"compute_dtype", "assumed: today's usual choice; falls to fp16 on a device without bf16"},
      {"parameter_bytes", zero_paper},
      {"gradient_bytes", zero_paper},
      {"bucket_bytes", "PyTorch DistributedDataParallel: bucket_cap_mb = 25 MiB"},
      {"optimizer_bytes", zero_paper},
      {"optimizer_traffic", adam_traffic},
      {"parameter_states",
       "Rajbhandari et al. 2020, section 5; zero2 is left out because with several microbatches its "
       "reduce-scatter in each of them rarely pays"},
      {"regather_saved_activations", "assumed: activations are saved as the consumers use them"},
      {"recompute_scope",
       "Hugging Face Transformers, modeling_layers.py (GradientCheckpointingLayer): each block of the model is "
       "checkpointed; embedding, head and loss are not"},
      {"elementwise_traffic", "assumed: every op is a kernel of its own"},
      {"schedules",
       "assumed: 1F1B is common to Megatron-LM, DeepSpeed and torch.distributed.pipelining, interleaving to the first "
       "and "
       "the last; zero-bubble schedules, which few trainers run, are searched when asked for"},
      {"overlap_sends", "assumed: frameworks that have these schedules send asynchronously in them"},
      {"overlap_synchronization", "assumed: gradients are reduced after the last backward; the slower case"},
      {"context_memory", "assumed: CUDA context and communicator buffers take between 0.5 and 2 GiB"},
      {"memory_fragmentation", "assumed: as for megatron"},
  };
  return recipe;
}

Recipe megatron() {
  Recipe recipe = neutral();
  recipe.name = "megatron";
  recipe.gradient_bytes = Bytes(4);
  recipe.bucket_bytes = Bytes(160e6);
  recipe.optimizer_traffic = 30;
  recipe.parameter_states = {ParameterState::replicated, ParameterState::zero1};
  recipe.regather_saved_activations = true;
  recipe.elementwise_traffic = 0.5;
  recipe.overlap_sends = OverlapSends::none;
  recipe.context_memory = Bytes(2.5e9);
  recipe.memory_fragmentation = 0.04;
  recipe.sources = {
      {"compute_dtype", "Megatron-LM --bf16"},
      {"parameter_bytes", "Megatron-LM --bf16: the working copy"},
      {"gradient_bytes",
       "Megatron-LM: gradients are accumulated and reduced in fp32 with --bf16; 18 B per parameter in "
       "all (Megatron-LM docs, distributed optimizer)"},
      {"bucket_bytes", "Megatron-LM DistributedDataParallelConfig: at least 40 million parameters, here of 4 B"},
      {"optimizer_bytes", "Megatron-LM docs, distributed optimizer: fp32 master copy, momentum, variance"},
      {"optimizer_traffic", adam_traffic},
      {"parameter_states", "Megatron-LM: --use-distributed-optimizer is ZeRO-1"},
      {"regather_saved_activations",
       "Korthikanti et al. 2022, section 4.2.2: only the shard of a layer's input is "
       "saved and all-gathered again in the backward"},
      {"recompute_scope",
       "Megatron-LM, core/transformer/transformer_block.py (_checkpointed_forward): transformer layers are "
       "checkpointed; embedding, final norm, logits and loss run once"},
      {"elementwise_traffic",
       "counted: bias+GELU and bias+dropout+residual as one kernel each move 19 of the 40 units "
       "of b·s·h that a layer's elementwise ops move when each is a kernel of its own"},
      {"schedules",
       "Megatron-LM, megatron/core/pipeline_parallel/schedules.py: 1F1B without and with interleaving "
       "(--num-layers-per-virtual-pipeline-stage)"},
      {"overlap_sends",
       "fitted: the ratios of schedules measured by Qi et al. 2024 (table 4, a Megatron-LM fork) agree better when "
       "sends block, though Megatron-LM overlaps them with virtual pipeline stages (overlap_p2p_comm)"},
      {"overlap_synchronization", "Megatron-LM: --overlap-grad-reduce is off unless asked for"},
      {"context_memory",
       "fitted: published Megatron runs, ran against out of memory, peak·1.04 + 2.5 GB tells them "
       "apart with a balanced accuracy of 0.95 to 0.98"},
      {"memory_fragmentation", "fitted: see context_memory"},
  };
  return recipe;
}

Recipe alpa() {
  Recipe recipe = neutral();
  recipe.name = "alpa";
  recipe.compute_dtype = DType::fp16;
  recipe.recompute_scope = RecomputeScope::all;
  recipe.bucket_bytes = Bytes(30 * 1048576.0);
  recipe.elementwise_traffic = 0.5;
  recipe.schedules = {"1f1b", "gpipe"};
  recipe.context_memory = 1.6 * gibibyte;
  recipe.memory_fragmentation = 0;
  recipe.sources = {
      {"compute_dtype", "Zheng et al. 2022 (Alpa), section 8.1: GPT and MoE in fp16"},
      {"parameter_bytes", zero_paper},
      {"gradient_bytes",
       "assumed: gradients have the dtype of the fp16 parameters; in all 16 B per parameter, the "
       "accounting of the ZeRO paper"},
      {"bucket_bytes", "XLA: xla_gpu_all_reduce_combine_threshold_bytes = 30 MiB"},
      {"optimizer_bytes", zero_paper},
      {"optimizer_traffic", adam_traffic},
      {"parameter_states",
       "alpa-projects/alpa, alpa/parallel_method.py: data parallel, Zero2Parallel (all-reduce becomes "
       "reduce-scatter and all-gather, optimizer state is partitioned), Zero3Parallel. Its ZeRO-2 is "
       "taken as zero1, assumed: gradients accumulate whole over microbatches and are reduced once"},
      {"regather_saved_activations", "assumed: XLA keeps the values that the backward uses"},
      {"recompute_scope",
       "alpa-projects/alpa, alpa/pipeline_parallel/layer_construction.py: with remat_layer every layer is "
       "rematerialized, and layers cover the whole forward"},
      {"elementwise_traffic", "assumed: XLA's loop fusion reaches what Megatron's fused kernels do"},
      {"schedules", "alpa-projects/alpa, alpa/pipeline_parallel/schedules.py: GpipeSchedule, PipeDreamFlush (1F1B)"},
      {"overlap_sends",
       "Zhuang et al. 2023, section 4: eager 1F1B overlaps cross-mesh resharding; Alpa's 1F1B does not"},
      {"overlap_synchronization", "assumed: Alpa reduces the accumulated gradients once, after the last microbatch"},
      {"context_memory",
       "alpa-projects/alpa, alpa/global_env.py: xla_client_mem_fraction 0.9, so a tenth of a 16 GiB "
       "device is out of reach"},
      {"memory_fragmentation", "assumed: part of the tenth in context_memory"},
  };
  return recipe;
}

}  // namespace

std::vector<Recipe> built_in_recipes() { return {neutral(), megatron(), alpa()}; }

}  // namespace meshloom
