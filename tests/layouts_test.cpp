// Layouts: their text, and that they are right: ops on simulated devices, with the conversions between them, have the
// values and gradients of one device.

#include <catch2/catch.hpp>

#include "costmodel/layout.hpp"
#include "tests/device_content.hpp"

using namespace meshloom;
using namespace meshloom::simulated;

namespace {

Cluster any_cluster() {
  Cluster cluster;
  cluster.devices_per_host = 16;
  cluster.intra_host = {BytesPerSecond(1e9), 1, Seconds(1e-5)};
  return cluster;
}

DeviceMesh mesh_of(std::vector<std::int64_t> sizes) {
  DeviceMesh mesh{{1, 1}, {}};
  for (const std::int64_t size : sizes) {
    mesh.axes.push_back({std::to_string(mesh.axes.size()), size});
    mesh.submesh.devices_per_host *= size;
  }
  return mesh;
}

// The factor that each axis is mapped to; '-' is none.
using Mapping = std::string;

// An operand or result by its factors, for example "ak": sharded where the axis maps to one of its factors; whole and
// used redundantly where it maps to none. Where it maps to another factor, an operand is whole and used in part, a
// result partial.
Layout layout_of(const std::string& factors, const Mapping& mapping, const AxisLayout& otherwise) {
  Layout layout;
  for (std::size_t axis = 0; axis < mapping.size(); ++axis) {
    const std::size_t dimension = factors.find(mapping[axis]);
    layout.axes[axis] = dimension != std::string::npos ? sharded(dimension)
                        : mapping[axis] == '-'         ? replicated
                                                       : otherwise;
  }
  return layout;
}
Layout operand(const std::string& factors, const Mapping& mapping) {
  return layout_of(factors, mapping, replicated_partial_gradient);
}
Layout result(const std::string& factors, const Mapping& mapping) { return layout_of(factors, mapping, partial); }

std::vector<Mapping> mappings(const std::string& factors, std::size_t axes) {
  std::vector<Mapping> all{""};
  for (std::size_t axis = 0; axis < axes; ++axis) {
    std::vector<Mapping> longer;
    for (const Mapping& mapping : all)
      for (const char factor : factors + "-") longer.push_back(mapping + factor);
    all = std::move(longer);
  }
  return all;
}

class Simulation {
 public:
  explicit Simulation(const DeviceMesh& mesh) : cluster_(any_cluster()), mesh_(mesh), devices_(devices_of(mesh)) {}

  const Devices& devices() const { return devices_; }
  Contents place(const Layout& layout, const Block& tensor) const {
    return contents_in(value_state(layout), tensor, devices_);
  }
  Contents place_gradient(const Layout& layout, const Block& tensor) const {
    return contents_in(gradient_state(layout), tensor, devices_);
  }
  bool is(const Contents& contents, const Layout& layout, const Block& tensor) const {
    return conform(contents, value_state(layout), tensor, devices_);
  }
  bool is_gradient(const Contents& contents, const Layout& layout, const Block& tensor) const {
    return conform(contents, gradient_state(layout), tensor, devices_);
  }

  Contents forward(const Contents& contents, const Layout& from, const Layout& to, const Block& tensor) const {
    return carried(contents, table(tensor).value_path(from, to));
  }
  Contents backward(const Contents& gradient, const Layout& from, const Layout& to, const Block& tensor) const {
    return carried(gradient, table(tensor).gradient_path(from, to));
  }
  std::vector<MoveKind> forward_moves(const Layout& from, const Layout& to, const Block& tensor) const {
    return kinds(table(tensor).value_path(from, to));
  }
  std::vector<MoveKind> backward_moves(const Layout& from, const Layout& to, const Block& tensor) const {
    return kinds(table(tensor).gradient_path(from, to));
  }

 private:
  ConversionTable table(const Block& tensor) const { return {cluster_, mesh_, tensor.shape, Bytes(2)}; }

  Contents carried(Contents contents, const MovePath& path) const {
    for (std::size_t k = 0; k < path.moves.size(); ++k)
      contents =
          moved(path.moves[k].kind, path.moves[k].axis_set, path.states[k], path.states[k + 1], contents, devices_);
    return contents;
  }

  static std::vector<MoveKind> kinds(const MovePath& path) {
    std::vector<MoveKind> result;
    for (const Move& move : path.moves) result.push_back(move.kind);
    return result;
  }

