#include "planner/range_solver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "graphs/builders.hpp"
#include "graphs/graph_json.hpp"
#include "planner/state_choices.hpp"
#include "tests/mesh_case.hpp"

using namespace meshloom;

namespace {

// A random chain of ops on tensors b × h: products with a parameter of their own or one used before, elementwise kinds,
// norms, and sums and products with any tensor made before, so that residuals and skips cross layers.
struct RandomGraph {
  std::string tensors, ops;
  std::vector<std::string> activations{"x0"};
  std::vector<std::string> parameters;
  std::int64_t hidden = 4;
};

std::string parameter_of(RandomGraph& graph, std::mt19937& random) {
  if (graph.parameters.empty() || random() % 3 != 0) {
    graph.parameters.push_back(fmt::format("w{}", graph.parameters.size()));
    graph.tensors +=
        fmt::format(R"(, {{"id": "{}", "shape": ["h", "h"], "role": "parameter"}})", graph.parameters.back());
    return graph.parameters.back();
  }
  return graph.parameters[random() % graph.parameters.size()];
}

void write_op(RandomGraph& graph, const std::string& kind, const std::string& layer, const std::string& inputs,
              const std::string& rule) {
  const std::string result = fmt::format("x{}", graph.activations.size());
  graph.ops +=
      fmt::format(R"({}{{"id": "{}", "kind": "{}", "layer": "{}", "inputs": [{}], "outputs": ["{}"], "rule": "{}"}})",
                  graph.ops.empty() ? "" : ",\n", result, kind, layer, inputs, result, rule);
  graph.activations.push_back(result);
}

// Activations multiplied, their softmax, and a product of that: the core of attention.
void add_core(RandomGraph& graph, const std::string& layer, const std::string& a, const std::string& b) {
  const std::string product = "b h, b h -> b h";
  write_op(graph, "einsum", layer, fmt::format(R"("{}", "{}")", a, b), product);
  write_op(graph, "softmax", layer, fmt::format(R"("{}")", graph.activations.back()), "b h~ -> b h");
  write_op(graph, "einsum", layer, fmt::format(R"("{}", "{}")", graph.activations.back(), b), product);
}

void add_op(RandomGraph& graph, std::mt19937& random, const std::string& layer) {
  const std::string last = graph.activations.back(), earlier = graph.activations[random() % graph.activations.size()];
  std::string kind, inputs = fmt::format(R"("{}")", last), rule = "b h -> b h";
  switch (random() % 10) {
    case 0:
    case 1:
    case 2:
      kind = "einsum";
      inputs += fmt::format(R"(, "{}")", parameter_of(graph, random));
      rule = random() % 2 == 0 ? "b h, h k -> b k" : "b h, k h -> b k";
      break;
    case 3:
      kind = "relu";
      break;
    case 4:
      kind = "gelu";
      break;
    case 5:
      kind = random() % 2 == 0 ? "softmax" : "layer_norm";
      rule = "b h~ -> b h";
      break;
    case 6:
      kind = "dropout";
      break;
    case 7:
      return add_core(graph, layer, last, earlier);
    default:
      kind = random() % 2 == 0 ? "add" : "multiply";
      inputs += fmt::format(R"(, "{}")", earlier);
      rule = "b h, b h -> b h";
  }
  write_op(graph, kind, layer, inputs, rule);
}

enum class Layers { one, several };

// The same seed makes the same ops, in one layer or in several.
Graph random_graph(unsigned seed, Layers layers) {
  std::mt19937 random(seed);
  RandomGraph graph;
  graph.hidden = random() % 2 == 0 ? 4 : 6;
  const std::size_t count = 3 + random() % 5;
  std::size_t layer = 0;
  for (std::size_t o = 0; o < count; ++o) {
    if (o > 0 && random() % 2 == 0) ++layer;
    add_op(graph, random, layers == Layers::one ? "all" : fmt::format("l{}", layer));
  }
  graph.ops += fmt::format(
      R"(, {{"id": "loss", "kind": "sum", "layer": "{}", "inputs": ["{}"], "outputs": ["loss"], "rule": "b h -> "}})",
      layers == Layers::one ? "all" : fmt::format("l{}", layer), graph.activations.back());
  const std::string text = fmt::format(
      R"({{"schema": "meshloom.graph/1", "name": "random", "batch_dim": "b", "dims": {{"h": {}}},
  "tensors": [{{"id": "x0", "shape": ["b", "h"], "dtype": "bf16", "role": "input"}}{}],
  "ops": [{}]}})",
      graph.hidden, graph.tensors, graph.ops);
  return parse_graph(text, "random.json");
}

