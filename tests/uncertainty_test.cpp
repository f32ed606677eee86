#include "accuracy/uncertainty.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <set>

#include "accuracy/folds.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

std::vector<UnseenError> normal_errors(std::size_t rows, double bias, double deviation, const std::string& device) {
  std::mt19937_64 random(11);
  std::normal_distribution<double> error(bias, deviation);
  std::vector<UnseenError> errors;
  for (std::size_t row = 0; row < rows; ++row) errors.push_back({device, "nemo", error(random), 1, row % 4});
  return errors;
}

}  // namespace

TEST_CASE("a key's fold depends on the key alone, and all folds are used", "[uncertainty]") {
  std::set<std::size_t> folds;
  std::size_t first = 0;
  for (int k = 0; k < 400; ++k) {
    const std::size_t fold = fold_of("gpt 2048 tp=" + std::to_string(k), 4);
    CHECK(fold == fold_of("gpt 2048 tp=" + std::to_string(k), 4));
    CHECK(fold < 4);
    folds.insert(fold);
    if (fold == 0) ++first;
  }
  CHECK(folds.size() == 4);
  CHECK(first > 70);  // 100 expected, deviation √75 = 8.7
  CHECK(first < 130);
  CHECK(fold_of("meshloom", 4) == 1);  // pinned: another hash would move rows between folds
}

TEST_CASE("four times as many rows weigh twice as much", "[uncertainty]") {
  const std::vector<double> weights = group_weights({"a", "b", "b", "b", "b"});
  CHECK(weights[0] == 1);
  CHECK(weights[1] == 0.5);
}

TEST_CASE("a weighted quantile counts a weight like as many values", "[uncertainty]") {
  CHECK(weighted_quantile({3, 1, 2}, {1, 1, 1}, 0.5) == 2);
  CHECK(weighted_quantile({3, 1, 2}, {1, 8, 1}, 0.8) == 1);
  CHECK(weighted_quantile({3, 1, 2}, {1, 8, 1}, 0.85) == 2);
  CHECK(weighted_quantile({3, 1, 2}, {1, 8, 1}, 1) == 3);
}

TEST_CASE("intervals of 90 % hold about 90 % of rows that they were not made from", "[uncertainty]") {
  std::vector<UnseenError> errors = normal_errors(2000, 0.02, 0.05, "a100");
  const std::vector<UnseenError> others = normal_errors(400, -0.1, 0.2, "b200");
  errors.insert(errors.end(), others.begin(), others.end());
  CHECK(cross_validated_coverage(errors) == Approx(0.9).margin(0.02));
  const Uncertainty uncertainty = uncertainty_from(errors);
  // The 5 % and 95 % quantiles of N(0.02, 0.05) are 0.02 ∓ 0.0822.
  const auto interval = interval_of(uncertainty, "a100", "nemo", Seconds(10));
  REQUIRE(interval);
  CHECK(std::log(interval->low.value() / 10) == Approx(-0.062).margin(0.01));
  CHECK(std::log(interval->high.value() / 10) == Approx(0.102).margin(0.01));
}

TEST_CASE("a group of few rows takes most of its interval from all rows", "[uncertainty]") {
  std::vector<UnseenError> errors = normal_errors(1000, 0, 0.1, "a100");
  errors.push_back({"h100", "fsdp", 0.0, 1, 0});
  const Uncertainty uncertainty = uncertainty_from(errors);
  REQUIRE(uncertainty.groups.size() == 2);
  const ErrorQuantiles& few = uncertainty.groups[1].quantiles;
  CHECK(few.rows == 1);
  // One row at 0 draws the recipe's interval to 10/11 of that of all, and the group's to 10/11 of the recipe's.
  CHECK(few.low == Approx(uncertainty.all.low * 100 / 121));
  CHECK(few.high == Approx(uncertainty.all.high * 100 / 121));
}

TEST_CASE("a group of few rows is as uncertain as its recipe is on other devices", "[uncertainty]") {
  std::vector<UnseenError> errors = normal_errors(1000, 0, 0.02, "a100");
  for (UnseenError error : normal_errors(1000, 0, 0.2, "b200")) {
    error.recipe = "experts";
    errors.push_back(error);
  }
  errors.push_back({"b300", "experts", 0.0, 1, 0});
  errors.push_back({"b300", "nemo", 0.0, 1, 0});
  const Uncertainty uncertainty = uncertainty_from(errors);
  const auto wide = interval_of(uncertainty, "b300", "experts", Seconds(1));
  const auto narrow = interval_of(uncertainty, "b300", "nemo", Seconds(1));
  REQUIRE(wide);
  REQUIRE(narrow);
  // 95 % quantiles of N(0, 0.2) and N(0, 0.02): 0.329 and 0.0329; a single row at 0 leaves 10/11 of them.
  CHECK(std::log(wide->high.value()) == Approx(0.329 * 10 / 11).epsilon(0.1));
  CHECK(std::log(narrow->high.value()) == Approx(0.0329 * 10 / 11).epsilon(0.15));
}

