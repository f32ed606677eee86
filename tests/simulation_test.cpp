#include "simulator/simulation.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <random>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/plan/ranks.hpp"
#include "tests/pipeline_samples.hpp"
#include "tests/plan_samples.hpp"
#include "tests/timeline_drawing.hpp"

using namespace meshloom;

namespace {

constexpr Picoseconds microsecond = 1'000'000;

Picoseconds run_schedule(ScheduleKind kind, const RandomPipeline& pipeline) {
  const auto stages = static_cast<std::int64_t>(pipeline.stages.size());
  return simulate(make_program(kind, stages, pipeline.microbatches), pipeline.stages).makespan;
}

Picoseconds formula(ScheduleKind kind, const RandomPipeline& pipeline) {
  const Seconds time = schedule_formula(kind, formula_times(pipeline.stages), pipeline.microbatches);
  return static_cast<Picoseconds>(time.value());
}

PipelineProgram forward_program(std::size_t stages, std::int64_t microbatches) {
  return make_program(ScheduleKind::inference, static_cast<std::int64_t>(stages), microbatches);
}

// t of a stage: what its device is busy with for each microbatch.
Picoseconds per_microbatch(const StageDurations& stage) {
  return stage.forward + stage.backward + stage.send_activation + stage.send_gradient;
}

// max_i (B·t_i + Σ_{j<i} t_j): stage i cannot begin before the first microbatch has come through the stages before it,
// nor can the step end before the last gradient has gone back through them.
Picoseconds lower_bound(const RandomPipeline& pipeline) {
  Picoseconds before = 0, bound = 0;
  for (const StageDurations& stage : pipeline.stages) {
    bound = std::max(bound, pipeline.microbatches * per_microbatch(stage) + before);
    before += per_microbatch(stage);
  }
  return bound;
}

// docs/simulation.md works this example out by hand.
const std::vector<StageDurations> documented_example{
    {2 * microsecond, 4 * microsecond, 1 * microsecond, 0, 3 * microsecond, 1 * microsecond},
    {3 * microsecond, 5 * microsecond, 0, 1 * microsecond, 2 * microsecond, 1 * microsecond}};

}  // namespace

TEST_CASE("the documented example of two stages and three microbatches, to the picosecond") {
  const Simulation simulation = simulate(make_program(ScheduleKind::one_f_one_b, 2, 3), documented_example);
  // Stage 0 ends its last backward at 34, synchronizes to 37 and updates to 38; stage 1 has updated at 33.
  CHECK(simulation.makespan == 38 * microsecond);
  // 3·(2+4+1)+3+1 and 3·(3+5+1)+2+1
  CHECK(simulation.busy == std::vector<Picoseconds>{25 * microsecond, 30 * microsecond});
  CHECK(simulation.most_in_flight == std::vector<std::int32_t>{2, 1});
  const auto entry = [](std::int32_t stage, InstructionKind kind, std::int32_t microbatch, Picoseconds start,
                        Picoseconds end) {
    return TimelineEntry{stage, {kind, microbatch}, start * microsecond, end * microsecond};
  };
  using enum InstructionKind;
  const std::vector<TimelineEntry> first{
      entry(0, run_forward, 0, 0, 2),       entry(1, receive_activation, 0, 0, 3),   entry(0, send_activation, 0, 2, 3),
      entry(0, run_forward, 1, 3, 5),       entry(1, run_forward, 0, 3, 6),          entry(0, send_activation, 1, 5, 6),
      entry(0, receive_gradient, 0, 6, 12), entry(1, run_backward, 0, 6, 11),        entry(1, send_gradient, 0, 11, 12),
      entry(0, run_backward, 0, 12, 16),    entry(1, receive_activation, 1, 12, 12), entry(1, run_forward, 1, 12, 15)};
  REQUIRE(simulation.timeline.size() > first.size());
  for (std::size_t i = 0; i < first.size(); ++i) CHECK(simulation.timeline[i] == first[i]);

  const std::string drawing = draw_timeline(simulation, {2, 1}, microsecond);
  INFO(drawing);
  CHECK(read_file(MESHLOOM_SOURCE_DIR "/docs/simulation.md").find(drawing) != std::string::npos);
}

