// Device placement: which devices the stages of one group of hosts get, once the search has decided their submeshes.
//
// The search lays stages contiguously in stage order and prices every cut by the link that it then crosses. Where cuts
// differ in bytes, or stages send beyond the next one, other assignments let fewer bytes cross hosts:
//
//   four stages of 2 devices on hosts of 4, cuts of 1, 100 and 1 bytes
//     in stage order: {0, 1} {2, 3}, 100 bytes cross;  with the second and third together: {0, 3} {1, 2}, 2 bytes cross
//
// Stages on whole hosts never share one; so the freedom is which stages inside hosts are together. Hosts follow in the
// order of their first stages, so that neighbouring stages are on neighbouring hosts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/materialize.hpp"

namespace meshloom {

// What two stages exchange for each microbatch, both directions together.
struct StageExchange {
  std::size_t one = 0, other = 0;  // stages
  Bytes bytes;
  bool operator==(const StageExchange&) const = default;
};

// Stages that fill all hosts; those inside a host have sizes that divide each other, or the whole host.
struct PlacementProblem {
  std::int64_t devices_per_host = 1;
  std::vector<Submesh> stages;  // in stage order
  std::vector<StageExchange> exchanges;
};

// Of stages that begin at these devices.
Bytes bytes_across_hosts(const PlacementProblem& problem, const std::vector<std::int64_t>& first_devices);

// By stage, its first device. Neither straddles hosts, if the stages can lie in stage order without.
std::vector<std::int64_t> contiguous_placement(const PlacementProblem& problem);

// As few bytes across hosts as possible; contiguous where nothing is better. Exact up to most_stages_placed_exactly
// stages inside hosts, and where the cuts that must cross are those of fewest bytes; else no two of the first
// most_hosts_paired hosts have a better division of their stages.
inline constexpr std::size_t most_stages_placed_exactly = 12, most_hosts_paired = 64;
std::vector<std::int64_t> least_crossing_placement(const PlacementProblem& problem);

// Of a pipeline under 1F1B or GPipe, group by group: the request with other devices when fewer bytes then cross hosts.
std::optional<PipelineRequest> placed_otherwise(const SearchSpace& space, const PipelineRequest& request);

}  // namespace meshloom
