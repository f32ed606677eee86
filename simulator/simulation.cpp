#include "simulator/simulation.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <optional>
#include <queue>

#include "graphs/input_error.hpp"
#include "planner/plan/ranks.hpp"

namespace meshloom {
namespace {

using enum InstructionKind;

constexpr const char* place = "pipeline program";

bool is_send(InstructionKind kind) { return kind == send_activation || kind == send_gradient; }

// Ranks become ready at a time, messages arrive at one; the queue hands out both by (time, sequence). A rank's turn
// completes the instruction that it was running, if any, and starts the next ones until one takes time or waits.
class PipelineRun {
 public:
  PipelineRun(const PipelineProgram& program, const std::vector<StageDurations>& durations, Sends sends)
      : program_(program),
        shape_(program.shape),
        sends_(sends),
        trains_(has_backward(program)),
        ranks_(program.ranks.size()) {
    require_valid(durations.size());
    durations_.resize(durations.size());
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) set_durations(rank, durations);
    arrived_.assign(2 * durations.size() * microbatches_, 0);
    result_.busy.assign(ranks_.size(), 0);
    result_.most_in_flight.assign(ranks_.size(), 0);
  }

  Simulation run() {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) push(0, rank);
    while (!events_.empty()) {
      const Event next = events_.top();
      events_.pop();
      now_ = next.time;
      if (next.target < ranks_.size())
        take_turn(next.target);
      else
        end_send(next.target - ranks_.size());
    }
    require_finished();
    sort_equal_starts();
    result_.makespan = now_;
    return std::move(result_);
  }

 private:
  // A rank's turn (its number) or the end of a stream's send (the ranks' count, then 2·rank and 1 for gradients).
  struct Event {
    Picoseconds time;
    std::uint64_t sequence;
    std::size_t target;
    bool operator>(const Event& other) const {
      return time != other.time ? time > other.time : sequence > other.sequence;
    }
  };
  enum class State : std::uint8_t { idle, running, waiting };
  struct RankState {
    std::size_t position = 0;          // in the rank's list
    std::size_t entry = 0;             // of the current instruction in the timeline
    std::size_t awaited = 0;           // message, while waiting
    std::optional<Picoseconds> begin;  // of the first run
    std::int32_t in_flight = 0;
    State state = State::idle;
    std::deque<Instruction> outgoing[2];     // overlapped: activations, gradients; the first is under way
    std::size_t outgoing_entry[2] = {0, 0};  // in the timeline, of those under way
  };
  using Durations = std::array<Picoseconds, instruction_kinds>;

  void set_durations(std::size_t rank, const std::vector<StageDurations>& durations) {
    Picoseconds synchronizing = 0, updating = 0;
    for (std::int64_t chunk = 0; chunk < shape_.chunks; ++chunk) {
      const StageDurations& stage = durations[stage_of(rank, chunk)];
      synchronizing += stage.synchronize;
      updating += stage.update;
    }
    for (std::int64_t chunk = 0; chunk < shape_.chunks; ++chunk) {
      const StageDurations& stage = durations[stage_of(rank, chunk)];
      durations_[stage_of(rank, chunk)] = {stage.forward,
                                           stage.backward,
                                           stage.send_activation,
                                           0,
                                           stage.send_gradient,
                                           0,
                                           synchronizing,
                                           updating,
                                           stage.backward - stage.backward_weight,
                                           stage.backward_weight};
    }
  }

  std::size_t stage_of(std::size_t rank, std::int64_t chunk) const {
    return static_cast<std::size_t>(shape_.stage_of(static_cast<std::int64_t>(rank), chunk));
  }

