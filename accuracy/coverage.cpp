#include "accuracy/coverage.hpp"

#include <map>
#include <utility>

namespace meshloom {

void add_intervals(AccuracyReport& report, const Constants& constants, const Uncertainty& uncertainty,
                   const std::string& file) {
  IntervalCoverage coverage{.level = uncertainty.level, .file = file, .all = {}, .groups = {}};
  std::map<std::pair<std::string, std::string>, HeldRuns> groups;  // by recipe and device
  for (AccuracyRow& row : report.rows) {
    const DeviceFile* device = find_device(constants, row.run.gpu);
    if (device == nullptr) continue;
    row.device = device->device.name;
    row.device_measured = rows_of_device(uncertainty, row.device) > 0;
    row.recipe = recipe_for(constants, row.run.framework, row.run.gpu, row.run.parameter_state).name;
    row.interval = interval_of(uncertainty, row.device, row.recipe, row.prediction.iteration_time,
                               row.run.model.experts ? ModelKind::mixture_of_experts : ModelKind::dense);
    const std::optional<bool> inside = row.in_interval();
    if (!inside || !row.run.suspect.empty()) continue;
    for (HeldRuns* runs : {&coverage.all, &groups[{row.recipe, row.device}]}) {
      ++runs->runs;
      if (*inside) ++runs->held;
    }
  }
  for (const auto& [names, held] : groups) coverage.groups.push_back({names.first, names.second, held});
  report.coverage = std::move(coverage);
}

}  // namespace meshloom
