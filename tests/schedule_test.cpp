#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"
#include "planner/plan/plan.hpp"
#include "planner/plan/program.hpp"
#include "simulator/simulation.hpp"

using namespace meshloom;
using enum InstructionKind;

namespace {

// "F0" run_forward of microbatch 0, "a0"/"A0" send/receive its activation, "g0"/"G0" its gradient, "I0" and "W0" the
// parts of a split backward; "S" and "U" at the end. A prime for each chunk after the first.
std::string print_list(const std::vector<Instruction>& list) {
  std::string text;
  for (const Instruction& instruction : list) {
    if (!text.empty()) text += ' ';
    text += "FBaAgGSUIW"[static_cast<std::size_t>(instruction.kind)];
    if (instruction.kind == synchronize || instruction.kind == update) continue;
    text += std::to_string(instruction.microbatch);
    if (instruction.chunk > 0) text += std::string(instruction.chunk, '\'');
  }
  return text;
}

// Two stages, one microbatch; a valid program to spoil.
PipelineProgram valid_program() { return make_program(ScheduleKind::one_f_one_b, 2, 1); }

}  // namespace

TEST_CASE("GPipe runs all forwards, then all backwards") {
  const PipelineProgram program = make_program(ScheduleKind::gpipe, 2, 2);
  CHECK(print_list(program.ranks[0]) == "F0 a0 F1 a1 G0 B0 G1 B1 S U");
  CHECK(print_list(program.ranks[1]) == "A0 F0 A1 F1 B0 g0 B1 g1 S U");
}

TEST_CASE("1F1B warms up with one forward per stage behind it, then alternates") {
  const PipelineProgram program = make_program(ScheduleKind::one_f_one_b, 3, 4);
  CHECK(print_list(program.ranks[0]) == "F0 a0 F1 a1 F2 a2 G0 B0 F3 a3 G1 B1 G2 B2 G3 B3 S U");
  CHECK(print_list(program.ranks[1]) == "A0 F0 a0 A1 F1 a1 G0 B0 g0 A2 F2 a2 G1 B1 g1 A3 F3 a3 G2 B2 g2 G3 B3 g3 S U");
  CHECK(print_list(program.ranks[2]) == "A0 F0 B0 g0 A1 F1 B1 g1 A2 F2 B2 g2 A3 F3 B3 g3 S U");
}

TEST_CASE("a single stage neither sends nor receives") {
  CHECK(print_list(make_program(ScheduleKind::one_f_one_b, 1, 2).ranks[0]) == "F0 B0 F1 B1 S U");
}

TEST_CASE("GPipe holds all microbatches, 1F1B one per stage from here to the end") {
  CHECK(in_flight(ScheduleKind::gpipe, 4, 0, 8) == 8);
  CHECK(in_flight(ScheduleKind::one_f_one_b, 4, 0, 8) == 4);
  CHECK(in_flight(ScheduleKind::one_f_one_b, 4, 3, 8) == 1);
  CHECK(in_flight(ScheduleKind::one_f_one_b, 4, 0, 2) == 2);  // no more than there are
}

TEST_CASE("schedules are found by the names they print") {
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b})
    CHECK(schedule_named(name(kind)) == kind);
  CHECK(!schedule_named("2f2b"));
}

TEST_CASE("the generated programs of all sizes up to 12 stages and 40 microbatches pass the check") {
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b})
    for (std::int64_t stages = 1; stages <= 12; ++stages)
      for (std::int64_t microbatches = 1; microbatches <= 40; ++microbatches)
        REQUIRE_NOTHROW(check_program(make_program(kind, stages, microbatches), microbatches));
}

