#include "accuracy/run_case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
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

CaseModel model_of(const MeasuredRun& run, const FrameworkHabits& habits) {
  const MeasuredModel& given = run.model;
  if (given.experts) skip("mixtures of experts with gated experts need a builder of their own");
  if (!given.attention.empty()) skip("attention \"{}\" is not known", given.attention);
  CaseModel model{given.layers,
                  given.hidden,
                  given.heads,
                  given.kv_heads,
                  given.head_dim,
                  given.ffn_hidden,
                  given.vocab.value_or(gpt2_vocabulary)};
  model.pad_vocab_to = vocabulary_multiple * run.tensor_parallel;
  model.seq_len = given.seq_len;
  model.gated_mlp = given.gated_mlp;
  model.fused_attention = run.attention_kernel.empty() ? habits.fused_attention : fuses_attention(run.attention_kernel);
  model.dropout = habits.dropout && !given.gated_mlp;
  if (!model.gated_mlp && model.kv_heads != model.heads) skip("grouped-query attention with a plain MLP");
  if (!model.gated_mlp && model.heads * model.head_dim != model.hidden)
    skip("{} heads of {} beside a hidden size of {} with a plain MLP", model.heads, model.head_dim, model.hidden);
  return model;
}

Cluster cluster_of(const MeasuredRun& run, const Constants& constants) {
  const NamedHost* host = find_host(constants, run.gpu);
  if (host == nullptr) skip("no device file for the GPU \"{}\"", run.gpu);
  Cluster cluster = host->host;
  cluster.devices_per_host = std::min(run.gpus, run.gpus_per_node);
  if (run.gpus % cluster.devices_per_host != 0)
    skip("{} GPUs do not fill hosts of {}", run.gpus, cluster.devices_per_host);
  cluster.hosts = run.gpus / cluster.devices_per_host;
  if (run.between_hosts) cluster.nic.bandwidth = *run.between_hosts / static_cast<double>(cluster.nics_per_host);
  return cluster;
}

// Matrix products in 8 bits or fewer run at that peak; everything else stays as it is in 16 bits.
void set_precision(const MeasuredRun& run, Cluster& cluster, Recipe& recipe) {
  const std::string precision = lower(run.precision);
  auto& peak = cluster.device.peak;
  if (has(precision, "fp4") || has(precision, "fp8") || has(precision, "float8")) {
    recipe.compute_dtype = DType::bf16;
    const auto low = peak.find(DType::fp8);
    if (low == peak.end()) skip("{} has no peak for {}", cluster.device.name, run.precision);
    cluster.device.gemm.of_peak *= low->second / peak_for(cluster.device, DType::bf16);
  } else if (has(precision, "bf16")) {
    recipe.compute_dtype = DType::bf16;
  } else if (has(precision, "fp16")) {
    recipe.compute_dtype = DType::fp16;
  } else {
    skip("precision \"{}\" is not known", run.precision);
  }
}

Schedule schedule_of(const MeasuredRun& run) {
  const std::string name = lower(run.schedule);
  const std::int64_t chunks = run.virtual_stages.value_or(1);
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

UniformLayout layout_of(const MeasuredRun& run) {
  UniformLayout layout;
  layout.tensor_parallel = run.tensor_parallel, layout.pipeline_parallel = run.pipeline_parallel;
  layout.data_parallel = run.data_parallel, layout.context_parallel = run.context_parallel;
  layout.expert_parallel = run.model.experts ? run.expert_parallel : 1;
  layout.sequence_parallel = run.tensor_parallel > 1 && run.sequence_parallel.value_or(false);
  // With one replica there is nothing to divide.
  if (run.data_parallel * run.context_parallel > 1) layout.parameter_state = run.parameter_state;
  layout.recompute = run.recompute.value_or(Recompute::none);
  layout.schedule = schedule_of(run);
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

Graph build_graph(const CaseModel& model) {
  if (model.gated_mlp)
    return build_llama({.layers = model.layers,
                        .hidden = model.hidden,
                        .heads = model.heads,
                        .kv_heads = model.kv_heads,
                        .seq_len = model.seq_len,
                        .vocab = model.vocab,
                        .ffn_hidden = model.ffn_hidden,
                        .head_dim = model.head_dim,
                        .pad_vocab_to = model.pad_vocab_to,
                        .fused_attention = model.fused_attention,
                        .causal = model.fused_attention});
  return build_gpt({.layers = model.layers,
                    .hidden = model.hidden,
                    .heads = model.heads,
                    .seq_len = model.seq_len,
                    .vocab = model.vocab,
                    .ffn_hidden = model.ffn_hidden,
                    .pad_vocab_to = model.pad_vocab_to,
                    .fused_attention = model.fused_attention,
                    .causal = model.fused_attention,
                    .dropout = model.dropout});
}

std::variant<RunCase, SkipReason> make_case(const MeasuredRun& run, const Constants& constants) {
  try {
    const FrameworkHabits& habits = habits_of(constants, run.framework);
    RunCase result{model_of(run, habits), cluster_of(run, constants), habits.recipe,
                   layout_of(run),        run.recompute.has_value(),  run.global_batch};
    set_precision(run, result.cluster, result.recipe);
    return result;
  } catch (const Skipped& skipped) {
    return SkipReason{skipped.reason};
  }
}

}  // namespace meshloom
