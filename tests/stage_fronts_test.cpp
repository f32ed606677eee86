#include "planner/stage_fronts.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "planner/materialize.hpp"
#include "tests/random_chain.hpp"

namespace meshloom {
namespace {

constexpr std::int64_t batch = 4;

SearchOptions small_options() {
  SearchOptions options;
  options.global_batch = 16;
  options.max_mesh_axes = 2;
  return options;
}

std::vector<RangeFront> fronts_of(const SearchSpace& space, MeshSolver& solver, Recompute recompute) {
  std::size_t work = 400'000'000;
  const auto fronts = range_fronts(space, solver, recompute, work);
  REQUIRE(fronts.has_value());
  return *fronts;
}

// Calls visit(space, mesh, solver, recompute, fronts) for the meshes of random small problems.
template <typename Visit>
void for_each_random_mesh(std::uint32_t first_seed, std::uint32_t seeds, const Visit& visit) {
  for (std::uint32_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, draw(random, 1, 3), draw(random, 0, 1) == 0 ? Tying::some : Tying::none);
    const SearchOptions options = small_options();
    const SearchSpace space = search_space(input, options);
    const DeviceMesh& mesh = space.meshes[draw(random, 0, space.meshes.size() - 1)];
    const Recompute recompute = space.recomputes[draw(random, 0, space.recomputes.size() - 1)];
    MeshSolver solver(space, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), batch);
    INFO("seed " << seed);
    visit(space, mesh, solver, recompute, fronts_of(space, solver, recompute), random);
  }
}

}  // namespace

// The range solver is exact for one weighing of times and memory; the least weighted point of a front that lacks
// nothing is its answer.
TEST_CASE("at any weights the best point of a front is the range solver's answer", "[stage_fronts]") {
  int several = 0;
  for_each_random_mesh(
      0, 100,
      [&](const SearchSpace& space, const DeviceMesh&, MeshSolver& solver, Recompute recompute,
          const std::vector<RangeFront>& fronts, std::mt19937& random) {
        for (int trial = 0; trial < 10; ++trial) {
          std::uniform_real_distribution<double> weight(0, 1), price(0, 1e-5);
          const RangeSettings settings{
              ParameterStates(space.states), recompute, {weight(random), weight(random), price(random), price(random)}};
          const std::vector<Cost> solved = solver.ranges().solve(settings);
          for (std::size_t c = 1; c < fronts.size(); ++c) {
            double least = impossible.value();
            for (const FrontPoint& point : fronts[c]) least = std::min(least, weighted(point.cost, settings.weights));
            REQUIRE((least < impossible.value()) == (solved[c].forward < impossible));
            if (least < impossible.value())
              CHECK(least == Approx(weighted(solved[c], settings.weights)).epsilon(1e-6).margin(1e-11));
            several += fronts[c].size() > 1;
          }
        }
      });
  CHECK(several > 500);
}

TEST_CASE("no point of a front is as good as another in everything", "[stage_fronts]") {
  for_each_random_mesh(100, 50,
                       [&](const SearchSpace&, const DeviceMesh&, MeshSolver&, Recompute,
                           const std::vector<RangeFront>& fronts, std::mt19937&) {
                         for (const RangeFront& front : fronts)
                           for (const FrontPoint& a : front)
                             for (const FrontPoint& b : front) CHECK((&a == &b || !dominates(a.cost, b.cost)));
                       });
}

TEST_CASE("a stage written from a point of a front takes its times and memory", "[stage_fronts]") {
  int mixed = 0;
  for_each_random_mesh(
      200, 100,
      [&](const SearchSpace& space, const DeviceMesh& mesh, MeshSolver& solver, Recompute recompute,
          const std::vector<RangeFront>& fronts, std::mt19937& random) {
        const std::size_t c = space.classes.of[0].back();
        if (fronts[c].empty()) return;
        const FrontPoint& point = fronts[c][draw(random, 0, fronts[c].size() - 1)];
        const StageRequest request{0,
                                   space.layers.layers.size() - 1,
                                   mesh,
                                   std::vector<AxisRole>(mesh.dimensions(), AxisRole::free),
                                   {ParameterStates(space.states), recompute, {}},
                                   0,
                                   point.choices};
        const Stage stage = materialize_stage(space, request, solver);
        CHECK(stage.forward.value() == Approx(point.cost.forward.value()));
        CHECK(stage.backward.value() == Approx(point.cost.backward.value()));
        CHECK((stage.synchronization + stage.update).value() == Approx(point.cost.per_step().value()));
        CHECK((stage.memory.parameters + stage.memory.gradients + stage.memory.optimizer).value() ==
              Approx(point.cost.fixed.value()));
        CHECK(stage.memory.activations_per_microbatch.value() == Approx(point.cost.activations.value()));
        CHECK(stage.memory.transient.value() == Approx(point.cost.transient().value()));
        mixed += !stage.parameter_state.has_value();
      });
  CHECK(mixed >= 3);
}

TEST_CASE("fronts give up when the work is more than allowed", "[stage_fronts]") {
  std::mt19937 random(7);
  const PlanningInput input = random_input(random, 3);
  const SearchOptions options = small_options();
  const SearchSpace space = search_space(input, options);
  const DeviceMesh& mesh = space.meshes.back();
  MeshSolver solver(space, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), batch);
  std::size_t work = 10;
  CHECK_FALSE(range_fronts(space, solver, Recompute::none, work).has_value());
}

}  // namespace meshloom
