// Pipeline programs: what each rank of a pipeline runs, in which order; no times. Planner and simulator meet here.
//
// A model of p·v stages lies on p ranks, v chunks on each. Every microbatch runs forward through all stages and
// backward through all of them. What a run makes goes to the neighbouring stage: by a send and its receive when that
// stands on another rank, at once when it stands on the same.
//
// What frees what: the saved activations of a microbatch in a chunk are held from the start of its run_forward to the
// end of its run_backward or, when the backward is split, of its run_backward_weight. A program without backwards
// (inference) saves nothing: a forward's activations go with its end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/plan/schedule.hpp"

namespace meshloom {

enum class InstructionKind : std::uint8_t {
  run_forward,      // needs the activation of the stage before (stage 0: none)
  run_backward,     // needs its own forward and the gradient of the stage after (last stage: none)
  send_activation,  // to the stage after
  receive_activation,
  send_gradient,  // to the stage before
  receive_gradient,
  synchronize,          // once per rank, after its last backward: gradient collectives
  update,               // once per rank, last: the optimizer step
  run_backward_input,   // the part of the backward that the stage before waits for; needs what run_backward needs
  run_backward_weight,  // the rest; needs run_backward_input
};
inline constexpr std::size_t instruction_kinds = 10;
std::string_view name(InstructionKind kind);  // "run_forward", …
bool is_run(InstructionKind kind);
bool is_receive(InstructionKind kind);

struct Instruction {
  std::int32_t microbatch = 0;  // 0 for synchronize and update
  std::uint16_t chunk = 0;      // of the rank; 0 for synchronize and update
  InstructionKind kind = InstructionKind::run_forward;
  Instruction() = default;
  Instruction(InstructionKind kind, std::int64_t microbatch = 0, std::int64_t chunk = 0)
      : microbatch(static_cast<std::int32_t>(microbatch)), chunk(static_cast<std::uint16_t>(chunk)), kind(kind) {}
  bool operator==(const Instruction&) const = default;
};
static_assert(sizeof(Instruction) == 8);

// Where the chunks stand. loop: chunk c of rank r is stage c·p + r, so that a microbatch goes round the ranks v times.
// vee: every second chunk runs through the ranks backwards, so that a microbatch turns at the ends.
enum class ChunkPlacement : std::uint8_t { loop, vee };
std::string_view name(ChunkPlacement placement);

struct PipelineShape {
  std::int64_t ranks = 1, chunks = 1;
  ChunkPlacement placement = ChunkPlacement::loop;
  std::int64_t stages() const { return ranks * chunks; }
  std::int64_t chunk_of(std::int64_t stage) const { return stage / ranks; }
  std::int64_t rank_of(std::int64_t stage) const { return mirrored(stage / ranks, stage % ranks); }
  std::int64_t stage_of(std::int64_t rank, std::int64_t chunk) const { return chunk * ranks + mirrored(chunk, rank); }
  // Whether what passes between `stage` and the one after it has to be sent. No stage stands after the last.
  bool sends_after(std::int64_t stage) const { return stage + 1 < stages() && rank_of(stage) != rank_of(stage + 1); }
  bool sends_before(std::int64_t stage) const { return stage > 0 && sends_after(stage - 1); }
  bool operator==(const PipelineShape&) const = default;

 private:
  std::int64_t mirrored(std::int64_t chunk, std::int64_t rank) const {
    return placement == ChunkPlacement::vee && chunk % 2 == 1 ? ranks - 1 - rank : rank;
  }
};
PipelineShape shape_of(const Schedule& schedule, std::int64_t ranks);

// Every send has its receive; running the lists in order cannot deadlock (tested for many sizes, and by `check_program`
// on any list given as data).
struct PipelineProgram {
  PipelineShape shape;
  std::vector<std::vector<Instruction>> ranks;
  bool operator==(const PipelineProgram&) const = default;
};

// What the runs of a stage take, in any common unit: zb_1p and zb_2p are found for these.
struct RunLengths {
  std::int64_t forward = 1, backward_input = 1, backward_weight = 1;
  std::int64_t send_activation = 0, send_gradient = 0;  // to the stage after, to the stage before
};

// Why the schedule cannot have so many microbatches, if it cannot: interleaved takes a multiple of the ranks, dualpipe
// at least two per rank.
std::optional<std::string> why_impossible(const Schedule& schedule, std::int64_t ranks, std::int64_t microbatches);

// `lengths` by stage; none: all equal. Throws InputError when it is impossible or when the schedule is custom.
PipelineProgram make_program(const Schedule& schedule, std::int64_t ranks, std::int64_t microbatches,
                             const std::vector<RunLengths>& lengths = {});

// Throws InputError naming rank and instruction: a receive without a send, a run before its inputs or after what it
// reads was freed, a microbatch that is run twice or never, a deadlock.
void check_program(const PipelineProgram& program, std::int64_t microbatches);

// By stage: forwards whose activations are held when the stage's rank holds most, each weighing `weights[stage]`; of
// equal moments the first.
std::vector<std::int64_t> held_at_peak(const PipelineProgram& program, const std::vector<double>& weights);

bool has_backward(const PipelineProgram& program);

// How messages name an instruction, counted from 0: "rank 1, instruction 3 (receive_gradient of microbatch 0)", with
// the chunk where ranks have several.
std::string print_instruction(const PipelineProgram& program, std::size_t rank, std::size_t position);

}  // namespace meshloom
