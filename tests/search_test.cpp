#include "planner/search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <random>

#include "graphs/graph_draft.hpp"
#include "planner/materialize.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/shared_parameters.hpp"
#include "planner/stage_costs.hpp"
#include "planner/state_choices.hpp"
#include "tests/random_chain.hpp"

namespace meshloom {
namespace {

SearchOptions options_for(std::int64_t global_batch, std::int64_t microbatch_size) {
  SearchOptions options;
  options.global_batch = global_batch;
  options.microbatch_size = microbatch_size;
  options.max_mesh_axes = 1;
  options.threads = 1;
  options.schedule = ScheduleKind::one_f_one_b;
  return options;
}

// ---- Brute force: every choice of every node of every layer and every state of every parameter, tied where layers
// share a tensor.

struct Point {
  Seconds forward, time, per_step;
};

bool dominates(const Point& a, const Point& b) {
  return a.forward <= b.forward && a.time <= b.time && a.per_step <= b.per_step;
}

void keep(std::vector<Point>& points, const Point& point) {
  if (std::any_of(points.begin(), points.end(), [&](const Point& other) { return dominates(other, point); })) return;
  std::erase_if(points, [&](const Point& other) { return dominates(point, other); });
  points.push_back(point);
}

class RangeEnumeration {
 public:
  RangeEnumeration(const SearchSpace& space, const DeviceMesh& mesh, std::int64_t microbatch_size)
      : space_(space), solver_(space, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), microbatch_size) {
    for (const PlanningLayer& layer : space.layers.layers)
      models_.push_back(
          states_as_choices(build_layer_model(solver_.context(), layer), ParameterStates(space.states)).model);
    for (const Recompute recompute : space.recomputes)
      for (const LayerModel& model : models_)
        priced_[recompute].emplace_back(model, RangeSettings{ParameterState::replicated, recompute, {}});
  }

  void run(std::size_t first, std::size_t last, std::vector<Point>& into) {
    for (const Recompute recompute : space_.recomputes) {
      shared_.clear();
      first_ = first;
      shared_gradients_outside_ = shares_parameters_outside(space_.layers, first, last);
      layer(first, last, {ParameterState::replicated, recompute, {}}, Point{}, into);
    }
  }

 private:
  void layer(std::size_t l, std::size_t last, const RangeSettings& settings, const Point& so_far,
             std::vector<Point>& into) {
    if (!(so_far.forward < impossible)) return;
    if (l > last) return keep(into, so_far);
    std::vector<std::uint32_t> choices(models_[l].nodes.size());
    node(0, choices, l, last, settings, so_far, into);
  }

  void node(std::size_t n, std::vector<std::uint32_t>& choices, std::size_t l, std::size_t last,
            const RangeSettings& settings, const Point& so_far, std::vector<Point>& into) {
    const LayerModel& model = models_[l];
    if (n == model.nodes.size()) {
      const Cost cost = priced_.at(settings.recompute)[l].cost_of_choices(choices);
      if (!(cost.forward < impossible)) return;
      return layer(
          l + 1, last, settings,
          {so_far.forward + cost.forward, so_far.time + cost.per_microbatch(), so_far.per_step + cost.per_step()},
          into);
    }
    const bool shared = n >= model.interior;
    if (const auto found = shared_.find(model.nodes[n].tensor); shared && found != shared_.end()) {
      choices[n] = found->second;
      return node(n + 1, choices, l, last, settings, so_far, into);
    }
    for (std::uint32_t c = 0; c < model.nodes[n].choices.size(); ++c) {
      choices[n] = c;
      Point with_own = so_far;
      if (shared) {
        shared_[model.nodes[n].tensor] = c;
        if (model.nodes[n].kind == ModelNode::Kind::parameter)
          add_parameter(cost_of_variable(model.nodes[n], c, settings), with_own);
        else
          add_border(space_.layers.layers[l].variables[n - model.interior], model.nodes[n].choices[c].layout, last,
                     with_own);
      }
      node(n + 1, choices, l, last, settings, with_own, into);
      if (shared) shared_.erase(model.nodes[n].tensor);
    }
  }

  // An activation that arrives from the stage before, or leaves for the next.
  void add_border(const InterfaceVariable& variable, const Layout& layout, std::size_t last, Point& point) const {
    Seconds forward, backward;
    if (variable.incoming && variable.first_layer < first_)
      forward = arrival_time(solver_.context(), variable.tensor, layout);
    else if (variable.last_layer > last)
      backward = departure_time(solver_.context(), variable.tensor, layout);
    point.forward += forward;
    point.time += forward + backward;
  }

