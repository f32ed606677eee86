// The inter-operator problem: cut the layers into stages, give each a submesh and one of its options, so that the 1F1B
// formula of plan.hpp is least and every stage fits [Alpa, Eq. 2–5; goes beyond it in per-step sync, sends and memory
// by position].
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "costmodel/device_mesh.hpp"
#include "graphs/units.hpp"

namespace meshloom {

// One way to run the layers first…last on one submesh.
struct StageOption {
  std::uint32_t first = 0, last = 0;  // layers, inclusive
  std::uint32_t submesh = 0;          // position in InterOpProblem::submeshes
  Seconds forward, backward;          // of one microbatch, sends not included
  Seconds per_step;                   // synchronization and update
  // Stages that may follow it in the pipeline: k following stages hold k + 1 microbatches here (1F1B). 0: only as the
  // last stage; negative: never.
  std::int64_t max_following_stages = 0;
  // For the schedules of schedules.hpp.
  Seconds backward_weight;              // the part of `backward` that makes gradients of parameters
  Bytes fixed, transient, activations;  // held always; by one run at a time; per microbatch in flight
  Seconds shared;                       // the part of per_step that waits for other stages (StageTimes::shared)
};

// contiguous_on_hosts: a submesh inside a host must not straddle two hosts, one of several hosts has all their devices
// and starts at a host's first. devices_only: only the numbers of devices matter, as in Alpa's own formulation.
enum class Placement { contiguous_on_hosts, devices_only };

struct InterOpProblem {
  std::uint32_t layers = 0;
  std::int64_t hosts = 1, devices_per_host = 1;
  std::int64_t microbatches = 1;
  std::vector<Submesh> submeshes;
  std::vector<StageOption> options;
  // Sending the tensors that cross the cut after layer i (0 ≤ i < layers − 1), forward or backward, one microbatch, by
  // the link that contiguous placement gives; index 0 inside a host, 1 between hosts. Empty: sends cost nothing.
  struct Cut {
    Seconds forward[2], backward[2];
  };
  std::vector<Cut> cuts;
  // How many lanes a stage sends over; none: one, whatever its submesh. Then `cuts` are prices over one lane: between
  // hosts all NICs of a host, inside a host one device's connection. A stage of several hosts has as many lanes, one of
  // some devices of a host the NICs that these have, inside a host one lane for each device.
  struct SendLanes {
    std::int64_t nics = 1;            // of a host, as far as devices can use them apart
    std::int64_t hosts_per_unit = 1;  // when `hosts` and submeshes count more than one host as one
    Seconds latency[2];               // of the link, part of every price that is not zero; lanes do not shorten it
  };
  std::optional<SendLanes> lanes;
  // A send is part of its sender's run, or goes on beside computing.
  enum class Sends { block, go_beside };
  Sends sends = Sends::block;
  // Groups of hosts behind the first, whose are `hosts`, `devices_per_host` and `cuts`. The pipeline passes through the
  // groups in this order; a submesh lies within its group (Submesh::group, 0: the first).
  struct FurtherGroup {
    std::int64_t hosts = 1, devices_per_host = 1;
    struct Cut {
      Seconds forward[3], backward[3];  // as in `cuts`; index 2: to or from the group before
    };
    std::vector<Cut> cuts;
    struct SendLanes {
      std::int64_t nics = 1, hosts_per_unit = 1;  // as in `lanes`
      std::int64_t border_nics = 1;               // that hosts of both groups have for each other
      Seconds latency[3];
    };
    std::optional<SendLanes> lanes;  // of every group or of none
  };
  std::vector<FurtherGroup> further_groups{};
  Placement placement = Placement::contiguous_on_hosts;
  // Of a device, for the schedules of schedules.hpp; 1F1B has max_following_stages.
  Bytes memory{std::numeric_limits<double>::infinity()};
  std::optional<std::uint32_t> stages;  // exactly so many, of chunks so many ranks; none: any number
};

struct InterOpSolution {
  bool feasible = false;
  Seconds objective;
  std::vector<std::uint32_t> options;  // positions in InterOpProblem::options, in pipeline order
};

// The problem with only the submeshes that have options, each group in units of as many hosts as all of its are
// multiples of.
// Only what the solvers compare is kept: links between hosts stay links between hosts.
InterOpProblem in_larger_units(InterOpProblem problem);

// Objective: Σt + (B−1)·max t + max_i max(0, per_step_i − Σ_{j<i} b_j). The forward send over the cut at a stage's end
// counts into its f, the backward send over the cut at its begin into its b; sends that go on beside computing count
// as in planner/plan/schedule_formula.hpp. None when the options (positions, in
// pipeline order) are no pipeline: stages cover all layers in order, use exactly all devices, lie contiguously in stage
// order as `placement` allows, are as many as asked for, and have at most max_following_stages after them.
std::optional<Seconds> objective_of(const InterOpProblem& problem, const std::vector<std::uint32_t>& options);

// The least objective over all pipelines. Exact; of equal ones that are met, the one of fewest stages, then of the
// lowest options. per_step must not be negative. Pipelines that do not stay below `limit` need not be found.
InterOpSolution solve_inter_op(const InterOpProblem& problem,
                               Seconds limit = Seconds(std::numeric_limits<double>::infinity()));

// The oracle: all partitions. Only for tiny problems.
InterOpSolution solve_inter_op_by_enumeration(const InterOpProblem& problem);

}  // namespace meshloom
