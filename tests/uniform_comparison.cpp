#include "tests/uniform_comparison.hpp"

#include <algorithm>

#include "graphs/builders.hpp"
#include "planner/uniform_search.hpp"
#include "tools/join/make_plan.hpp"

namespace meshloom {
namespace {

PlanningInput input_of(Graph graph, const std::string& cluster_file, std::int64_t hosts, const std::string& recipe) {
  PlanningInput input{std::move(graph),
                      read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/" + cluster_file),
                      find_recipe(recipe),
                      {},
                      {}};
  input.cluster.hosts = hosts;
  return input;
}

Graph gpt(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t seq_len, std::int64_t vocab) {
  GptOptions options;
  options.layers = layers, options.hidden = hidden, options.heads = heads, options.seq_len = seq_len,
  options.vocab = vocab;
  return build_gpt(options);
}

Graph llama(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t kv_heads, std::int64_t ffn,
            std::int64_t seq_len, std::int64_t vocab) {
  LlamaOptions options;
  options.layers = layers, options.hidden = hidden, options.heads = heads, options.kv_heads = kv_heads;
  options.ffn_hidden = ffn, options.seq_len = seq_len, options.vocab = vocab;
  return build_llama(options);
}

void add_layouts(const ComparedCase& compared, ComparedRow& row) {
  for (UniformLayout layout : uniform_layouts(compared.input)) {
    if (row.microbatch_size % layout.data_parallel != 0) continue;
    layout.micro_batch_per_replica = row.microbatch_size / layout.data_parallel;
    Plan plan = baseline_plan(compared.input, layout, compared.global_batch);
    if (plan.status == PlanStatus::infeasible) continue;
    apply_simulation(plan, simulate(plan));
    if (row.feasible_layouts++ == 0 || plan.estimate < row.layout_estimate) {
      row.layout_estimate = plan.estimate;
      row.best_layout = describe(layout);
    }
    row.layout_iteration =
        row.feasible_layouts == 1 ? plan.iteration_time : std::min(row.layout_iteration, plan.iteration_time);
  }
}

}  // namespace

std::vector<ComparedRow> compare_with_uniform_layouts(const ComparedCase& compared) {
  std::vector<ComparedRow> rows;
  for (const std::int64_t size : compared.microbatch_sizes) {
    ComparedRow row;
    row.microbatch_size = size;
    MakePlanOptions options;
    options.search.global_batch = compared.global_batch;
    options.search.microbatch_size = size;
    options.search.remedies = false;
    options.with_baselines = false;
    const Plan plan = make_plan(compared.input, options);
    row.search_feasible = plan.status != PlanStatus::infeasible;
    row.search_estimate = plan.best_estimate;
    row.search_iteration = plan.iteration_time;
    add_layouts(compared, row);
    if (row.search_feasible || row.feasible_layouts > 0) rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<ComparedCase> small_cases() {
  return {
      {"GPT, 4 layers, 8 x V100",
       input_of(gpt(4, 1024, 16, 512, 8192), "aws_p3_16xlarge.json", 1, "neutral"),
       64,
       {8, 16, 64}},
      {"wide GPT, 4 layers, 8 x V100",
       input_of(gpt(4, 8192, 64, 1024, 51200), "aws_p3_16xlarge.json", 1, "megatron"),
       32,
       {1, 4, 8}},
      {"GPT, 4 layers, 16 x V100",
       input_of(gpt(4, 2048, 16, 1024, 51200), "aws_p3_16xlarge.json", 2, "alpa"),
       64,
       {4, 16}},
      {"Llama, 4 layers, 8 x A100",
       input_of(llama(4, 4096, 32, 8, 11008, 2048, 32000), "dgx_a100.json", 1, "neutral"),
       32,
       {4, 8, 32}},
      {"Llama, 4 layers, 16 x H100",
       input_of(llama(4, 8192, 64, 8, 28672, 4096, 32000), "dgx_h100.json", 2, "megatron"),
       32,
       {8, 16}},
      {"GPT, 2 layers, 8 x A100 40 GB",
       input_of(gpt(2, 12288, 96, 2048, 51200), "aws_p4d_24xlarge.json", 1, "neutral"),
       16,
       {1, 2, 8}},
  };
}

std::vector<ComparedCase> large_cases() {
  return {
      {"GPT 2.6B, 8 x V100",
       input_of(gpt(32, 2560, 32, 1024, 51200), "aws_p3_16xlarge.json", 1, "neutral"),
       1024,
       {2, 4, 8, 16}},
      {"GPT 6.7B, 16 x V100",
       input_of(gpt(32, 4096, 32, 1024, 51200), "aws_p3_16xlarge.json", 2, "megatron"),
       1024,
       {2, 4, 8}},
      {"GPT 15B, 32 x V100",
       input_of(gpt(48, 5120, 40, 1024, 51200), "aws_p3_16xlarge.json", 4, "alpa"),
       1024,
       {1, 2, 4, 8}},
      {"Llama 7B, 8 x A100",
       input_of(llama(32, 4096, 32, 32, 11008, 4096, 32000), "dgx_a100.json", 1, "megatron"),
       256,
       {1, 4, 8, 16}},
      {"Llama-2 70B, 64 x H100",
       input_of(llama(80, 8192, 64, 8, 28672, 4096, 32000), "dgx_h100.json", 8, "megatron"),
       512,
       {2, 4, 8, 16}},
      {"GPT 1.3B, 8 x A100 40 GB",
       input_of(gpt(24, 2048, 32, 2048, 51200), "aws_p4d_24xlarge.json", 1, "neutral"),
       512,
       {8, 16, 32}},
  };
}

}  // namespace meshloom
