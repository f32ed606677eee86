#include "costmodel/conversions.hpp"

#include <algorithm>
#include <cassert>
#include <queue>

namespace meshloom {
namespace {

// One mesh axis of a state: 0 whole, 1 partial sum, 2 + d sharded along dimension d.
using Digit = std::uint32_t;
constexpr Digit whole = 0, partial_sum = 1, first_dimension = 2;

Digit digit_of_value(const AxisLayout& axis) {
  switch (axis.kind) {
    case LayoutKind::sharded:
      return first_dimension + axis.dimension;
    case LayoutKind::partial:
      return partial_sum;
    case LayoutKind::replicated:
    case LayoutKind::replicated_partial_gradient:
      return whole;
  }
  return whole;
}

Digit digit_of_gradient(const AxisLayout& axis) {
  switch (axis.kind) {
    case LayoutKind::sharded:
      return first_dimension + axis.dimension;
    case LayoutKind::replicated_partial_gradient:
      return partial_sum;
    case LayoutKind::replicated:
    case LayoutKind::partial:
      return whole;
  }
  return whole;
}

}  // namespace

std::optional<Collective> collective_of(MoveKind kind) {
  switch (kind) {
    case MoveKind::all_gather:
      return Collective::all_gather;
    case MoveKind::reduce_scatter:
      return Collective::reduce_scatter;
    case MoveKind::all_reduce:
      return Collective::all_reduce;
    case MoveKind::all_to_all:
      return Collective::all_to_all;
    case MoveKind::permute:
      return Collective::permute;
    case MoveKind::slice:
    case MoveKind::keep_one:
      return std::nullopt;
  }
  return std::nullopt;
}

// All moves out of one state: every other state is looked at as a change of some axes, which one move makes or none.
struct ConversionTable::Expansion {
  const ConversionTable& table;
  std::size_t axes;
  Digits before{}, after{};
  unsigned changed = 0;
  double local;  // bytes on one device before
  std::vector<Edge> edges;

  Expansion(const ConversionTable& owner, State from)
      : table(owner),
        axes(owner.mesh_.dimensions()),
        before(owner.digits_of(from)),
        local(owner.local_bytes(owner.layout_of(from)).value()) {
    for (State to = 0; to < owner.states_; ++to) {
      if (to == from || !owner.divides_[to]) continue;
      after = owner.digits_of(to);
      changed = 0;
      for (std::size_t axis = 0; axis < axes; ++axis)
        if (before[axis] != after[axis]) changed |= 1U << axis;
      const std::optional<MoveKind> kind = kind_of_all();
      if (kind && leaves_a_layout(*kind))
        add(to, *kind, changed);
      else if (relabels_shards())
        add(to, MoveKind::permute, changed | shifted());
    }
  }

  bool in(unsigned set, std::size_t axis) const { return (set >> axis & 1U) != 0; }

  double group_size(unsigned set) const {
    double size = 1;
    for (std::size_t axis = 0; axis < axes; ++axis)
      if (in(set, axis)) size *= static_cast<double>(table.mesh_.size(axis));
    return size;
  }

  MoveKind kind_of(std::size_t axis) const {
    if (after[axis] == partial_sum) return MoveKind::keep_one;
    if (before[axis] == whole) return MoveKind::slice;
    if (before[axis] == partial_sum) return after[axis] == whole ? MoveKind::all_reduce : MoveKind::reduce_scatter;
    return after[axis] == whole ? MoveKind::all_gather : MoveKind::all_to_all;
  }

  // The move that all changed axes make, if it is the same.
  std::optional<MoveKind> kind_of_all() const {
    std::optional<MoveKind> kind;
    for (std::size_t axis = 0; axis < axes; ++axis) {
      if (!in(changed, axis)) continue;
      if (kind && *kind != kind_of(axis)) return std::nullopt;
      kind = kind_of(axis);
    }
    return kind;
  }

  bool leaves_a_layout(MoveKind kind) const {
    switch (kind) {
      case MoveKind::slice:
      case MoveKind::reduce_scatter:
        return changes_minor_most(after);
      case MoveKind::keep_one:
      case MoveKind::all_gather:
        return changes_minor_most(before);
      case MoveKind::all_to_all:
        return changes_minor_most(before) && changes_minor_most(after) && exchanges_evenly();
      case MoveKind::all_reduce:
        return true;
      case MoveKind::permute:
        return false;
    }
    return false;
  }

  // The changed axes are the minor-most of every dimension that they shard.
  bool changes_minor_most(const Digits& digits) const {
    for (std::size_t axis = 0; axis < axes; ++axis)
      for (std::size_t minor = axis + 1; minor < axes; ++minor)
        if (in(changed, axis) && !in(changed, minor) && digits[axis] >= first_dimension &&
            digits[axis] == digits[minor])
          return false;
    return true;
  }