  void require_valid(std::size_t duration_count) {
    if (shape_.ranks != std::ssize(program_.ranks) || shape_.chunks < 1)
      throw InputError(place, fmt::format("has {} lists for {} ranks of {} chunks", program_.ranks.size(), shape_.ranks,
                                          shape_.chunks));
    if (static_cast<std::int64_t>(duration_count) != shape_.stages())
      throw InputError(place, fmt::format("has {} stages, but durations for {}", shape_.stages(), duration_count));
    std::size_t instructions = 0;
    for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) {
      instructions += program_.ranks[rank].size();
      for (std::size_t position = 0; position < program_.ranks[rank].size(); ++position) {
        const Instruction each = program_.ranks[rank][position];
        if (each.microbatch < 0 || each.chunk >= shape_.chunks || !has_partner(rank, each))
          throw InputError(place, print_instruction(program_, rank, position) + " has no partner");
        microbatches_ = std::max(microbatches_, static_cast<std::size_t>(each.microbatch) + 1);
      }
    }
    result_.timeline.reserve(instructions);
  }

  bool has_partner(std::size_t rank, Instruction each) const {
    const auto stage = static_cast<std::int64_t>(stage_of(rank, each.chunk));
    if (each.kind == receive_activation || each.kind == send_gradient) return shape_.sends_before(stage);
    if (each.kind == send_activation || each.kind == receive_gradient) return shape_.sends_after(stage);
    return true;
  }

  void push(Picoseconds time, std::size_t target) { events_.push({time, sequence_++, target}); }

  std::size_t message(std::size_t receiving_stage, std::int32_t microbatch, bool gradient) const {
    return (receiving_stage * microbatches_ + static_cast<std::size_t>(microbatch)) * 2 + (gradient ? 1 : 0);
  }

  void take_turn(std::size_t rank) {
    RankState& state = ranks_[rank];
    if (state.state != State::idle) complete(rank, state);
    state.state = State::idle;
    while (state.state == State::idle && state.position < program_.ranks[rank].size()) start(rank, state);
    if (state.state == State::idle && state.begin) result_.period = std::max(result_.period, now_ - *state.begin);
  }

  Picoseconds end_of(std::size_t rank, Instruction instruction) const {
    Picoseconds end = 0;
    const Durations& durations = durations_[stage_of(rank, instruction.chunk)];
    if (__builtin_add_overflow(now_, durations[static_cast<std::size_t>(instruction.kind)], &end))
      throw InputError(place, print_instruction(program_, rank, ranks_[rank].position) +
                                  " ends after 9·10^6 seconds, beyond the simulation's clock");
    return end;
  }

  void start(std::size_t rank, RankState& state) {
    const Instruction instruction = program_.ranks[rank][state.position];
    if (sends_ == Sends::overlapped && is_send(instruction.kind)) {
      ++state.position;
      issue_send(rank, state, instruction);
      return;
    }
    state.entry = result_.timeline.size();
    result_.timeline.push_back({static_cast<std::int32_t>(rank), instruction, now_, now_});
    if (is_receive(instruction.kind)) {
      state.awaited =
          message(stage_of(rank, instruction.chunk), instruction.microbatch, instruction.kind == receive_gradient);
      if (arrived_[state.awaited])
        ++state.position;
      else
        state.state = State::waiting;
      return;
    }
    if (!state.begin) state.begin = now_;
    if (instruction.kind == run_forward)
      result_.most_in_flight[rank] = std::max(result_.most_in_flight[rank], ++state.in_flight);
    const Picoseconds end = end_of(rank, instruction);
    result_.busy[rank] += end - now_;
    state.state = State::running;
    push(end, rank);
  }

  void complete(std::size_t rank, RankState& state) {
    const Instruction instruction = program_.ranks[rank][state.position++];
    result_.timeline[state.entry].end = now_;
    if (is_send(instruction.kind)) deliver(rank, instruction);
    const bool frees = instruction.kind == run_backward || instruction.kind == run_backward_weight ||
                       (!trains_ && instruction.kind == run_forward);
    if (frees) --state.in_flight;
  }

  void issue_send(std::size_t rank, RankState& state, Instruction send) {
    const std::size_t stream = send.kind == send_gradient ? 1 : 0;
    state.outgoing[stream].push_back(send);
    if (state.outgoing[stream].size() == 1) start_send(rank, state, stream);
  }

  void start_send(std::size_t rank, RankState& state, std::size_t stream) {
    const Instruction send = state.outgoing[stream].front();
    state.outgoing_entry[stream] = result_.timeline.size();
    const Picoseconds end = end_of(rank, send);
    result_.timeline.push_back({static_cast<std::int32_t>(rank), send, now_, end});
    push(end, ranks_.size() + 2 * rank + stream);
  }

  void end_send(std::size_t target) {
    const std::size_t rank = target / 2, stream = target % 2;
    RankState& state = ranks_[rank];
    deliver(rank, state.outgoing[stream].front());
    state.outgoing[stream].pop_front();
    if (!state.outgoing[stream].empty()) start_send(rank, state, stream);
  }

  void deliver(std::size_t rank, Instruction send) {
    const bool gradient = send.kind == send_gradient;
    const std::size_t stage = stage_of(rank, send.chunk);
    const std::size_t receiving = gradient ? stage - 1 : stage + 1;
    const std::size_t sent = message(receiving, send.microbatch, gradient);
    if (arrived_[sent]) return;
    arrived_[sent] = 1;
    const auto receiver = static_cast<std::size_t>(shape_.rank_of(static_cast<std::int64_t>(receiving)));
    if (ranks_[receiver].state == State::waiting && ranks_[receiver].awaited == sent) push(now_, receiver);
  }

  void require_finished() const {
    std::vector<std::string> waiting;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank)
      if (ranks_[rank].position < program_.ranks[rank].size())
        waiting.push_back(print_instruction(program_, rank, ranks_[rank].position));
    if (!waiting.empty())
      throw InputError(place, fmt::format("deadlock: these wait and nothing runs: {}", fmt::join(waiting, "; ")));
  }

  // Entries are appended when they start, so only those of one moment can be out of order.
  void sort_equal_starts() {
    const auto by_rank = [](const TimelineEntry& a, const TimelineEntry& b) { return a.rank < b.rank; };
    for (auto first = result_.timeline.begin(); first != result_.timeline.end();) {
      const auto last = std::find_if(first, result_.timeline.end(),
                                     [first](const TimelineEntry& entry) { return entry.start != first->start; });
      if (last - first > 1 && !std::is_sorted(first, last, by_rank)) std::stable_sort(first, last, by_rank);
      first = last;
    }
  }

  const PipelineProgram& program_;
  const PipelineShape& shape_;
  Sends sends_;
  bool trains_;
  std::vector<RankState> ranks_;
  std::vector<Durations> durations_;  // by stage
  std::size_t microbatches_ = 0;
  std::vector<std::uint8_t> arrived_;  // by message
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
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

