#include "simulator/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "planner/plan/readable.hpp"
#include "planner/plan/stage_breakdown.hpp"

namespace meshloom {
namespace {

// Pixels.
constexpr double chart_width = 960, label_width = 150, bar_height = 26, bar_gap = 10;

constexpr std::string_view page_head = R"(<meta name="viewport" content="width=device-width">
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 1160px; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  p.place { color: #5b6675; margin-top: .2rem; }
  dl { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
  dl div { background: #f3f5f8; border-radius: 8px; padding: .5rem .9rem; }
  dt { color: #5b6675; font-size: .8rem; } dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e3e7ec; }
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
  constexpr std::array<std::pair<std::string_view, std::string_view>, 15> colors{{{"forward_compute", "#2f6fde"},
                                                                                  {"forward_collectives", "#9dbdf5"},
                                                                                  {"backward_compute", "#1f9d6b"},
                                                                                  {"backward_collectives", "#98d9bf"},
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
      return color_of("backward_compute");
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
bool waits(InstructionKind kind) {
  return kind == InstructionKind::receive_activation || kind == InstructionKind::receive_gradient;
}

std::string timeline(const std::vector<std::string>& labels, const Simulation& simulation) {
  const double height = static_cast<double>(labels.size()) * (bar_height + bar_gap);
  const double scale = simulation.makespan > 0 ? chart_width / static_cast<double>(simulation.makespan) : 0;
  std::string svg = fmt::format("<svg width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\">",
                                label_width + chart_width, height);
  for (std::size_t i = 0; i < labels.size(); ++i)
    svg += fmt::format("<text x=\"0\" y=\"{:.1f}\">{}</text>",
                       static_cast<double>(i) * (bar_height + bar_gap) + 0.65 * bar_height, escaped(labels[i]));
  for (const TimelineEntry& entry : simulation.timeline) {
    if (entry.start == entry.end || waits(entry.instruction.kind)) continue;
    const Seconds time(static_cast<double>(entry.end - entry.start) * 1e-12);
    svg += fmt::format(
        "<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"><title>{} of microbatch "
        "{}, {}</title></rect>\n",
        label_width + static_cast<double>(entry.start) * scale, entry.stage * (bar_height + bar_gap),
        static_cast<double>(entry.end - entry.start) * scale, bar_height, timeline_color(entry.instruction.kind),
        words_of(std::string(name(entry.instruction.kind))), entry.instruction.microbatch, readable(time));
  }
  return svg + "</svg>\n";
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
  html +=
      fact("peak memory", fmt::format("{} of {}", readable(plan.peak_memory()), readable(plan.cluster.device.memory)));
  return html + fact("origin", plan.origin) + "</dl>\n";
}

std::string stage_table(const Plan& plan) {
  std::string html =
      "<table><tr><th class=\"left\">stage</th><th class=\"left\">layers</th><th>devices</th><th>mesh</th>"
      "<th>forward</th><th>backward</th><th>sync and update</th><th>memory</th><th>in flight</th><th>recompute</th>"
      "<th>parameters</th></tr>\n";
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    html += fmt::format("<tr><td class=\"left\">{}</td><td class=\"left\">{}</td><td>{}</td><td>{}</td><td>{}</td>", i,
                        escaped(layer_names(plan, stage.first_layer, stage.last_layer)), stage.devices.size(),
                        escaped(mesh_text(stage.mesh)), readable(stage.forward));
    html += fmt::format("<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                        readable(stage.backward), readable(stage.synchronization + stage.update),
                        readable(stage.memory.peak()), stage.memory.in_flight, name(stage.recompute),
                        name(stage.parameter_state));
  }
  return html + "</table>\n";
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
         fmt::format("<p class=\"place\">{}, {} hosts, recipe {}, global batch {}</p>\n", escaped(plan.cluster.name),
                     plan.cluster.hosts, escaped(plan.recipe.name), plan.global_batch) +
         summary(plan) + "<h2>Stages</h2>\n" + stage_table(plan) + "<h2>Time of one step</h2>\n" +
         bars(labels, times, plan.iteration_time.value()) + "<h2>Memory of one device</h2>\n" +
         bars(labels, memory, plan.cluster.device.memory.value()) + "<h2>Simulated step</h2>\n" +
         timeline(labels, simulation) + "</html>\n";
}

}  // namespace meshloom
