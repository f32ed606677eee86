// Where stages lie on the devices and what sending costs there; private to the inter-operator solvers and the check of
// constraints.
#pragma once

#include <algorithm>

#include "planner/inter_op/problem.hpp"

namespace meshloom {

// A device offset as one within its group; the end of the last group for all devices.
struct GroupOffset {
  std::uint32_t group = 0;
  std::int64_t offset = 0, hosts = 1, devices_per_host = 1;
  std::int64_t devices_left() const { return hosts * devices_per_host - offset; }
};
inline GroupOffset offset_in_group(const InterOpProblem& problem, std::int64_t offset) {
  GroupOffset place{0, offset, problem.hosts, problem.devices_per_host};
  for (const InterOpProblem::FurtherGroup& group : problem.further_groups) {
    if (place.devices_left() > 0) break;
    place = {place.group + 1, -place.devices_left(), group.hosts, group.devices_per_host};
  }
  return place;
}

inline std::int64_t device_count(const InterOpProblem& problem) {
  std::int64_t devices = problem.hosts * problem.devices_per_host;
  for (const auto& group : problem.further_groups) devices += group.hosts * group.devices_per_host;
  return devices;
}

// Whether a stage on `submesh` may begin at device `offset` and ends within its group.
inline bool can_start_at(const InterOpProblem& problem, const Submesh& submesh, std::int64_t offset) {
  const GroupOffset place = offset_in_group(problem, offset);
  if (submesh.group != place.group || submesh.devices() > place.devices_left()) return false;
  switch (problem.placement) {
    case Placement::devices_only:
      return true;
    case Placement::contiguous_on_hosts:
      break;
  }
  std::int64_t in_host = place.offset % place.devices_per_host;
  if (submesh.hosts == 1) return in_host + submesh.devices_per_host <= place.devices_per_host;
  return in_host == 0 && submesh.devices_per_host == place.devices_per_host;
}

// The links are numbered: inside a host and between hosts of the first group; inside a host, between hosts and from the
// group before, of each further one.
inline std::size_t link_count(const InterOpProblem& problem) { return 2 + 3 * problem.further_groups.size(); }

// The link between the devices before and after `offset`.
inline std::size_t link_at(const InterOpProblem& problem, std::int64_t offset) {
  const GroupOffset place = offset_in_group(problem, offset);
  const std::size_t of_group = place.group == 0 ? 0 : 3 * std::size_t{place.group} - 1;
  if (place.group > 0 && place.offset == 0) return of_group + 2;
  return of_group + (place.offset % place.devices_per_host == 0 ? 1 : 0);
}

// What crosses the cut after layer `cut`, over that link.
inline Seconds forward_send(const InterOpProblem& problem, std::uint32_t cut, std::size_t link) {
  if (link < 2) return problem.cuts[cut].forward[link];
  return problem.further_groups[(link - 2) / 3].cuts[cut].forward[(link - 2) % 3];
}
inline Seconds backward_send(const InterOpProblem& problem, std::uint32_t cut, std::size_t link) {
  if (link < 2) return problem.cuts[cut].backward[link];
  return problem.further_groups[(link - 2) / 3].cuts[cut].backward[(link - 2) % 3];
}

// Of one microbatch; what sends take that go on beside computing, and the link with most of them.
struct TimesWithSends {
  Seconds forward, backward;
  Seconds activation_beside{0}, gradient_beside{0}, link_beside{0};
  Seconds sends_beside() const { return activation_beside + gradient_beside; }
  Seconds period() const { return std::max(forward + backward, link_beside); }
};

// What kind of link it is: 0 inside a host, 1 between hosts, 2 between groups.
inline std::size_t link_kind(std::size_t link) { return link < 2 ? link : (link - 2) % 3; }

// The lanes that a stage on the submesh sends over. Over a border both groups' stages send, with the border's NICs.
inline double lanes_of(const InterOpProblem& problem, const Submesh& submesh, std::size_t link) {
  if (link_kind(link) == 0) return static_cast<double>(submesh.devices_per_host);
  const auto* further = submesh.group == 0 ? nullptr : &problem.further_groups[submesh.group - 1];
  const std::int64_t per_unit = further ? further->lanes->hosts_per_unit : problem.lanes->hosts_per_unit;
  std::int64_t nics = further ? further->lanes->nics : problem.lanes->nics;
  if (link_kind(link) == 2) nics = problem.further_groups[(link - 2) / 3].lanes->border_nics;
  const std::int64_t devices = further ? further->devices_per_host : problem.devices_per_host;
  return hosts_to_send_with({submesh.hosts * per_unit, submesh.devices_per_host}, devices, std::min(nics, devices));
}

// What one lane takes `price` for.
inline Seconds over_lanes(const InterOpProblem& problem, const Submesh& submesh, std::size_t link, Seconds price) {
  if (!problem.lanes || !(price > Seconds(0))) return price;
  const Seconds latency =
      link < 2 ? problem.lanes->latency[link] : problem.further_groups[(link - 2) / 3].lanes->latency[link_kind(link)];
  return latency + (price - latency) / lanes_of(problem, submesh, link);
}

// A stage sends activations over the cut at its end and gradients over the cut at its begin.
inline TimesWithSends times_with_sends(const InterOpProblem& problem, const StageOption& option, std::size_t begin_link,
                                       std::size_t end_link) {
  TimesWithSends times{option.forward, option.backward};
  if (problem.cuts.empty()) return times;
  const Submesh& submesh = problem.submeshes[option.submesh];
  Seconds gradient, activation;
  if (option.first > 0)
    gradient = over_lanes(problem, submesh, begin_link, backward_send(problem, option.first - 1, begin_link));
  if (option.last + 1 < problem.layers)
    activation = over_lanes(problem, submesh, end_link, forward_send(problem, option.last, end_link));
  switch (problem.sends) {
    case InterOpProblem::Sends::block:
      times.forward += activation, times.backward += gradient;
      break;
    case InterOpProblem::Sends::go_beside:
      times.activation_beside = activation, times.gradient_beside = gradient;
      // Both ways over links of one class, between hosts or inside them, share them.
      times.link_beside = (link_kind(begin_link) == 0) == (link_kind(end_link) == 0) ? activation + gradient
                                                                                     : std::max(activation, gradient);
  }
  return times;
}

}  // namespace meshloom
