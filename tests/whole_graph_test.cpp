#include "planner/whole_graph.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "tests/mesh_case.hpp"

using namespace meshloom;

namespace {

Graph tiny_gpt(std::int64_t layers, bool tied) {
  return build_gpt({.layers = layers, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32, .tied_embeddings = tied});
}

Graph tiny_moe() {
  MoeOptions options;
  options.gpt = {.layers = 4, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32};
  options.experts = 4;
  return build_moe(options);
}

// Compute, memory and links all count for tensors of a few bytes; a picosecond is far below 10^-9 of a step.
constexpr double microbatches = 1e6;
Cluster tight_cluster(std::int64_t devices) {
  return toy_cluster({.devices = devices, .flops_per_s = 1e9, .memory_bytes_per_s = 3e8, .link_bytes_per_s = 1.7e8});
}

RangeSettings settings_for(ParameterState state, Recompute recompute, double seconds_per_byte) {
  return {state, recompute, {microbatches, 1, seconds_per_byte, seconds_per_byte}};
}

double objective_of_ranges(MeshCase& test, const RangeSettings& settings) {
  return weighted(test.cost(settings, 0, test.layers() - 1), settings.weights);
}

WholeGraph whole_of(MeshCase& test, const WholeGraphOptions& options) {
  return whole_graph_problem(test.solver().context(), test.space().layers, options);
}

// What the range solver chooses, as choices of the models with all choices.
RangeChoices chosen_by_ranges(MeshCase& test, const RangeSettings& settings) {
  RangeChoices choices = test.solver().ranges().choices(settings, 0, test.layers() - 1).value();
  for (std::size_t l = 0; l < choices.size(); ++l)
    for (std::size_t n = 0; n < choices[l].size(); ++n)
      choices[l][n] = test.solver().ranges().thinned(l).original[n][choices[l][n]];
  return choices;
}

// A range solver's choices as the problem's; usage nodes take what their edges allow.
std::vector<std::uint32_t> translated(const WholeGraph& whole, const RangeChoices& ranges, ParameterState state) {
  std::vector<std::uint32_t> choices(whole.nodes.size());
  for (std::size_t n = 0; n < whole.nodes.size(); ++n) {
    const WholeGraphNode& node = whole.nodes[n];
    for (std::uint32_t k = 0; k < node.choices.size(); ++k)
      if (node.choices[k].choice == ranges[node.layer][node.model_node] && node.choices[k].state == state)
        choices[n] = k;
  }
  const IntraOpProblem& problem = whole.problem;
  for (std::size_t n = 0; n < whole.nodes.size(); ++n) {
    if (whole.nodes[n].kind != WholeGraphNode::Kind::usage) continue;
    std::vector<bool> allowed(problem.nodes[n].costs.size(), true);
    for (const IntraOpEdge& edge : problem.edges)
      for (std::uint32_t k = 0; k < allowed.size(); ++k) {
        const std::size_t columns = problem.nodes[edge.b].costs.size();
        if (edge.a == n) allowed[k] = allowed[k] && edge.costs[k * columns + choices[edge.b]] < infinite_cost;
        if (edge.b == n) allowed[k] = allowed[k] && edge.costs[choices[edge.a] * columns + k] < infinite_cost;
      }
    REQUIRE(std::count(allowed.begin(), allowed.end(), true) == 1);
    choices[n] = static_cast<std::uint32_t>(std::find(allowed.begin(), allowed.end(), true) - allowed.begin());
  }
  return choices;
}

Recipe recipe_that_regathers() {
  Recipe recipe = find_recipe("neutral");
  recipe.regather_saved_activations = true;
  return recipe;
}

}  // namespace

TEST_CASE("without a limit the whole graph's optimum is the range solver's for all layers as one stage") {
  const std::vector<std::vector<std::int64_t>> meshes{{2}, {4}, {2, 2}};
  for (const std::vector<std::int64_t>& mesh : meshes)
    for (const Graph& graph : {tiny_gpt(1, true), tiny_gpt(3, false), tiny_moe()}) {
      MeshCase test(graph, tight_cluster(4), mesh_of(mesh), find_recipe("neutral"), 4);
      for (const ParameterState state : {ParameterState::replicated, ParameterState::zero3}) {
        const Recompute recompute = mesh.size() == 1 ? Recompute::none : Recompute::full;
        const RangeSettings settings = settings_for(state, recompute, 0);
        const WholeGraph whole = whole_of(test, {settings.weights, {state}, recompute, {}});
        check_problem(whole.problem);
        const IntraOpSolution solution = solve_by_elimination(whole.problem);
        CHECK(solution.status == SolveStatus::optimal);
        CHECK(static_cast<double>(solution.objective) * 1e-12 ==
              Approx(objective_of_ranges(test, settings)).epsilon(1e-9));
      }
    }
}

