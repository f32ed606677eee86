#include <fmt/format.h>

#include <algorithm>

#include "planner/plan/plan_json_parts.hpp"

namespace meshloom {
namespace {

constexpr std::array kinds{InstructionKind::run_forward,        InstructionKind::run_backward,
                           InstructionKind::run_backward_input, InstructionKind::run_backward_weight,
                           InstructionKind::send_activation,    InstructionKind::receive_activation,
                           InstructionKind::send_gradient,      InstructionKind::receive_gradient,
                           InstructionKind::synchronize,        InstructionKind::update};
constexpr std::array placements{ChunkPlacement::loop, ChunkPlacement::vee};
// A list beyond this many instructions is a mistake, or would not fit into memory.
constexpr std::int64_t most_instructions = std::int64_t{1} << 26;
constexpr std::size_t longest_run = 4096, most_tried_lengths = 16;

// Instructions of a list that repeat: `count` times `length` of them, `step` further each time.
struct Run {
  std::size_t length = 1, count = 1;
  std::int64_t step = 0;
  std::size_t covered() const { return length * count; }
};

bool follows(Instruction later, Instruction earlier, std::int64_t step) {
  return later.kind == earlier.kind && later.chunk == earlier.chunk && later.microbatch - earlier.microbatch == step;
}

Run repeated(const std::vector<Instruction>& list, std::size_t position, std::size_t length) {
  Run run{length, 1, 0};
  if (position + 2 * length > list.size()) return run;
  run.step = list[position + length].microbatch - list[position].microbatch;
  std::size_t end = position + length;
  while (end < list.size() && follows(list[end], list[end - length], run.step)) ++end;
  run.count = (end - position) / length;
  return run;
}

// The run at `position` that covers most; a shorter one if that covers as much.
Run longest_at(const std::vector<Instruction>& list, std::size_t position) {
  Run best;
  const Instruction first = list[position];
  std::size_t tried = 0;
  for (std::size_t length = 1; length <= longest_run && position + 2 * length <= list.size(); ++length) {
    const Instruction next = list[position + length];
    if (next.kind != first.kind || next.chunk != first.chunk) continue;
    const Run run = repeated(list, position, length);
    if (run.count > 1 && run.covered() > best.covered()) best = run;
    if (++tried == most_tried_lengths || best.covered() > 2 * longest_run) break;
  }
  return best;
}

Json instruction_json(Instruction instruction) {
  Json result = {name(instruction.kind)};
  if (instruction.microbatch != 0 || instruction.chunk != 0) result.push_back(instruction.microbatch);
  if (instruction.chunk != 0) result.push_back(instruction.chunk);
  return result;
}

Json list_json(const std::vector<Instruction>& list) {
  Json result = Json::array();
  std::size_t single_begin = 0;  // of those that repeat nothing and stand together
  const auto add = [&](std::size_t from, const Run& run) {
    if (run.length == 0) return;
    Json instructions = Json::array();
    for (std::size_t k = 0; k < run.length; ++k) instructions.push_back(instruction_json(list[from + k]));
    result.push_back({{"repeat", run.count}, {"step", run.step}, {"instructions", std::move(instructions)}});
  };
  for (std::size_t position = 0; position < list.size();) {
    const Run run = longest_at(list, position);
    if (run.count == 1) {
      ++position;
      continue;
    }
    add(single_begin, {position - single_begin, 1, 0});
    add(position, run);
    position += run.covered();
    single_begin = position;
  }
  add(single_begin, {list.size() - single_begin, 1, 0});
  return result;
}

Instruction read_instruction(const JsonInput& input, std::int64_t chunks, std::int64_t microbatches) {
  std::vector<std::string> names;
  for (const InstructionKind kind : kinds) names.emplace_back(name(kind));
  const std::vector<JsonInput> parts = input.elements();
  if (parts.empty() || parts.size() > 3)
    input.fail("expected [kind, microbatch, chunk]; zeros at the end may be left out");
  Instruction instruction{kinds[parts[0].one_of(names)]};
  if (parts.size() > 1) instruction.microbatch = static_cast<std::int32_t>(parts[1].integer(0, microbatches - 1));
  if (parts.size() > 2) instruction.chunk = static_cast<std::uint16_t>(parts[2].integer(0, chunks - 1));
  return instruction;
}

void read_run(const JsonInput& input, std::int64_t chunks, std::int64_t microbatches, std::int64_t most,
              std::vector<Instruction>& list) {
  input.only_keys({"repeat", "step", "instructions"});
  const std::int64_t repeat = input.at("repeat").integer(1, most_instructions);
  const std::int64_t step = input.at("step").integer(-microbatches, microbatches);
  std::vector<Instruction> instructions;
  for (const JsonInput& each : input.at("instructions").elements()) {
    instructions.push_back(read_instruction(each, chunks, microbatches));
    const std::int64_t last = instructions.back().microbatch + (repeat - 1) * step;
    if (last < 0 || last >= microbatches)
      each.fail(fmt::format("ends at microbatch {} after {} repeats; the step has {}", last, repeat, microbatches));
  }
  if (repeat * std::ssize(instructions) > most - std::ssize(list))
    input.fail(fmt::format("makes the list longer than the {} instructions that a rank can have", most));
  for (std::int64_t k = 0; k < repeat; ++k)
    for (const Instruction& each : instructions) list.push_back({each.kind, each.microbatch + k * step, each.chunk});
}

}  // namespace

Json program_json(const PipelineProgram& program) {
  Json ranks = Json::array();
  for (const std::vector<Instruction>& list : program.ranks) ranks.push_back(list_json(list));
  return {{"placement", name(program.shape.placement)}, {"ranks", std::move(ranks)}};
}

PipelineProgram read_program(const JsonInput& input, std::int64_t chunks, std::int64_t microbatches) {
  input.only_keys({"placement", "ranks"});
  PipelineProgram program;
  program.shape = {0, chunks, read_enumerator(input.at("placement"), placements)};
  const std::vector<JsonInput> ranks = input.at("ranks").elements();
  if (ranks.empty()) input.at("ranks").fail("has no lists");
  // Each chunk runs at most four instructions with each microbatch, and sends and receives two each.
  const std::int64_t most =
      std::min(8 * std::min(chunks * microbatches, most_instructions) + 2, most_instructions / std::ssize(ranks));
  for (const JsonInput& rank : ranks) {
    program.ranks.emplace_back();
    for (const JsonInput& run : rank.elements()) read_run(run, chunks, microbatches, most, program.ranks.back());
  }
  program.shape.ranks = std::ssize(program.ranks);
  return program;
}

}  // namespace meshloom
