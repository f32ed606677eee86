// When a search has to end, whatever it has found: a point of the clock that its parts share. Answers of a search that
// met its deadline may differ from run to run; without one they never do.
#pragma once

#include <chrono>
#include <optional>

#include "graphs/units.hpp"

namespace meshloom {

class Deadline {
 public:
  Deadline() = default;  // never
  static Deadline after(Seconds time) {
    Deadline deadline;
    if (time > longest) return deadline;
    deadline.end_ =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(time.value()));
    return deadline;
  }
  bool exists() const { return end_.has_value(); }
  bool passed() const { return end_ && Clock::now() >= *end_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Seconds longest{1e9};  // three decades; the clock counts to some ten
  std::optional<Clock::time_point> end_;
};

}  // namespace meshloom
