#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "graphs/input_error.hpp"
#include "planner/plan/schedule.hpp"

namespace meshloom {
namespace {

constexpr std::size_t kinds = 8;
constexpr const char* place = "pipeline program";

bool is_per_step(InstructionKind kind) {
  return kind == InstructionKind::synchronize || kind == InstructionKind::update;
}

// Which instructions of each (stage, microbatch) have been met; synchronize and update count as microbatch 0's.
class Seen {
 public:
  Seen(std::size_t stages, std::int64_t microbatches)
      : microbatches_(static_cast<std::size_t>(microbatches)), seen_(stages * microbatches_) {}
  bool test(std::size_t stage, InstructionKind kind, std::int32_t microbatch) const {
    return seen_[stage * microbatches_ + static_cast<std::size_t>(microbatch)][static_cast<std::size_t>(kind)];
  }
  void set(std::size_t stage, Instruction instruction) {
    seen_[stage * microbatches_ + static_cast<std::size_t>(instruction.microbatch)]
         [static_cast<std::size_t>(instruction.kind)] = true;
  }

 private:
  std::size_t microbatches_;
  std::vector<std::array<bool, kinds>> seen_;
};

class ProgramCheck {
 public:
  ProgramCheck(const PipelineProgram& program, std::int64_t microbatches)
      : program_(program), microbatches_(microbatches), seen_(program.size(), microbatches) {}

  void run() {
    for (std::size_t stage = 0; stage < program_.size(); ++stage) check_stage(stage);
    for (std::size_t stage = 0; stage < program_.size(); ++stage) check_partners(stage);
    check_progress();
  }

 private:
  [[noreturn]] void fail(std::size_t stage, std::size_t position, const std::string& message) const {
    throw InputError(place, print_instruction(program_, stage, position) + " " + message);
  }

  void check_stage(std::size_t stage) {
    for (std::size_t position = 0; position < program_[stage].size(); ++position) {
      const Instruction& instruction = program_[stage][position];
      if (instruction.microbatch < 0 || instruction.microbatch >= microbatches_)
        fail(stage, position, fmt::format("is outside the {} microbatches of the step", microbatches_));
      if (is_per_step(instruction.kind) && instruction.microbatch != 0)
        fail(stage, position, "runs once per step; give it microbatch 0");
      if (seen_.test(stage, instruction.kind, instruction.microbatch))
        fail(stage, position, "stands twice in the stage's list; keep one");
      check_order(stage, position);
      seen_.set(stage, instruction);
    }
    for (std::int32_t m = 0; m < microbatches_; ++m)
      for (const InstructionKind kind : {InstructionKind::run_forward, InstructionKind::run_backward})
        if (!seen_.test(stage, kind, m))
          throw InputError(place, fmt::format("stage {} never does {} of microbatch {}", stage, name(kind), m));
    for (const InstructionKind kind : {InstructionKind::synchronize, InstructionKind::update})
      if (!seen_.test(stage, kind, 0)) throw InputError(place, fmt::format("stage {} lacks {}", stage, name(kind)));
  }

  void require(std::size_t stage, std::size_t position, InstructionKind earlier) const {
    if (!seen_.test(stage, earlier, program_[stage][position].microbatch))
      fail(stage, position, fmt::format("stands before its {}", name(earlier)));
  }
  void require_neighbour(std::size_t stage, std::size_t position, bool exists) const {
    if (!exists) fail(stage, position, stage == 0 ? "has no stage before it" : "has no stage after it");
  }

  // What of its own stage must have happened before.
  void check_order(std::size_t stage, std::size_t position) const {
    const bool has_previous = stage > 0;
    const bool has_next = stage + 1 < program_.size();
    switch (program_[stage][position].kind) {
      case InstructionKind::run_forward:
        if (has_previous) require(stage, position, InstructionKind::receive_activation);
        break;
      case InstructionKind::run_backward:
        require(stage, position, InstructionKind::run_forward);
        if (has_next) require(stage, position, InstructionKind::receive_gradient);
        break;
      case InstructionKind::send_activation:
        require_neighbour(stage, position, has_next);
        require(stage, position, InstructionKind::run_forward);
        break;
      case InstructionKind::receive_activation:
        require_neighbour(stage, position, has_previous);
        break;
      case InstructionKind::send_gradient:
        require_neighbour(stage, position, has_previous);
        require(stage, position, InstructionKind::run_backward);
        break;
      case InstructionKind::receive_gradient:
        require_neighbour(stage, position, has_next);
        break;
      case InstructionKind::synchronize:
        for (std::int32_t m = 0; m < microbatches_; ++m)
          if (!seen_.test(stage, InstructionKind::run_backward, m))
            fail(stage, position, fmt::format("stands before run_backward of microbatch {}", m));
        break;
      case InstructionKind::update:
        require(stage, position, InstructionKind::synchronize);
        if (position + 1 != program_[stage].size()) fail(stage, position, "must be the stage's last instruction");
        break;
    }
  }

  // A send without its receive has already been met: as a run without its input.
  void check_partners(std::size_t stage) const {
    for (std::size_t position = 0; position < program_[stage].size(); ++position) {
      const Instruction& instruction = program_[stage][position];
      const auto expect = [&](std::size_t sender, InstructionKind send) {
        if (!seen_.test(sender, send, instruction.microbatch))
          fail(stage, position, fmt::format("has no {} in stage {}", name(send), sender));
      };
      if (instruction.kind == InstructionKind::receive_activation) expect(stage - 1, InstructionKind::send_activation);
      if (instruction.kind == InstructionKind::receive_gradient) expect(stage + 1, InstructionKind::send_gradient);
    }
  }

  // Runs the lists without times: sends never wait, a receive waits for its send.
  void check_progress() const {
    Seen done(program_.size(), microbatches_);
    std::vector<std::size_t> positions(program_.size(), 0);
    const auto may_run = [&](std::size_t stage, Instruction instruction) {
      if (instruction.kind == InstructionKind::receive_activation)
        return done.test(stage - 1, InstructionKind::send_activation, instruction.microbatch);
      if (instruction.kind == InstructionKind::receive_gradient)
        return done.test(stage + 1, InstructionKind::send_gradient, instruction.microbatch);
      return true;
    };
    for (bool progress = true; progress;) {
      progress = false;
      for (std::size_t stage = 0; stage < program_.size(); ++stage)
        for (; positions[stage] < program_[stage].size(); ++positions[stage], progress = true) {
          const Instruction& instruction = program_[stage][positions[stage]];
          if (!may_run(stage, instruction)) break;
          done.set(stage, instruction);
        }
    }
    std::vector<std::string> waiting;
    for (std::size_t stage = 0; stage < program_.size(); ++stage)
      if (positions[stage] < program_[stage].size())
        waiting.push_back(print_instruction(program_, stage, positions[stage]));
    if (!waiting.empty())
      throw InputError(place, fmt::format("deadlock: these wait for each other: {}", fmt::join(waiting, "; ")));
  }

  const PipelineProgram& program_;
  std::int64_t microbatches_;
  Seen seen_;
};

}  // namespace

void check_program(const PipelineProgram& program, std::int64_t microbatches) {
  if (program.empty()) throw InputError(place, "has no stages");
  if (microbatches < 1) throw InputError(place, fmt::format("needs at least one microbatch, not {}", microbatches));
  ProgramCheck(program, microbatches).run();
}

}  // namespace meshloom
