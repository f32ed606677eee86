#include "simulator/simulation.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <queue>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

constexpr const char* place = "pipeline program";

bool is_receive(InstructionKind kind) {
  return kind == InstructionKind::receive_activation || kind == InstructionKind::receive_gradient;
}

// Stages become ready at a time; the queue hands them out by (time, sequence). A stage's turn completes the instruction
// that it was running, if any, and starts the next ones until one takes time or waits.
class PipelineRun {
 public:
  PipelineRun(const PipelineProgram& program, const std::vector<StageDurations>& durations)
      : program_(program), stages_(program.size()) {
    require_valid(durations.size());
    for (std::size_t stage = 0; stage < program.size(); ++stage) stages_[stage].durations = by_kind(durations[stage]);
    arrived_.assign(2 * program.size() * microbatches_, 0);
    result_.busy.assign(program.size(), 0);
    result_.most_in_flight.assign(program.size(), 0);
  }

  Simulation run() {
    for (std::size_t stage = 0; stage < stages_.size(); ++stage) make_ready(stage, 0);
    while (!ready_.empty()) {
      const Ready next = ready_.top();
      ready_.pop();
      now_ = next.time;
      take_turn(next.stage);
    }
    require_finished();
    sort_equal_starts();
    result_.makespan = now_;
    return std::move(result_);
  }

 private:
  struct Ready {
    Picoseconds time;
    std::uint64_t sequence;
    std::size_t stage;
    bool operator>(const Ready& other) const {
      return time != other.time ? time > other.time : sequence > other.sequence;
    }
  };
  enum class State : std::uint8_t { idle, running, waiting };
  struct StageState {
    std::array<Picoseconds, 8> durations{};  // by InstructionKind
    std::size_t position = 0;                // in the stage's list
    std::size_t entry = 0;                   // of the current instruction in the timeline
    std::size_t awaited = 0;                 // message, while waiting
    std::int32_t in_flight = 0;
    State state = State::idle;
  };

  static std::array<Picoseconds, 8> by_kind(const StageDurations& durations) {
    return {durations.forward,     durations.backward, durations.send_activation, 0, durations.send_gradient, 0,
            durations.synchronize, durations.update};
  }

  void require_valid(std::size_t duration_count) {
    if (duration_count != program_.size())
      throw InputError(place, fmt::format("has {} stages, but durations for {}", program_.size(), duration_count));
    std::size_t instructions = 0;
    for (std::size_t stage = 0; stage < program_.size(); ++stage) {
      instructions += program_[stage].size();
      for (std::size_t position = 0; position < program_[stage].size(); ++position) {
        const auto [kind, microbatch] = program_[stage][position];
        const bool before = kind == InstructionKind::receive_activation || kind == InstructionKind::send_gradient;
        const bool after = kind == InstructionKind::send_activation || kind == InstructionKind::receive_gradient;
        if (microbatch < 0 || (before && stage == 0) || (after && stage + 1 == program_.size()))
          throw InputError(place, print_instruction(program_, stage, position) + " has no partner");
        microbatches_ = std::max(microbatches_, static_cast<std::size_t>(microbatch) + 1);
      }
    }
    result_.timeline.reserve(instructions);
  }

  void make_ready(std::size_t stage, Picoseconds time) { ready_.push({time, sequence_++, stage}); }

  std::size_t message(std::size_t receiver, std::int32_t microbatch, InstructionKind receive) const {
    const bool gradient = receive == InstructionKind::receive_gradient;
    return (receiver * microbatches_ + static_cast<std::size_t>(microbatch)) * 2 + (gradient ? 1 : 0);
  }

  void take_turn(std::size_t stage) {
    StageState& state = stages_[stage];
    if (state.state != State::idle) complete(stage, state);
    state.state = State::idle;
    while (state.state == State::idle && state.position < program_[stage].size()) start(stage, state);
  }

  void start(std::size_t stage, StageState& state) {
    const Instruction& instruction = program_[stage][state.position];
    state.entry = result_.timeline.size();
    result_.timeline.push_back({static_cast<std::int32_t>(stage), instruction, now_, now_});
    if (is_receive(instruction.kind)) {
      state.awaited = message(stage, instruction.microbatch, instruction.kind);
      if (arrived_[state.awaited])
        ++state.position;
      else
        state.state = State::waiting;
      return;
    }
    if (instruction.kind == InstructionKind::run_forward)
      result_.most_in_flight[stage] = std::max(result_.most_in_flight[stage], ++state.in_flight);
    const Picoseconds duration = state.durations[static_cast<std::size_t>(instruction.kind)];
    Picoseconds end = 0;
    if (__builtin_add_overflow(now_, duration, &end))
      throw InputError(place, print_instruction(program_, stage, state.position) +
                                  " ends after 9·10^6 seconds, beyond the simulation's clock");
    result_.busy[stage] += duration;
    state.state = State::running;
    make_ready(stage, end);
  }

