#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "costmodel/groups.hpp"
#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/explain.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan/stage_breakdown.hpp"
#include "simulator/simulation.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/json_output.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/plan_text.hpp"

namespace meshloom {
namespace {

constexpr std::size_t shown_conversions = 8, shown_ops = 8;

std::string words_of(std::string name) {
  for (char& c : name)
    if (c == '_') c = ' ';
  return name;
}

// Ops of several layers that are alike but for the layer's number: "h0.mlp.up" and "h1.mlp.up".
struct OpGroup {
  std::string kind;         // the name without the layer's number
  std::string first, last;  // layers
  std::string rest;         // of the name, after the layer
  Seconds each;
  std::int64_t count = 0;
  Seconds time() const { return each * static_cast<double>(count); }
  std::string name() const { return count == 1 ? first + rest : fmt::format("{}…{}{} ×{}", first, last, rest, count); }
};

OpGroup group_of_one(const NamedTime& op) {
  const std::size_t dot = std::min(op.name.find('.'), op.name.size());
  std::string layer = op.name.substr(0, dot);
  const std::string rest = op.name.substr(dot);
  OpGroup group{"", layer, layer, rest, op.time, 1};
  if (!rest.empty()) std::erase_if(layer, [](char c) { return c >= '0' && c <= '9'; });
  group.kind = layer + rest;
  return group;
}

// Longest first. Ops of one group come next to each other or nearly so, being sorted by time and then by layer.
std::vector<OpGroup> grouped(const std::vector<NamedTime>& ops) {
  std::vector<OpGroup> groups;
  std::map<std::string, std::size_t> last_of_kind;
  for (const NamedTime& op : ops) {
    const OpGroup one = group_of_one(op);
    const auto known = last_of_kind.find(one.kind);
    if (known != last_of_kind.end() && groups[known->second].each - one.each <= one.each * 1e-9) {
      OpGroup& group = groups[known->second];
      group.last = one.first;
      ++group.count;
    } else {
      last_of_kind[one.kind] = groups.size();
      groups.push_back(one);
    }
  }
  std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.time() > b.time(); });
  return groups;
}

std::string ops_text(const Plan& plan, const StageBreakdown& stage) {
  Table ops({"longest ops", "per step", "share"});
  const std::vector<OpGroup> groups = grouped(stage.ops);
  for (std::size_t i = 0; i < std::min(shown_ops, groups.size()); ++i)
    ops.row({groups[i].name(), readable(groups[i].time()), percent(groups[i].time() / plan.iteration_time)});
  return ops.text();
}

// From one layout to another; gradients and parameters communicate even where the layout stays.
std::string change_text(const ConversionTime& conversion) {
  if (conversion.from != conversion.to) return fmt::format("{} → {}", conversion.from, conversion.to);
  const auto has = [&](std::string_view collective) {
    return std::any_of(conversion.collectives.begin(), conversion.collectives.end(),
                       [&](const std::string& each) { return each.starts_with(collective); });
  };
  std::vector<std::string> changes;
  if (has("all_reduce") || has("reduce_scatter")) changes.push_back("gradient sum");
  if (has("all_gather")) changes.push_back("gather of parameters");
  return changes.empty() ? conversion.from : joined(changes, ", ");
}

std::string stage_text(const Plan& plan, const StageBreakdown& stage, std::size_t number) {
  std::string text = fmt::format("stage {}: {}, mesh {}\n", number, stage.layers, mesh_text(plan.stages[number].mesh));
  Table times({"time in one step", "time", "share"});
  for (const NamedTime& each : stage.times)
    times.row({words_of(each.name), readable(each.time), percent(each.time / plan.iteration_time)});
  Table memory({"memory of a device", "size", "share"});
  const Bytes capacity = group_at(plan.cluster, plan.stages[number].submesh.group).device.memory;
  for (const NamedBytes& each : stage.memory)
    memory.row({words_of(each.name), readable(each.bytes), percent(each.bytes / capacity)});
  memory.row({"peak", readable(stage.peak), percent(stage.peak / capacity)});
  Table conversions({"longest conversions", "<for", "<change", "<collectives", "per step"});
  for (std::size_t i = 0; i < std::min(shown_conversions, stage.conversions.size()); ++i) {
    const ConversionTime& each = stage.conversions[i];
    conversions.row({each.tensor, each.consumer.empty() ? "all consumers" : each.consumer, change_text(each),
                     joined(each.collectives, ", "), readable(each.per_step)});
  }
  return text + times.text() + "\n" + memory.text() + "\n" +
         (stage.conversions.empty() ? "" : conversions.text() + "\n") + ops_text(plan, stage);
}

