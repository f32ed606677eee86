// The timeline of a step packed for the report: lanes of instructions in few bytes each, bounded in number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "simulator/simulation.hpp"

namespace meshloom {

// What instructions have in common: they refer to it by its position. Durations repeat, so there are few.
struct InstructionShape {
  InstructionKind kind = InstructionKind::run_forward;
  bool merged = false;  // stands for several instructions of any kind, idle times between them included
  std::uint16_t chunk = 0;
  Picoseconds duration = 0;
  Picoseconds busy = 0;  // of `duration`; of a receive, which only waits, none
  auto operator<=>(const InstructionShape&) const = default;
};

enum class Lane : std::uint8_t { compute, activations, gradients };

// The instructions of a rank that run one after the other. Each is three numbers in base 128, low digits first, the
// highest bit set on all but the last digit: position of its shape; twice the time since the end of the one before it,
// or 1 less than twice its amount when it starts earlier; microbatch, or how many instructions a merged one stands for.
struct PackedLane {
  std::int64_t rank = 0;
  Lane lane = Lane::compute;
  std::int64_t count = 0;
  std::string bytes;
};

struct PackedTimeline {
  std::vector<InstructionShape> shapes;
  std::vector<PackedLane> lanes;  // by (rank, lane); none is empty
  std::int64_t instructions = 0;  // that take time: waiting included
  std::int64_t merged = 0;        // of these, those that stand in merged ones
};

// Sends have lanes of their own where they overlap. Of more than `most` instructions the first and the last two fifths
// stay single; between them neighbours are merged, so that about `most` are left.
PackedTimeline pack_timeline(const Simulation& simulation, Sends sends, std::size_t most);

// One device's memory over time: pairs of numbers as above, time since the sample before and position in `values`.
struct PackedMemory {
  std::vector<Bytes> values;
  std::int64_t count = 0;
  std::string bytes;
};
// Of more than `most` samples those are kept that are the highest of their part of the step.
PackedMemory pack_memory(const MemoryTimeline& timeline, std::size_t most);

std::string base64(const std::string& bytes);

}  // namespace meshloom