  void complete(std::size_t stage, StageState& state) {
    const Instruction& instruction = program_[stage][state.position++];
    result_.timeline[state.entry].end = now_;
    if (instruction.kind == InstructionKind::send_activation)
      deliver(stage + 1, message(stage + 1, instruction.microbatch, InstructionKind::receive_activation));
    if (instruction.kind == InstructionKind::send_gradient)
      deliver(stage - 1, message(stage - 1, instruction.microbatch, InstructionKind::receive_gradient));
    if (instruction.kind == InstructionKind::run_backward) --state.in_flight;
  }

  void deliver(std::size_t receiver, std::size_t message) {
    if (arrived_[message]) return;
    arrived_[message] = 1;
    if (stages_[receiver].state == State::waiting && stages_[receiver].awaited == message) make_ready(receiver, now_);
  }

  void require_finished() const {
    std::vector<std::string> waiting;
    for (std::size_t stage = 0; stage < stages_.size(); ++stage)
      if (stages_[stage].position < program_[stage].size())
        waiting.push_back(print_instruction(program_, stage, stages_[stage].position));
    if (!waiting.empty())
      throw InputError(place, fmt::format("deadlock: these wait and nothing runs: {}", fmt::join(waiting, "; ")));
  }

  // Entries are appended when they start, so only those of one moment can be out of order.
  void sort_equal_starts() {
    const auto by_stage = [](const TimelineEntry& a, const TimelineEntry& b) { return a.stage < b.stage; };
    for (auto first = result_.timeline.begin(); first != result_.timeline.end();) {
      const auto last = std::find_if(first, result_.timeline.end(),
                                     [first](const TimelineEntry& entry) { return entry.start != first->start; });
      if (last - first > 1 && !std::is_sorted(first, last, by_stage)) std::stable_sort(first, last, by_stage);
      first = last;
    }
  }

  const PipelineProgram& program_;
  std::vector<StageState> stages_;
  std::size_t microbatches_ = 0;
  std::vector<std::uint8_t> arrived_;  // by message
  std::priority_queue<Ready, std::vector<Ready>, std::greater<>> ready_;
  std::uint64_t sequence_ = 0;
  Picoseconds now_ = 0;
  Simulation result_;
};

}  // namespace

Picoseconds to_picoseconds(Seconds time) {
  if (!(time.value() >= 0 && time.value() <= 1e6))
    throw InputError("simulation", fmt::format("a time of {} s is outside 0 … 10^6 s", time.value()));
  return std::llround(time.value() * 1e12);
}

Simulation simulate(const PipelineProgram& program, const std::vector<StageDurations>& durations) {
  return PipelineRun(program, durations).run();
}

std::vector<StageDurations> durations_of(const Plan& plan) {
  std::vector<StageDurations> durations;
  durations.reserve(plan.stages.size());
  Seconds gradient_send;  // of the first stage: nothing
  for (const Stage& stage : plan.stages) {
    durations.push_back({to_picoseconds(stage.forward), to_picoseconds(stage.backward),
                         to_picoseconds(stage.boundary.forward_time), to_picoseconds(gradient_send),
                         to_picoseconds(stage.synchronization), to_picoseconds(stage.update)});
    gradient_send = stage.boundary.backward_time;
  }
  return durations;
}

Simulation simulate(const Plan& plan) {
  if (plan.stages.empty())
    throw InputError("plan", fmt::format("has no stages to simulate; its status is {}", name(plan.status)));
  const auto stages = static_cast<std::int64_t>(plan.stages.size());
  return simulate(make_program(plan.schedule, stages, plan.microbatches), durations_of(plan));
}

void apply_simulation(Plan& plan, const Simulation& simulation) {
  plan.iteration_time = Seconds(static_cast<double>(simulation.makespan) * 1e-12);
  double idle = 0;  // device-picoseconds
  for (std::size_t stage = 0; stage < plan.stages.size(); ++stage)
    idle += static_cast<double>(simulation.makespan - simulation.busy[stage]) *
            static_cast<double>(plan.stages[stage].devices.size());
  const double available = static_cast<double>(simulation.makespan) * static_cast<double>(plan.devices());
  plan.bubble_fraction = available > 0 ? idle / available : 0;
}

}  // namespace meshloom