TEST_CASE("a device without rows has the interval of all, and without any rows there is none", "[uncertainty]") {
  const Uncertainty uncertainty = uncertainty_from(normal_errors(100, 0, 0.1, "a100"));
  const auto interval = interval_of(uncertainty, "unheard of", "nemo", Seconds(1));
  CHECK(has_own_rows(uncertainty, "a100", "nemo"));
  CHECK_FALSE(has_own_rows(uncertainty, "unheard of", "nemo"));
  CHECK(rows_of_device(uncertainty, "a100") == 100);
  CHECK(rows_of_device(uncertainty, "unheard of") == 0);
  REQUIRE(interval);
  CHECK(interval->high.value() == Approx(std::exp(uncertainty.all.high)));
  CHECK_FALSE(interval_of(uncertainty_from({}), "a100", "nemo", Seconds(1)));
}

TEST_CASE("a device without rows has the wider interval of rows whose sources were left out", "[uncertainty]") {
  Uncertainty uncertainty = uncertainty_from(normal_errors(100, 0, 0.1, "a100"));
  // 20 values from −0.5 to 1.4 in steps of 0.1: 5 % of their weights end at the first, 95 % at the last but one.
  std::vector<UnseenError> left_out;
  for (int k = 0; k < 20; ++k) left_out.push_back({"a100", "nemo", 0.1 * k - 0.5, 1, 0});
  add_elsewhere(uncertainty, left_out);
  const auto interval = interval_of(uncertainty, "unheard of", "nemo", Seconds(1));
  REQUIRE(interval);
  CHECK(interval->low.value() == Approx(std::exp(-0.5)));
  CHECK(interval->high.value() == Approx(std::exp(1.3)));
  CHECK(interval_of(uncertainty, "a100", "nemo", Seconds(1))->high.value() ==
        Approx(std::exp(uncertainty.groups.front().quantiles.high)));
  // Never narrower than that of all.
  for (UnseenError& error : left_out) error.log_ratio = 0;
  add_elsewhere(uncertainty, left_out);
  CHECK(uncertainty.elsewhere->low == uncertainty.all.low);
  CHECK(uncertainty.elsewhere->high == uncertainty.all.high);
}

TEST_CASE("mixtures of experts have intervals of their own", "[uncertainty]") {
  std::vector<UnseenError> errors = normal_errors(1000, 0, 0.02, "a100");
  for (UnseenError error : normal_errors(1000, 0, 0.2, "a100")) {
    error.kind = ModelKind::mixture_of_experts;
    errors.push_back(error);
  }
  Uncertainty uncertainty = uncertainty_from(errors);
  const auto high = [&](const std::string& device, ModelKind kind) {
    return std::log(interval_of(uncertainty, device, "nemo", Seconds(1), kind)->high.value());
  };
  CHECK(high("a100", ModelKind::dense) == Approx(0.0329).epsilon(0.1));
  CHECK(high("a100", ModelKind::mixture_of_experts) == Approx(0.329).epsilon(0.1));
  CHECK(rows_of_device(uncertainty, "a100") == 2000);
  CHECK(cross_validated_coverage(errors) == Approx(0.9).margin(0.02));
  // On a device that only dense models ran on, mixtures have what mixtures have elsewhere, and it is no unknown device.
  errors.push_back({"h100", "nemo", 0.0, 1, 0});
  uncertainty = uncertainty_from(errors);
  std::vector<UnseenError> left_out{{"a100", "nemo", 2.0, 1, 0, ModelKind::mixture_of_experts}};
  widen_for_unknown(uncertainty, {}, left_out);
  CHECK(high("h100", ModelKind::mixture_of_experts) == Approx(uncertainty.of_experts.front().all.high));
  CHECK(high("unheard of", ModelKind::mixture_of_experts) == Approx(2));
  CHECK(high("unheard of", ModelKind::dense) == Approx(uncertainty.all.high));  // nothing dense was left out
  add_elsewhere(uncertainty, left_out);
  CHECK(high("h100", ModelKind::mixture_of_experts) == Approx(2));
  CHECK_FALSE(uncertainty.elsewhere);
  CHECK(parse_uncertainty(write_uncertainty(uncertainty), "u.json").of_experts.front().elsewhere->high == 2);
}

