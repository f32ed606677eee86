#include "simulator/simulation.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <optional>
#include <queue>
#include <utility>

#include "graphs/input_error.hpp"
#include "simulator/deviate.hpp"

namespace meshloom {
namespace {

using enum InstructionKind;

constexpr const char* place = "pipeline program";

// What a rank does beside its runs, each in order: sends of activations, of gradients, and synchronizing.
constexpr std::size_t streams = 3, synchronizing_stream = 2;

bool is_send(InstructionKind kind) { return kind == send_activation || kind == send_gradient; }

// Ranks become ready at a time, messages arrive at one; the queue hands out both by (time, sequence). A rank's turn
// completes the instruction that it was running, if any, and starts the next ones until one takes time or waits.
class PipelineRun {
 public:
  PipelineRun(const PipelineProgram& program, const std::vector<StageDurations>& durations,
              const Conditions& conditions)
      : program_(program),
        shape_(program.shape),
        conditions_(conditions),
        trains_(has_backward(program)),
        ranks_(program.ranks.size()),
        links_(conditions.links, streams * program.ranks.size()) {
    require_valid(durations.size());
    durations_.resize(durations.size());
    overlapped_.resize(durations.size());
    shared_.assign(ranks_.size(), 0);
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) set_durations(rank, durations);
    if (std::none_of(overlapped_.begin(), overlapped_.end(), [](const Overlapped& each) { return each.time > 0; }))
      overlapped_.clear();
    set_sharing();
    arrived_.assign(2 * durations.size() * microbatches_, 0);
    result_.busy.assign(ranks_.size(), 0);
    result_.most_in_flight.assign(ranks_.size(), 0);
  }

  Simulation run() {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) push(0, rank);
    while (!events_.empty()) {
      const Event next = events_.top();
      events_.pop();
      if (out_of_date(next)) continue;
      now_ = next.time;
      if (next.target < ranks_.size())
        take_turn(next.target);
      else if (next.target < (1 + streams) * ranks_.size())
        end_of_stream((next.target - ranks_.size()) / streams, (next.target - ranks_.size()) % streams);
      else
        leave_links(next.target - (1 + streams) * ranks_.size());
    }
    require_finished();
    sort_equal_starts();
    result_.makespan = now_;
    return std::move(result_);
  }

 private:
  // A rank's turn (its number), the end of what a stream does (the ranks' count, then streams·rank and the stream), or
  // a transfer that leaves its links (streams times the count more, then as before).
  struct Event {
    Picoseconds time;
    std::uint64_t sequence;
    std::size_t target;
    bool operator>(const Event& other) const {
      return time != other.time ? time > other.time : sequence > other.sequence;
    }
  };
  enum class State : std::uint8_t { idle, running, waiting };
  // Of gradients, to be reduced beside the backward that makes them.
  struct Bucket {
    Picoseconds ready = 0, work = 0;
  };
  struct RankState {
    std::size_t position = 0;          // in the rank's list
    std::size_t entry = 0;             // of the current instruction in the timeline
    std::size_t awaited = 0;           // message, while waiting
    std::optional<Picoseconds> begin;  // of the first run
    std::int32_t in_flight = 0;
    State state = State::idle;
    std::deque<Instruction> outgoing[2];     // overlapped: activations, gradients; the first is under way
    std::size_t outgoing_entry[2] = {0, 0};  // in the timeline, of those under way
    // Of those under way over links: the latency after them, and the event that ends them; others are out of date.
    Picoseconds latency[streams] = {0, 0, 0};
    std::uint64_t leaving[streams] = {0, 0, 0};
    std::deque<Bucket> buckets;  // the first is awaited or under way
    bool bucket_under_way = false;
    bool synchronize_waits = false;  // the rank's instruction, for the buckets
    bool shares = false;             // is at the part of it that others have to begin, too
    Picoseconds idle = 0;            // time in it that was spent waiting for those
  };
  // Of a stage: what goes on beside its last backward.
  struct Overlapped {
    Picoseconds time = 0;
    std::int64_t buckets = 1;
    std::optional<Instruction> last_backward;
  };
  using Durations = std::array<Picoseconds, instruction_kinds>;

