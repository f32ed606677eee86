// How fast schedules are made, checked and simulated: instructions per second on one core.
#include <benchmark/benchmark.h>

#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

struct Simulated {
  const char* name;
  Schedule schedule;
  std::int64_t ranks, microbatches;
};

void simulate_schedule(benchmark::State& state, const Simulated& simulated) {
  std::size_t instructions = 0;
  for (auto _ : state) {
    const PipelineProgram program = make_program(simulated.schedule, simulated.ranks, simulated.microbatches);
    check_program(program, simulated.microbatches);
    const std::vector<StageDurations> durations(static_cast<std::size_t>(program.shape.stages()),
                                                {1000, 2000, 30, 30, 0, 0, 900});
    const Simulation simulation = simulate(program, durations, Sends::overlapped);
    benchmark::DoNotOptimize(simulation.makespan);
    instructions += simulation.timeline.size();
  }
  state.counters["instructions_per_s"] =
      benchmark::Counter(static_cast<double>(instructions), benchmark::Counter::kIsRate);
}

const int registered = [] {
  static const Simulated cases[] = {
      {"simulate/interleaved, 64 ranks x 8 chunks x 4096", {ScheduleKind::interleaved, 8}, 64, 4096},
      {"simulate/1F1B, 64 ranks x 32768", ScheduleKind::one_f_one_b, 64, 32768},
      {"simulate/ZB-2p, 64 ranks x 32768", ScheduleKind::zb_2p, 64, 32768}};
  for (const Simulated& one : cases)
    benchmark::RegisterBenchmark(one.name, simulate_schedule, one)->Iterations(1)->Unit(benchmark::kSecond);
  return 0;
}();

}  // namespace
}  // namespace meshloom
