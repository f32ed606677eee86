#include <fmt/format.h>

#include <map>
#include <tuple>

#include "accuracy/measured_runs.hpp"
#include "graphs/compressed_input.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

// Beyond these nobody means it, and products of such numbers would no longer be exact.
constexpr std::int64_t most_layers = 10'000, most_size = std::int64_t{1} << 24, most_devices = 10'000'000,
                       most_samples = std::int64_t{1} << 31, most_tokens = std::int64_t{1} << 31;
constexpr double shortest_step_s = 1e-6, longest_step_s = 1e6, most_gibibytes = 1e4, fastest_gbit_per_s = 1e6;

std::string text_at(const JsonInput& object, const std::string& key) {
  const std::string text = object.at(key).string();
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) object.at(key).fail("is empty; give a text");
  return text;
}

std::string text_or_empty(const JsonInput& object, const std::string& key) {
  return object.find(key) ? text_at(object, key) : "";
}

std::int64_t size_at(const JsonInput& object, const std::string& key, std::int64_t most = most_size) {
  return object.at(key).integer(1, most);
}

MeasuredExperts read_experts(const JsonInput& json) {
  MeasuredExperts experts;
  experts.experts = json.at("num_experts").integer(2, most_size);
  experts.top_k = size_at(json, "top_k");
  if (experts.top_k > experts.experts)
    json.at("top_k").fail(fmt::format("is {}, but there are {} experts", experts.top_k, experts.experts));
  experts.ffn_hidden = size_at(json, "moe_ffn_hidden");
  if (const auto shared = json.find("shared_experts")) experts.shared = shared->integer(0, most_size);
  return experts;
}

MeasuredModel read_model(const JsonInput& json) {
  json.only_keys({"name", "type", "layers", "hidden", "heads", "kv_heads", "head_dim", "ffn_hidden", "gated_mlp",
                  "vocab", "seq_len", "attention", "num_experts", "top_k", "moe_ffn_hidden", "shared_experts",
                  "notes"});
  MeasuredModel model;
  model.name = text_at(json, "name");
  model.layers = size_at(json, "layers", most_layers);
  model.hidden = size_at(json, "hidden"), model.ffn_hidden = size_at(json, "ffn_hidden");
  model.heads = size_at(json, "heads"), model.kv_heads = size_at(json, "kv_heads");
  model.head_dim = size_at(json, "head_dim");
  if (model.heads % model.kv_heads != 0)
    json.at("kv_heads").fail(fmt::format("is {}, which does not divide the {} heads", model.kv_heads, model.heads));
  model.gated_mlp = json.at("gated_mlp").boolean();
  if (const auto vocab = json.find("vocab")) model.vocab = vocab->integer(1, most_tokens);
  model.seq_len = size_at(json, "seq_len", most_tokens);
  const bool mixture = json.at("type").one_of({"dense", "moe"}) == 1;
  if (mixture) model.experts = read_experts(json);
  for (const char* key : {"num_experts", "top_k", "moe_ffn_hidden", "shared_experts"})
    if (!mixture && json.find(key))
      json.at(key).fail("a model of type \"dense\" has no experts; write \"type\": \"moe\" or leave the key out");
  model.attention = text_or_empty(json, "attention"), model.notes = text_or_empty(json, "notes");
  return model;
}

void read_layout(const JsonInput& json, MeasuredRun& run) {
  const auto degree = [&](const char* key) { return size_at(json, key, most_devices); };
  run.tensor_parallel = degree("tp"), run.pipeline_parallel = degree("pp"), run.data_parallel = degree("dp");
  run.context_parallel = degree("cp"), run.expert_parallel = degree("ep");
  // Each is at most 10^7: the product is tested step by step, so that it stays exact.
  std::int64_t product = 1;
  for (const std::int64_t each : {run.tensor_parallel, run.pipeline_parallel, run.data_parallel, run.context_parallel})
    product = product > most_devices ? product : product * each;
  if (product != run.gpus)
    json.fail(fmt::format("tp·pp·dp·cp = {}·{}·{}·{} = {}, but \"gpus\" is {}; correct a degree or the count",
                          run.tensor_parallel, run.pipeline_parallel, run.data_parallel, run.context_parallel, product,
                          run.gpus));
  if (const auto value = json.find("etp")) {
    if (!run.model.experts)
      value->fail("a model of type \"dense\" has no experts; write \"type\": \"moe\" or leave the key out");
    run.expert_tensor_parallel = value->integer(1, most_devices);
  }
  if (const auto value = json.find("vpp")) run.virtual_stages = value->integer(1, most_layers);
  if (const auto value = json.find("sequence_parallel")) run.sequence_parallel = value->boolean();
  run.parameter_state = static_cast<ParameterState>(json.at("zero_stage").integer(0, 3));
  run.sharding = text_or_empty(json, "sharding");
  if (const auto value = json.find("recompute"))
    run.recompute = all_recomputes[value->one_of({"none", "selective", "full"})];
  run.attention_kernel = text_or_empty(json, "attention_kernel"), run.schedule = text_or_empty(json, "schedule");
  run.micro_batch = size_at(json, "micro_batch", most_samples);
  run.global_batch = size_at(json, "global_batch", most_samples);
  if (run.global_batch % (run.micro_batch * run.data_parallel) != 0)
    json.at("global_batch")
        .fail(fmt::format("{} is no multiple of micro_batch·dp = {}·{}; micro_batch is per replica", run.global_batch,
                          run.micro_batch, run.data_parallel));
  if (const auto value = json.find("uneven_pipeline")) run.uneven_pipeline = value->boolean();
}

