#include "planner/layer_elimination.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <random>

namespace meshloom {
namespace {

Seconds random_time(std::mt19937& random) { return Seconds(static_cast<double>(random() % 64) / 16); }

ParameterChoices random_parameter(std::mt19937& random) {
  ParameterChoices parameter;
  for (ParameterCost& state : parameter) {
    state.parameters = Bytes(static_cast<double>(random() % 16));
    state.optimizer = Bytes(static_cast<double>(random() % 16));
    state.update = random_time(random);
    if (random() % 2 == 0) state.backward = {{Collective::reduce_scatter, Bytes(1), random_time(random)}};
    if (random() % 2 == 0) state.per_step = {{Collective::all_gather, Bytes(1), random_time(random)}};
  }
  return parameter;
}

ByRecompute<RecomputePart> random_parts(std::mt19937& random) {
  ByRecompute<RecomputePart> parts;
  for (RecomputePart& part : parts) part = {static_cast<ForwardRuns>(random() % 3), static_cast<Saving>(random() % 3)};
  return parts;
}

// Nodes of up to 4 choices with and without parameters, joined at random; some pairs by two edges; some conversions and
// choices impossible.
LayerModel random_model(std::mt19937& random) {
  LayerModel model;
  model.interior = 1 + random() % 4;
  const std::size_t nodes = model.interior + 1 + random() % 2;
  for (std::size_t n = 0; n < nodes; ++n) {
    const bool parameter = n < model.interior && random() % 4 == 0;
    ModelNode node{parameter ? ModelNode::Kind::parameter : ModelNode::Kind::op, {}, {}, {}, random_parts(random)};
    for (std::size_t c = 0, choices = 1 + random() % 4; c < choices; ++c) {
      Choice choice;
      choice.forward = n < model.interior && random() % 8 == 0 ? impossible : random_time(random);
      choice.backward = random_time(random);
      choice.saved = Bytes(static_cast<double>(random() % 16));
      for (std::size_t p = random() % 3; p > 0; --p) choice.parameters.push_back(random_parameter(random));
      node.choices.push_back(std::move(choice));
    }
    model.nodes.push_back(std::move(node));
  }
  for (std::uint32_t a = 0; a < nodes; ++a)
    for (std::uint32_t b = 0; b < nodes; ++b) {
      if (a == b || random() % 2 == 0) continue;
      ModelEdge edge{a, b, {}, 0, {}, random_parts(random)};
      for (const Choice& from : model.nodes[a].choices)
        for (const Choice& to : model.nodes[b].choices) {
          const bool blocked = random() % 8 == 0 || !(from.forward < impossible) || !(to.forward < impossible);
          edge.costs.push_back(
              blocked ? EdgeCost{impossible, impossible, {}}
                      : EdgeCost{random_time(random), random_time(random), Bytes(static_cast<double>(random() % 16))});
        }
      model.edges.push_back(std::move(edge));
    }
  return model;
}

RangeSettings random_settings(std::mt19937& random) {
  RangeSettings settings;
  settings.states =
      ParameterStates(std::vector{all_parameter_states[random() % 4], all_parameter_states[random() % 4]});
  settings.recompute = all_recomputes[random() % all_recomputes.size()];
  settings.weights = {static_cast<double>(1 + random() % 8), static_cast<double>(random() % 2),
                      static_cast<double>(random() % 3) / 4, static_cast<double>(random() % 3) / 4};
  return settings;
}

bool possible(const LayerModel& model, const std::vector<std::uint32_t>& choices) {
  for (std::size_t n = 0; n < model.interior; ++n)
    if (!(model.nodes[n].choices[choices[n]].forward < impossible)) return false;
  for (const ModelEdge& edge : model.edges)
    if (!(edge.costs[choices[edge.a] * model.nodes[edge.b].choices.size() + choices[edge.b]].forward < impossible))
      return false;
  return true;
}

// Calls visit(entry, choices) for every assignment of all nodes, the last node's choice running fastest.
template <typename Visit>
void for_each_assignment(const LayerModel& model, const Visit& visit) {
  std::vector<std::uint32_t> choices(model.nodes.size(), 0);
  while (true) {
    std::size_t entry = 0;
    for (std::size_t n = model.interior; n < choices.size(); ++n)
      entry = entry * model.nodes[n].choices.size() + choices[n];
    visit(entry, choices);
    std::size_t n = choices.size();
    while (n-- > 0) {
      if (++choices[n] < model.nodes[n].choices.size()) break;
      choices[n] = 0;
    }
    if (n == SIZE_MAX) return;
  }
}

// The least cost of each entry, by enumeration; `held` as in LayerElimination::run.
std::vector<double> enumerated(const LayerModel& model, const RangeSettings& settings, std::size_t entries,
                               std::optional<LayerElimination::Held> held) {
  std::vector<double> least(entries, std::numeric_limits<double>::infinity());
  for_each_assignment(model, [&](std::size_t entry, const std::vector<std::uint32_t>& choices) {
    if (!possible(model, choices) || (held && choices[held->node] != held->choice)) return;
    least[entry] = std::min(least[entry], weighted(cost_of_choices(model, settings, choices), settings.weights));
  });
  return least;
}

// Sums of sixteenths and of quarters of bytes are exact, whatever their order.
void check_entries(const LayerModel& model, const LayerElimination& elimination, const RangeSettings& settings,
                   std::optional<LayerElimination::Held> held) {
  const std::vector<double> least = enumerated(model, settings, elimination.scalars().size(), held);
  REQUIRE(elimination.scalars() == least);
  for (std::size_t entry = 0; entry < least.size(); ++entry) {
    if (!(least[entry] < std::numeric_limits<double>::infinity())) continue;
    const std::vector<std::uint32_t> choices = elimination.choices(entry);
    CHECK(possible(model, choices));
    CHECK(weighted(cost_of_choices(model, settings, choices), settings.weights) == least[entry]);
    std::size_t position = 0;
    for (std::size_t n = model.interior; n < choices.size(); ++n)
      position = position * model.nodes[n].choices.size() + choices[n];
    CHECK(position == entry);
    if (held) CHECK(choices[held->node] == held->choice);
  }
}

TEST_CASE("a layer's table holds the least cost of each assignment of its interface", "[layer_elimination]") {
  std::mt19937 random(3);
  int impossible_entries = 0, entries = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const LayerModel model = random_model(random);
    LayerElimination elimination(model);
    for (int run = 0; run < 3; ++run) {  // one setting after the other
      const RangeSettings settings = random_settings(random);
      INFO("trial " << trial << ", run " << run);
      elimination.run(settings);
      check_entries(model, elimination, settings, {});
      for (const double scalar : elimination.scalars())
        impossible_entries += !(scalar < std::numeric_limits<double>::infinity()), ++entries;
    }
  }
  CHECK(impossible_entries > 50);
  CHECK(entries - impossible_entries > 50);
}

TEST_CASE("with one node held, a layer's table knows only that choice", "[layer_elimination]") {
  std::mt19937 random(4);
  for (int trial = 0; trial < 100; ++trial) {
    const LayerModel model = random_model(random);
    LayerElimination elimination(model);
    const RangeSettings settings = random_settings(random);
    for (std::uint32_t node = 0; node < model.nodes.size(); ++node)
      for (std::uint32_t choice = 0; choice < model.nodes[node].choices.size(); ++choice) {
        INFO("trial " << trial << ", node " << node << " at " << choice);
        elimination.run(settings, LayerElimination::Held{node, choice});
        check_entries(model, elimination, settings, LayerElimination::Held{node, choice});
      }
  }
}

TEST_CASE("of equally cheap choices a layer's node takes the lowest", "[layer_elimination]") {
  LayerModel model;
  model.interior = 1;
  for (int n = 0; n < 2; ++n) model.nodes.push_back({ModelNode::Kind::op, {}, {}, std::vector<Choice>(3), {}});
  model.nodes[0].choices[0].forward = Seconds(1);  // dearer than the two behind it, which cost nothing
  model.edges.push_back({0, 1, {}, 0, std::vector<EdgeCost>(9), {}});
  LayerElimination elimination(model);
  elimination.run({});
  CHECK(elimination.scalars() == std::vector<double>{0, 0, 0});
  CHECK(elimination.choices(2) == std::vector<std::uint32_t>{1, 2});
}

}  // namespace
}  // namespace meshloom
