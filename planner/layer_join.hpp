// Joining layers from left to right: what is known of a range of layers, and one layer more.
//
// A Front is the table of a range over its open variables: the interface variables that a later layer still uses.
// `join` adds a layer's table, charges what the new layer decides, and minimises out every variable behind its last
// user.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/layer_model.hpp"

namespace meshloom {

// One layer after its interior has been eliminated; entries are assignments of its interface variables, row-major.
struct LayerTable {
  std::vector<std::uint32_t> sizes;
  std::vector<double> scalar;  // weighted; infinite where impossible
  std::vector<Cost> costs;
  std::vector<std::vector<std::uint32_t>> choices;    // of all nodes
  std::vector<std::vector<Cost>> own;                 // of each variable's choices
  std::vector<std::vector<Cost>> arrival, departure;  // likewise, when a border of stages cuts the variable
};

// A variable is named by its age (layers since its first one), its rank and its sort, so that equal ranges of different
// layers have equal fronts.
struct OpenVariable {
  std::size_t age = 0, rank = 0;
  bool parameter = false;
  bool charged = false;  // its own cost is in the front
  std::uint32_t size = 0;
  const std::vector<Cost>* departure = nullptr;  // of an activation that this range made; null for others
};

// What one more join of the same layer adds to every entry alike. Minimising commutes with adding a constant, so once a
// join has only added one, each further join of that layer adds the same and walks back the same way.
struct Growth {
  double scalar = 0;
  Cost cost;
  std::vector<std::size_t> age;  // of each open variable: 1 for those that the layer does not touch
};

struct Front {
  std::vector<OpenVariable> open;
  std::vector<double> scalar;  // by assignment of the open variables, row-major; infinite where impossible
  std::vector<Cost> costs;
  std::vector<std::uint32_t> previous, table_entry;  // by entry, for walking back
  std::optional<Growth> growth;                      // of one more join of the last layer; none: join to see
};

// The empty range.
Front empty_front();

// `variables` are the layer's, at position `layer`; `table` must outlive the fronts made with it.
Front join(const Front& front, std::size_t layer, const std::vector<InterfaceVariable>& variables,
           const LayerTable& table, const RangeSettings& settings);

// The front after `times` further joins of its last layer; it must know its growth.
Front grown(Front front, std::size_t times);
Cost grown(const Cost& cost, const Growth& growth, std::size_t times);

// The front as a stage's end: what is still open leaves the stage.
Front closed(Front front, const Weights& weights);

}  // namespace meshloom
