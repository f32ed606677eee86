#include "costmodel/recipe.hpp"

#include <array>

namespace meshloom {
namespace {

constexpr std::array parameter_states = {ParameterState::replicated, ParameterState::zero1, ParameterState::zero2,
                                         ParameterState::zero3};
constexpr std::array recomputes = {Recompute::none, Recompute::full};

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
    case Recompute::full:
      return "full";
  }
  return "";
}

std::optional<Recompute> recompute_named(std::string_view wanted) { return named(recomputes, wanted); }

}  // namespace meshloom
