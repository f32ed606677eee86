#include "accuracy/run_case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

namespace meshloom {
namespace {

constexpr std::int64_t gpt2_vocabulary = 50257;
constexpr std::int64_t vocabulary_multiple = 128;  // per tensor-parallel device: Megatron-LM's default

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// Thrown inside this file only.
struct Skipped {
  std::string reason;
};
template <typename... Parts>
[[noreturn]] void skip(fmt::format_string<Parts...> text, Parts&&... parts) {
  throw Skipped{fmt::format(text, std::forward<Parts>(parts)...)};
}

// "torch" and "fused" (a softmax kernel between two products, as Megatron's) keep the scores; the others do not.
bool fuses_attention(const std::string& kernel) {
  const std::string name = lower(kernel);
  return name != "torch" && name != "fused" && !has(name, "unfused") && !has(name, "softmax") && !has(name, "eager");
}

// The name that device files have for a fused kernel, from what a run calls it; "" where it says none of them.
std::string known_kernel(const std::string& kernel) {
  const std::string name = lower(kernel);
  if (!fuses_attention(kernel)) return "";
  if (has(name, "triton")) return "triton";
  if (has(name, "flash")) return has(name, "v1") || has(name, "attention1") ? "flash-attention-1" : "flash-attention-2";
  return name.starts_with("te ") || name == "te" || has(name, "transformer") ? "transformer-engine" : "";
}

// The digits at `at`; none: there are none, or too many.
std::optional<std::int64_t> number_at(const std::string& text, std::size_t at) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  if (at >= text.size() || std::isdigit(static_cast<unsigned char>(text[at])) == 0) return std::nullopt;
  return std::from_chars(text.data() + at, end, number).ec == std::errc() ? std::optional(number) : std::nullopt;
}

// Words of sources: "first 3 layers dense (ffn 18432)", "first layer dense".
std::int64_t dense_layers_first(const MeasuredModel& given) {
  const std::string& notes = given.notes;
  const std::size_t at = notes.find("first ");
  if (at == std::string::npos || !has(notes, "dense")) return 0;
  const std::int64_t number = number_at(notes, at + 6).value_or(1);
  if (number > given.layers) skip("notes: the first {} layers of {} are dense", number, given.layers);
  return number;
}

void add_attention(const MeasuredModel& given, TransformerOptions& model) {
  if (given.attention.empty()) return;
  if (lower(given.attention) == "mla") {
    model.latent_attention = LatentAttention{};
    model.head_dim = 0;
    model.kv_heads = 0;
  } else if (const std::size_t at = given.attention.find("sliding window "); at != std::string::npos) {
    const std::optional<std::int64_t> window = number_at(given.attention, at + 15);
    if (!window || *window < 1) skip("attention \"{}\" has no width above 0", given.attention);
    model.window = *window;
    if (has(given.attention, "alternating")) model.full_attention_every = 2;
  } else {
    skip("attention \"{}\" is not known", given.attention);
  }
}

// With fewer key-value heads than tensor-parallel devices, each device has a copy of the one that its queries read.
std::int64_t key_value_heads(const MeasuredRun& run) {
  const std::int64_t heads = run.model.kv_heads, devices = run.tensor_parallel;
  return devices > heads && devices % heads == 0 && run.model.heads % devices == 0 ? devices : heads;
}

TransformerOptions model_of(const MeasuredRun& run, const Recipe& recipe) {
  const MeasuredModel& given = run.model;
  TransformerOptions model;
  model.layers = given.layers, model.hidden = given.hidden, model.heads = given.heads;
  model.kv_heads = key_value_heads(run), model.head_dim = given.head_dim, model.ffn_hidden = given.ffn_hidden;
  model.vocab = given.vocab.value_or(gpt2_vocabulary);
  model.pad_vocab_to = vocabulary_multiple * run.tensor_parallel;
  model.seq_len = given.seq_len;
  model.gated_mlp = given.gated_mlp;
  model.fused_attention = recipe.fused_attention;
  model.causal = recipe.fused_attention;
  if (!given.gated_mlp) {
    const bool as_gpt = given.kv_heads == given.heads;
    model.activation = as_gpt ? Activation::gelu : Activation::relu;
    model.norm = as_gpt ? NormKind::layer_norm : NormKind::layer_norm_without_bias;
    model.attention_biases = as_gpt ? AttentionBiases::all : AttentionBiases::none;
    model.mlp_biases = as_gpt;
    model.positions = as_gpt ? PositionKind::learned : PositionKind::rotary;
    model.tied_embeddings = as_gpt;
    model.dropout = as_gpt && !recipe.fused_attention;
  }
  if (given.experts) {
    Experts experts;
    experts.count = given.experts->experts;
    experts.top_k = given.experts->top_k;
    experts.ffn_hidden = given.experts->ffn_hidden;
    experts.shared = given.experts->shared;
    experts.first_dense_layers = dense_layers_first(given);
    model.experts = experts;
  }
  add_attention(given, model);
  return model;
}

// Devices that reach each other over links of a host form a host of their own, as far as the run has whole ones.
std::int64_t devices_together(const MeasuredRun& run, const DeviceFile& device) {
  const std::int64_t of_node = std::min(run.gpus, run.gpus_per_node);
  std::int64_t most = of_node;
  for (std::int64_t size = of_node;
       size <= device.devices_per_link_domain && device.devices_per_link_domain > device.devices_per_host;
       size += of_node)
    if (run.gpus % size == 0) most = size;
  return most;
}

Cluster cluster_of(const MeasuredRun& run, const Constants& constants) {
  const DeviceFile* file = find_device(constants, run.gpu);
  if (file == nullptr)
    skip("no device file for the GPU \"{}\"; put one into FOLDER/devices, --constants FOLDER", run.gpu);
  Cluster cluster;
  cluster.name = run.gpu;
  cluster.device = file->device;
  cluster.intra_host = file->intra_host;
  cluster.nic = file->nic;
  cluster.devices_per_host = devices_together(run, *file);
  if (run.gpus % cluster.devices_per_host != 0)
    skip("{} GPUs do not fill hosts of {}", run.gpus, cluster.devices_per_host);
  cluster.hosts = run.gpus / cluster.devices_per_host;
  const std::int64_t nodes = std::max<std::int64_t>(1, cluster.devices_per_host / run.gpus_per_node);
  cluster.nics_per_host = nodes * file->nics_per_host;
  if (run.between_hosts) cluster.nic.bandwidth = *run.between_hosts / static_cast<double>(file->nics_per_host);
  return cluster;
}

// Linear layers in 8 bits or fewer run at that peak; everything else stays as it is in 16 bits.
void set_precision(const MeasuredRun& run, const Cluster& cluster, Recipe& recipe) {
  const std::string precision = lower(run.precision);
  const auto lower_linear_layers = [&](DType dtype) {
    recipe.compute_dtype = DType::bf16;
    recipe.linear_dtype = dtype;
    if (!cluster.device.peak.contains(dtype)) skip("{} has no peak for {}", cluster.device.name, run.precision);
  };
  if (has(precision, "fp4")) {
    lower_linear_layers(DType::fp4);
  } else if (has(precision, "fp8") || has(precision, "float8")) {
    lower_linear_layers(DType::fp8);
  } else if (has(precision, "bf16")) {
    recipe.compute_dtype = DType::bf16;
  } else if (has(precision, "fp16")) {
    recipe.compute_dtype = DType::fp16;
  } else {
    skip("precision \"{}\" is not known", run.precision);
  }
}

// A kernel set may be named after a release of the framework: "24.07" is that of "24.07" and "24.07.01".
const Recipe* recipe_of_version(const KnownRecipe& known, const std::string& version) {
  for (const auto& [name, recipe] : known.by_kernels)
    if (version.starts_with(name)) return &recipe;
  return nullptr;
}

Recipe recipe_of(const MeasuredRun& run, const Constants& constants) {
  const KnownRecipe& known = recipe_for(constants, run.framework, run.gpu, run.parameter_state);
  const auto set = known.by_kernels.find(run.attention_kernel);
  if (set != known.by_kernels.end()) return set->second;
  if (const Recipe* of_version = recipe_of_version(known, run.framework_version)) return *of_version;
  Recipe recipe = known.plain;
  if (!run.attention_kernel.empty()) {
    recipe.fused_attention = fuses_attention(run.attention_kernel);
    const std::string kernel = known_kernel(run.attention_kernel);
    if (!kernel.empty()) recipe.attention_kernel = kernel;
  }
  return recipe;
}

// As many as leave a block for each chunk; 1 where blocks or microbatches do not divide so.
std::int64_t unstated_virtual_stages(const MeasuredRun& run, const Recipe& recipe) {
  const std::int64_t ranks = run.pipeline_parallel,
                     microbatches = run.global_batch / run.data_parallel / run.micro_batch;
  if (!recipe.interleaves_by_default || run.model.layers % ranks != 0 || microbatches % ranks != 0) return 1;
  return run.model.layers / ranks;
}

Schedule schedule_of(const MeasuredRun& run, const Recipe& recipe) {
  const std::string name = lower(run.schedule);
  const std::int64_t chunks =
      run.virtual_stages ? *run.virtual_stages : (name.empty() ? unstated_virtual_stages(run, recipe) : 1);
  if (run.pipeline_parallel == 1) return {};
  if (name == "zb-1p") return ScheduleKind::zb_1p;
  if (name == "zb-2p") return ScheduleKind::zb_2p;
  if (name == "zb-h1") return ScheduleKind::zb_h1;
  if (name == "zb-h2") return ScheduleKind::zb_h2;
  if (name == "gpipe") return ScheduleKind::gpipe;
  if (name == "dualpipe") return ScheduleKind::dualpipe;
  if (!name.empty() && !has(name, "1f1b")) skip("schedule \"{}\" is not known", run.schedule);
  if (chunks > 1) return {ScheduleKind::interleaved, chunks};
  return {};
}

UniformLayout layout_of(const MeasuredRun& run, const Recipe& recipe) {
  UniformLayout layout;
  layout.tensor_parallel = run.tensor_parallel, layout.pipeline_parallel = run.pipeline_parallel;
  layout.data_parallel = run.data_parallel, layout.context_parallel = run.context_parallel;
  layout.expert_parallel = run.model.experts ? run.expert_parallel : 1;
  layout.expert_tensor_parallel = run.expert_tensor_parallel;
  layout.sequence_parallel = run.tensor_parallel > 1 && run.sequence_parallel.value_or(false);
  // With one replica there is nothing to divide.
  if (run.data_parallel * run.context_parallel > 1) layout.parameter_state = run.parameter_state;
  layout.recompute = run.recompute.value_or(Recompute::none);
  layout.schedule = schedule_of(run, recipe);
  layout.micro_batch_per_replica = run.micro_batch;
  const std::int64_t chunks = layout.pipeline_parallel * layout.schedule.chunks;
  if (run.model.layers % chunks != 0) {
    const bool ends_count = (run.model.layers + 2) % chunks == 0;
    layout.embedding_counts_as_block = layout.loss_counts_as_block = ends_count;
    layout.uneven_blocks = !ends_count;
  }
  return layout;
}

}  // namespace

std::variant<RunCase, SkipReason> make_case(const MeasuredRun& run, const Constants& constants) {
  try {
    const Cluster cluster = cluster_of(run, constants);
    Recipe recipe = recipe_of(run, constants);
    set_precision(run, cluster, recipe);
    const TransformerOptions model = model_of(run, recipe);
    const UniformLayout layout = layout_of(run, recipe);
    return RunCase{model, cluster, std::move(recipe), layout, run.recompute.has_value(), run.global_batch};
  } catch (const Skipped& skipped) {
    return SkipReason{skipped.reason};
  }
}

}  // namespace meshloom
