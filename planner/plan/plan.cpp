#include "planner/plan/plan.hpp"

#include <algorithm>

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
  for (const Stage& stage : stages) total += static_cast<std::int64_t>(stage.devices.size());
  return total;
}

Bytes Plan::peak_memory() const {
  Bytes peak;
  for (const Stage& stage : stages) peak = std::max(peak, stage.memory.peak());
  return peak;
}

double Plan::flops_per_device_second() const {
  if (stages.empty() || iteration_time == Seconds(0)) return 0;
  return (model_flops / iteration_time).value() / static_cast<double>(devices());
}

Seconds schedule_formula(ScheduleKind kind, const std::vector<StageTimes>& stages, std::int64_t microbatches) {
  Seconds all_forward, all_backward, slowest_forward, slowest_backward, slowest, exposed, backward_before;
  for (const StageTimes& stage : stages) {
    exposed = std::max(exposed, stage.per_step - backward_before);
    backward_before += stage.backward;
    all_forward += stage.forward;
    all_backward += stage.backward;
    slowest_forward = std::max(slowest_forward, stage.forward);
    slowest_backward = std::max(slowest_backward, stage.backward);
    slowest = std::max(slowest, stage.forward + stage.backward);
  }
  const double repeats = static_cast<double>(microbatches - 1);
  switch (kind) {
    case ScheduleKind::gpipe:
      return all_forward + repeats * slowest_forward + all_backward + repeats * slowest_backward + exposed;
    case ScheduleKind::one_f_one_b:
      return all_forward + all_backward + repeats * slowest + exposed;
  }
  return {};
}

std::vector<StageTimes> stage_times(const Plan& plan) {
  std::vector<StageTimes> times;
  times.reserve(plan.stages.size());
  Seconds gradient_send;  // of the first stage: nothing
  for (const Stage& stage : plan.stages) {
    times.push_back({stage.forward + stage.boundary.forward_time, stage.backward + gradient_send,
                     stage.synchronization + stage.update});
    gradient_send = stage.boundary.backward_time;
  }
  return times;
}

}  // namespace meshloom
