#include "simulator/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "planner/plan/ranks.hpp"
#include "planner/plan/readable.hpp"
#include "planner/plan/stage_breakdown.hpp"

namespace meshloom {
namespace {

// Pixels.
constexpr double chart_width = 960, label_width = 150, bar_height = 26, bar_gap = 10;
constexpr double axis_margin = 40;  // for the last label of the time axis
// In one chart: a page stays under half a megabyte.
constexpr std::size_t most_slices = 800;

constexpr std::string_view page_head = R"(<meta name="viewport" content="width=device-width">
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 1160px; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  p.place { color: #5b6675; margin-top: .2rem; }
  dl { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
  dl div { background: #f3f5f8; border-radius: 8px; padding: .5rem .9rem; }
  dt { color: #5b6675; font-size: .8rem; } dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  .wide { overflow-x: auto; }
  th, td { white-space: nowrap; padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e3e7ec; }
  th { color: #5b6675; font-weight: 500; } .left { text-align: left; }
  svg { display: block; max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #1c2430; }
  ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; font-size: .85rem; }
  ul.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .35rem; }
</style>
)";

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text)
    result += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : std::string(1, c);
  return result;
}

// One colour for each name that a bar may have.
std::string_view color_of(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 17> colors{{{"forward_compute", "#2f6fde"},
                                                                                  {"forward_collectives", "#9dbdf5"},
                                                                                  {"backward_compute", "#1f9d6b"},
                                                                                  {"backward_collectives", "#98d9bf"},
                                                                                  {"backward_weight", "#5cc08f"},
                                                                                  {"other_chunks", "#c3cad3"},
                                                                                  {"send_activations", "#b08be0"},
                                                                                  {"send_gradients", "#7d56b8"},
                                                                                  {"synchronization", "#e8943a"},
                                                                                  {"update", "#c4542f"},
                                                                                  {"idle", "#e3e7ec"},
                                                                                  {"parameters", "#2f6fde"},
                                                                                  {"gradients", "#1f9d6b"},
                                                                                  {"optimizer", "#e8943a"},
                                                                                  {"activations", "#b08be0"},
                                                                                  {"transient", "#c4542f"},
                                                                                  {"overhead", "#8a94a3"}}};
  const auto found = std::find_if(colors.begin(), colors.end(), [&](const auto& entry) { return entry.first == name; });
  return found == colors.end() ? "#8a94a3" : found->second;
}

std::string words_of(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

struct Part {
  std::string name, shown;
  double value = 0;
};

std::string legend(const std::vector<Part>& parts) {
  std::string html = "<ul class=\"legend\">";
  for (const Part& part : parts)
    html += fmt::format("<li><i style=\"background:{}\"></i>{}</li>", color_of(part.name), words_of(part.name));
  return html + "</ul>\n";
}

// Stacked bars, one a row, `full` as wide as the chart.
std::string bars(const std::vector<std::string>& labels, const std::vector<std::vector<Part>>& rows, double full) {
  const double height = static_cast<double>(rows.size()) * (bar_height + bar_gap);
  std::string svg = fmt::format("<svg width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\">",
                                label_width + chart_width, height);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const double y = static_cast<double>(row) * (bar_height + bar_gap);
    svg += fmt::format("<text x=\"0\" y=\"{:.1f}\">{}</text>", y + 0.65 * bar_height, escaped(labels[row]));
    svg += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#f3f5f8\"/>", label_width, y,
                       chart_width, bar_height);
    double x = label_width;
    for (const Part& part : rows[row]) {
      const double width = full > 0 ? std::max(0.0, part.value / full * chart_width) : 0;
      svg += fmt::format(
          "<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"><title>{}: {}</title></rect>", x, y,
          width, bar_height, color_of(part.name), words_of(part.name), part.shown);
      x += width;
    }
  }
  return svg + "</svg>\n" + (rows.empty() ? "" : legend(rows.front()));
}

std::string_view timeline_color(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::run_forward:
      return color_of("forward_compute");
    case InstructionKind::run_backward:
    case InstructionKind::run_backward_input:
      return color_of("backward_compute");
    case InstructionKind::run_backward_weight:
      return color_of("backward_weight");
    case InstructionKind::send_activation:
    case InstructionKind::receive_activation:
      return color_of("send_activations");
    case InstructionKind::send_gradient:
    case InstructionKind::receive_gradient:
      return color_of("send_gradients");
    case InstructionKind::synchronize:
      return color_of("synchronization");
    case InstructionKind::update:
      return color_of("update");
  }
  return color_of("");
}

// A receive takes no time of its own: the row stays empty while it waits.
bool is_drawn(const TimelineEntry& entry) { return entry.start < entry.end && !is_receive(entry.instruction.kind); }

// A part of the step's time.
struct Window {
  Picoseconds from = 0, to = 0;
};

std::size_t slices_in(const Simulation& simulation, const Window& window) {
  return static_cast<std::size_t>(
      std::count_if(simulation.timeline.begin(), simulation.timeline.end(), [&](const TimelineEntry& entry) {
        return is_drawn(entry) && entry.end > window.from && entry.start < window.to;
      }));
}

std::string readable_at(Picoseconds time) { return readable(Seconds(static_cast<double>(time) * 1e-12)); }

// `time` with the digits that tell steps of `step` apart.
std::string tick_text(Picoseconds time, Picoseconds step, Picoseconds last) {
  const bool seconds = last >= 1'000'000'000'000, milliseconds = last >= 1'000'000'000;
  const double unit = seconds ? 1e12 : milliseconds ? 1e9 : 1e6;
  const int digits = static_cast<int>(std::max(0.0, std::ceil(-std::log10(static_cast<double>(step) / unit))));
  return fmt::format("{:.{}f} {}", static_cast<double>(time) / unit, digits,
                     seconds        ? "s"
                     : milliseconds ? "ms"
                                    : "us");
}

// Lines and labels at 1, 2 or 5 times a power of ten, at most ten of them.
std::string time_axis(const Window& window, double scale, double height) {
  Picoseconds step = 1;
  for (std::size_t i = 0; (window.to - window.from) / step > 10; ++i) step = i % 3 == 1 ? step / 2 * 5 : step * 2;
  std::string svg;
  for (Picoseconds time = (window.from + step - 1) / step * step; time <= window.to; time += step) {
    const double x = label_width + static_cast<double>(time - window.from) * scale;
    svg += fmt::format(
        "<path d=\"M{0:.1f} 0V{1:.0f}\" stroke=\"#c9d0d9\"/><text x=\"{0:.1f}\" y=\"{2:.0f}\" "
        "text-anchor=\"middle\">{3}</text>\n",
        x, height, height + 14, tick_text(time, step, window.to));
  }
  return svg;
}

// A send that may run beside a run is a line under it.
std::string slice(const TimelineEntry& entry, const Window& window, double scale, Sends sends) {
  const Picoseconds start = std::max(entry.start, window.from), end = std::min(entry.end, window.to);
  const InstructionKind kind = entry.instruction.kind;
  const bool line = sends == Sends::overlapped &&
                    (kind == InstructionKind::send_activation || kind == InstructionKind::send_gradient);
  const double y = entry.rank * (bar_height + bar_gap) + (line ? bar_height : 0);
  const double height = line ? bar_gap / 2 : bar_height;
  return fmt::format(
      "<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"><title>{} of microbatch "
      "{}{}, {}</title></rect>\n",
      label_width + static_cast<double>(start - window.from) * scale, y, static_cast<double>(end - start) * scale,
      height, timeline_color(entry.instruction.kind), words_of(std::string(name(entry.instruction.kind))),
      entry.instruction.microbatch,
      entry.instruction.chunk > 0 ? fmt::format(", chunk {}", entry.instruction.chunk) : "",
      readable_at(entry.end - entry.start));
}

std::string timeline(const std::vector<std::string>& labels, const Simulation& simulation, const Window& window,
                     Sends sends) {
  const double height = static_cast<double>(labels.size()) * (bar_height + bar_gap);
  const double scale = window.to > window.from ? chart_width / static_cast<double>(window.to - window.from) : 0;
  std::string svg = fmt::format("<svg width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\">",
                                label_width + chart_width + axis_margin, height + 20);
  svg += time_axis(window, scale, height);
  for (std::size_t i = 0; i < labels.size(); ++i)
    svg += fmt::format("<text x=\"0\" y=\"{:.1f}\">{}</text>",
                       static_cast<double>(i) * (bar_height + bar_gap) + 0.65 * bar_height, escaped(labels[i]));
  std::size_t drawn = 0;
  for (const TimelineEntry& entry : simulation.timeline)
    if (is_drawn(entry) && entry.end > window.from && entry.start < window.to && drawn++ < most_slices)
      svg += slice(entry, window, scale, sends);
  return svg + "</svg>\n";
}

// The times at which the stages' `count`-th forwards or backwards, from one end of the step, are over.
Window reach(const std::vector<std::vector<Window>>& runs, std::size_t count) {
  Window reached{std::numeric_limits<Picoseconds>::max(), 0};
  for (const std::vector<Window>& stage : runs) {
    const std::size_t last = std::min(count, stage.size());
    if (last == 0) continue;
    reached.to = std::max(reached.to, stage[last - 1].to);
    reached.from = std::min(reached.from, stage[stage.size() - last].from);
  }
  return reached;
}

// Begin and end of the step, enlarged: as many forwards and backwards of each stage as S + 2 microbatches have, or
// fewer where that would be too much to draw.
std::pair<Window, Window> ends_of_step(const Simulation& simulation, std::size_t stages) {
  std::vector<std::vector<Window>> runs(stages);
  for (const TimelineEntry& entry : simulation.timeline)
    if (is_run(entry.instruction.kind)) runs[static_cast<std::size_t>(entry.rank)].push_back({entry.start, entry.end});
  for (std::size_t count = 2 * (stages + 2);; count /= 2) {
    const Window reached = reach(runs, count);
    const std::pair ends{Window{0, reached.to}, Window{reached.from, simulation.makespan}};
    if (count <= 1 || std::max(slices_in(simulation, ends.first), slices_in(simulation, ends.second)) <= most_slices)
      return ends;
  }
}

// Of a rank's stages; `labels` are those of the stages.
std::vector<std::string> rank_labels(const Plan& plan, const std::vector<std::string>& labels) {
  const PipelineShape shape = plan.shape();
  if (shape.chunks == 1) return labels;
  std::vector<std::string> result;
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank)
    result.push_back(fmt::format("rank {}, {} chunks", rank, shape.chunks));
  return result;
}

