// The states of parameters as choices of their own, for oracles that enumerate: every choice of a node stands once for
// each assignment of states to its parameters, at the costs of those states.
#pragma once

#include "planner/layer_model.hpp"

namespace meshloom {

LayerModel with_states_as_choices(const LayerModel& model, const ParameterStates& states);

}  // namespace meshloom