  void set_durations(std::size_t rank, const std::vector<StageDurations>& durations) {
    Picoseconds synchronizing = 0, updating = 0;
    for (std::int64_t chunk = 0; chunk < shape_.chunks; ++chunk) {
      const StageDurations& stage = durations[stage_of(rank, chunk)];
      synchronizing += stage.synchronize - stage.overlapped_synchronize - shared_part(stage);
      shared_[rank] += shared_part(stage);
      updating += stage.update;
      if (stage.overlapped_synchronize > 0)
        overlapped_[stage_of(rank, chunk)] = {stage.overlapped_synchronize, stage.buckets, last_backward(rank, chunk)};
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

  // Where nobody is to be waited for it is no part of its own.
  Picoseconds shared_part(const StageDurations& stage) const {
    return conditions_.sharing.empty() ? 0 : stage.shared_synchronize;
  }

  // The one that completes the gradients of parameters.
  std::optional<Instruction> last_backward(std::size_t rank, std::int64_t chunk) const {
    std::optional<Instruction> last;
    for (const Instruction& each : program_.ranks[rank])
      if (each.chunk == chunk && (each.kind == run_backward || each.kind == run_backward_weight)) last = each;
    return last;
  }

  // Ranks that never come there keep nobody waiting.
  void set_sharing() {
    absent_.assign(ranks_.size(), 0);
    for (std::size_t rank = 0; rank < conditions_.sharing.size(); ++rank)
      if (shared_[rank] > 0 && std::any_of(program_.ranks[rank].begin(), program_.ranks[rank].end(),
                                           [](const Instruction& each) { return each.kind == synchronize; }))
        ++absent_[conditions_.sharing[rank]];
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
    if (state.state == State::running && !state.shares && shared_[rank] > 0 &&
        program_.ranks[rank][state.position].kind == synchronize) {
      come_to_share(rank);
      return;
    }
    if (state.state != State::idle) complete(rank, state);
    state.state = State::idle;
    while (state.state == State::idle && state.position < program_.ranks[rank].size()) start(rank, state);
    if (state.state == State::idle && state.begin) result_.period = std::max(result_.period, now_ - *state.begin);
  }

  Picoseconds duration_of(std::size_t rank, Instruction instruction) const {
    const Durations& durations = durations_[stage_of(rank, instruction.chunk)];
    return jittered(rank, instruction, durations[static_cast<std::size_t>(instruction.kind)]);
  }

  Picoseconds jittered(std::size_t rank, Instruction instruction, Picoseconds duration) const {
    if (conditions_.jitter.relative == 0) return duration;
    const double factor = 1 + conditions_.jitter.relative * deviate(conditions_.jitter.seed, rank, instruction);
    return std::llround(static_cast<double>(duration) * std::max(0.0, factor));
  }

  Picoseconds end_of(std::size_t rank, Instruction instruction) const {
    return end_after(rank, duration_of(rank, instruction));
  }

  Picoseconds end_after(std::size_t rank, Picoseconds duration) const {
    Picoseconds end = 0;
    if (__builtin_add_overflow(now_, duration, &end))
      throw InputError(place, print_instruction(program_, rank, ranks_[rank].position) +
                                  " ends after 9·10^6 seconds, beyond the simulation's clock");
    return end;
  }

  void start(std::size_t rank, RankState& state) {
    const Instruction instruction = program_.ranks[rank][state.position];
    if (conditions_.sends == Sends::overlapped && is_send(instruction.kind)) {
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
    state.state = State::running;
    Picoseconds end = end_of(rank, instruction);
    if (is_send(instruction.kind) && goes_over_links(rank, instruction)) {
      start_transfer(rank, instruction, end);
      return;
    }
    if (instruction.kind == synchronize) {
      if (state.buckets.empty())
        synchronize_rest(rank, instruction);
      else
        state.synchronize_waits = true;
      return;
    }
    if (!overlapped_.empty()) add_buckets(rank, state, instruction, end);
    push(end, rank);
  }

  // The last of those that share gradients to come here lets all of them begin.
  void come_to_share(std::size_t rank) {
    const std::size_t sharing = conditions_.sharing[rank];
    ranks_[rank].shares = true;
    ranks_[rank].idle = now_;
    if (--absent_[sharing] > 0) return;
    for (std::size_t other = 0; other < ranks_.size(); ++other) {
      if (conditions_.sharing[other] != sharing || !ranks_[other].shares) continue;
      ranks_[other].idle = now_ - ranks_[other].idle;
      const Instruction instruction = program_.ranks[other][ranks_[other].position];
      run_synchronize(other, instruction, end_after(other, jittered(other, instruction, shared_[other])));
    }
  }

  void synchronize_rest(std::size_t rank, Instruction instruction) {
    run_synchronize(rank, instruction, end_of(rank, instruction));
  }

  void run_synchronize(std::size_t rank, Instruction instruction, Picoseconds end) {
    if (goes_over_links(rank, instruction))
      start_transfer(rank, instruction, end);
    else
      push(end, rank);
  }

  void add_buckets(std::size_t rank, RankState& state, Instruction instruction, Picoseconds end) {
    const Overlapped& beside = overlapped_[stage_of(rank, instruction.chunk)];
    if (beside.last_backward != instruction) return;
    const bool idle = state.buckets.empty();
    const auto part = [&beside](Picoseconds whole, std::int64_t k) {
      return static_cast<Picoseconds>(static_cast<__int128>(whole) * k / beside.buckets);
    };
    for (std::int64_t k = 1; k <= beside.buckets; ++k) {
      const Instruction bucket{synchronize, static_cast<std::int32_t>(k), instruction.chunk};  // 0 is the rest
      state.buckets.push_back(
          {now_ + part(end - now_, k), jittered(rank, bucket, part(beside.time, k) - part(beside.time, k - 1))});
    }
    if (idle) push(state.buckets.front().ready, ranks_.size() + streams * rank + synchronizing_stream);
  }

  // A bucket is ready, or done.
  void next_bucket(std::size_t rank, RankState& state) {
    if (state.bucket_under_way) state.buckets.pop_front();
    state.bucket_under_way = false;
    const std::size_t target = ranks_.size() + streams * rank + synchronizing_stream;
    if (state.buckets.empty()) {
      if (!state.synchronize_waits) return;
      state.synchronize_waits = false;
      synchronize_rest(rank, program_.ranks[rank][state.position]);
    } else if (state.buckets.front().ready > now_) {
      push(state.buckets.front().ready, target);
    } else {
      state.bucket_under_way = true;
      const Instruction as_synchronize{synchronize, 0, 0};
      const Picoseconds end = now_ + state.buckets.front().work;
      if (goes_over_links(rank, as_synchronize))
        start_transfer(rank, as_synchronize, end);
      else
        push(end, target);
    }
  }

  static std::size_t stream_of(Instruction transfer) {
    if (transfer.kind == synchronize) return synchronizing_stream;
    return transfer.kind == send_gradient ? 1 : 0;
  }

  const Route* route_of(std::size_t rank, Instruction transfer) const {
    if (transfer.kind == synchronize)
      return conditions_.synchronizations.empty() ? nullptr : &conditions_.synchronizations[rank];
    const std::vector<Route>& routes = transfer.kind == send_gradient ? conditions_.gradients : conditions_.activations;
    return routes.empty() ? nullptr : &routes[stage_of(rank, transfer.chunk)];
  }

  bool goes_over_links(std::size_t rank, Instruction transfer) const {
    const Route* route = route_of(rank, transfer);
    return route && !route->links.empty();
  }

  // `end` if nothing slows it.
  void start_transfer(std::size_t rank, Instruction transfer, Picoseconds end) {
    const std::size_t stream = stream_of(transfer);
    const Route& route = *route_of(rank, transfer);
    const Picoseconds latency = std::min(route.latency, end - now_);
    ranks_[rank].latency[stream] = latency;
    expect(links_.start(streams * rank + stream, route, end - now_ - latency, now_));
  }

  void expect(const std::vector<SharedLinks::Ending>& endings) {
    for (const SharedLinks::Ending& each : endings) {
      ranks_[each.slot / streams].leaving[each.slot % streams] = sequence_;
      push(each.time, (1 + streams) * ranks_.size() + each.slot);
    }
  }

  // The end of a transfer for which another one was said since. It may lie after the step's, so no clock follows it.
  bool out_of_date(const Event& event) const {
    const std::size_t first = (1 + streams) * ranks_.size();
    if (event.target < first) return false;
    const std::size_t slot = event.target - first;
    return ranks_[slot / streams].leaving[slot % streams] != event.sequence;
  }

  void leave_links(std::size_t slot) {
    const std::size_t rank = slot / streams, stream = slot % streams;
    RankState& state = ranks_[rank];
    expect(links_.finish(slot, now_));
    const bool beside =
        stream == synchronizing_stream ? state.bucket_under_way : conditions_.sends == Sends::overlapped;
    push(now_ + state.latency[stream], beside ? ranks_.size() + slot : rank);
  }

  void complete(std::size_t rank, RankState& state) {
    const Instruction instruction = program_.ranks[rank][state.position++];
    TimelineEntry& entry = result_.timeline[state.entry];
    entry.end = now_;
    if (!is_receive(instruction.kind)) result_.busy[rank] += now_ - entry.start - std::exchange(state.idle, 0);
    state.shares = false;
    if (is_send(instruction.kind)) deliver(rank, instruction);
    const bool frees = instruction.kind == run_backward || instruction.kind == run_backward_weight ||
                       (!trains_ && instruction.kind == run_forward);
    if (frees) --state.in_flight;
  }

  void issue_send(std::size_t rank, RankState& state, Instruction send) {
    const std::size_t stream = stream_of(send);
    state.outgoing[stream].push_back(send);
    if (state.outgoing[stream].size() == 1) start_send(rank, state, stream);
  }

  void start_send(std::size_t rank, RankState& state, std::size_t stream) {
    const Instruction send = state.outgoing[stream].front();
    state.outgoing_entry[stream] = result_.timeline.size();
    const Picoseconds end = end_of(rank, send);
    result_.timeline.push_back({static_cast<std::int32_t>(rank), send, now_, end});
    if (goes_over_links(rank, send))
      start_transfer(rank, send, end);
    else
      push(end, ranks_.size() + streams * rank + stream);
  }

  void end_of_stream(std::size_t rank, std::size_t stream) {
    RankState& state = ranks_[rank];
    if (stream == synchronizing_stream) {
      next_bucket(rank, state);
      return;
    }
    result_.timeline[state.outgoing_entry[stream]].end = now_;
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
  const Conditions& conditions_;
  bool trains_;
  std::vector<RankState> ranks_;
  SharedLinks links_;
  std::vector<Durations> durations_;    // by stage
  std::vector<Overlapped> overlapped_;  // by stage; empty when there is nothing
  std::vector<Picoseconds> shared_;     // by rank: the part of its synchronize that others have to begin, too
  std::vector<std::size_t> absent_;     // by number in `sharing`: ranks that have not come to that part
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
  Conditions conditions;
  conditions.sends = sends;
  return simulate(program, durations, conditions);
}

Simulation simulate(const PipelineProgram& program, const std::vector<StageDurations>& durations,
                    const Conditions& conditions) {
  return PipelineRun(program, durations, conditions).run();
}

}  // namespace meshloom
