// Where the time and the memory of a plan's stages go.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

struct NamedTime {
  std::string name;  // as a JSON key: "forward_compute"
  Seconds time;      // of one training step
};
struct NamedBytes {
  std::string name;
  Bytes bytes;
};
// A change of layout with what it takes in one step.
struct ConversionTime {
  std::string tensor, consumer, from, to;
  std::vector<std::string> collectives;  // "all_gather over x"
  Seconds per_step;
};

// What a simulation saw a stage keep its rank busy with in one step. Links that others share make it longer than the
// plan's own times, what goes on beside runs makes it shorter.
struct SeenTimes {
  Seconds send_activations, send_gradients, synchronization;
};

struct StageBreakdown {
  std::int64_t first_layer = 0, last_layer = 0;
  std::string layers;
  std::vector<NamedTime> times;    // add up to the iteration time; "idle" is the rest
  std::vector<NamedBytes> memory;  // add up to the peak
  Bytes peak;
  std::vector<ConversionTime> conversions;  // longest first
  std::vector<NamedTime> ops;               // longest first, forward and backward
};
// `seen` by stage.
std::vector<StageBreakdown> break_down(const Plan& plan, const std::vector<SeenTimes>& seen);

std::string layer_names(const Plan& plan, std::int64_t first, std::int64_t last);  // "embed…h15"
std::string mesh_text(const std::vector<MeshAxis>& mesh);                          // "x=4 y=2"; "-" for one device

}  // namespace meshloom
