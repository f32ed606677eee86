#include "simulator/noise.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "graphs/input_error.hpp"
#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {

constexpr Picoseconds microsecond = 1'000'000;

}  // namespace

TEST_CASE("a straggler of 20 % on one stage of a saturated pipeline costs a fifth of its work that nothing hides") {
  // 1F1B, p = 4 stages of f + b = 10 + 20, B = 64 microbatches: (64 + 3)·30 = 2010. A slow stage k has 6 more to do for
  // each microbatch, 64·6 = 384. It runs 3 − k forwards ahead before its first gradient can come, and after its last
  // forward as many backwards that wait for the stages behind it: there 3 − k times 2 + 4 fall into time in which it
  // would have waited. So it costs (64 − 3 + k)·6. The schedule's formula, Σt + (B−1)·max t, charges all 384.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 4, 64);
  const std::vector<StageDurations> equal(4, StageDurations{10, 20});
  CHECK(simulate(program, equal).makespan == 2010);
  for (std::size_t slow = 0; slow < 4; ++slow) {
    std::vector<StageDurations> durations = equal;
    durations[slow] = {12, 24};
    CHECK(simulate(program, durations).makespan == 2010 + (61 + static_cast<Picoseconds>(slow)) * 6);
  }
}

TEST_CASE("a slow rank computes longer; its collectives keep their time") {
  // Stage 0 of the sample: 2 us forward of which 1.5 computing, 4 us backward of which 3.25, 1.5 of them for weights.
  const std::vector<StageDurations> durations = slowed_durations(sample_plan(), {{Slowdown::Of::rank, 0, 1.2}});
  CHECK(durations[0].forward == 2'300'000);
  CHECK(durations[0].backward == 4'650'000);
  CHECK(durations[0].backward_weight == 1'800'000);
  CHECK(durations[0].synchronize == 3 * microsecond);
  CHECK(durations[0].update == 1'200'000);
  CHECK(durations[1].forward == durations_of(sample_plan())[1].forward);
}

TEST_CASE("gradients reduced in every microbatch keep their time on a slow rank, so that it makes no step faster") {
  // As under ZeRO-3: of the 1.5 us of stage 0's weight gradients one reduces them. A fifth more computing is 0.1 us of
  // these 1.5, and 0.65 us of the backward's 4: the rest of the backward grows from 2.5 by 0.55, not by 0.35.
  Plan plan = sample_plan();
  plan.stages[0].conversions.push_back({"w",
                                        "h0.up",
                                        Layout{},
                                        Layout{},
                                        Rate::per_microbatch,
                                        {{Collective::all_gather, {"x"}, Bytes(1000), Seconds(0.5e-6)}},
                                        {{Collective::reduce_scatter, {"x"}, Bytes(2000), Seconds(1e-6)},
                                         {Collective::all_gather, {"x"}, Bytes(1000), Seconds(0.25e-6)}}});
  const std::vector<StageDurations> durations = slowed_durations(plan, {{Slowdown::Of::rank, 0, 1.2}});
  CHECK(durations[0].backward_weight == 1'600'000);
  CHECK(durations[0].backward - durations[0].backward_weight == 3'050'000);
  plan.schedule.kind = ScheduleKind::zb_h1;
  for (const std::int64_t rank : {0, 1}) {
    Picoseconds before = step_time(plan, simulate(plan));
    for (const double factor : {1.1, 1.5, 2.0, 4.0, 8.0}) {
      const Picoseconds slowed = step_time(plan, simulate(plan, {{Slowdown::Of::rank, rank, factor}}));
      CHECK(slowed > before);
      before = slowed;
    }
  }
}

TEST_CASE("gradients that take all of the weights' time leave the slowed rest of a backward no shorter") {
  // Computing 2 us of the backward's 4, weight gradients 3 us of which 2.75 reduce: 1 us for the rest. Three times as
  // slow the weight gradients take 3.5 and the rest 1 + 3.5: were all of the 3 us slowed, the rest would have nothing.
  Plan plan = sample_plan();
  plan.stages[0].backward_compute = Seconds(2e-6);
  plan.stages[0].backward_recompute = Seconds(0);
  plan.stages[0].backward_weight = Seconds(3e-6);
  plan.stages[0].conversions = {{"w",
                                 "h0.up",
                                 Layout{},
                                 Layout{},
                                 Rate::per_microbatch,
                                 {},
                                 {{Collective::reduce_scatter, {"x"}, Bytes(2000), Seconds(2.75e-6)}}}};
  const std::vector<StageDurations> durations = slowed_durations(plan, {{Slowdown::Of::rank, 0, 3}});
  CHECK(durations[0].backward_weight == 3'500'000);
  CHECK(durations[0].backward == 8'000'000);
}

