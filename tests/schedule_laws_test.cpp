// The laws of the schedules with chunks and split backwards (docs/schedules.md), in integer time.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "tests/pipeline_samples.hpp"
#include "tests/timeline_drawing.hpp"

using namespace meshloom;

namespace {

constexpr Picoseconds microsecond = 1'000'000;

// Equal stages, at least two microbatches per rank and a multiple of the ranks; runs of 1 to 100 ps.
struct EqualStages {
  std::int64_t ranks, chunks, microbatches;
  Picoseconds forward, input, weight;
  Picoseconds work() const { return microbatches * chunks * (forward + input + weight); }
  std::vector<StageDurations> durations() const {
    return {static_cast<std::size_t>(ranks * chunks), {forward, input + weight, 0, 0, 0, 0, weight}};
  }
  std::vector<RunLengths> lengths() const {
    return {static_cast<std::size_t>(ranks * chunks), {forward, input, weight, 0, 0}};
  }
};

EqualStages equal_stages(std::mt19937& random, std::int64_t chunks) {
  const std::int64_t ranks = draw(random, 2, 5);
  return {ranks, chunks, ranks * draw(random, 2, 3), draw(random, 1, 100), draw(random, 1, 100), draw(random, 1, 100)};
}

Simulation run(const Schedule& schedule, const EqualStages& stages) {
  const PipelineProgram program = make_program(schedule, stages.ranks, stages.microbatches, stages.lengths());
  return simulate(program, stages.durations());
}

// Unequal stages with a split backward, sends included.
RandomPipeline split_pipeline(std::mt19937& random) {
  RandomPipeline pipeline = random_pipeline(random);
  add_random_sends(pipeline, random);
  for (StageDurations& stage : pipeline.stages) stage.backward_weight = draw(random, 0, stage.backward);
  return pipeline;
}

std::vector<RunLengths> lengths_of(const RandomPipeline& pipeline) {
  std::vector<RunLengths> lengths;
  for (const StageDurations& stage : pipeline.stages)
    lengths.push_back({stage.forward + stage.send_activation,
                       stage.backward - stage.backward_weight + stage.send_gradient, stage.backward_weight, 0, 0});
  return lengths;
}

std::int64_t most_held(const Simulation& simulation) {
  return *std::max_element(simulation.most_in_flight.begin(), simulation.most_in_flight.end());
}

}  // namespace

TEST_CASE("interleaved 1F1B idles (p-1)/(v m) of the work on equal stages") {
  std::mt19937 random(31);
  for (int i = 0; i < 10'000; ++i) {
    const std::int64_t chunks = draw(random, 2, 4);
    const EqualStages stages = equal_stages(random, chunks);
    const Simulation simulation = run({ScheduleKind::interleaved, chunks}, stages);
    // bubble / work = (p-1)/(v·m), multiplied out
    REQUIRE((simulation.makespan - stages.work()) * chunks * stages.microbatches == (stages.ranks - 1) * stages.work());
    REQUIRE(simulation.most_in_flight[0] ==
            std::min(stages.ranks * chunks + stages.ranks - 1, stages.microbatches * chunks));
  }
}

TEST_CASE("ZB-H1 idles (p-1)(f+b-w) on equal stages, the weight gradient no longer than the forward") {
  std::mt19937 random(32);
  for (int i = 0; i < 10'000; ++i) {
    EqualStages stages = equal_stages(random, 1);
    if (stages.weight > stages.forward) std::swap(stages.weight, stages.forward);
    const Simulation simulation = run(ScheduleKind::zb_h1, stages);
    const Picoseconds bubble = (stages.ranks - 1) * (stages.forward + stages.input - stages.weight);
    REQUIRE(simulation.period == stages.work() + bubble);
    REQUIRE(most_held(simulation) == stages.ranks);
  }
}

TEST_CASE("ZB-H2 idles (p-1)(f+b-2w) on equal stages, and holds 2p-1 microbatches") {
  std::mt19937 random(33);
  for (int i = 0; i < 10'000; ++i) {
    EqualStages stages = equal_stages(random, 1);
    if (stages.weight > stages.forward) std::swap(stages.weight, stages.forward);
    const Simulation simulation = run(ScheduleKind::zb_h2, stages);
    const Picoseconds one = stages.forward + stages.input - 2 * stages.weight;
    REQUIRE(simulation.period == stages.work() + (stages.ranks - 1) * std::max<Picoseconds>(0, one));
    REQUIRE(simulation.most_in_flight[0] == 2 * stages.ranks - 1);
    REQUIRE(most_held(simulation) == 2 * stages.ranks - 1);
  }
}

