#include "planner/dominance.hpp"

#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "graphs/graph_json.hpp"
#include "tests/mesh_case.hpp"

using namespace meshloom;

namespace {

std::size_t choices_of(const LayerModel& model) {
  std::size_t count = 0;
  for (const ModelNode& node : model.nodes) count += node.choices.size();
  return count;
}

ModelNode op_node(const std::vector<std::pair<double, double>>& seconds_and_bytes) {
  ModelNode node;
  for (const auto& [seconds, bytes] : seconds_and_bytes) {
    Choice& choice = node.choices.emplace_back();
    choice.forward = Seconds(seconds);
    choice.saved = Bytes(bytes);
  }
  return node;
}

EdgeCost edge_cost(double seconds) { return {Seconds(seconds), Seconds(0), Bytes(0)}; }

}  // namespace

// a: 0 costs (2 s, 3 B), 1 (2 s, 2 B) no more in both, 2 (1 s, 9 B) is faster but larger. On the edge 0 and 1 cost the
// same; b's second choice is dearer for every one of a.
TEST_CASE("a choice that is no better in time, memory and on every edge is left out") {
  LayerModel model;
  model.nodes = {op_node({{2, 3}, {2, 2}, {1, 9}}), op_node({{0, 0}, {0, 0}})};
  model.edges = {{0, 1, {}, 0, {edge_cost(1), edge_cost(2), edge_cost(1), edge_cost(2), edge_cost(4), edge_cost(5)}}};
  model.interior = 2;
  const ThinnedModel thinned = without_dominated(model);
  CHECK(thinned.original == std::vector<std::vector<std::uint32_t>>{{1, 2}, {0}});
  REQUIRE(thinned.model.edges[0].costs.size() == 2);
  CHECK(thinned.model.edges[0].costs[0].forward == Seconds(1));
  CHECK(thinned.model.edges[0].costs[1].forward == Seconds(4));
}

// Choice 1 of a costs more with b's first choice, less with its second.
TEST_CASE("what one neighbour's choice may prefer stays, and so do an interface variable's choices") {
  LayerModel model;
  model.nodes = {op_node({{1, 1}, {1, 1}}), op_node({{0, 0}, {0, 0}})};
  model.edges = {{0, 1, {}, 0, {edge_cost(1), edge_cost(3), edge_cost(2), edge_cost(2)}}};
  model.interior = 1;
  CHECK(without_dominated(model).original == std::vector<std::vector<std::uint32_t>>{{0, 1}, {0, 1}});
}

TEST_CASE("without dominated choices every weighting has the optimum that it had with them") {
  for (const Graph& graph :
       {build_gpt({.layers = 2, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32, .fused_attention = false}),
        read_graph(std::string(MESHLOOM_SOURCE_DIR) + "/graphs/zoo/moe_layer.json")}) {
    MeshCase on_mesh(graph, toy_cluster({}), mesh_of({2, 2}), {}, 4);
    RangeSolver& ranges = on_mesh.solver().ranges();
    for (std::size_t l = 0; l < on_mesh.layers(); ++l) {
      const LayerModel full = ranges.full_model(l);
      const LayerModel& thinned = ranges.model(l);
      INFO(graph.name << ", layer " << l);
      CHECK(choices_of(thinned) <= choices_of(full));
      for (const Recompute recompute : all_recomputes)
        for (const double price : {0.0, 1e-12, 1e-9, 1e-6}) {
          const RangeSettings settings{ParameterStates({ParameterState::replicated, ParameterState::zero3}),
                                       recompute,
                                       {1000, 1, price, 4 * price}};
          CHECK(solve_by_elimination(PricedLayer(full, settings).problem()).objective ==
                solve_by_elimination(PricedLayer(thinned, settings).problem()).objective);
        }
    }
  }
}
