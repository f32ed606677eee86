// Stage costs: for each class of layer ranges and each submesh the useful ways to run it, over logical mesh shapes,
// shardings, the state of each parameter, recompute and prices of memory; and a lower bound on the time of each.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "planner/launch_sums.hpp"
#include "planner/range_solver.hpp"
#include "planner/search.hpp"
#include "planner/state_choices.hpp"

namespace meshloom {

// Everything that does not depend on the microbatch size.
struct SearchSpace {
  const PlanningInput& input;
  const SearchOptions& options;
  TrainingGraph training;
  DimensionMeanings meanings;
  PlanningLayers layers;
  RangeClasses classes;
  std::vector<Submesh> submeshes;         // by group: inside a host, then of several; see Constraints
  std::vector<DeviceMesh> meshes;         // the logical shapes of all submeshes
  std::vector<std::uint32_t> submesh_of;  // by mesh
  std::vector<ParameterState> states;
  std::vector<Recompute> recomputes;
  PinnedGraph pins;
  AllowedStages allowed;
  LaunchSums launches;
  // Considered together; GPipe only without 1F1B, whose formula is never above it and which never holds more.
  std::vector<ScheduleKind> schedules;
};
SearchSpace search_space(const PlanningInput& input, const SearchOptions& options);
std::vector<ScheduleKind> searched_schedules(const Recipe& recipe,
                                             const SearchOptions& options);  // SearchSpace::schedules

// What a device may hold beyond the recipe's overhead: (memory − context) / (1 + fragmentation). Of a uniform cluster.
Bytes usable_memory(const Cluster& cluster, const Recipe& recipe);
// The same of a group, and of the share of memory that the constraints leave.
Bytes device_memory(const SearchSpace& space, std::uint32_t group);
Bytes usable_memory(const SearchSpace& space, std::uint32_t group);
bool has_usable_memory(const SearchSpace& space);  // in some group

// The groups that a pipeline passes through, as a set: bit g is group g. A pipeline uses all devices of its groups.
std::vector<unsigned> group_selections(const Cluster& cluster);  // all but the empty one, larger ones last
std::int64_t devices_of(const Cluster& cluster, unsigned groups);
bool is_whole_group(const SearchSpace& space, const Submesh& submesh);

// How many stages like this one tile the cluster, or its group of hosts; none: they do not.
std::optional<std::int64_t> ranks_that_tile(const SearchSpace& space, std::uint32_t submesh);
// Whether interleaved 1F1B can have so many microbatches on so many ranks.
bool can_interleave(std::int64_t ranks, std::int64_t microbatches);
// Whether memory is to be compared as such: max_following_stages tells it for 1F1B only.
bool compares_memory(const SearchSpace& space);

// How many stages may follow one with this cost (see StageOption), at most `most`; none: it does not fit at all.
std::optional<std::int64_t> following_stages(const Cost& cost, Bytes usable, ScheduleKind schedule,
                                             std::int64_t microbatches, std::int64_t most);

// The cost of a range with all that it waits for: the host, collectives beside computing, and at the end of the step
// where no schedule of the space has chunks. Chunks hide one another's synchronization; then what it is hidden by is
// not known of a range, the waits are left out, and plans have them.
Cost waiting_cost(const SearchSpace& space, const Cost& cost, std::size_t first, std::size_t last, Recompute recompute);

struct StageCandidate {
  Cost cost;
  std::uint32_t mesh = 0;
  RangeSettings settings;
  std::int64_t max_following_stages = 0;
  std::optional<RangeOrigins> held = {};  // in place of the choices that the settings make
};

// Microbatches in flight for which least times are kept apart. A stage that k others follow has min(B, k + 1).
inline constexpr std::array<std::int64_t, 4> bounded_depths{1, 4, 16, 64};
// By position in bounded_depths: no way to run it with so many microbatches in flight, or more, takes less for one.
using LeastTimes = std::array<Seconds, bounded_depths.size()>;
inline constexpr LeastTimes never{impossible, impossible, impossible, impossible};

// Prices of a byte, relative to the longest time that a stage may take for all bytes of a device.
inline constexpr std::array<double, 3> chunk_prices{1, 0.3, 0.1};
// By position in chunk_prices: no way to run it costs less, time for one microbatch and memory with one in flight.
using PricedTimes = std::array<Seconds, chunk_prices.size()>;

struct LeanWay {
  Cost cost;
  std::uint32_t mesh = 0;
};

struct StageCosts {
  // By class and submesh; undominated in (forward, time, per step, following stages), for schedules other than 1F1B in
  // memory and the weight gradients' time, too.
  std::vector<std::vector<std::vector<StageCandidate>>> candidates;
  // By class and submesh; `never` where there is none, or none that matters.
  std::vector<std::vector<LeastTimes>> least_times;
  // By class and submesh, where chunks of interleaved pipelines may lie; empty before bounds are known.
  std::vector<std::vector<PricedTimes>> priced_times;
  Seconds longest_stage{0};  // that chunk_prices refer to
  // No way to run all layers as one stage on all devices, or all of one group, takes less than this for a step.
  Seconds least_single_stage{0};
  bool exact = false;  // no way to run a stage that may be part of the best pipeline is missing
  // By class and submesh: whether it may fit. Where not, nothing that runs it soon enough fits a device.
  std::vector<std::vector<bool>> may_fit;
  // By class and submesh: the ways seen that need least, undominated in bytes per microbatch in flight and other bytes;
  // whether they fit or not.
  std::vector<std::vector<std::vector<LeanWay>>> lean;
  bool complete = true;  // false: the deadline left something out, so nothing here is a bound
};
StageCosts nothing_known(const SearchSpace& space);  // all impossible
// A first look at a fraction of the work: time and memory each on its own, of stages that a pipeline which takes less
// than `to_beat` may be made of. All there is to know where the answer is `exact`.
StageCosts outline_stages(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches,
                          Seconds to_beat);

class MeshPricer;

// The stages that a pipeline which takes less than `to_beat` may be made of, as far as the outline tells.
class StagePricing {
 public:
  // Finds least times that see memory. The references must outlive it.
  StagePricing(const SearchSpace& space, std::int64_t microbatch_size, std::int64_t microbatches,
               const StageCosts& outline, Seconds to_beat);
  ~StagePricing();

  // Least times and what may fit; no candidates.
  const StageCosts& bounds() const { return bounds_; }
  // With all candidates. Once.
  StageCosts price();

 private:
  using Wanted = std::vector<std::vector<bool>>;  // by submesh and class

  const SearchSpace& space_;
  std::int64_t microbatches_;
  const StageCosts& outline_;
  Seconds to_beat_;
  std::vector<std::unique_ptr<MeshPricer>> pricers_;  // by mesh; null: nothing wanted there
  StageCosts bounds_;
};

// A solver of ranges on one mesh with what it refers to.
class MeshSolver {
 public:
  MeshSolver(const SearchSpace& space, const DeviceMesh& mesh, std::vector<AxisRole> roles,
             std::int64_t microbatch_size);
  MeshSolver(const MeshSolver&) = delete;
  MeshSolver& operator=(const MeshSolver&) = delete;

  RangeSolver& ranges() { return ranges_; }
  const ModelContext& context() const { return context_; }

 private:
  DeviceMesh mesh_;
  Recipe recipe_;  // as a microbatch meets it
  ConversionTables conversions_;
  ModelContext context_;
  RangeSolver ranges_;
};

}  // namespace meshloom
