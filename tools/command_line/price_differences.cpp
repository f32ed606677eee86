#include "tools/command_line/price_differences.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

constexpr std::size_t shown_totals = 20, shown_differences = 10;

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t start = 1; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    parts.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

// "/estimate_s" and a stage's own times: "/stages/0/forward_s".
bool is_total(const PriceDifference& difference) {
  const std::size_t parts = parts_of(difference.path).size();
  return parts == 1 || parts == 3;
}

double relative(const PriceDifference& each) {
  return std::abs(each.priced - each.stored) / std::max(std::abs(each.stored), std::abs(each.priced));
}

std::string value_text(const PriceDifference& each, double value) {
  return each.path.ends_with("bytes") ? readable(Bytes(value)) : readable(Seconds(value));
}

std::string change_text(const PriceDifference& each) {
  return each.stored == 0 ? "new" : fmt::format("{:+.3g} %", 100 * (each.priced / each.stored - 1));
}

// The name of what `parts`, a path under a stage, points to: an op, a tensor, a tensor and its consumer.
std::string name_of(const Stage& stage, const std::vector<std::string>& parts) {
  if (parts.size() < 4) return "";
  const auto at = [&](const auto& list) { return std::min<std::size_t>(std::stoul(parts[3]), list.size() - 1); };
  if (parts[2] == "ops") return stage.ops[at(stage.ops)].op;
  if (parts[2] == "tensors") return stage.tensors[at(stage.tensors)].tensor;
  if (parts[2] != "conversions") return "";
  const Conversion& conversion = stage.conversions[at(stage.conversions)];
  return conversion.consumer.empty() ? conversion.tensor : conversion.tensor + " → " + conversion.consumer;
}

std::string name_of(const Plan& plan, const std::string& path) {
  const std::vector<std::string> parts = parts_of(path);
  if (parts.size() < 2 || parts[0] != "stages") return "";
  return name_of(plan.stages[std::min<std::size_t>(std::stoul(parts[1]), plan.stages.size() - 1)], parts);
}

std::string table_of(const Plan& plan, const std::vector<PriceDifference>& differences, std::size_t most) {
  Table table({"path", "stored", "priced", "change", "<of"});
  const std::size_t shown = std::min(differences.size(), most);
  for (std::size_t i = 0; i < shown; ++i) {
    const PriceDifference& each = differences[i];
    table.row({each.path, value_text(each, each.stored), value_text(each, each.priced), change_text(each),
               name_of(plan, each.path)});
  }
  if (shown == differences.size()) return table.text();
  return table.text() + fmt::format("… and {} more; --json lists all\n", differences.size() - shown);
}

}  // namespace

void check_stages_lie_on(const Cluster& cluster, const Plan& plan, const std::string& place) {
  if (group_count(cluster) != group_count(plan.cluster))
    throw InputError(place, fmt::format("has {}, but the plan is for {}; give such a cluster, or plan for this one",
                                        devices_text(cluster), devices_text(plan.cluster)));
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    const Cluster& group = group_at(cluster, stage.submesh.group);
    const Cluster& planned = group_at(plan.cluster, stage.submesh.group);
    const std::int64_t per_host = group.devices_per_host;
    const std::int64_t before = first_device_of(plan.cluster, stage.submesh.group);
    const auto [lowest, highest] = std::minmax_element(stage.devices.begin(), stage.devices.end());
    const std::int64_t first = *lowest - before, last = *highest - before;
    const bool whole_hosts = stage.submesh.devices_per_host == per_host && first % per_host == 0;
    const bool fits = stage.submesh.hosts > 1 ? whole_hosts : first / per_host == last / per_host;
    if (!fits || last >= group.devices())
      throw InputError(place,
                       fmt::format("has {} × {} devices, but stage {} of the plan takes {} × {} of its cluster's "
                                   "{} × {} (hosts × devices per host); give a cluster with such hosts, or plan "
                                   "for this one",
                                   group.hosts, per_host, i, stage.submesh.hosts, stage.submesh.devices_per_host,
                                   planned.hosts, planned.devices_per_host));
  }
}

std::string price_differences_text(const Plan& plan, const std::vector<PriceDifference>& differences) {
  if (differences.empty()) return "priced again: every time agrees\n";
  std::vector<PriceDifference> totals, others;
  for (const PriceDifference& each : differences) (is_total(each) ? totals : others).push_back(each);
  std::stable_partition(totals.begin(), totals.end(),
                        [](const auto& each) { return !each.path.starts_with("/stages"); });
  std::stable_sort(others.begin(), others.end(),
                   [](const auto& one, const auto& other) { return relative(one) > relative(other); });
  std::string text = fmt::format("priced again: {} over 0.1 %\n", counted(std::ssize(differences), "difference"));
  if (!totals.empty()) text += table_of(plan, totals, shown_totals);
  if (!others.empty()) text += "\nlargest of the others\n" + table_of(plan, others, shown_differences);
  return text;
}

}  // namespace meshloom
