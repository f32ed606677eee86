// Reading what a command needs, each file once, with its digest.
#pragma once

#include <string>

#include "planner/search.hpp"
#include "tools/command_line/commands.hpp"

namespace meshloom {

// Graph, cluster with --hosts applied, recipe. Throws InputError: both files are standard input, a bad file.
PlanningInput read_planning_input(const InputPaths& paths);

// The graph of a plan: from `graph_path`, or from the path that the plan states. Throws InputError when the file's
// digest differs from the plan's.
Graph read_graph_of(const Plan& plan, const std::string& plan_path, const std::optional<std::string>& graph_path);

}  // namespace meshloom