Simulation simulate(const PipelineProgram& program, const std::vector<StageDurations>& durations, Sends sends) {
  return PipelineRun(program, durations, sends).run();
}

std::vector<StageDurations> durations_of(const Plan& plan) {
  std::vector<StageDurations> durations;
  durations.reserve(plan.stages.size());
  Seconds gradient_send;  // of the first stage: nothing
  for (const Stage& stage : plan.stages) {
    const Picoseconds backward = to_picoseconds(stage.backward);
    durations.push_back({to_picoseconds(stage.forward), backward, to_picoseconds(stage.boundary.forward_time),
                         to_picoseconds(gradient_send), to_picoseconds(stage.synchronization),
                         to_picoseconds(stage.update), std::min(backward, to_picoseconds(stage.backward_weight))});
    gradient_send = stage.boundary.backward_time;
  }
  return durations;
}

Simulation simulate(const Plan& plan) {
  if (plan.stages.empty())
    throw InputError("plan", fmt::format("has no stages to simulate; its status is {}", name(plan.status)));
  return simulate(program_of(plan), durations_of(plan), sends_overlap(plan) ? Sends::overlapped : Sends::blocking);
}

Picoseconds step_time(const Plan& plan, const Simulation& simulation) {
  return updates_apart(plan.schedule.kind) ? simulation.period : simulation.makespan;
}

void apply_simulation(Plan& plan, const Simulation& simulation) {
  const Picoseconds step = step_time(plan, simulation);
  plan.iteration_time = Seconds(static_cast<double>(step) * 1e-12);
  double idle = 0;  // device-picoseconds
  for (std::size_t rank = 0; rank < simulation.busy.size(); ++rank)
    idle += static_cast<double>(step - simulation.busy[rank]) * static_cast<double>(plan.stages[rank].devices.size());
  const double available = static_cast<double>(step) * static_cast<double>(plan.devices());
  plan.bubble_fraction = available > 0 ? idle / available : 0;
}

}  // namespace meshloom