TEST_CASE("forward only takes the sum of the stages and B-1 times the slowest, sends included") {
  std::mt19937 random(1);
  for (int i = 0; i < 10'000; ++i) {
    RandomPipeline pipeline = random_pipeline(random);
    if (i % 2 == 1) add_random_sends(pipeline, random);
    Picoseconds sum = 0, slowest = 0;
    for (const StageDurations& stage : pipeline.stages) {
      sum += stage.forward + stage.send_activation;
      slowest = std::max(slowest, stage.forward + stage.send_activation);
    }
    const PipelineProgram program = forward_program(pipeline.stages.size(), pipeline.microbatches);
    REQUIRE(simulate(program, pipeline.stages).makespan == sum + (pipeline.microbatches - 1) * slowest);
  }
}

TEST_CASE("GPipe takes exactly its formula, sends included") {
  std::mt19937 random(2);
  for (int i = 0; i < 10'000; ++i) {
    RandomPipeline pipeline = random_pipeline(random);
    if (i % 2 == 1) add_random_sends(pipeline, random);
    REQUIRE(run_schedule(ScheduleKind::gpipe, pipeline) == formula(ScheduleKind::gpipe, pipeline));
  }
}

TEST_CASE("work per step adds at least stage 0's and at most what the formula says") {
  // Stage 0's last backward ends last, so its own work is exposed. The backwards of stage i end at least
  // b_0 + … + b_{i-1} earlier, gradient sends included; often more, so the formula's part is a bound.
  std::mt19937 random(3);
  for (int i = 0; i < 10'000; ++i) {
    RandomPipeline pipeline = random_pipeline(random);
    add_random_sends(pipeline, random);
    const Picoseconds gpipe = run_schedule(ScheduleKind::gpipe, pipeline);
    const Picoseconds one_f_one_b = run_schedule(ScheduleKind::one_f_one_b, pipeline);
    for (StageDurations& stage : pipeline.stages) {
      stage.synchronize = draw(random, 0, 500);
      stage.update = draw(random, 0, 20);
    }
    Picoseconds exposed = 0, backward_before = 0;
    for (const StageDurations& stage : pipeline.stages) {
      exposed = std::max(exposed, stage.synchronize + stage.update - backward_before);
      backward_before += stage.backward + stage.send_gradient;
    }
    REQUIRE(run_schedule(ScheduleKind::gpipe, pipeline) <= gpipe + exposed);
    REQUIRE(run_schedule(ScheduleKind::one_f_one_b, pipeline) <= one_f_one_b + exposed);
    REQUIRE(run_schedule(ScheduleKind::gpipe, pipeline) >=
            gpipe + pipeline.stages[0].synchronize + pipeline.stages[0].update);
    REQUIRE(run_schedule(ScheduleKind::one_f_one_b, pipeline) >=
            one_f_one_b + pipeline.stages[0].synchronize + pipeline.stages[0].update);
  }
}

TEST_CASE("uniform 1F1B takes (B+S-1)(f+b)") {
  std::mt19937 random(4);
  for (int i = 0; i < 10'000; ++i) {
    RandomPipeline pipeline = random_pipeline(random);
    std::fill(pipeline.stages.begin(), pipeline.stages.end(), pipeline.stages[0]);
    const auto count = static_cast<std::int64_t>(pipeline.stages.size());
    const Picoseconds expected =
        (pipeline.microbatches + count - 1) * (pipeline.stages[0].forward + pipeline.stages[0].backward);
    REQUIRE(run_schedule(ScheduleKind::one_f_one_b, pipeline) == expected);
  }
}

