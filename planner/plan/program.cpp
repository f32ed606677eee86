#include "planner/plan/program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "graphs/input_error.hpp"
#include "planner/plan/zero_bubble.hpp"

namespace meshloom {
namespace {

using enum InstructionKind;

// One rank's list: a receive right before the run that needs it, a send right after the run that makes it.
class ListWriter {
 public:
  ListWriter(const PipelineShape& shape, std::int64_t rank, std::vector<Instruction>& list)
      : shape_(shape), rank_(rank), list_(list) {}

  void run(InstructionKind kind, std::int64_t microbatch, std::int64_t chunk = 0) {
    const std::int64_t stage = shape_.stage_of(rank_, chunk);
    const bool forward = kind == run_forward;
    const bool transfers = kind != run_backward_weight;
    const bool before = transfers && shape_.sends_before(stage), after = transfers && shape_.sends_after(stage);
    if (forward ? before : after) list_.push_back({forward ? receive_activation : receive_gradient, microbatch, chunk});
    list_.push_back({kind, microbatch, chunk});
    if (forward ? after : before) list_.push_back({forward ? send_activation : send_gradient, microbatch, chunk});
  }
  void finish() {
    list_.push_back({synchronize});
    list_.push_back({update});
  }

 private:
  const PipelineShape& shape_;
  std::int64_t rank_;
  std::vector<Instruction>& list_;
};

// GPipe, 1F1B and eager 1F1B are one: run forward until the rank holds all the microbatches it may, then alternate one
// backward and one forward. GPipe may hold all of them.
void write_alternating(ListWriter& list, std::int64_t held, std::int64_t microbatches) {
  for (std::int64_t m = 0; m < held; ++m) list.run(run_forward, m);
  for (std::int64_t m = 0; m < microbatches; ++m) {
    list.run(run_backward, m);
    if (held + m < microbatches) list.run(run_forward, held + m);
  }
}

// Megatron's order: p microbatches through the first chunk, the same p through the second, …, then the next p.
void write_interleaved(ListWriter& list, const PipelineShape& shape, std::int64_t held, std::int64_t microbatches) {
  const std::int64_t group = shape.ranks * shape.chunks, runs = microbatches * shape.chunks;
  const auto microbatch = [&](std::int64_t k) { return k / group * shape.ranks + k % shape.ranks; };
  const auto chunk = [&](std::int64_t k) { return k % group / shape.ranks; };
  for (std::int64_t k = 0; k < held; ++k) list.run(run_forward, microbatch(k), chunk(k));
  for (std::int64_t k = 0; k < runs; ++k) {
    list.run(run_backward, microbatch(k), shape.chunks - 1 - chunk(k));
    if (held + k < runs) list.run(run_forward, microbatch(held + k), chunk(held + k));
  }
}

// The next microbatch of each chunk and each kind of run; weight gradients are made up in the order of their inputs'.
class VeeCounter {
 public:
  explicit VeeCounter(ListWriter& list) : list_(list) {}
  void forward(std::int64_t chunk) { list_.run(run_forward, forwards_[chunk]++, chunk); }
  void backward(std::int64_t chunk) { list_.run(run_backward, backwards_[chunk]++, chunk); }
  void backward_input(std::int64_t chunk) {
    owed_.push_back({run_backward_weight, backwards_[chunk], chunk});
    list_.run(run_backward_input, backwards_[chunk]++, chunk);
  }
  void weight() {
    const Instruction next = owed_[paid_++];
    list_.run(run_backward_weight, next.microbatch, next.chunk);
  }

