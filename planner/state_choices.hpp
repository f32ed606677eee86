// The states of parameters as choices of their own: every choice of a node stands once for each assignment of states to
// its parameters, at the costs of those states. For whoever enumerates instead of weighing.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/layer_model.hpp"

namespace meshloom {

struct StateChoices {
  // What a choice of `model` was made of.
  struct Origin {
    std::uint32_t choice = 0;            // of the same node in the original model
    std::vector<ParameterState> states;  // of Choice::parameters
  };
  LayerModel model;                          // its choices cost the same under any states of RangeSettings
  std::vector<std::vector<Origin>> origins;  // by node and choice
};

// The choices of a range with the states of its parameters: by layer, by node of its model.
using RangeOrigins = std::vector<std::vector<StateChoices::Origin>>;

StateChoices states_as_choices(const LayerModel& model, const ParameterStates& states);

}  // namespace meshloom
