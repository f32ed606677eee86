// How long the inter-operator search takes on the largest stage tables, as dense as can be.
#include <benchmark/benchmark.h>

#include "tests/synthetic_stage_table.hpp"

namespace meshloom {
namespace {

void stage_table(benchmark::State& state) {
  SyntheticTable size;
  size.microbatches = state.range(0);
  size.seed = static_cast<std::uint64_t>(state.range(1));
  const ConfiguredProblem table = synthetic_stage_table(size);
  for (auto _ : state) {
    const InterOpSolution solution = solve_inter_op(table.problem);
    state.counters["objective_s"] = solution.objective.value();
    state.counters["stages"] = static_cast<double>(solution.options.size());
  }
  state.counters["entries"] = static_cast<double>(table.problem.options.size());
}

// From few microbatches, where a stage for all is best, to many, where the largest stage decides.
BENCHMARK(stage_table)
    ->ArgNames({"microbatches", "seed"})
    ->ArgsProduct({{16, 64, 128, 1024}, {1, 2}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace meshloom
