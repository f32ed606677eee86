// Why an op is sharded as it is: its strategy, the best plan for the stage with another one, and what that would take
// more or less, in time and in memory.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

struct OpExplanation {
  std::string op, layer;
  std::int64_t stage = 0;
  std::vector<std::string> chosen;                            // factor per mesh axis, "" none
  std::optional<std::vector<std::string>> runner_up;          // none: no other strategy is possible
  Seconds forward, backward;                                  // of one microbatch, inner collectives included
  std::optional<TimeSource> forward_source, backward_source;  // none: the plan was priced without profiles
  // What the runner-up has more than the chosen sharding, the rest of the stage optimised again in both cases, under
  // the plan's pins and for what the stage was optimised for (Stage::weights). Alternatives of a baseline are those
  // that its layout allows.
  Seconds difference;         // of the stage's time per step; negative where the chosen one pays time for memory
  Bytes memory_difference;    // of a device's peak, as many microbatches in flight as the plan has
  Seconds priced_difference;  // of the weighted time and the priced memory: never negative where the stage is optimal
  std::string rule;           // of the op, as the graph file writes it
  std::string fixed_by;       // "the plan: /pins/0 (op up: f in 4 parts)"; empty where no pin speaks of it
  std::vector<std::string> excluded;  // "axis x cannot shard factor n: 6 is not divisible by 4"
};

// Throws InputError for an unknown op, with a suggestion.
OpExplanation explain_op(const Plan& plan, const Graph& graph, const std::string& op);

}  // namespace meshloom