// Compute, memory and links all count for tensors of a few bytes.
Cluster tight_cluster(std::int64_t devices) {
  Cluster cluster =
      toy_cluster({.devices = devices, .flops_per_s = 1e9, .memory_bytes_per_s = 3e8, .link_bytes_per_s = 1.7e8});
  cluster.intra_host.latency = Seconds(3e-8);
  return cluster;
}

// So many microbatches that a picosecond is far below 10^-9 of the objective.
constexpr double microbatches = 1e5;

DeviceMesh random_mesh(unsigned seed) {
  const std::vector<std::vector<std::int64_t>> shapes = {{2}, {4}, {2, 2}};
  return mesh_of(shapes[seed % shapes.size()]);
}

RangeSettings random_settings(std::mt19937& random) {
  RangeSettings settings;
  settings.states = all_parameter_states[random() % 4];
  if (random() % 2 == 0)  // any set of states
    settings.states = ParameterStates(std::vector<ParameterState>{
        all_parameter_states[random() % 4], all_parameter_states[random() % 4], all_parameter_states[random() % 4]});
  settings.recompute = all_recomputes[random() % 3];
  settings.weights.microbatches = microbatches;
  settings.weights.per_step = random() % 2 == 0 ? 1 : microbatches;
  settings.weights.seconds_per_fixed_byte = random() % 2 == 0 ? 0 : 3e-5;
  return settings;
}

// What arrives from the stage before is gathered where it is redundant, and never R/P; so is the gradient of what
// leaves.
void add_border(MeshCase& on_mesh, const ModelNode& node, bool arrives, bool leaves, const Weights& weights,
                IntraOpNode& into) {
  for (std::uint32_t c = 0; c < node.choices.size(); ++c) {
    const Layout& layout = node.choices[c].layout;
    const ModelContext& context = on_mesh.solver().context();
    const Seconds time = arrives  ? arrival_time(context, node.tensor, layout)
                         : leaves ? departure_time(context, node.tensor, layout)
                                  : Seconds(0);
    into.costs[c] = time < impossible
                        ? into.costs[c] + static_cast<std::int64_t>(1e12 * weights.microbatches * time.value())
                        : infinite_cost;
  }
}

// The whole range as one problem: the layers' problems side by side, in which equal interface tensors are one node; its
// own cost counts once, if it is a parameter or its layers save it. The states of parameters are choices like others.
IntraOpProblem joined(MeshCase& on_mesh, const RangeSettings& settings, std::size_t first, std::size_t last) {
  IntraOpProblem whole;
  std::map<TensorId, std::uint32_t> shared;
  std::map<TensorId, bool> charged;
  for (std::size_t l = first; l <= last; ++l) {
    const LayerModel model = states_as_choices(on_mesh.solver().ranges().full_model(l), settings.states).model;
    const IntraOpProblem layer = PricedLayer(model, settings).problem();
    const auto& variables = on_mesh.space().layers.layers[l].variables;
    std::vector<std::uint32_t> position;
    for (std::size_t n = 0; n < layer.nodes.size(); ++n) {
      const bool crosses = n >= model.interior;
      const auto next = static_cast<std::uint32_t>(whole.nodes.size());
      position.push_back(crosses ? shared.emplace(variables[n - model.interior].tensor, next).first->second : next);
      if (position.back() == next) whole.nodes.push_back(layer.nodes[n]);
      if (!crosses) continue;
      const InterfaceVariable& v = variables[n - model.interior];
      if (position.back() == next && !v.parameter)
        add_border(on_mesh, model.nodes[n], v.first_layer<first, v.last_layer> last, settings.weights,
                   whole.nodes.back());
      const bool counts = v.parameter || v.saved[static_cast<std::size_t>(settings.recompute)];
      if (!counts || charged[v.tensor]) continue;
      charged[v.tensor] = true;
      for (std::uint32_t c = 0; c < layer.nodes[n].costs.size(); ++c)
        if (whole.nodes[position.back()].costs[c] < infinite_cost)
          whole.nodes[position.back()].costs[c] += static_cast<std::int64_t>(
              1e12 * weighted(cost_of_variable(model.nodes[n], c, settings), settings.weights));
    }
    for (IntraOpEdge edge : layer.edges) {
      edge.a = position[edge.a], edge.b = position[edge.b];
      whole.edges.push_back(std::move(edge));
    }
  }
  return whole;
}