 private:
  ListWriter& list_;
  std::int64_t forwards_[2] = {0, 0}, backwards_[2] = {0, 0};
  std::vector<Instruction> owed_;
  std::size_t paid_ = 0;
};

// DeepSeek-V3's DualPipe cut in half (DualPipeV): chunk 0 on the way down, chunk 1 on the way back. DualPipe itself is
// two of these on mirrored ranks, with every chunk stored twice.
void write_dualpipe(ListWriter& writer, std::int64_t ranks, std::int64_t rank, std::int64_t microbatches) {
  VeeCounter list(writer);
  const std::int64_t behind = ranks - rank - 1;
  for (std::int64_t i = 0; i < 2 * behind; ++i) list.forward(0);
  for (std::int64_t i = 0; i <= rank; ++i) list.forward(0), list.forward(1);
  for (std::int64_t i = 0; i < behind; ++i) list.backward_input(1), list.weight(), list.forward(1);
  for (std::int64_t i = 0; i < microbatches - 2 * ranks + rank + 1; ++i)
    list.forward(0), list.backward(1), list.forward(1), list.backward(0);
  for (std::int64_t i = 0; i < behind; ++i) list.backward(1), list.forward(1), list.backward(0);
  // The second half of the last backwards of both chunks leaves its weight gradients for the end.
  const std::int64_t whole = rank + 1;
  for (std::int64_t i = 0; i < 2 * (rank + 1); ++i)
    i < whole ? list.backward(1 - i % 2) : list.backward_input(1 - i % 2);
  for (std::int64_t i = 0; i < behind; ++i) list.weight(), list.backward_input(0);
  for (std::int64_t i = 0; i <= rank; ++i) list.weight();
}

RunOrders zero_bubble_orders(ScheduleKind kind, std::int64_t ranks, std::int64_t microbatches,
                             const std::vector<RunLengths>& lengths) {
  if (kind == ScheduleKind::zb_h1) return handcrafted_orders(ranks, microbatches, 0);
  if (kind == ScheduleKind::zb_h2) return handcrafted_orders(ranks, microbatches, 1);
  const std::vector<RunLengths> equal(static_cast<std::size_t>(ranks));
  return searched_orders(microbatches, kind == ScheduleKind::zb_1p ? ranks : 2 * ranks,
                         lengths.empty() ? equal : lengths);
}

void check_request(const Schedule& schedule, std::int64_t ranks, std::int64_t microbatches) {
  assert(ranks >= 1 && schedule.chunks >= 1 && microbatches >= 1 && microbatches <= INT32_MAX);
  const std::string place = fmt::format("schedule {}", name(schedule));
  if (schedule.kind == ScheduleKind::custom) throw InputError(place, "has no lists of its own; give them in the plan");
  constexpr std::int64_t most_runs = std::int64_t{1} << 26;  // beyond, the lists would not fit into memory
  if (microbatches > most_runs / (ranks * schedule.chunks))
    throw InputError(place, fmt::format("{} microbatches on {} stages are too many to list; use larger microbatches",
                                        microbatches, ranks * schedule.chunks));
  if (const auto reason = why_impossible(schedule, ranks, microbatches)) throw InputError(place, *reason);
}

}  // namespace

std::string_view name(InstructionKind kind) {
  switch (kind) {
    case run_forward:
      return "run_forward";
    case run_backward:
      return "run_backward";
    case send_activation:
      return "send_activation";
    case receive_activation:
      return "receive_activation";
    case send_gradient:
      return "send_gradient";
    case receive_gradient:
      return "receive_gradient";
    case synchronize:
      return "synchronize";
    case update:
      return "update";
    case run_backward_input:
      return "run_backward_input";
    case run_backward_weight:
      return "run_backward_weight";
  }
  return "";
}

bool is_run(InstructionKind kind) {
  return kind == run_forward || kind == run_backward || kind == run_backward_input || kind == run_backward_weight;
}

bool is_receive(InstructionKind kind) { return kind == receive_activation || kind == receive_gradient; }

std::string_view name(ChunkPlacement placement) {
  switch (placement) {
    case ChunkPlacement::loop:
      return "loop";
    case ChunkPlacement::vee:
      return "vee";
  }
  return "";
}

std::optional<std::string> why_impossible(const Schedule& schedule, std::int64_t ranks, std::int64_t microbatches) {
  if (schedule.kind == ScheduleKind::interleaved && microbatches % ranks != 0)
    return fmt::format("{} microbatches are no multiple of the {} pipeline ranks; change the microbatch size",
                       microbatches, ranks);
  if (schedule.kind == ScheduleKind::dualpipe && microbatches < 2 * ranks)
    return fmt::format("needs at least two microbatches per pipeline rank, {}, not {}; use smaller microbatches",
                       2 * ranks, microbatches);
  return std::nullopt;
}

PipelineShape shape_of(const Schedule& schedule, std::int64_t ranks) {
  return {ranks, schedule.chunks, schedule.kind == ScheduleKind::dualpipe ? ChunkPlacement::vee : ChunkPlacement::loop};
}

std::string print_instruction(const PipelineProgram& program, std::size_t rank, std::size_t position) {
  const Instruction& instruction = program.ranks[rank][position];
  const std::string chunk = program.shape.chunks > 1 ? fmt::format(", chunk {}", instruction.chunk) : "";
  return fmt::format("rank {}, instruction {} ({} of microbatch {}{})", rank, position, name(instruction.kind),
                     instruction.microbatch, chunk);
}

bool has_backward(const PipelineProgram& program) {
  for (const std::vector<Instruction>& list : program.ranks)
    for (const Instruction& instruction : list)
      if (is_run(instruction.kind) && instruction.kind != run_forward) return true;
  return false;
}

PipelineProgram make_program(const Schedule& schedule, std::int64_t ranks, std::int64_t microbatches,
                             const std::vector<RunLengths>& lengths) {
  check_request(schedule, ranks, microbatches);
  PipelineProgram program{shape_of(schedule, ranks), {}};
  program.ranks.resize(static_cast<std::size_t>(ranks));
  const RunOrders orders =
      updates_apart(schedule.kind) ? zero_bubble_orders(schedule.kind, ranks, microbatches, lengths) : RunOrders();
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    std::vector<Instruction>& instructions = program.ranks[static_cast<std::size_t>(rank)];
    instructions.reserve(
        static_cast<std::size_t>((splits_backward(schedule.kind) ? 7 : 6) * microbatches * schedule.chunks + 2));
    ListWriter list(program.shape, rank, instructions);
    const std::int64_t held = in_flight(schedule, ranks, rank, microbatches);
    switch (schedule.kind) {
      case ScheduleKind::gpipe:
      case ScheduleKind::one_f_one_b:
      case ScheduleKind::eager_one_f_one_b:
        write_alternating(list, held, microbatches);
        break;
      case ScheduleKind::interleaved:
        write_interleaved(list, program.shape, held, microbatches);
        break;
      case ScheduleKind::zb_h1:
      case ScheduleKind::zb_h2:
      case ScheduleKind::zb_1p:
      case ScheduleKind::zb_2p:
        for (const Instruction& run : orders[static_cast<std::size_t>(rank)]) list.run(run.kind, run.microbatch);
        break;
      case ScheduleKind::dualpipe:
        write_dualpipe(list, ranks, rank, microbatches);
        break;
      case ScheduleKind::inference:
        for (std::int64_t m = 0; m < microbatches; ++m) list.run(run_forward, m);
        continue;  // no gradients, no update
      case ScheduleKind::custom:
        break;
    }
    list.finish();
  }
  return program;
}

