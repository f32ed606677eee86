// The price of changing a layout: the cheapest sequence of collectives for the value on its way forward, and the
// cheapest for the gradient on its way back.
//
// On each mesh axis a value is S(d), R (whole) or P (a partial sum). The moves, each over one axis or, where several
// axes make the same move, over the group of their product:
//
//   S(d) → R      all-gather                 R → S(d)      slice, free
//   P    → S(d)   reduce-scatter             P → R         all-reduce
//   S(i) → S(j)   all-to-all                 permute       shards or summands change axes, their sizes stay
//
// and, for a gradient that is added into a partial sum, R → P and S → P on the axes of that sum, free: one device keeps
// it (or its tile), the others hold zero. Axes on one dimension are ordered as the mesh's axes, major first, so only
// the minor-most of a dimension may be gathered or moved, and a new one must become the minor-most.
//
// The states of a tensor on a mesh are a small graph whose shortest paths are these sequences: exact over all sequences
// of the moves above. Worked cells: docs/layouts.md; oracle: tests/conversions_oracle_test.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "costmodel/collectives.hpp"
#include "costmodel/layout.hpp"

namespace meshloom {

enum class MoveKind : std::uint8_t { slice, keep_one, all_gather, reduce_scatter, all_reduce, all_to_all, permute };

// None for the free moves.
std::optional<Collective> collective_of(MoveKind kind);

// One step of a conversion. `axis_set`: bit k is mesh axis k.
struct Move {
  MoveKind kind = MoveKind::slice;
  unsigned axis_set = 0;
  Bytes whole;  // as in collectives.hpp; 0 for the free moves
  Seconds time;
};

// The value's states along the way: R and P and S(d) per axis, written as layouts (R as `replicated`).
struct MovePath {
  Seconds time;
  std::vector<Move> moves;
  std::vector<Layout> states;  // before the first move, after each move
};

// Prices for one tensor shape on one mesh. Rows are computed when asked for and kept; not safe to share between
// threads.
class ConversionTable {
 public:
  // `shape` in elements, `element` the bytes of one; every time is multiplied by `exposed`, the share that computing
  // waits for.
  ConversionTable(const Cluster& cluster, const DeviceMesh& mesh, std::vector<std::int64_t> shape, Bytes element,
                  double exposed = 1);

  // From a result, a stored parameter or a tensor's node to an operand or a node. Infinite (≥ impossible) when the
  // shape does not divide. The gradient's price is that of the way back.
  Seconds value_time(const Layout& from, const Layout& to);
  Seconds gradient_time(const Layout& from, const Layout& to);
  MovePath value_path(const Layout& from, const Layout& to);
  MovePath gradient_path(const Layout& from, const Layout& to);

  bool divides(const Layout& layout) const;
  Bytes local_bytes(const Layout& layout) const;

 private:
  using State = std::uint32_t;
  using Digit = std::uint32_t;  // one mesh axis of a state: whole, a partial sum or sharded along a dimension
  using Digits = std::array<Digit, max_mesh_axes>;
  struct Edge {
    State to = 0;
    Move move;
  };
  struct Step {
    Seconds time;
    State neighbour = 0;  // one move nearer to the row's own state
    Move move;
  };
  // Shortest paths, by state: of values out of one state to each (a Step says from where), of gradients out of each
  // into one (a Step says where to).
  using Row = std::vector<Step>;
  struct Expansion;

  State state_of(const Layout& layout, Digit (*digit_of)(const AxisLayout&)) const;
  State state_of_value(const Layout& layout) const;
  State state_of_gradient(const Layout& layout) const;
  Digits digits_of(State state) const;
  Layout layout_of(State state) const;
  unsigned partial_axes(State state) const;

  const std::vector<Edge>& edges(State from);
  const std::vector<std::vector<Edge>>& incoming();
  // A value is never kept by one device only; a gradient may be on the axes where a partial sum is wanted in the end.
  // So the end decides which moves there are, and one search backwards serves all states that a gradient arrives in.
  const Row& value_row(State from);
  const Row& gradient_row(State wanted);
  template <typename Edges>
  Row shortest_paths(State origin, unsigned keepable, const Edges& edges_of) const;
  std::vector<std::pair<State, Move>> moves_between(const Row& steps, State origin, State end) const;

  const Cluster* cluster_;
  DeviceMesh mesh_;
  std::vector<std::int64_t> shape_;
  Bytes element_;
  double exposed_;
  State states_ = 1;           // count: (2 + dimensions)^axes
  std::vector<bool> divides_;  // by state
  std::vector<std::unique_ptr<std::vector<Edge>>> edges_;
  std::vector<std::vector<Edge>> incoming_;  // by state: the edges into it, turned around; empty until asked for
  std::vector<std::unique_ptr<Row>> value_rows_, gradient_rows_;  // by state
};

// Larger than any real time: what an impossible conversion costs.
constexpr Seconds impossible{1e30};

}  // namespace meshloom
