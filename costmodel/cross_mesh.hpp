// Resharding between meshes: tensors that lie in a layout on one stage's devices are to lie in another layout on
// another stage's [Zhuang et al. 2023, On optimizing the communication of model parallelism].
//
// Each element travels once. Where several devices of the destination are to hold the same tile, each receives an equal
// share of it, a box; an all-gather among them, which is the destination stage's business, then makes the tile whole
// everywhere. Together that is a broadcast by scatter and all-gather [Barnett et al. 1994]. A share is sent in pieces:
// what it has in common with the source's tiles.
//
// Who sends is chosen greedily: the longest pieces first; of the devices that hold a piece the nearest (its host, its
// switch), of these the one whose lane has sent least, of equals the one that has sent least itself, then the smallest
// number. So copies at the source share the sending evenly over NICs.
//
//   source: two devices on host 0, S(0); destination: devices 2 and 3 on host 1, whole on both:
//     rows 0-1 from device 0 to 2, rows 2-3 from device 1 to 3; then 2 and 3 gather.
#pragma once

#include <cstdint>
#include <vector>

#include "costmodel/cluster_links.hpp"
#include "costmodel/layout.hpp"

namespace meshloom {

struct PlacedLayout {
  DeviceMesh mesh;
  std::vector<std::int64_t> devices;  // numbers in the cluster, in mesh order
  Layout layout;
};

// A box of elements, by dimension.
struct Tile {
  std::vector<std::int64_t> begin, size;
  std::int64_t elements() const;
  auto operator<=>(const Tile&) const = default;
};
// What the device in this place of the mesh holds of a tensor of `shape`; axes cut in the mesh's order, major first.
// Throws InputError: an axis does not divide its dimension.
Tile tile_of(const PlacedLayout& placed, const std::vector<std::int64_t>& shape, std::size_t place);
// The part of `tile` that one of its holders receives: cut along the first dimension that the holders divide, else
// along the longest, so that shares may differ or be empty. A scalar is not cut: only its first holder receives it.
Tile share_of(const Tile& tile, std::int64_t holder, std::int64_t holders);

// A tensor on its way. A partial sum is refused as a source: it is reduced before it is sent. Of a gradient that
// becomes a partial sum where it arrives, each device has its share, and zero elsewhere.
struct Resharding {
  std::vector<std::int64_t> shape;
  Bytes element;
  PlacedLayout source, destination;
};

// A box of one of the tensors.
struct Transfer {
  std::uint32_t tensor = 0;  // position
  std::int64_t from = 0, to = 0;
  Tile slice;
  Bytes bytes;
  bool operator==(const Transfer&) const = default;
};

// By tensor, receiver and place of the slice. Devices that hold what they are to receive get nothing.
std::vector<Transfer> reshard(const ClusterLinks& links, const std::vector<Resharding>& tensors);

LinkLoads loads_of(const ClusterLinks& links, const std::vector<Transfer>& transfers);
// The greatest latency of a link that they use.
Seconds latency_of(const ClusterLinks& links, const std::vector<Transfer>& transfers);
// All at once and alone: that latency, plus the longest that one link needs for its load.
Seconds transfer_time(const ClusterLinks& links, const std::vector<Transfer>& transfers);

}  // namespace meshloom