TEST_CASE("the formulas are exact on equal stages, whichever run is longest") {
  std::mt19937 random(34);
  for (int i = 0; i < 2'000; ++i)
    for (const Schedule& schedule :
         {Schedule(ScheduleKind::interleaved, 2), Schedule(ScheduleKind::zb_h1), Schedule(ScheduleKind::zb_h2),
          Schedule(ScheduleKind::zb_1p), Schedule(ScheduleKind::gpipe), Schedule(ScheduleKind::one_f_one_b),
          Schedule(ScheduleKind::eager_one_f_one_b)}) {
      const EqualStages stages = equal_stages(random, schedule.chunks);
      const StageTimes times{Seconds(static_cast<double>(stages.forward)),
                             Seconds(static_cast<double>(stages.input + stages.weight)), Seconds(0),
                             Seconds(static_cast<double>(stages.weight))};
      const std::vector<StageTimes> all(static_cast<std::size_t>(stages.ranks * stages.chunks), times);
      const Simulation simulation = run(schedule, stages);
      CAPTURE(name(schedule), stages.ranks, stages.microbatches, stages.forward, stages.input, stages.weight);
      REQUIRE(static_cast<double>(updates_apart(schedule.kind) ? simulation.period : simulation.makespan) ==
              schedule_formula(schedule, all, stages.microbatches).value());
    }
}

// Limits that hold for any order: each rank runs all its microbatches, each of its two streams sends all of them, one
// microbatch passes all stages and links. Links are no limit here beyond a stream's own sends.
TEST_CASE("with sends beside computing neither simulation nor formula is below what runs, sends and one way take") {
  std::mt19937 random(36);
  for (int i = 0; i < 2'000; ++i)
    for (const Schedule& schedule :
         {Schedule(ScheduleKind::interleaved, 2), Schedule(ScheduleKind::zb_h1), Schedule(ScheduleKind::gpipe),
          Schedule(ScheduleKind::one_f_one_b), Schedule(ScheduleKind::eager_one_f_one_b)}) {
      const EqualStages stages = equal_stages(random, schedule.chunks);
      std::vector<StageDurations> durations = stages.durations();
      std::vector<StageTimes> times;
      std::vector<Picoseconds> activations(static_cast<std::size_t>(stages.ranks)), gradients = activations;
      Picoseconds way = 0;
      for (std::size_t s = 0; s < durations.size(); ++s) {
        StageDurations& each = durations[s];
        if (s + 1 < durations.size()) each.send_activation = draw(random, 1, 400);
        if (s > 0) each.send_gradient = draw(random, 1, 400);
        activations[s % activations.size()] += stages.microbatches * each.send_activation;
        gradients[s % gradients.size()] += stages.microbatches * each.send_gradient;
        way += each.forward + each.backward + each.send_activation + each.send_gradient;
        StageTimes& time = times.emplace_back();
        time.forward = Seconds(static_cast<double>(each.forward));
        time.backward = Seconds(static_cast<double>(each.backward));
        time.backward_weight = Seconds(static_cast<double>(each.backward_weight));
        time.activation_beside = Seconds(static_cast<double>(each.send_activation));
        time.gradient_beside = Seconds(static_cast<double>(each.send_gradient));
        time.link_beside = std::max(time.activation_beside, time.gradient_beside);
      }
      Picoseconds limit =
          std::max(way - (splits_backward(schedule.kind) ? stages.weight * stages.ranks : 0), stages.work());
      for (std::size_t rank = 0; rank < activations.size(); ++rank)
        limit = std::max({limit, activations[rank], gradients[rank]});
      const PipelineProgram program = make_program(schedule, stages.ranks, stages.microbatches, stages.lengths());
      CAPTURE(name(schedule), stages.ranks, stages.microbatches);
      REQUIRE(simulate(program, durations, Sends::overlapped).makespan >= limit);
      REQUIRE(schedule_formula(schedule, times, stages.microbatches).value() >= static_cast<double>(limit));
    }
}

TEST_CASE("ZB-2p never idles less than its bound, mostly just that, and holds at most 2p microbatches") {
  std::mt19937 random(35);
  int exact = 0;
  const int count = 2'000;
  for (int i = 0; i < count; ++i) {
    const EqualStages stages = equal_stages(random, 1);
    const Simulation simulation = run(ScheduleKind::zb_2p, stages);
    const Picoseconds f = stages.forward, b = stages.input, w = stages.weight, p = stages.ranks;
    const Picoseconds bound = std::max({Picoseconds(0), (p - 1) * (f + b) - (2 * p - 1) * w, (p - 1) * b - p * f});
    REQUIRE(simulation.period >= stages.work() + bound);
    REQUIRE(simulation.period <= run(ScheduleKind::zb_h2, stages).period);
    REQUIRE(most_held(simulation) <= 2 * p);
    exact += simulation.period == stages.work() + bound;
  }
  CHECK(exact > count * 3 / 4);
}

TEST_CASE("searched zero-bubble orders are no slower than those by hand, whatever the stages") {
  std::mt19937 random(36);
  for (int i = 0; i < 500; ++i) {
    const RandomPipeline pipeline = split_pipeline(random);
    const auto ranks = std::ssize(pipeline.stages);
    const auto period = [&](ScheduleKind kind) {
      const PipelineProgram program = make_program(kind, ranks, pipeline.microbatches, lengths_of(pipeline));
      const Simulation simulation = simulate(program, pipeline.stages);
      if (kind == ScheduleKind::zb_1p) REQUIRE(most_held(simulation) <= ranks);
      if (kind == ScheduleKind::zb_2p) REQUIRE(most_held(simulation) <= 2 * ranks);
      return simulation.period;
    };
    REQUIRE(period(ScheduleKind::zb_1p) <= period(ScheduleKind::zb_h1));
    REQUIRE(period(ScheduleKind::zb_2p) <= period(ScheduleKind::zb_h2));
  }
}

// DESIGN section 7: the first microbatch has come through the stages before before stage i begins, and when it ends its
// last input gradient, that goes back through them.
TEST_CASE("tied embeddings make zero-bubble steps wait for the last rank, as the formula says") {
  std::mt19937 random(37);
  int waits = 0;
  for (int i = 0; i < 2'000; ++i)
    for (const ScheduleKind kind :
         {ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_1p, ScheduleKind::zb_2p}) {
      const EqualStages stages = equal_stages(random, 1);
      // All reduce 10 of their own and update 3; the first and the last then reduce 5 together.
      std::vector<StageDurations> durations = stages.durations();
      for (StageDurations& stage : durations) stage.synchronize = 10, stage.update = 3;
      Conditions conditions;
      conditions.sharing.assign(durations.size(), 0);
      std::vector<StageTimes> times = formula_times(durations);
      for (StageTimes& stage : times) stage.backward_weight = Seconds(static_cast<double>(stages.weight));
      for (const std::size_t tied : {std::size_t{0}, durations.size() - 1}) {
        durations[tied].synchronize = 15, durations[tied].shared_synchronize = 5;
        times[tied].per_step = Seconds(18), times[tied].shared = Seconds(5);
      }
      const PipelineProgram program = make_program(kind, stages.ranks, stages.microbatches, stages.lengths());
      const auto period = static_cast<double>(simulate(program, durations, conditions).period);
      const double formula = schedule_formula(kind, times, stages.microbatches).value();
      for (StageTimes& stage : times) stage.shared = Seconds(0);
      waits += schedule_formula(kind, times, stages.microbatches).value() < formula;
      CAPTURE(name(kind), stages.ranks, stages.microbatches, stages.forward, stages.input, stages.weight);
      REQUIRE(period == formula);
    }
  CHECK(waits > 1000);
}

TEST_CASE("with a split backward the step takes at least what each stage and the way to it take") {
  std::mt19937 random(37);
  for (int i = 0; i < 10'000; ++i) {
    const RandomPipeline pipeline = split_pipeline(random);
    const ScheduleKind kind = i % 2 == 0 ? ScheduleKind::zb_h1 : ScheduleKind::zb_h2;
    const Picoseconds makespan =
        simulate(make_program(kind, std::ssize(pipeline.stages), pipeline.microbatches), pipeline.stages).makespan;
    Picoseconds forwards = 0, ways = 0;
    for (const StageDurations& stage : pipeline.stages) {
      const Picoseconds f = stage.forward + stage.send_activation;
      const Picoseconds b = stage.backward - stage.backward_weight + stage.send_gradient;
      REQUIRE(makespan >= pipeline.microbatches * (f + b) + ways);
      REQUIRE(makespan >= pipeline.microbatches * (f + b + stage.backward_weight) + forwards);
      forwards += f;
      ways += f + b;
    }
  }
}

TEST_CASE("overlapped sends never take longer than blocking ones, on equal stages") {
  std::mt19937 random(38);
  for (int i = 0; i < 2'000; ++i) {
    const EqualStages stages = equal_stages(random, 1);
    std::vector<StageDurations> durations = stages.durations();
    for (StageDurations& stage : durations) stage.send_activation = stage.send_gradient = draw(random, 0, 20);
    for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::eager_one_f_one_b}) {
      const PipelineProgram program = make_program(kind, stages.ranks, stages.microbatches);
      REQUIRE(simulate(program, durations, Sends::overlapped).makespan <=
              simulate(program, durations, Sends::blocking).makespan);
    }
  }
}

// Forward and backward 2 each, sends 1. 1F1B's stage 0 may only hold p microbatches, so each round trip of a gradient
// and an activation is waited for; eager 1F1B has sent ahead.
TEST_CASE("eager 1F1B hides overlapped sends that 1F1B waits for") {
  const std::vector<StageDurations> durations(4, {20, 20, 10, 10, 0, 0});
  const auto makespan = [&](ScheduleKind kind) {
    return simulate(make_program(kind, 4, 16), durations, Sends::overlapped).makespan;
  };
  // Eager: the first activation reaches stage 3 after 3·(20+10), stage 3 is busy 16·40, and the last gradient goes back
  // through 3·(10+20).
  CHECK(makespan(ScheduleKind::eager_one_f_one_b) == 90 + 640 + 90);
  CHECK(makespan(ScheduleKind::one_f_one_b) > 820);
}

TEST_CASE("in flight is what the simulation holds, for schedules that say it exactly") {
  for (const Schedule& schedule :
       {Schedule(ScheduleKind::gpipe), Schedule(ScheduleKind::one_f_one_b), Schedule(ScheduleKind::eager_one_f_one_b),
        Schedule(ScheduleKind::interleaved, 3), Schedule(ScheduleKind::zb_h1), Schedule(ScheduleKind::zb_h2),
        Schedule(ScheduleKind::dualpipe), Schedule(ScheduleKind::inference)})
    for (std::int64_t ranks = 1; ranks <= 6; ++ranks)
      for (const std::int64_t rounds : {2, 3, 5}) {
        const EqualStages stages{ranks, schedule.chunks, rounds * ranks, 3, 2, 1};
        const Simulation simulation = run(schedule, stages);
        CAPTURE(name(schedule), ranks, rounds);
        for (std::int64_t rank = 0; rank < ranks; ++rank)
          REQUIRE(simulation.most_in_flight[static_cast<std::size_t>(rank)] ==
                  in_flight(schedule, ranks, rank, stages.microbatches));
      }
}

// Worked out by hand in docs/schedules.md.
TEST_CASE("the documented three-stage examples, to the picosecond") {
  struct Example {
    Schedule schedule;
    EqualStages stages;
    Picoseconds makespan, period;
  };
  const std::vector<Example> examples{
      {{ScheduleKind::interleaved, 2}, {3, 2, 3, 1, 1, 1}, 24, 24},
      {ScheduleKind::zb_h1, {3, 1, 6, 2, 2, 1}, 36, 36},
      {ScheduleKind::zb_h2, {3, 1, 6, 1, 1, 1}, 20, 18},
      {ScheduleKind::dualpipe, {3, 2, 6, 1, 1, 1}, 38, 38},
  };
  const std::string page = read_file(MESHLOOM_SOURCE_DIR "/docs/schedules.md");
  for (const Example& example : examples) {
    EqualStages stages = example.stages;
    stages.forward *= microsecond, stages.input *= microsecond, stages.weight *= microsecond;
    const Simulation simulation = run(example.schedule, stages);
    const std::string drawing = draw_timeline(simulation, shape_of(example.schedule, stages.ranks), microsecond);
    INFO(name(example.schedule) << "\n" << drawing);
    CHECK(simulation.makespan == example.makespan * microsecond);
    CHECK(simulation.period == example.period * microsecond);
    CHECK(page.find(drawing) != std::string::npos);
  }
}
