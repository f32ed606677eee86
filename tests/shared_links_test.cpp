#include "simulator/shared_links.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <random>

#include "planner/plan/program.hpp"
#include "simulator/simulation.hpp"
#include "tests/pipeline_samples.hpp"
#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {

struct Offer {
  Picoseconds start = 0, work = 0;
  Route route;
};

// When each leaves its links.
std::vector<Picoseconds> play(std::size_t links, const std::vector<Offer>& offers) {
  SharedLinks shared(links, offers.size());
  std::map<std::size_t, Picoseconds> ending;  // under way
  std::vector<Picoseconds> ends(offers.size());
  const auto finish_until = [&](Picoseconds time) {
    while (!ending.empty()) {
      auto next = ending.begin();
      for (auto each = ending.begin(); each != ending.end(); ++each)
        if (each->second < next->second) next = each;
      if (next->second > time) return;
      const auto [slot, end] = *next;
      ending.erase(next);
      ends[slot] = end;
      for (const SharedLinks::Ending& each : shared.finish(slot, end)) ending[each.slot] = each.time;
    }
  };
  for (std::size_t i = 0; i < offers.size(); ++i) {
    finish_until(offers[i].start);
    for (const auto& each : shared.start(i, offers[i].route, offers[i].work, offers[i].start))
      ending[each.slot] = each.time;
  }
  finish_until(std::numeric_limits<Picoseconds>::max());
  return ends;
}

Route over(std::vector<std::uint32_t> links) {
  Route route;
  for (const std::uint32_t each : links) route.links.push_back({each, 1});
  return route;
}

}  // namespace

TEST_CASE("two transfers over one link take as long as one of double size, to the picosecond") {
  for (const Picoseconds work : {1LL, 7LL, 1'000'003LL, 123'456'789'012'345LL})
    CHECK(play(1, {{0, work, over({0})}, {0, work, over({0})}}) == std::vector<Picoseconds>{2 * work, 2 * work});
}

TEST_CASE("transfers over different links do not slow each other") {
  CHECK(play(4, {{0, 100, over({0, 1})}, {0, 70, over({2, 3})}}) == std::vector<Picoseconds>{100, 70});
}

TEST_CASE("who comes later shares what is left") {
  // The first has 60 left at 40 and goes at half speed until 160. The second has then done 60, and its 40 take 40.
  CHECK(play(1, {{0, 100, over({0})}, {40, 100, over({0})}}) == std::vector<Picoseconds>{160, 200});
}

TEST_CASE("shares are max-min fair: who is held back elsewhere leaves the rest to others") {
  // Link 1 carries three: a third each. Link 0 carries the first and one of those, so the first gets two thirds.
  CHECK(play(2, {{0, 300, over({0})}, {0, 300, over({0, 1})}, {0, 300, over({1})}, {0, 300, over({1})}}) ==
        std::vector<Picoseconds>{450, 900, 900, 900});
}

TEST_CASE("a transfer over half of a link's capacity fits twice") {
  const Route half{{{0, 0.5}}, 0};
  CHECK(play(1, {{0, 100, half}, {0, 100, half}}) == std::vector<Picoseconds>{100, 100});
  // Three: 1.5 of the capacity, so each at 2/3 of its speed.
  CHECK(play(1, {{0, 100, half}, {0, 100, half}, {0, 100, half}}) == std::vector<Picoseconds>{150, 150, 150});
}

TEST_CASE("a link that always has work carries all of it at its bandwidth, whoever comes when") {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<Offer> offers;
    Picoseconds total = 0, start = 0;
    for (int i = 0; i < 8; ++i) {
      offers.push_back({start, draw(random, 1000, 1999), over({0})});
      total += offers.back().work;
      start += draw(random, 0, 999);  // before what has come so far can be done
    }
    const std::vector<Picoseconds> ends = play(1, offers);
    // Each end is rounded once to a picosecond.
    CHECK(std::abs(*std::max_element(ends.begin(), ends.end()) - total) <= 8);
  }
}

