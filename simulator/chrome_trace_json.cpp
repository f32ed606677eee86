// Trace Event Format [docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU], read by Perfetto and
// chrome://tracing.
#include <fmt/format.h>

#include "graphs/json_input.hpp"
#include "planner/plan/ranks.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

// Microseconds, the format's unit, with all six digits of the picoseconds.
std::string microseconds(Picoseconds time) { return fmt::format("{}.{:06}", time / 1'000'000, time % 1'000'000); }

std::string quoted(const std::string& text) { return Json(text).dump(); }

std::string rank_title(const Plan& plan, std::int64_t rank) {
  const PipelineShape shape = plan.shape();
  std::string title = fmt::format("{} {}", shape.chunks > 1 ? "rank" : "stage", rank);
  for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const Stage& stage = plan.stages[static_cast<std::size_t>(shape.stage_of(rank, chunk))];
    title +=
        fmt::format("{} {} to {}", chunk == 0 ? ":" : ",", plan.layers[static_cast<std::size_t>(stage.first_layer)],
                    plan.layers[static_cast<std::size_t>(stage.last_layer)]);
  }
  return title + fmt::format(" on {} devices", plan.stages[static_cast<std::size_t>(rank)].devices.size());
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
  TraceWriter(const Plan& plan, const Simulation& simulation)
      : plan_(plan), simulation_(simulation), shape_(plan.shape()) {}

  std::string write() {
    text_ = fmt::format(
        "{{\"displayTimeUnit\": \"ms\",\n\"otherData\": {{\"graph\": {}, \"cluster\": {}, "
        "\"schedule\": \"{}\", \"iteration_time_ps\": {}}},\n\"traceEvents\": [",
        quoted(plan_.graph_name), quoted(plan_.cluster.name), name(plan_.schedule), step_time(plan_, simulation_));
    write_names();
    for (const TimelineEntry& entry : simulation_.timeline) write_entry(entry);
    write_memory();
    return text_ + "\n]}\n";
  }

 private:
  void add(const std::string& event) {
    text_ += first_ ? "\n" : ",\n";
    text_ += event;
    first_ = false;
  }

  void write_names() {
    add(fmt::format(R"({{"ph": "M", "name": "process_name", "pid": 0, "args": {{"name": {}}}}})",
                    quoted("training step of " + plan_.graph_name)));
    for (std::int64_t rank = 0; rank < shape_.ranks; ++rank) write_track(rank, rank, rank_title(plan_, rank));
    if (!sends_overlap(plan_)) return;
    for (std::int64_t rank = 0; rank < shape_.ranks; ++rank) {
      write_track(send_track(rank, false), rank, fmt::format("activations sent by rank {}", rank));
      write_track(send_track(rank, true), rank, fmt::format("gradients sent by rank {}", rank));
    }
  }

  void write_track(std::int64_t track, std::int64_t order, const std::string& title) {
    add(fmt::format(R"({{"ph": "M", "name": "thread_name", "pid": 0, "tid": {}, "args": {{"name": {}}}}})", track,
                    quoted(title)));
    add(fmt::format(R"({{"ph": "M", "name": "thread_sort_index", "pid": 0, "tid": {}, "args": {{"sort_index": {}}}}})",
                    track, order));
  }

  // Overlapped sends have tracks of their own, after those of the ranks.
  std::int64_t send_track(std::int64_t rank, bool gradient) const { return shape_.ranks * (gradient ? 2 : 1) + rank; }

  std::int64_t track_of(const TimelineEntry& entry) const {
    const bool gradient = entry.instruction.kind == InstructionKind::send_gradient;
    const bool send = gradient || entry.instruction.kind == InstructionKind::send_activation;
    return send && sends_overlap(plan_) ? send_track(entry.rank, gradient) : entry.rank;
  }

  void write_entry(const TimelineEntry& entry) {
    const std::string title = event_title(entry.instruction);
    if (title.empty()) return;
    add(fmt::format(R"({{"ph": "X", "name": "{}", "cat": "{}", "pid": 0, "tid": {}, "ts": {}, "dur": {}}})", title,
                    name(entry.instruction.kind), track_of(entry), microseconds(entry.start),
                    microseconds(entry.end - entry.start)));
    write_flow(entry);
  }

  // An arrow from each send to the run that needs it.
  void write_flow(const TimelineEntry& entry) {
    using enum InstructionKind;
    const InstructionKind kind = entry.instruction.kind;
    const std::int64_t stage = shape_.stage_of(entry.rank, entry.instruction.chunk);
    const auto arrow = [&](const char* phase, const char* what, std::int64_t receiver, bool gradient) {
      const std::int64_t id = (receiver * plan_.microbatches + entry.instruction.microbatch) * 2 + (gradient ? 1 : 0);
      add(fmt::format(R"({{"ph": {}, "name": "{}", "cat": "transfer", "id": {}, "pid": 0, "tid": {}, "ts": {}}})",
                      phase, what, id, track_of(entry), microseconds(entry.start)));
    };
    if (kind == send_activation) arrow(R"("s")", "activation", stage + 1, false);
    if (kind == send_gradient) arrow(R"("s")", "gradient", stage - 1, true);
    if (kind == run_forward && shape_.sends_before(stage)) arrow(R"("f", "bp": "e")", "activation", stage, false);
    if ((kind == run_backward || kind == run_backward_input) && shape_.sends_after(stage))
      arrow(R"("f", "bp": "e")", "gradient", stage, true);
  }

  void write_memory() {
    const std::vector<MemoryTimeline> timelines = memory_timelines(plan_, simulation_);
    const char* what = shape_.chunks > 1 ? "rank" : "stage";
    for (std::size_t rank = 0; rank < timelines.size(); ++rank)
      for (const MemorySample& sample : timelines[rank].samples)
        add(fmt::format(
            R"({{"ph": "C", "name": "memory of a device of {} {}", "pid": 0, "ts": {}, "args": {{"bytes": {:.0f}}}}})",
            what, rank, microseconds(sample.time), sample.held.value()));
  }

  const Plan& plan_;
  const Simulation& simulation_;
  PipelineShape shape_;
  std::string text_;
  bool first_ = true;
};

}  // namespace

std::string chrome_trace(const Plan& plan, const Simulation& simulation) {
  return TraceWriter(plan, simulation).write();
}

}  // namespace meshloom
