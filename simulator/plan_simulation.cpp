// A plan's durations and the links that its sends go over.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"
#include "planner/plan/ranks.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

enum class Direction { out, in };

// Numbers of links: of each host's NICs, then of each device's connection inside its host, both ways.
struct LinkNumbers {
  const Cluster& cluster;
  std::int64_t hosts = 0;
  std::int64_t host_of(std::int64_t device) const { return host_of_device(cluster, device); }
  std::uint32_t nics(std::int64_t host, Direction direction) const {
    return static_cast<std::uint32_t>(2 * host + (direction == Direction::in));
  }
  std::uint32_t device(std::int64_t number, Direction direction) const {
    return static_cast<std::uint32_t>(2 * (hosts + number) + (direction == Direction::in));
  }
};

// The bytes leave or enter the stage evenly over its hosts' NICs, or over its devices.
void add_end(Route& route, const LinkNumbers& numbers, const Stage& stage, LinkClass link, Direction direction) {
  std::set<std::uint32_t> ends;
  for (const std::int64_t device : stage.devices)
    ends.insert(link == LinkClass::inter_host ? numbers.nics(numbers.host_of(device), direction)
                                              : numbers.device(device, direction));
  for (const std::uint32_t each : ends) route.links.push_back({each, 1 / static_cast<double>(ends.size())});
}

Route route_between(const Plan& plan, const LinkNumbers& numbers, const Stage& from, const Stage& to, LinkClass link) {
  Route route;
  add_end(route, numbers, from, link, Direction::out);
  add_end(route, numbers, to, link, Direction::in);
  const Cluster border = border_between(plan.cluster, from.submesh.group, to.submesh.group);
  route.latency = to_picoseconds(link == LinkClass::inter_host ? border.nic.latency : border.intra_host.latency);
  return route;
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
    added.buckets = std::max(1LL, std::llround(std::ceil(stage.memory.gradients / plan.recipe.bucket_bytes)));
    gradient_send = stage.boundary.backward_time;
  }
  return durations;
}

Conditions conditions_of(const Plan& plan) {
  Conditions conditions;
  conditions.sends = sends_overlap(plan) ? Sends::overlapped : Sends::blocking;
  LinkNumbers numbers{plan.cluster, host_count(plan.cluster)};
  std::int64_t devices = 0;
  for (const Stage& stage : plan.stages)
    for (const std::int64_t device : stage.devices) devices = std::max(devices, device + 1);
  numbers.hosts = std::max(numbers.hosts, devices > 0 ? numbers.host_of(devices - 1) + 1 : 0);
  conditions.links = static_cast<std::size_t>(2 * (numbers.hosts + devices));
  conditions.activations.resize(plan.stages.size());
  conditions.gradients.resize(plan.stages.size());
  for (std::size_t s = 0; s + 1 < plan.stages.size(); ++s) {
    if (!plan.shape().sends_after(static_cast<std::int64_t>(s))) continue;
    const Stage &stage = plan.stages[s], &next = plan.stages[s + 1];
    conditions.activations[s] = route_between(plan, numbers, stage, next, stage.boundary.link);
    conditions.gradients[s + 1] = route_between(plan, numbers, next, stage, stage.boundary.link);
  }
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

}  // namespace meshloom