std::vector<std::int64_t> held_at_peak(const PipelineProgram& program, const std::vector<double>& weights) {
  const PipelineShape& shape = program.shape;
  std::vector<std::int64_t> result(static_cast<std::size_t>(shape.stages()), 0);
  const bool forwards_only = !has_backward(program);
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank) {
    std::vector<std::int64_t> held(static_cast<std::size_t>(shape.chunks), 0), most = held;
    double weight = 0, heaviest = 0;
    std::int64_t count = 0, most_count = 0;
    for (const Instruction& instruction : program.ranks[static_cast<std::size_t>(rank)]) {
      const double each = weights[static_cast<std::size_t>(shape.stage_of(rank, instruction.chunk))];
      if (instruction.kind == run_forward) {
        ++held[instruction.chunk];
        weight += each;
        ++count;
        if (weight > heaviest || (weight == heaviest && count > most_count))
          heaviest = weight, most_count = count, most = held;
      }
      const bool frees = instruction.kind == run_backward || instruction.kind == run_backward_weight ||
                         (forwards_only && instruction.kind == run_forward);
      if (!frees) continue;
      --held[instruction.chunk];
      weight -= each;
      --count;
    }
    for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk)
      result[static_cast<std::size_t>(shape.stage_of(rank, chunk))] = most[static_cast<std::size_t>(chunk)];
  }
  return result;
}

}  // namespace meshloom
