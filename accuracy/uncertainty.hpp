// How far predictions may lie from what will be measured: quantiles of the errors that calibration made on rows that it
// had not seen, by device and recipe, those of mixtures of experts apart. File format `meshloom.uncertainty/1`,
// docs/calibration.md; the one that comes with the program is training_recipes/uncertainty.json, written by `meshloom
// calibrate`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graphs/units.hpp"

namespace meshloom {

enum class ModelKind { dense, mixture_of_experts };

// Quantiles of log(measured/predicted).
struct ErrorQuantiles {
  std::size_t rows = 0;
  double low = 0, high = 0;
  bool operator==(const ErrorQuantiles&) const = default;
};

struct GroupQuantiles {
  std::string device, recipe;
  ErrorQuantiles quantiles;
  bool operator==(const GroupQuantiles&) const = default;
};

struct Uncertainty {
  double level = 0.9;  // share of measured times that intervals are to hold
  ErrorQuantiles all;
  std::vector<GroupQuantiles> groups;  // by (device, recipe)
  // For a device and a recipe without rows of their own: of rows that were predicted with constants fitted without any
  // row of their source; at least as wide as `all`, which takes its place where no source was left out.
  std::optional<ErrorQuantiles> elsewhere{};
  // For recipes and devices without any rows: of rows predicted without their framework, and without their device;
  // intervals are never narrower than `elsewhere`, which takes their place where none was left out.
  std::optional<ErrorQuantiles> unknown_recipe{}, unknown_device{};
  // What mixtures of experts have in place of all this, where there are rows of them and of others; none or one.
  std::vector<Uncertainty> of_experts{};
  bool operator==(const Uncertainty&) const = default;
};

struct TimeInterval {
  Seconds low, high;
  bool contains(Seconds time) const { return low <= time && time <= high; }
  bool operator==(const TimeInterval&) const = default;
};

// The interval of a predicted time; none without any data. For an unknown device with an unknown recipe `all` is
// widened by both. A device or recipe is known by rows of either kind of model.
std::optional<TimeInterval> interval_of(const Uncertainty& uncertainty, const std::string& device,
                                        const std::string& recipe, Seconds predicted,
                                        ModelKind kind = ModelKind::dense);

// Whether that interval is of rows of this device, recipe and kind; else it is of all rows of the kind.
bool has_own_rows(const Uncertainty& uncertainty, const std::string& device, const std::string& recipe,
                  ModelKind kind = ModelKind::dense);

// How many rows are of this device, with whichever recipe and kind; none: no measured run supports its constants.
std::size_t rows_of_device(const Uncertainty& uncertainty, const std::string& device);

// One row that was predicted with constants fitted without it.
struct UnseenError {
  std::string device, recipe;
  double log_ratio = 0;  // log(measured/predicted)
  double weight = 1;     // among all rows
  std::size_t fold = 0;  // that it was left out with
  ModelKind kind = ModelKind::dense;
};

// A group of n rows gives its own quantiles, ((1−level)/2 and (1+level)/2 of n + 1 ranks, as for a row yet to come),
// drawn towards those of its recipe on all devices as if these were 10 more rows of the group; a recipe's are drawn
// towards those of all rows in the same way. All that within each kind of model.
Uncertainty uncertainty_from(const std::vector<UnseenError>& errors, double level = 0.9);

// Adds what unknown recipes and devices have: the quantiles of these errors or those of all, whichever is farther out.
// No errors, or none of a kind: none.
void widen_for_unknown(Uncertainty& uncertainty, const std::vector<UnseenError>& without_framework,
                       const std::vector<UnseenError>& without_device);
// `elsewhere`, from errors of rows whose sources were left out, or where none was, whose devices. No errors: none.
void add_elsewhere(Uncertainty& uncertainty, const std::vector<UnseenError>& left_out);

// The share of rows whose measured time lies in the interval that the rows of the other folds give.
double cross_validated_coverage(const std::vector<UnseenError>& errors, double level = 0.9);
// By row: whether it does.
std::vector<bool> cross_validated_hits(const std::vector<UnseenError>& errors, double level = 0.9);

Uncertainty parse_uncertainty(const std::string& text, const std::string& file);
std::string write_uncertainty(const Uncertainty& uncertainty);
// FOLDER/uncertainty.json, as `meshloom calibrate -o FOLDER` writes it; none: there is no such file. Throws InputError.
std::optional<Uncertainty> read_uncertainty(const std::string& folder);
// The one that comes with the program.
const Uncertainty& shipped_uncertainty();

}  // namespace meshloom
