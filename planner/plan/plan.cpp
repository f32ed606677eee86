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

std::vector<StageTimes> stage_times(const Plan& plan) {
  const bool blocking = !sends_overlap(plan);
  std::vector<StageTimes> times;
  times.reserve(plan.stages.size());
  Seconds gradient_send;  // of the first stage: nothing
  for (const Stage& stage : plan.stages) {
    times.push_back({stage.forward, stage.backward, stage.synchronization + stage.update, stage.backward_weight,
                     stage.shared_gradients_time});
    if (blocking) times.back().forward += stage.boundary.formula_forward, times.back().backward += gradient_send;
    gradient_send = stage.boundary.formula_backward;
  }
  return times;
}

}  // namespace meshloom
