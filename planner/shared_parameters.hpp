// Parameters that several stages of a pipeline use (tied embeddings), once the stages have ranks and devices.
//
// Chunks of one rank that use a parameter in the same way (mesh, layout, state) have one copy: the first stores it,
// adds up both chunks' gradients where it keeps its own, reduces them and updates. Stages of other ranks all-reduce
// their gradients once per step. Interleaved pipelines of several ranks, which the search prices stage by stage, count
// every stage's copy: the first and the last stage, which tied embeddings join, are never on one rank there.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "costmodel/collectives.hpp"
#include "costmodel/groups.hpp"
#include "planner/plan/plan.hpp"

namespace meshloom {

class SharedParameters {
 public:
  explicit SharedParameters(const Plan& plan);  // which must outlive it

  // Whether an earlier chunk of the stage's rank has the stage's copy.
  bool stored_before(std::size_t stage, const std::string& parameter) const;
  // Whether the stage all-reduces the parameter's gradients with another.
  bool all_reduced(std::size_t stage, const std::string& parameter) const;
  // All-reduces gradients between the stage and those that it shares parameters with, over the switches between them.
  Seconds gradient_time(const Cluster& cluster, std::size_t stage, Bytes gradients) const;

 private:
  struct Holder {
    std::size_t stage;
    const TensorLayout* tensor;
  };
  bool one_copy(const Holder& a, const Holder& b) const;
  const Holder* holder(std::size_t stage, const std::string& parameter) const;

  const Plan& plan_;
  bool chunks_share_;
  std::map<std::string, std::vector<Holder>> holders_;  // of parameters, in stage order
};

// The same between neighbouring hosts below one switch, which the search counts for a stage whose place it does not
// know yet; never more than what the plan counts, because stages of one host are counted so, too. On an unequal cluster
// as over the slowest links of the groups that the pipeline passes through (bits), wherever the two stages lie.
Seconds shared_gradient_time(const Cluster& cluster, Bytes gradients, const Submesh& stage,
                             unsigned groups = all_groups);

}  // namespace meshloom
