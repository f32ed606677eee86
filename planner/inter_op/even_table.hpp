// Pipelines on equal submeshes and the ways to run their stages; private to the inter-operator solvers.
#pragma once

#include <functional>

#include "planner/inter_op/placement.hpp"

namespace meshloom {

// p ranks of v chunks on one kind of submesh; stage s is chunk s / p of rank s % p.
struct EvenPipeline {
  std::uint32_t submesh = 0;
  std::int64_t ranks = 1, chunks = 1;
  std::uint32_t stages() const { return static_cast<std::uint32_t>(ranks * chunks); }
};

// Those of as many ranks as the problem asks for stages, with at least `least_ranks` ranks and a layer for every stage,
// by submesh.
std::vector<EvenPipeline> even_pipelines(const InterOpProblem& problem, std::int64_t chunks, std::int64_t least_ranks);

// The links at both ends of a stage, as positions in Cut's arrays. At the ends of the model they mean nothing.
struct StageLinks {
  std::size_t begin = 0, end = 0;
};
StageLinks links_of(const InterOpProblem& problem, const EvenPipeline& pipeline, std::uint32_t stage);

// An option with the sends of its place.
struct EvenVariant {
  double forward, backward, time, per_step;  // time: the period
  std::uint32_t option;
};
// The variants of the layers first…last in one kind of place, by ascending time.
struct EvenRange {
  std::uint32_t last;
  std::vector<EvenVariant> variants;
};

// Stages of the same links and class share their variants; of those only the ones that no other betters are kept.
class EvenTable {
 public:
  // Whether a stage may be run so, whatever runs on its rank besides.
  using Fits = std::function<bool(const StageOption&, std::uint32_t stage)>;
  // Whether the first is as good as the second in everything.
  using Betters = std::function<bool(const EvenVariant&, const EvenVariant&, std::uint32_t stage)>;
  // Stages of the same class fit and compare alike.
  using Class = std::function<std::size_t(std::uint32_t stage)>;

  EvenTable(const InterOpProblem& problem, const EvenPipeline& pipeline, std::size_t classes, const Class& class_of,
            const Fits& fits, const Betters& betters);

  // Ascending last layers.
  const std::vector<EvenRange>& ranges(std::uint32_t stage, std::uint32_t first) const {
    return ranges_[kind_of_stage_[stage]][first];
  }
  // Stages of one kind share their ranges.
  std::size_t kind(std::uint32_t stage) const { return kind_of_stage_[stage]; }
  // Every time that a stage may take, ascending.
  std::vector<double> times() const;

  // Of pipelines with the first so many stages, by stage and first layer: the least largest time of this stage and
  // those after it; infinite where there is no way.
  std::vector<std::vector<double>> least_largest_times(std::uint32_t stages) const;

 private:
  void add_kind(const InterOpProblem& problem, const EvenPipeline& pipeline, std::uint32_t stage, const Fits& fits,
                const Betters& betters);

  std::uint32_t layers_;
  std::vector<std::size_t> kind_of_stage_;
  std::vector<std::vector<std::vector<EvenRange>>> ranges_;  // by kind of place, first layer
};

}  // namespace meshloom
