#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <random>

#include "planner/inter_op/problem.hpp"
#include "planner/materialize.hpp"
#include "planner/pipeline_search.hpp"
#include "planner/stage_costs.hpp"
#include "planner/state_choices.hpp"
#include "tests/random_chain.hpp"

namespace meshloom {
namespace {

constexpr double rounding = 1e-6;  // costs are cut to whole picoseconds in places; these problems take microseconds

// ---- Brute force with memory: every choice of every node and every state of every parameter, tied where layers share
// an activation; chains share no parameters.

bool dominates(const Cost& a, const Cost& b) {
  return a.forward <= b.forward && a.per_microbatch() <= b.per_microbatch() && a.per_step() <= b.per_step() &&
         a.fixed <= b.fixed && a.activations <= b.activations && a.transient() <= b.transient();
}

class Ways {
 public:
  Ways(const SearchSpace& space, const DeviceMesh& mesh, std::int64_t microbatch_size)
      : space_(space), solver_(space, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), microbatch_size) {
    for (const PlanningLayer& layer : space.layers.layers)
      models_.push_back(
          states_as_choices(build_layer_model(solver_.context(), layer), ParameterStates(space.states)).model);
  }

  // The undominated ways to run the layers.
  std::vector<Cost> run(std::size_t first, std::size_t last) {
    kept_.clear();
    first_ = first, last_ = last;
    for (const Recompute recompute : space_.recomputes) {
      settings_ = {ParameterState::replicated, recompute, {}};
      layer(first, Cost{});
    }
    return kept_;
  }

 private:
  void layer(std::size_t l, const Cost& so_far) {
    if (!(so_far.forward < impossible)) return;
    if (l <= last_) {
      choices_[l].assign(models_[l].nodes.size(), 0);
      return node(l, 0, so_far);
    }
    const Cost all = space_.launches.with_waits(so_far, first_, last_, settings_.recompute);
    if (std::any_of(kept_.begin(), kept_.end(), [&](const Cost& other) { return dominates(other, all); })) return;
    std::erase_if(kept_, [&](const Cost& other) { return dominates(all, other); });
    kept_.push_back(all);
  }

  void node(std::size_t l, std::size_t n, const Cost& so_far) {
    const LayerModel& model = models_[l];
    std::vector<std::uint32_t>& choices = choices_[l];
    if (n == model.nodes.size()) return layer(l + 1, add_layers(so_far, cost_of_choices(model, settings_, choices)));
    const bool crosses = n >= model.interior;
    const TensorId tensor = model.nodes[n].tensor;
    const auto held = held_.find(tensor);
    if (crosses && held != held_.end()) {
      choices[n] = held->second;
      return node(l, n + 1, with_saved(l, n, choices[n], so_far));
    }
    for (std::uint32_t c = 0; c < model.nodes[n].choices.size(); ++c) {
      choices[n] = c;
      if (!crosses) {
        node(l, n + 1, so_far);
        continue;
      }
      held_[tensor] = c;
      node(l, n + 1, with_saved(l, n, c, with_border(l, n, c, so_far)));
      held_.erase(tensor);
    }
  }

  const InterfaceVariable& variable(std::size_t l, std::size_t n) const {
    return space_.layers.layers[l].variables[n - models_[l].interior];
  }

  // An activation that arrives from the stage before, or leaves for the next.
  Cost with_border(std::size_t l, std::size_t n, std::uint32_t choice, Cost cost) const {
    const InterfaceVariable& v = variable(l, n);
    const Layout& layout = models_[l].nodes[n].choices[choice].layout;
    if (v.incoming && v.first_layer < first_)
      cost.forward += arrival_time(solver_.context(), v.tensor, layout);
    else if (v.last_layer > last_)
      cost.backward += departure_time(solver_.context(), v.tensor, layout);
    return cost;
  }

  // An activation counts once, in the first layer that saves it; with recomputation where it comes in. In a chain that
  // is the layer before or behind the cut, so no other layer of the range saves it again.
  Cost with_saved(std::size_t l, std::size_t n, std::uint32_t choice, Cost cost) const {
    const InterfaceVariable& v = variable(l, n);
    if (v.parameter) return add_layers(cost, cost_of_variable(models_[l].nodes[n], choice, settings_));
    const auto saves = [&](const InterfaceVariable& here) {
      return here.saved[static_cast<std::size_t>(settings_.recompute)];
    };
    if (!saves(v)) return cost;
    for (std::size_t before = first_; before < l; ++before)
      for (const InterfaceVariable& other : space_.layers.layers[before].variables)
        if (other.tensor == v.tensor && saves(other)) return cost;
    return add_layers(cost, cost_of_variable(models_[l].nodes[n], choice, settings_));
  }

