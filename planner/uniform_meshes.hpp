// The meshes that the stages of a uniform layout stand on, and what each of their axes may do.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/baseline.hpp"
#include "planner/strategies.hpp"

namespace meshloom {

std::int64_t devices_of_stage(const UniformLayout& layout);

// By rank; ranks take the devices in order, each within one group of hosts. Where tensor-parallel devices hold whole
// experts, these are on the axis "tp-ep", and those that divide each on "tp". With fewer key-value heads than
// tensor-parallel devices the axis "tp" has a device for each head, and "tp-kv" those that share one, as frameworks
// have it. Throws InputError: a stage that does not lie evenly on hosts.
std::vector<DeviceMesh> stage_meshes(const Cluster& cluster, const DimensionMeanings& model,
                                     const UniformLayout& layout);
std::vector<AxisRole> axis_roles(const DimensionMeanings& model, const UniformLayout& layout);  // by axis

// The layout with expert_tensor_parallel: as given, else as the recipe's frameworks have it (Recipe::divides_experts).
// Unchanged without tensor parallelism or experts.
UniformLayout with_expert_degrees(const Graph& graph, const DimensionMeanings& model, const Recipe& recipe,
                                  UniformLayout layout);

// Of a layout with expert degrees. Throws InputError where it divides what no framework does: heads and hidden sizes of
// MLPs that --tp does not divide (frameworks pad vocabularies and nothing else), experts that --ep does not, a sample's
// tokens that --cp does not; and where --ep and --etp cannot be had with the other degrees.
void check_degrees(const Graph& graph, const DimensionMeanings& model, const UniformLayout& layout);

}  // namespace meshloom