  // Once per stage; gradients are reduced with the other stages that use it.
  void add_parameter(const Cost& cost, Point& point) const {
    point.forward += cost.forward;
    point.time += cost.per_microbatch();
    point.per_step += cost.per_step();
    if (shared_gradients_outside_)
      point.per_step +=
          shared_gradient_time(space_.input.cluster, cost.shared_gradients, solver_.context().strategies.mesh.submesh);
  }

  const SearchSpace& space_;
  MeshSolver solver_;
  std::size_t first_ = 0;
  bool shared_gradients_outside_ = false;
  std::vector<LayerModel> models_;
  std::map<Recompute, std::vector<PricedLayer>> priced_;  // by layer
  std::map<TensorId, std::uint32_t> shared_;
};

// All undominated ways to run each range of layers on each submesh.
class Enumeration {
 public:
  Enumeration(const SearchSpace& space, std::int64_t microbatch_size)
      : space_(space), microbatch_size_(microbatch_size) {
    for (std::uint32_t m = 0; m < space.meshes.size(); ++m) {
      RangeEnumeration ranges(space, space.meshes[m], microbatch_size);
      for (std::size_t first = 0; first < layers(); ++first)
        for (std::size_t last = first; last < layers(); ++last)
          ranges.run(first, last, points_[{first, last, space.submesh_of[m]}]);
    }
  }

  // The least value of the formula, over pipelines of at most that many stages.
  Seconds least(std::int64_t microbatches, std::size_t most_stages) {
    best_ = impossible;
    microbatches_ = microbatches;
    most_stages_ = most_stages;
    std::vector<StageTimes> stages;
    extend(0, 0, {}, stages);
    return best_;
  }

 private:
  std::size_t layers() const { return space_.layers.layers.size(); }

  bool fits(const Submesh& submesh, std::int64_t offset) const {
    const Cluster& cluster = space_.input.cluster;
    if (offset + submesh.devices() > cluster.devices()) return false;
    if (submesh.hosts > 1) return offset % cluster.devices_per_host == 0;
    return offset / cluster.devices_per_host == (offset + submesh.devices() - 1) / cluster.devices_per_host;
  }

  // What crosses the border before the stage.
  struct Crossing {
    Bytes bytes;
    LinkClass link = LinkClass::intra_host;
  };

  // Each stage sends over its own lanes, activations to the next and gradients to the one before.
  Seconds send(const Crossing& crossing, const Submesh& sender) const {
    if (!(crossing.bytes > Bytes(0))) return Seconds(0);
    const Cluster& cluster = space_.input.cluster;
    return send_time(cluster, crossing.bytes, crossing.link, send_lanes(cluster, sender, crossing.link));
  }

  void extend(std::size_t first, std::int64_t offset, const Crossing& before, std::vector<StageTimes>& stages) {
    const Cluster& cluster = space_.input.cluster;
    if (first == layers()) {
      if (offset == cluster.devices())
        best_ = std::min(best_, schedule_formula(ScheduleKind::one_f_one_b, stages, microbatches_));
      return;
    }
    if (stages.size() == most_stages_) return;
    for (std::uint32_t s = 0; s < space_.submeshes.size(); ++s) {
      if (!fits(space_.submeshes[s], offset)) continue;
      const std::int64_t end = offset + space_.submeshes[s].devices();
      for (std::size_t last = first; last < layers(); ++last) {
        Crossing after;
        if (last + 1 < layers()) {
          // Chains: all that crosses a cut needs a gradient once a parameter is behind it.
          for (const TensorId t : space_.layers.cuts[last])
            after.bytes += Bytes(4 * elements(space_.input.graph.tensor(t), microbatch_size_));
          after.link = end % cluster.devices_per_host == 0 ? LinkClass::inter_host : LinkClass::intra_host;
        }
        const Seconds there = send(after, space_.submeshes[s]), back = send(before, space_.submeshes[s]);
        for (const Point& point : points_[{first, last, s}]) {
          stages.push_back({point.forward + there, point.time - point.forward + back, point.per_step});
          extend(last + 1, end, after, stages);
          stages.pop_back();
        }
      }
    }
  }

