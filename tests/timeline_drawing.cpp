#include "tests/timeline_drawing.hpp"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace meshloom {
namespace {

// A row of one rank: the kinds that it shows, of one chunk or of all.
struct Row {
  std::vector<InstructionKind> kinds;
  std::string label;
  std::int64_t chunk = 0;
};

std::vector<Row> rows_of(std::int64_t chunks) {
  using enum InstructionKind;
  std::vector<Row> rows;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const std::string suffix = chunks > 1 ? fmt::format(" {}", chunk) : "";
    rows.push_back({{run_forward}, "forward" + suffix, chunk});
    rows.push_back({{run_backward}, "backward" + suffix, chunk});
    rows.push_back({{run_backward_input}, "input" + suffix, chunk});
    rows.push_back({{run_backward_weight}, "weight" + suffix, chunk});
    rows.push_back({{send_activation, send_gradient}, "send" + suffix, chunk});
  }
  rows.push_back({{synchronize}, "synchronize", 0});
  rows.push_back({{update}, "update", 0});
  return rows;
}

bool shows(const Row& row, const TimelineEntry& entry) {
  for (const InstructionKind kind : row.kinds)
    if (entry.instruction.kind == kind && entry.instruction.chunk == row.chunk) return true;
  return false;
}

}  // namespace

std::string draw_timeline(const Simulation& simulation, const PipelineShape& shape, Picoseconds unit) {
  const std::string rank_name = shape.chunks > 1 ? "rank" : "stage";
  std::string text;
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank)
    for (const Row& row : rows_of(shape.chunks)) {
      std::string columns(static_cast<std::size_t>(simulation.makespan / unit), '.');
      bool used = false;
      for (const TimelineEntry& entry : simulation.timeline) {
        if (entry.rank != rank || !shows(row, entry)) continue;
        for (Picoseconds t = entry.start / unit; t < entry.end / unit; ++t) {
          columns[static_cast<std::size_t>(t)] = static_cast<char>('0' + entry.instruction.microbatch);
          used = true;
        }
      }
      if (used) text += fmt::format("{} {} {:<12}{}\n", rank_name, rank, row.label, columns);
    }
  return text;
}

}  // namespace meshloom
