// The list of constants that calibration fits, with what is believed of each before any measured row is seen.
// File format `meshloom.calibration/1`, docs/calibration.md; the one that comes with the program is
// training_recipes/calibration.json.
//
//   {"each_of": ["devices/a100_sxm4_80gb", "devices/h100_sxm5"], "pointer": "/gemm/of_peak",
//    "prior": 0.78, "spread": 0.1, "low": 0.3, "high": 1, "source": "large products in vendors' benchmarks"}
//
// A constant is a number in device files and recipes: `files` share one value, of `each_of` each file has its own. In
// place of a `prior` it may name a file whose constant of the same key is `typical`: that is fitted, too, to its own
// runs and to the constants that are around it, so that a framework without runs has what others were measured to have.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "accuracy/least_squares.hpp"

namespace meshloom {

// What a constant is fitted to: times of steps; or what memory held and what it did not.
enum class FittedTo { time, memory };

struct CalibratedConstant {
  std::vector<std::string> files;  // "devices/NAME", "recipes/NAME"; one value in all of them
  std::string pointer;             // JSON pointer of the number
  std::string unit;                // the file has a string with this unit ("us"); "": a plain number
  UnknownConstant unknown;         // `around`: a position in the list, of one that is fitted to the same
  FittedTo fitted_to = FittedTo::time;
  std::string source;        // of the prior
  std::string name() const;  // "devices/a100_sxm4_80gb /gemm/of_peak", of several files the first and how many more
};

// Device files and recipes as texts, by "devices/NAME" and "recipes/NAME".
using ConstantFiles = std::map<std::string, std::string>;

// Constants in the list's order, those of `each_of` in the order given there. Throws InputError: a file that `files`
// does not hold, a pointer that leads nowhere, a number given to two constants, a prior outside its bounds, …
std::vector<CalibratedConstant> parse_calibration_list(const std::string& text, const std::string& file,
                                                       const ConstantFiles& files);

// Writes values into files again and again: what did not change since the last time is not written anew. Not for
// several threads at a time.
class ConstantWriter {
 public:
  ConstantWriter(const ConstantFiles& files, const std::vector<CalibratedConstant>& constants);
  ~ConstantWriter();
  // The files with these values, of which there is one for each constant. Other files are as they were.
  const ConstantFiles& with(const std::vector<double>& values);

 private:
  struct Documents;
  ConstantFiles files_;
  std::vector<CalibratedConstant> constants_;
  std::unique_ptr<Documents> documents_;
};

// The same, once.
ConstantFiles with_values(const ConstantFiles& files, const std::vector<CalibratedConstant>& constants,
                          const std::vector<double>& values);

// The files with a source for each of these numbers: that it was fitted, and what was believed before. Numbers of
// kernel sets have none of their own.
ConstantFiles with_sources(const ConstantFiles& files, const std::vector<CalibratedConstant>& constants);

// To six digits, as files have it.
double rounded_constant(double value);

}  // namespace meshloom