  Cluster cluster_;
  DeviceMesh mesh_;
  Devices devices_;
};

// Each device does its part, knowing nothing of the others.
Contents product_on_each(const Contents& a, const Contents& b) {
  Contents result;
  for (std::size_t device = 0; device < a.size(); ++device) result.push_back(product(a[device], b[device]));
  return result;
}
Contents transposed_on_each(const Contents& a) {
  Contents result;
  for (const Block& block : a) result.push_back(transposed(block));
  return result;
}
Contents sum_on_each(const Contents& a, const Contents& b) {
  Contents result;
  for (std::size_t device = 0; device < a.size(); ++device) result.push_back(plus(a[device], b[device]));
  return result;
}

// y = A·B (a k, k b -> a b), then z = y·C (a b, b c -> a c), on one device.
struct TwoProducts {
  Block a, b, c, y, z, dz, dy, da, db, dc;
  explicit TwoProducts(std::int64_t size)
      : a(example_tensor({size, 2 * size}, 1)),
        b(example_tensor({2 * size, size}, 2)),
        c(example_tensor({size, 2 * size}, 3)),
        y(product(a, b)),
        z(product(y, c)),
        dz(example_tensor(z.shape, 4)),
        dy(product(dz, transposed(c))),
        da(product(dy, transposed(b))),
        db(product(transposed(a), dy)),
        dc(product(transposed(y), dz)) {}
};

// What differs from one device, empty if nothing.
std::string difference(const Simulation& simulation, const TwoProducts& one, const Mapping& first,
                       const Mapping& second) {
  const Layout a = operand("ak", first), b = operand("kb", first), from = result("ab", first);
  const Layout to = operand("ab", second), c = operand("bc", second), z = result("ac", second);
  const Contents y_made = product_on_each(simulation.place(a, one.a), simulation.place(b, one.b));
  if (!simulation.is(y_made, from, one.y)) return "y as made";
  const Contents y_used = simulation.forward(y_made, from, to, one.y);
  if (!simulation.is(y_used, to, one.y)) return "y as used";
  const Contents c_used = simulation.place(c, one.c);
  if (!simulation.is(product_on_each(y_used, c_used), z, one.z)) return "z";
  const Contents dz = simulation.place_gradient(z, one.dz);
  const Contents dy_made = product_on_each(dz, transposed_on_each(c_used));
  if (!simulation.is_gradient(dy_made, to, one.dy)) return "gradient of y as made";
  if (!simulation.is_gradient(product_on_each(transposed_on_each(y_used), dz), c, one.dc)) return "gradient of C";
  const Contents dy = simulation.backward(dy_made, from, to, one.y);
  if (!simulation.is_gradient(dy, from, one.dy)) return "gradient of y as it arrives";
  if (!simulation.is_gradient(product_on_each(dy, transposed_on_each(simulation.place(b, one.b))), a, one.da))
    return "gradient of A";
  if (!simulation.is_gradient(product_on_each(transposed_on_each(simulation.place(a, one.a)), dy), b, one.db))
    return "gradient of B";
  return {};
}

// y = A·B is used twice through its own node, z₁ = y·C and z₂ = y·D: gradients are added there, in the node's layout.
std::string difference(const Simulation& simulation, const TwoProducts& one, const Mapping& first, const Layout& node,
                       const std::vector<Mapping>& consumers) {
  const Layout from = result("ab", first);
  const Contents y_made =
      product_on_each(simulation.place(operand("ak", first), one.a), simulation.place(operand("kb", first), one.b));
  const Contents y_node = simulation.forward(y_made, from, node, one.y);
  if (!simulation.is(y_node, node, one.y)) return "y in its node";
  Contents gradient;
  Block expected = zeros(one.y.shape);
  for (std::size_t i = 0; i < consumers.size(); ++i) {
    const Layout to = operand("ab", consumers[i]);
    const Block factor = example_tensor(one.c.shape, static_cast<std::int64_t>(20 + i));
    const Block dz = example_tensor(one.z.shape, static_cast<std::int64_t>(30 + i));
    const Contents y_used = simulation.forward(y_node, node, to, one.y);
    if (!simulation.is(y_used, to, one.y)) return "y as used";
    const Contents dy_made = product_on_each(simulation.place_gradient(result("ac", consumers[i]), dz),
                                             transposed_on_each(simulation.place(operand("bc", consumers[i]), factor)));
    const Contents dy = simulation.backward(dy_made, node, to, one.y);
    if (!simulation.is_gradient(dy, node, product(dz, transposed(factor)))) return "gradient of y in its node";
    gradient = i == 0 ? dy : sum_on_each(gradient, dy);
    expected = plus(expected, product(dz, transposed(factor)));
  }
  if (!simulation.is_gradient(gradient, node, expected)) return "sum of gradients";
  if (!simulation.is_gradient(simulation.backward(gradient, from, node, one.y), from, expected)) return "gradient of y";
  return {};
}

Layout layout(std::vector<AxisLayout> axes) {
  Layout result;
  std::copy(axes.begin(), axes.end(), result.axes.begin());
  return result;
}

}  // namespace

