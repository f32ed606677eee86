// Eliminates a layer's interior under one setting after the other: what is left is a table over the layer's interface
// variables. The order of elimination and everything that no setting changes are found once, so a run is a pass over
// prices and one min-plus product for each interior node. The choices behind an entry are looked up when asked for:
// few entries are ever part of a solution.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/layer_model.hpp"

namespace meshloom {

class LayerElimination {
 public:
  // The model must outlive it.
  explicit LayerElimination(const LayerModel& model);

  struct Held {
    std::uint32_t node = 0, choice = 0;
  };
  // Interface variables' own costs are not included. With `held` one node has only that choice.
  void run(const RangeSettings& settings, std::optional<Held> held = {});

  // Of the last run. Entries are assignments of the interface variables, row-major.
  const std::vector<std::uint32_t>& sizes() const { return sizes_; }
  const std::vector<double>& scalars() const { return scalars_; }  // weighted; infinite where impossible
  // Of all nodes; the entry's scalar must be finite. Each node takes the lowest of its best choices.
  std::vector<std::uint32_t> choices(std::size_t entry) const;

 private:
  // Nodes in the order of elimination, interface variables last, in the model's order.
  using Variable = std::uint32_t;
  // Values lie in values_, row-major over the scope, which ascends: the variable eliminated first is major-most.
  struct Table {
    std::vector<Variable> scope;
    std::size_t begin = 0, entries = 0;
  };
  // A table at the variable that is eliminated as the loop over the result sees it.
  struct Operand {
    std::size_t begin = 0, stride = 0;  // of the eliminated variable
    std::vector<std::size_t> strides;   // of each outer variable of the result; 0: not in the table
  };
  struct Step {
    Variable variable = 0;
    std::vector<Variable> outer;      // all variables of the result but its last
    std::size_t width = 1;            // size of that one
    std::vector<Operand> flat, wide;  // without and with that one
    std::size_t result = 0;           // where in values_
    bool adds = false;                // to the one neighbour's own costs
  };
  // What a parameter costs in each state.
  struct ParameterPrices {
    std::size_t value;  // position in values_ of the choice that holds it
    double time[all_parameter_states.size()], per_step[all_parameter_states.size()], fixed[all_parameter_states.size()];
  };

  // Of one microbatch, by value.
  struct Amounts {
    std::vector<double> time, saved;
  };

  void find_order();
  void lay_out();
  void choose_amounts();
  void load_node(Variable variable, Recompute recompute, Amounts& amounts);
  void load_parameters(Variable variable);
  void load_edge(const ModelEdge& edge, Recompute recompute, Amounts& amounts);
  void plan_step(Variable variable);
  std::size_t add_table(std::vector<Variable> scope);
  std::size_t size(Variable variable) const;
  Operand operand(const Table& table, const std::vector<Variable>& outer) const;
  void price(const RangeSettings& settings);
  void eliminate(const Step& step);
  void sum_rows(const Step& step, const std::vector<std::size_t>& wide);
  static bool advance(const Step& step, const std::vector<std::size_t>& sizes, std::vector<std::size_t>& position,
                      std::vector<std::size_t>& flat, std::vector<std::size_t>& wide);
  void add_to_result(const Table& table);
  void run_elsewhere(const RangeSettings& settings, std::optional<Held> held);

  const LayerModel* model_;
  std::vector<std::uint32_t> nodes_;  // by variable
  std::vector<Variable> variable_of_;
  std::vector<std::uint32_t> sizes_;  // of the interface variables
  double entries_ = 0, largest_table_ = 1;
  std::vector<Table> own_;                 // by variable: its own costs
  std::vector<std::vector<Table>> first_;  // by variable: tables of several variables that begin with it
  std::vector<Step> steps_;
  std::size_t priced_ = 0;        // values before it are prices, those behind it results
  std::vector<Amounts> amounts_;  // recomputes that repeat and save the same share them
  ByRecompute<std::size_t> amounts_of_{};
  std::vector<ParameterPrices> parameters_;
  std::vector<double> values_, bases_, sums_;
  std::vector<double> scalars_;
  std::vector<std::vector<std::uint32_t>> known_choices_;  // by entry, of a run elsewhere
};

}  // namespace meshloom
