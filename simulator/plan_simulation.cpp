// A plan's durations and the links that its sends go over.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string_view>

#include "graphs/input_error.hpp"
#include "planner/plan/ranks.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

constexpr double rounding = 1e-9;  // of shares

// What a plan's transfers and collectives put on links, as routes in the making.
class Routes {
 public:
  explicit Routes(const Plan& plan) : plan_(plan), links_(plan.cluster) {}

  // `alone`: what the transfers take when no other is under way.
  void add(Route& route, const std::vector<Transfer>& transfers, Seconds alone) {
    const Seconds latency = std::min(latency_of(links_, transfers), alone);
    route.latency = to_picoseconds(latency);
    add(route, loads_of(links_, transfers), alone - latency);
  }

  // Gradients and parameters of all chunks of a rank, as rings of their groups, on the average of their time.
  void add_synchronization(Route& route, std::size_t rank) {
    LinkLoads loads;
    Seconds alone;
    for (std::size_t s = rank; s < plan_.stages.size(); ++s) {
      const Stage& stage = plan_.stages[s];
      if (plan_.shape().rank_of(static_cast<std::int64_t>(s)) != static_cast<std::int64_t>(rank)) continue;
      alone += stage.synchronization;
      // Rings over the same axes load the stage's devices alike, so their bytes are added up first.
      std::map<unsigned, RingBytes> by_axes;
      for (const Conversion& conversion : stage.conversions)
        if (conversion.rate == Rate::per_step)
          for (const auto* steps : {&conversion.forward, &conversion.backward})
            for (const CollectiveStep& step : *steps) add_ring(by_axes, stage, step);
      for (const auto& [axes, bytes] : by_axes)
        links_.add_rings(loads, stage.devices, group_of({stage.submesh, stage.mesh}, axes), bytes.across, bytes.inside);
    }
    add(route, loads, alone);
  }

  // Gives the routes the links on which they can be in each other's way, and says how many these are. Links that always
  // carry the same are one.
  std::size_t finish() {
    std::map<std::vector<std::pair<std::size_t, double>>, std::uint32_t> numbers;
    for (const auto& [link, users] : users_) {
      double wanted = 0;
      for (const auto& [route, share] : users) wanted += share;
      if (wanted <= 1 + rounding || !numbers.emplace(users, static_cast<std::uint32_t>(numbers.size())).second)
        continue;
      for (const auto& [route, share] : users) routes_[route]->links.push_back({numbers.at(users), share});
    }
    return numbers.size();
  }

 private:
  struct RingBytes {
    Bytes across, inside;  // as add_rings takes them
  };

  static void add_ring(std::map<unsigned, RingBytes>& by_axes, const Stage& stage, const CollectiveStep& step) {
    unsigned axis_set = 0;
    for (std::size_t axis = 0; axis < stage.mesh.size(); ++axis)
      if (std::count(step.axes.begin(), step.axes.end(), stage.mesh[axis].name) > 0) axis_set |= 1U << axis;
    const DeviceGroup group = group_of({stage.submesh, stage.mesh}, axis_set);
    const Bytes wire = wire_bytes(step.collective, step.whole, group.size);
    RingBytes& bytes = by_axes[axis_set];
    if (group.hosts > 1) bytes.across += static_cast<double>(group.groups_per_host) * wire;
    if (group.size > group.hosts) bytes.inside += wire;
  }

  void add(Route& route, const LinkLoads& loads, Seconds alone) {
    if (!(alone > Seconds(0))) return;
    for (const auto& [link, bytes] : loads) {
      // The plan's time is believed: alone, nothing needs more than a link has.
      users_[link].emplace_back(routes_.size(), std::min(1.0, bytes / links_.capacity(link) / alone));
    }
    routes_.push_back(&route);
  }

  const Plan& plan_;
  ClusterLinks links_;
  std::vector<Route*> routes_;
  std::map<std::uint32_t, std::vector<std::pair<std::size_t, double>>> users_;  // by link: routes and their shares
};

// By rank: the first of those with which it shares parameters, directly or over others.
std::vector<std::size_t> ranks_sharing(const Plan& plan) {
  std::vector<std::size_t> first(static_cast<std::size_t>(plan.ranks()));
  std::iota(first.begin(), first.end(), std::size_t{0});
  std::map<std::string_view, std::size_t> holder;  // of parameters: a rank
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    if (!(plan.stages[s].shared_gradients_time > Seconds(0))) continue;
    const auto rank = static_cast<std::size_t>(plan.shape().rank_of(static_cast<std::int64_t>(s)));
    for (const TensorLayout& tensor : plan.stages[s].tensors) {
      if (!tensor.parameter) continue;
      const std::size_t other = first[holder.try_emplace(tensor.tensor, rank).first->second], own = first[rank];
      std::replace(first.begin(), first.end(), std::max(own, other), std::min(own, other));
    }
  }
  return first;
}

}  // namespace

