#include "accuracy/uncertainty.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "accuracy/folds.hpp"

namespace meshloom {
namespace {

constexpr double rows_of_others = 10;  // how many rows of a group those of the wider group are worth

// Of n values the one with rank ⌈share·(n + 1)⌉, the lower one counted from the other end; the outermost where n is too
// small to have it.
double rank_quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  const double rank =
      share >= 0.5 ? std::ceil(share * (n + 1) - 1e-9) : n + 1 - std::ceil((1 - share) * (n + 1) - 1e-9);
  return values[static_cast<std::size_t>(std::clamp(rank, 1.0, n)) - 1];
}

ErrorQuantiles quantiles_of(const std::vector<UnseenError>& errors, double level) {
  std::vector<double> values, weights;
  for (const UnseenError& error : errors) {
    values.push_back(error.log_ratio);
    weights.push_back(error.weight);
  }
  return {errors.size(), weighted_quantile(values, weights, (1 - level) / 2),
          weighted_quantile(values, weights, (1 + level) / 2)};
}

// The quantiles of some rows, drawn towards those of a wider group.
ErrorQuantiles drawn(const std::vector<double>& members, const ErrorQuantiles& wider, double level) {
  const auto n = static_cast<double>(members.size());
  const auto between = [&](double own, double others) {
    return (n * own + rows_of_others * others) / (n + rows_of_others);
  };
  return {members.size(), between(rank_quantile(members, (1 - level) / 2), wider.low),
          between(rank_quantile(members, (1 + level) / 2), wider.high)};
}

auto find_group(const Uncertainty& uncertainty, const std::string& device, const std::string& recipe) {
  return std::find_if(uncertainty.groups.begin(), uncertainty.groups.end(),
                      [&](const GroupQuantiles& group) { return group.device == device && group.recipe == recipe; });
}

}  // namespace

std::optional<TimeInterval> interval_of(const Uncertainty& uncertainty, const std::string& device,
                                        const std::string& recipe, Seconds predicted) {
  if (uncertainty.all.rows == 0) return std::nullopt;
  const auto found = find_group(uncertainty, device, recipe);
  if (found != uncertainty.groups.end())
    return TimeInterval{predicted * std::exp(found->quantiles.low), predicted * std::exp(found->quantiles.high)};
  const ErrorQuantiles elsewhere = uncertainty.elsewhere.value_or(uncertainty.all);
  bool knows_device = false, knows_recipe = false;
  for (const GroupQuantiles& group : uncertainty.groups) {
    knows_device |= group.device == device;
    knows_recipe |= group.recipe == recipe;
  }
  ErrorQuantiles quantiles = elsewhere;
  const auto widen = [&](const std::optional<ErrorQuantiles>& unknown) {
    if (!unknown) return;
    quantiles.low += std::min(0.0, unknown->low - elsewhere.low);
    quantiles.high += std::max(0.0, unknown->high - elsewhere.high);
  };
  if (!knows_recipe) widen(uncertainty.unknown_recipe);
  if (!knows_device) widen(uncertainty.unknown_device);
  return TimeInterval{predicted * std::exp(quantiles.low), predicted * std::exp(quantiles.high)};
}

bool has_own_rows(const Uncertainty& uncertainty, const std::string& device, const std::string& recipe) {
  return find_group(uncertainty, device, recipe) != uncertainty.groups.end();
}

std::size_t rows_of_device(const Uncertainty& uncertainty, const std::string& device) {
  std::size_t rows = 0;
  for (const GroupQuantiles& group : uncertainty.groups)
    if (group.device == device) rows += group.quantiles.rows;
  return rows;
}

ErrorQuantiles quantiles_elsewhere(const Uncertainty& uncertainty, const std::vector<UnseenError>& left_out) {
  std::vector<double> values, weights;
  for (const UnseenError& error : left_out) {
    values.push_back(error.log_ratio);
    weights.push_back(error.weight);
  }
  const double low = weighted_quantile(values, weights, (1 - uncertainty.level) / 2);
  const double high = weighted_quantile(values, weights, (1 + uncertainty.level) / 2);
  return {values.size(), std::min(low, uncertainty.all.low), std::max(high, uncertainty.all.high)};
}

Uncertainty uncertainty_from(const std::vector<UnseenError>& errors, double level) {
  Uncertainty result{level, {}, {}};
  if (errors.empty()) return result;
  result.all = quantiles_of(errors, level);
  std::map<std::string, std::vector<double>> of_recipes;
  std::map<std::pair<std::string, std::string>, std::vector<double>> groups;
  for (const UnseenError& error : errors) {
    of_recipes[error.recipe].push_back(error.log_ratio);
    groups[{error.device, error.recipe}].push_back(error.log_ratio);
  }
  for (const auto& [key, members] : groups) {
    const ErrorQuantiles of_recipe = drawn(of_recipes.at(key.second), result.all, level);
    result.groups.push_back({key.first, key.second, drawn(members, of_recipe, level)});
  }
  return result;
}

void widen_for_unknown(Uncertainty& uncertainty, const std::vector<UnseenError>& without_framework,
                       const std::vector<UnseenError>& without_device) {
  const auto at_least_all = [&](const std::vector<UnseenError>& errors) -> std::optional<ErrorQuantiles> {
    if (errors.empty()) return std::nullopt;
    ErrorQuantiles quantiles = quantiles_of(errors, uncertainty.level);
    quantiles.low = std::min(quantiles.low, uncertainty.all.low);
    quantiles.high = std::max(quantiles.high, uncertainty.all.high);
    return quantiles;
  };
  uncertainty.unknown_recipe = at_least_all(without_framework);
  uncertainty.unknown_device = at_least_all(without_device);
}

std::vector<bool> cross_validated_hits(const std::vector<UnseenError>& errors, double level) {
  std::size_t folds = 0;
  for (const UnseenError& error : errors) folds = std::max(folds, error.fold + 1);
  std::vector<Uncertainty> without;
  for (std::size_t fold = 0; fold < folds; ++fold) {
    std::vector<UnseenError> others;
    for (const UnseenError& error : errors)
      if (error.fold != fold) others.push_back(error);
    without.push_back(uncertainty_from(others, level));
  }
  std::vector<bool> hits;
  for (const UnseenError& error : errors) {
    const auto interval = interval_of(without[error.fold], error.device, error.recipe, Seconds(1));
    hits.push_back(interval && interval->contains(Seconds(std::exp(error.log_ratio))));
  }
  return hits;
}

double cross_validated_coverage(const std::vector<UnseenError>& errors, double level) {
  const std::vector<bool> hits = cross_validated_hits(errors, level);
  return hits.empty() ? 0 : static_cast<double>(std::count(hits.begin(), hits.end(), true)) / double(hits.size());
}

}  // namespace meshloom
