// Conversions against enumeration: on up to 16 simulated devices, what the moves leave on each device is what the
// target layout says, and no cheaper sequence of up to three moves exists among all moves that leave valid contents.

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <limits>
#include <optional>

#include "tests/device_content.hpp"

using namespace meshloom;
using namespace meshloom::simulated;

namespace {

constexpr double never = std::numeric_limits<double>::infinity();
constexpr MoveKind all_moves[] = {MoveKind::slice,          MoveKind::keep_one,   MoveKind::all_gather,
                                  MoveKind::reduce_scatter, MoveKind::all_reduce, MoveKind::all_to_all,
                                  MoveKind::permute};

struct Case {
  std::int64_t hosts, devices_per_host;
  std::vector<std::int64_t> axes, shape;
};

// Bytes matter and latencies matter, inside a host and, four times slower, across.
Cluster cluster_of(const Case& sizes, double latency) {
  Cluster cluster;
  cluster.hosts = sizes.hosts;
  cluster.devices_per_host = sizes.devices_per_host;
  cluster.intra_host = {BytesPerSecond(8), 1, Seconds(latency)};
  cluster.nic = {BytesPerSecond(2), 1, Seconds(3 * latency)};
  return cluster;
}

DeviceMesh mesh_of(const Case& sizes) {
  DeviceMesh mesh{{sizes.hosts, sizes.devices_per_host}, {}};
  for (const std::int64_t size : sizes.axes) mesh.axes.push_back({fmt::format("a{}", mesh.axes.size()), size});
  return mesh;
}

std::vector<Layout> all_states(const std::vector<std::int64_t>& shape, const Devices& devices) {
  std::vector<Layout> states{Layout{}};
  for (std::size_t axis = 0; axis < devices.axes(); ++axis) {
    std::vector<Layout> longer;
    for (Layout state : states) {
      std::vector<AxisLayout> choices{replicated, partial};
      for (std::size_t dimension = 0; dimension < shape.size(); ++dimension) choices.push_back(sharded(dimension));
      for (const AxisLayout& choice : choices) state.axes[axis] = choice, longer.push_back(state);
    }
    states = std::move(longer);
  }
  return states;
}

// Which changes of an axis a kind of move makes; a permutation may make any that only relabels shards.
bool makes(MoveKind kind, const AxisLayout& before, const AxisLayout& after) {
  const bool from_shard = before.kind == LayoutKind::sharded, to_shard = after.kind == LayoutKind::sharded;
  switch (kind) {
    case MoveKind::slice:
      return before == replicated && to_shard;
    case MoveKind::keep_one:
      return before != partial && after == partial;
    case MoveKind::all_gather:
      return from_shard && after == replicated;
    case MoveKind::reduce_scatter:
      return before == partial && to_shard;
    case MoveKind::all_reduce:
      return before == partial && after == replicated;
    case MoveKind::all_to_all:
      return from_shard && to_shard;
    case MoveKind::permute:
      return true;
  }
  return false;
}

Bytes bytes_on_device(const Block& block, Bytes element) { return static_cast<double>(block.values.size()) * element; }

// The size of the tensor whole on the group, from what one device holds.
Bytes whole_on_group(MoveKind kind, const Block& before, const Block& after, std::int64_t group, Bytes element) {
  switch (kind) {
    case MoveKind::slice:
    case MoveKind::keep_one:
      return Bytes(0);
    case MoveKind::all_gather:
      return bytes_on_device(after, element);
    case MoveKind::reduce_scatter:
    case MoveKind::all_reduce:
      return bytes_on_device(before, element);
    case MoveKind::all_to_all:
    case MoveKind::permute:
      return static_cast<double>(group) * bytes_on_device(before, element);
  }
  return Bytes(0);
}

Seconds time_of(MoveKind kind, const Cluster& cluster, Bytes whole, const DeviceGroup& group) {
  switch (kind) {
    case MoveKind::slice:
    case MoveKind::keep_one:
      return Seconds(0);
    case MoveKind::all_gather:
      return collective_time(cluster, Collective::all_gather, whole, group);
    case MoveKind::reduce_scatter:
      return collective_time(cluster, Collective::reduce_scatter, whole, group);
    case MoveKind::all_reduce:
      return collective_time(cluster, Collective::all_reduce, whole, group);
    case MoveKind::all_to_all:
      return collective_time(cluster, Collective::all_to_all, whole, group);
    case MoveKind::permute:
      return collective_time(cluster, Collective::permute, whole, group);
  }
  return Seconds(0);
}

class Enumeration {
 public:
  explicit Enumeration(const Case& sizes)
      : sizes_(sizes), mesh_(mesh_of(sizes)), devices_(devices_of(mesh_)), tensor_(example_tensor(sizes.shape, 3)) {
    for (const Layout& state : all_states(sizes.shape, devices_)) {
      (divides_evenly(state, sizes.shape, devices_) ? states_ : excluded_).push_back(state);
      if (!states_.empty() && states_.back() == state) contents_.push_back(contents_in(state, tensor_, devices_));
    }
    for (std::size_t from = 0; from < states_.size(); ++from)
      for (std::size_t to = 0; to < states_.size(); ++to)
        if (from != to)
          for (const MoveKind kind : all_moves) enumerate(kind, from, to);
    set_latency(0);
  }

