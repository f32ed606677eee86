#include "planner/placement.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <set>

#include "costmodel/groups.hpp"

namespace meshloom {
namespace {

using Mask = std::uint32_t;               // of stages inside hosts, by position among them
using Stages = std::vector<std::size_t>;  // on one host, or the one stage of several

// The division of some stages among hosts that they fill, so that most bytes stay inside.
class Division {
 public:
  Division(const PlacementProblem& problem, Stages stages) : problem_(problem), stages_(std::move(stages)) {
    kept_.resize(std::size_t{1} << stages_.size());
    size_.resize(kept_.size());
    for (Mask set = 1; set < kept_.size(); ++set) {
      const auto top = static_cast<std::size_t>(std::bit_width(set) - 1);
      const Mask rest = set & ~(Mask{1} << top);
      size_[set] = size_[rest] + problem.stages[stages_[top]].devices();
      kept_[set] = kept_[rest];
      for (const StageExchange& each : problem.exchanges)
        if (joins(each, stages_[top], rest)) kept_[set] += each.bytes;
    }
  }

  std::vector<Stages> best() {
    const auto sets = kept_.size();
    best_.assign(sets, std::nullopt);
    host_.assign(sets, 0);
    best_[0] = Bytes(0);
    for (Mask set = 1; set < sets; ++set)
      if (size_[set] % problem_.devices_per_host == 0) divide(set);
    std::vector<Stages> hosts;
    for (Mask set = static_cast<Mask>(sets - 1); set != 0; set &= ~host_[set]) hosts.push_back(stages_of(host_[set]));
    return hosts;
  }

 private:
  bool joins(const StageExchange& exchange, std::size_t stage, Mask set) const {
    if (exchange.one != stage && exchange.other != stage) return false;
    const std::size_t far = exchange.one == stage ? exchange.other : exchange.one;
    for (std::size_t k = 0; k < stages_.size(); ++k)
      if ((set >> k & 1U) != 0 && stages_[k] == far) return true;
    return false;
  }

  // The host of the set's first stage, with each selection of others that fills it.
  void divide(Mask set) {
    const Mask first = set & (~set + 1), others = set & ~first;
    for (Mask more = others;; more = (more - 1) & others) {
      const Mask host = first | more;
      if (size_[host] == problem_.devices_per_host && best_[set & ~host]) {
        const Bytes kept = kept_[host] + *best_[set & ~host];
        if (!best_[set] || kept > *best_[set]) best_[set] = kept, host_[set] = host;
      }
      if (more == 0) break;
    }
  }

  Stages stages_of(Mask set) const {
    Stages result;
    for (std::size_t k = 0; k < stages_.size(); ++k)
      if ((set >> k & 1U) != 0) result.push_back(stages_[k]);
    return result;
  }

