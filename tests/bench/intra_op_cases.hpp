// The whole-graph problems that intra_op_bench measures, and limits on memory that bind.
#pragma once

#include <string>
#include <vector>

#include "planner/stage_costs.hpp"
#include "planner/whole_graph.hpp"

namespace meshloom {

struct IntraOpCase {
  std::string name;
  Graph graph;
  std::int64_t hosts = 1, devices_per_host = 8;
  std::vector<std::int64_t> mesh;
  std::int64_t global_batch = 64, microbatch_size = 64;
};
// GPT with 24 layers on 2×4 and 4×4, MoE and Wide-ResNet on 2×4.
std::vector<IntraOpCase> intra_op_cases();
IntraOpCase gpt_case(std::int64_t layers, std::vector<std::int64_t> mesh);

// A case with what its problem refers to.
class CaseModel {
 public:
  explicit CaseModel(const IntraOpCase& which);
  CaseModel(const CaseModel&) = delete;
  CaseModel& operator=(const CaseModel&) = delete;

  // With usages when `memory` is given.
  IntraOpProblem problem(std::optional<Bytes> memory) const;
  const SearchSpace& space() const { return space_; }
  const DeviceMesh& mesh() const { return mesh_; }
  Weights weights() const;

 private:
  const IntraOpCase& case_;
  PlanningInput input_;
  SearchOptions options_;
  SearchSpace space_;
  DeviceMesh mesh_;
};

// The least that must be held at the end of the forward, when everything saved lives.
std::int64_t least_peak(const IntraOpProblem& problem);

}  // namespace meshloom