TEST_CASE("where all rows are of one kind, the other has their intervals", "[uncertainty]") {
  std::vector<UnseenError> errors = normal_errors(100, 0, 0.1, "a100");
  const Uncertainty dense = uncertainty_from(errors);
  for (UnseenError& error : errors) error.kind = ModelKind::mixture_of_experts;
  const Uncertainty mixtures = uncertainty_from(errors);
  CHECK(dense == mixtures);
  CHECK(interval_of(mixtures, "a100", "nemo", Seconds(1), ModelKind::dense) ==
        interval_of(dense, "a100", "nemo", Seconds(1), ModelKind::mixture_of_experts));
}

TEST_CASE("a row of its own fold does not widen the interval it is judged by", "[uncertainty]") {
  std::vector<UnseenError> errors = normal_errors(100, 0, 0.01, "a100");
  errors.push_back({"a100", "nemo", 3, 1, 0});
  const std::vector<bool> hits = cross_validated_hits(errors);
  CHECK_FALSE(hits.back());
}

TEST_CASE("what has no runs has the interval of what was left out, never a narrower one", "[uncertainty]") {
  std::vector<UnseenError> known, left_out, narrow;
  for (int k = -50; k <= 50; ++k) {
    known.push_back({"a100", "nemo", 0.002 * k, 1, 0});
    left_out.push_back({"a100", "nemo", 0.1 + 0.006 * k, 1, 0});
    narrow.push_back({"a100", "nemo", 0.001 * k, 1, 0});
  }
  Uncertainty uncertainty = uncertainty_from(known);
  // 101 values: at least 5 % of them are the 6 least, so the 6th, k = −45: −0.09; 95 % the 96th, k = 45: 0.09.
  CHECK(uncertainty.all.low == Approx(-0.09));
  CHECK(uncertainty.all.high == Approx(0.09));
  CHECK(interval_of(uncertainty, "b200", "other", Seconds(1))->high.value() == Approx(std::exp(0.09)));
  widen_for_unknown(uncertainty, left_out, narrow);
  const auto logs = [&](const std::string& device, const std::string& recipe) {
    const auto interval = interval_of(uncertainty, device, recipe, Seconds(1));
    return std::pair(std::log(interval->low.value()), std::log(interval->high.value()));
  };
  // Without the framework: 0.1 ∓ 0.27. Without the device errors were smaller than of known ones: those count.
  CHECK(logs("a100", "other").first == Approx(-0.17));
  CHECK(logs("a100", "other").second == Approx(0.37));
  CHECK(logs("b200", "nemo").first == Approx(-0.09));
  CHECK(logs("b200", "nemo").second == Approx(0.09));
  uncertainty.unknown_device = ErrorQuantiles{101, -0.19, 0.29};
  CHECK(logs("b200", "nemo").first == Approx(-0.19));
  // Both: beyond −0.09 by 0.08 and by 0.1, beyond 0.09 by 0.28 and by 0.2.
  CHECK(logs("b200", "other").first == Approx(-0.27));
  CHECK(logs("b200", "other").second == Approx(0.57));
  // A group of its own knows both.
  CHECK(logs("a100", "nemo").second < 0.1);
  CHECK(parse_uncertainty(write_uncertainty(uncertainty), "u.json").unknown_device == uncertainty.unknown_device);
}

TEST_CASE("uncertainties survive their file", "[uncertainty]") {
  const Uncertainty written{0.9, {12, -0.25, 0.125}, {{"a100", "nemo", {12, -0.5, 0.0625}}}};
  CHECK(parse_uncertainty(write_uncertainty(written), "u.json") == written);
  Uncertainty with_elsewhere = written;
  with_elsewhere.elsewhere = ErrorQuantiles{7, -0.5, 0.75};
  CHECK(parse_uncertainty(write_uncertainty(with_elsewhere), "u.json") == with_elsewhere);
  CHECK_THROWS_WITH(parse_uncertainty(R"({"schema": "meshloom.uncertainty/1", "level": 0.9,
    "all": {"rows": 2, "low": 0.2, "high": 0.1}, "groups": []})",
                                      "u.json"),
                    "u.json: /all/low: is above /high; give the lower quantile first");
}