TEST_CASE("1F1B is exact as soon as all stages are equally busy, however forward, backward and sends divide it") {
  std::mt19937 random(5);
  for (int i = 0; i < 10'000; ++i) {
    RandomPipeline pipeline = random_pipeline(random);
    add_random_sends(pipeline, random);
    const Picoseconds busy = 300;  // more than any sum of runs and sends
    for (StageDurations& stage : pipeline.stages) {
      const Picoseconds rest = busy - per_microbatch(stage);
      const Picoseconds to_forward = draw(random, 0, rest);
      stage.forward += to_forward;
      stage.backward += rest - to_forward;
    }
    const auto count = static_cast<std::int64_t>(pipeline.stages.size());
    REQUIRE(run_schedule(ScheduleKind::one_f_one_b, pipeline) == (pipeline.microbatches + count - 1) * busy);
  }
}

TEST_CASE("both schedules stay above max(B t_i + sum of t before i), and 1F1B below (B+S-1) max t") {
  std::mt19937 random(6);
  for (int i = 0; i < 10'000; ++i) {
    RandomPipeline pipeline = random_pipeline(random);
    if (i % 2 == 1) add_random_sends(pipeline, random);
    Picoseconds slowest = 0;
    for (const StageDurations& stage : pipeline.stages) slowest = std::max(slowest, per_microbatch(stage));
    const auto count = static_cast<std::int64_t>(pipeline.stages.size());
    const Picoseconds one_f_one_b = run_schedule(ScheduleKind::one_f_one_b, pipeline);
    REQUIRE(one_f_one_b >= lower_bound(pipeline));
    REQUIRE(run_schedule(ScheduleKind::gpipe, pipeline) >= lower_bound(pipeline));
    REQUIRE(one_f_one_b <= (pipeline.microbatches + count - 1) * slowest);
  }
}

TEST_CASE("the formula of 1F1B is neither exact nor a bound for unequal stages") {
  const auto pipeline = [](std::int64_t microbatches, const std::vector<std::pair<Picoseconds, Picoseconds>>& runs) {
    RandomPipeline result;
    result.microbatches = microbatches;
    for (const auto& [forward, backward] : runs) result.stages.push_back({forward, backward, 0, 0, 0, 0});
    return result;
  };
  // A fast stage behind a slow one hides in its shadow: stage 0 forwards 0-20, has gradient 0 since 12, backwards
  // 20-40. Formula: 20 + 2 + (2-1)*20.
  const RandomPipeline shadowed = pipeline(2, {{10, 10}, {1, 1}});
  CHECK(formula(ScheduleKind::one_f_one_b, shadowed) == 42);
  CHECK(run_schedule(ScheduleKind::one_f_one_b, shadowed) == 40);

  // The way in passes twice through stage 0's long forward, the way out twice through stage 1's long backward; each
  // step waits for the one before: F0(0) 4, F0(1) 8, F1(1) 9, B1(0) 13, B0(0) 14, F0(3) 18, F1(3) 19, B1(2) 23, B1(3)
  // 27, B0(3) 28. Formula: 5 + 5 + 2 + (4-1)*5. Found by random search over small numbers.
  const RandomPipeline late = pipeline(4, {{4, 1}, {1, 4}, {1, 1}});
  CHECK(formula(ScheduleKind::one_f_one_b, late) == 27);
  CHECK(run_schedule(ScheduleKind::one_f_one_b, late) == 28);
}

TEST_CASE("simultaneous events are listed by stage, then by position") {
  // Stages of 10: at time 10 stage 0 begins its send and microbatch 1, stage 1 its microbatch 0.
  const Simulation simulation = simulate(forward_program(2, 2), {{10, 0, 0, 0, 0, 0}, {10, 0, 0, 0, 0, 0}});
  using enum InstructionKind;
  const std::vector<TimelineEntry> expected{{0, {run_forward, 0}, 0, 10},         {1, {receive_activation, 0}, 0, 10},
                                            {0, {send_activation, 0}, 10, 10},    {0, {run_forward, 1}, 10, 20},
                                            {1, {run_forward, 0}, 10, 20},        {0, {send_activation, 1}, 20, 20},
                                            {1, {receive_activation, 1}, 20, 20}, {1, {run_forward, 1}, 20, 30}};
  CHECK(simulation.timeline == expected);
}