  const SearchSpace& space_;
  std::int64_t microbatch_size_, microbatches_ = 1;
  std::size_t most_stages_ = 1;
  std::map<std::tuple<std::size_t, std::size_t, std::uint32_t>, std::vector<Point>> points_;
  Seconds best_;
};

// Costs are cut to whole picoseconds per node, edge and step; these problems take microseconds to milliseconds.
constexpr double rounding = 1e-6;

TEST_CASE("on one stage the search finds the optimum of all shardings, states and recomputations", "[search]") {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, 1);  // one layer is one stage
    SearchOptions options = options_for(16, 4);
    options.max_mesh_axes = 2;
    const Plan plan = search_plans(input, options).front();
    const SearchSpace space = search_space(input, options);
    const Seconds least = Enumeration(space, 4).least(4, 1);
    INFO("seed " << seed);
    CHECK(plan.best_estimate.value() == Approx(least.value()).epsilon(rounding));
    CHECK(plan.lower_bound <= least * (1 + rounding));
    CHECK(plan.status == PlanStatus::optimal);
  }
}

TEST_CASE("with cores of attention the search finds the optimum of all pipelines and recomputations", "[search]") {
  for (std::uint32_t seed = 0; seed < 6; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_attention(random, seed == 1 ? 2 : 1);  // the oracle takes its time
    for (const std::optional<Recompute> recompute : {std::optional<Recompute>{}, std::optional(Recompute::selective)}) {
      SearchOptions options = options_for(16, 4);
      options.recompute = recompute;
      const Plan plan = search_plans(input, options).front();
      const SearchSpace space = search_space(input, options);
      CHECK(space.recomputes.size() == (recompute ? 1U : 3U));
      const Seconds least = Enumeration(space, 4).least(4, 2);
      INFO("seed " << seed << ", " << plan.stages.size() << " stages");
      CHECK(plan.best_estimate.value() == Approx(least.value()).epsilon(rounding));
      CHECK(plan.lower_bound <= least * (1 + rounding));
    }
  }
}

// One state of all parameters never beats a state for each, however little memory there is.
TEST_CASE("states chosen for each parameter are never worse than the best single state", "[search]") {
  int tight = 0;
  for (std::uint32_t seed = 700; seed < 740; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, draw(random, 1, 4), Tying::some);
    input.cluster.device.launch = Seconds(1e-7);
    SearchOptions options = options_for(16, draw(random, 0, 1) == 0 ? 4 : 16);
    options.remedies = false;
    options.candidates = 1;
    const Bytes peak = search_plans(input, options).front().peak_memory();
    for (const double share : {0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 2.0}) {
      input.cluster.device.memory = share * peak;
      const Plan plan = search_plans(input, options).front();
      std::optional<Seconds> single;
      for (const ParameterState state : input.recipe.parameter_states) {
        SearchOptions fixed = options;
        fixed.parameter_state = state;
        const Plan with_one = search_plans(input, fixed).front();
        if (with_one.status == PlanStatus::infeasible) continue;
        if (!single || with_one.best_estimate < *single) single = with_one.best_estimate;
      }
      INFO("seed " << seed << ", " << share << " of " << peak.value() << " bytes");
      if (single) CHECK(plan.status != PlanStatus::infeasible);
      if (plan.status == PlanStatus::infeasible) continue;
      CHECK(plan.peak_memory() <= input.cluster.device.memory);
      if (single) CHECK(plan.best_estimate <= *single * (1 + rounding));
      tight += share < 1;
    }
  }
  CHECK(tight >= 50);
}

TEST_CASE("without work once per step the search finds the optimum of all pipelines", "[search]") {
  int pipelined = 0;
  for (std::uint32_t seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, draw(random, 2, 3));
    input.recipe.optimizer_traffic = 0;
    input.recipe.parameter_states = {ParameterState::zero3};  // gathers and scatters with each microbatch
    const SearchOptions options = options_for(16, 4);
    const Plan plan = search_plans(input, options).front();
    const SearchSpace space = search_space(input, options);
    const Seconds least = Enumeration(space, 4).least(4, 4);
    INFO("seed " << seed << ", " << plan.stages.size() << " stages");
    CHECK(plan.best_estimate.value() == Approx(least.value()).epsilon(rounding));
    CHECK(plan.lower_bound <= least * (1 + rounding));
    pipelined += plan.stages.size() > 1;
  }
  CHECK(pipelined >= 5);
}