TEST_CASE("a program given as data is checked, and the complaint names stage and instruction") {
  // Stage 0: 0 F0, 1 a0, 2 G0, 3 B0, 4 S, 5 U. Stage 1: 0 A0, 1 F0, 2 B0, 3 g0, 4 S, 5 U.
  PipelineProgram program = valid_program();
  REQUIRE(print_list(program.ranks[0]) == "F0 a0 G0 B0 S U");
  REQUIRE(print_list(program.ranks[1]) == "A0 F0 B0 g0 S U");
  const auto erase = [&](std::size_t stage, std::ptrdiff_t position) {
    program.ranks[stage].erase(program.ranks[stage].begin() + position);
  };
  std::string message;
  SECTION("a receive without a send") {
    erase(0, 1);
    message = "rank 1, instruction 0 (receive_activation of microbatch 0) has no send_activation in rank 0";
  }
  SECTION("a backward before the gradient it needs") {
    std::swap(program.ranks[0][2], program.ranks[0][3]);
    message = "rank 0, instruction 2 (run_backward of microbatch 0) stands before its receive_gradient";
  }
  SECTION("a send before the first stage") {
    program = make_program(ScheduleKind::one_f_one_b, 1, 1);
    program.ranks[0].insert(program.ranks[0].begin(), {send_gradient, 0});
    message = "rank 0, instruction 0 (send_gradient of microbatch 0) has no partner on another rank";
  }
  SECTION("a send past the last stage") {
    program.ranks[1].insert(program.ranks[1].begin() + 2, {send_activation, 0});
    message = "rank 1, instruction 2 (send_activation of microbatch 0) has no rank after it";
  }
  SECTION("a forward before its input") {
    std::swap(program.ranks[1][0], program.ranks[1][1]);
    message = "rank 1, instruction 0 (run_forward of microbatch 0) stands before its receive_activation";
  }
  SECTION("a backward before its forward") {
    std::swap(program.ranks[1][1], program.ranks[1][2]);
    message = "rank 1, instruction 1 (run_backward of microbatch 0) stands before its run_forward";
  }
  SECTION("a send before the run that makes it") {
    std::swap(program.ranks[0][0], program.ranks[0][1]);
    message = "rank 0, instruction 0 (send_activation of microbatch 0) stands before its run_forward";
  }
  SECTION("a send that waits until gradients are shared, for which the rank may wait itself") {
    std::swap(program.ranks[1][3], program.ranks[1][4]);
    message =
        "rank 1, instruction 3 (synchronize of microbatch 0) must come right before the update that ends the rank's "
        "list";
  }
  SECTION("a microbatch run twice") {
    program.ranks[1].insert(program.ranks[1].begin() + 2, {run_forward, 0});
    message = "rank 1, instruction 2 (run_forward of microbatch 0) stands twice in the rank's list; keep one";
  }
  SECTION("a microbatch that is never run") {
    program.ranks[1].resize(2);
    message = "rank 1 never does run_backward of microbatch 0";
  }
  SECTION("a microbatch that does not exist") {
    program.ranks[0][0].microbatch = 1;
    message = "rank 0, instruction 0 (run_forward of microbatch 1) is outside the 1 microbatches of the step";
  }
  SECTION("no update") {
    erase(0, 5);
    message = "rank 0 lacks update";
  }
  SECTION("synchronizing before the last backward") {
    std::swap(program.ranks[0][3], program.ranks[0][4]);
    message = "rank 0, instruction 3 (synchronize of microbatch 0) stands before run_backward of microbatch 0";
  }
  SECTION("something after the update") {
    std::swap(program.ranks[0][4], program.ranks[0][5]);
    message = "rank 0, instruction 4 (update of microbatch 0) stands before its synchronize";
  }
  SECTION("a deadlock") {
    // Both stages run two microbatches; stage 0 wants gradient 0 before it sends activation 1, stage 1 wants
    // activation 1 before its first backward.
    program.ranks = {{{run_forward, 0},
                      {send_activation, 0},
                      {receive_gradient, 0},
                      {run_backward, 0},
                      {run_forward, 1},
                      {send_activation, 1},
                      {receive_gradient, 1},
                      {run_backward, 1},
                      {synchronize},
                      {update}},
                     {{receive_activation, 0},
                      {run_forward, 0},
                      {receive_activation, 1},
                      {run_forward, 1},
                      {run_backward, 0},
                      {send_gradient, 0},
                      {run_backward, 1},
                      {send_gradient, 1},
                      {synchronize},
                      {update}}};
    message =
        "deadlock: these wait for each other: rank 0, instruction 2 (receive_gradient of microbatch 0); rank 1, "
        "instruction 2 (receive_activation of microbatch 1)";
    CHECK_THROWS_WITH(check_program(program, 2), "pipeline program: " + message);
    return;
  }
  CHECK_THROWS_WITH(check_program(program, 1), "pipeline program: " + message);
}

