#include "tools/command_line/intervals.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "costmodel/groups.hpp"
#include "graphs/json_input.hpp"
#include "planner/plan/readable.hpp"

namespace meshloom {
namespace {

ModelKind kind_of(const Plan& plan) {
  return plan.mixture_of_experts ? ModelKind::mixture_of_experts : ModelKind::dense;
}

std::string of_which_runs(const Plan& plan) {
  const std::string& device = plan.cluster.device.name;
  const std::string mixtures = plan.mixture_of_experts ? " of mixtures of experts" : "";
  if (has_own_rows(shipped_uncertainty(), device, plan.recipe.name, kind_of(plan)))
    return fmt::format(" of runs{} of this device and recipe", mixtures);
  if (rows_of_device(shipped_uncertainty(), device) > 0)
    return fmt::format(" of runs{} left out of the fit, none of this device and recipe", mixtures);
  return " of runs on other devices, each left out of the fit";
}

}  // namespace

std::vector<std::string> unmeasured_devices(const Cluster& cluster) {
  std::vector<std::string> names;
  for (std::size_t group = 0; group < group_count(cluster); ++group) {
    const std::string& name = group_at(cluster, group).device.name;
    if (rows_of_device(shipped_uncertainty(), name) == 0 && std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
  }
  return names;
}

std::optional<TimeInterval> interval_of(const Plan& plan) {
  if (!(plan.iteration_time > Seconds(0))) return std::nullopt;
  return interval_of(shipped_uncertainty(), plan.cluster.device.name, plan.recipe.name, plan.iteration_time,
                     kind_of(plan));
}

std::string with_interval(const std::string& summary, const Plan& plan) {
  Json json = Json::parse(summary);
  const std::optional<TimeInterval> interval = interval_of(plan);
  json["iteration_time_interval_s"] =
      interval ? Json::array({interval->low.value(), interval->high.value()}) : Json(nullptr);
  json["runner_up_s"] = plan.runner_up ? Json(plan.runner_up->value()) : Json(nullptr);
  json["within_uncertainty"] = interval && plan.runner_up ? Json(interval->contains(*plan.runner_up)) : Json(nullptr);
  json["unmeasured_devices"] = unmeasured_devices(plan.cluster);
  return json.dump(2) + "\n";
}

std::string interval_text(const Plan& plan) {
  std::string text;
  const std::optional<TimeInterval> interval = interval_of(plan);
  if (interval)
    text += fmt::format("  uncertainty  {} to {} hold {:.0f} of 100 measured times{}\n", readable(interval->low),
                        readable(interval->high), 100 * shipped_uncertainty().level, of_which_runs(plan));
  const std::vector<std::string> unmeasured = unmeasured_devices(plan.cluster);
  if (!unmeasured.empty())
    text += fmt::format("  constants    no measured run supports those of {}\n", fmt::join(unmeasured, ", "));
  if (interval && plan.runner_up)
    text += fmt::format("  runner-up    {}, {} the uncertainty\n", readable(*plan.runner_up),
                        interval->contains(*plan.runner_up) ? "within" : "beyond");
  return text;
}

}  // namespace meshloom