TEST_CASE("a slow device slows its rank, and of several the slowest counts") {
  const Plan plan = sample_plan();  // rank 1 has devices 2 and 3
  const auto forward = [&plan](const std::vector<Slowdown>& slowdowns) {
    return slowed_durations(plan, slowdowns)[1].forward;
  };
  CHECK(forward({{Slowdown::Of::device, 3, 1.5}}) == forward({{Slowdown::Of::rank, 1, 1.5}}));
  CHECK(forward({{Slowdown::Of::device, 3, 1.5}, {Slowdown::Of::device, 2, 1.2}}) ==
        forward({{Slowdown::Of::rank, 1, 1.5}}));
  CHECK(forward({{Slowdown::Of::device, 0, 1.5}}) == 3 * microsecond);
  CHECK_THROWS_WITH(forward({{Slowdown::Of::device, 4, 1.5}}), "slow device: 4 is not used by the plan");
  CHECK_THROWS_WITH(forward({{Slowdown::Of::rank, 2, 1.5}}), "slow rank: 2 does not exist; the plan has ranks 0 to 1");
}

TEST_CASE("jitter has the mean and the deviation that were asked for") {
  // 20,000 forwards of a millisecond on one rank. Of 20,000 the mean deviates by 0.03/141 and the deviation by half a
  // percent of itself; five times that is allowed.
  Conditions conditions;
  conditions.jitter = {0.03, 7};
  const Simulation simulation =
      simulate(make_program(ScheduleKind::inference, 1, 20000), {{1'000'000'000, 0}}, conditions);
  double sum = 0, squares = 0;
  for (const TimelineEntry& each : simulation.timeline) {
    if (each.instruction.kind != InstructionKind::run_forward) continue;
    const double deviation = static_cast<double>(each.end - each.start) * 1e-9 - 1;
    sum += deviation, squares += deviation * deviation;
  }
  CHECK(std::abs(sum / 20000) < 5 * 0.03 / 141);
  CHECK(std::sqrt(squares / 20000) == Approx(0.03).epsilon(0.025));
}

TEST_CASE("jitter reaches gradients that are reduced beside the backward, bucket by bucket") {
  // Nothing takes time but four buckets of 250 us: the step's deviation is 0.03·250·√4 = 15 us, 1.5 % of it. Of 4,000
  // seeds the mean deviates by 0.015/63 and the deviation by 1.1 % of itself; five times that is allowed.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 1, 1);
  const Picoseconds whole = 1'000 * microsecond;
  double sum = 0, squares = 0;
  for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
    Conditions conditions;
    conditions.jitter = {0.03, seed};
    const Simulation simulation = simulate(program, {{0, 0, 0, 0, whole, 0, 0, whole, 4}}, conditions);
    const double deviation = static_cast<double>(simulation.makespan) / static_cast<double>(whole) - 1;
    sum += deviation, squares += deviation * deviation;
  }
  CHECK(std::abs(sum / 4000) < 5 * 0.015 / 63);
  CHECK(std::sqrt(squares / 4000) == Approx(0.015).epsilon(0.055));
}

TEST_CASE("the same seed gives the same times, another one others, no jitter the plan's") {
  const Plan plan = sample_plan();
  const std::vector<Picoseconds> times = noisy_step_times(plan, {.jitter = 0.05, .seed = 3, .runs = 50});
  CHECK(times == noisy_step_times(plan, {.jitter = 0.05, .seed = 3, .runs = 50}));
  CHECK(times != noisy_step_times(plan, {.jitter = 0.05, .seed = 4, .runs = 50}));
  CHECK(times.front() < times.back());
  CHECK(std::is_sorted(times.begin(), times.end()));
  CHECK(noisy_step_times(plan, {}) == std::vector<Picoseconds>{38 * microsecond});
}

TEST_CASE("percentiles are by nearest rank") {
  CHECK(percentile({1, 2, 3, 4}, 50) == 2);
  CHECK(percentile({1, 2, 3, 4}, 90) == 4);
  CHECK(percentile({1, 2, 3, 4}, 25) == 1);
  CHECK(percentile({7}, 99) == 7);
  std::vector<Picoseconds> hundred;
  for (Picoseconds i = 1; i <= 100; ++i) hundred.push_back(i);
  CHECK(percentile(hundred, 99) == 99);
}
