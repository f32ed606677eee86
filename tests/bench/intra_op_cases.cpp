#include "tests/bench/intra_op_cases.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graphs/builders.hpp"

namespace meshloom {
namespace {

PlanningInput input_of(const IntraOpCase& which) {
  PlanningInput input{which.graph,
                      read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/aws_p3_16xlarge.json"),
                      find_recipe("neutral"),
                      {},
                      {}};
  input.cluster.hosts = which.hosts;
  return input;
}

DeviceMesh mesh_of(const IntraOpCase& which) {
  for (DeviceMesh& mesh : logical_shapes({which.hosts, which.devices_per_host}, which.mesh.size())) {
    std::vector<std::int64_t> sizes;
    for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis) sizes.push_back(mesh.size(axis));
    if (sizes == which.mesh) return mesh;
  }
  throw std::logic_error(which.name + ": no such mesh");
}

}  // namespace

IntraOpCase gpt_case(std::int64_t layers, std::vector<std::int64_t> mesh) {
  const std::int64_t devices = mesh[0] * mesh[1];
  std::string name = fmt::format("GPT, {} layers, mesh {}x{}", layers, mesh[0], mesh[1]);
  return {std::move(name),
          build_gpt({.layers = layers, .hidden = 2048, .heads = 32, .seq_len = 1024, .vocab = 51200}),
          devices / 8,
          8,
          std::move(mesh),
          64,
          16};
}

std::vector<IntraOpCase> intra_op_cases() {
  std::vector<IntraOpCase> cases{gpt_case(24, {2, 4}), gpt_case(24, {4, 4})};
  MoeOptions moe;  // Alpa's 2.4B
  moe.gpt.hidden = 1024, moe.gpt.layers = 16, moe.gpt.heads = 16, moe.experts = 16;
  cases.push_back({"MoE, 16 layers, mesh 2x4", build_moe(moe), 1, 8, {2, 4}, 64, 16});
  cases.push_back({"Wide-ResNet-50, mesh 2x4", build_wresnet({.base_channels = 448}), 1, 8, {2, 4}, 192, 48});
  return cases;
}

CaseModel::CaseModel(const IntraOpCase& which)
    : case_(which),
      input_(input_of(which)),
      options_{.global_batch = which.global_batch},
      space_(search_space(input_, options_)),
      mesh_(mesh_of(which)) {}

Weights CaseModel::weights() const {
  return {static_cast<double>(case_.global_batch) / static_cast<double>(case_.microbatch_size), 1, 0, 0};
}

IntraOpProblem CaseModel::problem(std::optional<Bytes> memory) const {
  MeshSolver solver(space_, mesh_, std::vector<AxisRole>(mesh_.dimensions(), AxisRole::free), case_.microbatch_size);
  return whole_graph_problem(solver.context(), space_.layers,
                             {weights(),
                              {ParameterState::replicated, ParameterState::zero1, ParameterState::zero3},
                              Recompute::none,
                              memory})
      .problem;
}

std::int64_t least_peak(const IntraOpProblem& problem) {
  std::int64_t end = 0;
  for (const IntraOpNode& node : problem.nodes) end = std::max(end, node.live_until);
  IntraOpProblem lean = problem;
  lean.usage_limit.reset();
  for (IntraOpNode& node : lean.nodes) {
    const bool lives = node.live_from <= end / 2 && end / 2 < node.live_until;
    for (std::size_t k = 0; k < node.costs.size(); ++k)
      if (node.costs[k] < infinite_cost) node.costs[k] = lives && !node.usages.empty() ? node.usages[k] : 0;
  }
  for (IntraOpEdge& edge : lean.edges)
    for (std::int64_t& cost : edge.costs) cost = cost < infinite_cost ? 0 : infinite_cost;
  return static_cast<std::int64_t>(solve_by_elimination(lean).objective);
}

}  // namespace meshloom
