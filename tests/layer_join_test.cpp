#include "planner/layer_join.hpp"

#include <catch2/catch.hpp>
#include <deque>

using namespace meshloom;

namespace {

const RangeSettings one_microbatch{};

// Seconds by assignment of a layer's variables, each with so many choices.
LayerTable table_of(const std::vector<std::uint32_t>& sizes, const std::vector<double>& seconds) {
  LayerTable table;
  table.sizes = sizes;
  table.scalar = seconds;
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

// Layers joined one behind the other.
class Joined {
 public:
  void add(const std::vector<InterfaceVariable>& variables, const LayerTable& table) {
    const std::size_t layer = fronts_.size() - 1;
    const Matches matches = matches_of(fronts_.back(), ages_, layer, variables);
    fronts_.push_back(join(fronts_.back(), matches, layer, variables, table, one_microbatch));
    ages_ = ages_after(fronts_.back(), ages_, layer, variables);
  }
  // Layer 0 opens a parameter that only layer 100 uses again, and makes an activation.
  explicit Joined(const LayerTable& first) {
    add({{TensorId{200}, true, 0, 100, 0, false, false}, activation(0, 0)}, first);
  }

  const Front& last() const { return fronts_.back(); }
  const Ages& ages() const { return ages_; }

 private:
  std::deque<Front> fronts_{empty_front()};
  Ages ages_;
};

}  // namespace

TEST_CASE("a front that equal layers only make dearer by a constant is known as such") {
  // From either parameter: made 0 costs 1 from 0 and 2 from 1, made 1 costs 3 and 5.
  const LayerTable first = table_of({2, 2}, {0, 0, 7, 7}), layer = table_of({2, 2}, {1, 3, 2, 5});
  Joined joined(first);
  CHECK(joined.last().scalar == std::vector<double>{0, 0, 7, 7});
  joined.add(chain(1), layer);
  // min(0 + 1, 0 + 2), min(0 + 3, 0 + 5): (1, 3) is no constant more than (0, 0).
  CHECK(joined.last().scalar == std::vector<double>{1, 3, 8, 10});
  CHECK_FALSE(only_adds_a_constant(joined.last()));
  joined.add(chain(2), layer);
  // min(1 + 1, 3 + 2), min(1 + 3, 3 + 5): one second more each.
  CHECK(joined.last().scalar == std::vector<double>{2, 4, 9, 11});
  CHECK(only_adds_a_constant(joined.last()));
}

TEST_CASE("a further join of a layer that only adds a constant walks back the same way") {
  const LayerTable first = table_of({2, 2}, {0, 0, 7, 7}), layer = table_of({2, 2}, {1, 3, 2, 5});
  Joined joined(first);
  for (std::size_t l = 1; l <= 2; ++l) joined.add(chain(l), layer);
  const Front once = joined.last();
  for (std::size_t l = 3; l <= 42; ++l) joined.add(chain(l), layer);
  CHECK(joined.last().scalar == std::vector<double>{42, 44, 49, 51});
  CHECK(joined.last().open == once.open);
  for (std::size_t entry = 0; entry < 4; ++entry) {
    // The cheapest way to either choice leads over choice 0 of the layer before, under the same parameter.
    CHECK(origin_of(once, entry).previous == entry / 2 * 2);
    CHECK(origin_of(once, entry).table_entry == entry % 2);
    CHECK(origin_of(joined.last(), entry).previous == entry / 2 * 2);
    CHECK(origin_of(joined.last(), entry).table_entry == entry % 2);
  }
}

TEST_CASE("a variable is found again by its age, so that a layer in another place does not take it for its own") {
  const LayerTable first = table_of({2, 2}, {0, 0, 7, 7}), layer = table_of({2, 2}, {1, 3, 2, 5});
  Joined joined(first);
  for (std::size_t l = 1; l <= 2; ++l) joined.add(chain(l), layer);
  CHECK(joined.ages() == Ages{2, 0});
  // The parameter began in layer 0, so layer 3 is the third from there.
  const auto uses = [](std::size_t began) {
    return std::vector<InterfaceVariable>{{TensorId{200}, true, began, 3, 0, false, false}};
  };
  CHECK(matches_of(joined.last(), joined.ages(), 3, uses(0)) == Matches{0});
  CHECK(matches_of(joined.last(), joined.ages(), 3, uses(1)) == Matches{std::nullopt});
}

TEST_CASE("what leaves a stage is paid at its end") {
  // Choice 0 is a second cheaper inside, and three dearer to send.
  LayerTable first = table_of({1, 2}, {1, 2});
  first.departure[1][0].backward = Seconds(3);
  const Joined joined(first);
  CHECK(best_end(joined.last(), one_microbatch.weights) == 1U);
  CHECK(with_departures(joined.last(), 0, Cost{}).backward == Seconds(3));
  CHECK(with_departures(joined.last(), 1, Cost{}).backward == Seconds(0));
}