std::string timelines(const std::vector<std::string>& labels, const Plan& plan, const Simulation& simulation) {
  const Window whole{0, simulation.makespan};
  const Sends sends = sends_overlap(plan) ? Sends::overlapped : Sends::blocking;
  const bool few = plan.microbatches <= 2 * (plan.ranks() + 2);
  if (few && slices_in(simulation, whole) <= most_slices) return timeline(labels, simulation, whole, sends);
  const auto [begin, end] = ends_of_step(simulation, labels.size());
  return fmt::format("<p class=\"place\">begin of the step, until {} of {}</p>\n", readable_at(begin.to),
                     readable_at(simulation.makespan)) +
         timeline(labels, simulation, begin, sends) +
         fmt::format("<p class=\"place\">end of the step, from {}</p>\n", readable_at(end.from)) +
         timeline(labels, simulation, end, sends);
}

std::string fact(std::string_view name, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", name, escaped(value));
}

std::string summary(const Plan& plan) {
  std::string html = "<dl>\n" + fact("status", std::string(name(plan.status)));
  html += fact("iteration, simulated", readable(plan.iteration_time));
  html += fact("by the formula", readable(plan.estimate));
  if (plan.lower_bound > Seconds(0)) html += fact("proven gap", percent(plan.gap()));
  html += fact("TFLOP/s per device", fmt::format("{:.1f}", plan.flops_per_device_second() / 1e12));
  html += fact("bubble", percent(plan.bubble_fraction));
  html += fact("schedule", fmt::format("{}, {} × {}", name(plan.schedule), plan.microbatches, plan.microbatch_size));
  html += fact("peak memory",
               fmt::format("{} of {}, {}", readable(plan.peak_memory()), readable(plan.cluster.device.memory),
                           percent(plan.peak_memory() / plan.cluster.device.memory)));
  return html + fact("origin", plan.origin) + "</dl>\n";
}

