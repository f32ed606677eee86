// Simulated devices: what each of up to 16 devices holds of a small integer tensor, and collectives that move it.
// Written from the definitions in docs/layouts.md alone; costmodel/conversions.cpp is checked against it.
//
// A `state` is a layout of which only S(d), R/R (whole) and P/R (a partial sum) occur: the value's half of a layout, or
// the gradient's half.
#pragma once

#include <cstdint>
#include <vector>

#include "costmodel/conversions.hpp"

namespace meshloom::simulated {

// A dense integer tensor, or one device's part of it; row-major.
struct Block {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> values;
  bool operator==(const Block&) const = default;
};

// A slice was asked for that does not divide.
struct CannotSplit {};

Block zeros(const std::vector<std::int64_t>& shape);
Block plus(const Block& a, const Block& b);
Block sliced(const Block& block, std::size_t dimension, std::int64_t part, std::int64_t parts);  // throws CannotSplit
Block concatenated(const std::vector<Block>& blocks, std::size_t dimension);
Block product(const Block& a, const Block& b);  // of matrices
Block transposed(const Block& matrix);
// Distinct positive numbers; another `seed`, other numbers.
Block example_tensor(const std::vector<std::int64_t>& shape, std::int64_t seed);

// Axes by their sizes, the last minor-most, as in DeviceMesh.
struct Devices {
  std::vector<std::int64_t> sizes;
  std::size_t axes() const { return sizes.size(); }
  std::size_t count() const;
  std::int64_t coordinate(std::size_t device, std::size_t axis) const;
  std::size_t moved(std::size_t device, std::size_t axis, std::int64_t coordinate) const;
};
Devices devices_of(const DeviceMesh& mesh);

using Contents = std::vector<Block>;  // by device

Layout value_state(const Layout& layout);
Layout gradient_state(const Layout& layout);
unsigned changed_axes(const Layout& before, const Layout& after);

// What the state says that the device holds of `tensor`, if nothing is a partial sum: axes cut their dimensions in the
// mesh's order, major first.
Block tile(const Block& tensor, const Layout& state, const Devices& devices, std::size_t device);
// Contents in that state; partial sums add up to the tensor and are otherwise arbitrary.
Contents contents_in(const Layout& state, const Block& tensor, const Devices& devices);
// Whether the contents are the tensor in that state: partial sums added over their axes, each device has its tile.
bool conform(const Contents& contents, const Layout& state, const Block& tensor, const Devices& devices);
// Every shard has equal size.
bool divides_evenly(const Layout& state, const std::vector<std::int64_t>& shape, const Devices& devices);

// Carries a move out over the groups of `set`. `before` and `after` say along which dimension each axis of the set cuts
// or concatenates (and whose shard a device fetches in a permutation); members are ordered as the mesh's axes, major
// first. Throws CannotSplit: a cut does not divide, or no member of the group has the shard that a device fetches.
Contents moved(MoveKind kind, unsigned set, const Layout& before, const Layout& after, const Contents& contents,
               const Devices& devices);

}  // namespace meshloom::simulated
