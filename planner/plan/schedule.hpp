// Pipeline schedules by name: what a schedule is called, how many chunks of the model a pipeline rank holds, how many
// microbatches it keeps in flight. A rank is one submesh of the pipeline; the lists it runs are in program.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace meshloom {

enum class ScheduleKind {
  gpipe,              // all forwards, then all backwards [Huang et al. 2019]
  one_f_one_b,        // one forward and one backward in turn [Narayanan et al. 2019]
  eager_one_f_one_b,  // 1F1B with forwards run ahead, so that sends overlap [Zhuang et al. 2023]
  interleaved,        // 1F1B with several chunks per rank, in Megatron's order [Narayanan et al. 2021]
  zb_h1,              // zero bubble by hand, the memory of 1F1B [Qi et al. 2024, section 2.1]
  zb_h2,              // zero bubble by hand, twice that memory [section 2.2]
  zb_1p,              // zero bubble by search, at most p microbatches in flight [section 3]
  zb_2p,              // the same with at most 2p
  dualpipe,           // DeepSeek-V3's, as a V: two chunks per rank, the second on the way back
  inference,          // forwards only
  custom,             // lists given as data in the plan
};
inline constexpr std::array schedule_kinds{
    ScheduleKind::gpipe,       ScheduleKind::one_f_one_b, ScheduleKind::eager_one_f_one_b,
    ScheduleKind::interleaved, ScheduleKind::zb_h1,       ScheduleKind::zb_h2,
    ScheduleKind::zb_1p,       ScheduleKind::zb_2p,       ScheduleKind::dualpipe,
    ScheduleKind::inference,   ScheduleKind::custom};
std::string_view name(ScheduleKind kind);  // "gpipe", "1f1b", "eager-1f1b", "interleaved-1f1b", "zb-h1", …
std::optional<ScheduleKind> schedule_named(std::string_view name);

// A kind with its parameter. A kind alone is the schedule with the fewest chunks that it can have.
struct Schedule {
  ScheduleKind kind = ScheduleKind::one_f_one_b;
  std::int64_t chunks = 1;  // per rank: 2 for dualpipe, any number for interleaved and custom, else 1
  Schedule() = default;
  Schedule(ScheduleKind kind);  // NOLINT(google-explicit-constructor): a kind is a schedule
  Schedule(ScheduleKind kind, std::int64_t chunks) : kind(kind), chunks(chunks) {}
  bool operator==(const Schedule&) const = default;
};
std::string_view name(const Schedule& schedule);

// Whether the backward runs as two instructions, input gradients first; the activations are then freed by the second.
bool splits_backward(ScheduleKind kind);
// Whether a rank begins its next step without waiting for the others' updates [Qi et al. 2024, section 4]. The time of
// a step is then the time after which the same step can begin again, not the time until the last rank is done.
bool updates_apart(ScheduleKind kind);
// Whether the schedule was made to send while it computes; GPipe, 1F1B and inference send and then go on.
bool sends_ahead(ScheduleKind kind);

// Forwards of chunks whose activations rank `rank` of `ranks` holds at most; of zb_1p and zb_2p the limit, which they
// may stay below. Nothing is known of custom ones: all of them. Exact for the others (dualpipe: for 2·ranks
// microbatches or more).
std::int64_t in_flight(const Schedule& schedule, std::int64_t ranks, std::int64_t rank, std::int64_t microbatches);

}  // namespace meshloom
