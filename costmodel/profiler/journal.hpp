// The journal of a run that measures: what has been measured so far, one JSON object a line, appended and flushed after
// each task. A run that was killed goes on from it. Its first line says what it is a journal of.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "costmodel/profiler/statistics.hpp"
#include "costmodel/profiler/task.hpp"

namespace meshloom {

// Two runs whose headers agree measure the same.
struct JournalHeader {
  std::string device;
  std::string tasks;   // digest of the work list
  std::string method;  // how each task is measured
  bool operator==(const JournalHeader&) const = default;
};

struct Skipped {
  std::string reason;
  bool operator==(const Skipped&) const = default;
};
struct Measured {
  SampleSummary summary;
  std::string implementation;
  std::string state;  // of the device, where it says something
  bool operator==(const Measured&) const = default;
};
using TaskResult = std::variant<Measured, Skipped>;

std::string digest_of(const std::vector<Task>& tasks);

class Journal {
 public:
  // Begins a new one or goes on with the one that is there; a last line that a kill cut short is dropped. Throws
  // InputError: a journal of another device, work list or method, with the remedy; a line that is no entry of one; a
  // file that cannot be written.
  Journal(std::string path, const JournalHeader& header, std::size_t tasks);

  const std::map<std::size_t, TaskResult>& results() const { return results_; }  // by position in the work list
  void add(std::size_t task, const TaskResult& result);
  void remove();

 private:
  void read(const std::string& text, const JournalHeader& header, std::size_t tasks);

  std::string path_;
  std::map<std::size_t, TaskResult> results_;
  std::ofstream file_;
};

}  // namespace meshloom