void read_measurement(const JsonInput& json, MeasuredRun& run) {
  const bool ran = json.at("status").one_of({"ok", "oom"}) == 0;
  if (const auto time = json.find("iteration_time_s")) {
    const double seconds = time->number(0, longest_step_s);
    if (!(seconds > 0)) time->fail("must be above 0 s; leave out what was not measured");
    if (seconds < shortest_step_s)
      time->fail(fmt::format("must be at least {} s, is {}: is it in another unit?", shortest_step_s, seconds));
    if (!ran) time->fail("a run with status \"oom\" has no time; correct the status or leave the time out");
    run.iteration_time = Seconds(seconds);
  } else if (ran) {
    json.fail("status is \"ok\", but \"iteration_time_s\" is missing; add it or write \"oom\"");
  }
  run.time_from = text_or_empty(json, "time_from");
  if (const auto memory = json.find("peak_memory_gb")) {
    const double gibibytes = memory->number(0, most_gibibytes);
    if (!(gibibytes > 0)) memory->fail("must be above 0 GB; leave out what was not measured");
    run.peak_memory = Bytes(gibibytes * 1024 * 1024 * 1024);  // what drivers and frameworks print as GB
  }
}

MeasuredRun read_run(const JsonInput& json) {
  json.only_keys({"id",
                  "source",
                  "where",
                  "status",
                  "gpu",
                  "gpus",
                  "gpus_per_node",
                  "internode_gbit_per_s_per_node",
                  "model",
                  "precision",
                  "tp",
                  "pp",
                  "dp",
                  "cp",
                  "ep",
                  "etp",
                  "vpp",
                  "sequence_parallel",
                  "zero_stage",
                  "sharding",
                  "recompute",
                  "attention_kernel",
                  "schedule",
                  "micro_batch",
                  "global_batch",
                  "framework",
                  "framework_version",
                  "task",
                  "uneven_pipeline",
                  "assumed",
                  "suspect",
                  "iteration_time_s",
                  "time_from",
                  "peak_memory_gb"});
  MeasuredRun run;
  run.place = json.place();
  run.id = text_at(json, "id"), run.source = text_at(json, "source"), run.where = text_or_empty(json, "where");
  run.gpu = text_at(json, "gpu");
  run.gpus = size_at(json, "gpus", most_devices), run.gpus_per_node = size_at(json, "gpus_per_node", most_devices);
  if (const auto speed = json.find("internode_gbit_per_s_per_node")) {
    const double gigabits = speed->number(0, fastest_gbit_per_s);
    if (!(gigabits > 0)) speed->fail("must be above 0 Gbit/s; leave the key out when it is unknown");
    run.between_hosts = BytesPerSecond(gigabits * 1e9 / 8);
  }
  run.model = read_model(json.at("model"));
  run.precision = text_at(json, "precision");
  run.framework = text_at(json, "framework"), run.framework_version = text_or_empty(json, "framework_version");
  if (const auto task = json.find("task")) task->one_of({"pretrain"});
  read_layout(json, run);
  if (const auto assumed = json.find("assumed")) run.assumed = assumed->strings();
  run.suspect = text_or_empty(json, "suspect");
  read_measurement(json, run);
  return run;
}

std::string content_of(const std::string& path) {
  CompressedInput input(path);
  std::string text, part(std::size_t{1} << 16, '\0');
  for (std::size_t size = 1; size > 0;) {
    size = input.read(part.data(), part.size());
    text.append(part, 0, size);
  }
  return text;
}

}  // namespace

std::vector<MeasuredRun> parse_measured_runs(const std::string& text, const std::string& file) {
  const JsonInput root = parse_json(text, file);
  if (!root.is_array()) root.fail("expected an array of runs, [{…}, …]");
  if (root.elements().empty()) root.fail("has no runs; expected an array of runs, [{…}, …]");
  std::vector<MeasuredRun> runs;
  // Tables that were joined may use one id twice; then it is "where" that tells their runs apart.
  std::map<std::tuple<std::string, std::string, std::string>, std::size_t> seen;
  for (const JsonInput& element : root.elements()) {
    runs.push_back(read_run(element));
    const MeasuredRun& run = runs.back();
    const auto [entry, added] = seen.emplace(std::tuple(run.source, run.where, run.id), runs.size() - 1);
    if (!added)
      element.at("id").fail(fmt::format("\"{}\" is the id of /{}, too, of the same source; give each run its own",
                                        run.id, entry->second));
  }
  return runs;
}

std::vector<MeasuredRun> read_measured_runs(const std::string& path) {
  return parse_measured_runs(content_of(path), path == "-" ? "<stdin>" : path);
}

}  // namespace meshloom
