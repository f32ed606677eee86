// The transfers between a plan's stages, which follow from the layouts that its stages give the tensors at the cuts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

struct SentTensor {
  std::vector<std::int64_t> shape;  // of one microbatch
  Bytes element;
  bool needs_gradient = false;
};

// Sets the transfers and times of every boundary. A tensor goes from the first stage that lists it straight to each
// later one that lists it, with what else its stage sends; its gradients come back from each of them the same way.
// Chunks of one rank send nothing to each other; of chunks that follow each other on one rank, the last sends what goes
// further, and the first sends back what goes further back.
// Devices gather what they hold redundantly in conversions of their own ("receive", "send"). Throws InputError when no
// stage lists a tensor at a cut, or a device is not in the cluster.
void set_transfers(Plan& plan, const Cluster& cluster, const std::function<SentTensor(const std::string&)>& describe);

}  // namespace meshloom
