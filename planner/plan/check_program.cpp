#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "graphs/input_error.hpp"
#include "planner/plan/program.hpp"

namespace meshloom {
namespace {

using enum InstructionKind;

constexpr const char* place = "pipeline program";

bool is_per_step(InstructionKind kind) { return kind == synchronize || kind == update; }

// Which instructions of each (stage, microbatch) have been met.
class Seen {
 public:
  Seen(std::int64_t stages, std::int64_t microbatches)
      : microbatches_(microbatches), seen_(static_cast<std::size_t>(stages * microbatches)) {}
  bool test(std::int64_t stage, InstructionKind kind, std::int64_t microbatch) const {
    return (seen_[at(stage, microbatch)] >> static_cast<unsigned>(kind) & 1U) != 0;
  }
  void set(std::int64_t stage, Instruction instruction) {
    seen_[at(stage, instruction.microbatch)] |=
        static_cast<std::uint16_t>(1U << static_cast<unsigned>(instruction.kind));
  }

 private:
  std::size_t at(std::int64_t stage, std::int64_t microbatch) const {
    return static_cast<std::size_t>(stage * microbatches_ + microbatch);
  }
  std::int64_t microbatches_;
  std::vector<std::uint16_t> seen_;  // a bit per InstructionKind
};

class ProgramCheck {
 public:
  ProgramCheck(const PipelineProgram& program, std::int64_t microbatches)
      : program_(program),
        shape_(program.shape),
        microbatches_(microbatches),
        trains_(has_backward(program)),
        seen_(shape_.stages(), microbatches) {}

  void run() {
    for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) check_rank(rank);
    for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) check_partners(rank);
    check_progress();
  }

 private:
  // An instruction with its place.
  struct Placed {
    std::size_t rank, position;
    Instruction instruction;
    std::int64_t stage;
  };
  Placed placed(std::size_t rank, std::size_t position) const {
    const Instruction instruction = program_.ranks[rank][position];
    return {rank, position, instruction, shape_.stage_of(static_cast<std::int64_t>(rank), instruction.chunk)};
  }
  [[noreturn]] void fail(const Placed& at, const std::string& message) const {
    throw InputError(place, print_instruction(program_, at.rank, at.position) + " " + message);
  }

  void check_rank(std::size_t rank) {
    bool synchronized = false;
    for (std::size_t position = 0; position < program_.ranks[rank].size(); ++position) {
      const Placed at = placed(rank, position);
      check_range(at);
      if (is_per_step(at.instruction.kind)) {
        check_per_step(at, synchronized);
        synchronized = true;
        continue;
      }
      if (seen_.test(at.stage, at.instruction.kind, at.instruction.microbatch))
        fail(at, "stands twice in the rank's list; keep one");
      check_order(at);
      seen_.set(at.stage, at.instruction);
    }
    check_complete(rank);
  }

  void check_range(const Placed& at) const {
    if (at.instruction.microbatch < 0 || at.instruction.microbatch >= microbatches_)
      fail(at, fmt::format("is outside the {} microbatches of the step", microbatches_));
    if (at.instruction.chunk >= shape_.chunks) fail(at, fmt::format("is outside the rank's {} chunks", shape_.chunks));
    if (static_cast<std::size_t>(at.instruction.kind) >= instruction_kinds) fail(at, "is no instruction");
    if (is_per_step(at.instruction.kind) && (at.instruction.microbatch != 0 || at.instruction.chunk != 0))
      fail(at, "runs once per step; give it microbatch 0 and chunk 0");
    if (!trains_ && is_per_step(at.instruction.kind)) fail(at, "has nothing to do in a program that runs no backward");
  }