TEST_CASE("a program without stages or microbatches is refused") {
  CHECK_THROWS_WITH(check_program({}, 1), "pipeline program: has no ranks");
  CHECK_THROWS_WITH(check_program(valid_program(), 0), "pipeline program: needs at least one microbatch, not 0");
}

TEST_CASE("schedule formulas by hand") {
  // t = 5, 9, 6; sum of f 6, of b 14.
  const std::vector<StageTimes> stages{
      {Seconds(2), Seconds(3), Seconds(0)}, {Seconds(3), Seconds(6), Seconds(0)}, {Seconds(1), Seconds(5), Seconds(0)}};
  CHECK(schedule_formula(ScheduleKind::one_f_one_b, stages, 4) == Seconds(20 + 3 * 9));
  CHECK(schedule_formula(ScheduleKind::gpipe, stages, 4) == Seconds(6 + 3 * 3 + 14 + 3 * 6));
  CHECK(schedule_formula(ScheduleKind::one_f_one_b, stages, 1) == Seconds(20));
}

TEST_CASE("work per step is hidden by the backwards of the stages before") {
  // Exposed: stage 0 max(0, 2) = 2, stage 1 8 - 3 = 5, stage 2 10 - (3 + 6) = 1; the largest counts.
  const std::vector<StageTimes> stages{{Seconds(2), Seconds(3), Seconds(2)},
                                       {Seconds(3), Seconds(6), Seconds(8)},
                                       {Seconds(1), Seconds(5), Seconds(10)}};
  CHECK(schedule_formula(ScheduleKind::one_f_one_b, stages, 4) == Seconds(47 + 5));
  CHECK(schedule_formula(ScheduleKind::gpipe, stages, 4) == Seconds(47 + 5));
}

TEST_CASE("interleaved ranks wait for the slowest chunk in every turn") {
  // Two ranks of two chunks, t = 3, 5, 4, 2; (4·2 + 2 − 1)·5. Work per step by rank 1 + 3 and 9 + 2, of which the first
  // rank's hides nothing and the second's hides behind the backward of chunk 0 on the first, 2: 9 exposed.
  const std::vector<StageTimes> stages{{Seconds(1), Seconds(2), Seconds(1)},
                                       {Seconds(2), Seconds(3), Seconds(9)},
                                       {Seconds(1), Seconds(3), Seconds(3)},
                                       {Seconds(1), Seconds(1), Seconds(2)}};
  CHECK(schedule_formula({ScheduleKind::interleaved, 2}, stages, 4) == Seconds(45 + 9));
}

TEST_CASE("chunks of a single rank wait for nobody") {
  // t = 3 and 5, work per step 1 and 9, which nothing hides.
  const std::vector<StageTimes> stages{{Seconds(1), Seconds(2), Seconds(1)}, {Seconds(2), Seconds(3), Seconds(9)}};
  CHECK(schedule_formula({ScheduleKind::interleaved, 2}, stages, 4) == Seconds(4 * 8 + 10));
  const std::vector<StageDurations> durations{{1, 2, 0, 0, 1, 0}, {2, 3, 0, 0, 9, 0}};
  CHECK(simulate(make_program({ScheduleKind::interleaved, 2}, 1, 4), durations).makespan == 42);
}

