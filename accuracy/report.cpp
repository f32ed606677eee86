#include "accuracy/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>

namespace meshloom {
namespace {

using Names = std::function<std::string(const MeasuredRun&)>;
using Selects = std::function<bool(const MeasuredRun&)>;

// Values by name, names in the order in which they appear.
template <typename Value>
Value& entry(std::vector<std::pair<std::string, Value>>& entries, const std::string& name) {
  for (auto& [known, value] : entries)
    if (known == name) return value;
  return entries.emplace_back(name, Value{}).second;
}

std::vector<double> errors_of(const std::vector<AccuracyRow>& rows, const Selects& selects) {
  std::vector<double> errors;
  for (const AccuracyRow& row : rows)
    if (const std::optional<double> error = row.error(); error && selects(row.run)) errors.push_back(*error);
  return errors;
}

std::vector<NamedSummary> summaries_by(const std::vector<AccuracyRow>& rows, const Names& name_of) {
  std::vector<std::pair<std::string, std::vector<double>>> errors;
  for (const AccuracyRow& row : rows)
    if (const std::optional<double> error = row.error()) entry(errors, name_of(row.run)).push_back(*error);
  std::vector<NamedSummary> result;
  for (const auto& [name, values] : errors) result.emplace_back(name, summarize_errors(values));
  return result;
}

bool is_certain(const MeasuredRun& run) { return run.suspect.empty(); }

std::optional<double> mape_of_sources(const std::vector<AccuracyRow>& rows) {
  std::vector<double> values;
  for (const auto& [source, summary] : summaries_by(rows, [](const MeasuredRun& run) { return run.source; }))
    values.push_back(*summary.mape);
  return mean(values);
}

std::vector<AccuracyRow> certain_rows(const std::vector<AccuracyRow>& rows) {
  std::vector<AccuracyRow> result;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(result),
               [](const AccuracyRow& row) { return is_certain(row.run); });
  return result;
}

// Hundreds of runs of tiny models on one host, where launching kernels decides.
bool is_tiny(const MeasuredRun& run) { return run.source.starts_with("vTrain") && run.gpus <= run.gpus_per_node; }
bool is_dense(const MeasuredRun& run) { return !run.model.experts && !is_tiny(run); }

std::vector<std::pair<std::string, Selects>> compared_apart() {
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  return {
      {"dense", is_dense},
      {"vTrain single-node", is_tiny},
      {"A100 Megatron",
       [=](const MeasuredRun& run) {
         return is_dense(run) && run.gpu.starts_with("A100") && has(run.framework, "Megatron");
       }},
      {"H100 NVIDIA",
       [=](const MeasuredRun& run) {
         return is_dense(run) && run.gpu.starts_with("H100") && !has(run.framework, "FSDP") &&
                (has(run.framework, "NeMo") || has(run.framework, "Megatron-Bridge"));
       }},
      {"FSDP",
       [=](const MeasuredRun& run) {
         return is_dense(run) && run.parameter_state >= ParameterState::zero2 && !has(run.framework, "DeepSpeed");
       }},
      {"MoE", [](const MeasuredRun& run) { return run.model.experts.has_value(); }},
  };
}

// Of runs that are equal in everything but the layout; the model's name is no part of it.
bool same_task(const MeasuredRun& a, const MeasuredRun& b) {
  MeasuredModel one = a.model, other = b.model;
  one.name = other.name = "";
  return std::tie(a.source, a.gpu, a.gpus, a.precision, a.global_batch) ==
             std::tie(b.source, b.gpu, b.gpus, b.precision, b.global_batch) &&
         one == other;
}

Ranking ranking_of(const std::vector<AccuracyRow>& rows, const std::optional<std::string>& source) {
  std::vector<std::pair<const MeasuredRun*, std::vector<TimedWay>>> tasks;
  for (const AccuracyRow& row : rows) {
    if (!row.run.iteration_time || (source && row.run.source != *source)) continue;
    auto task =
        std::find_if(tasks.begin(), tasks.end(), [&](const auto& each) { return same_task(*each.first, row.run); });
    if (task == tasks.end()) task = tasks.insert(tasks.end(), {&row.run, {}});
    task->second.push_back({row.run.iteration_time->value(), row.prediction.iteration_time.value()});
  }
  Ranking ranking;
  std::vector<double> taus, top_1, top_3;
  for (const auto& [run, ways] : tasks) {
    if (ways.size() < 3) continue;
    ++ranking.groups;
    ranking.runs += ways.size();
    if (const std::optional<double> tau = kendall_tau(ways)) taus.push_back(*tau);
    top_1.push_back(regret(ways, 1));
    top_3.push_back(regret(ways, 3));
  }
  ranking.tau = mean(taus), ranking.regret_top_1 = mean(top_1), ranking.regret_top_3 = mean(top_3);
  return ranking;
}

void count(MemoryCalls& calls, const AccuracyRow& row) {
  ++(row.run.out_of_memory() ? calls.oom_rows : calls.ok_rows);
  if (row.run.out_of_memory() != row.prediction.fits)
    ++(row.run.out_of_memory() ? calls.oom_predicted : calls.ok_predicted);
}

void add_rows(AccuracyReport& report, const std::vector<MeasuredRun>& runs, const std::vector<Outcome>& outcomes) {
  for (std::size_t k = 0; k < runs.size(); ++k)
    if (const auto* reason = std::get_if<SkipReason>(&outcomes[k]))
      report.skipped.push_back({runs[k].id, runs[k].source, reason->text});
    else
      report.rows.push_back({.run = runs[k], .prediction = std::get<Prediction>(outcomes[k])});
}

void add_summaries(AccuracyReport& report) {
  const std::vector<AccuracyRow>& rows = report.rows;
  report.summary = summarize_errors(errors_of(rows, [](const MeasuredRun&) { return true; }));
  report.without_suspect = summarize_errors(errors_of(rows, is_certain));
  report.mape_of_sources = mape_of_sources(rows);
  report.mape_of_sources_without_suspect = mape_of_sources(certain_rows(rows));
  report.by_source = summaries_by(rows, [](const MeasuredRun& run) { return run.source; });
  report.by_gpu = summaries_by(rows, [](const MeasuredRun& run) { return run.gpu; });
  report.by_framework = summaries_by(rows, [](const MeasuredRun& run) { return run.framework; });
  for (const auto& [name, selects] : compared_apart())
    report.groups.emplace_back(
        name, SummaryPair{summarize_errors(errors_of(rows, selects)),
                          summarize_errors(errors_of(rows, [&selects = selects](const MeasuredRun& run) {
                            return selects(run) && is_certain(run);
                          }))});
}

}  // namespace

