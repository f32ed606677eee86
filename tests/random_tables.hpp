// Draws for random stage tables: whole numbers, and times and bytes whose sums are exact.
#pragma once

#include <cstdint>
#include <random>

#include "graphs/units.hpp"

namespace meshloom {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool one_in(std::int64_t n) { return between(1, n) == 1; }
  Seconds seconds(std::int64_t high) { return Seconds(static_cast<double>(between(0, high)) / 16); }  // exact sums
  Bytes bytes(std::int64_t high) { return Bytes(static_cast<double>(between(0, high))); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace meshloom