double seconds(TotalCost picoseconds) { return static_cast<double>(picoseconds) * 1e-12; }

double combinations(const IntraOpProblem& problem) {
  double product = 1;
  for (const IntraOpNode& node : problem.nodes) product *= static_cast<double>(node.costs.size());
  return product;
}

// What the plan's stage says, in the fields of a Cost.
void check_stage_is_cost(const MeshCase& on_mesh, const RangeSettings& settings, std::size_t first, std::size_t last,
                         const Cost& cost) {
  const Stage stage = on_mesh.stage(settings, first, last);
  // Sharing gradients with other stages is priced by the pipeline, not by the range.
  const Seconds synchronization = stage.synchronization - stage.shared_gradients_time;
  CHECK(stage.forward.value() == Approx(cost.forward.value()).epsilon(1e-9));
  CHECK(stage.backward.value() == Approx(cost.backward.value()).epsilon(1e-9));
  CHECK(synchronization.value() == Approx(cost.synchronization.value()).epsilon(1e-9).margin(1e-18));
  CHECK(stage.update.value() == Approx(cost.update.value()).epsilon(1e-9).margin(1e-18));
  CHECK((stage.memory.parameters + stage.memory.gradients + stage.memory.optimizer).value() ==
        Approx(cost.fixed.value()).epsilon(1e-9));
  CHECK(stage.memory.activations_per_microbatch.value() == Approx(cost.activations.value()).epsilon(1e-9));
  CHECK(stage.memory.transient.value() == Approx(cost.transient().value()).epsilon(1e-9));
}

void check_all_ranges(MeshCase& on_mesh, const RangeSettings& settings) {
  const std::vector<Cost> costs = on_mesh.solver().ranges().solve(settings);
  for (std::size_t first = 0; first < on_mesh.layers(); ++first)
    for (std::size_t last = first; last < on_mesh.layers(); ++last) {
      INFO("layers " << first << " to " << last << ", recompute " << name(settings.recompute));
      check_stage_is_cost(on_mesh, settings, first, last, costs[on_mesh.space().classes.of[first][last - first]]);
    }
}

}  // namespace

TEST_CASE("layers joined by their tables cost what one problem of all their nodes costs") {
  std::size_t enumerated = 0, several = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed + 1000);
    RangeSettings settings = random_settings(random);
    settings.weights.seconds_per_activation_byte = random() % 2 == 0 ? 0 : 5e-5;
    Recipe recipe;
    recipe.regather_saved_activations = random() % 2 == 0;
    const DeviceMesh mesh = random_mesh(seed);
    MeshCase layered(random_graph(seed, Layers::several), tight_cluster(4), mesh, recipe, 4);
    const std::size_t last = layered.layers() - 1;
    const std::size_t inner =
        random() % (last + 1);  // a range that begins behind the graph's begin, with what crosses into it
    several += last > 0 ? 1 : 0;
    for (const auto& [first, end] :
         {std::pair(std::size_t{0}, last), std::pair(inner, last), std::pair(std::size_t{0}, inner)}) {
      INFO("seed " << seed << ", layers " << first << " to " << end);
      const IntraOpProblem problem = joined(layered, settings, first, end);
      const double objective = weighted(layered.cost(settings, first, end), settings.weights);
      CHECK(objective == Approx(seconds(solve_by_elimination(problem).objective)).epsilon(1e-9));
      if (combinations(problem) > 2e5) continue;
      ++enumerated;
      CHECK(objective == Approx(seconds(solve_by_enumeration(problem).objective)).epsilon(1e-9));
    }
  }
  CHECK(several >= 40);
  CHECK(enumerated >= 5);
}

