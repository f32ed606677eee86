// What the model says of a sample of a profile: the op or collective that was measured, alone, priced by the very
// functions that price a plan, without any profile.
#pragma once

#include <cstdint>
#include <span>

#include "costmodel/collectives.hpp"
#include "costmodel/profile.hpp"
#include "costmodel/recipe.hpp"
#include "graphs/gradients.hpp"

namespace meshloom {

// A graph of one op, whose sizes are those of a sample.
class SampleModel {
 public:
  // Throws InputError when the device has no peak for the key's dtype, and costs need one.
  SampleModel(const Cluster& cluster, const Recipe& recipe, const OperatorKey& key);
  Seconds time(std::span<const std::int64_t> shape) const;

 private:
  Cluster cluster_;
  Recipe recipe_;  // computes in the key's dtype, moves all bytes
  OperatorKey key_;
  Graph graph_;
  OpGradient gradient_;
};

// Of a group that runs alone. `bytes` as in a profile.
Seconds modelled_sample(const Cluster& cluster, const CollectiveKey& key, std::int64_t bytes);

DeviceGroup group_of(const CollectiveKey& key);
Collective collective_of(MeasuredCollective kind);
MeasuredCollective measured_collective(Collective collective);
// The whole tensor, as collectives.hpp counts, of a sample's bytes.
Bytes whole_of(const CollectiveKey& key, double bytes);

}  // namespace meshloom