TEST_CASE("a pipeline that cannot go on names the instructions that wait") {
  using enum InstructionKind;
  const PipelineProgram program{{2, 1},
                                {{{receive_gradient, 0}, {run_forward, 0}, {send_activation, 0}},
                                 {{receive_activation, 0}, {run_forward, 0}, {send_gradient, 0}}}};
  CHECK_THROWS_WITH(
      simulate(program, std::vector<StageDurations>(2)),
      "pipeline program: deadlock: these wait and nothing runs: rank 0, instruction 0 (receive_gradient of "
      "microbatch 0); rank 1, instruction 0 (receive_activation of microbatch 0)");
}

TEST_CASE("a program that does not fit its durations or sends past the ends is refused") {
  CHECK_THROWS_WITH(simulate(forward_program(2, 1), std::vector<StageDurations>(3)),
                    "pipeline program: has 2 stages, but durations for 3");
  CHECK_THROWS_WITH(simulate({{1, 1}, {{{InstructionKind::send_activation, 0}}}}, std::vector<StageDurations>(1)),
                    "pipeline program: rank 0, instruction 0 (send_activation of microbatch 0) has no partner");
}

TEST_CASE("times become picoseconds, rounded to the nearest; too long ones are refused") {
  CHECK(to_picoseconds(Seconds(1.5e-6)) == 1'500'000);
  CHECK(to_picoseconds(Seconds(2.6e-12)) == 3);
  CHECK(to_picoseconds(Seconds(1e6)) == 1'000'000'000'000'000'000);
  CHECK_THROWS_WITH(to_picoseconds(Seconds(1.1e6)), "simulation: a time of 1100000 s is outside 0 … 10^6 s");
  CHECK_THROWS_AS(to_picoseconds(Seconds(-1)), InputError);
  CHECK_THROWS_AS(to_picoseconds(Seconds(std::numeric_limits<double>::quiet_NaN())), InputError);
  // Ten forwards of 10^6 s exceed the 9.2·10^18 ps that the clock counts.
  CHECK_THROWS_WITH(simulate(forward_program(1, 10), {{to_picoseconds(Seconds(1e6)), 0, 0, 0, 0, 0}}),
                    Catch::Contains("ends after 9·10^6 seconds"));
}

TEST_CASE("a plan is simulated with its sends charged to the sender, and its gradient sends to the stage after") {
  const Plan plan = sample_plan();
  const Simulation simulation = simulate(plan);
  CHECK(simulation.makespan == 38 * microsecond);  // the durations of the documented example
  Plan without_stages = plan;
  without_stages.stages.clear();
  without_stages.status = PlanStatus::infeasible;
  CHECK_THROWS_WITH(simulate(without_stages), "plan: has no stages to simulate; its status is infeasible");
}

TEST_CASE("the bubble weighs stages by their devices") {
  Plan plan = sample_plan();
  plan.stages[1].devices = {2, 3, 4, 5, 6, 7};
  apply_simulation(plan, simulate(plan));
  CHECK(plan.iteration_time.value() == Approx(38e-6).epsilon(1e-12));
  // Stage 0: 2 devices idle for 38 - 25; stage 1: 6 devices idle for 38 - 30; of 8 devices for 38.
  CHECK(plan.bubble_fraction == Approx((2.0 * 13 + 6.0 * 8) / (8.0 * 38)).epsilon(1e-12));
}

TEST_CASE("a single stage has no bubble") {
  Plan plan = sample_plan();
  plan.stages.erase(plan.stages.begin());
  apply_simulation(plan, simulate(plan));
  CHECK(plan.bubble_fraction == 0);
}

