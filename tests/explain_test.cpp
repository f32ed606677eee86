#include "planner/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>

#include "graphs/graph_json.hpp"
#include "planner/search.hpp"
#include "planner/state_choices.hpp"
#include "tests/mesh_case.hpp"

using namespace meshloom;

namespace {

// One layer, so one stage: its problem can be enumerated.
Graph two_products() {
  return parse_graph(R"({"schema": "meshloom.graph/1", "name": "mlp", "batch_dim": "b", "dims": {"h": 8, "f": 32},
    "tensors": [{"id": "x", "shape": ["b", "h"], "dtype": "bf16", "role": "input"},
      {"id": "w1", "shape": ["h", "f"], "role": "parameter"}, {"id": "w2", "shape": ["f", "h"], "role": "parameter"}],
    "ops": [
      {"id": "up", "kind": "einsum", "layer": "a", "inputs": ["x", "w1"], "outputs": ["u"], "rule": "b h!, h! f! -> b f!"},
      {"id": "act", "kind": "gelu", "layer": "a", "inputs": ["u"], "outputs": ["g"], "rule": "b f -> b f"},
      {"id": "down", "kind": "einsum", "layer": "a", "inputs": ["g", "w2"], "outputs": ["d"], "rule": "b f!, f! h! -> b h!"}]})",
                     "mlp.json");
}

struct Held {
  std::vector<std::string> factors;
  TotalCost objective = 0;
  Cost cost;
};

// By brute force: the best way to run the stage with each sharding of one op.
std::vector<Held> held_by_enumeration(const Plan& plan, const Graph& graph, std::size_t op) {
  const Stage& stage = plan.stages[0];
  MeshCase on_mesh(graph, plan.cluster, {stage.submesh, stage.mesh}, plan.recipe, plan.microbatch_size,
                   {"the plan", plan.pins});
  const LayerModel model = states_as_choices(on_mesh.solver().ranges().full_model(0), stage.allowed_states).model;
  const PricedLayer priced(model, {ParameterState::replicated, stage.recompute, stage.weights});
  std::vector<Held> result;
  for (std::size_t c = 0; c < model.nodes[op].choices.size(); ++c) {
    IntraOpProblem problem = priced.problem();
    for (std::size_t other = 0; other < problem.nodes[op].costs.size(); ++other)
      if (other != c) problem.nodes[op].costs[other] = infinite_cost;
    const IntraOpSolution best = solve_by_enumeration(problem);
    if (best.status == SolveStatus::infeasible) continue;
    Held held{{}, best.objective, priced.cost_of_choices(best.choices)};
    const Strategy& strategy = model.nodes[op].choices[c].strategy;
    for (std::size_t axis = 0; axis < stage.mesh.size(); ++axis)
      held.factors.push_back(strategy.axes[axis] ? graph.ops[op].rule.factors[index(*strategy.axes[axis])].name : "");
    result.push_back(std::move(held));
  }
  return result;
}

const Held* best_of(const std::vector<Held>& all, const std::function<bool(const Held&)>& wanted) {
  const Held* best = nullptr;
  for (const Held& held : all)
    if (wanted(held) && (best == nullptr || held.objective < best->objective)) best = &held;
  return best;
}

}  // namespace

TEST_CASE("an explanation's runner-up and differences are those of brute force, with prices of memory and pins") {
  const Graph graph = two_products();
  Cluster cluster = toy_cluster({.flops_per_s = 1e8, .memory_bytes_per_s = 3e7, .link_bytes_per_s = 2e7});
  SearchOptions options{.global_batch = 16, .microbatch_size = 4, .recompute = Recompute::none, .max_mesh_axes = 1};
  options.thinning = Thinning::always;  // else nothing has a price
  const Bytes roomy = search_plans({graph, cluster, {}, {}, {}}, options).front().peak_memory();
  std::size_t priced = 0;
  for (const double share : {2.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4})
    for (const char* pins : {"", R"({"op": "act", "shard": {"b": 4}})"}) {
      cluster.device.memory = roomy * share;
      const PlanningInput input{
          graph, cluster, {},
          {},    {},      parse_pins(fmt::format(R"({{"schema": "meshloom.pins/1", "pins": [{}]}})", pins), "p")};
      const Plan plan = search_plans(input, options).front();
      if (plan.status == PlanStatus::infeasible) continue;
      REQUIRE(plan.stages.size() == 1);
      priced += plan.stages[0].weights.seconds_per_fixed_byte > 0;
      for (std::size_t op = 0; op < graph.ops.size(); ++op) {
        INFO(graph.ops[op].id << " with " << share << " of the memory, pins " << pins);
        const OpExplanation explained = explain_op(plan, graph, graph.ops[op].id);
        const std::vector<Held> all = held_by_enumeration(plan, graph, op);
        const Held* chosen = best_of(all, [&](const Held& held) { return held.factors == explained.chosen; });
        const Held* second = best_of(all, [&](const Held& held) { return held.factors != explained.chosen; });
        REQUIRE(chosen != nullptr);
        CHECK(chosen->objective == best_of(all, [](const Held&) { return true; })->objective);
        REQUIRE(explained.runner_up.has_value() == (second != nullptr));
        if (second == nullptr) continue;
        const double difference = static_cast<double>(second->objective - chosen->objective) * 1e-12;
        CHECK(explained.priced_difference.value() == Approx(difference).margin(1e-10));
        if (explained.runner_up != second->factors) continue;  // as good
        CHECK(explained.difference.value() ==
              Approx(4 * (second->cost.per_microbatch() - chosen->cost.per_microbatch()).value() +
                     (second->cost.per_step() - chosen->cost.per_step()).value())
                  .margin(1e-10));
        const auto peak = [&](const Cost& cost) {
          return (cost.fixed + static_cast<double>(plan.stages[0].memory.in_flight) * cost.activations +
                  cost.transient())
              .value();
        };
        CHECK(explained.memory_difference.value() == Approx(peak(second->cost) - peak(chosen->cost)).margin(1e-6));
      }
    }
  CHECK(priced >= 2);
}
