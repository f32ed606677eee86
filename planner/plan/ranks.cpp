#include "planner/plan/ranks.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "costmodel/groups.hpp"

namespace meshloom {

PipelineProgram program_of(const Plan& plan) {
  if (plan.program) return *plan.program;
  return make_program(plan.schedule, plan.ranks(), plan.microbatches, run_lengths(plan));
}

std::vector<RunLengths> run_lengths(const Plan& plan) {
  const auto picoseconds = [](Seconds time) { return std::llround(time.value() * 1e12); };
  const bool overlap = sends_overlap(plan);
  std::vector<RunLengths> lengths;
  lengths.reserve(plan.stages.size());
  Seconds gradient_send;  // of the first stage: nothing
  for (const Stage& stage : plan.stages) {
    RunLengths each{picoseconds(stage.forward), picoseconds(stage.backward - stage.backward_weight),
                    picoseconds(stage.backward_weight), picoseconds(stage.boundary.forward_time),
                    picoseconds(gradient_send)};
    if (!overlap) {
      each.forward += each.send_activation, each.send_activation = 0;
      each.backward_input += each.send_gradient, each.send_gradient = 0;
    }
    lengths.push_back(each);
    gradient_send = stage.boundary.backward_time;
  }
  return lengths;
}

bool sends_overlap(const Plan& plan) { return sends_overlap(plan.recipe, plan.schedule.kind); }

bool sends_overlap(const Recipe& recipe, ScheduleKind schedule) {
  switch (recipe.overlap_sends) {
    case OverlapSends::none:
      return false;
    case OverlapSends::by_schedule:
      return sends_ahead(schedule);
    case OverlapSends::all:
      return true;
  }
  return false;
}

Seconds overlapped_synchronization(const Plan& plan, const Stage& stage) {
  if (plan.recipe.overlap_synchronization != OverlapSynchronization::last_backward) return Seconds(0);
  Seconds reducing;
  for (const Conversion& conversion : stage.conversions)
    if (conversion.rate == Rate::per_step && conversion.consumer == "optimizer")
      for (const CollectiveStep& step : conversion.backward)
        if (step.collective == Collective::all_reduce || step.collective == Collective::reduce_scatter)
          reducing += step.time;
  return std::max(Seconds(0), std::min(reducing, stage.synchronization - stage.shared_gradients_time));
}

std::int64_t gradient_buckets(const Plan& plan, const Stage& stage) {
  std::int64_t devices = 1;
  for (const Conversion& conversion : stage.conversions)
    if (conversion.rate == Rate::per_step && conversion.consumer == "optimizer")
      for (const CollectiveStep& step : conversion.backward) {
        std::int64_t group = 1;
        for (const MeshAxis& axis : stage.mesh)
          if (std::find(step.axes.begin(), step.axes.end(), axis.name) != step.axes.end()) group *= axis.size;
        devices = std::max(devices, group);
      }
  const Bytes bucket =
      std::max(plan.recipe.bucket_bytes, static_cast<double>(devices) * plan.recipe.bucket_bytes_per_device);
  return std::max(1LL, std::llround(std::ceil(stage.memory.gradients / bucket)));
}

Seconds backward_weight_compute(const Stage& stage) {
  std::set<std::string_view> parameters;
  for (const TensorLayout& tensor : stage.tensors)
    if (tensor.parameter) parameters.insert(tensor.tensor);
  Seconds reducing;
  for (const Conversion& conversion : stage.conversions)
    if (conversion.rate == Rate::per_microbatch && parameters.contains(conversion.tensor))
      for (const CollectiveStep& step : conversion.backward)
        if (reduces(step.collective)) reducing += step.time;
  return std::clamp(stage.backward_weight - reducing, Seconds(0), stage.backward_compute);
}

void count_activations(Plan& plan) {
  const PipelineShape shape = plan.shape();
  switch (plan.schedule.kind) {
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::eager_one_f_one_b:
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_h2:
    case ScheduleKind::inference:
      for (std::int64_t rank = 0; rank < shape.ranks; ++rank)
        plan.stages[static_cast<std::size_t>(rank)].memory.in_flight =
            in_flight(plan.schedule, shape.ranks, rank, plan.microbatches);
      return;
    case ScheduleKind::interleaved:
    case ScheduleKind::zb_1p:
    case ScheduleKind::zb_2p:
    case ScheduleKind::dualpipe:
    case ScheduleKind::custom:
      break;
  }
  std::vector<double> weights;
  for (const Stage& stage : plan.stages) weights.push_back(stage.memory.activations_per_microbatch.value());
  const std::vector<std::int64_t> held = held_at_peak(program_of(plan), weights);
  for (std::size_t s = 0; s < held.size(); ++s) plan.stages[s].memory.in_flight = held[s];
}

std::vector<StageMemory> memory_of_rank(const Plan& plan, std::size_t rank) {
  const PipelineShape shape = plan.shape();
  std::vector<StageMemory> chunks;
  for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk)
    chunks.push_back(
        plan.stages[static_cast<std::size_t>(shape.stage_of(static_cast<std::int64_t>(rank), chunk))].memory);
  return chunks;
}

Bytes device_memory(const std::vector<StageMemory>& chunks, Bytes transient) {
  Bytes held, overhead;
  for (const StageMemory& chunk : chunks) {
    const Bytes activations = static_cast<double>(chunk.in_flight) * chunk.activations_per_microbatch;
    held += chunk.parameters + chunk.gradients + chunk.optimizer + activations;
    overhead += chunk.overhead;
  }
  return held + transient + overhead;
}

Bytes device_memory(const std::vector<StageMemory>& chunks) {
  Bytes transient;
  for (const StageMemory& chunk : chunks) transient = std::max(transient, chunk.transient);
  return device_memory(chunks, transient);
}

Bytes memory_capacity(const Plan& plan, std::size_t rank) {
  return group_at(plan.cluster, plan.stages[rank].submesh.group).device.memory;
}

MemoryUse tightest_memory(const Plan& plan) {
  MemoryUse tightest{Bytes(0), group_at(plan.cluster, 0).device.memory};
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(plan.ranks()); ++rank) {
    const MemoryUse use{device_memory(memory_of_rank(plan, rank)), memory_capacity(plan, rank)};
    if (use.peak / use.capacity > tightest.peak / tightest.capacity) tightest = use;
  }
  return tightest;
}

}  // namespace meshloom
