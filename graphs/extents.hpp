// Sizes as people write them: the name of a dimension, a product of names and numbers ("n*d"), or a number.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graphs/graph.hpp"

namespace meshloom {

// What names mean: the graph's dims, and the batch dimension, whose size is left open.
struct DimensionNames {
  std::string batch_dim;
  std::vector<std::pair<std::string, std::int64_t>> dims;
  std::optional<Extent> find(const std::string& name) const;
};

// Throws InputError at `place`: an unknown name, a factor below 1, the batch dimension twice, a size beyond 2^63.
Extent parse_extent(const std::string& text, const DimensionNames& names, const std::string& place);

// As parse_extent reads it: "8", "b", "8*b".
std::string print_extent(Extent extent, const std::string& batch_dim);

// None when the batch dimension would stand twice or the size overflows.
std::optional<Extent> product(Extent a, Extent b);
// None when it does not divide, in size or in batch.
std::optional<Extent> quotient(Extent whole, Extent part);

}  // namespace meshloom
