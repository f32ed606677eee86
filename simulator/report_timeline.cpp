#include "simulator/report_timeline.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace meshloom {
namespace {

void append_number(std::string& bytes, std::uint64_t number) {
  for (; number >= 128; number /= 128) bytes += static_cast<char>(number % 128 + 128);
  bytes += static_cast<char>(number);
}

void append_signed(std::string& bytes, std::int64_t number) {
  append_number(
      bytes, number >= 0 ? 2 * static_cast<std::uint64_t>(number) : 2 * static_cast<std::uint64_t>(-(number + 1)) + 1);
}

bool takes_time(const TimelineEntry& entry) { return entry.end > entry.start; }

Lane lane_of(InstructionKind kind, Sends sends) {
  if (sends == Sends::overlapped && kind == InstructionKind::send_activation) return Lane::activations;
  if (sends == Sends::overlapped && kind == InstructionKind::send_gradient) return Lane::gradients;
  return Lane::compute;
}

class TimelinePacker {
 public:
  TimelinePacker(const Simulation& simulation, Sends sends, std::size_t most)
      : simulation_(simulation), sends_(sends), lanes_(simulation.busy.size()) {
    const auto all =
        static_cast<std::size_t>(std::count_if(simulation.timeline.begin(), simulation.timeline.end(), takes_time));
    result_.instructions = static_cast<std::int64_t>(all);
    merge_from_ = merge_to_ = all;
    if (all <= most) return;
    merge_from_ = most * 2 / 5;
    merge_to_ = all - merge_from_;
    group_ = static_cast<std::int64_t>((merge_to_ - merge_from_) / std::max<std::size_t>(1, most / 5) + 1);
  }

  PackedTimeline pack() {
    std::size_t position = 0;
    for (const TimelineEntry& entry : simulation_.timeline) {
      if (!takes_time(entry)) continue;
      OpenLane& lane = lanes_[static_cast<std::size_t>(entry.rank)]
                             [static_cast<std::size_t>(lane_of(entry.instruction.kind, sends_))];
      if (position >= merge_from_ && position < merge_to_) {
        merge(lane, entry);
      } else {
        flush(lane);
        append(lane, {entry.instruction.kind, false, entry.instruction.chunk, entry.end - entry.start, busy_of(entry)},
               entry.start, entry.instruction.microbatch);
      }
      ++position;
    }
    for (std::size_t rank = 0; rank < lanes_.size(); ++rank)
      for (std::size_t lane = 0; lane < lanes_[rank].size(); ++lane) {
        flush(lanes_[rank][lane]);
        PackedLane& packed = lanes_[rank][lane].packed;
        packed.rank = static_cast<std::int64_t>(rank);
        packed.lane = static_cast<Lane>(lane);
        if (packed.count > 0) result_.lanes.push_back(std::move(packed));
      }
    return std::move(result_);
  }

 private:
  struct OpenLane {
    PackedLane packed;
    Picoseconds end = 0;                                   // of the last instruction
    Picoseconds group_start = 0, group_end = 0, busy = 0;  // of those being merged
    std::int64_t group_count = 0;
  };

  static Picoseconds busy_of(const TimelineEntry& entry) {
    return is_receive(entry.instruction.kind) ? 0 : entry.end - entry.start;
  }

  void merge(OpenLane& lane, const TimelineEntry& entry) {
    if (lane.group_count == 0) lane.group_start = lane.group_end = entry.start;
    lane.group_end = std::max(lane.group_end, entry.end);
    lane.busy += busy_of(entry);
    ++result_.merged;
    if (++lane.group_count == group_) flush(lane);
  }

  void flush(OpenLane& lane) {
    if (lane.group_count == 0) return;
    append(lane, {InstructionKind::run_forward, true, 0, lane.group_end - lane.group_start, lane.busy},
           lane.group_start, lane.group_count);
    lane.group_count = lane.busy = 0;
  }

  void append(OpenLane& lane, const InstructionShape& shape, Picoseconds start, std::int64_t number) {
    const auto [place, added] = positions_.try_emplace(shape, result_.shapes.size());
    if (added) result_.shapes.push_back(shape);
    append_number(lane.packed.bytes, place->second);
    append_signed(lane.packed.bytes, start - lane.end);
    append_number(lane.packed.bytes, static_cast<std::uint64_t>(number));
    lane.end = start + shape.duration;
    ++lane.packed.count;
  }

  const Simulation& simulation_;
  Sends sends_;
  std::size_t merge_from_ = 0, merge_to_ = 0;  // in the order of the timeline
  std::int64_t group_ = 1;
  std::vector<std::array<OpenLane, 3>> lanes_;  // by rank
  std::map<InstructionShape, std::size_t> positions_;
  PackedTimeline result_;
};

std::vector<MemorySample> highest_samples(const std::vector<MemorySample>& samples, std::size_t most) {
  if (samples.size() <= most) return samples;
  const Picoseconds part = samples.back().time / static_cast<Picoseconds>(most) + 1;
  std::vector<MemorySample> kept;
  for (const MemorySample& sample : samples)
    if (kept.empty() || sample.time / part != kept.back().time / part)
      kept.push_back(sample);
    else if (sample.held > kept.back().held)
      kept.back().held = sample.held;
  return kept;
}

}  // namespace

PackedTimeline pack_timeline(const Simulation& simulation, Sends sends, std::size_t most) {
  return TimelinePacker(simulation, sends, most).pack();
}

PackedMemory pack_memory(const MemoryTimeline& timeline, std::size_t most) {
  PackedMemory result;
  std::map<double, std::size_t> positions;
  Picoseconds last = 0;
  for (const MemorySample& sample : highest_samples(timeline.samples, most)) {
    const auto [place, added] = positions.try_emplace(sample.held.value(), result.values.size());
    if (added) result.values.push_back(sample.held);
    append_number(result.bytes, static_cast<std::uint64_t>(sample.time - last));
    append_number(result.bytes, place->second);
    last = sample.time;
    ++result.count;
  }
  return result;
}

std::string base64(const std::string& bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : digits[group >> (18 - 6 * k) & 63];
  }
  return text;
}

}  // namespace meshloom
