#include "costmodel/conversions.hpp"

#include <algorithm>
#include <cassert>
#include <queue>

namespace meshloom {
namespace {

// One mesh axis of a state: 0 whole, 1 partial sum, 2 + d sharded along dimension d.
using Digit = std::uint32_t;
constexpr Digit whole = 0, partial_sum = 1, first_dimension = 2;
using Digits = std::array<Digit, max_mesh_axes>;

Digit digit_of_value(const AxisLayout& axis) {
  switch (axis.kind) {
    case LayoutKind::sharded: return first_dimension + axis.dimension;
    case LayoutKind::partial: return partial_sum;
    case LayoutKind::replicated:
    case LayoutKind::replicated_partial_gradient: return whole;
  }
  return whole;
}

Digit digit_of_gradient(const AxisLayout& axis) {
  switch (axis.kind) {
    case LayoutKind::sharded: return first_dimension + axis.dimension;
    case LayoutKind::replicated_partial_gradient: return partial_sum;
    case LayoutKind::replicated:
    case LayoutKind::partial: return whole;
  }
  return whole;
}

Collective collective_of(MoveKind kind) {
  switch (kind) {
    case MoveKind::all_gather: return Collective::all_gather;
    case MoveKind::reduce_scatter: return Collective::reduce_scatter;
    case MoveKind::all_reduce: return Collective::all_reduce;
    case MoveKind::all_to_all: return Collective::all_to_all;
    case MoveKind::permute: return Collective::permute;
    case MoveKind::slice:
    case MoveKind::keep_one: break;
  }
  assert(false && "a free move is no collective");
  return Collective::permute;
}

}  // namespace

// All moves out of one state.
struct ConversionTable::Expansion {
  const ConversionTable& table;
  Digits digits{};
  std::size_t axes;
  double local;                         // bytes on one device in this state
  std::vector<std::pair<State, Move>> moves;

  Expansion(const ConversionTable& owner, State state) : table(owner), axes(owner.mesh_.dimensions()) {
    const Layout layout = owner.layout_of(state);
    for (std::size_t axis = 0; axis < axes; ++axis) digits[axis] = digit_of_value(layout.axes[axis]);
    local = owner.element_.value();
    for (const std::int64_t size : owner.shape_) local *= static_cast<double>(size);
    for (std::size_t axis = 0; axis < axes; ++axis)
      if (digits[axis] >= first_dimension) local /= static_cast<double>(owner.mesh_.size(axis));
    for (unsigned set = 1; set < (1U << axes); ++set) collectives_over(set);
    free_moves();
    permutations();
  }

  bool in(unsigned set, std::size_t axis) const { return (set >> axis & 1U) != 0; }

  double group_size(unsigned set) const {
    double size = 1;
    for (std::size_t axis = 0; axis < axes; ++axis)
      if (in(set, axis)) size *= static_cast<double>(table.mesh_.size(axis));
    return size;
  }

  // The axes of `set` are the minor-most of every dimension they shard.
  bool minor_most(unsigned set) const {
    for (std::size_t axis = 0; axis < axes; ++axis)
      for (std::size_t minor = axis + 1; minor < axes; ++minor)
        if (in(set, axis) && !in(set, minor) && digits[axis] >= first_dimension && digits[axis] == digits[minor])
          return false;
    return true;
  }

  // Every axis already on `digit` is major to all of `set`, and the dimension still divides.
  bool may_append(unsigned set, Digit digit) const {
    std::int64_t parts = static_cast<std::int64_t>(group_size(set));
    for (std::size_t axis = 0; axis < axes; ++axis) {
      if (in(set, axis) || digits[axis] != digit) continue;
      parts *= table.mesh_.size(axis);
      for (std::size_t major = 0; major < axis; ++major)
        if (in(set, major)) return false;
    }
    return table.shape_[digit - first_dimension] % parts == 0;
  }

  bool all_are(unsigned set, Digit digit) const {
    for (std::size_t axis = 0; axis < axes; ++axis)
      if (in(set, axis) && digits[axis] != digit) return false;
    return true;
  }

  void add(MoveKind kind, unsigned set, Digits target, double bytes) {
    State state = 0;
    const auto base = static_cast<State>(first_dimension + table.shape_.size());
    for (std::size_t axis = axes; axis-- > 0;) state = state * base + target[axis];
    Move move{kind, set, Bytes(bytes), Seconds(0)};
    if (bytes > 0)
      move.time = collective_time(*table.cluster_, collective_of(kind), Bytes(bytes), group_of(table.mesh_, set));
    moves.emplace_back(state, move);
  }

