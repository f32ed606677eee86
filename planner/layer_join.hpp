// Joining layers from left to right: what is known of a range of layers, and one layer more.
//
// A Front is the table of a range over its open variables: the interface variables that a later layer still uses.
// `join` adds a layer's table, charges what the new layer decides, and minimises out every variable behind its last
// user. Fronts hold weighted costs only; what a single entry came from is looked up when asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/layer_model.hpp"

namespace meshloom {

// One layer after its interior has been eliminated; entries are assignments of its interface variables, row-major.
struct LayerTable {
  std::vector<std::uint32_t> sizes;
  std::vector<double> scalar;                         // weighted; infinite where impossible
  std::vector<std::vector<Cost>> own;                 // of each variable's choices
  std::vector<std::vector<Cost>> arrival, departure;  // likewise, when a border of stages cuts the variable
};

// A variable is named by its rank, its sort and its age (layers since its first one; see Ages), so that equal ranges of
// different layers have equal fronts.
struct OpenVariable {
  std::size_t rank = 0;
  bool parameter = false;
  bool charged = false;  // its own cost is in the front
  std::uint32_t size = 0;
  const std::vector<Cost>* departure = nullptr;  // of an activation that this range made; null for others
  bool operator==(const OpenVariable&) const = default;
};

// Of a front's open variables, as of its last layer. Not part of the front: ranges that differ only in how many equal
// layers they have share it.
using Ages = std::vector<std::size_t>;

// All variables of a join: those open before, then the layer's new ones. Strides are 0 in a table without the variable.
struct JoinedVariable {
  OpenVariable variable;
  std::optional<std::size_t> of_layer;  // position among the layer's variables
  bool stays = true;
  std::size_t front_stride = 0, table_stride = 0, next_stride = 0;
  std::vector<const std::vector<Cost>*> charges;  // by choice
  std::vector<double> scalars;                    // of the charges, by choice
};

struct Front {
  std::vector<OpenVariable> open;
  std::vector<double> scalar;  // by assignment of the open variables, row-major; infinite where impossible
  // What was joined; null for the empty range.
  std::vector<JoinedVariable> joined;
  const Front* before = nullptr;
  const LayerTable* table = nullptr;
};

// The empty range.
Front empty_front();

// By variable of a layer: which open variable it is, if any. `layer` is the layer's position.
using Matches = std::vector<std::optional<std::size_t>>;
Matches matches_of(const Front& front, const Ages& ages, std::size_t layer,
                   const std::vector<InterfaceVariable>& variables);

// `before` and `table` must outlive the front. Ranges with the same front, an equal layer behind it and equal matches
// have the same join.
Front join(const Front& before, const Matches& matches, std::size_t layer,
           const std::vector<InterfaceVariable>& variables, const LayerTable& table, const RangeSettings& settings);
Ages ages_after(const Front& joined, const Ages& before, std::size_t layer,
                const std::vector<InterfaceVariable>& variables);

// Whether a join only added a constant to every entry of the front before it. Minimising commutes with adding a
// constant, so each further join of that layer with the same matches makes the same front again, a constant dearer.
bool only_adds_a_constant(const Front& front);

// What an entry was made of.
struct EntryOrigin {
  std::size_t previous = 0, table_entry = 0;
  Cost charged;
};
EntryOrigin origin_of(const Front& front, std::size_t entry);

// The cheapest entry of the front as a stage's end, where what is still open leaves the stage; none: all impossible.
std::optional<std::size_t> best_end(const Front& front, const Weights& weights);
// `cost` of an entry and what leaving costs.
Cost with_departures(const Front& front, std::size_t entry, Cost cost);

}  // namespace meshloom
