#include "tools/command_line/json_output.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "accuracy/measured_runs.hpp"
#include "costmodel/cluster.hpp"
#include "costmodel/device_files.hpp"
#include "costmodel/recipe.hpp"
#include "graphs/files.hpp"
#include "graphs/graph_json.hpp"
#include "graphs/json_input.hpp"
#include "planner/constraints.hpp"
#include "planner/inter_op/stage_table_json.hpp"
#include "planner/intra_op/contest_json.hpp"
#include "planner/plan/plan_json.hpp"
#include "tools/command_line/input_files.hpp"

namespace meshloom {
namespace {

std::string printed(const Json& object) { return object.dump(2) + "\n"; }

template <typename Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json stage_json(const StageBreakdown& stage) {
  Json json{{"first_layer", stage.first_layer}, {"last_layer", stage.last_layer}, {"layers", stage.layers}};
  for (const NamedTime& each : stage.times) json["step_time"][each.name + "_s"] = each.time.value();
  for (const NamedBytes& each : stage.memory) json["memory"][each.name + "_bytes"] = each.bytes.value();
  json["memory"]["peak_bytes"] = stage.peak.value();
  json["conversions"] = Json::array();
  for (const ConversionTime& each : stage.conversions)
    json["conversions"].push_back({{"tensor", each.tensor},
                                   {"consumer", each.consumer},
                                   {"from", each.from},
                                   {"to", each.to},
                                   {"collectives", each.collectives},
                                   {"per_step_s", each.per_step.value()}});
  json["ops"] = Json::array();
  for (const NamedTime& each : stage.ops) json["ops"].push_back({{"op", each.name}, {"per_step_s", each.time.value()}});
  return json;
}

// "chosen" with the mesh's names and sizes.
Json chosen_axes_json(const OpExplanation& op, const std::vector<MeshAxis>& mesh) {
  Json axes = Json::array();
  for (std::size_t i = 0; i < op.chosen.size() && i < mesh.size(); ++i)
    axes.push_back({{"axis", mesh[i].name},
                    {"size", mesh[i].size},
                    {"factor", op.chosen[i].empty() ? Json(nullptr) : Json(op.chosen[i])}});
  return axes;
}

Json source_json(const std::optional<TimeSource>& source) { return source ? Json(name(*source)) : Json(nullptr); }

Json op_json(const OpExplanation& op, const std::vector<MeshAxis>& mesh) {
  return {{"op", op.op},
          {"layer", op.layer},
          {"stage", op.stage},
          {"rule", op.rule},
          {"fixed_by", op.fixed_by.empty() ? Json(nullptr) : Json(op.fixed_by)},
          {"forward_s", op.forward.value()},
          {"backward_s", op.backward.value()},
          {"forward_source", source_json(op.forward_source)},
          {"backward_source", source_json(op.backward_source)},
          {"chosen", op.chosen},
          {"chosen_axes", chosen_axes_json(op, mesh)},
          {"runner_up", or_null(op.runner_up)},
          {"difference_s", op.runner_up ? Json(op.difference.value()) : Json(nullptr)},
          {"memory_difference_bytes", op.runner_up ? Json(op.memory_difference.value()) : Json(nullptr)},
          {"priced_difference_s", op.runner_up ? Json(op.priced_difference.value()) : Json(nullptr)},
          {"excluded", op.excluded}};
}

// By schema: the reader that checks such files.
struct Checker {
  std::string schema;
  void (*check)(const std::string& text, const std::string& file);
};
const std::vector<Checker>& checkers() {
  static const std::vector<Checker> all{
      {"meshloom.graph/1", [](const std::string& text, const std::string& file) { parse_graph(text, file); }},
      {"meshloom.cluster/1", [](const std::string& text, const std::string& file) { parse_cluster(text, file); }},
      {"meshloom.device/1", [](const std::string& text, const std::string& file) { parse_device(text, file); }},
      {"meshloom.recipe/1", [](const std::string& text, const std::string& file) { parse_recipe(text, file); }},
      {"meshloom.plan/1", [](const std::string& text, const std::string& file) { parse_plan(text, file); }},
      {"meshloom.profile/1", [](const std::string& text, const std::string& file) { parse_profile(text, file); }},
      {"meshloom.pins/1", [](const std::string& text, const std::string& file) { parse_pins(text, file); }},
      {"meshloom.stages/1", [](const std::string& text, const std::string& file) { parse_stage_list(text, file); }},
      {std::string(stage_table_schema),
       [](const std::string& text, const std::string& file) { parse_stage_table(text, file); }},
  };
  return all;
}

void check_text(const std::string& text, FileFinding& finding) {
  const JsonInput root = parse_json(text, finding.file);
  if (!root.is_object()) root.fail("expected a JSON object with a key \"schema\"");
  const JsonInput schema = root.at("schema");
  finding.schema = schema.string();
  std::vector<std::string> known;
  for (const Checker& checker : checkers()) {
    known.push_back(checker.schema);
    if (checker.schema == *finding.schema) return checker.check(text, finding.file);
  }
  schema.fail(fmt::format("unknown schema \"{}\"; expected one of: {}{}", *finding.schema, fmt::join(known, ", "),
                          did_you_mean(*finding.schema, known)));
}

// Of the kinds of files, only problems and stage tables may be gzip.
// Measured runs are the only files that begin with a list.
bool is_list(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos && text[first] == '[';
}

void check_content(const std::string& content, FileFinding& finding) {
  const std::string text = decompressed(content, finding.file);
  const std::optional<std::string_view> problem = problem_schema_of_text(text);
  if (problem) finding.schema = *problem;
  if (problem == contest_schema) {
    parse_contest_problem(text, finding.file);
  } else if (problem == stage_table_schema) {
    parse_stage_table(text, finding.file);
  } else if (is_list(text)) {
    finding.schema = "measured_runs";
    parse_measured_runs(text, finding.file);
  } else if (is_gzip(content)) {
    throw InputError(finding.file,
                     "is gzip, which only intra-operator problems, stage tables and measured runs may be; "
                     "decompress it");
  } else {
    check_text(text, finding);
  }
}

}  // namespace

std::string graph_json(const Graph& graph, const GraphSummary& summary) {
  return printed({{"name", graph.name},
                  {"parameters", static_cast<std::int64_t>(summary.parameters)},
                  {"forward_flops_per_sample", summary.forward_flops_per_sample.value()},
                  {"training_flops_per_sample", summary.training_flops_per_sample.value()},
                  {"ops", summary.ops},
                  {"tensors", summary.tensors},
                  {"padded_vocabulary", graph.padded_vocabulary}});
}

std::string comparison_json(const Comparison& comparison, std::optional<double> max_slowdown, bool passed) {
  Json differences = Json::array();
  for (const PlanDifference& each : comparison.differences)
    differences.push_back({{"path", each.path},
                           {"base", each.base},
                           {"new", each.next},
                           {"base_value", or_null(each.base_value)},
                           {"new_value", or_null(each.next_value)}});
  return printed({{"base_s", comparison.base.value()},
                  {"new_s", comparison.next.value()},
                  {"slowdown", comparison.slowdown},
                  {"max_slowdown", or_null(max_slowdown)},
                  {"passed", passed},
                  {"warnings", comparison.warnings},
                  {"differences", differences}});
}

std::string explanation_json(const Plan& plan, const std::vector<StageBreakdown>& stages,
                             const std::optional<OpExplanation>& op) {
  Json json{{"stages", Json::array()},
            {"op", op ? op_json(*op, plan.stages[static_cast<std::size_t>(op->stage)].mesh) : Json(nullptr)}};
  for (const StageBreakdown& stage : stages) json["stages"].push_back(stage_json(stage));
  return printed(json);
}

std::string simulation_json(const std::string& summary, const std::optional<std::vector<PriceDifference>>& differences,
                            const Disturbances& disturbances) {
  Json json = Json::parse(summary);
  json["differences"] = nullptr;
  if (differences) {
    json["differences"] = Json::array();
    for (const PriceDifference& each : *differences)
      json["differences"].push_back({{"path", each.path}, {"stored", each.stored}, {"priced", each.priced}});
  }
  json["noise"] = nullptr;
  if (const auto& noise = disturbances.noise)
    json["noise"] = {{"runs", noise->runs},
                     {"p50_s", noise->p50.value()},
                     {"p90_s", noise->p90.value()},
                     {"p99_s", noise->p99.value()}};
  json["failures"] = nullptr;
  if (const auto& failures = disturbances.failures)
    json["failures"] = {{"mean_time_between_s", failures->between.value()},
                        {"checkpoint_interval_s", failures->interval.value()},
                        {"goodput", failures->goodput},
                        {"step_s", failures->goodput > 0 ? Json(failures->per_step.value()) : Json()}};
  return printed(json);
}

std::string import_json(const ImportedProfile& imported, const std::optional<std::vector<Residual>>& compared) {
  const Profile& profile = imported.profile;
  Json keys = Json::array();
  for (const OperatorSeries& series : profile.operators)
    keys.push_back({{"key", describe(series.key)}, {"samples", series.samples.size()}});
  for (const CollectiveSeries& series : profile.collectives)
    keys.push_back({{"key", describe(series.key)}, {"samples", series.samples.size()}});
  Json json{{"device", profile.provenance.device}, {"keys", keys}, {"skipped", Json(imported.skipped)}};
  json["residuals"] = json["summary"] = nullptr;
  if (!compared) return printed(json);
  json["residuals"] = json["summary"] = Json::array();
  for (const Residual& each : *compared)
    json["residuals"].push_back({{"key", each.key},
                                 {"shape", each.shape},
                                 {"measured_s", each.measured.value()},
                                 {"modelled_s", each.modelled.value()},
                                 {"ratio", each.ratio()}});
  for (const ResidualSummary& each : summarize(*compared))
    json["summary"].push_back({{"key", each.key},
                               {"samples", each.count},
                               {"mape", each.mean_absolute_error},
                               {"median_ratio", each.median_ratio}});
  return printed(json);
}

std::string devices_json(const std::vector<ListedDevice>& devices) {
  Json list = Json::array();
  for (const auto& [file, measured_runs] : devices) {
    Json peak = Json::object();
    for (const auto& [dtype, speed] : file.device.peak) peak[std::string(name(dtype))] = speed.value();
    list.push_back({{"name", file.device.name},
                    {"aliases", file.aliases},
                    {"memory_bytes", file.device.memory.value()},
                    {"memory_bandwidth_bytes_per_s", file.device.memory_bandwidth.value()},
                    {"peak_flops", peak},
                    {"devices_per_host", file.devices_per_host},
                    {"devices_per_link_domain", file.devices_per_link_domain},
                    {"intra_host_bytes_per_s", file.intra_host.bandwidth.value()},
                    {"nic_bytes_per_s", file.nic.bandwidth.value()},
                    {"nics_per_host", file.nics_per_host},
                    {"measured_runs", measured_runs},
                    {"like", file.like.empty() ? Json(nullptr) : Json(file.like)}});
  }
  return printed({{"devices", list}});
}

std::string findings_json(const std::vector<FileFinding>& findings) {
  Json files = Json::array();
  for (const FileFinding& each : findings)
    files.push_back({{"file", each.file},
                     {"schema", or_null(each.schema)},
                     {"valid", !each.error.has_value()},
                     {"error", or_null(each.error)}});
  const auto valid = std::count_if(findings.begin(), findings.end(), [](const auto& each) { return !each.error; });
  return printed({{"files", files}, {"valid", valid}, {"invalid", std::ssize(findings) - valid}});
}

FileFinding check_file(const std::string& path) {
  FileFinding finding{path == "-" ? "<stdin>" : path, {}, {}};
  try {
    check_content(read_file(path), finding);
  } catch (const InputError& error) {
    finding.error = error.what();
  }
  return finding;
}

}  // namespace meshloom
