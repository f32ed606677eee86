// The objects that commands print under --json, other than the plan's summary (planner/plan/plan_json.hpp). Their keys
// are a contract with scripts; docs/schemas/ describes them. Numbers that do not exist are null.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "costmodel/device_files.hpp"
#include "costmodel/profile_import.hpp"
#include "costmodel/profile_residuals.hpp"
#include "graphs/graph.hpp"
#include "planner/explain.hpp"
#include "planner/plan/compare.hpp"
#include "planner/plan/stage_breakdown.hpp"
#include "planner/reprice.hpp"
#include "tools/command_line/disturbances.hpp"

namespace meshloom {

std::string graph_json(const Graph& graph, const GraphSummary& summary);

// `max_slowdown` is the threshold, none when there is none.
std::string comparison_json(const Comparison& comparison, std::optional<double> max_slowdown, bool passed);

std::string explanation_json(const Plan& plan, const std::vector<StageBreakdown>& stages,
                             const std::optional<OpExplanation>& op);

// The plan's summary with what `simulate` adds: "differences", null when nothing was priced again, "noise" and
// "failures", null when they were not asked for.
std::string simulation_json(const std::string& summary, const std::optional<std::vector<PriceDifference>>& differences,
                            const Disturbances& disturbances);

struct FileFinding {
  std::string file;
  std::optional<std::string> schema;  // none when the file does not say or cannot be read; see contest_schema
  std::optional<std::string> error;   // none: valid
};
// What was imported; `compared` with the model, if asked.
std::string import_json(const ImportedProfile& imported, const std::optional<std::vector<Residual>>& compared);

struct ListedDevice {
  DeviceFile file;
  std::size_t measured_runs = 0;  // of the calibration
};
std::string devices_json(const std::vector<ListedDevice>& devices);

std::string findings_json(const std::vector<FileFinding>& findings);

// Reads the file's "schema" and checks the file as what it says it is; problems of the contest, which say nothing, by
// their only key, and measured runs by the list that they are ("measured_runs").
FileFinding check_file(const std::string& path);

}  // namespace meshloom
