#include "costmodel/cross_mesh.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "costmodel/collectives.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

std::int64_t common_elements(const Tile& a, const Tile& b, Tile& common) {
  common = a;
  for (std::size_t d = 0; d < a.begin.size(); ++d) {
    const std::int64_t end = std::min(a.begin[d] + a.size[d], b.begin[d] + b.size[d]);
    common.begin[d] = std::max(a.begin[d], b.begin[d]);
    common.size[d] = std::max<std::int64_t>(0, end - common.begin[d]);
  }
  return common.elements();
}

using Holders = std::map<Tile, std::vector<std::int64_t>>;  // devices by the tile they hold

Holders holders_of(const PlacedLayout& placed, const std::vector<std::int64_t>& shape) {
  Holders holders;
  for (std::size_t place = 0; place < placed.devices.size(); ++place)
    holders[tile_of(placed, shape, place)].push_back(placed.devices[place]);
  for (auto& [tile, devices] : holders) std::sort(devices.begin(), devices.end());
  return holders;
}

// A part of a piece that a device of a host has to receive.
struct Demand {
  PieceSend send;  // without a sender
  std::vector<std::int64_t> sources;
};

class Assignment {
 public:
  explicit Assignment(const Cluster& cluster) : cluster_(cluster) {}

  void add(Demand demand) {
    PieceSend& send = demand.send;
    const auto part = std::tuple(send.piece, send.begin, send.end);
    std::vector<std::int64_t> candidates = demand.sources;
    const auto forwarders = received_.find(part);
    if (forwarders != received_.end())
      candidates.insert(candidates.end(), forwarders->second.begin(), forwarders->second.end());
    received_[part].push_back(send.to);
    if (std::find(candidates.begin(), candidates.end(), send.to) != candidates.end()) return;  // it has it
    send.from = *std::min_element(candidates.begin(), candidates.end(), [&](std::int64_t a, std::int64_t b) {
      return preference(a, send.to) < preference(b, send.to);
    });
    const std::int64_t elements = send.end - send.begin;
    if (host(send.from) != host(send.to)) by_host_[host(send.from)] += elements;
    by_device_[send.from] += elements;
    result_.push_back(std::move(send));
  }

  std::vector<PieceSend> take() { return std::move(result_); }

 private:
  std::int64_t host(std::int64_t device) const { return device / cluster_.devices_per_host; }
  std::tuple<bool, std::int64_t, std::int64_t, std::int64_t> preference(std::int64_t from, std::int64_t to) {
    const bool outside = host(from) != host(to);
    return {outside, outside ? by_host_[host(from)] : 0, by_device_[from], from};
  }

  const Cluster& cluster_;
  std::map<std::int64_t, std::int64_t> by_host_, by_device_;  // elements sent
  std::map<std::tuple<Tile, std::int64_t, std::int64_t>, std::vector<std::int64_t>> received_;
  std::vector<PieceSend> result_;
};

void require_whole(const PlacedLayout& placed) {
  for (std::size_t axis = 0; axis < placed.mesh.dimensions(); ++axis)
    if (placed.layout.axes[axis].kind == LayoutKind::partial)
      throw InputError("resharding", fmt::format("{} has a partial sum; reduce it before it is sent",
                                                 print_layout(placed.layout, placed.mesh.dimensions())));
}

// The devices of one host that hold one tile share what comes in; the longest parts first.
std::vector<Demand> demands_of(const Cluster& cluster, const Holders& sources, const Holders& destinations) {
  std::vector<Demand> demands;
  for (const auto& [wanted, receivers] : destinations) {
    std::map<std::int64_t, std::vector<std::int64_t>> by_host;
    for (const std::int64_t device : receivers) by_host[device / cluster.devices_per_host].push_back(device);
    for (const auto& [tile, holders] : sources) {
      Tile piece;
      const std::int64_t elements = common_elements(wanted, tile, piece);
      if (elements == 0) continue;
      for (const auto& [host, devices] : by_host) {
        const std::int64_t parts = std::ssize(devices);
        for (std::int64_t part = 0; part < parts; ++part) {
          const std::int64_t begin = elements * part / parts, end = elements * (part + 1) / parts;
          if (begin < end)
            demands.push_back({{piece, begin, end, 0, devices[static_cast<std::size_t>(part)]}, holders});
        }
      }
    }
  }
  std::stable_sort(demands.begin(), demands.end(), [](const Demand& a, const Demand& b) {
    return a.send.end - a.send.begin > b.send.end - b.send.begin;
  });
  return demands;
}

}  // namespace