// Of a device of the stage's rank.
Bytes peak_of(const Plan& plan, std::size_t stage) {
  const auto rank = static_cast<std::size_t>(plan.shape().rank_of(static_cast<std::int64_t>(stage)));
  return device_memory(memory_of_rank(plan, rank));
}

std::string stage_table(const Plan& plan) {
  std::string html =
      "<div class=\"wide\"><table><tr><th class=\"left\">stage</th><th "
      "class=\"left\">layers</th><th>devices</th><th>mesh</th>"
      "<th>forward</th><th>backward</th><th>sync and update</th><th>memory</th><th>in flight</th><th>recompute</th>"
      "<th>parameters</th></tr>\n";
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    html += fmt::format("<tr><td class=\"left\">{}</td><td class=\"left\">{}</td><td>{}</td><td>{}</td><td>{}</td>", i,
                        escaped(layer_names(plan, stage.first_layer, stage.last_layer)), stage.devices.size(),
                        escaped(mesh_text(stage.mesh)), readable(stage.forward));
    html += fmt::format("<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                        readable(stage.backward), readable(stage.synchronization + stage.update),
                        readable(peak_of(plan, i)), stage.memory.in_flight, name(stage.recompute),
                        parameter_state_text(stage));
  }
  return html + "</table></div>\n";
}

}  // namespace