  // Prices everything again.
  void set_latency(double latency) {
    cluster_ = cluster_of(sizes_, latency);
    table_.emplace(cluster_, mesh_, sizes_.shape, element_);
    least_move_.assign(states_.size(), std::vector<double>(states_.size(), never));
    for (const LegalMove& move : legal_) {
      double& least = least_move_[move.from][move.to];
      if (move.kind != MoveKind::keep_one) least = std::min(least, price(move));
    }
  }

  // What is wrong with the library's answers, empty if nothing.
  std::string wrong_values() {
    for (std::size_t to = 0; to < states_.size(); ++to) {
      if (has_partial(states_[to])) continue;  // no operand is a partial sum
      const std::vector<double> least = least_to(to, false);
      for (std::size_t from = 0; from < states_.size(); ++from) {
        const Layout& a = states_[from];
        const Layout& b = states_[to];
        std::string wrong = wrong_path(table_->value_path(a, b), from, to, table_->value_time(a, b), least[from]);
        if (table_->value_time(with_partial_gradient(a), with_partial_gradient(b)) != table_->value_time(a, b))
          wrong += "R/P and R/R differ as values";
        if (!wrong.empty()) return describe("value", a, b) + wrong;
      }
    }
    return {};
  }

  // The gradient comes in the state of the operand, `start`, and is wanted in that of the result, `end`.
  std::string wrong_gradients() {
    for (std::size_t end = 0; end < states_.size(); ++end) {
      const std::vector<double> least = least_to(end, true);
      for (std::size_t start = 0; start < states_.size(); ++start) {
        const Layout result = of_gradient(states_[end]), operand = of_gradient(states_[start]);
        std::string wrong = wrong_path(table_->gradient_path(result, operand), start, end,
                                       table_->gradient_time(result, operand), least[start]);
        if (table_->gradient_time(with_partial_value(result), operand) != table_->gradient_time(result, operand))
          wrong += "P/R and R/R differ as gradients";
        if (!wrong.empty()) return describe("gradient", states_[start], states_[end]) + wrong;
      }
    }
    return {};
  }

  // Layouts that do not divide are out of reach, and so is everything from them.
  std::string wrong_exclusions() {
    for (const Layout& excluded : excluded_) {
      if (table_->divides(excluded)) return "divides: " + print_layout(excluded, devices_.axes());
      for (const Layout& state : states_) {
        const bool reached =
            table_->value_time(state, excluded) < impossible || table_->value_time(excluded, state) < impossible;
        const Layout a = of_gradient(state), b = of_gradient(excluded);
        if (reached || table_->gradient_time(a, b) < impossible || table_->gradient_time(b, a) < impossible)
          return describe("reached", state, excluded);
      }
      if (table_->value_time(excluded, excluded) < impossible) return describe("kept", excluded, excluded);
    }
    for (const Layout& state : states_)
      if (!table_->divides(state)) return "does not divide: " + print_layout(state, devices_.axes());
    return {};
  }

  std::size_t excluded() const { return excluded_.size(); }

 private:
  static constexpr Bytes element_{2};
  struct LegalMove {
    MoveKind kind;
    unsigned set;
    std::size_t from, to;
  };