// A tensor's node at a layer's border may take the layout of its one reader, so borders forbid nothing; and without a
// price on saved activations there is nothing to gain from saving in another layout than the reader's.
TEST_CASE("cutting a graph into layers does not change its optimum without a price on activations") {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed + 2000);
    const RangeSettings settings = random_settings(random);
    const DeviceMesh mesh = random_mesh(seed / 2);
    Recipe recipe;
    recipe.recompute_scope = RecomputeScope::all;  // what is a block depends on the cuts
    MeshCase layered(random_graph(seed, Layers::several), tight_cluster(4), mesh, recipe, 4);
    MeshCase whole(random_graph(seed, Layers::one), tight_cluster(4), mesh, recipe, 4);
    INFO("seed " << seed);
    CHECK(weighted(layered.cost(settings, 0, layered.layers() - 1), settings.weights) ==
          Approx(weighted(whole.cost(settings, 0, 0), settings.weights)).epsilon(1e-9));
  }
}

// Where they are saved, they may lie at the border in a smaller layout than the reader's, converted again in the
// backward.
TEST_CASE("cutting a graph into layers may only gain under a price on activations") {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed + 2500);
    RangeSettings settings = random_settings(random);
    settings.recompute = Recompute::none;
    settings.weights.seconds_per_activation_byte = 5e-5;
    const DeviceMesh mesh = random_mesh(seed / 2);
    MeshCase layered(random_graph(seed, Layers::several), tight_cluster(4), mesh, {}, 4);
    MeshCase whole(random_graph(seed, Layers::one), tight_cluster(4), mesh, {}, 4);
    INFO("seed " << seed);
    CHECK(weighted(layered.cost(settings, 0, layered.layers() - 1), settings.weights) <=
          weighted(whole.cost(settings, 0, 0), settings.weights) * (1 + 1e-9));
  }
}

TEST_CASE("holding an op at its chosen strategy changes nothing, at another never helps") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed + 4000);
    const RangeSettings settings = random_settings(random);
    MeshCase on_mesh(random_graph(seed, Layers::several), tight_cluster(4), random_mesh(seed), {}, 4);
    RangeSolver& ranges = on_mesh.solver().ranges();
    const std::size_t last = on_mesh.layers() - 1;
    const double least = weighted(on_mesh.cost(settings, 0, last), settings.weights);
    const RangeChoices chosen = ranges.choices(settings, 0, last).value();
    INFO("seed " << seed);
    for (std::size_t layer = 0; layer <= last; ++layer) {
      std::vector<double> held;
      for (const Cost& cost : ranges.costs_by_choice(settings, 0, last, layer, 0))
        held.push_back(weighted(cost, settings.weights));
      CHECK(held[ranges.thinned(layer).original[0][chosen[layer][0]]] == Approx(least).epsilon(1e-9));
      CHECK(*std::min_element(held.begin(), held.end()) == Approx(least).epsilon(1e-9));
    }
  }
}

TEST_CASE("a materialised stage takes the time and memory that the search reported") {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed + 3000);
    RangeSettings settings = random_settings(random);
    settings.weights.seconds_per_activation_byte = random() % 2 == 0 ? 0 : 5e-5;
    Recipe recipe;
    recipe.regather_saved_activations = random() % 2 == 0;
    MeshCase on_mesh(random_graph(seed, Layers::several), tight_cluster(4), random_mesh(seed), recipe, 4);
    INFO("seed " << seed);
    check_all_ranges(on_mesh, settings);
  }
}

