#include "accuracy/uncertainty.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
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

// What models of this kind have.
const Uncertainty& of_kind(const Uncertainty& uncertainty, ModelKind kind) {
  return kind == ModelKind::dense || uncertainty.of_experts.empty() ? uncertainty : uncertainty.of_experts.front();
}

const GroupQuantiles* find_group(const Uncertainty& uncertainty, const std::string& device, const std::string& recipe,
                                 ModelKind kind) {
  const std::vector<GroupQuantiles>& groups = of_kind(uncertainty, kind).groups;
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const GroupQuantiles& group) {
    return group.device == device && group.recipe == recipe;
  });
  return found == groups.end() ? nullptr : &*found;
}

template <typename Visit>
void for_each_group(const Uncertainty& uncertainty, const Visit& visit) {
  for (const GroupQuantiles& group : uncertainty.groups) visit(group);
  for (const Uncertainty& experts : uncertainty.of_experts) for_each_group(experts, visit);
}

// The errors that one part of an uncertainty is made of: those of its kind, or all where the kinds are not apart.
std::vector<UnseenError> errors_of(const std::vector<UnseenError>& errors, ModelKind kind) {
  std::vector<UnseenError> result;
  std::copy_if(errors.begin(), errors.end(), std::back_inserter(result),
               [kind](const UnseenError& error) { return error.kind == kind; });
  return result;
}

// Calls change(part, its errors) for both parts.
template <typename Change>
void change_parts(Uncertainty& uncertainty, const std::vector<UnseenError>& errors, const Change& change) {
  if (uncertainty.of_experts.empty()) {
    change(uncertainty, errors);
    return;
  }
  change(uncertainty, errors_of(errors, ModelKind::dense));
  change(uncertainty.of_experts.front(), errors_of(errors, ModelKind::mixture_of_experts));
}

// The quantiles of these errors or those of all, whichever is farther out.
std::optional<ErrorQuantiles> at_least_all(const Uncertainty& uncertainty, const std::vector<UnseenError>& errors) {
  if (errors.empty()) return std::nullopt;
  ErrorQuantiles quantiles = quantiles_of(errors, uncertainty.level);
  quantiles.low = std::min(quantiles.low, uncertainty.all.low);
  quantiles.high = std::max(quantiles.high, uncertainty.all.high);
  return quantiles;
}

Uncertainty uncertainty_of_one_kind(const std::vector<UnseenError>& errors, double level) {
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

}  // namespace

std::optional<TimeInterval> interval_of(const Uncertainty& uncertainty, const std::string& device,
                                        const std::string& recipe, Seconds predicted, ModelKind kind) {
  const Uncertainty& own = of_kind(uncertainty, kind);
  if (own.all.rows == 0) return std::nullopt;
  if (const GroupQuantiles* found = find_group(uncertainty, device, recipe, kind))
    return TimeInterval{predicted * std::exp(found->quantiles.low), predicted * std::exp(found->quantiles.high)};
  const ErrorQuantiles elsewhere = own.elsewhere.value_or(own.all);
  bool knows_device = false, knows_recipe = false;
  for_each_group(uncertainty, [&](const GroupQuantiles& group) {
    knows_device |= group.device == device;
    knows_recipe |= group.recipe == recipe;
  });
  ErrorQuantiles quantiles = elsewhere;
  const auto widen = [&](const std::optional<ErrorQuantiles>& unknown) {
    if (!unknown) return;
    quantiles.low += std::min(0.0, unknown->low - elsewhere.low);
    quantiles.high += std::max(0.0, unknown->high - elsewhere.high);
  };
  if (!knows_recipe) widen(own.unknown_recipe);
  if (!knows_device) widen(own.unknown_device);
  return TimeInterval{predicted * std::exp(quantiles.low), predicted * std::exp(quantiles.high)};
}

bool has_own_rows(const Uncertainty& uncertainty, const std::string& device, const std::string& recipe,
                  ModelKind kind) {
  return find_group(uncertainty, device, recipe, kind) != nullptr;
}

std::size_t rows_of_device(const Uncertainty& uncertainty, const std::string& device) {
  std::size_t rows = 0;
  for_each_group(uncertainty, [&](const GroupQuantiles& group) {
    if (group.device == device) rows += group.quantiles.rows;
  });
  return rows;
}

Uncertainty uncertainty_from(const std::vector<UnseenError>& errors, double level) {
  const std::vector<UnseenError> dense = errors_of(errors, ModelKind::dense);
  const std::vector<UnseenError> experts = errors_of(errors, ModelKind::mixture_of_experts);
  if (dense.empty() || experts.empty()) return uncertainty_of_one_kind(errors, level);
  Uncertainty result = uncertainty_of_one_kind(dense, level);
  result.of_experts.push_back(uncertainty_of_one_kind(experts, level));
  return result;
}

void add_elsewhere(Uncertainty& uncertainty, const std::vector<UnseenError>& left_out) {
  change_parts(uncertainty, left_out, [](Uncertainty& part, const std::vector<UnseenError>& errors) {
    part.elsewhere = at_least_all(part, errors);
  });
}

void widen_for_unknown(Uncertainty& uncertainty, const std::vector<UnseenError>& without_framework,
                       const std::vector<UnseenError>& without_device) {
  change_parts(uncertainty, without_framework, [](Uncertainty& part, const std::vector<UnseenError>& errors) {
    part.unknown_recipe = at_least_all(part, errors);
  });
  change_parts(uncertainty, without_device, [](Uncertainty& part, const std::vector<UnseenError>& errors) {
    part.unknown_device = at_least_all(part, errors);
  });
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
    const auto interval = interval_of(without[error.fold], error.device, error.recipe, Seconds(1), error.kind);
    hits.push_back(interval && interval->contains(Seconds(std::exp(error.log_ratio))));
  }
  return hits;
}

double cross_validated_coverage(const std::vector<UnseenError>& errors, double level) {
  const std::vector<bool> hits = cross_validated_hits(errors, level);
  return hits.empty() ? 0 : static_cast<double>(std::count(hits.begin(), hits.end(), true)) / double(hits.size());
}

}  // namespace meshloom
