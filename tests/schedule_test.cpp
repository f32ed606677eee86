#include "planner/plan/program.hpp"

#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"
#include "planner/plan/plan.hpp"

using namespace meshloom;
using enum InstructionKind;

namespace {

// "F0" run_forward of microbatch 0, "a0"/"A0" send/receive its activation, "g0"/"G0" its gradient, "I0" and "W0" the parts
// of a split backward; "S" and "U" at the end. A prime for each chunk after the first.
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

TEST_CASE("sends count into the stage that sends") {
  Plan plan;
  plan.stages.resize(2);
  plan.stages[0].forward = Seconds(2);
  plan.stages[0].backward = Seconds(3);
  plan.stages[0].synchronization = Seconds(4);
  plan.stages[0].update = Seconds(0.5);
  plan.stages[0].boundary.forward_time = Seconds(0.25);
  plan.stages[0].boundary.backward_time = Seconds(0.125);
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
