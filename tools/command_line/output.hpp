// What people see: tables, progress; and what the outputs have in common.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graphs/units.hpp"
#include "planner/plan/readable.hpp"

namespace meshloom {

std::string joined(const std::vector<std::string>& parts, std::string_view separator);

// A table of text: the first column is aligned left, the others as their headings say ("<" before the heading: left).
class Table {
 public:
  explicit Table(std::vector<std::string> headings);
  void row(std::vector<std::string> cells);  // as many as headings
  std::string text() const;                  // indented by nothing, each line ended

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> left_;
};

// One line on standard error that renews itself: only on a terminal, and only once a second has passed. Any thread may
// call `show`. The destructor wipes the line.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(const std::string& line);
  Seconds elapsed() const;

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  const bool terminal_;
  bool shown_ = false;
};

// Refuses an output path before the work begins: a folder that does not exist or cannot be written, a folder as file.
void check_output(std::string_view option, const std::optional<std::string>& path);

// Refuses outputs that would overwrite an input or each other.
struct NamedPath {
  std::string option;
  std::optional<std::string> path;
};
void check_distinct(const std::vector<NamedPath>& inputs, const std::vector<NamedPath>& outputs);

// Refuses two outputs that both go to standard output; each is an option's name and whether it does.
void check_one_standard_output(const std::vector<std::pair<std::string, bool>>& outputs);
// Writes a file as write_file does, gzip when the path ends in ".gz"; the same text gives the same bytes.
void write_perhaps_gzip(const std::string& path, const std::string& text);

bool is_standard_output(const std::optional<std::string>& path);

}  // namespace meshloom
