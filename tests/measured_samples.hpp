// Measured runs for tests, as JSON to change.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

#include "accuracy/measured_runs.hpp"

namespace meshloom {

// A small Llama on two hosts of eight.
inline const std::string dense_run =
    R"({"id": "one", "source": "paper", "where": "table 1", "status": "ok", "gpu": "A100-80GB-SXM", "gpus": 16,)"
    R"( "gpus_per_node": 8, "internode_gbit_per_s_per_node": 1600, "model": {"name": "m", "type": "dense", "layers": 8,)"
    R"( "hidden": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn_hidden": 14336, "gated_mlp": true,)"
    R"( "vocab": 32000, "seq_len": 2048}, "precision": "bf16", "tp": 4, "pp": 2, "dp": 2, "cp": 1, "ep": 1, "vpp": 1,)"
    R"( "sequence_parallel": true, "zero_stage": 1, "recompute": "selective", "attention_kernel": "flash_attention2",)"
    R"( "schedule": "1f1b", "micro_batch": 1, "global_batch": 64, "framework": "Megatron-LM", "task": "pretrain",)"
    R"( "uneven_pipeline": false, "iteration_time_s": 3.5, "time_from": "measured", "peak_memory_gb": 61.5})";

// `text` with its only `old` replaced.
inline std::string replaced(std::string text, const std::string& old, const std::string& replacement) {
  const std::size_t at = text.find(old);
  if (at == std::string::npos || text.find(old, at + 1) != std::string::npos)
    throw std::logic_error(fmt::format("not once: {}", old));
  return text.replace(at, old.size(), replacement);
}

inline std::string list_of(const std::string& run) { return fmt::format("[{}]", run); }

inline MeasuredRun run_with(const std::string& old = "", const std::string& replacement = "") {
  const std::string text = old.empty() ? dense_run : replaced(dense_run, old, replacement);
  return parse_measured_runs(list_of(text), "runs.json").front();
}

}  // namespace meshloom
