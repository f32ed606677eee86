#include "planner/inter_op/reachable_offsets.hpp"

#include <catch2/catch.hpp>
#include <functional>
#include <random>
#include <set>
#include <tuple>

namespace meshloom {
namespace {

std::set<std::int64_t> listed(const OffsetSet& set) {
  std::set<std::int64_t> result;
  set.for_each([&](std::int64_t offset) {
    CHECK((result.empty() || *result.rbegin() < offset));  // ascending
    result.insert(offset);
  });
  return result;
}

OffsetSet set_of(std::int64_t offsets, const std::set<std::int64_t>& members) {
  OffsetSet result(offsets);
  for (const std::int64_t member : members) result.insert(member);
  return result;
}

TEST_CASE("sets of offsets move up and down over the borders of words and drop what leaves", "[inter_op]") {
  std::mt19937 random(5);
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t words = 1 + random() % 4, offsets = 64 * words;  // what leaves a whole word leaves the set
    std::set<std::int64_t> members, others;
    for (int i = 0; i < 12; ++i) members.insert(random() % offsets), others.insert(random() % offsets);
    const std::int64_t devices = trial % 3 == 0 ? 64 * (random() % words) : random() % offsets;
    std::set<std::int64_t> up = others, down = others, both;
    for (const std::int64_t member : members) {
      if (member + devices < offsets) up.insert(member + devices);
      if (member - devices >= 0) down.insert(member - devices);
      if (others.contains(member)) both.insert(member);
    }
    INFO("trial " << trial << ": " << offsets << " offsets moved by " << devices);
    const OffsetSet moved = set_of(offsets, members);
    OffsetSet result = set_of(offsets, others);
    result.insert_moved_up(moved, devices);
    CHECK(listed(result) == up);
    result = set_of(offsets, others);
    result.insert_moved_down(moved, devices);
    CHECK(listed(result) == down);
    result = set_of(offsets, others);
    result.intersect(moved);
    CHECK(listed(result) == both);
    CHECK(result.empty() == both.empty());
    for (std::int64_t offset = 0; offset < offsets; ++offset) CHECK(moved.contains(offset) == members.contains(offset));
  }
}

TEST_CASE("a set without members is empty, one with its last offset is not", "[inter_op]") {
  OffsetSet set(65);
  CHECK(set.empty());
  set.insert(64);
  CHECK_FALSE(set.empty());
  CHECK(listed(set) == std::set<std::int64_t>{64});
}

TEST_CASE("offsets on the way are those that some pipeline of usable stages passes", "[inter_op]") {
  std::mt19937 random(9);
  int passable = 0, blocked = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const auto layers = static_cast<std::uint32_t>(1 + random() % 5);
    const std::int64_t devices = 1 + random() % 9;
    const std::vector<std::int64_t> sizes{1, 2, 3};
    std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> usable;
    for (std::uint32_t first = 0; first < layers; ++first)
      for (std::uint32_t last = first; last < layers; ++last)
        for (std::uint32_t s = 0; s < sizes.size(); ++s)
          if (random() % 2 == 0) usable.emplace(first, last, s);
    // Every pipeline, one after the other; each marks where it passes.
    std::vector<std::set<std::int64_t>> passed(layers + 1);
    std::vector<std::pair<std::uint32_t, std::int64_t>> way{{0, 0}};
    const std::function<void()> extend = [&] {
      const auto [first, offset] = way.back();
      if (first == layers) {
        if (offset == devices)
          for (const auto& [layer, at] : way) passed[layer].insert(at);
        return;
      }
      for (const auto& [begin, last, s] : usable) {
        if (begin != first || offset + sizes[s] > devices) continue;
        way.emplace_back(last + 1, offset + sizes[s]);
        extend();
        way.pop_back();
      }
    };
    extend();
    const std::vector<OffsetSet> offsets =
        offsets_on_the_way(layers, devices, sizes, [&](std::uint32_t first, std::uint32_t last, std::uint32_t s) {
          return usable.contains({first, last, s});
        });
    INFO("trial " << trial << ": " << layers << " layers, " << devices << " devices");
    REQUIRE(offsets.size() == layers + 1);
    for (std::uint32_t layer = 0; layer <= layers; ++layer) CHECK(listed(offsets[layer]) == passed[layer]);
    ++(passed[0].empty() ? blocked : passable);
  }
  CHECK(passable >= 30);
  CHECK(blocked >= 30);
}

}  // namespace
}  // namespace meshloom