TEST_CASE("forty equal layers cost in one range what they cost in one problem of all their nodes") {
  for (const bool tied : {true, false}) {
    MeshCase test(tiny_gpt(40, tied), tight_cluster(4), mesh_of({2, 2}), find_recipe("neutral"), 4);
    const RangeSettings settings = settings_for(ParameterState::zero1, Recompute::none, 0);
    const WholeGraph whole = whole_of(test, {settings.weights, {ParameterState::zero1}, Recompute::none, Bytes(1e9)});
    const Cost cost = test.cost(settings, 0, test.layers() - 1);
    CHECK(static_cast<double>(solve_by_elimination(whole.problem).objective) * 1e-12 ==
          Approx(weighted(cost, settings.weights)).epsilon(1e-9));
    const auto choices = translated(whole, chosen_by_ranges(test, settings), ParameterState::zero1);
    CHECK(static_cast<double>(cost_of(whole.problem, choices)) * 1e-12 ==
          Approx(weighted(cost, settings.weights)).epsilon(1e-9));
    CHECK(static_cast<double>(peak_usage(whole.problem, choices)) ==
          Approx((cost.fixed + cost.activations).value()).epsilon(1e-9));
  }
}

TEST_CASE("an op's decision is the strategy that was chosen for it") {
  MeshCase test(tiny_gpt(2, true), tight_cluster(4), mesh_of({2, 2}), find_recipe("neutral"), 4);
  const RangeSettings settings = settings_for(ParameterState::zero1, Recompute::none, 0);
  const WholeGraph whole = whole_of(test, {settings.weights, {ParameterState::zero1}, Recompute::none, {}});
  const RangeChoices ranges = chosen_by_ranges(test, settings);
  const std::vector<OpDecision> decisions = op_decisions(whole, translated(whole, ranges, ParameterState::zero1));
  REQUIRE(decisions.size() == test.space().input.graph.ops.size());
  for (std::size_t l = 0; l < test.layers(); ++l)
    for (std::size_t p = 0; p < test.space().layers.layers[l].ops.size(); ++p) {
      const OpDecision& decision = decisions[index(test.space().layers.layers[l].ops[p])];
      CHECK(decision.strategy.axes ==
            test.solver().ranges().full_model(l).nodes[p].choices[ranges[l][p]].strategy.axes);
      CHECK(decision.state == ParameterState::zero1);
    }
}

TEST_CASE("choices cost and hold in the whole graph what they cost and hold in its layers") {
  for (const Recipe& recipe : {find_recipe("neutral"), recipe_that_regathers()})
    for (const Graph& graph : {tiny_gpt(2, true), tiny_moe()})
      for (const double price : {0.0, 1e-3, 1.0}) {  // seconds a byte: dearer memory, other choices
        MeshCase test(graph, tight_cluster(4), mesh_of({2, 2}), recipe, 4);
        const RangeSettings settings = settings_for(ParameterState::zero1, Recompute::none, price);
        const WholeGraph whole =
            whole_of(test, {{microbatches, 1, 0, 0}, {ParameterState::zero1}, Recompute::none, Bytes(1e9)});
        check_problem(whole.problem);
        const Cost cost = test.cost(settings, 0, test.layers() - 1);
        const RangeChoices ranges = chosen_by_ranges(test, settings);
        const std::vector<std::uint32_t> choices = translated(whole, ranges, ParameterState::zero1);
        CHECK(static_cast<double>(cost_of(whole.problem, choices)) * 1e-12 ==
              Approx(weighted(cost, {microbatches, 1, 0, 0})).epsilon(1e-9));
        CHECK(static_cast<double>(peak_usage(whole.problem, choices)) ==
              Approx((cost.fixed + cost.activations).value()).epsilon(1e-9));
      }
}