std::int64_t Tile::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t each : size) count *= each;
  return count;
}

Tile tile_of(const PlacedLayout& placed, const std::vector<std::int64_t>& shape, std::size_t place) {
  Tile tile{std::vector<std::int64_t>(shape.size(), 0), shape};
  std::int64_t stride = std::ssize(placed.devices);
  for (std::size_t axis = 0; axis < placed.mesh.dimensions(); ++axis) {
    const std::int64_t size = placed.mesh.size(axis);
    stride /= size;
    const AxisLayout& state = placed.layout.axes[axis];
    if (state.kind != LayoutKind::sharded) continue;
    std::int64_t& length = tile.size.at(state.dimension);
    if (length % size != 0)
      throw InputError("resharding", fmt::format("{} elements do not divide by axis {} of {}", length,
                                                 placed.mesh.axes[axis].name, size));
    length /= size;
    tile.begin[state.dimension] += length * (static_cast<std::int64_t>(place) / stride % size);
  }
  return tile;
}

Resharding reshard(const Cluster& cluster, const std::vector<std::int64_t>& shape, const PlacedLayout& source,
                   const PlacedLayout& destination) {
  require_whole(source);
  require_whole(destination);
  const Holders sources = holders_of(source, shape), destinations = holders_of(destination, shape);
  Assignment assignment(cluster);
  for (Demand& each : demands_of(cluster, sources, destinations)) assignment.add(std::move(each));
  Resharding result{assignment.take(), {}};
  for (const auto& [tile, receivers] : destinations) {
    std::map<std::int64_t, std::vector<std::int64_t>> by_host;
    for (const std::int64_t device : receivers) by_host[device / cluster.devices_per_host].push_back(device);
    for (const auto& [host, devices] : by_host)
      if (devices.size() > 1) result.gathers.push_back({tile, devices});
  }
  return result;
}

Seconds resharding_time(const Cluster& cluster, const Resharding& resharding, Bytes element) {
  std::map<std::int64_t, std::int64_t> out_of_host, into_host, out_of_device, into_device;
  Seconds latency;
  for (const PieceSend& send : resharding.sends) {
    const std::int64_t from = send.from / cluster.devices_per_host, to = send.to / cluster.devices_per_host;
    const std::int64_t elements = send.end - send.begin;
    latency = std::max(latency, from == to ? cluster.intra_host.latency : cluster.nic.latency);
    if (from != to) out_of_host[from] += elements, into_host[to] += elements;
    if (from == to) out_of_device[send.from] += elements, into_device[send.to] += elements;
  }
  const auto most = [element](const std::map<std::int64_t, std::int64_t>& loads) {
    std::int64_t result = 0;
    for (const auto& [number, elements] : loads) result = std::max(result, elements);
    return static_cast<double>(result) * element;
  };
  const BytesPerSecond nics = static_cast<double>(cluster.nics_per_host) * cluster.nic.effective();
  const Seconds across = std::max(most(out_of_host), most(into_host)) / nics;
  const Seconds inside = std::max(most(out_of_device), most(into_device)) / cluster.intra_host.effective(2);
  Seconds gathering;
  for (const LocalGather& gather : resharding.gathers) {
    const DeviceGroup group{std::ssize(gather.devices), 1, 1};
    gathering = std::max(gathering, collective_time(cluster, Collective::all_gather,
                                                    static_cast<double>(gather.tile.elements()) * element, group));
  }
  return latency + std::max(across, inside) + gathering;
}

}  // namespace meshloom