TEST_CASE("a materialised stage of GPT takes what the search reported, in every state, with and without recompute") {
  const Graph graph =
      build_gpt({.layers = 2, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32, .fused_attention = false});
  for (const bool regather : {false, true}) {
    Recipe recipe;
    recipe.regather_saved_activations = regather;
    recipe.recompute_scope = regather ? RecomputeScope::blocks : RecomputeScope::all;
    MeshCase on_mesh(graph, tight_cluster(4), mesh_of({4}), recipe, 4);
    for (const Recompute recompute : all_recomputes)
      for (const ParameterState state :
           {ParameterState::replicated, ParameterState::zero1, ParameterState::zero2, ParameterState::zero3}) {
        INFO("regather " << regather << ", " << name(state));
        check_all_ranges(on_mesh, {state, recompute, {}});
        check_all_ranges(on_mesh, {state, recompute, {1, 1, 1e-9, 1e-8}});
      }
  }
}

TEST_CASE("a materialised stage takes what the search reported with experts and with grouped heads on two axes") {
  for (const Graph& graph :
       {read_graph(MESHLOOM_SOURCE_DIR "/graphs/zoo/moe_layer.json"),
        build_llama(
            {.layers = 2, .hidden = 16, .heads = 4, .kv_heads = 2, .seq_len = 8, .vocab = 32, .ffn_hidden = 24})}) {
    MeshCase on_mesh(graph, tight_cluster(4), mesh_of({2, 2}), {}, 4);
    check_all_ranges(on_mesh, {ParameterState::zero1, Recompute::none, {1, 1, 1e-9, 1e-8}});
    check_all_ranges(on_mesh, {ParameterState::zero3, Recompute::full, {}});
    check_all_ranges(
        on_mesh,
        {ParameterStates({ParameterState::zero1, ParameterState::zero3}), Recompute::none, {1, 1, 1e-9, 1e-8}});
  }
}

// A value without a gradient that two products read is kept once, in its node's layout; a reader in another layout
// converts it once more in the backward, though no gradient comes back.
TEST_CASE("a materialised stage counts converting again what is saved but has no gradient") {
  const Graph graph =
      parse_graph(R"({"schema": "meshloom.graph/1", "name": "features", "batch_dim": "b", "dims": {"h": 64},
    "tensors": [{"id": "tokens", "shape": ["b", "h"], "dtype": "bf16", "role": "input"},
      {"id": "u", "shape": ["h", "h"], "role": "parameter"}, {"id": "v", "shape": ["h", "h"], "role": "parameter"}],
    "ops": [
      {"id": "features", "kind": "gelu", "layer": "a", "inputs": ["tokens"], "outputs": ["x"], "rule": "b h -> b h"},
      {"id": "left", "kind": "einsum", "layer": "a", "inputs": ["x", "u"], "outputs": ["y"], "rule": "b h, h k -> b k"},
      {"id": "right", "kind": "einsum", "layer": "a", "inputs": ["x", "v"], "outputs": ["z"], "rule": "b h, h k -> b k"},
      {"id": "both", "kind": "multiply", "layer": "a", "inputs": ["y", "z"], "outputs": ["m"], "rule": "b k, b k -> b k"},
      {"id": "loss", "kind": "sum", "layer": "a", "inputs": ["m"], "outputs": ["loss"], "rule": "b k -> "}]})",
                  "features.json");
  // A price on saved activations keeps x sharded; slow elementwise work does not let every device make all of it.
  for (const bool regather : {false, true}) {
    Recipe recipe;
    recipe.regather_saved_activations = regather;
    Cluster cluster = toy_cluster({.flops_per_s = 1e9, .memory_bytes_per_s = 1e7, .link_bytes_per_s = 1e8});
    MeshCase on_mesh(graph, cluster, mesh_of({4}), recipe, 1);
    const RangeSettings settings{ParameterState::replicated, Recompute::none, {1, 1, 1e-6, 1}};
    check_all_ranges(on_mesh, settings);
    const Stage stage = on_mesh.stage(settings, 0, 0);
    std::size_t converted_again = 0;
    for (const Conversion& conversion : stage.conversions)
      if (conversion.tensor == "x") converted_again += conversion.backward.size();
    CHECK(converted_again > 0);
  }
}

