// The inter-operator problem under schedules other than 1F1B: the same stages and options, other formulas
// (planner/plan/schedule_formula.hpp) and other memory. `per_step` must not be negative.
//
// Memory of a device is fixed + activations of what is in flight + the transient of one run:
//   GPipe:        all B microbatches, whatever the position
//   zero bubble:  p, 2p − 1 (ZB-H2) or 2p (ZB-2p) microbatches on every rank, B at most
//   interleaved:  a rank's chunks together, at each moment of the program that planner/plan/program.hpp makes
// Zero-bubble and interleaved pipelines lie on equal submeshes: p of them, as many as tile the devices.
#pragma once

#include "planner/inter_op/problem.hpp"
#include "planner/plan/schedule.hpp"

namespace meshloom {

// None when the options are no pipeline under this schedule: as for 1F1B, with the memory above; interleaved needs
// two ranks or more and a multiple of them as microbatches. Not for dualpipe, inference and custom schedules.
std::optional<Seconds> objective_of(const InterOpProblem& problem, const Schedule& schedule,
                                    const std::vector<std::uint32_t>& options);

// The formula alone, whatever memory the stages need.
std::optional<Seconds> time_of(const InterOpProblem& problem, const Schedule& schedule,
                               const std::vector<std::uint32_t>& options);

// Exact; zero-bubble pipelines but for the wait of stages that share gradients: the objective has it, the search for
// the least does not. Pipelines that do not stay below `limit` need not be found.
InterOpSolution solve_gpipe(const InterOpProblem& problem,
                            Seconds limit = Seconds(std::numeric_limits<double>::infinity()));
InterOpSolution solve_zero_bubble(const InterOpProblem& problem, ScheduleKind kind,
                                  Seconds limit = Seconds(std::numeric_limits<double>::infinity()));

struct InterleavedSolution {
  InterOpSolution best;
  std::int64_t chunks = 1;  // per rank, of the best
  // No pipeline takes less, or none that is not below the limit is; equal to the objective where that is proven.
  Seconds lower_bound;
  bool exact = true;  // false: the search stopped at its limit of nodes
};

struct InterleavedOptions {
  Seconds limit{std::numeric_limits<double>::infinity()};
  std::size_t nodes = 1'000'000;  // of the branch and bound, for each submesh and number of chunks
};

// Over all these numbers of chunks per rank, ascending.
InterleavedSolution solve_interleaved(const InterOpProblem& problem, const std::vector<std::int64_t>& chunks,
                                      const InterleavedOptions& options = {});

// The oracle: all partitions. Only for tiny problems.
InterOpSolution solve_by_enumeration(const InterOpProblem& problem, const Schedule& schedule);

}  // namespace meshloom