TEST_CASE("sends that share a link slow each other in a pipeline, worked out by hand") {
  // Three stages, forward only, two microbatches; runs and sends of 10. Stage 0 sends microbatch 1 while stage 1 sends
  // microbatch 0, from 30 on. Over links of their own both arrive at 40 and stage 2 ends at 70:
  //   stage 0  f0 0-10, s0 -20, f1 -30, s1 -40;  stage 1  f0 20-30, s0 -40, f1 -50, s1 -60;  stage 2  40-50, 60-70
  // Over one link they arrive at 50, all that follows is 10 later, and stage 2 ends at 80.
  const PipelineProgram program = make_program(ScheduleKind::inference, 3, 2);
  const std::vector<StageDurations> durations{{10, 0, 10}, {10, 0, 10}, {10, 0, 0}};
  Conditions apart;
  apart.links = 2;
  apart.activations = {over({0}), over({1}), Route{}};
  apart.gradients.resize(3);
  CHECK(simulate(program, durations, apart).makespan == 70);
  CHECK(simulate(program, durations, apart).timeline == simulate(program, durations).timeline);
  Conditions together = apart;
  together.activations[1] = over({0});
  CHECK(simulate(program, durations, together).makespan == 80);
  CHECK(simulate(program, durations, together).busy == std::vector<Picoseconds>{50, 50, 20});
  // Latency occupies no link: of the two sends' 10, 4 are latency and 6 become 12.
  for (Route& each : together.activations) each.latency = 4;
  CHECK(simulate(program, durations, together).makespan == 76);
  together.sends = Sends::overlapped;
  CHECK(simulate(program, durations, together).makespan <= 76);
}

namespace {

// Three stages of the sample plan, each on a host of two devices with one NIC; 100 B/s, 1 us of latency.
Plan plan_on_three_hosts() {
  Plan plan = sample_plan();
  plan.cluster.hosts = 3, plan.cluster.devices_per_host = 2, plan.cluster.nics_per_host = 1;
  plan.cluster.nic = {BytesPerSecond(100), 1, Seconds(1e-6)};
  plan.stages.push_back(plan.stages[1]);
  plan.stages[2].devices = {4, 5};
  for (Stage& stage : plan.stages) stage.conversions.clear();
  plan.stages[1].boundary = plan.stages[0].boundary;
  for (StageBoundary* each : {&plan.stages[0].boundary, &plan.stages[1].boundary})
    each->activations.resize(1), each->gradients.resize(1);
  plan.stages[1].boundary.activations[0].from = 2, plan.stages[1].boundary.activations[0].to = 4;
  plan.stages[1].boundary.gradients[0].from = 4, plan.stages[1].boundary.gradients[0].to = 2;
  for (StageBoundary* each : {&plan.stages[0].boundary, &plan.stages[1].boundary}) {
    each->activations[0].bytes = each->gradients[0].bytes = Bytes(100);
    each->forward_time = each->backward_time = Seconds(1 + 1e-6);
  }
  return plan;
}

}  // namespace

TEST_CASE("overlapped activations and gradients share the NICs of the stage between") {
  const Conditions conditions = conditions_of(plan_on_three_hosts());
  // Two routes meet where the second stage sends both ways, link 0, and where it receives from both sides, link 1;
  // nobody else is in the way of what the first and third do.
  CHECK(conditions.links == 2);
  CHECK(conditions.activations[0].links == std::vector<LinkShare>{{1, 1}});
  CHECK(conditions.activations[1].links == std::vector<LinkShare>{{0, 1}});
  CHECK(conditions.gradients[1].links == std::vector<LinkShare>{{0, 1}});
  CHECK(conditions.gradients[2].links == std::vector<LinkShare>{{1, 1}});
  CHECK(conditions.activations[2].links.empty());
  CHECK(conditions.activations[0].latency == 1'000'000);
}

TEST_CASE("lanes of their own keep sends apart") {
  Plan plan = plan_on_three_hosts();
  // Two NICs per host: device 2 sends the gradients, device 3 the activations.
  plan.cluster.nics_per_host = 2;
  plan.stages[1].boundary.activations[0].from = plan.stages[1].boundary.gradients[0].to = 3;
  CHECK(conditions_of(plan).links == 0);
}

TEST_CASE("synchronizing over NICs and a send of the same host slow each other") {
  // Stage 0 reduces gradients over both hosts of its group while stage 1, which shares host 1's NIC, receives.
  Plan plan = plan_on_three_hosts();
  plan.stages.pop_back();
  plan.stages[1].boundary = {};
  plan.cluster.devices_per_host = 2;
  plan.stages[0].submesh = {2, 1}, plan.stages[0].devices = {0, 2};
  plan.stages[1].submesh = {1, 1}, plan.stages[1].devices = {3}, plan.stages[1].mesh.clear();
  plan.stages[0].boundary.activations[0].from = 0, plan.stages[0].boundary.activations[0].to = 3;
  plan.stages[0].boundary.gradients[0].from = 3, plan.stages[0].boundary.gradients[0].to = 0;
  // 200 B all-reduced between two devices: 200 B each over NICs of 100 B/s, one group: 2 s of work in 4 s.
  plan.stages[0].conversions = {{"w",
                                 "optimizer",
                                 Layout{},
                                 Layout{},
                                 Rate::per_step,
                                 {},
                                 {{Collective::all_reduce, {"x"}, Bytes(200), Seconds(4)}}}};
  plan.stages[0].synchronization = Seconds(4);
  const Conditions conditions = conditions_of(plan);
  // Out of host 0 and into host 1, where activations go, count as one link; where gradients come back as another.
  CHECK(conditions.synchronizations[0].links == std::vector<LinkShare>{{0, 0.5}, {1, 0.5}});
  CHECK(conditions.activations[0].links == std::vector<LinkShare>{{0, 1}});
  CHECK(conditions.gradients[1].links == std::vector<LinkShare>{{1, 1}});
}