  // A rank's list ends with synchronize and update, in this order: what others wait for comes before, because in
  // synchronize the rank may wait for others.
  void check_per_step(const Placed& at, bool synchronized) const {
    const std::size_t size = program_.ranks[at.rank].size();
    if (at.instruction.kind == update) {
      if (!synchronized) fail(at, "stands before its synchronize");
      if (at.position + 1 != size) fail(at, "must be the rank's last instruction");
      return;
    }
    if (synchronized) fail(at, "stands twice in the rank's list; keep one");
    for (std::int64_t chunk = 0; chunk < shape_.chunks; ++chunk)
      for (std::int64_t m = 0; m < microbatches_; ++m)
        if (!is_backward_done(shape_.stage_of(static_cast<std::int64_t>(at.rank), chunk), m))
          fail(at, fmt::format("stands before run_backward of microbatch {}", m) + of_chunk(chunk));
    if (at.position + 1 < size && !is_per_step(program_.ranks[at.rank][at.position + 1].kind))
      fail(at, "must come right before the update that ends the rank's list");
  }

  bool is_backward_done(std::int64_t stage, std::int64_t m) const {
    return seen_.test(stage, run_backward, m) || seen_.test(stage, run_backward_weight, m);
  }
  std::string of_chunk(std::int64_t chunk) const { return shape_.chunks > 1 ? fmt::format(", chunk {}", chunk) : ""; }

  void check_complete(std::size_t rank) const {
    const auto lacks = [&](std::string_view what, std::int64_t m, std::int64_t chunk) {
      throw InputError(place, fmt::format("rank {} never does {} of microbatch {}{}", rank, what, m, of_chunk(chunk)));
    };
    for (std::int64_t chunk = 0; chunk < shape_.chunks; ++chunk)
      for (std::int64_t m = 0; m < microbatches_; ++m) {
        const std::int64_t stage = shape_.stage_of(static_cast<std::int64_t>(rank), chunk);
        if (!seen_.test(stage, run_forward, m)) lacks("run_forward", m, chunk);
        if (trains_ && !is_backward_done(stage, m))
          lacks(seen_.test(stage, run_backward_input, m) ? "run_backward_weight" : "run_backward", m, chunk);
      }
    const std::vector<Instruction>& list = program_.ranks[rank];
    if (trains_ && std::none_of(list.begin(), list.end(), [](const auto& each) { return each.kind == synchronize; }))
      throw InputError(place, fmt::format("rank {} lacks synchronize", rank));
    if (trains_ && list.back().kind != update) throw InputError(place, fmt::format("rank {} lacks update", rank));
  }

  void require(const Placed& at, InstructionKind earlier) const { require(at, earlier, at.stage); }
  void require(const Placed& at, InstructionKind earlier, std::int64_t stage) const {
    if (seen_.test(stage, earlier, at.instruction.microbatch)) return;
    if (stage == at.stage) fail(at, fmt::format("stands before its {}", name(earlier)));
    fail(at, fmt::format("stands before {} of chunk {}", name(earlier), shape_.chunk_of(stage)));
  }
  void require_gradient_made(const Placed& at, std::int64_t stage) const {
    if (!seen_.test(stage, run_backward_input, at.instruction.microbatch)) require(at, run_backward, stage);
  }
  void require_neighbour(const Placed& at, bool exists) const {
    if (!exists)
      fail(at, shape_.chunks > 1 || shape_.ranks == 1 ? "has no partner on another rank"
               : at.rank == 0                         ? "has no rank before it"
                                                      : "has no rank after it");
  }

  // What of its own rank must have happened before.
  void check_order(const Placed& at) const {
    const bool receives = shape_.sends_before(at.stage), sends = shape_.sends_after(at.stage);
    switch (at.instruction.kind) {
      case run_forward:
        if (receives)
          require(at, receive_activation);
        else if (at.stage > 0)
          require(at, run_forward, at.stage - 1);
        break;
      case run_backward:
      case run_backward_input:
        check_backward(at, sends);
        break;
      case run_backward_weight:
        require(at, run_backward_input);
        break;
      case send_activation:
        require_neighbour(at, sends);
        require(at, run_forward);
        break;
      case receive_activation:
        require_neighbour(at, receives);
        break;
      case send_gradient:
        require_neighbour(at, receives);
        require_gradient_made(at, at.stage);
        break;
      case receive_gradient:
        require_neighbour(at, sends);
        break;
      case synchronize:
      case update:
        break;
    }
  }

