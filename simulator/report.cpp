#include "simulator/report.hpp"

#include <fmt/format.h>

#include <string_view>

#include "costmodel/groups.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/plan/readable.hpp"
#include "planner/plan/stage_breakdown.hpp"
#include "planner/plan/time_shares.hpp"
#include "simulator/report_data_json.hpp"
#include "simulator/report_page.hpp"

namespace meshloom {
namespace {

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text)
    result += c == '&'    ? "&amp;"
              : c == '<'  ? "&lt;"
              : c == '>'  ? "&gt;"
              : c == '"'  ? "&quot;"
              : c == '\'' ? "&#39;"
                          : std::string(1, c);
  return result;
}

std::string fact(std::string_view name, const std::string& value, const std::string& more = "") {
  return fmt::format("<div><dt>{}</dt><dd>{}{}</dd></div>\n", name, escaped(value),
                     more.empty() ? "" : " <small>" + escaped(more) + "</small>");
}

std::string summary(const Plan& plan) {
  std::string html = "<dl class=\"facts\">\n" + fact("status", std::string(name(plan.status)));
  html += fact("simulated step", readable(plan.iteration_time));
  html += fact("by the formula", readable(plan.estimate));
  if (plan.lower_bound > Seconds(0)) html += fact("proven gap", percent(plan.gap()));
  html += fact("TFLOP/s per device", fmt::format("{:.1f}", plan.flops_per_device_second() / 1e12));
  html += fact("bubble", percent(plan.bubble_fraction));
  html += fact(
      "schedule", std::string(name(plan.schedule)),
      fmt::format("{} of {}", counted(plan.microbatches, "microbatch", "es"), counted(plan.microbatch_size, "sample")));
  const MemoryUse memory = tightest_memory(plan);
  html += fact("peak memory", readable(memory.peak),
               fmt::format("{} of {}", percent(memory.peak / memory.capacity), readable(memory.capacity)));
  if (plan.time_by_source) html += fact("times", time_shares_text(plan));
  return html + "</dl>\n";
}

// Of a device of the stage's rank.
Bytes peak_of(const Plan& plan, std::size_t stage) {
  const auto rank = static_cast<std::size_t>(plan.shape().rank_of(static_cast<std::int64_t>(stage)));
  return device_memory(memory_of_rank(plan, rank));
}

std::string stage_table(const Plan& plan) {
  std::string html =
      "<div class=\"wide\"><table class=\"full\"><thead><tr><th class=\"left\">stage</th><th "
      "class=\"left\">layers</th><th>devices</th><th>mesh</th>"
      "<th>forward</th><th>backward</th><th>sync and update</th><th>memory</th><th>in flight</th><th>recompute</th>"
      "<th>parameters</th></tr></thead><tbody>\n";
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
  return html + "</tbody></table></div>\n";
}

std::string row(std::string_view what, const std::string& value) {
  return fmt::format("<tr><th class=\"left\" scope=\"row\">{}</th><td class=\"left wrap\">{}</td></tr>\n", what,
                     escaped(value.empty() ? "–" : value));
}

std::string file_text(const FileReference& file) {
  return file.path.empty() ? file.digest : fmt::format("{} ({})", file.path, file.digest);
}

std::string_view sends_text(const Plan& plan) {
  return sends_overlap(plan) ? "overlap with computing" : "block their sender";
}

std::string provenance(const Plan& plan) {
  std::string html =
      "<div class=\"wide\"><table><tbody>\n" + row("graph", plan.graph_name + ", " + file_text(plan.graph));
  html += row("cluster", plan.cluster.name + ", " + file_text(plan.cluster_file));
  for (std::size_t g = 0; g < group_count(plan.cluster); ++g) {
    const Cluster& group = group_at(plan.cluster, g);
    const std::string of_group =
        plan.cluster.groups.empty() ? "" : fmt::format("{}: {} × ", group.name, group.devices());
    html += row("device", fmt::format("{}{}, {}", of_group, group.device.name, readable(group.device.memory)));
  }
  for (const ProfileReference& each : plan.profiles)
    html += row("profile", fmt::format("{}, measured {}, {}", each.device, each.measured, file_text(each.file)));
  html += row("recipe", plan.recipe.name);
  html += row("options", plan.options) + row("origin", plan.origin);
  html += row("pins", counted(std::ssize(plan.pins), "pin"));
  html += row("sends", std::string(sends_text(plan)));
  for (const auto& [what, source] : plan.cluster.sources) html += row("source of " + escaped(what), source);
  for (const Cluster& group : plan.cluster.groups)
    for (const auto& [what, source] : group.sources)
      html += row(escaped(fmt::format("source of {}, {}", what, group.name)), source);
  for (const auto& [what, source] : plan.recipe.sources) html += row("source of " + escaped(what), source);
  return html + "</tbody></table></div>\n";
}

std::string section(std::string_view id, std::string_view title, const std::string& content) {
  return fmt::format(
      "<section id=\"section-{0}\" aria-labelledby=\"{0}-title\">\n<h2 id=\"{0}-title\">{1}</h2>\n{2}</section>\n", id,
      title, content);
}

// Whatever a name in the plan says, the browser loads nothing.
constexpr std::string_view policy =
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src "
    "'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";

constexpr std::string_view contents =
    "<nav aria-label=\"On this page\"><a href=\"#section-timeline\">Timeline</a><a href=\"#section-memory\">Memory</a>"
    "<a href=\"#section-times\">Time</a><a href=\"#section-cluster\">Cluster</a><a href=\"#section-stages\">Stages</a>"
    "<a href=\"#section-sharding\">Sharding</a><a href=\"#section-inputs\">Inputs</a></nav>\n<noscript><p>The pictures "
    "are drawn by a script of this page, which is turned off.</p></noscript>\n";

}  // namespace

std::string report_html(const Plan& plan, const Simulation& simulation) {
  const std::string title = escaped(fmt::format("{} on {}", plan.graph_name, devices_text(plan.cluster)));
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{1}<title>{0}</title>\n<style>\n{2}"
      "</style>\n</head>\n<body>\n<header>\n<h1>{0}</h1>\n",
      title, policy, report_style);
  html += fmt::format("<p class=\"quiet\">{}, {}, recipe {}, global batch {}, {}</p>\n", escaped(plan.cluster.name),
                      counted(host_count(plan.cluster), "host"), escaped(plan.recipe.name), plan.global_batch,
                      escaped(plan.origin));
  html += summary(plan);
  html += contents;
  html += "</header>\n<main>\n";
  html += report_body;
  html += section("stages", "Stages", stage_table(plan));
  html += section("inputs", "Inputs and options", provenance(plan));
  html += "</main>\n<script type=\"application/json\" id=\"data\">";
  html += report_data(plan, simulation);
  html += "</script>\n<script>\n";
  html += report_script;
  return html + "</script>\n</body>\n</html>\n";
}

}  // namespace meshloom
