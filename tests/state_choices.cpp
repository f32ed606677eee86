#include "tests/state_choices.hpp"

namespace meshloom {
namespace {

// Copies of a choice whose parameters cost the same whatever state is asked for.
std::vector<Choice> held_in_states(const Choice& choice, const ParameterStates& states) {
  std::vector<Choice> result{choice};
  for (std::size_t p = 0; p < choice.parameters.size(); ++p) {
    std::vector<Choice> extended;
    for (const Choice& partly : result)
      for (const ParameterState state : states.list()) {
        extended.push_back(partly);
        extended.back().parameters[p].fill(choice.parameters[p][static_cast<std::size_t>(state)]);
      }
    result = std::move(extended);
  }
  return result;
}

}  // namespace

LayerModel with_states_as_choices(const LayerModel& model, const ParameterStates& states) {
  LayerModel result = model;
  std::vector<std::vector<std::uint32_t>> original(model.nodes.size());  // by node and new choice
  for (std::size_t n = 0; n < model.nodes.size(); ++n) {
    result.nodes[n].choices.clear();
    for (std::uint32_t c = 0; c < model.nodes[n].choices.size(); ++c)
      for (Choice& choice : held_in_states(model.nodes[n].choices[c], states)) {
        result.nodes[n].choices.push_back(std::move(choice));
        original[n].push_back(c);
      }
  }
  for (std::size_t e = 0; e < model.edges.size(); ++e) {
    const ModelEdge& edge = model.edges[e];
    result.edges[e].costs.clear();
    for (const std::uint32_t a : original[edge.a])
      for (const std::uint32_t b : original[edge.b])
        result.edges[e].costs.push_back(edge.costs[a * model.nodes[edge.b].choices.size() + b]);
  }
  return result;
}

}  // namespace meshloom
