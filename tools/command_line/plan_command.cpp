#include <fmt/format.h>

#include "costmodel/quantity_text.hpp"
#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/plan_sources.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/plan_outputs.hpp"
#include "tools/command_line/warnings.hpp"
#include "tools/join/make_plan.hpp"

namespace meshloom {
namespace {

template <typename Value>
std::string name_or_auto(const std::optional<Value>& value) {
  return value ? std::string(name(*value)) : "auto";
}

// What the plan depends on besides its files; not the number of threads.
std::string canonical_options(const PlanCommand& command, const SearchOptions& search) {
  std::string text = fmt::format("plan --global-batch {}", search.global_batch);
  if (search.microbatch_size) text += fmt::format(" --microbatch-size {}", *search.microbatch_size);
  if (search.schedule) text += fmt::format(" --schedule {}", name(*search.schedule));
  if (search.chunks) text += fmt::format(" --vpp {}", *search.chunks);
  if (search.parameter_state) text += fmt::format(" --parameter-state {}", name(*search.parameter_state));
  if (search.recompute) text += fmt::format(" --recompute {}", name(*search.recompute));
  if (search.layers) text += fmt::format(" --layers {}", *search.layers);
  text += options_text(search.constraints);
  if (command.stage_list) text += fmt::format(" --stages-from {}", *command.stage_list);
  text += fmt::format(" --max-mesh-axes {} --recipe {}", search.max_mesh_axes, command.inputs.recipe);
  if (!command.inputs.kernels.empty()) text += fmt::format(" --kernels {}", command.inputs.kernels);
  if (command.inputs.hosts) text += fmt::format(" --hosts {}", *command.inputs.hosts);
  if (command.inputs.device_memory)
    text += fmt::format(" --device-memory \"{}\"", text_of(*command.inputs.device_memory));
  text += options_text(command.inputs.profiles);
  if (command.pins) text += fmt::format(" --pin {}", *command.pins);
  if (command.time_limit) text += fmt::format(" --time-limit {}", command.time_limit->value());
  if (command.without_baselines) text += " --no-baselines";
  return text;
}

// The microbatch size that a number of microbatches asks for.
std::int64_t size_from_number(std::int64_t global_batch, std::int64_t microbatches) {
  if (global_batch % microbatches != 0)
    throw InputError("--microbatches",
                     fmt::format("{} does not divide the global batch {}", microbatches, global_batch));
  return global_batch / microbatches;
}

// Where the command said a number of microbatches, remedies say it, too.
void say_numbers_of_microbatches(Plan& plan) {
  const std::string option = "--microbatch-size ";
  for (Remedy& remedy : plan.remedies)
    if (remedy.options.starts_with(option))
      remedy.options =
          fmt::format("--microbatches {}", plan.global_batch / std::stoll(remedy.options.substr(option.size())));
}

}  // namespace

ExitCode run(const PlanCommand& command) {
  check_outputs(command.inputs, command.outputs, {{"--pins", command.pins}, {"--stages-from", command.stage_list}});
  SearchOptions search = command.search;
  if (search.chunks && search.schedule && *search.schedule != ScheduleKind::interleaved)
    throw InputError("--vpp", fmt::format("the schedule {} has one chunk per rank; leave --vpp out or use "
                                          "interleaved-1f1b",
                                          name(*search.schedule)));
  if (command.time_limit) search.deadline = Deadline::after(*command.time_limit);
  if (command.microbatches) search.microbatch_size = size_from_number(search.global_batch, *command.microbatches);
  if (search.microbatch_size && search.global_batch % *search.microbatch_size != 0)
    throw InputError("--microbatch-size", fmt::format("{} does not divide the global batch {}", *search.microbatch_size,
                                                      search.global_batch));
  PlanningInput input = read_planning_input(command.inputs);
  const std::vector<ProfileFile> profiles = apply_profiles(input, command.inputs.profiles);
  if (command.pins) input.pins = read_pins(*command.pins);
  if (command.stage_list) search.constraints.stage_list = read_stage_list(*command.stage_list);
  Seconds search_time;
  Plan plan;
  {
    Progress progress;
    search.progress = [&progress](const std::string& line) { progress.show(line); };
    plan = make_plan(input, {.search = search, .with_baselines = !command.without_baselines});
    search_time = progress.elapsed();
  }
  plan.options = canonical_options(command, search);
  if (!profiles.empty()) record_sources(plan, input.graph, input.cluster, profiles);
  if (command.microbatches) say_numbers_of_microbatches(plan);
  print_warnings(warnings_about(input, plan, search.parameter_state));
  return write_outputs(plan, search_time, command.outputs);
}

}  // namespace meshloom
