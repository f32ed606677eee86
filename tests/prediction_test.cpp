#include "accuracy/prediction.hpp"

#include <tbb/global_control.h>

#include <catch2/catch.hpp>

#include "accuracy/report.hpp"
#include "planner/baseline.hpp"
#include "simulator/simulation.hpp"
#include "tests/measured_samples.hpp"

using namespace meshloom;

namespace {

RunCase case_of(const MeasuredRun& run) { return std::get<RunCase>(make_case(run, built_in_constants())); }

}  // namespace

TEST_CASE("a prediction is the simulated baseline of the run's layout", "[accuracy]") {
  const RunCase made = case_of(run_with());
  Plan plan = baseline_plan({build_transformer(made.model), made.cluster, made.recipe, {}, {}, {}}, made.layout, 64);
  apply_simulation(plan, simulate(plan));
  const Prediction prediction = predict(made);
  CHECK(prediction.iteration_time == plan.iteration_time);
  CHECK(prediction.peak_memory == plan.peak_memory());
  CHECK(prediction.fits);
}

TEST_CASE("one planner serves clusters and layouts in any order", "[accuracy]") {
  const RunCase first = case_of(run_with());
  MeasuredRun run = run_with();
  run.gpus = 32, run.data_parallel = 4, run.recompute = Recompute::full, run.between_hosts = BytesPerSecond(12.5e9);
  const RunCase second = case_of(run);
  REQUIRE(second.model == first.model);
  BaselinePlanner planner({build_transformer(first.model), first.cluster, first.recipe, {}, {}, {}});
  for (const RunCase* each : {&first, &second, &first})
    CHECK(predict(*each, planner).iteration_time == predict(*each).iteration_time);
}

TEST_CASE("shares of the time add up to the step", "[accuracy]") {
  for (const char* schedule : {"1f1b", "ZB-1p"}) {
    const TimeShares s = predict(case_of(run_with("1f1b", schedule))).shares;
    CHECK(s.compute + s.recompute + s.activation_collectives + s.parameter_gathers + s.waits + s.sends +
              s.synchronization + s.update + s.idle ==
          Approx(1));
    CHECK(s.compute > 0.5);
    CHECK(s.idle > 0);
    CHECK(s.activation_collectives > 0);
    CHECK(s.parameter_gathers == 0);
  }
}

TEST_CASE("data parallelism waits for parameters beside computing, and has no collectives of activations",
          "[accuracy]") {
  MeasuredRun run = run_with();
  run.framework = "PyTorch FSDP";
  run.tensor_parallel = run.pipeline_parallel = 1, run.data_parallel = run.gpus;
  run.schedule = "1f1b", run.sequence_parallel = false;
  run.parameter_state = ParameterState::zero3;
  run.between_hosts = BytesPerSecond(1e9);
  const TimeShares s = predict(case_of(run)).shares;
  CHECK(s.waits > 0.3);
  CHECK(s.parameter_gathers > 0);
  CHECK(s.activation_collectives == Approx(0).margin(1e-9));
  CHECK(s.activation_collectives >= 0);
}

TEST_CASE("an unstated recompute is the least that memory holds", "[accuracy]") {
  MeasuredRun run = run_with();
  run.recompute.reset();
  CHECK(predict(case_of(run)).layout.recompute == Recompute::none);
  run.model.layers = 48, run.micro_batch = 8, run.model.seq_len = 8192;
  CHECK_FALSE(predict(case_of(run)).layout.recompute == Recompute::none);
  run.recompute = Recompute::none;  // stated: believed
  CHECK(predict(case_of(run)).layout.recompute == Recompute::none);
  CHECK_FALSE(predict(case_of(run)).fits);
}

TEST_CASE("a framework may recompute more by default than memory asks for", "[accuracy]") {
  MeasuredRun run = run_with();
  run.recompute.reset();
  RunCase made = case_of(run);
  for (const Recompute recompute : all_recomputes) {
    made.recipe.recompute_by_default = recompute;
    CHECK(predict(made).layout.recompute == recompute);
  }
  run.recompute = Recompute::none;  // stated: believed
  made = case_of(run);
  made.recipe.recompute_by_default = Recompute::full;
  CHECK(predict(made).layout.recompute == Recompute::none);
}

TEST_CASE("chunks of an uneven pipeline differ by one block, the ends have fewer", "[accuracy]") {
  MeasuredRun run = run_with();
  run.model.layers = 7, run.pipeline_parallel = 4, run.gpus = 32;
  const RunCase made = case_of(run);
  const Plan plan =
      baseline_plan({build_transformer(made.model), made.cluster, made.recipe, {}, {}, {}}, made.layout, 64);
  // Seven blocks on four stages: 2, 2, 2 and 1; the embedding is layer 0, the head layer 8.
  std::vector<std::int64_t> last;
  for (const Stage& stage : plan.stages) last.push_back(stage.last_layer);
  CHECK(last == std::vector<std::int64_t>{2, 4, 6, 8});
}

TEST_CASE("predictions do not depend on the number of threads", "[accuracy]") {
  std::vector<MeasuredRun> runs;
  for (std::int64_t k = 0; k < 40; ++k) {
    runs.push_back(run_with());
    runs.back().global_batch = 2 * (k + 4);
    runs.back().model.layers = k % 2 == 0 ? 8 : 12;
  }
  runs[7].gpu = "TPU";                                   // skipped
  runs[8].model.layers = 2, runs[8].virtual_stages = 8;  // two layers on 16 chunks
  const Constants constants = built_in_constants();
  const auto text_with = [&](std::size_t threads) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    return report_json(make_report(runs, predict_all(runs, constants, {})));
  };
  const std::string one = text_with(1);
  CHECK(text_with(2) == one);
  CHECK(text_with(4) == one);
  const AccuracyReport report = make_report(runs, predict_all(runs, constants, {}));
  REQUIRE(report.skipped.size() == 2);
  CHECK(report.skipped[1].reason.find("does not divide") != std::string::npos);
}
