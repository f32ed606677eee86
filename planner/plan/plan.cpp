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

namespace {

// What the formulas are made of.
struct Totals {
  Seconds forward, backward;                               // sums
  Seconds slowest_forward, slowest_backward, slowest;      // of one stage
  Seconds h1_bubble, h2_bubble, two_p_bubble, vee_bubble;  // as in plan.hpp, with p − 1 behind the first rank
  Seconds slowest_rank;                                    // Σt of a rank's chunks
  Seconds exposed, per_step;                               // max_i max(0, sync_i − Σ_{j<i} b_j), max sync; by rank
};

Totals totals_of(const PipelineShape& shape, const std::vector<StageTimes>& stages) {
  Totals totals;
  const double ranks = static_cast<double>(shape.ranks), behind = ranks - 1;
  std::vector<Seconds> rank_time(static_cast<std::size_t>(shape.ranks)), rank_step = rank_time;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const auto& [forward, backward, per_step, weight] = stages[s];
    const auto rank = static_cast<std::size_t>(shape.rank_of(static_cast<std::int64_t>(s)));
    rank_time[rank] += forward + backward;
    rank_step[rank] += per_step;
    totals.forward += forward;
    totals.backward += backward;
    totals.slowest_forward = std::max(totals.slowest_forward, forward);
    totals.slowest_backward = std::max(totals.slowest_backward, backward);
    totals.slowest = std::max(totals.slowest, forward + backward);
    const Seconds input = backward - weight, over_weight = std::max(Seconds(0), forward - weight);
    totals.h1_bubble = std::max(totals.h1_bubble, behind * (input + over_weight));
    totals.h2_bubble = std::max(totals.h2_bubble, behind * (input - forward + 2 * over_weight));
    totals.two_p_bubble = std::max(
        {totals.two_p_bubble, behind * (forward + input) - (2 * ranks - 1) * weight, behind * input - ranks * forward});
    totals.vee_bubble = std::max(totals.vee_bubble, behind * (forward + std::max(Seconds(0), input - weight)));
  }
  Seconds backward_before;
  for (std::size_t rank = 0; rank < rank_step.size(); ++rank) {
    totals.exposed = std::max(totals.exposed, rank_step[rank] - backward_before);
    totals.per_step = std::max(totals.per_step, rank_step[rank]);
    totals.slowest_rank = std::max(totals.slowest_rank, rank_time[rank]);
    backward_before += stages[rank].backward;
  }
  return totals;
}

}  // namespace

Seconds schedule_formula(const Schedule& schedule, const std::vector<StageTimes>& stages, std::int64_t microbatches) {
  const std::int64_t ranks = std::ssize(stages) / schedule.chunks;
  const Totals totals = totals_of(shape_of(schedule, ranks), stages);
  const double repeats = static_cast<double>(microbatches - 1), count = static_cast<double>(microbatches);
  const double behind = static_cast<double>(ranks - 1);
  switch (schedule.kind) {
    case ScheduleKind::gpipe:
      return totals.forward + repeats * totals.slowest_forward + totals.backward + repeats * totals.slowest_backward +
             totals.exposed;
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::eager_one_f_one_b:
      return totals.forward + totals.backward + repeats * totals.slowest + totals.exposed;
    case ScheduleKind::interleaved:
      return count * totals.slowest_rank + behind * totals.slowest + totals.exposed;
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_1p:
      return count * totals.slowest + totals.h1_bubble + totals.per_step;
    case ScheduleKind::zb_h2:
      return count * totals.slowest + totals.h2_bubble + totals.per_step;
    case ScheduleKind::zb_2p:
      return count * totals.slowest + totals.two_p_bubble + totals.per_step;
    case ScheduleKind::dualpipe:
      return count * totals.slowest_rank + totals.vee_bubble + totals.per_step;
    case ScheduleKind::inference:
      return totals.forward + repeats * totals.slowest_forward;
    case ScheduleKind::custom:
      return {};
  }
  return {};
}

std::vector<StageTimes> stage_times(const Plan& plan) {
  const bool blocking = !sends_overlap(plan);
  std::vector<StageTimes> times;
  times.reserve(plan.stages.size());
  Seconds gradient_send;  // of the first stage: nothing
  for (const Stage& stage : plan.stages) {
    times.push_back({stage.forward, stage.backward, stage.synchronization + stage.update, stage.backward_weight});
    if (blocking) times.back().forward += stage.boundary.formula_forward, times.back().backward += gradient_send;
    gradient_send = stage.boundary.formula_backward;
  }
  return times;
}

}  // namespace meshloom
