// Choices that no solution needs: within a node, one that costs at least as much as another in every time and in every
// kind of memory, whatever its neighbours choose and whatever state its parameters take. Leaving it out is exact under
// all weights, states and recomputes.
#pragma once

#include "planner/layer_model.hpp"

namespace meshloom {

struct ThinnedModel {
  LayerModel model;
  std::vector<std::vector<std::uint32_t>> original;  // by node and choice: the choice in the model it came from
};

// Interface variables keep all their choices: other layers have a say in them. Of equal choices the first stays.
ThinnedModel without_dominated(const LayerModel& model);

}  // namespace meshloom
