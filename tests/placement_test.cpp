#include "planner/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <random>

#include "graphs/graph_draft.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/reprice.hpp"
#include "planner/search.hpp"
#include "tests/mesh_case.hpp"

namespace meshloom {
namespace {

// Every way to give each stage a slot: devices from a multiple of its size on, within a host; whole hosts for the
// others.
Bytes least_of_all(const PlacementProblem& problem) {
  std::int64_t devices = 0;
  for (const Submesh& stage : problem.stages) devices += stage.devices();
  std::vector<bool> taken(static_cast<std::size_t>(devices), false);
  std::vector<std::int64_t> first_devices(problem.stages.size());
  Bytes least(1e30);
  const std::function<void(std::size_t)> place = [&](std::size_t stage) {
    if (stage == problem.stages.size()) {
      least = std::min(least, bytes_across_hosts(problem, first_devices));
      return;
    }
    const std::int64_t size = problem.stages[stage].devices(), step = std::min(size, problem.devices_per_host);
    for (std::int64_t first = 0; first + size <= devices; first += step) {
      const auto slot = taken.begin() + first;
      if (std::find(slot, slot + size, true) != slot + size) continue;
      std::fill(slot, slot + size, true);
      first_devices[stage] = first;
      place(stage + 1);
      std::fill(slot, slot + size, false);
    }
  };
  place(0);
  return least;
}

// No two stages share a device and none straddles hosts.
bool is_placement(const PlacementProblem& problem, const std::vector<std::int64_t>& first_devices) {
  std::vector<std::int64_t> devices;
  for (std::size_t s = 0; s < first_devices.size(); ++s) {
    const std::int64_t size = problem.stages[s].devices(), in_host = first_devices[s] % problem.devices_per_host;
    if (size < problem.devices_per_host ? in_host % size != 0 : in_host != 0) return false;
    for (std::int64_t d = 0; d < size; ++d) devices.push_back(first_devices[s] + d);
  }
  std::sort(devices.begin(), devices.end());
  for (std::size_t d = 0; d < devices.size(); ++d)
    if (devices[d] != static_cast<std::int64_t>(d)) return false;
  return true;
}

// Stages on two to three hosts of four devices that can lie in stage order; at most seven.
PlacementProblem random_problem(std::mt19937& random) {
  const auto draw = [&](std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most - least + 1));
  };
  PlacementProblem problem{4, {}, {}};
  do {
    problem.stages.clear();
    for (std::int64_t offset = 0, all = 4 * draw(2, 3); offset < all;) {
      const std::int64_t size = std::int64_t{1} << draw(0, 2);
      if (offset % size != 0) continue;
      problem.stages.push_back({1, size});
      offset += size;
    }
  } while (problem.stages.size() > 7);
  for (std::size_t s = 0; s + 1 < problem.stages.size(); ++s)
    problem.exchanges.push_back({s, s + 1, Bytes(static_cast<double>(draw(1, 100)))});
  for (std::int64_t skips = draw(0, 2); skips > 0 && problem.stages.size() > 2; --skips) {
    const auto from = static_cast<std::size_t>(draw(0, std::ssize(problem.stages) - 3));
    problem.exchanges.push_back({from, from + 2, Bytes(static_cast<double>(draw(1, 100)))});
  }
  return problem;
}

TEST_CASE("no assignment of stages to slots lets fewer bytes cross hosts, in 200 random cases", "[placement]") {
  std::mt19937 random(3);
  int better_than_in_order = 0, in_order = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const PlacementProblem problem = random_problem(random);
    const std::vector<std::int64_t> placed = least_crossing_placement(problem);
    INFO("trial " << trial);
    REQUIRE(is_placement(problem, placed));
    const Bytes least = least_of_all(problem), contiguous = bytes_across_hosts(problem, contiguous_placement(problem));
    CHECK(bytes_across_hosts(problem, placed) == least);
    better_than_in_order += least < contiguous;
    in_order += placed == contiguous_placement(problem);
  }
  CHECK(better_than_in_order > 15);
  CHECK(in_order > 20);
}

