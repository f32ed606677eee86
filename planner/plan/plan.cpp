#include "planner/plan/plan.hpp"

#include <algorithm>

#include "planner/plan/ranks.hpp"

namespace meshloom {

std::string_view name(PlanStatus status) {
  switch (status) {
    case PlanStatus::optimal:
      return "optimal";
    case PlanStatus::feasible:
      return "feasible";
    case PlanStatus::infeasible:
      return "infeasible";
    case PlanStatus::time_limit:
      return "time_limit";
  }
  return "";
}

std::string_view name(Rate rate) {
  switch (rate) {
    case Rate::per_microbatch:
      return "per_microbatch";
    case Rate::per_step:
      return "per_step";
  }
  return "";
}

PipelineShape Plan::shape() const { return program ? program->shape : shape_of(schedule, ranks()); }

std::optional<ParameterState> common_state(const Stage& stage) {
  std::optional<ParameterState> common;
  for (const TensorLayout& tensor : stage.tensors) {
    const auto& axes = tensor.layout.axes;
    const bool has_a_choice = std::find(axes.begin(), axes.end(), replicated_partial_gradient) != axes.end();
    if (!tensor.parameter || !has_a_choice) continue;
    if (common && *common != tensor.state) return std::nullopt;
    common = tensor.state;
  }
  return common ? common : stage.allowed_states.list().front();
}

std::string_view parameter_state_text(const Stage& stage) {
  return stage.parameter_state ? name(*stage.parameter_state) : "mixed";
}

std::int64_t Plan::devices() const {
  std::int64_t total = 0;
  for (const Stage& stage : stages)
    if (stage.chunk == 0) total += static_cast<std::int64_t>(stage.devices.size());
  return total;
}

Bytes Plan::peak_memory() const {
  Bytes peak;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks()); ++rank)
    peak = std::max(peak, device_memory(memory_of_rank(*this, rank)));
  return peak;
}

double Plan::flops_per_device_second() const {
  if (stages.empty() || iteration_time == Seconds(0)) return 0;
  return (model_flops / iteration_time).value() / static_cast<double>(devices() + std::ssize(idle_devices()));
}

std::vector<std::int64_t> Plan::idle_devices() const {
  if (cluster.groups.empty() || stages.empty()) return {};
  std::vector<bool> used(static_cast<std::size_t>(cluster.devices()), false);
  for (const Stage& stage : stages)
    for (const std::int64_t device : stage.devices) used.at(static_cast<std::size_t>(device)) = true;
  std::vector<std::int64_t> idle;
  for (std::size_t device = 0; device < used.size(); ++device)
    if (!used[device]) idle.push_back(static_cast<std::int64_t>(device));
  return idle;
}

void add_sends(std::vector<StageTimes>& times, const std::vector<BoundarySends>& boundaries, const Recipe& recipe,
               ScheduleKind schedule) {
  const bool beside = sends_overlap(recipe, schedule);
  for (std::size_t s = 0; s < times.size(); ++s) {
    const Seconds activation = boundaries[s].forward, gradient = s == 0 ? Seconds(0) : boundaries[s - 1].backward;
    if (!beside) {
      times[s].forward += activation, times[s].backward += gradient;
      continue;
    }
    times[s].activation_beside = activation, times[s].gradient_beside = gradient;
    const bool over_links_of_one_class = s > 0 && boundaries[s - 1].link == boundaries[s].link;
    times[s].link_beside = over_links_of_one_class ? activation + gradient : std::max(activation, gradient);
  }
}

std::vector<StageTimes> stage_times(const Plan& plan) {
  std::vector<StageTimes> times;
  std::vector<BoundarySends> sends;
  for (const Stage& stage : plan.stages) {
    times.push_back({stage.forward, stage.backward, stage.synchronization + stage.update, stage.backward_weight,
                     stage.shared_gradients_time});
    sends.push_back({stage.boundary.formula_forward, stage.boundary.formula_backward, stage.boundary.link});
  }
  add_sends(times, sends, plan.recipe, plan.schedule.kind);
  return times;
}

}  // namespace meshloom