  const PlacementProblem& problem_;
  Stages stages_;
  std::vector<Bytes> kept_;         // by set: the bytes that stay inside when the set is one host
  std::vector<std::int64_t> size_;  // devices
  std::vector<std::optional<Bytes>> best_;
  std::vector<Mask> host_;  // of the set's first stage
};

std::vector<Stages> contiguous_hosts(const PlacementProblem& problem) {
  std::vector<Stages> hosts;
  std::int64_t offset = 0;
  for (std::size_t stage = 0; stage < problem.stages.size(); ++stage) {
    if (offset % problem.devices_per_host == 0) hosts.emplace_back();
    hosts.back().push_back(stage);
    offset += problem.stages[stage].devices();
  }
  return hosts;
}

bool is_inside(const PlacementProblem& problem, std::size_t stage) {
  return problem.stages[stage].devices() < problem.devices_per_host;
}

// Larger stages first, so that each begins at a multiple of its size; in stage order where they have one size.
std::vector<std::int64_t> devices_of(const PlacementProblem& problem, std::vector<Stages> hosts) {
  std::sort(hosts.begin(), hosts.end());
  std::vector<std::int64_t> first_devices(problem.stages.size());
  std::int64_t device = 0;
  for (Stages& host : hosts) {
    std::stable_sort(host.begin(), host.end(), [&](std::size_t a, std::size_t b) {
      return problem.stages[a].devices() > problem.stages[b].devices();
    });
    for (const std::size_t stage : host) {
      first_devices[stage] = device;
      device += problem.stages[stage].devices();
    }
  }
  return first_devices;
}

// Divides the stages of each two hosts again, as long as that keeps more bytes inside.
std::vector<Stages> improved_by_pairs(const PlacementProblem& problem, std::vector<Stages> hosts) {
  const auto crossing = [&](const std::vector<Stages>& all) {
    return bytes_across_hosts(problem, devices_of(problem, all));
  };
  Bytes least = crossing(hosts);
  for (bool improved = true; improved;) {
    improved = false;
    const std::size_t count = std::min(hosts.size(), most_hosts_paired);
    for (std::size_t a = 0; a < count; ++a)
      for (std::size_t b = a + 1; b < count; ++b) {
        Stages both = hosts[a];
        both.insert(both.end(), hosts[b].begin(), hosts[b].end());
        std::sort(both.begin(), both.end());
        if (both.size() > most_stages_placed_exactly) continue;
        const std::vector<Stages> again = Division(problem, both).best();
        std::vector<Stages> changed = hosts;
        changed[a] = again[0], changed[b] = again[1];
        if (const Bytes bytes = crossing(changed); bytes < least)
          least = bytes, hosts = std::move(changed), improved = true;
      }
  }
  return hosts;
}

}  // namespace

Bytes bytes_across_hosts(const PlacementProblem& problem, const std::vector<std::int64_t>& first_devices) {
  Bytes bytes;
  const auto host_of = [&](std::size_t stage) { return first_devices[stage] / problem.devices_per_host; };
  for (const StageExchange& each : problem.exchanges) {
    const bool together =
        is_inside(problem, each.one) && is_inside(problem, each.other) && host_of(each.one) == host_of(each.other);
    if (!together) bytes += each.bytes;
  }
  return bytes;
}

std::vector<std::int64_t> contiguous_placement(const PlacementProblem& problem) {
  std::vector<std::int64_t> first_devices;
  std::int64_t device = 0;
  for (const Submesh& stage : problem.stages) {
    first_devices.push_back(device);
    device += stage.devices();
  }
  return first_devices;
}

namespace {

// The hosts, and stages of several hosts, are parts of the pipeline: so many pairs of neighbours less one are apart.
bool crosses_least(const PlacementProblem& problem, std::size_t parts) {
  std::vector<Bytes> neighbours(problem.stages.size() - 1);
  for (const StageExchange& each : problem.exchanges)
    if (std::max(each.one, each.other) - std::min(each.one, each.other) == 1)
      neighbours[std::min(each.one, each.other)] += each.bytes;
  std::sort(neighbours.begin(), neighbours.end());
  const Bytes least =
      std::accumulate(neighbours.begin(), neighbours.begin() + static_cast<std::ptrdiff_t>(parts - 1), Bytes(0));
  return !(bytes_across_hosts(problem, contiguous_placement(problem)) > least);
}

}  // namespace

std::vector<std::int64_t> least_crossing_placement(const PlacementProblem& problem) {
  std::vector<Stages> whole_hosts, hosts;
  Stages inside;
  for (Stages& host : contiguous_hosts(problem)) {
    if (!is_inside(problem, host.front())) {
      whole_hosts.push_back(std::move(host));
      continue;
    }
    inside.insert(inside.end(), host.begin(), host.end());
    hosts.push_back(std::move(host));
  }
  const std::vector<std::int64_t> contiguous = contiguous_placement(problem);
  if (hosts.size() < 2 || crosses_least(problem, hosts.size() + whole_hosts.size())) return contiguous;
  hosts = inside.size() <= most_stages_placed_exactly ? Division(problem, inside).best()
                                                      : improved_by_pairs(problem, std::move(hosts));
  hosts.insert(hosts.end(), whole_hosts.begin(), whole_hosts.end());
  std::vector<std::int64_t> placed = devices_of(problem, std::move(hosts));
  const bool better = bytes_across_hosts(problem, placed) < bytes_across_hosts(problem, contiguous);
  return better ? placed : contiguous;
}

namespace {

// Between stages: what one makes and another reads, and the gradient that comes back.
std::vector<StageExchange> exchanges_of(const SearchSpace& space, const PipelineRequest& request) {
  const Graph& graph = space.input.graph;
  std::vector<std::size_t> stage_of(space.layers.layers.size());
  for (std::size_t s = 0; s < request.stages.size(); ++s)
    for (std::int64_t l = request.stages[s].first_layer; l <= request.stages[s].last_layer; ++l)
      stage_of[static_cast<std::size_t>(l)] = s;
  std::map<std::pair<std::size_t, std::size_t>, Bytes> bytes;
  for (std::size_t op = 0; op < graph.ops.size(); ++op)
    for (const TensorId t : graph.ops[op].outputs) {
      std::set<std::size_t> readers;
      for (const OpId reader : space.training.relations.consumers[index(t)])
        readers.insert(stage_of[space.layers.layer_of[index(reader)]]);
      const std::size_t maker = stage_of[space.layers.layer_of[op]];
      readers.erase(maker);
      const double ways = space.training.relations.needs_gradient[index(t)] ? 2 : 1;
      for (const std::size_t reader : readers)
        bytes[std::minmax(maker, reader)] += ways * bytes_of(space, t, request.microbatch_size);
    }
  std::vector<StageExchange> result;
  for (const auto& [stages, each] : bytes) result.push_back({stages.first, stages.second, each});
  return result;
}

// The stages of one group, and where they then begin, counted from the group's first device.
bool place_group(const Cluster& group, std::int64_t first_device, const std::vector<std::size_t>& stages,
                 const std::vector<StageExchange>& exchanges, PipelineRequest& request) {
  PlacementProblem problem{group.devices_per_host, {}, {}};
  std::map<std::size_t, std::size_t> position;
  for (const std::size_t stage : stages) {
    position[stage] = problem.stages.size();
    problem.stages.push_back(request.stages[stage].submesh);
  }
  for (const StageExchange& each : exchanges)
    if (position.contains(each.one) && position.contains(each.other))
      problem.exchanges.push_back({position[each.one], position[each.other], each.bytes});
  const std::vector<std::int64_t> first_devices = least_crossing_placement(problem);
  for (std::size_t k = 0; k < stages.size(); ++k)
    std::iota(request.stages[stages[k]].devices.begin(), request.stages[stages[k]].devices.end(),
              first_device + first_devices[k]);
  return first_devices != contiguous_placement(problem);
}

}  // namespace

std::optional<PipelineRequest> placed_otherwise(const SearchSpace& space, const PipelineRequest& request) {
  const ScheduleKind kind = request.schedule.kind;
  if (kind != ScheduleKind::one_f_one_b && kind != ScheduleKind::gpipe) return std::nullopt;
  const std::vector<StageExchange> exchanges = exchanges_of(space, request);
  PipelineRequest placed = request;
  bool moved = false;
  for (std::uint32_t group = 0; group < group_count(space.input.cluster); ++group) {
    std::vector<std::size_t> stages;
    for (std::size_t s = 0; s < request.stages.size(); ++s)
      if (request.stages[s].submesh.group == group) stages.push_back(s);
    if (!stages.empty() && place_group(group_at(space.input.cluster, group),
                                       first_device_of(space.input.cluster, group), stages, exchanges, placed))
      moved = true;
  }
  return moved ? std::optional(std::move(placed)) : std::nullopt;
}

}  // namespace meshloom
