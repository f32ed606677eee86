// Prices all classes of layer ranges on one mesh at one microbatch size: candidates for stages, and what no stage there
// takes less than.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "planner/stage_costs.hpp"

namespace meshloom {

// What is known of one mesh.
struct MeshResult {
  std::vector<std::vector<StageCandidate>> candidates;  // by class
  std::vector<LeastTimes> least_times;                  // by class
  std::vector<PricedTimes> priced_times;                // by class; empty where no chunks may lie
  std::vector<std::vector<LeanWay>> lean;               // by class
  std::vector<std::size_t> hopeless;                    // by class: for how many of the recomputes nothing fits
  Seconds least_single_stage = impossible;
  bool complete = true;
};

// Leaves out what another one equals or betters in everything that the space's schedules compare; of equal ones the
// first stays.
void keep_undominated(const SearchSpace& space, std::vector<StageCandidate>& candidates);
void keep_lean(std::vector<LeanWay>& ways, const LeanWay& way);  // adds it, unless another needs no more

class MeshPricer {
 public:
  MeshPricer(const SearchSpace& space, std::uint32_t mesh, std::int64_t microbatch_size, std::int64_t microbatches);

  // What each class takes for its ops alone where each runs in its own best way: no way to run it takes less.
  const std::vector<Seconds>& floors();
  // A first look at the wanted classes: without prices of memory, and at the highest price.
  void outline(const std::vector<bool>& wanted, Seconds to_beat);
  // Least times that see memory, of the wanted classes, as far as they stay below what a pipeline that takes less than
  // `to_beat` has room for.
  void bound(const std::vector<bool>& wanted, Seconds to_beat);
  // All prices, for the wanted classes that the bounds leave.
  void sweep(const std::vector<bool>& wanted, Seconds to_beat);

  MeshResult take();
  const MeshResult& result() const { return result_; }

 private:
  using Classes = std::vector<bool>;

  // What a device would hold at most of stages like one: so many of it, with so many microbatches in flight of one.
  struct Demand {
    double stages = 1, in_flight = 0;
  };
  // By the schedules other than 1F1B, for a stage of so many layers.
  Demand most_demanded(std::int64_t stage_layers) const;
  bool meets(const Demand& demand, const Cost& cost) const;

  std::size_t whole_graph() const { return space_.classes.of[0].back(); }
  Classes allowed_of(const Classes& wanted) const;
  bool takes_all_devices() const;
  // No pipeline takes less than B·t + p of any of its stages: by 1F1B's formula either p hides behind the backwards of
  // the stages before it, whose times count besides B·t, or what does not hide counts. GPipe's formula is not below,
  // nor are those of zero bubble, where all p count, and of interleaving, (B·v + r − 1)·t with r − 1 backwards to hide
  // behind.
  bool may_beat(double step) const { return step < to_beat_.value(); }
  Seconds stage_bound() const { return to_beat_ / static_cast<double>(microbatches_); }
  bool fits(const Cost& cost, std::int64_t in_flight) const;
  std::int64_t most_in_flight(std::size_t c) const;
  std::vector<ParameterStates> state_sets() const;
  Classes add_candidates(const std::vector<Cost>& costs, const RangeSettings& settings);
  Seconds floor_of_layer(std::size_t layer) const;
  Classes open_below(const Classes& wanted, const std::vector<LeastTimes>& times) const;
  std::vector<Cost> find_least_times(const Classes& wanted, std::size_t recompute);
  void keep_least_times(std::size_t recompute);
  void raise_with_memory(const std::vector<Cost>& unpriced, std::size_t recompute, std::size_t depth);
  bool may_hold_chunks() const;
  void price_chunks(const Classes& wanted, Recompute recompute);
  void bound_single_stage(Recompute recompute, std::size_t prices);
  void sweep_prices(const ParameterStates& states, Recompute recompute, Classes& wanted, std::size_t prices);
  std::vector<std::size_t> hopeless(const std::vector<Cost>& costs) const;

  const SearchSpace& space_;
  std::uint32_t mesh_;
  std::int64_t microbatches_;
  Bytes usable_;
  Seconds to_beat_ = impossible;
  MeshSolver solver_;
  Classes allowed_;                                    // some range of the class may be a stage on this mesh
  std::vector<std::int64_t> most_following_;           // by class: stages that may ever follow
  std::vector<Demand> demands_;                        // by class
  std::vector<std::vector<LeastTimes>> by_recompute_;  // by position in the space's recomputes, by class
  std::vector<Seconds> floors_;                        // by class; empty until asked for
  MeshResult result_;
};

}  // namespace meshloom
