// How long planning takes, and how plans compare with every uniform layout. Times are of this machine; ratios are not.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

#include "graphs/builders.hpp"
#include "tests/uniform_comparison.hpp"
#include "tools/join/make_plan.hpp"

namespace meshloom {
namespace {

struct Planned {
  const char* name;
  GptOptions graph;
  std::int64_t hosts;
};

GptOptions gpt(std::int64_t layers, std::int64_t hidden, std::int64_t heads) {
  GptOptions options;
  options.layers = layers, options.hidden = hidden, options.heads = heads, options.vocab = 51200;
  return options;
}

// The largest resident memory since its construction, as Linux keeps it.
class PeakMemory {
 public:
  PeakMemory() { std::ofstream("/proc/self/clear_refs") << "5"; }
  double mebibytes() const {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
    return 0;
  }
};

void plan_graph(benchmark::State& state, Graph graph, const char* cluster, std::int64_t hosts, std::int64_t batch) {
  PlanningInput input{std::move(graph),
                      read_cluster(std::string(MESHLOOM_SOURCE_DIR "/cluster_specs/") + cluster),
                      find_recipe("neutral"),
                      {},
                      {},
                      {}};
  input.cluster.hosts = hosts;
  MakePlanOptions options;
  options.search.global_batch = batch;
  for (auto _ : state) {
    const PeakMemory peak;
    const Plan plan = make_plan(input, options);
    state.counters["peak_MiB"] = peak.mebibytes();
    state.counters["iteration_s"] = plan.iteration_time.value();
    state.counters["best_estimate_s"] = plan.best_estimate.value();
    state.counters["gap"] = plan.gap();
  }
}

void plan_from_graph(benchmark::State& state, const Planned& planned) {
  plan_graph(state, build_gpt(planned.graph), "aws_p3_16xlarge.json", planned.hosts, 1024);
}

void plan_trillion(benchmark::State& state) {
  GptOptions graph = gpt(128, 25600, 160);
  graph.seq_len = 2048;
  plan_graph(state, build_gpt(graph), "dgx_a100.json", 384, 3072);
}

// How the time grows with the cluster: one model, range(0) devices.
void plan_llama_405b(benchmark::State& state) {
  LlamaOptions graph;
  graph.layers = 126, graph.hidden = 16384, graph.heads = 128, graph.kv_heads = 8;
  graph.ffn_hidden = 53248, graph.vocab = 128256, graph.seq_len = 8192;
  plan_graph(state, build_llama(graph), "dgx_h100.json", state.range(0) / 8, 2048);
}

// A model that any of the clusters can hold.
void plan_llama_8b(benchmark::State& state) {
  LlamaOptions graph;
  graph.layers = 32, graph.hidden = 4096, graph.heads = 32, graph.kv_heads = 8;
  graph.ffn_hidden = 14336, graph.vocab = 128256, graph.seq_len = 8192;
  plan_graph(state, build_llama(graph), "dgx_h100.json", state.range(0) / 8, 2048);
}

// search / best uniform layout; below 1 the search is ahead. Counters hold the worst row.
void against_uniform_layouts(benchmark::State& state, const ComparedCase& compared) {
  for (auto _ : state) {
    double estimate = 0, iteration = 0, layouts = 0, missed = 0;
    for (const ComparedRow& row : compare_with_uniform_layouts(compared)) {
      layouts += static_cast<double>(row.feasible_layouts);
      if (row.feasible_layouts == 0) continue;
      missed += row.search_feasible ? 0 : 1;
      estimate = std::max(estimate, row.search_estimate / row.layout_estimate);
      iteration = std::max(iteration, row.search_iteration / row.layout_iteration);
    }
    state.counters["layouts"] = layouts;
    state.counters["missed"] = missed;
    state.counters["worst_estimate_ratio"] = estimate;
    state.counters["worst_iteration_ratio"] = iteration;
  }
}

const int registered = [] {
  static const Planned planned[] = {{"plan/GPT 2.6B on 8 x V100", gpt(32, 2560, 32), 1},
                                    {"plan/GPT 39B on 64 x V100", gpt(48, 8192, 64), 8}};
  for (const Planned& one : planned)
    benchmark::RegisterBenchmark(one.name, plan_from_graph, one)->Iterations(1)->Unit(benchmark::kSecond);
  benchmark::RegisterBenchmark("plan/GPT 1T on 3072 x A100", plan_trillion)->Iterations(1)->Unit(benchmark::kSecond);
  benchmark::RegisterBenchmark("plan/Llama 405B, H100s", plan_llama_405b)
      ->RangeMultiplier(4)
      ->Range(64, 16384)
      ->Iterations(1)
      ->Unit(benchmark::kSecond);
  benchmark::RegisterBenchmark("plan/Llama 8B, H100s", plan_llama_8b)
      ->RangeMultiplier(4)
      ->Range(8, 16384)
      ->Iterations(1)
      ->Unit(benchmark::kSecond);
  for (const ComparedCase& compared : large_cases())
    benchmark::RegisterBenchmark(("uniform/" + compared.name).c_str(), against_uniform_layouts, compared)
        ->Iterations(1)
        ->Unit(benchmark::kSecond);
  return 0;
}();

}  // namespace
}  // namespace meshloom
