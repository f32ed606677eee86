// What jitter draws.
#pragma once

#include <cstddef>
#include <cstdint>

#include "planner/plan/program.hpp"

namespace meshloom {

// Mixes bits well enough that neighbouring inputs give independent outputs [Steele, Lea, Flood 2014: SplitMix64].
inline std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Nearly normal, of mean 0 and deviation 1: twelve uniform numbers, without a library's logarithms, so that every
// machine draws the same. Of 16 bits each, three words.
inline double deviate(std::uint64_t seed, std::size_t rank, Instruction instruction) {
  std::uint64_t word = mixed(mixed(seed) ^ rank);
  word = mixed(word ^ (static_cast<std::uint64_t>(instruction.microbatch) << 24) ^
               (static_cast<std::uint64_t>(instruction.chunk) << 8) ^ static_cast<std::uint64_t>(instruction.kind));
  double sum = 0;
  for (int draw = 0; draw < 3; ++draw, word = mixed(word))
    for (int shift = 0; shift < 64; shift += 16) sum += (static_cast<double>((word >> shift) & 0xffff) + 0.5) / 65536;
  return sum - 6;
}

}  // namespace meshloom