TEST_CASE("ranks that synchronize over one switch share its uplink") {
  // Two stages of six hosts of one device; switches above four hosts each, so that hosts 4 to 7 lie below one switch,
  // two of each stage. NICs of 100 B/s, oversubscription 4: an uplink has 4 · 100 / 4 = 100 B/s.
  Plan plan = plan_on_three_hosts();
  plan.stages.pop_back();
  plan.stages[0].boundary = plan.stages[1].boundary = {};
  plan.cluster.hosts = 12, plan.cluster.devices_per_host = 1;
  plan.cluster.switch_levels = {{4, 4}};
  // 120 B all-reduced over six hosts: each sends 2 · 5/6 · 120 = 200 B. The price takes three hosts below a switch: of
  // the four of the first switch a third leave, 4/3 · 200 B in 8/3 s. Over the shared switch each stage's ring leaves
  // once: 200 B in 8/3 s, 3/4 of the uplink.
  for (std::size_t s = 0; s < 2; ++s) {
    Stage& stage = plan.stages[s];
    stage.submesh = {6, 1}, stage.mesh = {{"x", 6}};
    stage.devices.clear();
    for (std::int64_t device = 0; device < 6; ++device)
      stage.devices.push_back(static_cast<std::int64_t>(6 * s) + device);
    stage.synchronization = Seconds(8.0 / 3);
    const CollectiveStep reduce{Collective::all_reduce, {"x"}, Bytes(120), stage.synchronization};
    stage.conversions = {{"w", "optimizer", Layout{}, Layout{}, Rate::per_step, {}, {reduce}}};
  }
  const Conditions conditions = conditions_of(plan);
  REQUIRE(conditions.links == 1);  // out of the shared switch and into it carry the same
  for (const Route& route : conditions.synchronizations) {
    REQUIRE(route.links.size() == 1);
    CHECK(route.links.front().share == Approx(0.75));
  }
  plan.cluster.switch_levels = {{6, 4}};
  CHECK(conditions_of(plan).links == 0);  // below switches of their own
}

TEST_CASE("buckets of gradients are reduced beside the last backward, the last one after it") {
  // Forward 10, backward 40, update 1. Four buckets become ready at 20, 30, 40, 50.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 1, 1);
  StageDurations stage{10, 40, 0, 0, 20, 1};
  CHECK(simulate(program, {stage}).makespan == 71);
  stage.overlapped_synchronize = 20, stage.buckets = 4;
  CHECK(simulate(program, {stage}).makespan == 56);  // the last bucket's 5 after the backward
  stage.synchronize = stage.overlapped_synchronize = 60;
  CHECK(simulate(program, {stage}).makespan == 81);  // from 20 on without a pause
  stage.synchronize = 67;
  CHECK(simulate(program, {stage}).makespan == 88);  // 7 that cannot overlap
  stage.synchronize = 20, stage.overlapped_synchronize = 20, stage.buckets = 1;
  CHECK(simulate(program, {stage}).makespan == 71);  // one bucket is ready at the end
}

TEST_CASE("a bucket and a send over one link take as long as both one after the other") {
  // Two stages, 1F1B, one microbatch, overlapped sends; backward of stage 1 from 20 to 30, its gradient sent from 30
  // on, 10 alone; its one bucket of 10 is ready at 30, too. Over one link both take until 50; stage 0 runs backward
  // to 60.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 2, 1);
  const std::vector<StageDurations> durations{{10, 10, 0, 0, 0, 1}, {10, 10, 0, 10, 10, 1, 0, 10, 1}};
  Conditions apart;
  apart.sends = Sends::overlapped;
  apart.links = 2;
  apart.activations.resize(2);
  apart.gradients = {Route{}, over({0})};
  apart.synchronizations = {Route{}, over({1})};
  CHECK(simulate(program, durations, apart).makespan == 51);  // 40, backward to 50, update
  Conditions together = apart;
  together.synchronizations[1] = over({0});
  CHECK(simulate(program, durations, together).makespan == 61);
}

