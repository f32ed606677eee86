// Resharding between meshes: a tensor that lies in a layout on one stage's devices is to lie in another layout on the
// next stage's [Zhuang et al. 2023, On optimizing the communication of model parallelism].
//
// The tiles of the source and those of the destination cut the tensor into pieces: what one source tile and one
// destination tile have in common. A piece is sent to each destination host that needs it once. Where several devices
// of the host hold the same tile, each receives an equal part of the piece, and an all-gather inside the host makes the
// tile whole on all of them. A host that has received a part hands it on (a broadcast as a chain), so that the source's
// NICs send it once.
//
// Who sends is chosen greedily: the longest parts first; of the devices that hold a part, first one on the receiver's
// host, else the one whose host has sent least and, of equals, that has sent least itself, then the smallest number.
//
//   source: two devices on host 0, S(0); destination: devices 2 and 3 on host 1, whole on both:
//     rows 0-1 from device 0, rows 2-3 from device 1; each half of that to device 2, half to 3; then both all-gather.
#pragma once

#include <cstdint>
#include <vector>

#include "costmodel/layout.hpp"

namespace meshloom {

// A tensor on a mesh; partial sums are not resharded: resolve them first.
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
Tile tile_of(const PlacedLayout& placed, const std::vector<std::int64_t>& shape, std::size_t place);

// Elements [begin, end) of a piece, numbered row by row.
struct PieceSend {
  Tile piece;
  std::int64_t begin = 0, end = 0;
  std::int64_t from = 0, to = 0;  // devices
  bool operator==(const PieceSend&) const = default;
};
// These devices of one host exchange what they received, so that each has the whole tile.
struct LocalGather {
  Tile tile;
  std::vector<std::int64_t> devices;  // two or more
  bool operator==(const LocalGather&) const = default;
};
struct Resharding {
  std::vector<PieceSend> sends;  // in an order in which each sender has what it sends; never from a device to itself
  std::vector<LocalGather> gathers;
  bool operator==(const Resharding&) const = default;
};

// Throws InputError: a layout has a partial sum, or an axis does not divide its dimension.
Resharding reshard(const Cluster& cluster, const std::vector<std::int64_t>& shape, const PlacedLayout& source,
                   const PlacedLayout& destination);

// All sends at once, then the gathers: the latency of the slowest link used, plus the most that one host's NICs or one
// device's connection has to carry in one direction; then the longest all-gather. A chain counts as pipelined.
Seconds resharding_time(const Cluster& cluster, const Resharding& resharding, Bytes element);

}  // namespace meshloom