// On 2 devices at 10^11 B/s with 100 microbatches, half of n elements: ZeRO-3 instead of ZeRO-1 frees 6 bytes of a bf16
// parameter and 8 of an fp32 one, and moves 100·(2·2 + 4) − (4 + 2) = 794 and 100·(2·4 + 4) − (4 + 4) = 1192 bytes
// more. So it pays from a price of 132.3 and 149 times 10^-11 seconds a byte.
TEST_CASE("at one price of memory parameters of two types take different states") {
  const Graph graph = parse_graph(
      R"({"schema": "meshloom.graph/1", "name": "types", "batch_dim": "b", "dims": {"h": 64},
    "tensors": [{"id": "x", "shape": ["b", "h"], "dtype": "bf16", "role": "input"},
      {"id": "u", "shape": ["h", "h"], "dtype": "bf16", "role": "parameter"},
      {"id": "v", "shape": ["h", "h"], "dtype": "fp32", "role": "parameter"}],
    "ops": [
      {"id": "one", "kind": "einsum", "layer": "a", "inputs": ["x", "u"], "outputs": ["y"], "rule": "b h!, h! k! -> b k!"},
      {"id": "two", "kind": "einsum", "layer": "a", "inputs": ["y", "v"], "outputs": ["z"], "rule": "b h!, h! k! -> b k!"},
      {"id": "loss", "kind": "sum", "layer": "a", "inputs": ["z"], "outputs": ["loss"], "rule": "b k -> "}]})",
      "types.json");
  MeshCase on_mesh(graph, toy_cluster({.flops_per_s = 1e8}), mesh_of({2}), {}, 64);
  const auto states = [&](double price) {
    const Stage stage = on_mesh.stage(
        {ParameterStates({ParameterState::zero1, ParameterState::zero3}), Recompute::none, {100, 1, price, 0}}, 0, 0);
    std::string text;
    for (const TensorLayout& tensor : stage.tensors)
      if (tensor.parameter) text += fmt::format("{} {}, ", tensor.tensor, name(tensor.state));
    return text + std::string(parameter_state_text(stage));
  };
  CHECK(states(131e-11) == "u zero1, v zero1, zero1");
  CHECK(states(133e-11) == "u zero3, v zero1, mixed");
  CHECK(states(148e-11) == "u zero3, v zero1, mixed");
  CHECK(states(150e-11) == "u zero3, v zero3, zero3");
}

TEST_CASE("all blocks of a built GPT are one class, and so are llama's") {
  for (const Graph& graph :
       {build_gpt({.layers = 5, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32}),
        build_llama(
            {.layers = 5, .hidden = 16, .heads = 4, .kv_heads = 2, .seq_len = 8, .vocab = 32, .ffn_hidden = 24})}) {
    const PlanningLayers layers = planning_layers(graph, differentiate(graph));
    REQUIRE(layers.layers.size() == 7);  // embed, h0 … h4, head
    for (std::size_t block = 2; block <= 5; ++block) CHECK(layers.layers[block].key == layers.layers[1].key);
    CHECK(layers.layers[0].key != layers.layers[1].key);
    CHECK(layers.layers[6].key != layers.layers[1].key);
    CHECK(layers.layers[6].key != layers.layers[0].key);
    // The empty range; from embed: embed, and with 1 … 5 blocks, and all; from any block: 1 … 5 blocks, each with or
    // without the head; the head.
    const RangeClasses classes = range_classes(layers);
    CHECK(classes.classes.size() == 1 + 7 + 5 + 5 + 1);
    CHECK(classes.of[1][1] == classes.of[3][1]);
    CHECK(classes.of[4][1] != classes.of[5][1]);  // two blocks, a block and the head
  }
}