TEST_CASE("synchronizing at the end shares links with sends, too") {
  // The same without overlap of buckets: stage 1 synchronizes from 30 on, while its gradient is under way.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 2, 1);
  Conditions together;
  together.sends = Sends::overlapped;
  together.links = 1;
  together.activations.resize(2);
  together.gradients = {Route{}, over({0})};
  together.synchronizations = {Route{}, over({0})};
  CHECK(simulate(program, {{10, 10, 0, 0, 0, 1}, {10, 10, 0, 10, 10, 1}}, together).makespan == 61);
}

TEST_CASE("a synchronization that a send slows for a moment ends the step when it ends itself") {
  // As above, but the gradient's send takes 2 alone and synchronizing 100. Both at half speed from 30 on: the send
  // until 34, when 98 of the 100 are left; these take until 132, and the update until 133. While the send was under
  // way 230 was said, which is no event of the step.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 2, 1);
  Conditions together;
  together.sends = Sends::overlapped;
  together.links = 1;
  together.activations.resize(2);
  together.gradients = {Route{}, over({0})};
  together.synchronizations = {Route{}, over({0})};
  CHECK(simulate(program, {{10, 10, 0, 0, 0, 1}, {10, 10, 0, 2, 100, 1}}, together).makespan == 133);
}

TEST_CASE("a step ends with the last of its instructions, whatever shares links") {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    RandomPipeline pipeline = random_pipeline(random);
    add_random_sends(pipeline, random);
    const std::size_t stages = pipeline.stages.size();
    Conditions conditions;
    conditions.sends = round % 3 == 0 ? Sends::blocking : Sends::overlapped;
    conditions.links = 2;
    for (std::vector<Route>* routes : {&conditions.activations, &conditions.gradients, &conditions.synchronizations})
      for (std::size_t s = 0; s < stages; ++s)
        routes->push_back(over({static_cast<std::uint32_t>(draw(random, 0, 1))}));
    for (StageDurations& stage : pipeline.stages) {
      stage.synchronize = draw(random, 0, 500), stage.update = draw(random, 0, 20);
      if (round % 2 == 0) stage.overlapped_synchronize = stage.synchronize / 2, stage.buckets = draw(random, 1, 5);
    }
    const auto count = static_cast<std::int64_t>(stages);
    for (const ScheduleKind kind : {ScheduleKind::one_f_one_b, ScheduleKind::gpipe}) {
      const Simulation simulation =
          simulate(make_program(kind, count, pipeline.microbatches), pipeline.stages, conditions);
      Picoseconds last = 0;
      for (const TimelineEntry& each : simulation.timeline) last = std::max(last, each.end);
      REQUIRE(simulation.makespan == last);
    }
  }
}

TEST_CASE("only the step's last backward has gradients to reduce") {
  // Two microbatches: the second backward runs from 60 to 100, buckets are ready from 70 on.
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 1, 2);
  CHECK(simulate(program, {{10, 40, 0, 0, 20, 1, 0, 20, 4}}).makespan == 106);
}

TEST_CASE("a plan overlaps what reduces its stages' own gradients, if the recipe says so") {
  Plan plan = sample_plan();
  CHECK(durations_of(plan)[0].overlapped_synchronize == 0);
  plan.recipe = parse_recipe(
      R"({"schema": "meshloom.recipe/1", "name": "r", "bucket_bytes": "600 B", "overlap_synchronization": "last_backward"})",
      "r.json");
  // Of stage 0's 3 us one is for gradients shared with another stage and cannot overlap. 1.5 us reduce, the gather of
  // parameters does not count. 2000 B of gradients in buckets of 600 B are four.
  plan.stages[0].conversions = {{"w",
                                 "optimizer",
                                 Layout{},
                                 Layout{},
                                 Rate::per_step,
                                 {},
                                 {{Collective::reduce_scatter, {"x"}, Bytes(2000), Seconds(1.5e-6)},
                                  {Collective::all_gather, {"x"}, Bytes(1000), Seconds(0.5e-6)}}}};
  CHECK(durations_of(plan)[0].overlapped_synchronize == 1'500'000);
  CHECK(durations_of(plan)[0].synchronize == 3'000'000);
  CHECK(durations_of(plan)[0].buckets == 4);
  plan.stages[0].mesh = {{"x", 4}};
  plan.recipe.bucket_bytes_per_device = Bytes(250);  // 1000 B for the four of the group: two
  CHECK(durations_of(plan)[0].buckets == 2);
  plan.stages[0].conversions[0].backward[0].time = Seconds(5e-6);
  CHECK(durations_of(plan)[0].overlapped_synchronize == 2'000'000);
  CHECK(write_recipe(plan.recipe).find("\"overlap_synchronization\": \"last_backward\"") != std::string::npos);
}
