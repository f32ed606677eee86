// Pipeline schedules: what each stage runs, in which order; no times. Planner and simulator meet here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meshloom {

enum class ScheduleKind { gpipe, one_f_one_b };
std::string_view name(ScheduleKind kind);  // "gpipe", "1f1b"
std::optional<ScheduleKind> schedule_named(std::string_view name);

// Microbatches whose activations stage `stage` of `stages` holds at most: GPipe B, 1F1B min(B, S − stage).
std::int64_t in_flight(ScheduleKind kind, std::int64_t stages, std::int64_t stage, std::int64_t microbatches);

enum class InstructionKind : std::uint8_t {
  run_forward,      // needs the received activation of the microbatch (stage 0: none)
  run_backward,     // needs its own forward and the received gradient (last stage: none); frees the microbatch's
                    // activations
  send_activation,  // to the next stage
  receive_activation,
  send_gradient,  // to the stage before
  receive_gradient,
  synchronize,  // once, after the last backward: gradient collectives
  update,       // once, last: the optimizer step
};
std::string_view name(InstructionKind kind);  // "run_forward", …

struct Instruction {
  InstructionKind kind;
  std::int32_t microbatch = 0;  // 0 for synchronize and update
  bool operator==(const Instruction&) const = default;
};

// One list per stage. Every send has its receive; running the lists in order cannot deadlock (tested for all sizes up
// to 12 × 40 and by `check_program` on any list given as data).
using PipelineProgram = std::vector<std::vector<Instruction>>;
PipelineProgram make_program(ScheduleKind kind, std::int64_t stages, std::int64_t microbatches);

// Throws InputError naming stage and instruction: a receive without a send, a run before its inputs, a microbatch that
// is run twice or never, a deadlock.
void check_program(const PipelineProgram& program, std::int64_t microbatches);

// How messages name an instruction: "stage 1, instruction 3 (receive_gradient of microbatch 0)", counted from 0.
std::string print_instruction(const PipelineProgram& program, std::size_t stage, std::size_t position);

}  // namespace meshloom
