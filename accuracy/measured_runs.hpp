// Measured training runs: what somebody ran, on what, and how long a step took or that memory did not hold it.
// File format docs/measured_runs.md: an array of runs. Times are in seconds, memory in bytes, network speed in bytes
// per second per host and direction.
//
// The reader refuses what no run can be (a negative time, "ok" without a time, degrees that do not multiply to the
// GPUs) with file, place, value and remedy. What is well-formed but beyond the program (a GPU without a device file) is
// no error: run_case.hpp says so for each run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/recipe.hpp"
#include "graphs/units.hpp"

namespace meshloom {

// The mixture of experts of a model.
struct MeasuredExperts {
  std::int64_t experts = 1, top_k = 1, ffn_hidden = 1, shared = 0;
  bool operator==(const MeasuredExperts&) const = default;
};

// A decoder-only transformer. `attention` and `notes` are the source's words; run_case.hpp says which it understands.
struct MeasuredModel {
  std::string name;
  std::int64_t layers = 1, hidden = 1, heads = 1, kv_heads = 1, head_dim = 1, ffn_hidden = 1;
  bool gated_mlp = false;
  std::optional<std::int64_t> vocab;
  std::int64_t seq_len = 1;
  std::optional<MeasuredExperts> experts;  // none: dense
  std::string attention, notes;
  bool operator==(const MeasuredModel&) const = default;
};

// Keys that a file lacks are unknown: an empty optional or string.
struct MeasuredRun {
  std::string place;  // "runs.json: /17", for messages
  std::string id, source, where;
  std::string gpu;
  std::int64_t gpus = 1, gpus_per_node = 1;
  std::optional<BytesPerSecond> between_hosts;  // of a host, all its NICs together
  MeasuredModel model;
  std::string precision;
  std::int64_t tensor_parallel = 1, pipeline_parallel = 1, data_parallel = 1, context_parallel = 1, expert_parallel = 1;
  std::optional<std::int64_t> expert_tensor_parallel, virtual_stages;
  std::optional<bool> sequence_parallel;
  ParameterState parameter_state = ParameterState::replicated;
  std::string sharding;  // how a framework names its sharding of parameters
  std::optional<Recompute> recompute;
  std::string attention_kernel, schedule;
  std::int64_t micro_batch = 1, global_batch = 1;  // samples: per replica; per step
  std::string framework, framework_version;
  bool uneven_pipeline = false;
  std::vector<std::string> assumed;       // what the source does not say
  std::string suspect;                    // a reason to doubt the run; empty: none
  std::optional<Seconds> iteration_time;  // none: it ran out of memory
  std::string time_from;
  std::optional<Bytes> peak_memory;
  bool out_of_memory() const { return !iteration_time; }
  bool operator==(const MeasuredRun&) const = default;
};

// Plain or gzip; "-" is standard input. Throws InputError.
std::vector<MeasuredRun> read_measured_runs(const std::string& path);
std::vector<MeasuredRun> parse_measured_runs(const std::string& text, const std::string& file);

}  // namespace meshloom
