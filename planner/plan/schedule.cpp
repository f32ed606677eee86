#include "planner/plan/schedule.hpp"

#include <algorithm>

namespace meshloom {

std::string_view name(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::gpipe:
      return "gpipe";
    case ScheduleKind::one_f_one_b:
      return "1f1b";
    case ScheduleKind::eager_one_f_one_b:
      return "eager-1f1b";
    case ScheduleKind::interleaved:
      return "interleaved-1f1b";
    case ScheduleKind::zb_h1:
      return "zb-h1";
    case ScheduleKind::zb_h2:
      return "zb-h2";
    case ScheduleKind::zb_1p:
      return "zb-1p";
    case ScheduleKind::zb_2p:
      return "zb-2p";
    case ScheduleKind::dualpipe:
      return "dualpipe";
    case ScheduleKind::inference:
      return "inference";
    case ScheduleKind::custom:
      return "custom";
  }
  return "";
}

std::string_view name(const Schedule& schedule) { return name(schedule.kind); }

std::optional<ScheduleKind> schedule_named(std::string_view wanted) {
  for (const ScheduleKind kind : schedule_kinds)
    if (name(kind) == wanted) return kind;
  return std::nullopt;
}

Schedule::Schedule(ScheduleKind kind) : kind(kind), chunks(kind == ScheduleKind::dualpipe ? 2 : 1) {}

bool splits_backward(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_h2:
    case ScheduleKind::zb_1p:
    case ScheduleKind::zb_2p:
    case ScheduleKind::dualpipe:
      return true;
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::eager_one_f_one_b:
    case ScheduleKind::interleaved:
    case ScheduleKind::inference:
    case ScheduleKind::custom:
      return false;
  }
  return false;
}

bool updates_apart(ScheduleKind kind) { return splits_backward(kind) && kind != ScheduleKind::dualpipe; }

bool sends_ahead(ScheduleKind kind) {
  return splits_backward(kind) || kind == ScheduleKind::eager_one_f_one_b || kind == ScheduleKind::interleaved;
}

std::int64_t in_flight(const Schedule& schedule, std::int64_t ranks, std::int64_t rank, std::int64_t microbatches) {
  const std::int64_t behind = ranks - rank - 1;
  const std::int64_t runs = microbatches * schedule.chunks;
  switch (schedule.kind) {
    case ScheduleKind::gpipe:
    case ScheduleKind::custom:
      return runs;
    case ScheduleKind::one_f_one_b:
      return std::min(runs, behind + 1);
    case ScheduleKind::eager_one_f_one_b:
      return std::min(runs, 2 * behind + 1);
    case ScheduleKind::interleaved:
      return std::min(runs, 2 * behind + (schedule.chunks - 1) * ranks + 1);
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_1p:
      return std::min(runs, ranks);
    case ScheduleKind::zb_h2:
      return std::min(runs, 2 * ranks - 1);
    case ScheduleKind::zb_2p:
      return std::min(runs, 2 * ranks);
    case ScheduleKind::dualpipe:
      return std::min(runs, 2 * ranks + 1);
    case ScheduleKind::inference:
      return 1;
  }
  return runs;
}

}  // namespace meshloom
