#include "planner/plan/pins.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "graphs/builders.hpp"
#include "graphs/graph_json.hpp"
#include "graphs/input_error.hpp"
#include "planner/baseline.hpp"
#include "planner/explain.hpp"
#include "planner/plan/plan_json.hpp"
#include "tests/mesh_case.hpp"
#include "tools/join/make_plan.hpp"

using namespace meshloom;

namespace {

Pins pins_of(const std::string& list) {
  return parse_pins(fmt::format(R"({{"schema": "meshloom.pins/1", "pins": [{}]}})", list), "pins.json");
}

// Two products with an activation function between; one layer, so that one problem holds every node.
Graph small_mlp() {
  return parse_graph(R"({"schema": "meshloom.graph/1", "name": "mlp", "batch_dim": "b", "dims": {"h": 8, "f": 16},
    "tensors": [{"id": "x", "shape": ["b", "h"], "dtype": "bf16", "role": "input"},
      {"id": "w1", "shape": ["h", "f"], "role": "parameter"}, {"id": "w2", "shape": ["f", "h"], "role": "parameter"}],
    "ops": [
      {"id": "up", "kind": "einsum", "layer": "a", "inputs": ["x", "w1"], "outputs": ["u"], "rule": "b h, h f -> b f"},
      {"id": "act", "kind": "gelu", "layer": "a", "inputs": ["u"], "outputs": ["g"], "rule": "b f -> b f"},
      {"id": "down", "kind": "einsum", "layer": "a", "inputs": ["g", "w2"], "outputs": ["d"], "rule": "b f, f h -> b h"},
      {"id": "loss", "kind": "sum", "layer": "a", "inputs": ["d"], "outputs": ["loss"], "rule": "b h! -> "}]})",
                     "mlp.json");
}

Cluster slow_cluster() {
  Cluster cluster = toy_cluster({.flops_per_s = 1e8, .memory_bytes_per_s = 1e8, .link_bytes_per_s = 5e7});
  cluster.intra_host.latency = Seconds(1e-7);
  return cluster;
}

const RangeSettings settings{ParameterState::zero1, Recompute::none, {1000, 1, 0, 0}};

double optimum(const Pins& pins, const std::vector<std::int64_t>& mesh) {
  MeshCase on_mesh(small_mlp(), slow_cluster(), mesh_of(mesh), {}, 8, pins);
  return weighted(on_mesh.cost(settings, 0, 0), settings.weights);
}

// What a pin of the tests below says, by an account of its own.
struct Said {
  std::size_t op = 0;
  std::vector<std::pair<std::string, std::int64_t>> parts;  // by factor
  std::vector<std::pair<std::string, std::string>> axes;
};

bool obeys(const Said& said, const Op& op, const Strategy& strategy, const DeviceMesh& mesh) {
  std::map<std::string, std::int64_t> parts;
  std::map<std::string, std::string> on_axis;
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis) {
    if (!strategy.axes[axis]) continue;
    const std::string factor = op.rule.factors[index(*strategy.axes[axis])].name;
    on_axis[mesh.axes[axis].name] = factor;
    parts[factor] = std::max<std::int64_t>(1, parts[factor]) * mesh.size(axis);
  }
  for (const auto& [factor, wanted] : said.parts)
    if (std::max<std::int64_t>(1, parts[factor]) != wanted) return false;
  for (const auto& [axis, factor] : said.axes)
    if (on_axis[axis] != factor) return false;
  return true;
}

// Brute force over the unpinned problem, in which everything that disobeys costs infinitely much.
double enumerated(const std::vector<Said>& all, const std::vector<std::int64_t>& mesh) {
  MeshCase free(small_mlp(), slow_cluster(), mesh_of(mesh), {}, 8);
  const LayerModel model = free.solver().ranges().full_model(0);
  IntraOpProblem problem = PricedLayer(model, settings).problem();
  for (const Said& said : all)
    for (std::size_t c = 0; c < model.nodes[said.op].choices.size(); ++c)
      if (!obeys(said, free.space().input.graph.op(model.nodes[said.op].op), model.nodes[said.op].choices[c].strategy,
                 mesh_of(mesh)))
        problem.nodes[said.op].costs[c] = infinite_cost;
  const IntraOpSolution best = solve_by_enumeration(problem);
  return best.status == SolveStatus::infeasible ? impossible.value() : static_cast<double>(best.objective) * 1e-12;
}