TEST_CASE("under every recompute choices cost and hold in the whole graph what they do in its layers") {
  const Graph unfused =
      build_gpt({.layers = 3, .hidden = 16, .heads = 4, .seq_len = 8, .vocab = 32, .fused_attention = false});
  for (const RecomputeScope scope : {RecomputeScope::blocks, RecomputeScope::all, RecomputeScope::all_but_last})
    for (const Recompute recompute : all_recomputes) {
      Recipe recipe = scope == RecomputeScope::blocks ? recipe_that_regathers() : find_recipe("neutral");
      recipe.recompute_scope = scope;
      CAPTURE(name(scope), name(recompute));
      MeshCase test(unfused, tight_cluster(4), mesh_of({2, 2}), recipe, 4);
      const RangeSettings settings = settings_for(ParameterState::zero1, recompute, 1e-3);
      const WholeGraph whole =
          whole_of(test, {{microbatches, 1, 0, 0}, {ParameterState::zero1}, recompute, Bytes(1e9)});
      check_problem(whole.problem);
      const Cost cost = test.cost(settings, 0, test.layers() - 1);
      const auto choices = translated(whole, chosen_by_ranges(test, settings), ParameterState::zero1);
      CHECK(static_cast<double>(cost_of(whole.problem, choices)) * 1e-12 ==
            Approx(weighted(cost, {microbatches, 1, 0, 0})).epsilon(1e-9));
      const auto peak = static_cast<double>(peak_usage(whole.problem, choices));
      CHECK(peak <= (cost.fixed + cost.activations + cost.recomputed).value() * (1 + 1e-12));
      CHECK(peak >= (cost.fixed + cost.activations).value() * (1 - 1e-12));
    }
}

TEST_CASE("under full recompute what layers save between them stays, and one layer at a time comes back") {
  MeshCase test(tiny_gpt(3, false), tight_cluster(4), mesh_of({4}), find_recipe("neutral"), 4);
  const RangeSettings settings = settings_for(ParameterState::replicated, Recompute::full, 0);
  const WholeGraph whole =
      whole_of(test, {settings.weights, {ParameterState::replicated}, Recompute::full, Bytes(1e9)});
  const Cost cost = test.cost(settings, 0, test.layers() - 1);
  const auto choices = translated(whole, chosen_by_ranges(test, settings), ParameterState::replicated);
  const auto peak = static_cast<double>(peak_usage(whole.problem, choices));
  // The largest layer is h2, whose backward begins when only the head's input has gone.
  CHECK(peak <= (cost.fixed + cost.activations + cost.recomputed).value());
  CHECK(peak > (cost.fixed + cost.activations).value());
}

TEST_CASE("a strategy keeps several parameter states only where one is faster and another smaller") {
  // Without a limit bytes do not count, so each strategy has one choice.
  MeshCase test(tiny_gpt(1, true), tight_cluster(4), mesh_of({4}), find_recipe("neutral"), 4);
  const std::vector<ParameterState> states{ParameterState::replicated, ParameterState::zero1, ParameterState::zero3};
  const auto most_states = [&](std::optional<Bytes> memory) {
    std::size_t most = 0;
    const WholeGraph whole = whole_of(test, {{microbatches, 1, 0, 0}, states, Recompute::none, memory});
    for (const WholeGraphNode& node : whole.nodes)
      for (const WholeGraphNode::Choice& choice : node.choices)
        most = std::max<std::size_t>(most,
                                     std::count_if(node.choices.begin(), node.choices.end(),
                                                   [&](const auto& other) { return other.choice == choice.choice; }));
    return most;
  };
  CHECK(most_states({}) == 1);
  CHECK(most_states(Bytes(1e9)) > 1);
}

TEST_CASE("a limit below the free optimum's peak costs time and is kept") {
  MeshCase test(tiny_gpt(1, true), tight_cluster(4), mesh_of({4}), find_recipe("neutral"), 4);
  WholeGraphOptions options{
      {microbatches, 1, 0, 0}, {ParameterState::replicated, ParameterState::zero3}, Recompute::none, Bytes(1e9)};
  WholeGraph whole = whole_of(test, options);
  const IntraOpSolution free = solve_by_elimination(whole.problem);
  const TotalCost peak = peak_usage(whole.problem, free.choices);
  whole.problem.usage_limit = static_cast<std::int64_t>(peak) * 3 / 4;
  const IntraOpSolution bound = solve_intra_op(whole.problem);
  REQUIRE(bound.status == SolveStatus::optimal);
  CHECK(peak_usage(whole.problem, bound.choices) <= *whole.problem.usage_limit);
  CHECK(bound.objective > free.objective);
}
