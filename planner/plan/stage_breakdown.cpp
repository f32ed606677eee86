#include "planner/plan/stage_breakdown.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace meshloom {
namespace {

// What a stage's rank is busy with for this stage.
std::vector<NamedTime> busy_times_of(const Plan& plan, const Stage& stage, const SeenTimes& seen) {
  const double microbatches = static_cast<double>(plan.microbatches);
  std::vector<NamedTime> times{
      {"forward_compute", microbatches * stage.forward_compute},
      {"forward_collectives", microbatches * (stage.forward - stage.forward_compute)},
      {"backward_compute", microbatches * stage.backward_compute},
      {"backward_collectives", microbatches * (stage.backward - stage.backward_compute)},
      {"send_activations", seen.send_activations},
      {"send_gradients", seen.send_gradients},
      {"synchronization", seen.synchronization},
      {"update", stage.update},
  };
  if (plan.schedule.kind == ScheduleKind::inference)
    for (NamedTime& each : times)
      if (each.name != "forward_compute" && each.name != "forward_collectives" && each.name != "send_activations")
        each.time = Seconds(0);
  return times;
}

Seconds sum_of(const std::vector<NamedTime>& times) {
  Seconds sum;
  for (const NamedTime& each : times) sum += each.time;
  return sum;
}

std::vector<NamedTime> times_of(const Plan& plan, const std::vector<SeenTimes>& seen, std::size_t position) {
  std::vector<NamedTime> times = busy_times_of(plan, plan.stages[position], seen[position]);
  const PipelineShape shape = plan.shape();
  const std::int64_t rank = shape.rank_of(static_cast<std::int64_t>(position));
  Seconds others;
  for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const auto other = static_cast<std::size_t>(shape.stage_of(rank, chunk));
    if (other != position) others += sum_of(busy_times_of(plan, plan.stages[other], seen[other]));
  }
  // The simulation counts whole picoseconds, so nothing idle may come out a rounding below 0.
  const Seconds idle = std::max(Seconds(0), plan.iteration_time - sum_of(times) - others);
  if (shape.chunks > 1) times.push_back({"other_chunks", others});
  times.push_back({"idle", idle});
  return times;
}

std::vector<NamedBytes> memory_of(const StageMemory& memory) {
  return {{"parameters", memory.parameters},
          {"gradients", memory.gradients},
          {"optimizer", memory.optimizer},
          {"activations", static_cast<double>(memory.in_flight) * memory.activations_per_microbatch},
          {"transient", memory.transient},
          {"overhead", memory.overhead}};
}

std::vector<ConversionTime> conversions_of(const Plan& plan, const Stage& stage) {
  std::vector<ConversionTime> result;
  for (const Conversion& conversion : stage.conversions) {
    ConversionTime entry{conversion.tensor,
                         conversion.consumer,
                         print_layout(conversion.from, stage.mesh.size()),
                         print_layout(conversion.to, stage.mesh.size()),
                         {},
                         {}};
    for (const auto* steps : {&conversion.forward, &conversion.backward})
      for (const CollectiveStep& step : *steps) {
        entry.collectives.push_back(fmt::format("{} over {}", name(step.collective), fmt::join(step.axes, ",")));
        entry.per_step += step.time;
      }
    if (conversion.rate == Rate::per_microbatch) entry.per_step *= static_cast<double>(plan.microbatches);
    if (!entry.collectives.empty()) result.push_back(std::move(entry));
  }
  if (stage.shared_gradients_time > Seconds(0))
    result.push_back(
        {"shared parameters", "optimizer", "-", "-", {"all_reduce between stages"}, stage.shared_gradients_time});
  std::stable_sort(result.begin(), result.end(),
                   [](const ConversionTime& a, const ConversionTime& b) { return a.per_step > b.per_step; });
  return result;
}

std::vector<NamedTime> ops_of(const Plan& plan, const Stage& stage) {
  std::vector<NamedTime> result;
  for (const OpSharding& op : stage.ops)
    result.push_back({op.op, static_cast<double>(plan.microbatches) * (op.forward + op.backward)});
  std::stable_sort(result.begin(), result.end(),
                   [](const NamedTime& a, const NamedTime& b) { return a.time > b.time; });
  return result;
}

}  // namespace

std::string layer_names(const Plan& plan, std::int64_t first, std::int64_t last) {
  const auto layer = [&](std::int64_t i) {
    return i >= 0 && i < std::ssize(plan.layers) ? plan.layers[static_cast<std::size_t>(i)] : fmt::format("{}", i);
  };
  return first == last ? layer(first) : layer(first) + "…" + layer(last);
}

std::string mesh_text(const std::vector<MeshAxis>& mesh) {
  std::vector<std::string> axes;
  for (const MeshAxis& axis : mesh) axes.push_back(fmt::format("{}={}", axis.name, axis.size));
  return axes.empty() ? "-" : fmt::format("{}", fmt::join(axes, " "));
}

std::vector<StageBreakdown> break_down(const Plan& plan, const std::vector<SeenTimes>& seen) {
  std::vector<StageBreakdown> result;
  for (std::size_t position = 0; position < plan.stages.size(); ++position) {
    const Stage& stage = plan.stages[position];
    result.push_back({stage.first_layer, stage.last_layer, layer_names(plan, stage.first_layer, stage.last_layer),
                      times_of(plan, seen, position), memory_of(stage.memory), stage.memory.peak(),
                      conversions_of(plan, stage), ops_of(plan, stage)});
  }
  return result;
}

}  // namespace meshloom