  void check_backward(const Placed& at, bool sends) const {
    const InstructionKind other = at.instruction.kind == run_backward ? run_backward_input : run_backward;
    if (seen_.test(at.stage, other, at.instruction.microbatch))
      fail(at, fmt::format("runs again what {} has run; keep one", name(other)));
    require(at, run_forward);
    if (sends)
      require(at, receive_gradient);
    else if (at.stage + 1 < shape_.stages())
      require_gradient_made(at, at.stage + 1);
  }

  // A send without its receive has already been met: as a run without its input.
  void check_partners(std::size_t rank) const {
    for (std::size_t position = 0; position < program_.ranks[rank].size(); ++position) {
      const Placed at = placed(rank, position);
      const auto expect = [&](std::int64_t sender, InstructionKind send) {
        if (!seen_.test(sender, send, at.instruction.microbatch))
          fail(at, fmt::format("has no {} in rank {}", name(send), shape_.rank_of(sender)) +
                       of_chunk(shape_.chunk_of(sender)));
      };
      if (at.instruction.kind == receive_activation) expect(at.stage - 1, send_activation);
      if (at.instruction.kind == receive_gradient) expect(at.stage + 1, send_gradient);
    }
  }

  // Runs the lists without times: sends never wait, a receive waits for its send.
  void check_progress() const {
    Seen done(shape_.stages(), microbatches_);
    std::vector<std::size_t> positions(program_.ranks.size(), 0);
    const auto may_run = [&](const Placed& at) {
      if (at.instruction.kind == receive_activation)
        return done.test(at.stage - 1, send_activation, at.instruction.microbatch);
      if (at.instruction.kind == receive_gradient)
        return done.test(at.stage + 1, send_gradient, at.instruction.microbatch);
      return true;
    };
    for (bool progress = true; progress;) {
      progress = false;
      for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank)
        for (; positions[rank] < program_.ranks[rank].size(); ++positions[rank], progress = true) {
          const Placed at = placed(rank, positions[rank]);
          if (!may_run(at)) break;
          done.set(at.stage, at.instruction);
        }
    }
    std::vector<std::string> waiting;
    for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank)
      if (positions[rank] < program_.ranks[rank].size())
        waiting.push_back(print_instruction(program_, rank, positions[rank]));
    if (!waiting.empty())
      throw InputError(place, fmt::format("deadlock: these wait for each other: {}", fmt::join(waiting, "; ")));
  }

  const PipelineProgram& program_;
  const PipelineShape& shape_;
  std::int64_t microbatches_;
  bool trains_;
  Seen seen_;
};

}  // namespace

void check_program(const PipelineProgram& program, std::int64_t microbatches) {
  if (program.ranks.empty()) throw InputError(place, "has no ranks");
  if (program.shape.chunks < 1)
    throw InputError(place, fmt::format("needs at least one chunk per rank, not {}", program.shape.chunks));
  if (program.shape.ranks != std::ssize(program.ranks))
    throw InputError(place, fmt::format("has {} lists for {} ranks", program.ranks.size(), program.shape.ranks));
  if (microbatches < 1) throw InputError(place, fmt::format("needs at least one microbatch, not {}", microbatches));
  // Every stage at least runs each microbatch forward; what is shorter need not be laid out in memory to be refused.
  std::size_t instructions = 0;
  for (const std::vector<Instruction>& list : program.ranks) instructions += list.size();
  if (instructions / static_cast<std::size_t>(program.shape.stages()) < static_cast<std::size_t>(microbatches))
    throw InputError(place, fmt::format("has {} instructions, too few for {} microbatches on {} stages", instructions,
                                        microbatches, program.shape.stages()));
  ProgramCheck(program, microbatches).run();
}

}  // namespace meshloom
