#include "tools/command_line/input_files.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "costmodel/device_files.hpp"
#include "graphs/compressed_input.hpp"
#include "graphs/files.hpp"
#include "graphs/graph_json.hpp"
#include "graphs/input_error.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::size_t looked_at = 4096;  // bytes of a file whose kind is asked for

struct InputFile {
  std::string text, shown;
  FileReference reference;
};

// `argument` names the path in messages about a file that cannot be read.
InputFile read_input(const std::string& argument, const std::string& path) {
  InputFile file;
  try {
    file.text = read_file(path);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} {}", argument, error.what()));
  }
  file.shown = path == "-" ? "<stdin>" : path;
  file.reference = {path == "-" ? "" : path, digest(file.text)};
  return file;
}

bool has_schema(const std::string& text, const std::string& schema) {
  try {
    return parse_json(text, "").at("schema").string() == schema;
  } catch (const InputError&) {
    return false;
  }
}

// The name of a device is no path: says how to make a file of it.
InputFile read_cluster_input(const std::string& path) {
  try {
    return read_input("CLUSTER", path);
  } catch (const InputError& error) {
    std::vector<std::string> devices = family_named(path);
    if (devices.empty()) devices = devices_with(path);
    if (devices.empty()) throw;
    throw InputError(
        fmt::format("{}; that is a device, and CLUSTER a file: {{\"schema\": \"meshloom.cluster/1\", "
                    "\"name\": \"mine\", \"device\": \"{}\", \"hosts\": 1, \"devices_per_host\": 8}}",
                    error.what(), devices.front()));
  }
}

// Runs `parse`; when the file is of `other_schema`, its complaint says that GRAPH and CLUSTER are swapped.
template <typename Parse>
auto parse_unswapped(const InputFile& file, const std::string& other_schema, const std::string& other, Parse parse) {
  try {
    return parse(file.text, file.shown);
  } catch (const InputError& error) {
    if (!has_schema(file.text, other_schema)) throw;
    throw InputError(fmt::format("{}; this is a {} file, the order is GRAPH CLUSTER", error.what(), other));
  }
}

}  // namespace

PlanningInput read_planning_input(const InputPaths& paths) {
  if (paths.graph == "-" && paths.cluster == "-")
    throw InputError("GRAPH and CLUSTER", "only one of them can be standard input");
  PlanningInput input;
  const InputFile graph = read_input("GRAPH", paths.graph);
  input.graph = parse_unswapped(graph, "meshloom.cluster/1", "cluster", parse_graph);
  input.graph_file = graph.reference;
  const InputFile cluster = read_cluster_input(paths.cluster);
  input.cluster = parse_unswapped(cluster, "meshloom.graph/1", "graph", parse_cluster);
  input.cluster_file = cluster.reference;
  if (paths.hosts && !input.cluster.groups.empty())
    throw InputError("--hosts",
                     fmt::format("{}: the cluster has groups, and {} hosts may be of any; state `hosts` in each "
                                 "of its /groups instead",
                                 cluster.shown, *paths.hosts));
  if (paths.device_memory && !input.cluster.groups.empty())
    throw InputError("--device-memory",
                     fmt::format("{}: the cluster has groups, whose devices differ; state `memory` in "
                                 "each of its /groups instead",
                                 cluster.shown));
  if (paths.hosts) input.cluster.hosts = *paths.hosts;
  if (paths.device_memory) input.cluster.device.memory = *paths.device_memory;
  input.recipe = find_recipe(paths.recipe, paths.kernels);
  return input;
}

std::vector<ProfileFile> read_profiles(const std::vector<std::string>& paths) {
  std::vector<ProfileFile> profiles;
  for (const std::string& path : paths) {
    const InputFile file = read_input("--profile", path);
    const auto same = [&](const ProfileFile& other) { return other.digest == file.reference.digest; };
    if (std::any_of(profiles.begin(), profiles.end(), same))
      throw InputError("--profile", fmt::format("{} was given already; give each profile once", file.shown));
    profiles.push_back({file.shown, file.reference.digest, parse_profile(file.text, file.shown)});
  }
  return profiles;
}

std::vector<ProfileFile> apply_profiles(PlanningInput& input, const ProfilePaths& paths) {
  std::vector<ProfileFile> profiles = read_profiles(paths.files);
  if (!profiles.empty()) input.cluster = with_profiles(input.cluster, input.recipe, profiles, paths.stand_ins);
  return profiles;
}

std::string options_text(const ProfilePaths& paths) {
  std::string text;
  for (const std::string& file : paths.files) text += fmt::format(" --profile {}", file);
  for (const std::string& device : paths.stand_ins) text += fmt::format(" --profile-device-is \"{}\"", device);
  return text;
}

std::vector<ProfileFile> read_profiles_of(const Plan& plan, const std::string& plan_path) {
  std::vector<std::string> paths;
  for (const ProfileReference& each : plan.profiles) paths.push_back(each.file.path);
  std::vector<ProfileFile> profiles = read_profiles(paths);
  for (std::size_t i = 0; i < profiles.size(); ++i)
    if (profiles[i].digest != plan.profiles[i].file.digest)
      throw InputError(profiles[i].path,
                       fmt::format("is not the profile that {} was priced with (digest {}, the plan's is {}); put that "
                                   "one there",
                                   plan_path, profiles[i].digest, plan.profiles[i].file.digest));
  return profiles;
}

Graph read_graph_of(const Plan& plan, const std::string& plan_path, const std::optional<std::string>& graph_path) {
  if (!graph_path && plan.graph.path.empty())
    throw InputError(plan_path, "the plan names no graph file; say it with --graph");
  const std::string path = graph_path.value_or(plan.graph.path);
  const InputFile file = read_input(graph_path ? "--graph" : "the plan's graph", path);
  if (file.reference.digest != plan.graph.digest)
    throw InputError(file.shown,
                     fmt::format("is not the graph of {} (digest {}, the plan's is {}); give that one with --graph",
                                 plan_path, file.reference.digest, plan.graph.digest));
  return parse_graph(file.text, file.shown);
}

std::optional<std::string_view> problem_schema_of_text(std::string_view text) {
  std::string start;  // without space
  for (const char c : text.substr(0, looked_at))
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') start += c;
  if (start.starts_with(R"({"problem":)")) return contest_schema;
  if (start.starts_with(R"({"schema":"meshloom.stage_table/)")) return stage_table_schema;
  return std::nullopt;
}

std::optional<std::string_view> problem_schema(const std::string& path) {
  if (path == "-") return std::nullopt;
  try {
    std::string text(looked_at, '\0');
    text.resize(CompressedInput(path).read(text.data(), text.size()));
    return problem_schema_of_text(text);
  } catch (const InputError&) {
    return std::nullopt;
  }
}

bool is_gzip(std::string_view content) { return content.starts_with("\x1f\x8b"); }

std::string decompressed(const std::string& content, const std::string& file) {
  if (!is_gzip(content)) return content;
  CompressedInput input(content, file);
  std::string text, part(1 << 16, '\0');
  while (const std::size_t size = input.read(part.data(), part.size())) text.append(part, 0, size);
  return text;
}

}  // namespace meshloom