namespace {

// f = 1, b = 2, sends of `time` beside computing: an activation but from the last stage, a gradient but from the first.
std::vector<StageTimes> sending_beside(std::size_t count, double time) {
  Plan plan;
  plan.recipe.overlap_sends = OverlapSends::all;
  plan.stages.resize(count);
  for (std::size_t s = 0; s < count; ++s) {
    plan.stages[s].forward = Seconds(1), plan.stages[s].backward = Seconds(2);
    if (s + 1 == count) continue;
    plan.stages[s].boundary.formula_forward = plan.stages[s].boundary.formula_backward = Seconds(time);
  }
  return stage_times(plan);
}

}  // namespace

TEST_CASE("sends beside computing are part of a microbatch's way, and hold up the next where they take longer") {
  // Two stages, one link busy in one direction each: 2·3 + (4 − 1)·max(3, 2) + 2·2, and with sends of 5 s 3·5 and 2·5.
  CHECK(schedule_formula(ScheduleKind::one_f_one_b, sending_beside(2, 2), 4) == Seconds(6 + 3 * 3 + 4));
  CHECK(schedule_formula(ScheduleKind::one_f_one_b, sending_beside(2, 5), 4) == Seconds(6 + 3 * 5 + 10));
  CHECK(schedule_formula(ScheduleKind::gpipe, sending_beside(2, 2), 4) == Seconds(6 + 3 * 3 + 4));
  CHECK(schedule_formula(ScheduleKind::gpipe, sending_beside(2, 5), 4) == Seconds(6 + 3 * 5 + 10));
  // Stages between others send both ways over one link: two ranks of two chunks, (4·2 + 2 − 1)·(4 + 4).
  CHECK(schedule_formula({ScheduleKind::interleaved, 2}, sending_beside(4, 1), 4) == Seconds(9 * 3));
  CHECK(schedule_formula({ScheduleKind::interleaved, 2}, sending_beside(4, 4), 4) == Seconds(9 * 8));
  // A forward passes 4 links besides 4 stages.
  CHECK(schedule_formula(ScheduleKind::inference, sending_beside(4, 2), 4) == Seconds(4 + 3 * 2 + 3 * 2));
}

TEST_CASE("sends over links of different classes do not hold each other up") {
  Plan plan;
  plan.recipe.overlap_sends = OverlapSends::all;
  plan.stages.resize(3);
  for (std::size_t s : {0, 1}) {
    plan.stages[s].boundary.formula_forward = Seconds(3), plan.stages[s].boundary.formula_backward = Seconds(4);
    plan.stages[s].boundary.link = LinkClass::inter_host;
  }
  CHECK(stage_times(plan)[1].link_beside == Seconds(7));
  plan.stages[0].boundary.link = LinkClass::intra_host;
  CHECK(stage_times(plan)[1].link_beside == Seconds(4));
}

TEST_CASE("sends count, at the formula's price, into the stage that sends") {
  Plan plan;
  plan.stages.resize(2);
  plan.stages[0].forward = Seconds(2);
  plan.stages[0].backward = Seconds(3);
  plan.stages[0].synchronization = Seconds(4);
  plan.stages[0].update = Seconds(0.5);
  plan.stages[0].boundary.formula_forward = Seconds(0.25);
  plan.stages[0].boundary.formula_backward = Seconds(0.125);
  plan.stages[1].forward = Seconds(5);
  plan.stages[1].backward = Seconds(6);
  const std::vector<StageTimes> times = stage_times(plan);
  CHECK(times[0].forward == Seconds(2.25));
  CHECK(times[0].backward == Seconds(3));
  CHECK(times[0].per_step == Seconds(4.5));
  CHECK(times[1].forward == Seconds(5));
  CHECK(times[1].backward == Seconds(6.125));
  CHECK(times[1].per_step == Seconds(0));
}