std::optional<double> AccuracyRow::error() const {
  if (!run.iteration_time) return std::nullopt;
  return prediction.iteration_time / *run.iteration_time - 1;
}

std::optional<bool> AccuracyRow::in_interval() const {
  if (!run.iteration_time || !interval) return std::nullopt;
  return interval->contains(*run.iteration_time);
}

std::optional<double> HeldRuns::share() const {
  if (runs == 0) return std::nullopt;
  return static_cast<double>(held) / static_cast<double>(runs);
}

std::optional<double> MemoryCalls::balanced_accuracy() const {
  if (oom_rows == 0 || ok_rows == 0) return std::nullopt;
  return (static_cast<double>(oom_predicted) / static_cast<double>(oom_rows) +
          static_cast<double>(ok_predicted) / static_cast<double>(ok_rows)) /
         2;
}

AccuracyReport make_report(const std::vector<MeasuredRun>& runs, const std::vector<Outcome>& outcomes) {
  AccuracyReport report;
  add_rows(report, runs, outcomes);
  add_summaries(report);
  report.ranking = ranking_of(report.rows, std::nullopt);
  for (const auto& [source, summary] : report.by_source)
    if (Ranking ranking = ranking_of(report.rows, source); ranking.groups > 0)
      report.ranking_by_source.emplace_back(source, ranking);
  for (const AccuracyRow& row : report.rows) {
    count(report.memory, row);
    count(entry(report.memory_by_framework, row.run.framework), row);
  }
  return report;
}

std::vector<const AccuracyRow*> worst_rows(const AccuracyReport& report, std::size_t count) {
  std::vector<const AccuracyRow*> rows;
  for (const AccuracyRow& row : report.rows)
    if (row.error()) rows.push_back(&row);
  std::stable_sort(rows.begin(), rows.end(), [](const AccuracyRow* a, const AccuracyRow* b) {
    return std::abs(*a->error()) > std::abs(*b->error());
  });
  rows.resize(std::min(count, rows.size()));
  return rows;
}

namespace {

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? "\"\"" : std::string(1, c);
  return result + "\"";
}

std::string or_empty(const std::optional<double>& value) { return value ? fmt::format("{}", *value) : ""; }

}  // namespace

std::string report_csv(const AccuracyReport& report) {
  std::string text =
      "id,source,gpu,gpus,framework,model,suspect,measured_s,predicted_s,error,peak_memory_bytes,measured_memory_bytes,"
      "fits,recompute,bubble,compute_share,recompute_share,activation_collectives_share,parameter_gathers_share,"
      "waits_share,sends_share,synchronization_share,update_share,idle_share,status,device,recipe,layout,interval_low_"
      "s,"
      "interval_high_s,in_interval\n";
  for (const AccuracyRow& row : report.rows) {
    const MeasuredRun& run = row.run;
    const Prediction& made = row.prediction;
    const TimeShares& shares = made.shares;
    const auto number = [](const auto& value) { return value ? fmt::format("{}", value->value()) : std::string(); };
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},", quoted(run.id), quoted(run.source),
                        quoted(run.gpu), run.gpus, quoted(run.framework), quoted(run.model.name), quoted(run.suspect),
                        number(run.iteration_time), made.iteration_time.value(), or_empty(row.error()),
                        made.peak_memory.value(), number(run.peak_memory), made.fits, name(made.layout.recompute),
                        made.bubble_fraction);
    text += fmt::format("{},{},{},{},{},{},{},{},{},", shares.compute, shares.recompute, shares.activation_collectives,
                        shares.parameter_gathers, shares.waits, shares.sends, shares.synchronization, shares.update,
                        shares.idle);
    const auto end = [&row](Seconds TimeInterval::*of) {
      return row.interval ? fmt::format("{}", ((*row.interval).*of).value()) : std::string();
    };
    text += fmt::format("{},{},{},{},{},{},{}\n", run.out_of_memory() ? "oom" : "ok", quoted(row.device),
                        quoted(row.recipe), quoted(describe(made.layout)), end(&TimeInterval::low),
                        end(&TimeInterval::high), row.in_interval() ? fmt::format("{}", *row.in_interval()) : "");
  }
  return text;
}

}  // namespace meshloom