  Digits with(unsigned set, Digit digit) const {
    Digits target = digits;
    for (std::size_t axis = 0; axis < axes; ++axis)
      if (in(set, axis)) target[axis] = digit;
    return target;
  }

  void collectives_over(unsigned set) {
    const double gathered = local * group_size(set);
    bool all_sharded = true;
    for (std::size_t axis = 0; axis < axes; ++axis)
      if (in(set, axis) && digits[axis] < first_dimension) all_sharded = false;
    if (all_sharded && minor_most(set)) add(MoveKind::all_gather, set, with(set, whole), gathered);
    const auto dimensions = static_cast<Digit>(table.shape_.size());
    if (all_are(set, partial_sum)) {
      add(MoveKind::all_reduce, set, with(set, whole), local);
      for (Digit digit = first_dimension; digit < first_dimension + dimensions; ++digit)
        if (may_append(set, digit)) add(MoveKind::reduce_scatter, set, with(set, digit), local);
    }
    for (Digit from = first_dimension; from < first_dimension + dimensions; ++from) {
      if (!all_are(set, from) || !minor_most(set)) continue;
      for (Digit to = first_dimension; to < first_dimension + dimensions; ++to)
        if (to != from && may_append(set, to)) add(MoveKind::all_to_all, set, with(set, to), gathered);
    }
  }

  void free_moves() {
    const auto dimensions = static_cast<Digit>(table.shape_.size());
    for (std::size_t axis = 0; axis < axes; ++axis) {
      if (digits[axis] != whole) continue;
      for (Digit digit = first_dimension; digit < first_dimension + dimensions; ++digit)
        if (may_append(1U << axis, digit)) add(MoveKind::slice, 1U << axis, with(1U << axis, digit), 0);
    }
  }

