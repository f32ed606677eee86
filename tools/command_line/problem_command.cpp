#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/intra_op/contest_json.hpp"
#include "planner/stage_costs.hpp"
#include "planner/whole_graph.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

std::vector<std::int64_t> sizes_of(const DeviceMesh& mesh) {
  std::vector<std::int64_t> sizes;
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis) sizes.push_back(mesh.size(axis));
  return sizes;
}

std::string mesh_text(const std::vector<std::int64_t>& sizes) {
  return sizes.empty() ? "1" : fmt::format("{}", fmt::join(sizes, "x"));
}

// All meshes of the cluster's submeshes; the order is search_space's.
DeviceMesh find_mesh(const SearchSpace& space, const std::vector<std::int64_t>& sizes) {
  std::vector<std::string> known;
  for (const DeviceMesh& mesh : space.meshes) {
    if (sizes_of(mesh) == sizes) return mesh;
    known.push_back(mesh_text(sizes_of(mesh)));
  }
  throw InputError("--mesh",
                   fmt::format("the cluster has no mesh {}; it has {}", mesh_text(sizes), joined(known, ", ")));
}

// With a header that names no file and no time: same text, same bytes.
std::string gzipped(const std::string& text) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("zlib cannot compress");
  std::string result(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  const int status = deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) throw std::runtime_error("zlib cannot compress");
  return result;
}

}  // namespace

ExitCode run(const ProblemCommand& command) {
  check_output("--output", command.output);
  check_distinct({{"GRAPH", command.inputs.graph}, {"CLUSTER", command.inputs.cluster}},
                 {{"--output", command.output}});
  const std::int64_t microbatch = command.microbatch_size.value_or(command.global_batch);
  if (command.global_batch % microbatch != 0)
    throw InputError("--microbatch-size",
                     fmt::format("{} does not divide the global batch {}", microbatch, command.global_batch));
  const PlanningInput input = read_planning_input(command.inputs);
  SearchOptions options;
  options.global_batch = command.global_batch;
  options.max_mesh_axes = std::max<std::size_t>(1, command.mesh.size());
  const SearchSpace space = search_space(input, options);
  const DeviceMesh mesh = find_mesh(space, command.mesh);
  MeshSolver solver(space, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), microbatch);
  WholeGraphOptions whole{{static_cast<double>(command.global_batch / microbatch), 1, 0, 0},
                          input.recipe.parameter_states,
                          Recompute::none,
                          {}};
  if (command.memory) whole.memory = usable_memory(input.cluster, input.recipe) * *command.memory;
  const std::string text = write_contest_problem(whole_graph_problem(solver.context(), space.layers, whole).problem,
                                                 fmt::format("{} on {}", input.graph.name, mesh_text(command.mesh)));
  write_file(*command.output, command.output->ends_with(".gz") ? gzipped(text) : text);
  return ExitCode::done;
}

}  // namespace meshloom
