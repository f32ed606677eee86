// Trace Event Format [docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU], read by Perfetto and
// chrome://tracing.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>

#include "graphs/json_input.hpp"
#include "planner/plan/ranks.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

// Microseconds, the format's unit, with all six digits of the picoseconds.
std::string microseconds(Picoseconds time) { return fmt::format("{}.{:06}", time / 1'000'000, time % 1'000'000); }

std::string quoted(const std::string& text) { return Json(text).dump(); }

// "device 3", "devices 0-7"; others one by one.
std::string devices_text(const std::vector<std::int64_t>& devices) {
  if (devices.size() == 1) return fmt::format("device {}", devices.front());
  const bool in_a_row =
      std::is_sorted(devices.begin(), devices.end()) && devices.back() - devices.front() + 1 == std::ssize(devices);
  return in_a_row ? fmt::format("devices {}-{}", devices.front(), devices.back())
                  : fmt::format("devices {}", fmt::join(devices, " "));
}

// The threads of a rank's process. Sends of the same kind leave one after the other.
enum class Thread { compute, activations, gradients, collectives };
constexpr std::array thread_names{"compute", "communication: activations sent", "communication: gradients sent",
                                  "communication: synchronization"};

Thread thread_of(InstructionKind kind) {
  if (kind == InstructionKind::send_activation) return Thread::activations;
  if (kind == InstructionKind::send_gradient) return Thread::gradients;
  return kind == InstructionKind::synchronize ? Thread::collectives : Thread::compute;
}

std::string rank_title(const Plan& plan, std::int64_t rank) {
  const PipelineShape shape = plan.shape();
  std::string title = fmt::format("{} {}:", shape.chunks > 1 ? "rank" : "stage", rank);
  for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const Stage& stage = plan.stages[static_cast<std::size_t>(shape.stage_of(rank, chunk))];
    title += fmt::format("{} {} to {}", chunk == 0 ? "" : ",", plan.layers[static_cast<std::size_t>(stage.first_layer)],
                         plan.layers[static_cast<std::size_t>(stage.last_layer)]);
  }
  const Stage& stage = plan.stages[static_cast<std::size_t>(rank)];
  return title + fmt::format("; submesh {} × {}, {}", stage.submesh.hosts, stage.submesh.devices_per_host,
                             devices_text(stage.devices));
}

std::string event_title(const Instruction& instruction) {
  using enum InstructionKind;
  const std::string chunk = instruction.chunk > 0 ? fmt::format(" of chunk {}", instruction.chunk) : "";
  switch (instruction.kind) {
    case run_forward:
      return fmt::format("forward {}", instruction.microbatch) + chunk;
    case run_backward:
      return fmt::format("backward {}", instruction.microbatch) + chunk;
    case run_backward_input:
      return fmt::format("input gradient {}", instruction.microbatch) + chunk;
    case run_backward_weight:
      return fmt::format("weight gradient {}", instruction.microbatch) + chunk;
    case send_activation:
      return fmt::format("send activation {}", instruction.microbatch) + chunk;
    case send_gradient:
      return fmt::format("send gradient {}", instruction.microbatch) + chunk;
    case synchronize:
      return "synchronize";
    case update:
      return "update";
    case receive_activation:
    case receive_gradient:
      break;  // waiting is the gap in the track
  }
  return "";
}

class TraceWriter {
 public:
  TraceWriter(const Plan& plan, const Simulation& simulation, std::size_t most)
      : plan_(plan),
        simulation_(simulation),
        shape_(plan.shape()),
        shown_(simulation.timeline.begin(),
               simulation.timeline.begin() + static_cast<std::ptrdiff_t>(std::min(most, simulation.timeline.size()))) {}

  std::string write() {
    text_ = fmt::format(
        "{{\"displayTimeUnit\": \"ms\",\n\"otherData\": {{\"graph\": {}, \"cluster\": {}, "
        "\"schedule\": \"{}\", \"iteration_time_ps\": {}, \"instructions\": {}, \"instructions_shown\": "
        "{}}},\n\"traceEvents\": [",
        quoted(plan_.graph_name), quoted(plan_.cluster.name), name(plan_.schedule), step_time(plan_, simulation_),
        simulation_.timeline.size(), shown_.size());
    write_names();
    for (const TimelineEntry& entry : shown_) write_entry(entry);
    write_memory();
    return text_ + "\n]}\n";
  }

 private:
  void add(const std::string& event) {
    text_ += first_ ? "\n" : ",\n";
    text_ += event;
    first_ = false;
  }

