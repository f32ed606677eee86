#include "planner/layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "planner/layer_clustering.hpp"

namespace meshloom {
namespace {

struct Touch {
  std::size_t first = SIZE_MAX, last = 0;
  void add(std::size_t layer) { first = std::min(first, layer), last = std::max(last, layer); }
};

std::vector<Touch> touches(const Graph& graph, const PlanningLayers& layers) {
  std::vector<Touch> result(graph.tensors.size());
  for (std::size_t o = 0; o < graph.ops.size(); ++o) {
    for (const TensorId t : graph.ops[o].inputs) result[index(t)].add(layers.layer_of[o]);
    for (const TensorId t : graph.ops[o].outputs) result[index(t)].add(layers.layer_of[o]);
  }
  return result;
}

bool saves(const TrainingGraph& training, const Op& op, OpId id, TensorId tensor) {
  const SavedTensors& saved = training.gradients[index(id)].saved;
  const auto reads = [&](const std::vector<std::size_t>& positions, const std::vector<TensorId>& tensors) {
    return std::any_of(positions.begin(), positions.end(), [&](std::size_t p) { return tensors[p] == tensor; });
  };
  return reads(saved.inputs, op.inputs) || reads(saved.outputs, op.outputs);
}

// Needs the interfaces of all layers.
void number_variables(PlanningLayers& layers) {
  std::map<TensorId, std::size_t> ranks;
  for (std::size_t l = 0; l < layers.layers.size(); ++l) {
    std::size_t activations = 0, parameters = 0;
    for (InterfaceVariable& v : layers.layers[l].variables) {
      if (v.first_layer == l) ranks[v.tensor] = v.parameter ? parameters++ : activations++;
      v.rank = ranks.at(v.tensor);
    }
  }
}

std::vector<InterfaceVariable> interface_of(const Graph& graph, const TrainingGraph& training, std::size_t layer,
                                            const std::vector<OpId>& ops, const std::vector<Touch>& touch) {
  std::vector<InterfaceVariable> variables;
  for (const OpId id : ops) {
    const Op& op = graph.op(id);
    std::vector<TensorId> operands = op.inputs;
    operands.insert(operands.end(), op.outputs.begin(), op.outputs.end());
    for (const TensorId t : operands) {
      const Touch& span = touch[index(t)];
      const TensorRole role = graph.tensor(t).role;
      if (span.first == span.last || role == TensorRole::input) continue;
      auto found = std::find_if(variables.begin(), variables.end(), [&](const auto& v) { return v.tensor == t; });
      if (found == variables.end()) {
        const bool parameter = role == TensorRole::parameter;
        variables.push_back({t, parameter, span.first, span.last, 0, !parameter && span.first != layer, false});
        found = std::prev(variables.end());
      }
      found->saved_here = found->saved_here || (!found->parameter && saves(training, op, id, t));
    }
  }
  return variables;
}

// Everything that decides a layer's costs and how it joins its neighbours, as text.
std::string structure_of(const Graph& graph, const TrainingGraph& training, const PlanningLayers& layers,
                         const PinnedGraph& pins, std::size_t position) {
  const PlanningLayer& layer = layers.layers[position];
  std::string text;
  std::map<TensorId, std::size_t> local;
  const auto crosses = [&](TensorId t) {
    return std::any_of(layer.variables.begin(), layer.variables.end(), [&](const auto& v) { return v.tensor == t; });
  };
  const auto describe = [&](TensorId t) {
    const Tensor& tensor = graph.tensor(t);
    const auto [entry, added] = local.emplace(t, local.size());
    text += fmt::format(" t{}", entry->second);
    if (!added) return;
    text += fmt::format(":{}{}{}", name(tensor.dtype), static_cast<int>(tensor.role),
                        training.relations.needs_gradient[index(t)] ? "g" : "");
    for (const Extent& extent : tensor.shape)
      text += fmt::format("x{}{}", extent.size, extent.scales_with_batch ? "b" : "");
    text += pins.demands(t);
    if (crosses(t)) return;  // who reads it elsewhere is the other layers' business
    text += fmt::format("c{}", training.relations.consumers[index(t)].size());
  };
  for (const OpId id : layer.ops) {
    const Op& op = graph.op(id);
    text += fmt::format("\n{} {} {}{}/{}/{}/{}", traits(op.kind).name, print_rule(op.rule), op.causal ? "causal " : "",
                        op.custom_flops_per_element, op.custom_bytes_per_element, op.custom_backward_cost,
                        training.gradients[index(id)].kernels.size());
    text += pins.demands(id);
    for (const Extent& extent : op.factor_sizes)
      text += fmt::format(" {}{}", extent.size, extent.scales_with_batch ? "b" : "");
    for (const TensorId t : op.inputs) describe(t);
    text += " ->";
    for (const TensorId t : op.outputs) describe(t);
  }
  for (const InterfaceVariable& v : layer.variables) {
    text += fmt::format("\nv t{} {} {} {} {}", local.at(v.tensor), position - v.first_layer, v.last_layer - position,
                        v.rank, v.saved_here);
  }
  return text;
}

std::vector<GraphLayer> clustered_layers(const Graph& graph, const TrainingGraph& training,
                                         std::optional<std::size_t> count) {
  std::vector<GraphLayer> result;
  for (std::vector<OpId>& ops : cluster_layers(graph, training, {.layers = count}))
    result.push_back({fmt::format("l{}", result.size()), std::move(ops)});
  return result;
}

std::vector<GraphLayer> grouped_layers(const Graph& graph, const TrainingGraph& training,
                                       const std::vector<GraphLayer>& tagged, std::size_t count) {
  ClusteringOptions options{.layers = count};
  for (const GraphLayer& layer : tagged) options.may_begin.push_back(index(layer.ops.front()));
  std::vector<GraphLayer> result;
  auto first = tagged.begin();
  for (std::vector<OpId>& ops : cluster_layers(graph, training, options)) {
    const auto last =
        std::find_if(first, tagged.end(), [&](const GraphLayer& layer) { return layer.ops.back() == ops.back(); });
    result.push_back({first == last ? first->name : first->name + "…" + last->name, std::move(ops)});
    first = last + 1;
  }
  return result;
}

std::vector<GraphLayer> chosen_layers(const Graph& graph, const TrainingGraph& training,
                                      std::optional<std::size_t> count) {
  const bool has_tags = std::any_of(graph.ops.begin(), graph.ops.end(), [](const Op& op) { return !op.layer.empty(); });
  if (!has_tags) return clustered_layers(graph, training, count);
  std::vector<GraphLayer> tagged = tagged_layers(graph);
  return count && *count != tagged.size() ? grouped_layers(graph, training, tagged, *count) : tagged;
}

}  // namespace

RangeClasses range_classes(const PlanningLayers& layers) {
  RangeClasses result;
  result.classes.emplace_back();
  result.of.resize(layers.layers.size());
  std::map<std::pair<std::size_t, std::uint32_t>, std::size_t> child;
  for (std::size_t first = 0; first < layers.layers.size(); ++first) {
    std::size_t current = 0;
    for (std::size_t last = first; last < layers.layers.size(); ++last) {
      const auto [entry, added] = child.emplace(std::pair(current, layers.layers[last].key), result.classes.size());
      if (added) result.classes.push_back({current, first, last});
      current = entry->second;
      result.of[first].push_back(current);
    }
  }
  return result;
}

PlanningLayers planning_layers(const Graph& graph, const TrainingGraph& training, std::optional<std::size_t> count,
                               const PinnedGraph& pins) {
  PlanningLayers result;
  result.layer_of.resize(graph.ops.size());
  for (GraphLayer& layer : chosen_layers(graph, training, count)) {
    for (const OpId id : layer.ops) result.layer_of[index(id)] = result.layers.size();
    result.layers.push_back({std::move(layer.name), std::move(layer.ops), {}, 0});
  }
  const std::vector<Touch> touch = touches(graph, result);
  for (std::size_t l = 0; l < result.layers.size(); ++l)
    result.layers[l].variables = interface_of(graph, training, l, result.layers[l].ops, touch);
  number_variables(result);
  std::map<std::string, std::uint32_t> keys;
  for (std::size_t l = 0; l < result.layers.size(); ++l)
    result.layers[l].key =
        keys.emplace(structure_of(graph, training, result, pins, l), static_cast<std::uint32_t>(keys.size()))
            .first->second;
  result.cuts.resize(result.layers.empty() ? 0 : result.layers.size() - 1);
  for (std::size_t t = 0; t < graph.tensors.size(); ++t)
    if (graph.tensors[t].role == TensorRole::intermediate)
      for (std::size_t cut = touch[t].first; cut < touch[t].last && touch[t].first != SIZE_MAX; ++cut)
        result.cuts[cut].push_back(TensorId{static_cast<std::uint32_t>(t)});
  return result;
}

}  // namespace meshloom
