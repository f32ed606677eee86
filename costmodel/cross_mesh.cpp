#include "costmodel/cross_mesh.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

using Holders = std::map<Tile, std::vector<std::int64_t>>;  // devices, ascending, by the tile they hold

Holders holders_of(const PlacedLayout& placed, const std::vector<std::int64_t>& shape) {
  Holders holders;
  for (std::size_t place = 0; place < placed.devices.size(); ++place)
    holders[tile_of(placed, shape, place)].push_back(placed.devices[place]);
  for (auto& [tile, devices] : holders) std::sort(devices.begin(), devices.end());
  return holders;
}

// All tiles of a layout have one size and stand at its multiples, so those that meet a box are found by their begins.
class TileGrid {
 public:
  TileGrid(const PlacedLayout& placed, const std::vector<std::int64_t>& shape) : holders_(holders_of(placed, shape)) {}

  template <typename Visit>  // visit(common box, devices that hold it)
  void for_each_common(const Tile& box, const Visit& visit) const {
    if (box.elements() == 0) return;
    const std::vector<std::int64_t>& size = holders_.begin()->first.size;
    Tile tile{box.begin, size};
    for (std::size_t d = 0; d < size.size(); ++d) tile.begin[d] = box.begin[d] / size[d] * size[d];
    const std::vector<std::int64_t> first = tile.begin;
    for (;;) {
      const auto found = holders_.find(tile);
      if (found != holders_.end()) visit(common(box, tile), found->second);
      std::size_t d = size.size();
      while (d-- > 0) {
        tile.begin[d] += size[d];
        if (tile.begin[d] < box.begin[d] + box.size[d]) break;
        tile.begin[d] = first[d];
      }
      if (d == SIZE_MAX) return;
    }
  }

 private:
  static Tile common(const Tile& a, const Tile& b) {
    Tile result = a;
    for (std::size_t d = 0; d < a.begin.size(); ++d) {
      result.begin[d] = std::max(a.begin[d], b.begin[d]);
      result.size[d] = std::min(a.begin[d] + a.size[d], b.begin[d] + b.size[d]) - result.begin[d];
    }
    return result;
  }

  Holders holders_;
};

// A piece that a device has to receive, still without a sender.
struct Demand {
  Transfer transfer;
  std::vector<std::int64_t> sources;
};

void require_whole(const PlacedLayout& placed) {
  for (std::size_t axis = 0; axis < placed.mesh.dimensions(); ++axis)
    if (placed.layout.axes[axis].kind == LayoutKind::partial)
      throw InputError("resharding", fmt::format("{} has a partial sum; reduce it before it is sent",
                                                 print_layout(placed.layout, placed.mesh.dimensions())));
}

void add_demands(std::vector<Demand>& demands, std::uint32_t number, const Resharding& tensor) {
  require_whole(tensor.source);
  const TileGrid sources(tensor.source, tensor.shape);
  for (const auto& [tile, receivers] : holders_of(tensor.destination, tensor.shape))
    for (std::size_t k = 0; k < (tile.size.empty() ? 1 : receivers.size()); ++k)
      sources.for_each_common(share_of(tile, static_cast<std::int64_t>(k), std::ssize(receivers)),
                              [&](const Tile& piece, const std::vector<std::int64_t>& holders) {
                                if (std::binary_search(holders.begin(), holders.end(), receivers[k])) return;
                                const Bytes bytes = static_cast<double>(piece.elements()) * tensor.element;
                                demands.push_back({{number, 0, receivers[k], piece, bytes}, holders});
                              });
}

void choose_senders(const ClusterLinks& links, std::vector<Demand>& demands) {
  std::vector<Demand*> order;
  for (Demand& each : demands) order.push_back(&each);
  std::stable_sort(order.begin(), order.end(),
                   [](const Demand* a, const Demand* b) { return a->transfer.bytes > b->transfer.bytes; });
  std::map<std::uint32_t, Bytes> by_lane;
  std::map<std::int64_t, Bytes> by_device;
  for (Demand* each : order) {
    Transfer& transfer = each->transfer;
    const auto preference = [&](std::int64_t from) {
      const std::size_t distance = links.distance(from, transfer.to);
      return std::tuple(distance, distance == 0 ? Bytes(0) : by_lane[links.lane_out(from)], by_device[from], from);
    };
    transfer.from = *std::min_element(each->sources.begin(), each->sources.end(),
                                      [&](std::int64_t a, std::int64_t b) { return preference(a) < preference(b); });
    if (links.distance(transfer.from, transfer.to) > 0) by_lane[links.lane_out(transfer.from)] += transfer.bytes;
    by_device[transfer.from] += transfer.bytes;
  }
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

Tile share_of(const Tile& tile, std::int64_t holder, std::int64_t holders) {
  if (tile.size.empty()) return tile;
  auto cut = std::find_if(tile.size.begin(), tile.size.end(), [&](std::int64_t size) { return size % holders == 0; });
  if (cut == tile.size.end()) cut = std::max_element(tile.size.begin(), tile.size.end());
  const auto d = static_cast<std::size_t>(cut - tile.size.begin());
  Tile share = tile;
  const std::int64_t begin = tile.size[d] * holder / holders, end = tile.size[d] * (holder + 1) / holders;
  share.begin[d] += begin;
  share.size[d] = end - begin;
  return share;
}

std::vector<Transfer> reshard(const ClusterLinks& links, const std::vector<Resharding>& tensors) {
  std::vector<Demand> demands;
  for (std::size_t t = 0; t < tensors.size(); ++t) add_demands(demands, static_cast<std::uint32_t>(t), tensors[t]);
  choose_senders(links, demands);
  std::vector<Transfer> transfers;
  transfers.reserve(demands.size());
  for (Demand& each : demands) transfers.push_back(std::move(each.transfer));
  std::sort(transfers.begin(), transfers.end(), [](const Transfer& a, const Transfer& b) {
    return std::tie(a.tensor, a.to, a.slice) < std::tie(b.tensor, b.to, b.slice);
  });
  return transfers;
}

LinkLoads loads_of(const ClusterLinks& links, const std::vector<Transfer>& transfers) {
  LinkLoads loads;
  for (const Transfer& each : transfers) links.add(loads, each.from, each.to, each.bytes);
  return loads;
}

Seconds latency_of(const ClusterLinks& links, const std::vector<Transfer>& transfers) {
  Seconds latency;
  for (const Transfer& each : transfers) latency = std::max(latency, links.latency(each.from, each.to));
  return latency;
}

Seconds transfer_time(const ClusterLinks& links, const std::vector<Transfer>& transfers) {
  return latency_of(links, transfers) + links.longest(loads_of(links, transfers));
}

}  // namespace meshloom