  // No dimension is both gathered and cut: every device has an equal part for every other.
  bool exchanges_evenly() const {
    for (std::size_t from = 0; from < axes; ++from)
      for (std::size_t to = 0; to < axes; ++to)
        if (in(changed, from) && in(changed, to) && before[from] == after[to]) return false;
    return true;
  }

  // Each dimension is cut into as many parts as before and there are as many summands: every device fetches a shard.
  bool relabels_shards() const { return parts(before) == parts(after); }

  std::array<std::int64_t, 16> parts(const Digits& digits) const {
    std::array<std::int64_t, 16> result{};
    for (std::size_t axis = 0; axis < axes; ++axis) {
      std::int64_t& count = result[digits[axis]];
      if (digits[axis] != whole) count = std::max<std::int64_t>(count, 1) * table.mesh_.size(axis);
    }
    return result;
  }

  // Unchanged axes whose shards lie elsewhere in their dimension because more minor axes came or went.
  unsigned shifted() const {
    unsigned set = 0;
    for (std::size_t axis = 0; axis < axes; ++axis) {
      if (in(changed, axis) || before[axis] < first_dimension) continue;
      std::int64_t stride_before = 1, stride_after = 1;
      for (std::size_t minor = axis + 1; minor < axes; ++minor) {
        if (before[minor] == before[axis]) stride_before *= table.mesh_.size(minor);
        if (after[minor] == after[axis]) stride_after *= table.mesh_.size(minor);
      }
      if (stride_before != stride_after) set |= 1U << axis;
    }
    return set;
  }

  Bytes whole_on_group(MoveKind kind, unsigned set) const {
    switch (kind) {
      case MoveKind::slice:
      case MoveKind::keep_one:
        return Bytes(0);
      case MoveKind::reduce_scatter:
      case MoveKind::all_reduce:
        return Bytes(local);
      case MoveKind::all_gather:
      case MoveKind::all_to_all:
      case MoveKind::permute:
        return Bytes(local * group_size(set));
    }
    return Bytes(0);
  }

