// Solves the intra-op problem of every range of layers on one mesh, at one microbatch size.
//
// Each layer is solved once per structure: its interior is eliminated, which leaves a table over its interface
// variables. A range joins the tables of its layers from left to right and minimises out each variable behind its last
// user, so all ranges that begin at one layer cost one pass: exact elimination along the layers, without a memory
// limit. The limit enters as a price per byte (Weights).
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "planner/dominance.hpp"
#include "planner/layer_join.hpp"

namespace meshloom {

// The choices of a range: for each layer, of each node of its model.
using RangeChoices = std::vector<std::vector<std::uint32_t>>;

class RangeSolver {
 public:
  // The references must outlive the solver.
  RangeSolver(const ModelContext& context, const PlanningLayers& layers, const RangeClasses& classes);

  // By class of RangeClasses (class 0 unused). A range that cannot be run costs `impossible` forward time.
  std::vector<Cost> solve(const RangeSettings& settings);
  // Only of the wanted classes; the others cost `impossible`, too.
  std::vector<Cost> solve(const RangeSettings& settings, const std::vector<bool>& wanted);

  // The choices behind solve()[class of (first, last)]; none where the range cannot be run.
  std::optional<RangeChoices> choices(const RangeSettings& settings, std::size_t first, std::size_t last);

  // What a range costs when one node of one of its layers is held at each of its choices (of full_model) and the rest
  // is optimised again; `impossible` forward time where it cannot be.
  std::vector<Cost> costs_by_choice(const RangeSettings& settings, std::size_t first, std::size_t last,
                                    std::size_t layer, std::uint32_t node);

  // The model that is solved, without dominated choices, and which choices of full_model they are.
  const LayerModel& model(std::size_t layer) { return thinned(layer).model; }
  const ThinnedModel& thinned(std::size_t layer);
  LayerModel full_model(std::size_t layer) const;

 private:
  std::map<std::uint32_t, LayerTable> tables(const RangeSettings& settings);
  LayerTable reduce(const LayerModel& model, const PricedLayer& priced, const IntraOpProblem& problem,
                    const RangeSettings& settings) const;
  LayerTable table(std::size_t layer, const RangeSettings& settings);

  const ModelContext& context_;
  const PlanningLayers& layers_;
  const RangeClasses& classes_;
  std::map<std::uint32_t, ThinnedModel> models_;  // by layer key
};

}  // namespace meshloom