PlanningInput gpt_input(const std::string& pins) {
  PlanningInput input;
  input.graph = build_gpt({.layers = 4, .hidden = 64, .heads = 4, .seq_len = 32, .vocab = 128});
  input.cluster = toy_cluster({.flops_per_s = 1e9, .memory_bytes_per_s = 1e9, .link_bytes_per_s = 1e8});
  input.pins = pins_of(pins);
  return input;
}

// Parts of a factor over the plan's op.
std::int64_t parts_of(const Plan& plan, const std::string& op, const std::string& factor) {
  for (const Stage& stage : plan.stages)
    for (const OpSharding& sharding : stage.ops) {
      if (sharding.op != op) continue;
      std::int64_t parts = 1;
      for (std::size_t axis = 0; axis < stage.mesh.size(); ++axis)
        if (sharding.axes[axis] == factor) parts *= stage.mesh[axis].size;
      return parts;
    }
  FAIL("no op " << op);
  return 0;
}

std::string complaint(const std::string& pins) {
  try {
    PinnedGraph(small_mlp(), pins_of(pins));
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("the optimum under pins is the least of all that obey them") {
  const std::vector<std::pair<std::string, std::vector<Said>>> cases = {
      {R"({"op": "up", "shard": {"f": 4}})", {{0, {{"f", 4}}, {}}}},
      {R"({"op": "up", "shard": {"h": 2}})", {{0, {{"h", 2}}, {}}}},
      {R"({"op": "up", "shard": {"f": 2, "*": 1}})", {{0, {{"b", 1}, {"h", 1}, {"f", 2}}, {}}}},
      {R"({"op": "up", "shard": {"*": 1}})", {{0, {{"b", 1}, {"h", 1}, {"f", 1}}, {}}}},
      {R"({"op": "act", "shard": {"b": "all"}})", {{1, {{"b", 4}}, {}}}},
      {R"({"op": "up", "axes": {"x": "b"}})", {{0, {}, {{"x", "b"}}}}},
      {R"({"op": "act", "axes": {"x": ""}})", {{1, {}, {{"x", ""}}}}},
      {R"({"op": "up", "shard": {"f": 2}}, {"op": "down", "shard": {"b": 2}})",
       {{0, {{"f", 2}}, {}}, {2, {{"b", 2}}, {}}}},
      {R"({"op": "*", "shard": {"b": 2}})",
       {{0, {{"b", 2}}, {}}, {1, {{"b", 2}}, {}}, {2, {{"b", 2}}, {}}, {3, {{"b", 2}}, {}}}},
      // The operand of the one reader: w1 is h f of "up", g is b f of "down".
      {R"({"tensor": "w1", "shard": [null, 4]})", {{0, {{"f", 4}}, {}}}},
      {R"({"tensor": "g", "shard": [2, 2]})", {{2, {{"b", 2}, {"f", 2}}, {}}}},
      {R"pin({"tensor": "w2", "axes": {"x": "S(0)"}})pin", {{2, {}, {{"x", "f"}}}}},
  };
  std::size_t dearer = 0;
  for (const auto& [text, said] : cases)
    for (const std::vector<std::int64_t>& mesh : {std::vector<std::int64_t>{4}, {2, 2}}) {
      INFO(text << " on " << mesh.size() << " axes");
      const double free = optimum({}, mesh), pinned = optimum(pins_of(text), mesh), expected = enumerated(said, mesh);
      if (expected < 1e5) {
        CHECK(pinned == Approx(expected).epsilon(1e-9));
        CHECK(pinned >= free * (1 - 1e-12));
        dearer += pinned > free * (1 + 1e-9);
      } else {
        CHECK_FALSE(pinned < 1e5);  // 2 parts on an axis of 4
      }
    }
  CHECK(dearer >= 5);
}

TEST_CASE("pins on what the optimum chooses change nothing, op by op and all together") {
  const std::vector<std::int64_t> sizes{2, 2};
  const DeviceMesh mesh = mesh_of(sizes);
  MeshCase free(small_mlp(), slow_cluster(), mesh, {}, 8);
  const double least = optimum({}, sizes);
  std::string all;
  for (const OpSharding& op : free.stage(settings, 0, 0).ops) {
    const std::string pin =
        fmt::format(R"({{"op": "{}", "axes": {{"x": "{}", "y": "{}"}}}})", op.op, op.axes[0], op.axes[1]);
    CHECK(optimum(pins_of(pin), sizes) == Approx(least).epsilon(1e-12));
    all += (all.empty() ? "" : ", ") + pin;
  }
  CHECK(optimum(pins_of(all), sizes) == Approx(least).epsilon(1e-12));
}

TEST_CASE("a plan keeps its pins, records them and is explained under them") {
  const std::string text =
      R"({"op": "h*.mlp.up", "shard": {"f": 2}}, {"op": "h1.attn.core", "shard": {"n": 1, "b": 2}})";
  const PlanningInput input = gpt_input(text);
  const Plan plan = make_plan(input, {.search = {.global_batch = 16, .threads = 1}});
  const PlanningInput free = gpt_input("");
  CHECK(plan.estimate >= make_plan(free, {.search = {.global_batch = 16, .threads = 1}}).best_estimate);
  for (const char* layer : {"h0", "h1", "h2", "h3"}) CHECK(parts_of(plan, std::string(layer) + ".mlp.up", "f") == 2);
  CHECK(parts_of(plan, "h1.attn.core", "n") == 1);
  CHECK(parts_of(plan, "h1.attn.core", "b") == 2);
  CHECK(plan.pins == input.pins.list);
  CHECK(parse_plan(write_plan(plan), "plan.json") == plan);
  const OpExplanation explained = explain_op(plan, input.graph, "h1.mlp.up");
  CHECK(std::count(explained.chosen.begin(), explained.chosen.end(), "f") == 1);
  REQUIRE(explained.runner_up);  // another place for b, or another axis
  CHECK(std::count(explained.runner_up->begin(), explained.runner_up->end(), "f") == 1);
}

TEST_CASE("uniform layouts keep pins or are left out") {
  const UniformLayout tensor_parallel{.tensor_parallel = 4}, data_parallel{.data_parallel = 4};
  const PlanningInput whole = gpt_input(R"({"op": "h*.mlp.up", "shard": {"f": 1}})");
  CHECK(parts_of(baseline_plan(whole, data_parallel, 16), "h2.mlp.up", "f") == 1);
  CHECK(parts_of(baseline_plan(whole, tensor_parallel, 16), "h2.mlp.up", "f") == 1);  // it shards h instead
  const PlanningInput redundant = gpt_input(R"({"op": "h*.mlp.up", "shard": {"*": 1}})");
  CHECK_THROWS_WITH(baseline_plan(redundant, tensor_parallel, 16), Catch::Contains("cannot be sharded so"));
}

TEST_CASE("equal layers with different pins are not equal, with equal pins they are") {
  const auto keys = [](const std::string& pins) {
    const PlanningInput input = gpt_input(pins);
    const TrainingGraph training = differentiate(input.graph);
    const PlanningLayers layers = planning_layers(input.graph, training, {}, PinnedGraph(input.graph, input.pins));
    std::vector<std::uint32_t> result;
    for (const PlanningLayer& layer : layers.layers) result.push_back(layer.key);
    return result;  // embed, h0 … h3, head
  };
  const auto one = keys(R"({"op": "h1.mlp.up", "shard": {"f": 4}})");
  CHECK(one[1] != one[2]);
  CHECK(one[1] == one[3]);
  const auto weight = keys(R"({"tensor": "h2.mlp.up.weight", "shard": [1, 4]})");
  CHECK(weight[2] != weight[3]);
  const auto all = keys(R"({"op": "h*.mlp.up", "shard": {"f": 4}})");
  CHECK(all[1] == all[2]);
  CHECK(all == keys(""));
}

TEST_CASE("pins that name nothing, contradict each other or cannot be kept are refused with their place") {
  CHECK(complaint(R"({"op": "upp", "shard": {"f": 2}})") ==
        "pins.json: /pins/0: the graph has no op \"upp\"; did you mean \"up\"?");
  CHECK(complaint(R"({"tensor": "w3", "shard": [2, 1]})") ==
        "pins.json: /pins/0: the graph has no tensor \"w3\"; did you mean \"w1\"?");
  CHECK(complaint(R"({"op": "up", "shard": {"k": 2}})") ==
        "pins.json: /pins/0: op \"up\" (b h, h f -> b f) has no factor \"k\"");
  CHECK(complaint(R"({"op": "up", "shard": {"f": 3}})") ==
        "pins.json: /pins/0: factor f of op \"up\" has size 16, which 3 parts do not divide");
  CHECK(complaint(R"({"op": "loss", "shard": {"h": 2}})") ==
        "pins.json: /pins/0: factor h of op \"loss\" cannot be sharded; give it 1 part");
  CHECK(complaint(R"({"op": "u*", "shard": {"f": 2}}, {"op": "up", "shard": {"f": 4}})") ==
        "pins.json: /pins/1: contradicts pins.json: /pins/0 about f of op \"up\"; leave one of them out");
  CHECK(complaint(R"({"tensor": "w1", "shard": [2]})") ==
        "pins.json: /pins/0: tensor \"w1\" has 2 dimensions, \"shard\" has 1; use null where one is free");
  CHECK(complaint(R"pin({"tensor": "w1", "axes": {"x": "S(2)"}})pin") ==
        "pins.json: /pins/0: tensor \"w1\" has 2 dimensions, so none is S(2)");
  CHECK(complaint(R"({"op": "zz*", "shard": {"f": 2}})") == "pins.json: /pins/0: no op matches the pattern \"zz*\"");
  CHECK(complaint(R"({"tensor": "zz*", "shard": [2]})") == "pins.json: /pins/0: no tensor matches the pattern \"zz*\"");
  CHECK(complaint(R"({"op": "up", "axes": {"tp": "f"}})") ==
        "pins.json: /pins/0/axes/tp: unknown mesh axis \"tp\"; expected x, y, z, w");
  for (const char* shard : {R"("f": 1)", R"("*": 1)"})
    CHECK(
        complaint(fmt::format(R"({{"op": "up", "shard": {{{}}}, "axes": {{"x": "f"}}}})", shard)) ==
        "pins.json: /pins/0: \"axes\" has axis x shard factor f, but \"shard\" leaves it in 1 part; leave one of them "
        "out");
  CHECK(complaint(R"pin({"tensor": "w1", "shard": [null, 1], "axes": {"x": "S(1)"}})pin") ==
        "pins.json: /pins/0: \"axes\" has axis x shard dimension 1, but \"shard\" leaves it in 1 part; leave one of "
        "them out");
  CHECK(complaint(R"({"op": "up", "shard": {"f": 2, "*": 1}, "axes": {"x": "f"}})") == "");
  CHECK(complaint(R"({"tensor": "w1", "axes": {"x": "P/R"}})") ==
        "pins.json: /pins/0/axes/x: \"P/R\" is no layout; expected \"S(0)\", \"S(1)\", … , \"R/P\" or \"R/R\"");
  CHECK(complaint(R"({"op": "up"})") == "pins.json: /pins/0: fixes nothing; say \"shard\" or \"axes\"");
  CHECK(complaint(R"({"op": "up", "tensor": "w1", "shard": {"f": 2}})") ==
        "pins.json: /pins/0: names both an op and a tensor, or neither; give one of them");
  // 8 parts on 4 devices; and what op and tensor say together.
  CHECK_THROWS_WITH(search_plans(gpt_input(R"({"op": "h2.mlp.up", "shard": {"f": 8}})"), {.global_batch = 16}),
                    Catch::StartsWith("pins.json: /pins/0 (op h2.mlp.up: f in 8 parts): no device mesh"));
  CHECK_THROWS_WITH(
      search_plans(
          gpt_input(R"({"op": "h2.mlp.up", "shard": {"f": 4}}, {"tensor": "h2.mlp.up.weight", "shard": [4, 1]})"),
          {.global_batch = 16}),
      Catch::Contains("/pins/0") && Catch::Contains("/pins/1") && Catch::Contains("no device mesh"));
}

// All layers in one stage on 4 devices: the first pin asks for one axis of 4, the second for an axis y beside x.
TEST_CASE("pins that no plan keeps together make it infeasible, and leaving one out is a remedy") {
  const PlanningInput input = gpt_input(R"({"op": "h0.mlp.up", "shard": {"f": 4}, "axes": {"y": ""}},
                                           {"op": "h1.mlp.up", "axes": {"y": "f"}})");
  const Plan plan = search_plans(input, {.global_batch = 16, .layers = 1}).front();
  CHECK(plan.status == PlanStatus::infeasible);
  REQUIRE(plan.remedies.size() >= 2);
  CHECK(plan.remedies[0].text == "leave out the pin /pins/0 (op h0.mlp.up: f in 4 parts, axis y shards nothing)");
  CHECK(plan.remedies[1].text == "leave out the pin /pins/1 (op h1.mlp.up: axis y shards f)");
}

TEST_CASE("a pattern's star stands for any characters") {
  CHECK(fits_pattern("h*.mlp.up", "h12.mlp.up"));
  CHECK(fits_pattern("*", ""));
  CHECK(fits_pattern("*.weight", "h0.mlp.up.weight"));
  CHECK_FALSE(fits_pattern("h*.mlp.up", "h12.mlp.upper"));
  CHECK_FALSE(fits_pattern("h1", "h12"));
  CHECK(fits_pattern("a*b*c", "abbc"));
}
