// Bringing ops into an order in which each stands behind those whose results it reads.
#pragma once

#include <cstddef>
#include <vector>

namespace meshloom {

struct OpOrder {
  std::vector<std::size_t> order;  // topological; the given order where that already is one
  std::vector<std::size_t> cycle;  // not empty: no order exists; each op here needs the next, the last needs the first
};

// `needs[i]` are the positions of the ops whose results op i reads. An op that stands too late moves to just before the
// first op that needs it.
OpOrder topological_order(const std::vector<std::vector<std::size_t>>& needs);

}  // namespace meshloom
