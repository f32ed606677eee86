#include "tools/command_line/input_files.hpp"

#include <fmt/format.h>

#include "graphs/files.hpp"
#include "graphs/graph_json.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

struct InputFile {
  std::string text, shown;
  FileReference reference;
};

InputFile read_input(const std::string& path) {
  InputFile file;
  file.text = read_file(path);
  file.shown = path == "-" ? "<stdin>" : path;
  file.reference = {path == "-" ? "" : path, digest(file.text)};
  return file;
}

}  // namespace

PlanningInput read_planning_input(const InputPaths& paths) {
  if (paths.graph == "-" && paths.cluster == "-")
    throw InputError("GRAPH and CLUSTER", "only one of them can be standard input");
  PlanningInput input;
  const InputFile graph = read_input(paths.graph);
  input.graph = parse_graph(graph.text, graph.shown);
  input.graph_file = graph.reference;
  const InputFile cluster = read_input(paths.cluster);
  input.cluster = parse_cluster(cluster.text, cluster.shown);
  input.cluster_file = cluster.reference;
  if (paths.hosts) input.cluster.hosts = *paths.hosts;
  input.recipe = find_recipe(paths.recipe);
  return input;
}

Graph read_graph_of(const Plan& plan, const std::string& plan_path, const std::optional<std::string>& graph_path) {
  if (!graph_path && plan.graph.path.empty())
    throw InputError(plan_path, "the plan names no graph file; say it with --graph");
  const std::string path = graph_path.value_or(plan.graph.path);
  const InputFile file = read_input(path);
  if (file.reference.digest != plan.graph.digest)
    throw InputError(file.shown,
                     fmt::format("is not the graph of {} (digest {}, the plan's is {}); give that one with --graph",
                                 plan_path, file.reference.digest, plan.graph.digest));
  return parse_graph(file.text, file.shown);
}

}  // namespace meshloom
