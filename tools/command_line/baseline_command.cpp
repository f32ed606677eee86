#include <fmt/format.h>

#include "planner/baseline.hpp"
#include "simulator/simulation.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/plan_outputs.hpp"
#include "tools/command_line/plan_text.hpp"

namespace meshloom {
namespace {

std::string canonical_options(const BaselineCommand& command) {
  const UniformLayout& layout = command.layout;
  std::string text = fmt::format("baseline --global-batch {} --tp {} --pp {} --dp {}", command.global_batch,
                                 layout.tensor_parallel, layout.pipeline_parallel, layout.data_parallel);
  if (layout.sequence_parallel) text += " --sequence-parallel";
  text += fmt::format(" --zero {} --recompute {} --schedule {}", static_cast<int>(layout.parameter_state),
                      name(layout.recompute), name(layout.schedule));
  if (layout.micro_batch_per_replica) text += fmt::format(" --microbatch-size {}", *layout.micro_batch_per_replica);
  text += fmt::format(" --recipe {}", command.inputs.recipe);
  if (command.inputs.hosts) text += fmt::format(" --hosts {}", *command.inputs.hosts);
  return text;
}

}  // namespace

ExitCode run(const BaselineCommand& command) {
  check_outputs(command.inputs, command.outputs);
  const PlanningInput input = read_planning_input(command.inputs);
  Seconds search_time;
  Plan plan;
  {
    const Progress progress;
    plan = baseline_plan(input, command.layout, command.global_batch);
    search_time = progress.elapsed();
  }
  plan.options = canonical_options(command);
  if (is_runnable(plan)) apply_simulation(plan, simulate(plan));
  return write_outputs(plan, search_time, command.outputs);
}

}  // namespace meshloom
