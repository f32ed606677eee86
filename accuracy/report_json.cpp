#include <nlohmann/json.hpp>

#include "accuracy/report.hpp"

namespace meshloom {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }
template <typename Quantity>
Json value_or_null(const std::optional<Quantity>& value) {
  return value ? Json(value->value()) : Json(nullptr);
}
Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json json_of(const ErrorSummary& summary) {
  return {{"count", summary.count},
          {"mape", or_null(summary.mape)},
          {"median_ape", or_null(summary.median_ape)},
          {"bias", or_null(summary.bias)},
          {"p90_ape", or_null(summary.p90_ape)}};
}

Json json_of(const Ranking& ranking) {
  return {{"groups", ranking.groups},
          {"runs", ranking.runs},
          {"kendall_tau", or_null(ranking.tau)},
          {"regret_top_1", or_null(ranking.regret_top_1)},
          {"regret_top_3", or_null(ranking.regret_top_3)}};
}

Json json_of(const MemoryCalls& calls) {
  return {{"oom_rows", calls.oom_rows},
          {"oom_predicted", calls.oom_predicted},
          {"ok_rows", calls.ok_rows},
          {"ok_predicted", calls.ok_predicted},
          {"balanced_accuracy", or_null(calls.balanced_accuracy())}};
}

template <typename Value>
Json by_name(const std::vector<std::pair<std::string, Value>>& entries) {
  Json result = Json::object();
  for (const auto& [name, value] : entries) result[name] = json_of(value);
  return result;
}

Json json_of(const SummaryPair& pair) {
  Json result = json_of(pair.all);
  result["without_suspect"] = json_of(pair.without_suspect);
  return result;
}

Json json_of(const TimeShares& shares) {
  return {{"compute", shares.compute},
          {"recompute", shares.recompute},
          {"activation_collectives", shares.activation_collectives},
          {"parameter_gathers", shares.parameter_gathers},
          {"waits", shares.waits},
          {"sends", shares.sends},
          {"synchronization", shares.synchronization},
          {"update", shares.update},
          {"idle", shares.idle}};
}

Json shares_of(const TimeBySource& times) {
  Json json = Json::object();
  for (const TimeSource source : all_time_sources) json[std::string(name(source))] = times.of(source) / times.total();
  return json;
}

Json json_of(const AccuracyRow& row) {
  const MeasuredRun& run = row.run;
  const Prediction& made = row.prediction;
  return {{"id", run.id},
          {"source", run.source},
          {"gpu", run.gpu},
          {"gpus", run.gpus},
          {"framework", run.framework},
          {"device", text_or_null(row.device)},
          {"device_measured", row.device_measured},
          {"recipe", text_or_null(row.recipe)},
          {"status", run.out_of_memory() ? "oom" : "ok"},
          {"suspect", text_or_null(run.suspect)},
          {"measured_s", value_or_null(run.iteration_time)},
          {"predicted_s", made.iteration_time.value()},
          {"error", or_null(row.error())},
          {"interval_s", row.interval ? Json{row.interval->low.value(), row.interval->high.value()} : Json(nullptr)},
          {"in_interval", row.in_interval() ? Json(*row.in_interval()) : Json(nullptr)},
          {"peak_memory_bytes", made.peak_memory.value()},
          {"measured_memory_bytes", value_or_null(run.peak_memory)},
          {"fits", made.fits},
          {"layout", describe(made.layout)},
          {"bubble_fraction", made.bubble_fraction},
          {"shares", json_of(made.shares)},
          {"time_by_source", made.time_by_source ? shares_of(*made.time_by_source) : Json(nullptr)}};
}

Json json_of(const HeldRuns& held) {
  return {{"runs", held.runs}, {"held", held.held}, {"coverage", or_null(held.share())}};
}

Json json_of(const IntervalCoverage& coverage) {
  Json json{{"level", coverage.level}, {"file", coverage.file}};
  json.update(json_of(coverage.all));
  json["groups"] = Json::array();
  for (const GroupCoverage& group : coverage.groups) {
    json["groups"].push_back({{"recipe", group.recipe}, {"device", group.device}});
    json["groups"].back().update(json_of(group.held));
  }
  return json;
}

Json summary_of(const AccuracyReport& report) {
  Json summary = json_of(report.summary);
  summary["mape_of_sources"] = or_null(report.mape_of_sources);
  summary["without_suspect"] = json_of(report.without_suspect);
  summary["without_suspect"]["mape_of_sources"] = or_null(report.mape_of_sources_without_suspect);
  summary["by_source"] = by_name(report.by_source);
  summary["by_gpu"] = by_name(report.by_gpu);
  summary["by_framework"] = by_name(report.by_framework);
  summary["groups"] = Json::object();
  for (const auto& [name, pair] : report.groups) summary["groups"][name] = json_of(pair);
  return summary;
}

}  // namespace

std::string report_json(const AccuracyReport& report) {
  Json rows = Json::array(), skipped = Json::array();
  for (const AccuracyRow& row : report.rows) rows.push_back(json_of(row));
  for (const SkippedRun& run : report.skipped)
    skipped.push_back({{"id", run.id}, {"source", run.source}, {"reason", run.reason}});
  Json ranking = json_of(report.ranking);
  ranking["by_source"] = by_name(report.ranking_by_source);
  Json memory = json_of(report.memory);
  memory["by_framework"] = by_name(report.memory_by_framework);
  Json result{
      {"rows", rows}, {"skipped", skipped}, {"summary", summary_of(report)}, {"ranking", ranking}, {"memory", memory}};
  if (report.coverage) result["intervals"] = json_of(*report.coverage);
  return result.dump(2) + "\n";
}

}  // namespace meshloom
