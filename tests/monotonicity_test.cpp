// More of anything never makes the best estimate worse.
#include <catch2/catch.hpp>
#include <random>

#include "planner/search.hpp"
#include "tests/random_chain.hpp"

namespace meshloom {
namespace {

constexpr double rounding = 1e-9;

struct MonotonicityCase {
  PlanningInput input;
  SearchOptions options;
};

MonotonicityCase random_case(std::uint32_t seed) {
  std::mt19937 random(seed);
  MonotonicityCase result;
  result.input = random_input(random, draw(random, 2, 4), draw(random, 0, 1) == 0 ? Tying::some : Tying::none);
  if (draw(random, 0, 1) == 0) result.input.cluster.device.launch = Seconds(1e-8);
  if (seed % 3 == 0) {  // hosts that limit stages, parameters gathered beside computing
    result.input.recipe.launch = Seconds(5e-7);
    result.input.recipe.overlap_parameters = true;
    result.input.recipe.exposed_parameters = 0.2;
  }
  result.options.global_batch = 16;
  if (draw(random, 0, 2) > 0) result.options.microbatch_size = std::int64_t{2} << draw(random, 0, 2);
  result.options.max_mesh_axes = 1;
  result.options.threads = 1;
  result.options.remedies = false;
  // Scarce memory is where more of it should help.
  PlanningInput roomy = result.input;
  const double shares[] = {0.4, 0.6, 0.8, 0.95};
  result.input.cluster.device.memory =
      search_plans(roomy, result.options).front().peak_memory() * shares[draw(random, 0, 3)];
  return result;
}

Plan planned(const MonotonicityCase& each) { return search_plans(each.input, each.options).front(); }

// Returns whether it helped.
bool check_no_worse(const Plan& before, const Plan& after) {
  if (before.status == PlanStatus::infeasible) return after.status != PlanStatus::infeasible;
  REQUIRE(after.status != PlanStatus::infeasible);
  CHECK(after.best_estimate <= before.best_estimate * (1 + rounding));
  CHECK(after.lower_bound <= before.best_estimate * (1 + rounding));
  return after.best_estimate < before.best_estimate * (1 - rounding);
}

}  // namespace

TEST_CASE("more memory, more bandwidth or more submeshes never worsen the best estimate, in 200 random cases",
          "[monotonicity]") {
  int memory = 0, inside = 0, between = 0, submeshes = 0;
  for (std::uint32_t seed = 5000; seed < 5200; ++seed) {
    INFO("seed " << seed);
    const MonotonicityCase first = random_case(seed);
    const Plan before = planned(first);
    MonotonicityCase more = first;
    more.input.cluster.device.memory *= 1.25;
    memory += check_no_worse(before, planned(more));
    more = first;
    more.input.cluster.intra_host.bandwidth *= 1.5;
    inside += check_no_worse(before, planned(more));
    more = first;
    more.input.cluster.nic.bandwidth *= 1.5;
    between += check_no_worse(before, planned(more));
    MonotonicityCase fewer = first;  // the whole cluster, and one device or host each
    const Cluster& cluster = first.input.cluster;
    fewer.options.constraints.submeshes = {{cluster.hosts, cluster.devices_per_host}};
    if (cluster.devices() > 1) fewer.options.constraints.submeshes.push_back({1, 1});
    submeshes += check_no_worse(planned(fewer), before);
  }
  CAPTURE(memory, inside, between, submeshes);
  CHECK(memory >= 40);
  CHECK(inside >= 40);
  CHECK(between >= 20);
  CHECK(submeshes >= 5);
}

}  // namespace meshloom
