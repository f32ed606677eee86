// What a stage was optimised for: the weights of its times, the prices of its memory, and the parameter states that
// each of its parameters could take.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "costmodel/recipe.hpp"

namespace meshloom {

// The scalar objective of one intra-op solve: seconds of a step, with a price on memory.
struct Weights {
  double microbatches = 1;
  double per_step = 1;                     // weight of what happens once per step
  double seconds_per_fixed_byte = 0;       // price of a byte that is always held
  double seconds_per_activation_byte = 0;  // price of a byte that each microbatch in flight holds
  bool operator==(const Weights&) const = default;
};

inline constexpr std::array all_parameter_states{ParameterState::replicated, ParameterState::zero1,
                                                 ParameterState::zero2, ParameterState::zero3};

// A set of parameter states, of which each parameter may take one; never empty.
class ParameterStates {
 public:
  ParameterStates(ParameterState only) { allow(only); }  // implicit: one state is a set of one
  explicit ParameterStates(const std::vector<ParameterState>& states) {
    for (const ParameterState state : states) allow(state);
  }
  bool contains(ParameterState state) const { return allowed_[static_cast<std::size_t>(state)]; }
  std::vector<ParameterState> list() const {  // from the one that keeps most
    std::vector<ParameterState> result;
    for (const ParameterState state : all_parameter_states)
      if (contains(state)) result.push_back(state);
    return result;
  }
  bool operator==(const ParameterStates&) const = default;

 private:
  void allow(ParameterState state) { allowed_[static_cast<std::size_t>(state)] = true; }
  std::array<bool, all_parameter_states.size()> allowed_{};
};

}  // namespace meshloom
