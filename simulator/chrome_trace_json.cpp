// Trace Event Format [docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU], read by Perfetto and
// chrome://tracing.
#include <fmt/format.h>

#include "graphs/json_input.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

// Microseconds, the format's unit, with all six digits of the picoseconds.
std::string microseconds(Picoseconds time) { return fmt::format("{}.{:06}", time / 1'000'000, time % 1'000'000); }

std::string quoted(const std::string& text) { return Json(text).dump(); }

std::string stage_title(const Plan& plan, std::size_t index) {
  const Stage& stage = plan.stages[index];
  const std::string& first = plan.layers[static_cast<std::size_t>(stage.first_layer)];
  const std::string& last = plan.layers[static_cast<std::size_t>(stage.last_layer)];
  return fmt::format("stage {}: {} to {} on {} devices", index, first, last, stage.devices.size());
}

std::string event_title(const Instruction& instruction) {
  switch (instruction.kind) {
    case InstructionKind::run_forward:
      return fmt::format("forward {}", instruction.microbatch);
    case InstructionKind::run_backward:
      return fmt::format("backward {}", instruction.microbatch);
    case InstructionKind::send_activation:
      return fmt::format("send activation {}", instruction.microbatch);
    case InstructionKind::send_gradient:
      return fmt::format("send gradient {}", instruction.microbatch);
    case InstructionKind::synchronize:
      return "synchronize";
    case InstructionKind::update:
      return "update";
    case InstructionKind::receive_activation:
    case InstructionKind::receive_gradient:
      break;  // waiting is the gap in the track
  }
  return "";
}

class TraceWriter {
 public:
  TraceWriter(const Plan& plan, const Simulation& simulation) : plan_(plan), simulation_(simulation) {}

  std::string write() {
    text_ = fmt::format(
        "{{\"displayTimeUnit\": \"ms\",\n\"otherData\": {{\"graph\": {}, \"cluster\": {}, "
        "\"schedule\": \"{}\", \"iteration_time_ps\": {}}},\n\"traceEvents\": [",
        quoted(plan_.graph_name), quoted(plan_.cluster.name), name(plan_.schedule), simulation_.makespan);
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
    for (std::size_t stage = 0; stage < plan_.stages.size(); ++stage) {
      add(fmt::format(R"({{"ph": "M", "name": "thread_name", "pid": 0, "tid": {}, "args": {{"name": {}}}}})", stage,
                      quoted(stage_title(plan_, stage))));
      add(fmt::format(
          R"({{"ph": "M", "name": "thread_sort_index", "pid": 0, "tid": {0}, "args": {{"sort_index": {0}}}}})", stage));
    }
  }

  void write_entry(const TimelineEntry& entry) {
    const std::string title = event_title(entry.instruction);
    if (title.empty()) return;
    add(fmt::format(R"({{"ph": "X", "name": "{}", "cat": "{}", "pid": 0, "tid": {}, "ts": {}, "dur": {}}})", title,
                    name(entry.instruction.kind), entry.stage, microseconds(entry.start),
                    microseconds(entry.end - entry.start)));
    write_flow(entry);
  }

  // An arrow from each send to the run that needs it.
  void write_flow(const TimelineEntry& entry) {
    const auto arrow = [&](const char* phase, const char* what, std::int32_t receiver, bool gradient) {
      const std::int64_t id = (receiver * plan_.microbatches + entry.instruction.microbatch) * 2 + (gradient ? 1 : 0);
      add(fmt::format(R"({{"ph": {}, "name": "{}", "cat": "transfer", "id": {}, "pid": 0, "tid": {}, "ts": {}}})",
                      phase, what, id, entry.stage, microseconds(entry.start)));
    };
    const auto last = static_cast<std::int32_t>(plan_.stages.size()) - 1;
    const InstructionKind kind = entry.instruction.kind;
    if (kind == InstructionKind::send_activation) arrow(R"("s")", "activation", entry.stage + 1, false);
    if (kind == InstructionKind::send_gradient) arrow(R"("s")", "gradient", entry.stage - 1, true);
    if (kind == InstructionKind::run_forward && entry.stage > 0)
      arrow(R"("f", "bp": "e")", "activation", entry.stage, false);
    if (kind == InstructionKind::run_backward && entry.stage < last)
      arrow(R"("f", "bp": "e")", "gradient", entry.stage, true);
  }

  void write_memory() {
    const std::vector<MemoryTimeline> timelines = memory_timelines(plan_, simulation_);
    for (std::size_t stage = 0; stage < timelines.size(); ++stage)
      for (const MemorySample& sample : timelines[stage].samples)
        add(fmt::format(
            R"({{"ph": "C", "name": "memory of a device of stage {}", "pid": 0, "ts": {}, "args": {{"bytes": {:.0f}}}}})",
            stage, microseconds(sample.time), sample.held.value()));
  }

  const Plan& plan_;
  const Simulation& simulation_;
  std::string text_;
  bool first_ = true;
};

}  // namespace

std::string chrome_trace(const Plan& plan, const Simulation& simulation) {
  return TraceWriter(plan, simulation).write();
}

}  // namespace meshloom