  static Layout replaced(Layout layout, const AxisLayout& from, const AxisLayout& to) {
    for (AxisLayout& axis : layout.axes)
      if (axis == from) axis = to;
    return layout;
  }
  static Layout of_gradient(const Layout& state) { return replaced(state, partial, replicated_partial_gradient); }
  static Layout with_partial_gradient(const Layout& layout) {
    return replaced(layout, replicated, replicated_partial_gradient);
  }
  Layout with_partial_value(Layout layout) const {
    for (std::size_t axis = 0; axis < devices_.axes(); ++axis)
      if (layout.axes[axis] == replicated) layout.axes[axis] = partial;
    return layout;
  }
  static bool has_partial(const Layout& state) { return replaced(state, partial, replicated) != state; }

  std::string describe(const std::string& what, const Layout& from, const Layout& to) const {
    return fmt::format("{} {} -> {}: ", what, print_layout(from, devices_.axes()), print_layout(to, devices_.axes()));
  }

  bool leaves(MoveKind kind, unsigned set, std::size_t from, std::size_t to) const {
    try {
      return conform(moved(kind, set, states_[from], states_[to], contents_[from], devices_), states_[to], tensor_,
                     devices_);
    } catch (const CannotSplit&) {
      return false;
    }
  }

  double price(const LegalMove& move) const {
    const DeviceGroup group = group_of(mesh_, move.set);
    const Bytes whole = whole_on_group(move.kind, contents_[move.from][0], contents_[move.to][0], group.size, element_);
    return time_of(move.kind, cluster_, whole, group).value();
  }

  void enumerate(MoveKind kind, std::size_t from, std::size_t to) {
    const unsigned changed = changed_axes(states_[from], states_[to]);
    for (std::size_t axis = 0; axis < devices_.axes(); ++axis)
      if ((changed >> axis & 1U) != 0 && !makes(kind, states_[from].axes[axis], states_[to].axes[axis])) return;
    if (kind == MoveKind::permute && contents_[from][0].shape != contents_[to][0].shape) return;
    const unsigned last = kind == MoveKind::permute ? (1U << devices_.axes()) - 1 : changed;
    for (unsigned set = changed; set <= last; ++set) {  // a permutation may pass along axes that stay as they are
      if ((set & changed) == changed && leaves(kind, set, from, to)) legal_.push_back({kind, set, from, to});
    }
  }

  // The least price of at most three moves to a state. Keeping one copy is for gradients added into a partial sum.
  std::vector<double> least_to(std::size_t to, bool may_keep) const {
    std::vector<double> least(states_.size(), never);
    least[to] = 0;
    unsigned partial_axes = 0;
    for (std::size_t axis = 0; axis < devices_.axes(); ++axis)
      if (may_keep && states_[to].axes[axis] == partial) partial_axes |= 1U << axis;
    for (int moves = 0; moves < 3; ++moves) {
      std::vector<double> next = least;
      for (std::size_t a = 0; a < states_.size(); ++a)
        for (std::size_t b = 0; b < states_.size(); ++b) next[a] = std::min(next[a], least_move_[a][b] + least[b]);
      for (const LegalMove& move : legal_)
        if (move.kind == MoveKind::keep_one && (move.set & ~partial_axes) == 0)
          next[move.from] = std::min(next[move.from], least[move.to]);
      least = std::move(next);
    }
    return least;
  }

