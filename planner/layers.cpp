#include "planner/layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "graphs/attention_core.hpp"
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

// Whether an activation is saved for one op of a layer that makes or reads it: the op's backward reads it, or its
// repeated forward starts from it, as nothing in the layer makes it again.
bool saved_for(const TrainingGraph& training, const Op& op, OpId id, TensorId tensor, bool repeated, bool made_again) {
  if (!repeated) return saves(training, op, id, tensor);
  return !made_again && std::find(op.inputs.begin(), op.inputs.end(), tensor) != op.inputs.end();
}

ByRecompute<ForwardRuns> runs_of_producer(const TrainingGraph& training, const PlanningLayer& layer, TensorId tensor) {
  const std::optional<OpId> producer = training.relations.producer[index(tensor)];
  const auto found = producer ? std::find(layer.ops.begin(), layer.ops.end(), *producer) : layer.ops.end();
  if (found == layer.ops.end()) return {};
  return layer.runs[static_cast<std::size_t>(found - layer.ops.begin())];
}

std::vector<InterfaceVariable> interface_of(const Graph& graph, const TrainingGraph& training, std::size_t layer,
                                            const PlanningLayer& planned, const std::vector<Touch>& touch) {
  std::vector<InterfaceVariable> variables;
  for (std::size_t k = 0; k < planned.ops.size(); ++k) {
    const OpId id = planned.ops[k];
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
        variables.push_back({t, parameter, span.first, span.last, 0, !parameter && span.first != layer, {}});
        found = std::prev(variables.end());
      }
      if (found->parameter) continue;
      const ByRecompute<ForwardRuns> making = runs_of_producer(training, planned, t);
      for (std::size_t m = 0; m < making.size(); ++m)
        found->saved[m] = found->saved[m] || saved_for(training, op, id, t, runs_in_backward(planned.runs[k][m]),
                                                       runs_in_backward(making[m]));
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
  for (std::size_t k = 0; k < layer.ops.size(); ++k) {
    const OpId id = layer.ops[k];
    const Op& op = graph.op(id);
    text += fmt::format("\n{} {} {}w{} {}/{}/{}/{}", traits(op.kind).name, print_rule(op.rule),
                        op.causal ? "causal " : "", op.window, op.custom_flops_per_element, op.custom_bytes_per_element,
                        op.custom_backward_cost, training.gradients[index(id)].kernels.size());
    for (const ForwardRuns runs : layer.runs[k]) text += "-rb"[static_cast<std::size_t>(runs)];
    text += pins.demands(id);
    for (const Extent& extent : op.factor_sizes)
      text += fmt::format(" {}{}", extent.size, extent.scales_with_batch ? "b" : "");
    for (const TensorId t : op.inputs) describe(t);
    text += " ->";
    for (const TensorId t : op.outputs) describe(t);
  }
  for (const InterfaceVariable& v : layer.variables) {
    text +=
        fmt::format("\nv t{} {} {} {}", local.at(v.tensor), position - v.first_layer, v.last_layer - position, v.rank);
    for (const bool saved : v.saved) text += saved ? " s" : " -";
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

namespace {

// Layers with their interfaces and keys.
PlanningLayers layers_with_keys(const Graph& graph, const TrainingGraph& training, std::vector<GraphLayer> chosen,
                                const PinnedGraph& pins, const RepeatedOps& repeated) {
  PlanningLayers result;
  result.layer_of.resize(graph.ops.size());
  for (GraphLayer& layer : chosen) {
    PlanningLayer& planned = result.layers.emplace_back();
    for (const OpId id : layer.ops) {
      result.layer_of[index(id)] = result.layers.size() - 1;
      planned.runs.push_back(repeated.of(id));
    }
    planned.name = std::move(layer.name);
    planned.ops = std::move(layer.ops);
  }
  const std::vector<Touch> touch = touches(graph, result);
  for (std::size_t l = 0; l < result.layers.size(); ++l)
    result.layers[l].variables = interface_of(graph, training, l, result.layers[l], touch);
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

// By OpId: the layers from the first to the last that have an equal one.
std::vector<bool> ops_of_blocks(const Graph& graph, const TrainingGraph& training) {
  const std::vector<ForwardRuns> none(graph.ops.size(), ForwardRuns::in_forward);
  const PlanningLayers layers = layers_with_keys(graph, training, chosen_layers(graph, training, {}), {}, {none, none});
  std::vector<std::size_t> count(layers.layers.size(), 0);
  for (const PlanningLayer& layer : layers.layers) ++count[layer.key];
  const auto repeated = [&](const PlanningLayer& layer) { return count[layer.key] > 1; };
  const auto first = std::find_if(layers.layers.begin(), layers.layers.end(), repeated);
  const auto behind_last = std::find_if(layers.layers.rbegin(), layers.layers.rend(), repeated).base();
  if (first == layers.layers.end()) return std::vector<bool>(graph.ops.size(), true);
  std::vector<bool> result(graph.ops.size(), false);
  for (auto layer = first; layer != behind_last; ++layer)
    for (const OpId op : layer->ops) result[index(op)] = true;
  return result;
}

std::vector<ForwardRuns> twice(const std::vector<bool>& repeated) {
  std::vector<ForwardRuns> result;
  for (const bool each : repeated) result.push_back(each ? ForwardRuns::in_both : ForwardRuns::in_forward);
  return result;
}

std::vector<ForwardRuns> fully_repeated(const Graph& graph, const TrainingGraph& training,
                                        const std::vector<bool>& blocks, RecomputeScope scope) {
  std::vector<ForwardRuns> all(graph.ops.size(), ForwardRuns::in_both);
  switch (scope) {
    case RecomputeScope::blocks:
      break;
    case RecomputeScope::all:
      return all;
    case RecomputeScope::all_but_last: {
      const std::vector<GraphLayer> layers = chosen_layers(graph, training, {});
      for (const OpId op : layers.back().ops) all[index(op)] = ForwardRuns::in_backward;
      return all;
    }
  }
  return twice(blocks);
}

bool is_cheap(OpKind kind) {
  switch (kind) {
    case OpKind::layer_norm:
    case OpKind::rms_norm:
    case OpKind::gelu:
    case OpKind::relu:
    case OpKind::silu:
    case OpKind::multiply:
    case OpKind::rotary:
      return true;
    default:
      return false;
  }
}

bool multiplies_parameter(const Graph& graph, const Op& op) {
  return op.kind == OpKind::einsum && std::any_of(op.inputs.begin(), op.inputs.end(), [&](TensorId t) {
           return graph.tensor(t).role == TensorRole::parameter;
         });
}

// The second, fourth, … product of each block, and the sums that their results go into.
void repeat_alternate_products(const Graph& graph, const std::vector<bool>& in_blocks, std::vector<bool>& repeated) {
  std::map<std::string, std::size_t> products;
  for (std::size_t o = 0; o < graph.ops.size(); ++o) {
    const Op& op = graph.ops[o];
    if (!in_blocks[o]) continue;
    if (op.kind == OpKind::add) repeated[o] = true;
    if (multiplies_parameter(graph, op) && ++products[op.layer] % 2 == 0) repeated[o] = true;
  }
}

// A fused core keeps little and takes long.
void repeat_cheap_ops(const Graph& graph, const std::vector<bool>& in_blocks, std::vector<bool>& repeated) {
  for (std::size_t o = 0; o < graph.ops.size(); ++o) {
    if (graph.ops[o].kind == OpKind::attention) repeated[o] = false;
    if (in_blocks[o] && is_cheap(graph.ops[o].kind)) repeated[o] = true;
  }
}

}  // namespace

RepeatedOps repeated_ops(const Graph& graph, const TrainingGraph& training, RecomputeScope scope,
                         SelectiveRecompute selective) {
  std::vector<bool> selected = attention_core(graph, training.relations);
  const std::vector<bool> blocks = ops_of_blocks(graph, training);
  if (selective != SelectiveRecompute::attention) repeat_cheap_ops(graph, blocks, selected);
  if (selective == SelectiveRecompute::alternate_products) repeat_alternate_products(graph, blocks, selected);
  return {twice(selected), fully_repeated(graph, training, blocks, scope)};
}

bool saves_memory(const Graph& graph, const TrainingGraph& training, const std::vector<ForwardRuns>& repeated) {
  const auto again = [&](OpId op) { return runs_in_backward(repeated[index(op)]); };
  for (std::uint32_t t = 0; t < graph.tensors.size(); ++t) {
    const std::optional<OpId> producer = training.relations.producer[t];
    if (!producer || !again(*producer)) continue;
    std::vector<OpId> readers;
    if (saves(training, graph.op(*producer), *producer, TensorId{t})) readers.push_back(*producer);
    for (const OpId consumer : training.relations.consumers[t])
      if (saves(training, graph.op(consumer), consumer, TensorId{t})) readers.push_back(consumer);
    if (!readers.empty() && std::all_of(readers.begin(), readers.end(), again)) return true;
  }
  return false;
}

PlanningLayers planning_layers(const Graph& graph, const TrainingGraph& training, std::optional<std::size_t> count,
                               const PinnedGraph& pins, RecomputeScope scope, SelectiveRecompute selective) {
  return layers_with_keys(graph, training, chosen_layers(graph, training, count), pins,
                          repeated_ops(graph, training, scope, selective));
}

}  // namespace meshloom
