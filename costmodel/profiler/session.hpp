// One run of the profiler: a work list on a backend, through a journal, into a profile.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/profile.hpp"
#include "costmodel/profiler/backend.hpp"
#include "costmodel/profiler/journal.hpp"
#include "costmodel/profiler/measuring.hpp"

namespace meshloom {

struct SessionOptions {
  std::string device;   // the name in the profile
  std::string journal;  // path
  MeasuringOptions measuring;
  std::optional<Seconds> limit;  // for the run; what was measured until then is the profile
};

// The outside world of a run.
struct SessionWorld {
  std::function<Seconds()> now;
  std::function<void(const std::string&)> progress;  // one line, which the next replaces
};

struct SkippedTask {
  std::string task, reason;
};

struct SessionResult {
  Profile profile;
  std::vector<SkippedTask> skipped;
  std::size_t measured = 0, resumed = 0;  // resumed: of these, found in the journal
  std::size_t left = 0;                   // tasks that the limit left
  std::size_t uncertain = 0;              // measured, but not as well as asked for
};

// Removes the journal only when nothing is left and the caller has written the profile: see `finish`.
class Session {
 public:
  Session(Backend& backend, std::vector<Task> tasks, SessionOptions options);
  SessionResult run(const SessionWorld& world);
  // The profile is written: the journal is no longer needed. Not after a run that left tasks.
  void finish();

 private:
  TaskResult measure_task(const Task& task, const SessionWorld& world);
  SessionResult result_of(const std::map<std::size_t, TaskResult>& results) const;

  Backend& backend_;
  std::vector<Task> tasks_;
  SessionOptions options_;
  DeviceDescription device_;
  std::optional<Journal> journal_;  // of the process that writes the profile
};

// "3 warm-up runs, then the median of 7 to 500 …".
std::string method_text(const MeasuringOptions& options);

}  // namespace meshloom