  const SearchSpace& space_;
  MeshSolver solver_;
  std::vector<LayerModel> models_;
  RangeSettings settings_;
  std::size_t first_ = 0, last_ = 0;
  std::map<std::size_t, std::vector<std::uint32_t>> choices_;  // by layer
  std::map<TensorId, std::uint32_t> held_;
  std::vector<Cost> kept_;
};

// Ways of all ranges on all submeshes.
using AllWays = std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, std::vector<Cost>>;

AllWays all_ways(const SearchSpace& space, std::int64_t microbatch_size) {
  AllWays result;
  for (std::uint32_t m = 0; m < space.meshes.size(); ++m) {
    Ways ways(space, space.meshes[m], microbatch_size);
    for (std::uint32_t first = 0; first < space.layers.layers.size(); ++first)
      for (std::uint32_t last = first; last < space.layers.layers.size(); ++last) {
        const std::vector<Cost> found = ways.run(first, last);
        std::vector<Cost>& into = result[{first, last, space.submesh_of[m]}];
        into.insert(into.end(), found.begin(), found.end());
      }
  }
  return result;
}

// The best pipeline of all ways that fit where they stand.
InterOpSolution optimum(const SearchSpace& space, const AllWays& all, std::int64_t microbatch_size,
                        std::int64_t microbatches) {
  const Cluster& cluster = space.input.cluster;
  InterOpProblem problem;
  problem.layers = static_cast<std::uint32_t>(space.layers.layers.size());
  problem.hosts = cluster.hosts, problem.devices_per_host = cluster.devices_per_host;
  problem.microbatches = microbatches;
  problem.submeshes = space.submeshes;
  problem.lanes = {
      std::min(cluster.nics_per_host, cluster.devices_per_host), 1, {cluster.intra_host.latency, cluster.nic.latency}};
  for (std::size_t cut = 0; cut + 1 < space.layers.layers.size(); ++cut) {
    InterOpProblem::Cut& prices = problem.cuts.emplace_back();
    for (const LinkClass link : {LinkClass::intra_host, LinkClass::inter_host}) {
      const StageBoundary boundary = boundary_after(space, cut, {link, 0, 0}, microbatch_size);
      prices.forward[static_cast<int>(link)] = boundary.formula_forward;
      prices.backward[static_cast<int>(link)] = boundary.formula_backward;
    }
  }
  for (const auto& [place, ways] : all) {
    const auto [first, last, submesh] = place;
    for (const Cost& cost : ways)
      if (const auto following = following_stages(cost, usable_memory(cluster, space.input.recipe),
                                                  ScheduleKind::one_f_one_b, microbatches, problem.layers))
        problem.options.push_back({first, last, submesh, cost.forward, cost.backward, cost.per_step(), *following});
  }
  return solve_inter_op(problem);
}

// Sharding moves tensors with every op, a pipeline only what crosses its cuts.
void make_pipelines_pay(Cluster& cluster) {
  cluster.device.launch = Seconds(1e-8);
  cluster.intra_host = {BytesPerSecond(3e7), 1, Seconds(1e-7)};
  cluster.nic = {BytesPerSecond(1e7), 1, Seconds(2e-7)};
}

struct TightCase {
  PlanningInput input;
  SearchOptions options;
  std::int64_t microbatch_size = 2, microbatches = 8;
};

TightCase tight_case(std::uint32_t seed) {
  std::mt19937 random(seed);
  TightCase result;
  result.input = random_input(random, draw(random, 2, 3));
  make_pipelines_pay(result.input.cluster);
  result.options.schedule = ScheduleKind::one_f_one_b;  // the oracle's
  result.options.global_batch = 16;
  result.options.microbatch_size = result.microbatch_size;
  result.options.max_mesh_axes = 1;
  result.options.threads = 1;
  result.options.remedies = false;
  result.options.thinning = Thinning::always;
  return result;
}

TEST_CASE("a bound that sees memory is never above the optimum of all pipelines that fit", "[stage_bounds]") {
  int feasible = 0, above_memory_free = 0, optimal = 0;
  double largest_gap = 0;
  for (std::uint32_t seed = 900; seed < 990; ++seed) {
    TightCase tight = tight_case(seed);
    const Bytes peak = search_plans(tight.input, tight.options).front().peak_memory();
    const AllWays all = all_ways(search_space(tight.input, tight.options), tight.microbatch_size);
    const Seconds roomy =
        optimum(search_space(tight.input, tight.options), all, tight.microbatch_size, tight.microbatches).objective;
    for (const double share : {0.5, 0.65, 0.8, 0.9, 0.97}) {
      tight.input.cluster.device.memory = share * peak;
      const SearchSpace space = search_space(tight.input, tight.options);
      const InterOpSolution best = optimum(space, all, tight.microbatch_size, tight.microbatches);
      const Plan plan = search_plans(tight.input, tight.options).front();
      INFO("seed " << seed << ", " << share << " of " << peak.value() << " bytes, optimum " << best.objective.value()
                   << " s, without memory " << roomy.value() << " s");
      if (plan.status == PlanStatus::infeasible) continue;
      REQUIRE(best.feasible);
      ++feasible;
      CHECK(plan.lower_bound <= best.objective * (1 + rounding));
      CHECK(plan.best_estimate >= best.objective * (1 - rounding));
      above_memory_free += plan.lower_bound > roomy * (1 + rounding);
      optimal += plan.best_estimate <= best.objective * (1 + rounding);
      largest_gap = std::max(largest_gap, plan.best_estimate / best.objective - 1);
    }
  }
  CAPTURE(feasible, above_memory_free, optimal, largest_gap);
  CHECK(feasible >= 100);
  CHECK(above_memory_free >= 10);
  CHECK(optimal >= feasible * 3 / 4);
}

TEST_CASE("hosts that start kernels and parameters gathered beside computing leave the bound below the optimum",
          "[stage_bounds]") {
  int feasible = 0, waits = 0, met = 0;
  for (std::uint32_t seed = 1400; seed < 1460; ++seed) {
    TightCase tight = tight_case(seed);
    std::mt19937 random(seed);
    Recipe& recipe = tight.input.recipe;
    recipe.launch = Seconds(1e-8 * static_cast<double>(draw(random, 0, 300)));
    recipe.backward_launch = 1.5;
    recipe.overlap_parameters = draw(random, 0, 1) == 1;
    recipe.exposed_parameters = 0.2;
    recipe.parameter_slowdown = 1.5;
    recipe.exposed_activations = 0.6;
    recipe.collective_overhead = Seconds(1e-8);
    const Bytes peak = search_plans(tight.input, tight.options).front().peak_memory();
    const AllWays all = all_ways(search_space(tight.input, tight.options), tight.microbatch_size);
    for (const double share : {0.7, 0.9, 1.1}) {
      tight.input.cluster.device.memory = share * peak;
      const SearchSpace space = search_space(tight.input, tight.options);
      const InterOpSolution best = optimum(space, all, tight.microbatch_size, tight.microbatches);
      const Plan plan = search_plans(tight.input, tight.options).front();
      INFO("seed " << seed << ", " << share << " of the memory, optimum " << best.objective.value() << " s");
      if (plan.status == PlanStatus::infeasible) continue;
      REQUIRE(best.feasible);
      ++feasible;
      CHECK(plan.lower_bound <= best.objective * (1 + rounding));
      CHECK(plan.best_estimate >= best.objective * (1 - rounding));
      waits += plan.stages.front().forward_waits > Seconds(0);
      met += plan.best_estimate <= best.objective * (1 + rounding);
    }
  }
  CAPTURE(feasible, waits, met);
  CHECK(feasible >= 80);
  CHECK(waits >= 60);
  CHECK(met >= feasible / 2);
}

// Four layers of one or two ops of at most four strategies on two to four devices; one state for all parameters or,
// with fewer layers, two to choose from, so that the oracle can enumerate.
TEST_CASE("unthinned, the search finds the optimum of all pipelines that fit; thinned, it is within its gap",
          "[stage_bounds]") {
  int feasible = 0, infeasible = 0, pipelined = 0, bound_by_memory = 0, worse_thinned = 0;
  for (std::uint32_t seed = 1200; seed < 1340; ++seed) {
    TightCase tight = tight_case(seed);
    std::mt19937 random(seed);
    const std::size_t layers = draw(random, 3, 4);
    tight.input = random_input(random, layers);
    make_pipelines_pay(tight.input.cluster);
    const ParameterState state = all_parameter_states[draw(random, 0, 3)];
    tight.input.recipe.parameter_states = {ParameterState::replicated};
    if (layers == 3) tight.input.recipe.parameter_states.push_back(state);
    const Plan roomy = search_plans(tight.input, tight.options).front();
    const AllWays all = all_ways(search_space(tight.input, tight.options), tight.microbatch_size);
    for (const double share : {0.8, 0.9, 1.0}) {
      tight.input.cluster.device.memory = share * roomy.peak_memory();
      const SearchSpace space = search_space(tight.input, tight.options);
      const InterOpSolution best = optimum(space, all, tight.microbatch_size, tight.microbatches);
      tight.options.thinning = Thinning::always;
      const Plan thinned = search_plans(tight.input, tight.options).front();
      tight.options.thinning = Thinning::never;
      const Plan exact = search_plans(tight.input, tight.options).front();
      INFO("seed " << seed << ", " << share << " of the memory, optimum " << best.objective.value() << " s");
      REQUIRE(best.feasible == (exact.status != PlanStatus::infeasible));
      ++(best.feasible ? feasible : infeasible);
      if (!best.feasible) continue;
      CHECK(exact.best_estimate.value() == Approx(best.objective.value()).epsilon(rounding));
      CHECK(exact.status == PlanStatus::optimal);
      CHECK(exact.peak_memory() <= tight.input.cluster.device.memory * (1 + 1e-12));
      if (thinned.status != PlanStatus::infeasible) {
        CHECK(thinned.lower_bound <= best.objective * (1 + rounding));
        CHECK(thinned.best_estimate >= best.objective * (1 - rounding));
      }
      worse_thinned +=
          thinned.status == PlanStatus::infeasible || thinned.best_estimate > best.objective * (1 + rounding);
      pipelined += best.options.size() > 1;
      bound_by_memory += exact.best_estimate > roomy.best_estimate * (1 + rounding);
    }
  }
  CAPTURE(feasible, infeasible, pipelined, bound_by_memory, worse_thinned);
  CHECK(feasible >= 200);
  CHECK(pipelined >= 20);
  CHECK(bound_by_memory >= 15);
}

TEST_CASE("least times hold for every way that fits with so many microbatches in flight", "[stage_bounds]") {
  int compared = 0, met = 0;
  for (std::uint32_t seed = 1100; seed < 1150; ++seed) {
    TightCase tight = tight_case(seed);
    const Plan roomy = search_plans(tight.input, tight.options).front();
    tight.input.cluster.device.memory = 0.8 * roomy.peak_memory();
    const SearchSpace space = search_space(tight.input, tight.options);
    const Bytes usable = usable_memory(space.input.cluster, space.input.recipe);
    const Seconds to_beat = 3 * roomy.best_estimate;
    const StageCosts outline = outline_stages(space, tight.microbatch_size, tight.microbatches, to_beat);
    const StagePricing pricing(space, tight.microbatch_size, tight.microbatches, outline, to_beat);
    for (const auto& [place, ways] : all_ways(space, tight.microbatch_size)) {
      const auto [first, last, submesh] = place;
      const LeastTimes& bound = pricing.bounds().least_times[space.classes.of[first][last - first]][submesh];
      if (!(bound.front() < impossible)) continue;
      for (std::size_t depth = 0; depth < bound.size() && bounded_depths[depth] <= tight.microbatches; ++depth) {
        Seconds least = impossible;
        for (const Cost& cost : ways)
          if (cost.fixed + static_cast<double>(bounded_depths[depth]) * cost.activations <= usable)
            least = std::min(least, cost.per_microbatch());
        INFO("seed " << seed << ", layers " << first << " to " << last << ", submesh " << submesh << ", "
                     << bounded_depths[depth] << " in flight");
        CHECK(bound[depth] <= least * (1 + rounding));
        compared += least < impossible;
        met += least < impossible && bound[depth] >= least * (1 - rounding);
      }
    }
  }
  CHECK(compared >= 60);
  CHECK(met >= compared / 2);
}

// The space with only some of its submeshes; the one of all devices stays.
SearchSpace with_submeshes(const PlanningInput& input, const SearchOptions& options, std::uint32_t kept) {
  SearchSpace space = search_space(input, options);
  std::vector<DeviceMesh> meshes;
  std::vector<std::uint32_t> submesh_of, position(space.submeshes.size());
  std::vector<Submesh> submeshes;
  for (std::uint32_t s = 0; s < space.submeshes.size(); ++s)
    if (s + 1 == space.submeshes.size() || (kept >> s & 1U) != 0) {
      position[s] = static_cast<std::uint32_t>(submeshes.size());
      submeshes.push_back(space.submeshes[s]);
      for (std::size_t m = 0; m < space.meshes.size(); ++m)
        if (space.submesh_of[m] == s) meshes.push_back(space.meshes[m]), submesh_of.push_back(position[s]);
    }
  space.meshes = std::move(meshes), space.submesh_of = std::move(submesh_of), space.submeshes = std::move(submeshes);
  return space;
}

TEST_CASE("a superset of submeshes never worsens the best estimate", "[stage_bounds]") {
  int better = 0, pipelined = 0;
  for (std::uint32_t seed = 1000; seed < 1100; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, draw(random, 2, 4));
    const std::int64_t hosts[] = {2, 3, 4, 6};
    input.cluster.hosts = hosts[random() % 4];
    input.cluster.devices_per_host = static_cast<std::int64_t>(draw(random, 1, 2));
    make_pipelines_pay(input.cluster);
    SearchOptions options;
    options.global_batch = 24;
    options.microbatch_size = random() % 2 == 0 ? 1 : 2;
    options.max_mesh_axes = 1;
    options.threads = 1;
    const auto some = static_cast<std::uint32_t>(random() % 32),
               more = some | static_cast<std::uint32_t>(random() % 32);
    const PipelineSearchResult few = search_pipelines(with_submeshes(input, options, some));
    const PipelineSearchResult many = search_pipelines(with_submeshes(input, options, more));
    INFO("seed " << seed << ", submeshes " << some << " of " << more);
    REQUIRE_FALSE(few.pipelines.empty());
    REQUIRE_FALSE(many.pipelines.empty());
    CHECK(many.pipelines.front().estimate <= few.pipelines.front().estimate * (1 + rounding));
    CHECK(many.lower_bound <= few.pipelines.front().estimate * (1 + rounding));
    better += many.pipelines.front().estimate < few.pipelines.front().estimate * (1 - rounding);
    pipelined += many.pipelines.front().options.size() > 1;
  }
  CHECK(better >= 10);
  CHECK(pipelined >= 10);
}