  // A process for each rank, and of its threads those that have something to show.
  void write_names() {
    std::vector<std::array<bool, thread_names.size()>> used(static_cast<std::size_t>(shape_.ranks));
    for (const TimelineEntry& entry : shown_)
      used[static_cast<std::size_t>(entry.rank)][static_cast<std::size_t>(thread_of(entry.instruction.kind))] = true;
    for (std::int64_t rank = 0; rank < shape_.ranks; ++rank) {
      add(fmt::format(R"({{"ph": "M", "name": "process_name", "pid": {}, "args": {{"name": {}}}}})", rank,
                      quoted(rank_title(plan_, rank))));
      add(fmt::format(R"({{"ph": "M", "name": "process_sort_index", "pid": {0}, "args": {{"sort_index": {0}}}}})",
                      rank));
      for (std::size_t thread = 0; thread < thread_names.size(); ++thread)
        if (used[static_cast<std::size_t>(rank)][thread]) write_thread(rank, thread);
    }
  }

  void write_thread(std::int64_t rank, std::size_t thread) {
    add(fmt::format(R"({{"ph": "M", "name": "thread_name", "pid": {}, "tid": {}, "args": {{"name": "{}"}}}})", rank,
                    thread, thread_names[thread]));
    add(fmt::format(R"({{"ph": "M", "name": "thread_sort_index", "pid": {}, "tid": {}, "args": {{"sort_index": {}}}}})",
                    rank, thread, thread));
  }

  static std::string place_of(const TimelineEntry& entry) {
    return fmt::format(R"("pid": {}, "tid": {}, "ts": {})", entry.rank,
                       static_cast<int>(thread_of(entry.instruction.kind)), microseconds(entry.start));
  }

  void write_entry(const TimelineEntry& entry) {
    const Instruction& instruction = entry.instruction;
    const std::string title = event_title(instruction);
    if (title.empty()) return;
    const bool of_rank =
        instruction.kind == InstructionKind::synchronize || instruction.kind == InstructionKind::update;
    const std::string arguments =
        of_rank ? ""
                : fmt::format(R"(, "args": {{"microbatch": {}, "stage": {}}})", instruction.microbatch,
                              shape_.stage_of(entry.rank, instruction.chunk));
    add(fmt::format(R"({{"ph": "X", "name": "{}", "cat": "{}", {}, "dur": {}{}}})", title, name(instruction.kind),
                    place_of(entry), microseconds(entry.end - entry.start), arguments));
    write_flow(entry);
  }

  // An arrow from each send to the run that needs it.
  void write_flow(const TimelineEntry& entry) {
    using enum InstructionKind;
    const InstructionKind kind = entry.instruction.kind;
    const std::int64_t stage = shape_.stage_of(entry.rank, entry.instruction.chunk);
    const auto arrow = [&](const char* phase, const char* what, std::int64_t receiver, bool gradient) {
      const std::int64_t id = (receiver * plan_.microbatches + entry.instruction.microbatch) * 2 + (gradient ? 1 : 0);
      add(fmt::format(R"({{"ph": {}, "name": "{}", "cat": "transfer", "id": {}, {}}})", phase, what, id,
                      place_of(entry)));
    };
    if (kind == send_activation) arrow(R"("s")", "activation", stage + 1, false);
    if (kind == send_gradient) arrow(R"("s")", "gradient", stage - 1, true);
    if (kind == run_forward && shape_.sends_before(stage)) arrow(R"("f", "bp": "e")", "activation", stage, false);
    if ((kind == run_backward || kind == run_backward_input) && shape_.sends_after(stage))
      arrow(R"("f", "bp": "e")", "gradient", stage, true);
  }

  void write_memory() {
    const bool whole = shown_.size() == simulation_.timeline.size();
    const std::vector<MemoryTimeline> timelines = memory_timelines(plan_, simulation_);
    for (std::size_t rank = 0; rank < timelines.size(); ++rank)
      for (const MemorySample& sample : timelines[rank].samples) {
        if (!whole && (shown_.empty() || sample.time > shown_.back().start)) break;
        add(fmt::format(
            R"({{"ph": "C", "name": "memory of a device", "pid": {}, "ts": {}, "args": {{"bytes": {:.0f}}}}})", rank,
            microseconds(sample.time), sample.held.value()));
      }
  }

  const Plan& plan_;
  const Simulation& simulation_;
  PipelineShape shape_;
  std::span<const TimelineEntry> shown_;
  std::string text_;
  bool first_ = true;
};

}  // namespace

std::string chrome_trace(const Plan& plan, const Simulation& simulation, std::size_t most) {
  return TraceWriter(plan, simulation, most).write();
}

}  // namespace meshloom