  // States with the same tile sizes and the same partial sums: every device fetches its tile from one that has it.
  void permutations() {
    const auto base = static_cast<State>(first_dimension + table.shape_.size());
    for (State state = 0; state < table.states_; ++state) {
      Digits target{};
      State rest = state;
      unsigned changed = 0;
      bool same_sums = true;
      std::array<std::int64_t, 16> parts_before{}, parts_after{};
      parts_before.fill(1), parts_after.fill(1);
      for (std::size_t axis = 0; axis < axes; ++axis, rest /= base) {
        target[axis] = rest % base;
        if (target[axis] != digits[axis]) changed |= 1U << axis;
        same_sums = same_sums && (target[axis] == partial_sum) == (digits[axis] == partial_sum);
        parts_before[digits[axis]] *= digits[axis] >= first_dimension ? table.mesh_.size(axis) : 1;
        parts_after[target[axis]] *= target[axis] >= first_dimension ? table.mesh_.size(axis) : 1;
      }
      if (changed != 0 && same_sums && parts_before == parts_after)
        add(MoveKind::permute, changed, target, local * group_size(changed));
    }
  }
};

ConversionTable::ConversionTable(const Cluster& cluster, const DeviceMesh& mesh, std::vector<std::int64_t> shape,
                                 Bytes element)
    : cluster_(&cluster), mesh_(mesh), shape_(std::move(shape)), element_(element) {
  assert(mesh_.dimensions() <= max_mesh_axes && shape_.size() <= 10);
  for (std::size_t axis = 0; axis < mesh_.dimensions(); ++axis)
    states_ *= static_cast<State>(first_dimension + shape_.size());
  rows_.resize(states_);
}

ConversionTable::State ConversionTable::state_of(const Layout& layout, bool gradient) const {
  State state = 0;
  const auto base = static_cast<State>(first_dimension + shape_.size());
  for (std::size_t axis = mesh_.dimensions(); axis-- > 0;)
    state = state * base + (gradient ? digit_of_gradient(layout.axes[axis]) : digit_of_value(layout.axes[axis]));
  return state;
}

Layout ConversionTable::layout_of(State state) const {
  Layout layout;
  const auto base = static_cast<State>(first_dimension + shape_.size());
  const std::size_t dimensions = std::min(mesh_.dimensions(), max_mesh_axes);
  for (std::size_t axis = 0; axis < dimensions; ++axis, state /= base) {
    const Digit digit = state % base;
    layout.axes[axis] = digit == whole ? replicated : digit == partial_sum ? partial : sharded(digit - first_dimension);
  }
  return layout;
}

ConversionTable::Row& ConversionTable::row(State from) {
  if (!rows_[from]) {
    std::vector<Step> steps = shortest_paths(from);
    std::vector<State> absorbed = absorbed_states(steps);
    rows_[from] = std::make_unique<Row>(Row{std::move(steps), std::move(absorbed)});
  }
  return *rows_[from];
}

// A gradient in `state` may be added into one accumulated in `wanted`: they agree, except that where a partial sum is
// wanted one device may keep its whole copy, or its tile if the axis is the minor-most of the tile's dimension.
bool ConversionTable::may_be_added(State state, State wanted) const {
  const auto base = static_cast<State>(first_dimension + shape_.size());
  std::array<bool, 16> still_sharded{};                  // dimensions that a more minor axis keeps sharded
  State divisor = states_ / base;
  for (std::size_t axis = mesh_.dimensions(); axis-- > 0; divisor /= base) {
    const Digit have = state / divisor % base, want = wanted / divisor % base;
    if (have == want) still_sharded[have] = true;
    else if (want != partial_sum || (have >= first_dimension && still_sharded[have])) return false;
  }
  return true;
}

std::vector<ConversionTable::State> ConversionTable::absorbed_states(const std::vector<Step>& steps) const {
  std::vector<State> absorbed(states_);
  for (State wanted = 0; wanted < states_; ++wanted) {
    absorbed[wanted] = wanted;
    for (State state = 0; state < states_; ++state)
      if (steps[state].time < steps[absorbed[wanted]].time && may_be_added(state, wanted)) absorbed[wanted] = state;
  }
  return absorbed;
}

std::vector<ConversionTable::Step> ConversionTable::shortest_paths(State from) const {
  std::vector<Step> steps(states_, {impossible, from, {}});
  std::vector<std::size_t> length(states_, 0);
  std::vector<bool> done(states_, false);
  steps[from].time = Seconds(0);
  using Entry = std::tuple<double, std::size_t, State>;  // time, moves, state: ties go to fewer moves, then lower states
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
  open.emplace(0.0, 0, from);
  while (!open.empty()) {
    const State state = std::get<2>(open.top());
    open.pop();
    if (done[state]) continue;
    done[state] = true;
    for (const auto& [next, move] : Expansion(*this, state).moves) {
      const Seconds time = steps[state].time + move.time;
      if (done[next] || std::pair(time, length[state] + 1) >= std::pair(steps[next].time, length[next])) continue;
      steps[next] = {time, state, move};
      length[next] = length[state] + 1;
      open.emplace(time.value(), length[next], next);
    }
  }
  return steps;
}

Seconds ConversionTable::value_time(const Layout& from, const Layout& to) {
  return row(state_of(from, false)).steps[state_of(to, false)].time;
}

Seconds ConversionTable::gradient_time(const Layout& from, const Layout& to) {
  const Row& back = row(state_of(to, true));
  return back.steps[back.absorbed[state_of(from, true)]].time;
}

MovePath ConversionTable::value_path(const Layout& from, const Layout& to) {
  return path(state_of(from, false), state_of(to, false));
}

MovePath ConversionTable::path(State from, State to) {
  const std::vector<Step>& steps = row(from).steps;
  MovePath result{steps[to].time, {}, {layout_of(to)}};
  for (State state = to; state != from; state = steps[state].previous) {
    assert(result.time < impossible);
    result.moves.push_back(steps[state].move);
    result.states.push_back(layout_of(steps[state].previous));
  }
  std::reverse(result.moves.begin(), result.moves.end());
  std::reverse(result.states.begin(), result.states.end());
  return result;
}

MovePath ConversionTable::gradient_path(const Layout& from, const Layout& to) {
  const State start = state_of(to, true);
  const State end = state_of(from, true);
  const State arrival = row(start).absorbed[end];
  MovePath result = path(start, arrival);
  if (arrival == end) return result;
  const auto base = static_cast<State>(first_dimension + shape_.size());
  unsigned kept = 0;
  for (State a = arrival, b = end, axis = 0; axis < mesh_.dimensions(); ++axis, a /= base, b /= base)
    if (a % base != b % base) kept |= 1U << axis;
  result.moves.push_back({MoveKind::keep_one, kept, Bytes(0), Seconds(0)});
  result.states.push_back(layout_of(end));
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