std::vector<std::int64_t> hosts_of_submeshes(std::int64_t hosts) {
  Cluster cluster;
  cluster.hosts = hosts, cluster.devices_per_host = 8;
  std::vector<std::int64_t> result;
  for (const Submesh& submesh : allowed_submeshes({}, cluster))
    if (submesh.devices_per_host == 8) result.push_back(submesh.hosts);
  return result;
}

TEST_CASE("submeshes are powers of two and divisors of hosts, fewer where there are many divisors", "[stage_bounds]") {
  CHECK(hosts_of_submeshes(1) == std::vector<std::int64_t>{1});
  CHECK(hosts_of_submeshes(8) == std::vector<std::int64_t>{1, 2, 4, 8});
  CHECK(hosts_of_submeshes(5) == std::vector<std::int64_t>{1, 2, 4, 5});
  CHECK(hosts_of_submeshes(12) == std::vector<std::int64_t>{1, 2, 3, 4, 6, 8, 12});
  // 720 = 2^4 · 3^2 · 5 has 30 divisors: 720/16, 720/8, … and powers of two.
  CHECK(hosts_of_submeshes(720) ==
        std::vector<std::int64_t>{1, 2, 4, 8, 16, 32, 45, 64, 90, 128, 180, 256, 360, 512, 720});
  Cluster cluster;
  cluster.devices_per_host = 6;
  CHECK(allowed_submeshes({}, cluster) == std::vector<Submesh>{{1, 1}, {1, 2}, {1, 3}, {1, 6}});
}

}  // namespace
}  // namespace meshloom
