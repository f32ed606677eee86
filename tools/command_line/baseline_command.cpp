#include <fmt/format.h>

#include "costmodel/quantity_text.hpp"
#include "graphs/input_error.hpp"
#include "planner/baseline.hpp"
#include "planner/plan_sources.hpp"
#include "simulator/simulation.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/plan_outputs.hpp"
#include "tools/command_line/plan_text.hpp"
#include "tools/command_line/warnings.hpp"

namespace meshloom {
namespace {

Schedule schedule_of(const BaselineCommand& command) {
  const std::int64_t chunks = command.virtual_stages;
  const ScheduleKind kind =
      command.schedule.value_or(chunks > 1 ? ScheduleKind::interleaved : ScheduleKind::one_f_one_b);
  if (kind == ScheduleKind::interleaved) {
    if (chunks == 1)
      throw InputError("--schedule interleaved-1f1b", "needs chunks to interleave; give --vpp 2 or more");
    return {kind, chunks};
  }
  if (chunks > 1 && chunks != Schedule(kind).chunks)
    throw InputError("--vpp", fmt::format("the schedule {} has {} per rank; leave --vpp out or use interleaved-1f1b",
                                          name(kind), counted(Schedule(kind).chunks, "chunk")));
  return kind;
}

std::string canonical_options(const BaselineCommand& command, const UniformLayout& layout) {
  std::string text = fmt::format("baseline --global-batch {} --tp {} --pp {} --dp {}", command.global_batch,
                                 layout.tensor_parallel, layout.pipeline_parallel, layout.data_parallel);
  if (layout.context_parallel > 1) text += fmt::format(" --cp {}", layout.context_parallel);
  if (layout.expert_parallel > 1) text += fmt::format(" --ep {}", layout.expert_parallel);
  if (layout.expert_tensor_parallel) text += fmt::format(" --etp {}", *layout.expert_tensor_parallel);
  if (layout.schedule.chunks > 1) text += fmt::format(" --vpp {}", layout.schedule.chunks);
  if (layout.embedding_counts_as_block) text += " --account-for-embedding-in-pipeline-split";
  if (layout.loss_counts_as_block) text += " --account-for-loss-in-pipeline-split";
  if (layout.sequence_parallel) text += " --sequence-parallel";
  text += fmt::format(" --zero {} --recompute {} --schedule {}", static_cast<int>(layout.parameter_state),
                      name(layout.recompute), name(layout.schedule));
  if (layout.micro_batch_per_replica) text += fmt::format(" --microbatch-size {}", *layout.micro_batch_per_replica);
  text += fmt::format(" --recipe {}", command.inputs.recipe);
  if (!command.inputs.kernels.empty()) text += fmt::format(" --kernels {}", command.inputs.kernels);
  if (command.inputs.hosts) text += fmt::format(" --hosts {}", *command.inputs.hosts);
  if (command.inputs.device_memory)
    text += fmt::format(" --device-memory \"{}\"", text_of(*command.inputs.device_memory));
  return text + options_text(command.inputs.profiles);
}

}  // namespace

ExitCode run(const BaselineCommand& command) {
  check_outputs(command.inputs, command.outputs, {});
  UniformLayout layout = command.layout;
  layout.schedule = schedule_of(command);
  PlanningInput input = read_planning_input(command.inputs);
  const std::vector<ProfileFile> profiles = apply_profiles(input, command.inputs.profiles);
  Seconds search_time;
  Plan plan;
  {
    const Progress progress;
    plan = baseline_plan(input, layout, command.global_batch);
    search_time = progress.elapsed();
  }
  plan.options = canonical_options(command, layout);
  if (!profiles.empty()) record_sources(plan, input.graph, input.cluster, profiles);
  // One replica has nothing to divide.
  const bool has_replicas = layout.data_parallel * layout.context_parallel > 1;
  print_warnings(warnings_about(input, plan, has_replicas ? std::optional(layout.parameter_state) : std::nullopt));
  if (is_runnable(plan)) apply_simulation(plan, simulate(plan));
  return write_outputs(plan, search_time, command.outputs);
}

}  // namespace meshloom
