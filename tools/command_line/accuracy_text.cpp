#include "tools/command_line/accuracy_text.hpp"

#include <fmt/format.h>

#include <map>

#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

constexpr std::size_t widest_name = 64;

std::string percent(const std::optional<double>& share) { return share ? fmt::format("{:.1f} %", 100 * *share) : "-"; }
std::string signed_percent(const std::optional<double>& share) {
  return share ? fmt::format("{:+.1f} %", 100 * *share) : "-";
}

// By whole characters of UTF-8.
std::string shortened(const std::string& name) {
  if (name.size() <= widest_name) return name;
  std::size_t end = widest_name - 1;
  while ((static_cast<unsigned char>(name[end]) & 0xC0U) == 0x80U) --end;
  return name.substr(0, end) + "…";
}

std::vector<std::string> cells_of(const std::string& name, const ErrorSummary& summary) {
  return {shortened(name),
          fmt::format("{}", summary.count),
          percent(summary.mape),
          percent(summary.median_ape),
          signed_percent(summary.bias),
          percent(summary.p90_ape)};
}

std::string error_table(const std::string& heading, const std::vector<NamedSummary>& summaries) {
  Table table({heading, "runs", "MAPE", "median", "bias", "p90"});
  for (const auto& [name, summary] : summaries) table.row(cells_of(name, summary));
  return "\n" + table.text();
}

std::string ranking_table(const AccuracyReport& report) {
  Table table({"order of layouts", "groups", "runs", "tau", "top 1", "top 3"});
  const auto add = [&](const std::string& name, const Ranking& ranking) {
    table.row({shortened(name), fmt::format("{}", ranking.groups), fmt::format("{}", ranking.runs),
               ranking.tau ? fmt::format("{:.2f}", *ranking.tau) : "-", percent(ranking.regret_top_1),
               percent(ranking.regret_top_3)});
  };
  for (const auto& [source, ranking] : report.ranking_by_source) add(source, ranking);
  add("all", report.ranking);
  return "\n" + table.text();
}

std::string memory_table(const AccuracyReport& report) {
  Table table({"memory", "out of memory", "called so", "ran", "called so", "balanced"});
  const auto add = [&](const std::string& name, const MemoryCalls& calls) {
    table.row({shortened(name), fmt::format("{}", calls.oom_rows), fmt::format("{}", calls.oom_predicted),
               fmt::format("{}", calls.ok_rows), fmt::format("{}", calls.ok_predicted),
               percent(calls.balanced_accuracy())});
  };
  for (const auto& [framework, calls] : report.memory_by_framework) add(framework, calls);
  add("all", report.memory);
  return "\n" + table.text();
}

std::string worst_table(const AccuracyReport& report, std::size_t count) {
  Table table({"largest errors", "measured", "predicted", "error", "<layout"});
  for (const AccuracyRow* row : worst_rows(report, count))
    table.row({shortened(row->run.id), fmt::format("{:.3g} s", row->run.iteration_time->value()),
               fmt::format("{:.3g} s", row->prediction.iteration_time.value()), signed_percent(row->error()),
               describe(row->prediction.layout)});
  return "\n" + table.text();
}

// Devices that no run of the calibration is of, with how many of these runs are.
std::string unmeasured_table(const AccuracyReport& report) {
  std::map<std::string, std::size_t> counts;
  for (const AccuracyRow& row : report.rows)
    if (!row.device_measured) ++counts[row.device];
  if (counts.empty()) return "";
  Table table({"no measured run supports the constants of", "runs"});
  for (const auto& [device, count] : counts) table.row({device, fmt::format("{}", count)});
  return "\n" + table.text();
}

std::string skipped_table(const AccuracyReport& report) {
  std::map<std::string, std::size_t> counts;
  for (const SkippedRun& run : report.skipped) ++counts[run.reason];
  Table table({"skipped, because", "runs"});
  for (const auto& [reason, count] : counts) table.row({reason, fmt::format("{}", count)});
  return "\n" + table.text();
}

}  // namespace

std::string accuracy_text(const AccuracyReport& report, std::size_t worst) {
  std::string text = fmt::format("{} runs priced, {} skipped; mean over sources {}, {} without suspect runs\n",
                                 report.rows.size(), report.skipped.size(), percent(report.mape_of_sources),
                                 percent(report.mape_of_sources_without_suspect));
  std::vector<NamedSummary> groups;
  for (const auto& [name, pair] : report.groups)
    if (pair.without_suspect.count > 0) groups.emplace_back(name, pair.without_suspect);
  groups.emplace_back("all", report.without_suspect);
  text += error_table("without suspect runs", groups);
  std::vector<NamedSummary> sources = report.by_source;
  sources.emplace_back("all", report.summary);
  text += error_table("by source", sources);
  text += error_table("by GPU", report.by_gpu);
  text += error_table("by framework", report.by_framework);
  if (report.ranking.groups > 0) text += ranking_table(report);
  text += memory_table(report);
  if (worst > 0) text += worst_table(report, worst);
  text += unmeasured_table(report);
  if (!report.skipped.empty()) text += skipped_table(report);
  return text;
}

}  // namespace meshloom