namespace {

// Runs only, microbatches counted from 1 as papers do; "W1" a weight gradient, a prime for the second chunk.
std::string print_runs(const PipelineProgram& program, std::size_t rank) {
  std::string text;
  for (const Instruction& each : program.ranks[rank]) {
    if (!is_run(each.kind)) continue;
    if (!text.empty()) text += ' ';
    const bool input = each.kind == run_backward || each.kind == run_backward_input;
    text += each.kind == run_forward ? 'F' : input ? 'B' : 'W';
    text += std::to_string(each.microbatch + 1) + std::string(each.chunk, '\'');
  }
  return text;
}

}  // namespace

// Qi et al. 2024, figure 3: four devices, eight microbatches.
TEST_CASE("ZB-H1 and ZB-H2 are the published orders") {
  const PipelineProgram h1 = make_program(ScheduleKind::zb_h1, 4, 8);
  CHECK(print_runs(h1, 0) == "F1 F2 F3 F4 B1 W1 F5 B2 W2 F6 B3 W3 F7 B4 W4 F8 B5 W5 B6 W6 B7 W7 B8 W8");
  CHECK(print_runs(h1, 1) == "F1 F2 F3 B1 F4 B2 W1 F5 B3 W2 F6 B4 W3 F7 B5 W4 F8 B6 W5 B7 W6 B8 W7 W8");
  CHECK(print_runs(h1, 3) == "F1 B1 F2 B2 F3 B3 F4 B4 W1 F5 B5 W2 F6 B6 W3 F7 B7 W4 F8 B8 W5 W6 W7 W8");
  const PipelineProgram h2 = make_program(ScheduleKind::zb_h2, 4, 8);
  CHECK(print_runs(h2, 0) == "F1 F2 F3 F4 F5 F6 F7 B1 W1 F8 B2 W2 B3 W3 B4 W4 B5 W5 B6 W6 B7 W7 B8 W8");
  CHECK(print_runs(h2, 1) == "F1 F2 F3 F4 F5 B1 F6 B2 F7 B3 W1 F8 B4 W2 B5 W3 B6 W4 B7 W5 B8 W6 W7 W8");
  CHECK(print_runs(h2, 3) == "F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7 W1 F8 B8 W2 W3 W4 W5 W6 W7 W8");
}

// Narayanan et al. 2021, figure 4: four devices, two chunks, eight microbatches.
TEST_CASE("interleaved 1F1B is Megatron's order") {
  const PipelineProgram program = make_program({ScheduleKind::interleaved, 2}, 4, 8);
  CHECK(print_runs(program, 0) ==
        "F1 F2 F3 F4 F1' F2' F3' F4' F5 F6 F7 B1' F8 B2' F5' B3' F6' B4' F7' B1 F8' B2 B3 B4 B5' B6' B7' B8' B5 B6 B7 "
        "B8");
  CHECK(print_runs(program, 3) ==
        "F1 F2 F3 F4 F1' B1' F2' B2' F3' B3' F4' B4' F5 B1 F6 B2 F7 B3 F8 B4 F5' B5' F6' B6' F7' B7' F8' B8' B5 B6 B7 "
        "B8");
}

TEST_CASE("chunks on one rank hand over without sending") {
  CHECK(print_list(make_program({ScheduleKind::interleaved, 2}, 1, 1).ranks[0]) == "F0 F0' B0' B0 S U");
  // The V turns on the last rank: its two chunks are neighbours.
  const PipelineProgram vee = make_program(ScheduleKind::dualpipe, 2, 4);
  for (const Instruction& each : vee.ranks[1]) {
    if (each.kind == send_activation) CHECK(each.chunk == 1);
    if (each.kind == receive_activation) CHECK(each.chunk == 0);
  }
}

TEST_CASE("a vee's stages are numbered down and back up the ranks") {
  const PipelineShape shape{3, 2, ChunkPlacement::vee};
  std::vector<std::int64_t> ranks;
  for (std::int64_t stage = 0; stage < 6; ++stage) {
    ranks.push_back(shape.rank_of(stage));
    CHECK(shape.stage_of(shape.rank_of(stage), shape.chunk_of(stage)) == stage);
  }
  CHECK(ranks == std::vector<std::int64_t>{0, 1, 2, 2, 1, 0});
  CHECK(!shape.sends_after(2));
  CHECK(shape.sends_after(3));
}