std::string sharding_text(const Plan& plan, std::int64_t stage, const std::vector<std::string>& factors) {
  std::vector<std::string> parts;
  const std::vector<MeshAxis>& mesh = plan.stages[static_cast<std::size_t>(stage)].mesh;
  for (std::size_t i = 0; i < factors.size() && i < mesh.size(); ++i)
    parts.push_back(fmt::format("{}={} {}", mesh[i].name, mesh[i].size,
                                factors[i].empty() ? "shards nothing" : "shards " + factors[i]));
  return parts.empty() ? "one device, nothing to shard" : joined(parts, ", ");
}

// The runner-up may take less time where it takes more memory, or less memory where it takes more time.
std::string difference_text(const OpExplanation& op) {
  const auto time = [](Seconds seconds) {
    if (seconds == Seconds(0)) return std::string("0 s per step more");
    return seconds < Seconds(0) ? readable(seconds * -1) + " per step less" : readable(seconds) + " per step more";
  };
  const auto memory = [](Bytes bytes) {
    if (bytes == Bytes(0)) return std::string("as much memory");
    return bytes < Bytes(0) ? readable(bytes * -1) + " of memory less" : readable(bytes) + " of memory more";
  };
  const char* why = op.priced_difference < Seconds(0) ? ", but the plan prescribes its layout" : "";
  return time(op.difference) + ", " + memory(op.memory_difference) + why;
}

std::string op_text(const Plan& plan, const OpExplanation& op) {
  std::string text = fmt::format("{} in layer {}, stage {}\n", op.op, op.layer, op.stage);
  text += fmt::format("  rule        {}\n", op.rule);
  if (!op.fixed_by.empty()) text += fmt::format("  fixed by    {}\n", op.fixed_by);
  if (op.forward_source && op.backward_source)
    text += fmt::format("  time        forward {} {}, backward {} {}\n", readable(op.forward), name(*op.forward_source),
                        readable(op.backward), name(*op.backward_source));
  text += fmt::format("  chosen      {}\n", sharding_text(plan, op.stage, op.chosen));
  if (op.runner_up)
    text += fmt::format("  runner-up   {}\n  difference  {}\n", sharding_text(plan, op.stage, *op.runner_up),
                        difference_text(op));
  else
    text += "  runner-up   none: no other strategy is possible\n";
  for (const std::string& each : op.excluded) text += fmt::format("  excluded    {}\n", each);
  return text;
}

std::optional<OpExplanation> explained_op(const ExplainCommand& command, const Plan& plan) {
  if (!command.op) return std::nullopt;
  const Graph graph = read_graph_of(plan, command.plan, command.graph);
  if (plan.profiles.empty()) return explain_op(plan, graph, *command.op);
  // Its device was consented to when the plan was made.
  Plan with_times = plan;
  std::vector<std::string> devices;
  for (const ProfileReference& each : plan.profiles) devices.push_back(each.device);
  with_times.cluster = with_profiles(plan.cluster, plan.recipe, read_profiles_of(plan, command.plan), devices);
  return explain_op(with_times, graph, *command.op);
}

}  // namespace

ExitCode run(const ExplainCommand& command) {
  if (command.graph && !command.op) throw InputError("--graph", "is read only for --op; add --op ID or leave it out");
  const Plan plan = read_plan(command.plan);
  if (!is_runnable(plan)) {
    write_file("-", command.json ? explanation_json(plan, {}, {}) : summary_text(plan));
    return exit_code_of(plan);
  }
  const std::optional<OpExplanation> op = explained_op(command, plan);
  const std::vector<StageBreakdown> stages = break_down(plan, seen_times(plan, simulate(plan)));
  std::string text;
  if (command.json) {
    text = explanation_json(plan, stages, op);
  } else if (op) {
    text = op_text(plan, *op);
  } else {
    text = summary_text(plan);
    for (std::size_t i = 0; i < stages.size(); ++i) text += "\n" + stage_text(plan, stages[i], i);
  }
  write_file("-", text);
  return ExitCode::done;
}

}  // namespace meshloom
