// Where a time of the cost model comes from, from the least to the most certain.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "graphs/units.hpp"

namespace meshloom {

enum class TimeSource {
  modelled,      // by formula alone
  extrapolated,  // by formula, times a part of what samples around or beside it were measured to take of theirs
  interpolated,  // by formula, times what samples around it were measured to take of theirs
  measured,      // this very shape
};
inline constexpr std::array all_time_sources{TimeSource::modelled, TimeSource::extrapolated, TimeSource::interpolated,
                                             TimeSource::measured};

constexpr std::string_view name(TimeSource source) {
  switch (source) {
    case TimeSource::modelled:
      return "modelled";
    case TimeSource::extrapolated:
      return "extrapolated";
    case TimeSource::interpolated:
      return "interpolated";
    case TimeSource::measured:
      return "measured";
  }
  return "";
}

struct SourcedTime {
  Seconds time;
  TimeSource source = TimeSource::modelled;
};

// Time by its source.
struct TimeBySource {
  std::array<Seconds, all_time_sources.size()> seconds{};

  Seconds of(TimeSource source) const { return seconds[static_cast<std::size_t>(source)]; }
  Seconds total() const {
    Seconds sum;
    for (const Seconds each : seconds) sum += each;
    return sum;
  }
  void add(const SourcedTime& part) { seconds[static_cast<std::size_t>(part.source)] += part.time; }
  void add(const TimeBySource& other, double times) {
    for (std::size_t i = 0; i < seconds.size(); ++i) seconds[i] += times * other.seconds[i];
  }
  // That of most of the time; ties: the less certain.
  TimeSource main() const {
    TimeSource most = TimeSource::modelled;
    for (const TimeSource source : all_time_sources)
      if (of(source) > of(most)) most = source;
    return most;
  }
  bool operator==(const TimeBySource&) const = default;
};

}  // namespace meshloom