  std::string wrong_path(const MovePath& path, std::size_t from, std::size_t to, Seconds time, double least) const {
    if (path.states.size() != path.moves.size() + 1) return "states and moves do not match";
    if (path.states.front() != states_[from] || path.states.back() != states_[to]) return "ends elsewhere";
    Contents contents = contents_[from];
    double sum = 0;
    for (std::size_t k = 0; k < path.moves.size(); ++k) {
      const Move& move = path.moves[k];
      const Layout& before = path.states[k];
      const Layout& after = path.states[k + 1];
      Contents next;
      try {
        next = moved(move.kind, move.axis_set, before, after, contents, devices_);
      } catch (const CannotSplit&) {
        return fmt::format("move {} cannot be carried out over its group", k);
      }
      if (!conform(next, after, tensor_, devices_)) return fmt::format("move {} leaves other contents", k);
      const DeviceGroup group = group_of(mesh_, move.axis_set);
      const Bytes whole = whole_on_group(move.kind, contents[0], next[0], group.size, element_);
      if (move.whole != whole) return fmt::format("move {} says {} B, not {}", k, move.whole.value(), whole.value());
      if (move.time != time_of(move.kind, cluster_, whole, group)) return fmt::format("move {} has another price", k);
      sum += move.time.value();
      contents = std::move(next);
    }
    if (std::abs(sum - time.value()) > 1e-9 * sum || path.time != time) return "the moves do not add up to the price";
    if (sum > least * (1 + 1e-9)) return fmt::format("costs {}, but three moves cost {}", sum, least);
    return {};
  }

  Case sizes_;
  Cluster cluster_;
  DeviceMesh mesh_;
  Devices devices_;
  Block tensor_;
  std::optional<ConversionTable> table_;
  std::vector<Layout> states_, excluded_;
  std::vector<Contents> contents_;
  std::vector<LegalMove> legal_;
  std::vector<std::vector<double>> least_move_;  // [from][to], without keep_one; infinite where no one move leads
};

const Case cases[] = {
    {1, 2, {2}, {4}},           {1, 3, {3}, {6, 3}},         {1, 4, {4}, {4, 8, 2}},       {1, 4, {2, 2}, {4}},
    {1, 8, {2, 4}, {8, 4}},     {2, 4, {2, 4}, {8, 16}},     {2, 4, {4, 2}, {8, 4}},       {1, 6, {2, 3}, {6, 6}},
    {2, 3, {2, 3}, {6, 12}},    {1, 4, {2, 2}, {4, 2, 4}},   {1, 8, {2, 2, 2}, {8, 4}},    {2, 4, {2, 2, 2}, {4, 2, 2}},
    {2, 8, {2, 2, 4}, {16, 4}}, {1, 16, {2, 4, 2}, {16, 4}}, {2, 8, {4, 4}, {16, 4, 4}},   {4, 4, {2, 2, 2, 2}, {16}},
    {1, 8, {2, 4}, {6, 4}},     {1, 6, {2, 3}, {4, 3}},      {1, 8, {2, 2, 2}, {2, 5, 4}},
};

}  // namespace

TEST_CASE("conversions leave what the target layout says, at the least price of three moves") {
  for (const Case& sizes : cases) {
    Enumeration enumeration(sizes);
    for (const double latency : {0.0, 40.0}) {
      CAPTURE(sizes.axes, sizes.shape, latency);
      enumeration.set_latency(latency);
      CHECK(enumeration.wrong_values() == "");
      CHECK(enumeration.wrong_gradients() == "");
    }
  }
}

TEST_CASE("layouts that do not divide the shape cannot be reached or left") {
  std::size_t excluded = 0;
  const Case indivisible[] = {{1, 4, {4}, {4, 8, 2}},    {1, 8, {2, 4}, {8, 4}}, {1, 8, {2, 4}, {6, 4}},
                              {1, 8, {2, 2, 2}, {8, 4}}, {1, 6, {2, 3}, {4, 3}}, {1, 8, {2, 2, 2}, {2, 5, 4}}};
  for (const Case& sizes : indivisible) {
    CAPTURE(sizes.axes, sizes.shape);
    Enumeration enumeration(sizes);
    CHECK(enumeration.wrong_exclusions() == "");
    excluded += enumeration.excluded();
  }
  // One axis of 4: S(2) of 2 (1). 2x4 on [8, 4]: S(1) on both (1). 2x4 on [6, 4]: S(0) on the axis of 4 with any of 4
  // on the other, S(1) on both (5). 2x2x2 on [8, 4]: S(1) on all (1). 2x3 on [4, 3]: S(1) on the axis of 2 with any of
  // 4, S(0) on the axis of 3 with any of 4, together in one (7). 2x2x2 on [2, 5, 4]: of 125 those without S(1) (64),
  // fewer than two S(0) (64 - 3·3 - 1 = 54) and fewer than three S(2) (53) remain (72).
  CHECK(excluded == 1 + 1 + 5 + 1 + 7 + 72);
}
