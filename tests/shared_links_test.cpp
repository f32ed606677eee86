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

TEST_CASE("overlapped activations and gradients share the NICs of the stage between") {
  // One host per stage; the second sends both ways from its own NICs, the first and third into them.
  Plan plan = sample_plan();
  plan.cluster.hosts = 3, plan.cluster.devices_per_host = 2;
  plan.stages.push_back(plan.stages[1]);
  plan.stages[1].boundary = plan.stages[0].boundary;
  plan.stages[2].devices = {4, 5};
  for (Stage& stage : plan.stages) stage.boundary.link = LinkClass::inter_host;
  const Conditions conditions = conditions_of(plan);
  // Links: NICs out of and into host h are 2h and 2h+1.
  CHECK(conditions.activations[0].links == std::vector<LinkShare>{{0, 1}, {3, 1}});
  CHECK(conditions.activations[1].links == std::vector<LinkShare>{{2, 1}, {5, 1}});
  CHECK(conditions.gradients[1].links == std::vector<LinkShare>{{2, 1}, {1, 1}});
  CHECK(conditions.activations[2].links.empty());
  // Inside a host: each of the two devices carries half; devices come after the six links of NICs.
  plan.stages[0].boundary.link = LinkClass::intra_host;
  CHECK(conditions_of(plan).activations[0].links == std::vector<LinkShare>{{6, 0.5}, {8, 0.5}, {11, 0.5}, {13, 0.5}});
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
  plan.stages[0].conversions[0].backward[0].time = Seconds(5e-6);
  CHECK(durations_of(plan)[0].overlapped_synchronize == 2'000'000);
  CHECK(write_recipe(plan.recipe).find("\"overlap_synchronization\": \"last_backward\"") != std::string::npos);
}
