// A measured run made ready to be priced again and again under other constants, its layout frozen: the plan's distinct
// ops, collectives and updates with how often each stage has them, priced by the functions that price every plan
// (op_time, collective_time, parameter_cost, …), added up as a stage's times are, then simulated as every plan is.
// price() equals what planning the layout and simulating it gives, as long as the planner would still choose it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "accuracy/calibration.hpp"
#include "accuracy/run_case.hpp"
#include "costmodel/op_costs.hpp"
#include "planner/layers.hpp"
#include "planner/plan/plan.hpp"
#include "planner/strategies.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {

// What runs of one model and recipe share.
struct CompiledGraph {
  CompiledGraph(Graph graph, const Recipe& recipe);
  Graph graph;
  TrainingGraph training;
  DimensionMeanings meanings;
  RepeatedOps repeated;
  std::map<std::string, OpId> ops;
  std::map<std::string, TensorId> tensors;
};

class CompiledRun {
 public:
  CompiledRun(std::shared_ptr<const CompiledGraph> graph, const Plan& plan);

  // Under the case's cluster and recipe, whose shapes and choices must be those that were planned: only numbers may
  // differ. Not for several threads at a time.
  RunPrice price(const Cluster& cluster, const Recipe& recipe);
  // The schedule's formula in place of the simulation: a thousandth of the work.
  RunPrice estimate(const Cluster& cluster, const Recipe& recipe);

 private:
  struct OpTerm {
    OpId op{};
    std::vector<std::int64_t> sizes;
    DeviceGroup inner;  // of the inner collectives; of one device: none
    double rows = 0;
    int inner_forward = 0, inner_backward = 0;
    bool shards_experts = false;
    double forwards = 0, repeated = 0, backwards = 0;  // counts; repeated: of the forward, in the backward
    bool operator==(const OpTerm&) const = default;
  };
  // What a collective is for decides what of it is waited for.
  enum class Use { conversion, parameters, synchronization };
  struct CollectiveTerm {
    Collective collective = Collective::all_reduce;
    Bytes whole;
    DeviceGroup group;
    Use use = Use::conversion;
    double forward = 0, backward = 0, repeated = 0, weight = 0;  // counts
    bool operator==(const CollectiveTerm&) const = default;
  };
  struct UpdateTerm {
    Layout layout;
    double local_elements = 0;
    DType dtype = DType::bf16;
    ParameterState state = ParameterState::replicated;
    double count = 0;
    bool operator==(const UpdateTerm&) const = default;
  };
  struct StageTerms {
    DeviceMesh mesh;
    std::vector<OpTerm> ops;
    std::vector<CollectiveTerm> collectives;
    std::vector<UpdateTerm> updates;
    bool operator==(const StageTerms&) const = default;
  };
  class Compiler;

  // A stage with its times alone.
  Stage price_terms(const StageTerms& terms, const Cluster& cluster, const Recipe& recipe) const;
  static Seconds time_of(const CollectiveTerm& term, const Cluster& cluster, const Recipe& recipe);
  void set(const Cluster& cluster, const Recipe& recipe);
  void set_times(const Cluster& cluster, const Recipe& recipe);
  void set_boundaries();
  void set_overheads();

  std::shared_ptr<const CompiledGraph> graph_;
  Plan plan_;                      // without ops; its times are those of the last price
  std::vector<StageTerms> terms_;  // distinct
  std::vector<std::size_t> terms_of_;
  std::optional<PipelineProgram> program_;  // none: depends on the times
  // What the last conditions were made for.
  std::vector<Seconds> conditions_for_;
  Link intra_host_, nic_;
  Conditions conditions_;
};

}  // namespace meshloom
