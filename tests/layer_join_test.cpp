#include "planner/layer_join.hpp"

#include <catch2/catch.hpp>

using namespace meshloom;

namespace {

const RangeSettings one_microbatch{};

// Seconds by assignment of a layer's variables, each with so many choices.
LayerTable table_of(const std::vector<std::uint32_t>& sizes, const std::vector<double>& seconds) {
  LayerTable table;
  table.sizes = sizes;
  for (const double each : seconds) {
    table.scalar.push_back(each);
    table.costs.emplace_back().forward = Seconds(each);
    table.choices.emplace_back();
  }
  for (const std::uint32_t size : sizes)
    for (auto* costs : {&table.own, &table.arrival, &table.departure}) costs->emplace_back(size);
  return table;
}

InterfaceVariable activation(std::size_t made_in, std::size_t layer) {
  return {TensorId{static_cast<std::uint32_t>(made_in)}, false, made_in, made_in + 1, 0, made_in != layer, false};
}

// A layer behind another: reads what that made, makes its own.
std::vector<InterfaceVariable> chain(std::size_t layer) {
  return {activation(layer - 1, layer), activation(layer, layer)};
}

// Layer 0 opens a parameter that only layer 100 uses again, and makes an activation.
Front opened(const LayerTable& first) {
  const InterfaceVariable parameter{TensorId{200}, true, 0, 100, 0, false, false};
  return join(empty_front(), 0, {parameter, activation(0, 0)}, first, one_microbatch);
}

void check_equal(const Front& a, const Front& b) {
  CHECK(a.scalar == b.scalar);
  CHECK(a.costs == b.costs);
  CHECK(a.previous == b.previous);
  CHECK(a.table_entry == b.table_entry);
  REQUIRE(a.open.size() == b.open.size());
  for (std::size_t k = 0; k < a.open.size(); ++k) CHECK(a.open[k].age == b.open[k].age);
}

}  // namespace

TEST_CASE("a front that equal layers only make dearer by a constant knows its growth") {
  // From either parameter: made 0 costs 1 from 0 and 2 from 1, made 1 costs 3 and 5.
  const LayerTable first = table_of({2, 2}, {0, 0, 7, 7}), layer = table_of({2, 2}, {1, 3, 2, 5});
  Front front = opened(first);
  CHECK(front.scalar == std::vector<double>{0, 0, 7, 7});
  front = join(front, 1, chain(1), layer, one_microbatch);
  // min(0 + 1, 0 + 2), min(0 + 3, 0 + 5): (1, 3) is no constant more than (0, 0).
  CHECK(front.scalar == std::vector<double>{1, 3, 8, 10});
  CHECK_FALSE(front.growth);
  front = join(front, 2, chain(2), layer, one_microbatch);
  // min(1 + 1, 3 + 2), min(1 + 3, 3 + 5): one second more each.
  CHECK(front.scalar == std::vector<double>{2, 4, 9, 11});
  REQUIRE(front.growth);
  CHECK(front.growth->scalar == 1);
  CHECK(front.growth->cost.forward == Seconds(1));
}

TEST_CASE("a grown front is the front that as many joins make") {
  const LayerTable first = table_of({2, 2}, {0, 0, 7, 7}), layer = table_of({2, 2}, {1, 3, 2, 5});
  Front front = opened(first);
  for (std::size_t l = 1; l <= 2; ++l) front = join(front, l, chain(l), layer, one_microbatch);
  const Front grown_front = grown(front, 40);
  for (std::size_t l = 3; l <= 42; ++l) front = join(front, l, chain(l), layer, one_microbatch);
  check_equal(grown_front, front);
}

TEST_CASE("a front is not taken to grow while the memory of its entries still differs") {
  // Equal seconds, but made 1 saves a byte in each layer and made 0 none, and entries stay apart: 9 seconds to cross.
  LayerTable layer = table_of({2, 2}, {1, 9, 9, 1});
  layer.costs[3].activations = Bytes(1);
  Front front = opened(table_of({2, 2}, {0, 0, 7, 7}));
  for (std::size_t l = 1; l <= 5; ++l) {
    front = join(front, l, chain(l), layer, one_microbatch);
    CHECK_FALSE(front.growth);
  }
}