TEST_CASE("a layout prints its four states, one per axis, and reads them again") {
  const Layout all = layout({sharded(1), replicated_partial_gradient, replicated, partial});
  CHECK(print_layout(all, 4) == "[S(1), R/P, R/R, P/R]");
  CHECK(print_layout(all, 2) == "[S(1), R/P]");
  CHECK(print_layout(Layout{}, 0) == "[]");
  for (const AxisLayout& axis : all.axes) CHECK(parse_axis_layout(print_axis_layout(axis)) == axis);
  CHECK(parse_axis_layout("S(9)") == sharded(9));
  for (const char* text : {"", "S", "S()", "S(a)", "S(10)", "S(-1)", "P/P", "r/r", "R/R ", "S(1"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_axis_layout(text).has_value());
  }
}

TEST_CASE("only the axes that shard a tensor count as its shards") {
  const DeviceMesh mesh = mesh_of({2, 3, 4});
  CHECK(shards(Layout{}, mesh) == 1);
  CHECK(shards(layout({replicated_partial_gradient, partial, replicated}), mesh) == 1);
  CHECK(shards(layout({sharded(0), partial, sharded(0)}), mesh) == 8);
  CHECK(shards(layout({sharded(0), sharded(2), sharded(1)}), mesh) == 24);
  CHECK(shards(Layout{}, mesh_of({})) == 1);
}

TEST_CASE("axes on one dimension cut it major first") {
  // Eight numbers on 2 x 2 devices: device (1, 0) has the third quarter.
  const Block tensor{{8}, {0, 1, 2, 3, 4, 5, 6, 7}};
  const Devices devices{{2, 2}};
  CHECK(tile(tensor, layout({sharded(0), sharded(0)}), devices, 2).values == std::vector<std::int64_t>{4, 5});
  CHECK(tile(tensor, layout({sharded(0), replicated}), devices, 2).values == std::vector<std::int64_t>{4, 5, 6, 7});
}

TEST_CASE("two products on n devices have the values and gradients of one, whatever their strategies") {
  const std::pair<std::vector<std::int64_t>, std::int64_t> meshes[] = {{{4}, 4}, {{3}, 3}, {{2, 2}, 4}, {{2, 3}, 6}};
  for (const auto& [sizes, size] : meshes) {
    const Simulation simulation(mesh_of(sizes));
    const TwoProducts one(size);
    for (const Mapping& first : mappings("abk", sizes.size()))       // y is S(0), S(1), P/R or R/R on each axis
      for (const Mapping& second : mappings("abc", sizes.size())) {  // and used S(0), S(1), R/P or R/R
        CAPTURE(sizes, first, second);
        const std::string wrong = difference(simulation, one, first, second);
        if (!wrong.empty()) CHECK(wrong == "");
      }
    CHECK(difference(simulation, one, std::string(sizes.size(), 'k'), std::string(sizes.size(), 'c')) == "");
  }
}

TEST_CASE("a tensor with an R/P and an R/R consumer has the right gradient through any node") {
  const AxisLayout states[] = {sharded(0), sharded(1), replicated, replicated_partial_gradient};
  const Simulation one_axis(mesh_of({4})), two_axes(mesh_of({2, 2}));
  const TwoProducts one(4);
  std::size_t checked = 0;
  for (const AxisLayout& x : states) {
    for (const Mapping& first : mappings("abk", 1)) {
      CAPTURE(print_axis_layout(x), first);
      CHECK(difference(one_axis, one, first, layout({x}), {"c", "-"}) == "");
      CHECK(difference(one_axis, one, first, layout({x}), {"c", "-", "a", "b"}) == "");
    }
    for (const AxisLayout& y : states)
      for (const Mapping& first : mappings("abk", 2)) {
        CAPTURE(print_layout(layout({x, y}), 2), first);
        const std::string wrong = difference(two_axes, one, first, layout({x, y}), {"cc", "--", "c-", "bc"});
        if (!wrong.empty()) CHECK(wrong == "");
        ++checked;
      }
  }
  CHECK(checked == 4 * 4 * 16);
}

