// Sets of device offsets, as bits: which places between layers a pipeline of given stages can pass through.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace meshloom {

class OffsetSet {
 public:
  explicit OffsetSet(std::int64_t offsets) : words_(static_cast<std::size_t>(offsets + 63) / 64, 0) {}

  void insert(std::int64_t offset) { words_[word(offset)] |= bit(offset); }
  void insert(const OffsetSet& other) {
    for (std::size_t w = 0; w < words_.size(); ++w) words_[w] |= other.words_[w];
  }
  bool contains(std::int64_t offset) const { return (words_[word(offset)] & bit(offset)) != 0; }
  bool empty() const {
    for (const std::uint64_t each : words_)
      if (each != 0) return false;
    return true;
  }

  // Adds every offset of the other set, so many devices further on; what leaves the end is dropped.
  void insert_moved_up(const OffsetSet& other, std::int64_t devices) {
    const std::size_t whole = word(devices), part = static_cast<std::size_t>(devices) % 64;
    for (std::size_t w = words_.size(); w-- > whole;) {
      words_[w] |= other.words_[w - whole] << part;
      if (part > 0 && w > whole) words_[w] |= other.words_[w - whole - 1] >> (64 - part);
    }
  }
  void insert_moved_down(const OffsetSet& other, std::int64_t devices) {
    const std::size_t whole = word(devices), part = static_cast<std::size_t>(devices) % 64;
    for (std::size_t w = 0; w + whole < words_.size(); ++w) {
      words_[w] |= other.words_[w + whole] >> part;
      if (part > 0 && w + whole + 1 < words_.size()) words_[w] |= other.words_[w + whole + 1] << (64 - part);
    }
  }
  void unite(const OffsetSet& other) {
    for (std::size_t w = 0; w < words_.size(); ++w) words_[w] |= other.words_[w];
  }
  void intersect(const OffsetSet& other) {
    for (std::size_t w = 0; w < words_.size(); ++w) words_[w] &= other.words_[w];
  }

  // Ascending.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (std::size_t w = 0; w < words_.size(); ++w)
      for (std::uint64_t rest = words_[w]; rest != 0; rest &= rest - 1)
        visit(static_cast<std::int64_t>(64 * w + static_cast<std::size_t>(std::countr_zero(rest))));
  }

 private:
  static std::size_t word(std::int64_t offset) { return static_cast<std::size_t>(offset) / 64; }
  static std::uint64_t bit(std::int64_t offset) { return std::uint64_t{1} << (static_cast<std::size_t>(offset) % 64); }

  std::vector<std::uint64_t> words_;
};

// By boundary of layers (0: before the first): the offsets on some way over all layers and devices whose stages are all
// usable. usable(first, last, submesh).
template <typename Usable>
std::vector<OffsetSet> offsets_on_the_way(std::uint32_t layers, std::int64_t devices,
                                          const std::vector<std::int64_t>& sizes, const Usable& usable) {
  std::vector<OffsetSet> before(layers + 1, OffsetSet(devices + 1)), after = before;
  before.front().insert(0);
  after.back().insert(devices);
  for (std::uint32_t first = 0; first < layers; ++first) {
    if (before[first].empty()) continue;
    for (std::uint32_t s = 0; s < sizes.size(); ++s) {
      OffsetSet ends(devices + 1);
      ends.insert_moved_up(before[first], sizes[s]);
      for (std::uint32_t last = first; last < layers; ++last)
        if (usable(first, last, s)) before[last + 1].insert(ends);
    }
  }
  for (std::uint32_t first = layers; first-- > 0;) {
    if (before[first].empty()) continue;
    for (std::uint32_t s = 0; s < sizes.size(); ++s) {
      OffsetSet ends(devices + 1);
      for (std::uint32_t last = first; last < layers; ++last)
        if (usable(first, last, s)) ends.insert(after[last + 1]);
      after[first].insert_moved_down(ends, sizes[s]);
    }
    after[first].intersect(before[first]);
  }
  after.back().intersect(before.back());
  return after;
}

// The same for ways of exactly so many stages: by number of stages before the boundary (0 … stages), then by boundary.
template <typename Usable>
std::vector<std::vector<OffsetSet>> offsets_on_the_way(std::uint32_t layers, std::int64_t devices,
                                                       const std::vector<std::int64_t>& sizes, std::uint32_t stages,
                                                       const Usable& usable) {
  std::vector<std::vector<OffsetSet>> before(stages + 1, {layers + 1, OffsetSet(devices + 1)}), on_the_way = before;
  if (stages > layers) return on_the_way;
  before.front().front().insert(0);
  on_the_way.back().back().insert(devices);
  // Each stage has a layer at least, so not every number of stages can be at every boundary.
  for (std::uint32_t k = 0; k < stages; ++k)
    for (std::uint32_t first = k; first + (stages - k) <= layers; ++first) {
      if (before[k][first].empty()) continue;
      for (std::uint32_t last = first; last + (stages - k) <= layers; ++last)
        for (std::uint32_t s = 0; s < sizes.size(); ++s)
          if (usable(first, last, s)) before[k + 1][last + 1].insert_moved_up(before[k][first], sizes[s]);
    }
  on_the_way.back().back().intersect(before.back().back());
  for (std::uint32_t k = stages; k-- > 0;)
    for (std::uint32_t first = k; first + (stages - k) <= layers; ++first) {
      if (before[k][first].empty()) continue;
      for (std::uint32_t last = first; last + (stages - k) <= layers; ++last)
        for (std::uint32_t s = 0; s < sizes.size(); ++s)
          if (usable(first, last, s)) on_the_way[k][first].insert_moved_down(on_the_way[k + 1][last + 1], sizes[s]);
      on_the_way[k][first].intersect(before[k][first]);
    }
  return on_the_way;
}

}  // namespace meshloom
