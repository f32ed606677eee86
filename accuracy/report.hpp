// The comparison of predictions with measured runs, as a value: errors by source, GPU and framework, the order of
// layouts, what memory holds.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "accuracy/measured_runs.hpp"
#include "accuracy/prediction.hpp"
#include "accuracy/statistics.hpp"
#include "accuracy/uncertainty.hpp"

namespace meshloom {

struct AccuracyRow {
  MeasuredRun run;
  Prediction prediction;
  // What it was priced with and where measured times of such runs lie: coverage.hpp adds them.
  std::string device{}, recipe{};
  bool device_measured = true;  // whether the calibration has rows of this device
  std::optional<TimeInterval> interval{};

  std::optional<double> error() const;      // predicted/measured − 1; none: it ran out of memory
  std::optional<bool> in_interval() const;  // none: it ran out of memory, or there is no interval
};

// How many runs there are, and how many have their measured time in the interval of their prediction.
struct HeldRuns {
  std::size_t runs = 0, held = 0;
  std::optional<double> share() const;  // none without runs
  bool operator==(const HeldRuns&) const = default;
};
struct GroupCoverage {
  std::string recipe, device;
  HeldRuns held;
  bool operator==(const GroupCoverage&) const = default;
};
// Of runs that have an interval and are not suspect.
struct IntervalCoverage {
  double level = 0.9;  // share of measured times that intervals are to hold
  std::string file;    // of the errors that they are made of
  HeldRuns all;
  std::vector<GroupCoverage> groups;  // by (recipe, device)
};

struct SkippedRun {
  std::string id, source, reason;
};

using NamedSummary = std::pair<std::string, ErrorSummary>;
struct SummaryPair {
  ErrorSummary all, without_suspect;
};

struct Ranking {
  std::size_t groups = 0;                            // of at least 3 runs
  std::size_t runs = 0;                              // in them
  std::optional<double> tau;                         // mean over the groups that have one
  std::optional<double> regret_top_1, regret_top_3;  // means over groups
};

struct MemoryCalls {
  std::size_t oom_rows = 0, oom_predicted = 0, ok_rows = 0, ok_predicted = 0;
  std::optional<double> balanced_accuracy() const;  // mean of both shares; none without runs of either kind
};

struct AccuracyReport {
  std::vector<AccuracyRow> rows;  // in the order of the file; so are the names below
  std::vector<SkippedRun> skipped;
  ErrorSummary summary, without_suspect;
  std::optional<double> mape_of_sources, mape_of_sources_without_suspect;  // means over sources
  std::vector<NamedSummary> by_source, by_gpu, by_framework;
  std::vector<std::pair<std::string, SummaryPair>> groups;  // that are compared apart
  Ranking ranking;
  std::vector<std::pair<std::string, Ranking>> ranking_by_source;  // of those that have a group
  MemoryCalls memory;
  std::vector<std::pair<std::string, MemoryCalls>> memory_by_framework;
  std::optional<IntervalCoverage> coverage;  // none: not asked for
};

AccuracyReport make_report(const std::vector<MeasuredRun>& runs, const std::vector<Outcome>& outcomes);

// The rows with the largest absolute errors, those first.
std::vector<const AccuracyRow*> worst_rows(const AccuracyReport& report, std::size_t count);

std::string report_json(const AccuracyReport& report);  // docs/schemas/accuracy.schema.json
std::string report_csv(const AccuracyReport& report);   // a line per row, a heading first

}  // namespace meshloom
