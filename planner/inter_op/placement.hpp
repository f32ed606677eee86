// Where stages lie on the devices and what sending costs there; private to the inter-operator solvers and the check of
// constraints.
#pragma once

#include "planner/inter_op/problem.hpp"

namespace meshloom {

inline std::int64_t device_count(const InterOpProblem& problem) { return problem.hosts * problem.devices_per_host; }

// Whether a stage on `submesh` may begin at device `offset` and ends within the cluster.
inline bool can_start_at(const InterOpProblem& problem, const Submesh& submesh, std::int64_t offset) {
  if (submesh.devices() > device_count(problem) - offset) return false;
  switch (problem.placement) {
    case Placement::devices_only:
      return true;
    case Placement::contiguous_on_hosts:
      break;
  }
  std::int64_t in_host = offset % problem.devices_per_host;
  if (submesh.hosts == 1) return in_host + submesh.devices_per_host <= problem.devices_per_host;
  return in_host == 0 && submesh.devices_per_host == problem.devices_per_host;
}

// Position in Cut's arrays: the link between the devices before and after `offset`.
inline std::size_t link_at(const InterOpProblem& problem, std::int64_t offset) {
  return offset % problem.devices_per_host == 0 ? 1 : 0;
}

struct TimesWithSends {
  Seconds forward, backward;  // of one microbatch
};

// The lanes that a stage on the submesh sends over.
inline double lanes_of(const InterOpProblem& problem, const Submesh& submesh, std::size_t link) {
  if (link == 0) return static_cast<double>(submesh.devices_per_host);
  const Submesh stage{submesh.hosts * problem.lanes->hosts_per_unit, submesh.devices_per_host};
  return hosts_to_send_with(stage, problem.devices_per_host, problem.lanes->nics);
}

// What one lane takes `price` for.
inline Seconds over_lanes(const InterOpProblem& problem, const Submesh& submesh, std::size_t link, Seconds price) {
  if (!problem.lanes || !(price > Seconds(0))) return price;
  const Seconds latency = problem.lanes->latency[link];
  return latency + (price - latency) / lanes_of(problem, submesh, link);
}

// A stage sends activations over the cut at its end and gradients over the cut at its begin.
inline TimesWithSends times_with_sends(const InterOpProblem& problem, const StageOption& option, std::size_t begin_link,
                                       std::size_t end_link) {
  TimesWithSends times{option.forward, option.backward};
  if (problem.cuts.empty()) return times;
  const Submesh& submesh = problem.submeshes[option.submesh];
  if (option.first > 0)
    times.backward += over_lanes(problem, submesh, begin_link, problem.cuts[option.first - 1].backward[begin_link]);
  if (option.last + 1 < problem.layers)
    times.forward += over_lanes(problem, submesh, end_link, problem.cuts[option.last].forward[end_link]);
  return times;
}

}  // namespace meshloom
