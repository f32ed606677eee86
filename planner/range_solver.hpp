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

#include "planner/layer_model.hpp"

namespace meshloom {

// What one solve is for.
struct RangeSettings {
  ParameterState state = ParameterState::replicated;
  Recompute recompute = Recompute::none;
  Weights weights;
  bool operator==(const RangeSettings&) const = default;
};

// One layer after its interior has been eliminated; entries are assignments of its interface variables, row-major.
struct LayerTable {
  std::vector<std::uint32_t> sizes;
  std::vector<double> scalar;  // weighted; infinite where impossible
  std::vector<Cost> costs;
  std::vector<std::vector<std::uint32_t>> choices;    // of all nodes
  std::vector<std::vector<Cost>> own;                 // of each variable's choices
  std::vector<std::vector<Cost>> arrival, departure;  // likewise, when a border of stages cuts the variable
};

// The choices of a range: for each layer, of each node of its model.
using RangeChoices = std::vector<std::vector<std::uint32_t>>;

class RangeSolver {
 public:
  // The references must outlive the solver.
  RangeSolver(const ModelContext& context, const PlanningLayers& layers, const RangeClasses& classes);

  // By class of RangeClasses (class 0 unused). A range that cannot be run costs `impossible` forward time.
  std::vector<Cost> solve(const RangeSettings& settings);

  // The choices behind solve()[class of (first, last)]; none where the range cannot be run.
  std::optional<RangeChoices> choices(const RangeSettings& settings, std::size_t first, std::size_t last);

  // The weighted objective of a range when one node of one of its layers is held at each of its choices and the rest is
  // optimised again; infinite where that is impossible.
  std::vector<double> objective_by_choice(const RangeSettings& settings, std::size_t first, std::size_t last,
                                          std::size_t layer, std::uint32_t node);

  const LayerModel& model(std::size_t layer);

 private:
  struct OpenVariable {
    std::size_t age, rank;
    bool parameter, charged;
    std::uint32_t size;
    const std::vector<Cost>* departure;  // of an activation that this range made; null for others
  };
  struct Front {
    std::vector<OpenVariable> open;
    std::vector<double> scalar;
    std::vector<Cost> costs;
    std::vector<std::uint32_t> previous, table_entry;  // by entry, for walking back
  };

  std::map<std::uint32_t, LayerTable> tables(const RangeSettings& settings);
  LayerTable reduce(const LayerModel& model, const IntraOpProblem& problem, const RangeSettings& settings) const;
  LayerTable table(std::size_t layer, const RangeSettings& settings);
  static Front empty_front();
  // The front as a stage's end: what is still open leaves the stage.
  static Front closed(Front front, const Weights& weights);
  Front extend(const Front& front, std::size_t layer, const LayerTable& table, const RangeSettings& settings) const;

  const ModelContext& context_;
  const PlanningLayers& layers_;
  const RangeClasses& classes_;
  std::map<std::uint32_t, LayerModel> models_;  // by layer key
};

}  // namespace meshloom
