#include "planner/state_choices.hpp"

namespace meshloom {
namespace {

std::vector<StateChoices::Origin> origins_of(const ModelNode& node, const std::vector<ParameterState>& states) {
  std::vector<StateChoices::Origin> result;
  for (std::uint32_t c = 0; c < node.choices.size(); ++c) {
    std::vector<StateChoices::Origin> held{{c, {}}};
    for (std::size_t p = 0; p < node.choices[c].parameters.size(); ++p) {
      std::vector<StateChoices::Origin> extended;
      for (const StateChoices::Origin& partly : held)
        for (const ParameterState state : states) {
          extended.push_back(partly);
          extended.back().states.push_back(state);
        }
      held = std::move(extended);
    }
    result.insert(result.end(), held.begin(), held.end());
  }
  return result;
}

Choice held_in_states(Choice choice, const std::vector<ParameterState>& states) {
  for (std::size_t p = 0; p < states.size(); ++p)
    choice.parameters[p].fill(ParameterCost(choice.parameters[p][static_cast<std::size_t>(states[p])]));
  return choice;
}

}  // namespace

StateChoices states_as_choices(const LayerModel& model, const ParameterStates& states) {
  StateChoices result{model, {}};
  for (std::size_t n = 0; n < model.nodes.size(); ++n) {
    const std::vector<StateChoices::Origin>& origins =
        result.origins.emplace_back(origins_of(model.nodes[n], states.list()));
    result.model.nodes[n].choices.clear();
    for (const StateChoices::Origin& origin : origins)
      result.model.nodes[n].choices.push_back(held_in_states(model.nodes[n].choices[origin.choice], origin.states));
  }
  for (std::size_t e = 0; e < model.edges.size(); ++e) {
    const ModelEdge& edge = model.edges[e];
    result.model.edges[e].costs.clear();
    for (const StateChoices::Origin& a : result.origins[edge.a])
      for (const StateChoices::Origin& b : result.origins[edge.b])
        result.model.edges[e].costs.push_back(edge.costs[a.choice * model.nodes[edge.b].choices.size() + b.choice]);
  }
  return result;
}

}  // namespace meshloom
