// Reading what a command needs, each file once, with its digest.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "costmodel/measured_times.hpp"
#include "planner/search.hpp"
#include "tools/command_line/commands.hpp"

namespace meshloom {

// Graph, cluster with --hosts and --device-memory applied, recipe. Throws InputError: both files are standard input, a
// bad file.
PlanningInput read_planning_input(const InputPaths& paths);

// Profiles with their digests. Throws InputError: a bad file, one that is given twice.
std::vector<ProfileFile> read_profiles(const std::vector<std::string>& paths);
// Reads them and puts them to work on the input's cluster.
std::vector<ProfileFile> apply_profiles(PlanningInput& input, const ProfilePaths& paths);
std::string options_text(const ProfilePaths& paths);  // " --profile a.json --profile-device-is …"
// Those that the plan was priced with, from where they were. Throws InputError when a file's digest differs.
std::vector<ProfileFile> read_profiles_of(const Plan& plan, const std::string& plan_path);

// The graph of a plan: from `graph_path`, or from the path that the plan states. Throws InputError when the file's
// digest differs from the plan's.
Graph read_graph_of(const Plan& plan, const std::string& plan_path, const std::optional<std::string>& graph_path);

// What stands for a schema where a file is a problem of the contest, which names none.
constexpr std::string_view contest_schema = "intra_op_problem";
constexpr std::string_view stage_table_schema = "meshloom.stage_table/1";

// Which of the two a file or its first bytes, decompressed, seem to be, by their first key; none: neither, or standard
// input, or it cannot be read.
std::optional<std::string_view> problem_schema(const std::string& path);
std::optional<std::string_view> problem_schema_of_text(std::string_view text);

// Decompresses what is gzip, told by its first bytes; `file` names it in errors.
bool is_gzip(std::string_view content);
std::string decompressed(const std::string& content, const std::string& file);

}  // namespace meshloom
