// Calibration: fits the constants of device files and recipes to measured runs, and says what to think of the result.
//
// Times: robust least squares on log(predicted/measured) with priors (least_squares.hpp). A row weighs 1/√n, n the rows
// of its device, framework and source. Memory, apart, with the constants that only memory sees: a logistic loss on
// log(peak/capacity) by whether the run ran, and log(predicted/measured) where a source prints the peak.
// Every row is also predicted by constants that were fitted without its configuration (a fold of so many); the errors
// of these predictions are the ones to quote, and the intervals of predictions come from them.
//
// How rows are priced is given as a function: see compiled_run.hpp.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "accuracy/calibration_list.hpp"
#include "accuracy/leave_out.hpp"
#include "accuracy/uncertainty.hpp"

namespace meshloom {

// A measured run as far as calibration looks at it.
struct CalibrationRow {
  std::string id, source, framework;
  std::string device, recipe;        // names, for intervals
  std::vector<std::string> files;    // "devices/…", "recipes/…": the constants that can change it
  std::string configuration;         // rows with the same lie in one fold
  std::optional<double> measured_s;  // none: it ran out of memory
  std::optional<double> measured_peak_bytes;
  bool counts = true;  // false: suspect; predicted, but not fitted to
  ModelKind kind = ModelKind::dense;
  double scatter = 1;  // of its log error about what constants can explain, as a multiple of CalibrationOptions::noise
};

struct RunPrice {
  double seconds = 0;
  double peak_bytes = 0, capacity_bytes = 1;
};

// Prices of some rows, in the order asked for.
using PriceRows = std::function<std::vector<RunPrice>(const ConstantFiles& files, std::span<const std::uint32_t> rows)>;
struct PriceRuns {
  PriceRows exact;
  PriceRows estimate;  // cheaper, for derivatives: close to proportional to the exact times. Empty: exact
  // The rows that are priced with other numbers under other files, ascending. Empty: all that name a file.
  std::function<std::vector<std::uint32_t>(const ConstantFiles& one, const ConstantFiles& other)> changed;
};
// Decides each row's layout with these constants; the prices it returns keep the layouts. Called by several threads at
// a time; what one call returned is used by one.
using CompileRuns = std::function<PriceRuns(const ConstantFiles& files)>;

struct CalibrationOptions {
  std::size_t folds = 4;
  std::set<LeaveOut> leave_out{};  // also predicts each source, … by constants that were fitted without it
  // Rows as they are priced when nothing is known of their framework; empty: frameworks left out have no such prices.
  CompileRuns compile_unknown_framework{};
  double noise = 0.03;  // of a row's log error, times its scatter: beyond it errors count by their absolute value
  std::size_t most_rounds = 2;                         // of layouts, then fit
  std::function<void(const std::string&)> progress{};  // told what is begun, by one thread at a time
};

struct RowResult {
  RunPrice fitted;
  RunPrice unseen;  // by constants fitted to the other folds
  std::size_t fold = 0;
  double weight = 0;
  std::optional<RunPrice> without_source, without_device;
  std::optional<RunPrice> without_framework;  // by its recipe, the constants of which no run determines
  std::optional<RunPrice> unknown_framework;  // by the recipe for unknown frameworks, by the same constants
  bool in_interval = false;                   // of the other folds' errors
};

struct ConstantResult {
  CalibratedConstant constant;
  double value = 0;      // rounded, as in the files
  double deviation = 0;  // on its scale
  bool determined = false, at_bound = false;
  double influence = 0;        // Fit::influence
  double least = 0, most = 0;  // among the folds
  std::size_t rows = 0;        // that it touches
};

struct Calibration {
  ConstantFiles files;  // with the values
  std::vector<ConstantResult> constants;
  std::vector<CorrelatedConstants> correlated;  // positions in `constants`
  std::vector<RowResult> rows;                  // as given
  Uncertainty uncertainty;
  double coverage = 0;  // cross-validated
  std::size_t rounds = 0;
  bool layouts_stable = false;  // the fitted constants choose the layouts they were fitted with
};

Calibration calibrate(const std::vector<CalibrationRow>& rows, const std::vector<CalibratedConstant>& constants,
                      const ConstantFiles& files, const CompileRuns& compile, const CalibrationOptions& options = {});

}  // namespace meshloom
