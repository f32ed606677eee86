#include "planner/plan/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace meshloom {
namespace {

// A receive right before the run that needs it, a send right after the run that makes it.
void append_with_transfers(std::vector<Instruction>& list, Instruction run, bool has_previous, bool has_next) {
  const bool forward = run.kind == InstructionKind::run_forward;
  const bool receives = forward ? has_previous : has_next;
  const bool sends = forward ? has_next : has_previous;
  if (receives)
    list.push_back({forward ? InstructionKind::receive_activation : InstructionKind::receive_gradient, run.microbatch});
  list.push_back(run);
  if (sends)
    list.push_back({forward ? InstructionKind::send_activation : InstructionKind::send_gradient, run.microbatch});
}

}  // namespace

std::string_view name(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::gpipe:
      return "gpipe";
    case ScheduleKind::one_f_one_b:
      return "1f1b";
  }
  return "";
}

std::optional<ScheduleKind> schedule_named(std::string_view wanted) {
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b})
    if (name(kind) == wanted) return kind;
  return std::nullopt;
}

std::string_view name(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::run_forward:
      return "run_forward";
    case InstructionKind::run_backward:
      return "run_backward";
    case InstructionKind::send_activation:
      return "send_activation";
    case InstructionKind::receive_activation:
      return "receive_activation";
    case InstructionKind::send_gradient:
      return "send_gradient";
    case InstructionKind::receive_gradient:
      return "receive_gradient";
    case InstructionKind::synchronize:
      return "synchronize";
    case InstructionKind::update:
      return "update";
  }
  return "";
}

std::string print_instruction(const PipelineProgram& program, std::size_t stage, std::size_t position) {
  const Instruction& instruction = program[stage][position];
  return fmt::format("stage {}, instruction {} ({} of microbatch {})", stage, position, name(instruction.kind),
                     instruction.microbatch);
}

std::int64_t in_flight(ScheduleKind kind, std::int64_t stages, std::int64_t stage, std::int64_t microbatches) {
  switch (kind) {
    case ScheduleKind::gpipe:
      return microbatches;
    case ScheduleKind::one_f_one_b:
      return std::min(microbatches, stages - stage);
  }
  return microbatches;
}

// Both schedules are one: run forward until the stage holds all the microbatches it may, then alternate one backward
// and one forward. GPipe may hold all of them.
PipelineProgram make_program(ScheduleKind kind, std::int64_t stages, std::int64_t microbatches) {
  assert(stages >= 1 && microbatches >= 1 && microbatches <= INT32_MAX);
  PipelineProgram program(static_cast<std::size_t>(stages));
  for (std::int64_t stage = 0; stage < stages; ++stage) {
    std::vector<Instruction>& list = program[static_cast<std::size_t>(stage)];
    list.reserve(static_cast<std::size_t>(6 * microbatches + 2));
    const std::int64_t held = in_flight(kind, stages, stage, microbatches);
    const auto append = [&](InstructionKind run, std::int64_t microbatch) {
      append_with_transfers(list, {run, static_cast<std::int32_t>(microbatch)}, stage > 0, stage + 1 < stages);
    };
    for (std::int64_t m = 0; m < held; ++m) append(InstructionKind::run_forward, m);
    for (std::int64_t m = 0; m < microbatches; ++m) {
      append(InstructionKind::run_backward, m);
      if (held + m < microbatches) append(InstructionKind::run_forward, held + m);
    }
    list.push_back({InstructionKind::synchronize});
    list.push_back({InstructionKind::update});
  }
  return program;
}

}  // namespace meshloom