  void add(State to, MoveKind kind, unsigned set) {
    Move move{kind, set, whole_on_group(kind, set), Seconds(0)};
    if (const std::optional<Collective> collective = collective_of(kind))
      move.time =
          table.exposed_ * collective_time(*table.cluster_, *collective, move.whole, group_of(table.mesh_, set));
    edges.push_back({to, move});
  }
};

ConversionTable::ConversionTable(const Cluster& cluster, const DeviceMesh& mesh, std::vector<std::int64_t> shape,
                                 Bytes element, double exposed)
    : cluster_(&cluster), mesh_(mesh), shape_(std::move(shape)), element_(element), exposed_(exposed) {
  assert(mesh_.dimensions() <= max_mesh_axes && shape_.size() <= 10);
  for (std::size_t axis = 0; axis < mesh_.dimensions(); ++axis)
    states_ *= static_cast<State>(first_dimension + shape_.size());
  for (State state = 0; state < states_; ++state) divides_.push_back(divides(layout_of(state)));
  edges_.resize(states_);
  value_rows_.resize(states_);
  gradient_rows_.resize(states_);
}

ConversionTable::State ConversionTable::state_of_value(const Layout& layout) const {
  return state_of(layout, digit_of_value);
}

ConversionTable::State ConversionTable::state_of_gradient(const Layout& layout) const {
  return state_of(layout, digit_of_gradient);
}

ConversionTable::State ConversionTable::state_of(const Layout& layout, Digit (*digit_of)(const AxisLayout&)) const {
  State state = 0;
  const auto base = static_cast<State>(first_dimension + shape_.size());
  for (std::size_t axis = mesh_.dimensions(); axis-- > 0;) state = state * base + digit_of(layout.axes[axis]);
  return state;
}

ConversionTable::Digits ConversionTable::digits_of(State state) const {
  Digits digits{};
  const auto base = static_cast<State>(first_dimension + shape_.size());
  const std::size_t axes = std::min(mesh_.dimensions(), max_mesh_axes);
  for (std::size_t axis = 0; axis < axes; ++axis, state /= base) digits[axis] = state % base;
  return digits;
}

Layout ConversionTable::layout_of(State state) const {
  const Digits digits = digits_of(state);
  Layout layout;
  for (std::size_t axis = 0; axis < max_mesh_axes; ++axis) {
    const Digit digit = digits[axis];
    layout.axes[axis] = digit == whole ? replicated : digit == partial_sum ? partial : sharded(digit - first_dimension);
  }
  return layout;
}

unsigned ConversionTable::partial_axes(State state) const {
  const Digits digits = digits_of(state);
  unsigned set = 0;
  for (std::size_t axis = 0; axis < max_mesh_axes; ++axis)
    if (digits[axis] == partial_sum) set |= 1U << axis;
  return set;
}

const std::vector<ConversionTable::Edge>& ConversionTable::edges(State from) {
  if (!edges_[from]) edges_[from] = std::make_unique<std::vector<Edge>>(Expansion(*this, from).edges);
  return *edges_[from];
}

const std::vector<std::vector<ConversionTable::Edge>>& ConversionTable::incoming() {
  if (!incoming_.empty()) return incoming_;
  incoming_.resize(states_);
  for (State from = 0; from < states_; ++from)
    if (divides_[from])
      for (const Edge& edge : edges(from)) incoming_[edge.to].push_back({from, edge.move});
  return incoming_;
}

const ConversionTable::Row& ConversionTable::value_row(State from) {
  std::unique_ptr<Row>& known = value_rows_[from];
  if (!known)
    known = std::make_unique<Row>(
        shortest_paths(from, 0, [&](State state) -> const std::vector<Edge>& { return edges(state); }));
  return *known;
}

const ConversionTable::Row& ConversionTable::gradient_row(State wanted) {
  std::unique_ptr<Row>& known = gradient_rows_[wanted];
  if (!known) {
    const std::vector<std::vector<Edge>>& into = incoming();
    known = std::make_unique<Row>(shortest_paths(wanted, partial_axes(wanted),
                                                 [&](State state) -> const std::vector<Edge>& { return into[state]; }));
  }
  return *known;
}

template <typename Edges>
ConversionTable::Row ConversionTable::shortest_paths(State origin, unsigned keepable, const Edges& edges_of) const {
  Row steps(states_, {impossible, origin, {}});
  if (!divides_[origin]) return steps;
  std::vector<std::size_t> length(states_, 0);
  std::vector<bool> done(states_, false);
  steps[origin].time = Seconds(0);
  using Entry =
      std::tuple<double, std::size_t, State>;  // time, moves, state: ties go to fewer moves, then lower states
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
  open.emplace(0.0, 0, origin);
  while (!open.empty()) {
    const State state = std::get<2>(open.top());
    open.pop();
    if (done[state]) continue;
    done[state] = true;
    for (const Edge& edge : edges_of(state)) {
      if (done[edge.to]) continue;
      if (edge.move.kind == MoveKind::keep_one && (edge.move.axis_set & ~keepable) != 0) continue;
      const Seconds time = steps[state].time + edge.move.time;
      if (std::pair(time, length[state] + 1) >= std::pair(steps[edge.to].time, length[edge.to])) continue;
      steps[edge.to] = {time, state, edge.move};
      length[edge.to] = length[state] + 1;
      open.emplace(time.value(), length[edge.to], edge.to);
    }
  }
  return steps;
}

Seconds ConversionTable::value_time(const Layout& from, const Layout& to) {
  return value_row(state_of_value(from))[state_of_value(to)].time;
}

Seconds ConversionTable::gradient_time(const Layout& from, const Layout& to) {
  return gradient_row(state_of_gradient(from))[state_of_gradient(to)].time;
}

MovePath ConversionTable::value_path(const Layout& from, const Layout& to) {
  const State origin = state_of_value(from), end = state_of_value(to);
  const Row& steps = value_row(origin);
  MovePath result{steps[end].time, {}, {layout_of(end)}};
  for (const auto& [state, move] : moves_between(steps, origin, end)) {
    result.moves.push_back(move);
    result.states.push_back(layout_of(state));
  }
  std::reverse(result.moves.begin(), result.moves.end());
  std::reverse(result.states.begin(), result.states.end());
  return result;
}

MovePath ConversionTable::gradient_path(const Layout& from, const Layout& to) {
  const State arriving = state_of_gradient(to), wanted = state_of_gradient(from);
  const Row& steps = gradient_row(wanted);
  MovePath result{steps[arriving].time, {}, {layout_of(arriving)}};
  for (const auto& [state, move] : moves_between(steps, wanted, arriving)) {
    result.moves.push_back(move);
    result.states.push_back(layout_of(state));
  }
  return result;
}

// From the end towards the row's own state: each move and the state on its nearer side.
std::vector<std::pair<ConversionTable::State, Move>> ConversionTable::moves_between(const Row& steps, State origin,
                                                                                    State end) const {
  std::vector<std::pair<State, Move>> result;
  for (State state = end; state != origin; state = steps[state].neighbour) {
    assert(steps[end].time < impossible);
    result.emplace_back(steps[state].neighbour, steps[state].move);
  }
  return result;
}

bool ConversionTable::divides(const Layout& layout) const {
  for (std::size_t dimension = 0; dimension < shape_.size(); ++dimension) {
    std::int64_t parts = 1;
    for (std::size_t axis = 0; axis < mesh_.dimensions(); ++axis)
      if (layout.axes[axis] == sharded(dimension)) parts *= mesh_.size(axis);
    if (shape_[dimension] % parts != 0) return false;
  }
  return true;
}

Bytes ConversionTable::local_bytes(const Layout& layout) const {
  double elements = 1;
  for (const std::int64_t size : shape_) elements *= static_cast<double>(size);
  return element_ * (elements / static_cast<double>(shards(layout, mesh_)));
}

}  // namespace meshloom
