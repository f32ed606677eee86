// Why an op is sharded as it is: its strategy, the best plan for the stage with another one, and the difference.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/plan/plan.hpp"

namespace meshloom {

struct OpExplanation {
  std::string op, layer;
  std::int64_t stage = 0;
  std::vector<std::string> chosen;                    // factor per mesh axis, "" none
  std::optional<std::vector<std::string>> runner_up;  // none: no other strategy is possible
  // Of the stage's time per step, with the rest of the stage optimised again in both cases and memory not priced:
  // negative where the chosen sharding costs time that it earns back in memory. Alternatives of a baseline are those
  // that its layout allows.
  Seconds difference;
  std::vector<std::string> excluded;  // "axis x cannot shard factor n: 6 is not divisible by 4"
};

// Throws InputError for an unknown op, with a suggestion.
OpExplanation explain_op(const Plan& plan, const Graph& graph, const std::string& op);

}  // namespace meshloom