TEST_CASE("adding an R/R gradient to an R/P one without making it a partial sum would be wrong") {
  // What keep_one is for: four devices would count the whole gradient four times.
  const Simulation simulation(mesh_of({4}));
  const Block gradient = example_tensor({4, 4}, 1);
  const Layout node = layout({replicated_partial_gradient});
  const Contents whole = simulation.place_gradient(layout({replicated}), gradient);
  CHECK_FALSE(simulation.is_gradient(whole, node, gradient));
  CHECK(simulation.is_gradient(simulation.backward(whole, node, layout({replicated}), gradient), node, gradient));
}

TEST_CASE("Megatron's f and g are the conversions around a column- and a row-parallel product") {
  // u = x·W₁ (s h, h f -> s f) and v = u·W₂ (s f, f h -> s h), both with f on the axis.
  const Simulation simulation(mesh_of({4}));
  const Block x = example_tensor({4, 8}, 1);
  const Layout before = layout({replicated}), f_operand = operand("sh", "f"), g_result = result("sh", "f");
  CHECK(simulation.forward_moves(before, f_operand, x).empty());  // f: nothing forward, all-reduce backward
  CHECK(simulation.backward_moves(before, f_operand, x) == std::vector{MoveKind::all_reduce});
  CHECK(simulation.forward_moves(g_result, before, x) == std::vector{MoveKind::all_reduce});  // g: the other way round
  CHECK(simulation.backward_moves(g_result, before, x).empty());
  CHECK(result("sf", "f") == operand("sf", "f"));  // nothing between the two products
}

TEST_CASE("sequence parallelism is an all-gather before and a reduce-scatter behind the products") {
  const Simulation simulation(mesh_of({4}));
  const Block x = example_tensor({4, 8}, 1);
  const Layout sequence = operand("sh", "s");
  CHECK(simulation.forward_moves(sequence, operand("sh", "f"), x) == std::vector{MoveKind::all_gather});
  CHECK(simulation.backward_moves(sequence, operand("sh", "f"), x) == std::vector{MoveKind::reduce_scatter});
  CHECK(simulation.forward_moves(result("sh", "f"), sequence, x) == std::vector{MoveKind::reduce_scatter});
  CHECK(simulation.backward_moves(result("sh", "f"), sequence, x) == std::vector{MoveKind::all_gather});
}

TEST_CASE("an MLP split as Megatron does, with and without sequence parallelism, is that of one device") {
  const Simulation simulation(mesh_of({4}));
  const Block x = example_tensor({4, 8}, 1), w1 = example_tensor({8, 12}, 2), w2 = example_tensor({12, 8}, 3);
  const Block u = product(x, w1), v = product(u, w2), dv = example_tensor(v.shape, 4);
  const Block du = product(dv, transposed(w2)), dx = product(du, transposed(w1));
  for (const char* const around : {"-", "s"}) {
    CAPTURE(around);
    const Layout outside = operand("sh", around), inside = operand("sh", "f"), summed = result("sh", "f");
    const Contents w1_here = simulation.place(operand("hf", "f"), w1),
                   w2_here = simulation.place(operand("fh", "f"), w2);
    const Contents x_used = simulation.forward(simulation.place(outside, x), outside, inside, x);
    const Contents u_here = product_on_each(x_used, w1_here);
    CHECK(simulation.is(simulation.forward(product_on_each(u_here, w2_here), summed, outside, v), outside, v));
    const Contents dv_here = simulation.backward(simulation.place_gradient(outside, dv), summed, outside, v);
    const Contents du_here = product_on_each(dv_here, transposed_on_each(w2_here));
    CHECK(simulation.is_gradient(product_on_each(transposed_on_each(u_here), dv_here), operand("fh", "f"),
                                 product(transposed(u), dv)));
    CHECK(simulation.is_gradient(product_on_each(transposed_on_each(x_used), du_here), operand("hf", "f"),
                                 product(transposed(x), du)));
    const Contents dx_here =
        simulation.backward(product_on_each(du_here, transposed_on_each(w1_here)), outside, inside, x);
    CHECK(simulation.is_gradient(dx_here, outside, dx));
  }
}