// In general a range keeps for each mesh and recomputation only the shardings of least B·t + p and of least t
// (t a microbatch's time, p the work once per step), while the formula weighs them otherwise in stages that are not the
// slowest. So: bound ≤ optimum ≤ estimate, and no single stage is better than the estimate.
TEST_CASE("the bound is never above, the estimate never below the optimum of all pipelines", "[search]") {
  double largest_gap = 0;
  int optimal = 0, pipelined = 0;
  std::vector<std::uint32_t> seeds{2542, 2862, 4778};  // known to have a gap
  for (std::uint32_t seed = 100; seed < 200; ++seed) seeds.push_back(seed);
  for (const std::uint32_t seed : seeds) {
    std::mt19937 random(seed);
    const PlanningInput input =
        random_input(random, draw(random, 2, 3), draw(random, 0, 1) == 0 ? Tying::some : Tying::none);
    const std::int64_t microbatch_size = draw(random, 0, 1) == 0 ? 4 : 2;
    const SearchOptions options = options_for(16, microbatch_size);
    const Plan plan = search_plans(input, options).front();
    const SearchSpace space = search_space(input, options);
    Enumeration enumeration(space, microbatch_size);
    const Seconds least = enumeration.least(16 / microbatch_size, 4);
    INFO("seed " << seed << ", " << plan.stages.size() << " stages, optimum " << least.value() << " s");
    CHECK(plan.lower_bound <= least * (1 + rounding));
    CHECK(plan.best_estimate >= least * (1 - rounding));
    CHECK(plan.best_estimate <= enumeration.least(16 / microbatch_size, 1) * (1 + rounding));
    largest_gap = std::max(largest_gap, plan.best_estimate / least - 1);
    optimal += plan.best_estimate <= least * (1 + rounding);
    pipelined += plan.stages.size() > 1;
  }
  CHECK(largest_gap <= 0.03);  // of the first 5000 seeds 4963 have none, the largest is 0.012
  CHECK(optimal >= 100);
  CHECK(pipelined >= 20);
}

TEST_CASE("plans are the same bytes with one thread and with two", "[search]") {
  for (std::uint32_t seed = 200; seed < 210; ++seed) {
    std::mt19937 random(seed);
    const PlanningInput input = random_input(random, 3);
    SearchOptions options = options_for(16, 4);
    options.max_mesh_axes = 2;
    const std::vector<Plan> one = search_plans(input, options);
    options.threads = 2;
    const std::vector<Plan> two = search_plans(input, options);
    REQUIRE(one.size() == two.size());
    for (std::size_t p = 0; p < one.size(); ++p) CHECK(write_plan(one[p]) == write_plan(two[p]));
  }
}

// The device memory at which the fastest plan of a roomy cluster just fits.
Bytes peak_of_fastest(PlanningInput input, const SearchOptions& options) {
  input.cluster.device.memory = Bytes(1e12);
  return search_plans(input, options).front().peak_memory();
}

TEST_CASE("more memory never worsens the best estimate", "[search]") {
  int tighter = 0;
  for (std::uint32_t seed = 300; seed < 330; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, draw(random, 2, 4));
    const SearchOptions options = options_for(16, 4);
    const Bytes enough = peak_of_fastest(input, options);
    std::optional<Seconds> before;
    for (const double share : {0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01, 2.0}) {
      input.cluster.device.memory = share * enough;
      SearchOptions quiet = options;
      quiet.remedies = false;
      const Plan plan = search_plans(input, quiet).front();
      INFO("seed " << seed << ", " << share << " of " << enough.value() << " bytes");
      if (before) CHECK(plan.status != PlanStatus::infeasible);
      if (plan.status == PlanStatus::infeasible) continue;
      CHECK(plan.peak_memory() <= input.cluster.device.memory);
      CHECK(plan.lower_bound <= plan.best_estimate);
      if (before) {
        CHECK(plan.best_estimate <= *before * (1 + rounding));
        tighter += plan.best_estimate < *before;
      }
      before = plan.best_estimate;
    }
  }
  CHECK(tighter > 10);
}

TEST_CASE("more bandwidth never worsens the best estimate", "[search]") {
  for (std::uint32_t seed = 400; seed < 430; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, draw(random, 2, 4));
    const SearchOptions options = options_for(16, 4);
    const Seconds before = search_plans(input, options).front().best_estimate;
    INFO("seed " << seed);
    PlanningInput faster = input;
    faster.cluster.intra_host.bandwidth *= 2;
    CHECK(search_plans(faster, options).front().best_estimate <= before * (1 + rounding));
    faster = input;
    faster.cluster.nic.bandwidth *= 2;
    CHECK(search_plans(faster, options).front().best_estimate <= before * (1 + rounding));
  }
}

// "--recompute full" and the like, as infeasible plans suggest them.
void apply(const std::string& words, PlanningInput& input, SearchOptions& options) {
  const std::size_t space = words.find(' ');
  const std::string option = words.substr(0, space), value = words.substr(space + 1);
  if (option == "--hosts")
    input.cluster.hosts = std::stoll(value);
  else if (option == "--recompute")
    options.recompute = recompute_named(value).value();
  else if (option == "--parameter-state")
    options.parameter_state = parameter_state_named(value).value();
  else if (option == "--microbatch-size")
    options.microbatch_size = std::stoll(value);
  else if (option == "--device-memory")
    input.cluster.device.memory = Bytes(std::stod(value.substr(1)) * 1024 * 1024 * 1024);  // "96 GiB" in quotes
  else
    FAIL("unknown remedy " << words);
}

