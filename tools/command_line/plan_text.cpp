#include "tools/command_line/plan_text.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "costmodel/groups.hpp"
#include "planner/pins.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/plan/stage_breakdown.hpp"
#include "planner/plan/time_shares.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

std::string cluster_text(const Cluster& cluster) {
  return fmt::format("{} ({}, {})", devices_text(cluster), cluster.name, counted(host_count(cluster), "host"));
}

std::string infeasible_text(const Plan& plan) {
  std::string text =
      plan.status == PlanStatus::time_limit ? "no plan was found within the time limit\n" : "no plan fits\n";
  for (const InfeasibleReason& reason : plan.reasons)
    text += fmt::format("  layers {}: need {} per device ({:.0f} bytes), have {} ({:.0f} bytes)\n",
                        layer_names(plan, reason.first_layer, reason.last_layer), readable(reason.needs),
                        reason.needs.value(), readable(reason.has), reason.has.value());
  if (plan.status == PlanStatus::infeasible && plan.reasons.empty())
    text += "  the pins, the constraints, the schedule and the sizes leave no stages that make a pipeline\n";
  for (const Remedy& remedy : plan.remedies)
    text += fmt::format("  this would work: {}{}\n", remedy.text,
                        remedy.options.empty() ? "" : fmt::format(" ({})", remedy.options));
  return text;
}

std::string stages_text(const Plan& plan) {
  std::vector<std::string> headings{"stage", "<layers", "<devices",  "<mesh",      "forward",    "backward",
                                    "sync",  "memory",  "in flight", "<recompute", "<parameters"};
  if (!plan.cluster.groups.empty()) headings.push_back("<group");
  Table table(headings);
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    const auto rank = static_cast<std::size_t>(plan.shape().rank_of(static_cast<std::int64_t>(i)));
    const std::int64_t first = stage.devices.empty() ? 0 : stage.devices.front();
    const std::int64_t last = stage.devices.empty() ? 0 : stage.devices.back();
    std::vector<std::string> cells{fmt::format("{}", i),
                                   layer_names(plan, stage.first_layer, stage.last_layer),
                                   first == last ? fmt::format("{}", first) : fmt::format("{}–{}", first, last),
                                   mesh_text(stage.mesh),
                                   readable(stage.forward),
                                   readable(stage.backward),
                                   readable(stage.synchronization + stage.update),
                                   readable(device_memory(memory_of_rank(plan, rank))),
                                   fmt::format("{}", stage.memory.in_flight),
                                   std::string(name(stage.recompute)),
                                   std::string(parameter_state_text(stage))};
    if (!plan.cluster.groups.empty()) cells.push_back(group_at(plan.cluster, stage.submesh.group).name);
    table.row(cells);
  }
  return table.text();
}

// "3 (12 ops)": those that pins of ops fix; "3 (12 ops, 1 of tensors)" where some pins speak of tensors.
std::string pins_text(const Plan& plan) {
  const auto fits = [](const std::string& id) {
    return [&id](const Pin& pin) { return pin.subject == Pin::Subject::op && fits_pattern(pin.pattern, id); };
  };
  std::int64_t ops = 0;
  for (const Stage& stage : plan.stages)
    for (const OpSharding& sharding : stage.ops)
      ops += std::any_of(plan.pins.begin(), plan.pins.end(), fits(sharding.op)) ? 1 : 0;
  const auto of_tensors = std::count_if(plan.pins.begin(), plan.pins.end(),
                                        [](const Pin& pin) { return pin.subject == Pin::Subject::tensor; });
  return fmt::format("{} ({}{})", plan.pins.size(), counted(ops, "op"),
                     of_tensors > 0 ? fmt::format(", {} of tensors", of_tensors) : "");
}

std::string sources_text(const Plan& plan) {
  std::vector<std::string> files;
  for (const ProfileReference& each : plan.profiles) files.push_back(each.file.path);
  return fmt::format("{}, from {}", time_shares_text(plan), joined(files, ", "));
}

}  // namespace

std::string summary_text(const Plan& plan) {
  std::string text = fmt::format("{} on {}, recipe {}, global batch {}: ", plan.graph_name, cluster_text(plan.cluster),
                                 plan.recipe.name, plan.global_batch);
  if (!is_runnable(plan)) return text + infeasible_text(plan) + (plan.stages.empty() ? "" : "\n" + stages_text(plan));
  text += fmt::format("{}\n", name(plan.status));
  text += fmt::format("  iteration    {} simulated, {} by the schedule's formula\n", readable(plan.iteration_time),
                      readable(plan.estimate));
  if (plan.lower_bound > Seconds(0))
    text += fmt::format("  proof        best formula value {}, lower bound {}, gap {}\n", readable(plan.best_estimate),
                        readable(plan.lower_bound), percent(plan.gap()));
  text += fmt::format("  speed        {:.1f} TFLOP/s per device, bubble {}\n", plan.flops_per_device_second() / 1e12,
                      percent(plan.bubble_fraction));
  text += fmt::format("  schedule     {}, {} of {}\n", name(plan.schedule),
                      counted(plan.microbatches, "microbatch", "es"), counted(plan.microbatch_size, "sample"));
  const MemoryUse memory = tightest_memory(plan);
  text += fmt::format("  peak memory  {} of {} per device\n", readable(memory.peak), readable(memory.capacity));
  if (const auto idle = plan.idle_devices(); !idle.empty())
    text += fmt::format("  idle         {}, in no stage: faster without\n", counted(std::ssize(idle), "device"));
  if (plan.time_by_source) text += fmt::format("  times        {}\n", sources_text(plan));
  if (!plan.pins.empty()) text += fmt::format("  pins         {}\n", pins_text(plan));
  if (plan.origin != "search") text += fmt::format("  origin       {}\n", plan.origin);
  return text + "\n" + stages_text(plan);
}

bool is_runnable(const Plan& plan) { return plan.status != PlanStatus::infeasible && !plan.stages.empty(); }

ExitCode exit_code_of(const Plan& plan) {
  if (is_runnable(plan)) return ExitCode::done;
  return plan.status == PlanStatus::time_limit ? ExitCode::time_limit : ExitCode::infeasible;
}

}  // namespace meshloom
