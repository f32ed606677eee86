#include "costmodel/recipe.hpp"

#include <array>
#include <cassert>

namespace meshloom {
namespace {

constexpr std::array parameter_states = {ParameterState::replicated, ParameterState::zero1, ParameterState::zero2,
                                         ParameterState::zero3};
constexpr std::array overlaps = {OverlapSends::none, OverlapSends::by_schedule, OverlapSends::all};
constexpr std::array synchronization_overlaps = {OverlapSynchronization::none, OverlapSynchronization::last_backward,
                                                 OverlapSynchronization::beside_computing};
constexpr std::array selective_recomputes = {SelectiveRecompute::attention, SelectiveRecompute::elementwise,
                                             SelectiveRecompute::alternate_products};
constexpr std::array recompute_scopes = {RecomputeScope::blocks, RecomputeScope::all, RecomputeScope::all_but_last};

template <typename Values>
auto named(const Values& values, std::string_view wanted) -> std::optional<typename Values::value_type> {
  for (const auto value : values)
    if (name(value) == wanted) return value;
  return std::nullopt;
}

}  // namespace

std::string_view name(ParameterState state) {
  switch (state) {
    case ParameterState::replicated:
      return "replicated";
    case ParameterState::zero1:
      return "zero1";
    case ParameterState::zero2:
      return "zero2";
    case ParameterState::zero3:
      return "zero3";
  }
  return "";
}

std::optional<ParameterState> parameter_state_named(std::string_view wanted) { return named(parameter_states, wanted); }

std::string_view name(Recompute recompute) {
  switch (recompute) {
    case Recompute::none:
      return "none";
    case Recompute::selective:
      return "selective";
    case Recompute::full:
      return "full";
  }
  return "";
}

std::optional<Recompute> recompute_named(std::string_view wanted) { return named(all_recomputes, wanted); }

std::string_view name(RecomputeScope scope) {
  switch (scope) {
    case RecomputeScope::blocks:
      return "blocks";
    case RecomputeScope::all:
      return "all";
    case RecomputeScope::all_but_last:
      return "all_but_last";
  }
  return "";
}

std::optional<RecomputeScope> recompute_scope_named(std::string_view wanted) { return named(recompute_scopes, wanted); }

std::string_view name(SelectiveRecompute selective) {
  switch (selective) {
    case SelectiveRecompute::attention:
      return "attention";
    case SelectiveRecompute::elementwise:
      return "elementwise";
    case SelectiveRecompute::alternate_products:
      return "alternate_products";
  }
  return "";
}

std::optional<SelectiveRecompute> selective_recompute_named(std::string_view wanted) {
  return named(selective_recomputes, wanted);
}

std::string_view name(OverlapSends overlap) {
  switch (overlap) {
    case OverlapSends::none:
      return "none";
    case OverlapSends::by_schedule:
      return "by_schedule";
    case OverlapSends::all:
      return "all";
  }
  return "";
}

std::optional<OverlapSends> overlap_sends_named(std::string_view wanted) { return named(overlaps, wanted); }

std::string_view name(OverlapSynchronization overlap) {
  switch (overlap) {
    case OverlapSynchronization::none:
      return "none";
    case OverlapSynchronization::last_backward:
      return "last_backward";
    case OverlapSynchronization::beside_computing:
      return "beside_computing";
  }
  return "";
}

std::optional<OverlapSynchronization> overlap_synchronization_named(std::string_view wanted) {
  return named(synchronization_overlaps, wanted);
}

Recipe averaged_over(Recipe recipe, std::int64_t microbatches) {
  assert(microbatches > 0);
  const double share = static_cast<double>(microbatches - 1) / static_cast<double>(microbatches);
  recipe.gradient_traffic *= share;
  if (recipe.fp16_gradient_traffic) *recipe.fp16_gradient_traffic *= share;
  return recipe;
}

}  // namespace meshloom
