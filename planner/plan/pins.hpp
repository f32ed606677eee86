// Pins: what a person fixes about the sharding of ops and tensors before the search, without knowing device meshes.
// File format `meshloom.pins/1`, docs/pins_format.md:
//
//   {"schema": "meshloom.pins/1", "pins": [
//     {"op": "h*.mlp.up", "shard": {"f": 4, "*": 1}},    f in 4 parts, every other factor whole
//     {"tensor": "embed.table", "shard": [null, "all"]}  the second dimension over all devices of the stage
//   ]}
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace meshloom {

// Into how many parts something is cut; none: into as many as the stage has devices.
using PinnedDegree = std::optional<std::int64_t>;

struct Pin {
  enum class Subject { op, tensor } subject = Subject::op;
  std::string pattern;  // ids; "*" stands for any characters
  // Of an op: by factor, "*" for every factor that is not named. Of a tensor: by dimension, "0", "1", …
  std::vector<std::pair<std::string, PinnedDegree>> shard;
  std::optional<std::size_t> rank;  // of a tensor, as far as `shard` says
  // By mesh axis: the factor that it shards, "" none; of a tensor "S(1)", "R/P" or "R/R".
  std::vector<std::pair<std::string, std::string>> axes;
  bool operator==(const Pin&) const = default;
};

struct Pins {
  std::string file;  // for complaints
  std::vector<Pin> list;
};

// "op h*.mlp.up: f in 4 parts, every other factor in 1 part, axis x shards b".
std::string print(const Pin& pin);

// Throws InputError: an empty pin, a degree below 1, a layout that no tensor's consumers can see.
Pins parse_pins(const std::string& text, const std::string& file);
Pins read_pins(const std::string& path);

}  // namespace meshloom