TEST_CASE("stages in a row that send as much to each neighbour lie best in their order", "[placement]") {
  std::mt19937 random(4);
  for (int trial = 0; trial < 100; ++trial) {
    PlacementProblem problem = random_problem(random);
    problem.exchanges.clear();
    for (std::size_t s = 0; s + 1 < problem.stages.size(); ++s) problem.exchanges.push_back({s, s + 1, Bytes(7)});
    CHECK(least_crossing_placement(problem) == contiguous_placement(problem));
    CHECK(bytes_across_hosts(problem, contiguous_placement(problem)) == least_of_all(problem));
  }
}

TEST_CASE("the stages of the largest cut share a host, and hosts follow in the order of their first stages",
          "[placement]") {
  const PlacementProblem problem{
      4, {{1, 2}, {1, 2}, {1, 2}, {1, 2}}, {{0, 1, Bytes(1)}, {1, 2, Bytes(100)}, {2, 3, Bytes(1)}}};
  CHECK(bytes_across_hosts(problem, contiguous_placement(problem)) == Bytes(100));
  // Stages 0 and 3 on the first host, 1 and 2 on the second.
  CHECK(least_crossing_placement(problem) == std::vector<std::int64_t>{0, 4, 6, 2});
  CHECK(bytes_across_hosts(problem, {0, 4, 6, 2}) == Bytes(2));
}

TEST_CASE("more stages than can be placed exactly are improved host by host", "[placement]") {
  // 16 stages of one device on hosts of four; every fourth cut, where hosts end, is the largest.
  PlacementProblem problem{4, std::vector<Submesh>(16, {1, 1}), {}};
  for (std::size_t s = 0; s + 1 < 16; ++s) problem.exchanges.push_back({s, s + 1, Bytes(s % 4 == 3 ? 100 : 1)});
  CHECK(bytes_across_hosts(problem, contiguous_placement(problem)) == Bytes(300));
  const std::vector<std::int64_t> placed = least_crossing_placement(problem);
  CHECK(is_placement(problem, placed));
  CHECK(bytes_across_hosts(problem, placed) <= Bytes(6));
}

// Four equal products with one stage each; the activation between the second and the third is wide.
TEST_CASE("a plan's stages are placed where the wide activation stays inside a host", "[placement]") {
  GraphDraft draft{"hourglass", "hourglass", "b", {}, DType::bf16, 0, {}, {}};
  const std::vector<std::string> widths{"64", "16", "1024", "16", "64"};
  draft.tensors.push_back({"x", {"b", widths[0]}, DType::bf16});
  for (std::size_t l = 0; l < 4; ++l) {
    const std::string tag = fmt::format("l{}", l), input = l == 0 ? "x" : fmt::format("l{}.y", l - 1);
    draft.tensors.push_back({tag + ".w", {widths[l], widths[l + 1]}, DType::bf16, TensorRole::parameter});
    draft.ops.push_back({tag + ".y", OpKind::einsum, tag, {input, tag + ".w"}, {tag + ".y"}, "b i, i j -> b j"});
  }
  PlanningInput input;
  input.graph = check_graph(draft);
  input.cluster = toy_cluster({.devices = 2, .flops_per_s = 1e6, .memory_bytes_per_s = 1e30, .link_bytes_per_s = 1e9});
  input.cluster.hosts = 2;
  input.cluster.nic.bandwidth = BytesPerSecond(1e4);
  input.recipe = find_recipe("neutral");
  SearchOptions options;
  options.global_batch = 32, options.microbatch_size = 1, options.threads = 1;
  options.recompute = Recompute::none;
  options.constraints.stages = 4;
  const Plan plan = search_plans(input, options).front();
  REQUIRE(plan.stages.size() == 4);
  CHECK(plan.stages[1].devices.front() / 2 == plan.stages[2].devices.front() / 2);
  CHECK(plan.stages[0].devices.front() / 2 == plan.stages[3].devices.front() / 2);
  CHECK(plan.stages[0].boundary.link == LinkClass::inter_host);
  CHECK(plan.stages[1].boundary.link == LinkClass::intra_host);
  CHECK(reprice(plan, input.graph, input.cluster).empty());
  CHECK(plan.lower_bound <= plan.best_estimate);
}

}  // namespace
}  // namespace meshloom