TEST_CASE("when nothing fits the answer names layers and bytes, and its remedies work", "[search]") {
  std::map<std::string, int> remedies;
  int enough = 0, tried = 0;
  for (std::uint32_t seed = 500; seed < 530; ++seed) {
    std::mt19937 random(seed);
    PlanningInput input = random_input(random, draw(random, 2, 4));
    const std::int64_t batch = seed % 2 == 0 ? 16 : 256;  // parameters weigh more, or activations
    SearchOptions options = options_for(batch, batch);
    options.recompute = Recompute::none;
    options.parameter_state = ParameterState::replicated;
    const Bytes peak = peak_of_fastest(input, options);
    for (const double share : {0.6, 0.3}) {
      input.cluster.device.memory = share * peak;
      const Plan plan = search_plans(input, options).front();
      if (plan.status != PlanStatus::infeasible) continue;
      INFO("seed " << seed << ", " << share << " of " << peak.value() << " bytes");
      CHECK(plan.stages.empty());
      REQUIRE(plan.reasons.size() == 1);
      CHECK(plan.reasons[0].last_layer < std::ssize(plan.layers));
      CHECK(plan.reasons[0].first_layer <= plan.reasons[0].last_layer);
      CHECK(plan.reasons[0].needs > plan.reasons[0].has);
      CHECK(plan.reasons[0].has == input.cluster.device.memory);
      for (const Remedy& remedy : plan.remedies) {
        PlanningInput changed = input;
        SearchOptions changed_options = options;
        INFO(remedy.options);
        apply(remedy.options, changed, changed_options);
        CHECK(search_plans(changed, changed_options).front().status != PlanStatus::infeasible);
        ++remedies[remedy.options.substr(0, remedy.options.find(' '))];
      }
      // There is one microbatch, so no stage holds more than the one the reason counts.
      PlanningInput roomier = input;
      roomier.cluster.device.memory = plan.reasons[0].needs * (1 + rounding);
      enough += search_plans(roomier, options).front().status != PlanStatus::infeasible;
      ++tried;
    }
  }
  CHECK(tried >= 20);
  CHECK(enough == tried);
  for (const char* option : {"--parameter-state", "--microbatch-size", "--hosts"}) {
    INFO(option);
    CHECK(remedies[option] > 0);
  }
}

TEST_CASE("recomputation is a remedy where it frees enough", "[search]") {
  std::mt19937 random(0);
  PlanningInput input = random_input(random, 1);
  GraphDraft draft{"deep", "deep", "b", {}, DType::fp32, 0, {{"x", {"b", "8"}, DType::fp32}}, {}};
  std::string last = "x";
  for (const char* layer : {"l0", "l1"})
    for (int o = 0; o < 6; ++o) {  // a gelu saves its input, unless it is computed again
      const std::string id = fmt::format("{}.{}", layer, o);
      draft.ops.push_back({id, OpKind::gelu, layer, {last}, {id}, "b i -> b i"});
      last = id;
    }
  draft.tensors.push_back({"w", {"8", "8"}, DType::fp32, TensorRole::parameter});
  draft.ops.insert(draft.ops.begin(), {"product", OpKind::einsum, "l0", {"x", "w"}, {"y"}, "b i, i j -> b j"});
  draft.ops[1].inputs = {"y"};
  input.graph = check_graph(draft);
  SearchOptions options = options_for(64, 64);
  const auto needs = [&](Recompute recompute) {
    input.cluster.device.memory = Bytes(1);
    options.recompute = recompute;
    return search_plans(input, options).front().reasons.front().needs;
  };
  const Bytes kept = needs(Recompute::none), recomputed = needs(Recompute::full);
  REQUIRE(recomputed < kept);
  input.cluster.device.memory = 0.5 * (kept + recomputed);
  options.recompute = Recompute::none;
  const Plan plan = search_plans(input, options).front();
  REQUIRE(plan.status == PlanStatus::infeasible);
  const Remedy recomputation{"recompute activations", "--recompute full"};
  CHECK(std::count(plan.remedies.begin(), plan.remedies.end(), recomputation) == 1);
  options.recompute = Recompute::full;
  CHECK(search_plans(input, options).front().status != PlanStatus::infeasible);
}

}  // namespace
}  // namespace meshloom
