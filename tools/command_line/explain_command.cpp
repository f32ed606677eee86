#include <fmt/format.h>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/explain.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan/stage_breakdown.hpp"
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

std::string stage_text(const Plan& plan, const StageBreakdown& stage, std::size_t number) {
  std::string text = fmt::format("stage {}: {}, mesh {}\n", number, stage.layers, mesh_text(plan.stages[number].mesh));
  Table times({"time in one step", "time", "share"});
  for (const NamedTime& each : stage.times)
    times.row({words_of(each.name), readable(each.time), percent(each.time / plan.iteration_time)});
  Table memory({"memory of a device", "bytes", "share"});
  for (const NamedBytes& each : stage.memory)
    memory.row({words_of(each.name), readable(each.bytes), percent(each.bytes / plan.cluster.device.memory)});
  memory.row({"peak", readable(stage.peak), percent(stage.peak / plan.cluster.device.memory)});
  Table conversions({"longest conversions", "<for", "<from", "<to", "<collectives", "per step"});
  for (std::size_t i = 0; i < std::min(shown_conversions, stage.conversions.size()); ++i) {
    const ConversionTime& each = stage.conversions[i];
    conversions.row({each.tensor, each.consumer.empty() ? "all consumers" : each.consumer, each.from, each.to,
                     joined(each.collectives, ", "), readable(each.per_step)});
  }
  Table ops({"longest ops", "per step", "share"});
  for (std::size_t i = 0; i < std::min(shown_ops, stage.ops.size()); ++i)
    ops.row({stage.ops[i].name, readable(stage.ops[i].time), percent(stage.ops[i].time / plan.iteration_time)});
  return text + times.text() + "\n" + memory.text() + "\n" +
         (stage.conversions.empty() ? "" : conversions.text() + "\n") + ops.text();
}

std::string sharding_text(const Plan& plan, std::int64_t stage, const std::vector<std::string>& factors) {
  std::vector<std::string> parts;
  const std::vector<MeshAxis>& mesh = plan.stages[static_cast<std::size_t>(stage)].mesh;
  for (std::size_t i = 0; i < factors.size() && i < mesh.size(); ++i)
    parts.push_back(fmt::format("{}={} {}", mesh[i].name, mesh[i].size,
                                factors[i].empty() ? "shards nothing" : "shards " + factors[i]));
  return parts.empty() ? "one device, nothing to shard" : joined(parts, ", ");
}

std::string op_text(const Plan& plan, const OpExplanation& op) {
  std::string text = fmt::format("{} in layer {}, stage {}\n", op.op, op.layer, op.stage);
  text += fmt::format("  chosen      {}\n", sharding_text(plan, op.stage, op.chosen));
  if (op.runner_up)
    text += fmt::format("  runner-up   {}\n  difference  {} per step more\n",
                        sharding_text(plan, op.stage, *op.runner_up), readable(op.difference));
  else
    text += "  runner-up   none: no other strategy is possible\n";
  for (const std::string& each : op.excluded) text += fmt::format("  excluded    {}\n", each);
  return text;
}

std::optional<OpExplanation> explained_op(const ExplainCommand& command, const Plan& plan) {
  if (!command.op) return std::nullopt;
  return explain_op(plan, read_graph_of(plan, command.plan, command.graph), *command.op);
}

}  // namespace

ExitCode run(const ExplainCommand& command) {
  if (command.graph && !command.op) throw InputError("--graph", "is read only for --op; add --op ID or leave it out");
  const Plan plan = read_plan(command.plan);
  if (!is_runnable(plan)) {
    write_file("-", command.json ? explanation_json({}, {}) : summary_text(plan));
    return exit_code_of(plan);
  }
  const std::optional<OpExplanation> op = explained_op(command, plan);
  const std::vector<StageBreakdown> stages = break_down(plan);
  std::string text;
  if (command.json) {
    text = explanation_json(stages, op);
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