std::vector<StageDurations> durations_of(const Plan& plan) {
  std::vector<StageDurations> durations;
  durations.reserve(plan.stages.size());
  Seconds gradient_send;  // of the first stage: nothing
  for (const Stage& stage : plan.stages) {
    const Picoseconds backward = to_picoseconds(stage.backward);
    durations.push_back({to_picoseconds(stage.forward), backward, to_picoseconds(stage.boundary.forward_time),
                         to_picoseconds(gradient_send), to_picoseconds(stage.synchronization),
                         to_picoseconds(stage.update), std::min(backward, to_picoseconds(stage.backward_weight))});
    StageDurations& added = durations.back();
    added.overlapped_synchronize = std::min(added.synchronize, to_picoseconds(overlapped_synchronization(plan, stage)));
    added.buckets = gradient_buckets(plan, stage);
    added.shared_synchronize =
        std::min(added.synchronize - added.overlapped_synchronize, to_picoseconds(stage.shared_gradients_time));
    gradient_send = stage.boundary.backward_time;
  }
  return durations;
}

Conditions conditions_of(const Plan& plan) {
  Conditions conditions;
  conditions.sends = sends_overlap(plan) ? Sends::overlapped : Sends::blocking;
  conditions.activations.resize(plan.stages.size());
  conditions.gradients.resize(plan.stages.size());
  conditions.synchronizations.resize(static_cast<std::size_t>(plan.ranks()));
  Routes routes(plan);
  for (std::size_t s = 0; s + 1 < plan.stages.size(); ++s) {
    const StageBoundary& boundary = plan.stages[s].boundary;
    routes.add(conditions.activations[s], boundary.activations, boundary.forward_time);
    routes.add(conditions.gradients[s + 1], boundary.gradients, boundary.backward_time);
  }
  for (std::size_t rank = 0; rank < conditions.synchronizations.size(); ++rank)
    routes.add_synchronization(conditions.synchronizations[rank], rank);
  conditions.links = routes.finish();
  conditions.sharing = ranks_sharing(plan);
  return conditions;
}

Simulation simulate(const Plan& plan) {
  if (plan.stages.empty())
    throw InputError("plan", fmt::format("has no stages to simulate; its status is {}", name(plan.status)));
  return simulate(program_of(plan), durations_of(plan), conditions_of(plan));
}

Picoseconds step_time(const Plan& plan, const Simulation& simulation) {
  return updates_apart(plan.schedule.kind) ? simulation.period : simulation.makespan;
}

void apply_simulation(Plan& plan, const Simulation& simulation) {
  const Picoseconds step = step_time(plan, simulation);
  plan.iteration_time = Seconds(static_cast<double>(step) * 1e-12);
  double idle = 0;  // device-picoseconds
  for (std::size_t rank = 0; rank < simulation.busy.size(); ++rank)
    idle += static_cast<double>(step - simulation.busy[rank]) * static_cast<double>(plan.stages[rank].devices.size());
  const double available = static_cast<double>(step) * static_cast<double>(plan.devices());
  plan.bubble_fraction = available > 0 ? idle / available : 0;
}

std::vector<SeenTimes> seen_times(const Plan& plan, const Simulation& simulation) {
  const PipelineShape shape = plan.shape();
  std::vector<Picoseconds> activations(plan.stages.size()), gradients = activations;
  std::vector<Picoseconds> synchronizing = simulation.busy;  // what is left of it without the rest
  const bool blocking = !sends_overlap(plan);
  for (const TimelineEntry& entry : simulation.timeline) {
    const Instruction each = entry.instruction;
    const bool sends = each.kind == InstructionKind::send_activation || each.kind == InstructionKind::send_gradient;
    if (is_receive(each.kind) || each.kind == InstructionKind::synchronize || (sends && !blocking)) continue;
    const Picoseconds duration = entry.end - entry.start;
    const auto stage = static_cast<std::size_t>(shape.stage_of(entry.rank, each.chunk));
    synchronizing[static_cast<std::size_t>(entry.rank)] -= duration;
    if (each.kind == InstructionKind::send_activation) activations[stage] += duration;
    if (each.kind == InstructionKind::send_gradient) gradients[stage] += duration;
  }
  std::vector<Seconds> planned(synchronizing.size());
  for (std::size_t s = 0; s < plan.stages.size(); ++s)
    planned[static_cast<std::size_t>(shape.rank_of(static_cast<std::int64_t>(s)))] += plan.stages[s].synchronization;
  const auto seconds = [](Picoseconds time) { return Seconds(static_cast<double>(time) * 1e-12); };
  std::vector<SeenTimes> seen;
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const auto rank = static_cast<std::size_t>(shape.rank_of(static_cast<std::int64_t>(s)));
    const double part = planned[rank] > Seconds(0) ? plan.stages[s].synchronization / planned[rank] : 0;
    seen.push_back({seconds(activations[s]), seconds(gradients[s]), part * seconds(synchronizing[rank])});
  }
  return seen;
}

}  // namespace meshloom