TEST_CASE("schedules refuse numbers of microbatches that they cannot have") {
  CHECK_THROWS_WITH(make_program({ScheduleKind::interleaved, 2}, 4, 6),
                    "schedule interleaved-1f1b: 6 microbatches are no multiple of the 4 pipeline ranks; change the "
                    "microbatch size");
  CHECK_THROWS_WITH(make_program(ScheduleKind::dualpipe, 4, 7),
                    "schedule dualpipe: needs at least two microbatches per pipeline rank, 8, not 7; use smaller "
                    "microbatches");
  CHECK_THROWS_WITH(make_program(ScheduleKind::custom, 1, 1),
                    "schedule custom: has no lists of its own; give them in the plan");
}

TEST_CASE("the generated programs of chunks and split backwards pass the check") {
  for (const Schedule& schedule :
       {Schedule(ScheduleKind::eager_one_f_one_b), Schedule(ScheduleKind::interleaved, 2),
        Schedule(ScheduleKind::interleaved, 5), Schedule(ScheduleKind::zb_h1), Schedule(ScheduleKind::zb_h2),
        Schedule(ScheduleKind::zb_1p), Schedule(ScheduleKind::zb_2p), Schedule(ScheduleKind::dualpipe),
        Schedule(ScheduleKind::inference)})
    for (std::int64_t ranks = 1; ranks <= 8; ++ranks)
      for (std::int64_t microbatches = 1; microbatches <= 24; ++microbatches) {
        if (why_impossible(schedule, ranks, microbatches)) continue;
        CAPTURE(name(schedule), ranks, microbatches);
        REQUIRE_NOTHROW(check_program(make_program(schedule, ranks, microbatches), microbatches));
      }
}

TEST_CASE("a split backward is checked: both parts, once, the input's first, and not beside a whole one") {
  // Rank 0: 0 F0, 1 a0, 2 G0, 3 I0, 4 W0, 5 S, 6 U.
  PipelineProgram program = make_program(ScheduleKind::zb_h1, 2, 1);
  REQUIRE(print_list(program.ranks[0]) == "F0 a0 G0 I0 W0 S U");
  std::string message;
  SECTION("a weight gradient before its input's") {
    std::swap(program.ranks[0][3], program.ranks[0][4]);
    message = "rank 0, instruction 3 (run_backward_weight of microbatch 0) stands before its run_backward_input";
  }
  SECTION("no weight gradient") {
    program.ranks[0].erase(program.ranks[0].begin() + 4);
    message = "rank 0, instruction 4 (synchronize of microbatch 0) stands before run_backward of microbatch 0";
  }
  SECTION("a whole backward after a part: what it reads may have been freed") {
    program.ranks[0].insert(program.ranks[0].begin() + 5, {run_backward, 0});
    message =
        "rank 0, instruction 5 (run_backward of microbatch 0) runs again what run_backward_input has run; keep one";
  }
  SECTION("another chunk than there is") {
    program.ranks[0][0].chunk = 1;
    message = "rank 0, instruction 0 (run_forward of microbatch 0) is outside the rank's 1 chunks";
  }
  CHECK_THROWS_WITH(check_program(program, 1), "pipeline program: " + message);
}

TEST_CASE("of a rank's chunks, what is held is counted when they hold most") {
  // Rank 0 of two, two chunks, two microbatches: F0 F1 F0' F1' B0' B1' B0 B1; all four are held before B0'.
  const PipelineProgram program = make_program({ScheduleKind::interleaved, 2}, 2, 2);
  CHECK(held_at_peak(program, {1, 1, 1, 1}) == std::vector<std::int64_t>{2, 2, 2, 1});
}
