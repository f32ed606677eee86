#include "graphs/attention_core.hpp"

#include <algorithm>
#include <map>

namespace meshloom {
namespace {

// Two or more operands, none of them a parameter.
bool multiplies_activations(const Graph& graph, const Op& op) {
  return op.kind == OpKind::einsum && op.inputs.size() > 1 &&
         std::all_of(op.inputs.begin(), op.inputs.end(),
                     [&](TensorId t) { return graph.tensor(t).role != TensorRole::parameter; });
}

bool may_lie_between(OpKind kind) {
  return kind == OpKind::scale || kind == OpKind::add || kind == OpKind::multiply || kind == OpKind::dropout ||
         kind == OpKind::reshape || kind == OpKind::broadcast;
}

// The core around one softmax.
class CoreFinder {
 public:
  CoreFinder(const Graph& graph, const GraphRelations& relations) : graph_(graph), relations_(relations) {}

  // Empty: the softmax belongs to none.
  std::vector<OpId> around(OpId softmax) {
    std::vector<OpId> ops{softmax};
    const bool made = add_producers(graph_.op(softmax).inputs.front(), ops);
    const bool used = made && add_consumers(graph_.op(softmax).outputs.front(), ops);
    return used ? ops : std::vector<OpId>{};
  }

 private:
  // Adds the ops from a product of activations to the tensor. False: there is no such product.
  bool add_producers(TensorId tensor, std::vector<OpId>& ops) {
    const std::optional<OpId> producer = relations_.producer[index(tensor)];
    if (!producer) return false;
    const auto [known, is_new] = known_.emplace(*producer, false);
    if (!is_new) return known->second;
    const Op& op = graph_.op(*producer);
    bool found = multiplies_activations(graph_, op);
    if (!found && may_lie_between(op.kind))
      for (const TensorId input : op.inputs) found = add_producers(input, ops) || found;
    if (found) ops.push_back(*producer);
    return known_[*producer] = found;
  }

  bool add_consumers(TensorId tensor, std::vector<OpId>& ops) {
    bool any = false;
    for (const OpId consumer : relations_.consumers[index(tensor)]) {
      const auto [known, is_new] = known_.emplace(consumer, false);
      if (!is_new) {
        any = any || known->second;
        continue;
      }
      const Op& op = graph_.op(consumer);
      bool found = multiplies_activations(graph_, op);
      if (!found && may_lie_between(op.kind)) found = add_consumers(op.outputs.front(), ops);
      if (found) ops.push_back(consumer);
      known_[consumer] = found;
      any = any || found;
    }
    return any;
  }

  const Graph& graph_;
  const GraphRelations& relations_;
  std::map<OpId, bool> known_;  // whether a product was found through the op
};

}  // namespace

std::vector<bool> attention_core(const Graph& graph, const GraphRelations& relations) {
  std::vector<bool> result(graph.ops.size(), false);
  for (std::uint32_t o = 0; o < graph.ops.size(); ++o) {
    if (graph.ops[o].kind == OpKind::attention) result[o] = true;
    if (graph.ops[o].kind != OpKind::softmax) continue;
    for (const OpId op : CoreFinder(graph, relations).around(OpId{o})) result[index(op)] = true;
  }
  return result;
}

}  // namespace meshloom