TEST_CASE("the memory of a stage rises with each forward and falls after each backward") {
  const Plan plan = sample_plan();
  const std::vector<MemoryTimeline> timelines = memory_timelines(plan, simulate(plan));
  REQUIRE(timelines.size() == 2);
  // Stage 1: parameters, gradients, optimizer and overhead 4000 + 4000 + 12000 + 100; 700 per microbatch; 50 while it
  // runs.
  const double fixed = 20100;
  const std::vector<std::pair<Picoseconds, double>> expected{
      {0, fixed}, {3, fixed + 750}, {11, fixed}, {12, fixed + 750}, {20, fixed}, {21, fixed + 750}, {29, fixed}};
  std::vector<std::pair<Picoseconds, double>> changes;
  for (const MemorySample& sample : timelines[1].samples)
    if (changes.empty() || changes.back().second != sample.held.value())
      changes.emplace_back(sample.time / microsecond, sample.held.value());
  CHECK(changes == expected);
  // Stage 0 holds two microbatches of 500 and a working set of 300 at most: 9100 + 1000 + 300.
  CHECK(timelines[0].peak == Bytes(10400));
}

TEST_CASE("the peak over time is the rank's peak when in_flight is what the schedule holds") {
  std::mt19937 random(8);
  for (int i = 0; i < 300; ++i) {
    Plan plan = random_plan(random);
    const PipelineShape shape = plan.shape();
    const Simulation simulation = simulate(plan);
    count_activations(plan);
    const std::vector<MemoryTimeline> timelines = memory_timelines(plan, simulation);
    for (std::size_t rank = 0; rank < timelines.size(); ++rank) {
      const Bytes peak = device_memory(memory_of_rank(plan, rank));
      CAPTURE(name(plan.schedule), rank);
      if (shape.chunks == 1) {
        REQUIRE(simulation.most_in_flight[rank] == plan.stages[rank].memory.in_flight);
        REQUIRE(timelines[rank].peak == peak);
      } else {  // the working set of another chunk may be the largest
        REQUIRE(timelines[rank].peak.value() <= peak.value() * (1 + 1e-12));
        REQUIRE(timelines[rank].peak >= device_memory(memory_of_rank(plan, rank), Bytes(0)) * (1 - 1e-12));
      }
      for (std::size_t k = 1; k < timelines[rank].samples.size(); ++k)
        REQUIRE(timelines[rank].samples[k - 1].time < timelines[rank].samples[k].time);
    }
  }
}

TEST_CASE("gradients of a parameter that two ranks hold are reduced when both have them, after each rank's own") {
  // 1F1B, one microbatch, runs of 10, no sends: rank 1's backward ends at 30, rank 0's at 40. Rank 1 reduces 3 of its
  // own until 33 and waits; rank 0 reduces 2 of its own until 42; then both reduce 5 until 47, and update.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 2, 1);
  const std::vector<StageDurations> durations{{10, 10, 0, 0, 7, 1, 0, 0, 1, 5}, {10, 10, 0, 0, 8, 4, 0, 0, 1, 5}};
  Conditions conditions;
  CHECK(simulate(program, durations, conditions).makespan == 48);
  conditions.sharing = {0, 0};
  const Simulation together = simulate(program, durations, conditions);
  CHECK(together.makespan == 51);
  CHECK(together.busy == std::vector<Picoseconds>{28, 32});  // waiting from 33 to 42 is idle
  conditions.sharing = {0, 1};                               // each its own: nobody waits
  CHECK(simulate(program, durations, conditions).timeline == simulate(program, durations).timeline);
  // A rank that never synchronizes is not waited for.
  PipelineProgram without = program;
  std::erase_if(without.ranks[0], [](const Instruction& each) { return each.kind == InstructionKind::synchronize; });
  conditions.sharing = {0, 0};
  CHECK(simulate(without, durations, conditions).makespan == 42);  // rank 1: 30 + 8 + 4; rank 0: 40 + 1
}

TEST_CASE("ranks share gradients when their stages hold a parameter of one name") {
  Plan plan = sample_plan();
  CHECK(conditions_of(plan).sharing == std::vector<std::size_t>{0, 1});
  plan.stages[1].tensors.push_back(plan.stages[0].tensors[0]);
  CHECK(conditions_of(plan).sharing == std::vector<std::size_t>{0, 1});  // it reduces nothing between stages
  plan.stages[1].shared_gradients_time = Seconds(1e-6);
  CHECK(conditions_of(plan).sharing == std::vector<std::size_t>{0, 0});
  CHECK(durations_of(plan)[0].shared_synchronize == 1'000'000);
}
