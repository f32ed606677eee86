// Fits a calibration's constants to some of its rows and predicts others: once for all rows, once for each fold and for
// each group of rows that is left out. Fits know nothing of one another and run side by side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "accuracy/calibration.hpp"
#include "accuracy/least_squares.hpp"

namespace meshloom {

// What every fit of one calibration reads.
struct FitInput {
  const std::vector<CalibrationRow>& rows;
  const std::vector<CalibratedConstant>& constants;
  const ConstantFiles& files;
  const CompileRuns& compile;
  const CalibrationOptions& options;
  std::vector<double> weights;                      // by row
  std::vector<std::vector<std::uint32_t>> touched;  // by constant: the rows that it can change
};

// A fit that is wanted.
struct FitRequest {
  std::string what;                     // it is told as progress
  std::vector<std::uint32_t> left_out;  // rows, ascending: fitted to all but these, which are predicted; none: all are
  bool as_unknown = false;              // predicted as runs of unknown frameworks, too
};

// One of the two parts of a fit, which share no constant.
struct FittedPart {
  FittedTo what = FittedTo::time;
  std::vector<std::size_t> constants;  // positions in the list
  Fit fit;                             // of these
};

struct RunFit {
  std::vector<double> values;  // of all constants, rounded as in files
  FittedPart time, memory;
  std::size_t rounds = 0;
  bool layouts_stable = false;
  std::vector<RunPrice> prices, as_unknown;  // of the rows that are predicted
};

// The rows that each constant can change: found by moving it a little from its prior where prices tell what changed,
// else those that name one of its files.
std::vector<std::vector<std::uint32_t>> rows_touched(const FitInput& input);

// In the order of the requests, with as many threads as the program may have.
std::vector<RunFit> fit_runs(const FitInput& input, const std::vector<FitRequest>& requests);

}  // namespace meshloom