std::string report_html(const Plan& plan, const Simulation& simulation) {
  std::vector<std::string> labels;
  std::vector<std::vector<Part>> times, memory;
  for (const StageBreakdown& stage : break_down(plan)) {
    labels.push_back(fmt::format("{}: {}", labels.size(), stage.layers));
    times.emplace_back();
    for (const NamedTime& each : stage.times)
      times.back().push_back({each.name, readable(each.time), each.time.value()});
    memory.emplace_back();
    for (const NamedBytes& each : stage.memory)
      memory.back().push_back({each.name, readable(each.bytes), each.bytes.value()});
  }
  const std::string title =
      escaped(fmt::format("{} on {} × {}", plan.graph_name, plan.cluster.devices(), plan.cluster.device.name));
  return fmt::format(
             "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{0}</title>\n{1}<h1>{0}</h1>\n",
             title, page_head) +
         fmt::format("<p class=\"place\">{}, {}, recipe {}, global batch {}</p>\n", escaped(plan.cluster.name),
                     counted(plan.cluster.hosts, "host"), escaped(plan.recipe.name), plan.global_batch) +
         summary(plan) + "<h2>Stages</h2>\n" + stage_table(plan) + "<h2>Time of one step</h2>\n" +
         bars(labels, times, plan.iteration_time.value()) + "<h2>Memory of one device</h2>\n" +
         bars(labels, memory, plan.cluster.device.memory.value()) + "<h2>Simulated step</h2>\n" +
         timelines(rank_labels(plan, labels), plan, simulation) + "</html>\n";
}

}  // namespace meshloom
