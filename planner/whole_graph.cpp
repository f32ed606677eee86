#include "planner/whole_graph.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace meshloom {
namespace {

using Choices = std::vector<WholeGraphNode::Choice>;
using Bytewise = std::vector<std::int64_t>;  // bytes by choice of a model's node

std::int64_t picoseconds(const Cost& cost, const Weights& weights) {
  const double value = weighted(cost, weights) * 1e12;
  return value >= static_cast<double>(infinite_cost) ? infinite_cost : static_cast<std::int64_t>(value);
}

std::int64_t whole_bytes(Bytes bytes) { return static_cast<std::int64_t>(std::llround(bytes.value())); }

// A parameter that several ops use is held gathered throughout.
std::int64_t held_always(const ModelNode& node, const WholeGraphNode::Choice& choice) {
  Bytes held;
  for (const ParameterChoices& parameter : node.choices[choice.choice].parameters) {
    const ParameterCost& cost = parameter[static_cast<std::size_t>(choice.state)];
    held += cost.parameters + cost.gradients + cost.optimizer;
    if (node.kind == ModelNode::Kind::parameter) held += cost.gathered;
  }
  return whole_bytes(held);
}

struct StateCost {
  ParameterState state;
  std::int64_t cost, bytes;
};

// Costs of a node's choices under each state; without a limit bytes do not count.
class StateChoice {
 public:
  StateChoice(const ModelNode& node, const WholeGraphOptions& options) : node_(node), options_(options) {}

  // For each choice of the model the states that no other beats in both cost and bytes.
  template <typename CostOf>
  void choose(const CostOf& cost_of, Choices& choices, std::vector<std::int64_t>& costs) const {
    for (std::uint32_t choice = 0; choice < node_.choices.size(); ++choice) {
      std::vector<StateCost> kept;
      for (const ParameterState state : options_.states) {
        const StateCost next{state, cost_of(choice, state), options_.memory ? held_always(node_, {choice, state}) : 0};
        const auto beats = [](const StateCost& a, const StateCost& b) {
          return a.cost <= b.cost && a.bytes <= b.bytes;
        };
        if (std::any_of(kept.begin(), kept.end(), [&](const StateCost& other) { return beats(other, next); })) continue;
        std::erase_if(kept, [&](const StateCost& other) { return beats(next, other); });
        kept.push_back(next);
      }
      for (const StateCost& each : kept) {
        choices.push_back({choice, each.state});
        costs.push_back(each.cost);
      }
    }
  }

 private:
  const ModelNode& node_;
  const WholeGraphOptions& options_;
};

// When a usage lives, in positions of ops within their layer.
struct Life {
  enum class Kind { never, always, saved, made_again } kind = Kind::never;
  std::size_t from = 0, until = 0;  // made by op `from`, read last by the backward of op `until`
};

struct PartNode {
  IntraOpNode value;
  Life life;
  WholeGraphNode meaning;
};

// One layer's share of the problem, equal for all layers of one key. Nodes are numbered as in the model, interface
// variables included, and then usages.
struct Part {
  std::vector<PartNode> nodes;
  std::vector<IntraOpEdge> edges;
};

class PartBuilder {
 public:
  PartBuilder(const ModelContext& context, const PlanningLayer& layer, const LayerModel& model,
              const WholeGraphOptions& options)
      : context_(context), layer_(layer), model_(model), options_(options) {
    for (std::size_t p = 0; p < layer.ops.size(); ++p) position_[layer.ops[p]] = p;
  }

  Part build() {
    for (const ParameterState state : options_.states)
      by_state_.push_back(PricedLayer(model_, {state, options_.recompute, options_.weights}).problem());
    for (std::uint32_t n = 0; n < model_.nodes.size(); ++n) add_node(n);
    for (const ModelNode& node : model_.nodes) {
      const Saving saving = part_in(node.parts).saving;
      kept_.emplace_back(node.choices.size(), 0), made_again_.emplace_back(node.choices.size(), 0);
      if (saving == Saving::none) continue;
      Bytewise& saved = (saving == Saving::kept ? kept_ : made_again_).back();
      for (std::size_t c = 0; c < saved.size(); ++c) saved[c] = whole_bytes(node.choices[c].saved);
    }
    for (std::size_t e = 0; e < model_.edges.size(); ++e) add_edge(e);
    for (std::uint32_t n = 0; n < model_.interior && options_.memory; ++n) {
      add_saved(n, kept_[n], Life::Kind::saved);
      add_saved(n, made_again_[n], Life::Kind::made_again);
    }
    return std::move(part_);
  }

 private:
  const RecomputePart& part_in(const ByRecompute<RecomputePart>& parts) const {
    return parts[static_cast<std::size_t>(options_.recompute)];
  }

  const Choices& choices(std::uint32_t node) const { return part_.nodes[node].meaning.choices; }

  std::int64_t cost(std::uint32_t node, std::uint32_t choice, ParameterState state) const {
    if (node >= model_.interior)
      return picoseconds(cost_of_variable(model_.nodes[node], choice, {state, options_.recompute, options_.weights}),
                         options_.weights);
    const auto position = std::find(options_.states.begin(), options_.states.end(), state) - options_.states.begin();
    return by_state_[static_cast<std::size_t>(position)].nodes[node].costs[choice];
  }

  void add_node(std::uint32_t n) {
    const ModelNode& node = model_.nodes[n];
    const bool is_op = node.kind == ModelNode::Kind::op;
    PartNode made;
    made.meaning.kind = is_op ? WholeGraphNode::Kind::op : WholeGraphNode::Kind::tensor;
    made.meaning.model_node = n;
    StateChoice(node, options_)
        .choose([&](std::uint32_t choice, ParameterState state) { return cost(n, choice, state); },
                made.meaning.choices, made.value.costs);
    if (options_.memory) {
      Bytewise held;
      for (const WholeGraphNode::Choice& choice : made.meaning.choices) held.push_back(held_always(node, choice));
      use(made, std::move(held), {Life::Kind::always, 0, 0});
    }
    part_.nodes.push_back(std::move(made));
  }

  static void use(PartNode& node, Bytewise bytes, const Life& life) {
    if (std::all_of(bytes.begin(), bytes.end(), [](std::int64_t each) { return each == 0; })) return;
    node.value.usages = std::move(bytes);
    node.life = life;
  }

  // Position of the first op in this layer whose backward reads the tensor.
  std::size_t first_reader(TensorId tensor) const {
    for (std::size_t p = 0; p < layer_.ops.size(); ++p) {
      const Op& op = context_.strategies.graph.op(layer_.ops[p]);
      const SavedTensors& saved = context_.strategies.training.gradients[index(layer_.ops[p])].saved;
      for (const std::size_t i : saved.inputs)
        if (op.inputs[i] == tensor) return p;
      for (const std::size_t o : saved.outputs)
        if (op.outputs[o] == tensor) return p;
    }
    return layer_.ops.size() - 1;
  }

  Life life_of_saved(std::uint32_t n, Life::Kind kind) const {
    const ModelNode& node = model_.nodes[n];
    if (node.kind == ModelNode::Kind::op) {
      const std::size_t here = position_.at(node.op);
      return {kind, here, here};
    }
    const auto producer = context_.strategies.training.relations.producer[index(node.tensor)];
    return {kind, producer ? position_.at(*producer) : 0, first_reader(node.tensor)};
  }

  // What an interior node keeps for the backward: its own usage, or that of a node tied to it.
  void add_saved(std::uint32_t n, const Bytewise& saved, Life::Kind kind) {
    Bytewise by_choice;
    for (const WholeGraphNode::Choice& choice : choices(n)) by_choice.push_back(saved[choice.choice]);
    if (part_.nodes[n].life.kind == Life::Kind::never) return use(part_.nodes[n], by_choice, life_of_saved(n, kind));
    Bytewise levels = by_choice;
    std::sort(levels.begin(), levels.end());
    levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
    PartNode usage;
    use(usage, levels, life_of_saved(n, kind));
    if (usage.life.kind == Life::Kind::never) return;
    usage.value.costs.assign(levels.size(), 0);
    IntraOpEdge tie{n, static_cast<std::uint32_t>(part_.nodes.size()), {}};
    for (const std::int64_t bytes : by_choice)
      for (const std::int64_t level : levels) tie.costs.push_back(bytes == level ? 0 : infinite_cost);
    part_.nodes.push_back(std::move(usage));
    part_.edges.push_back(std::move(tie));
  }

  // Bytes saved on an edge as a function of one end's choice alone, over the entries that are allowed; none where they
  // depend on both.
  std::optional<Bytewise> saved_by_end(const ModelEdge& edge, std::uint32_t end) const {
    const std::size_t columns = model_.nodes[edge.b].choices.size();
    std::vector<std::optional<std::int64_t>> found(model_.nodes[end].choices.size());
    for (std::size_t entry = 0; entry < edge.costs.size(); ++entry) {
      if (!(edge.costs[entry].forward < impossible)) continue;
      std::optional<std::int64_t>& here = found[end == edge.a ? entry / columns : entry % columns];
      const std::int64_t bytes = whole_bytes(edge.costs[entry].saved);
      if (here && *here != bytes) return std::nullopt;
      here = bytes;
    }
    Bytewise result;
    for (const std::optional<std::int64_t>& each : found) result.push_back(each.value_or(0));
    return result;
  }

  static void add(Bytewise& sum, const Bytewise& more) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
  }

  void add_edge(std::size_t position) {
    const ModelEdge& edge = model_.edges[position];
    const Saving saving = part_in(edge.parts).saving;
    const bool saves =
        options_.memory && saving != Saving::none &&
        std::any_of(edge.costs.begin(), edge.costs.end(), [](const EdgeCost& cost) { return cost.saved > Bytes(0); });
    if (!saves) return add_plain_edge(position);
    for (const std::uint32_t end : {edge.b, edge.a})
      if (const auto bytes = end < model_.interior ? saved_by_end(edge, end) : std::nullopt) {
        add((saving == Saving::kept ? kept_ : made_again_)[end], *bytes);
        return add_plain_edge(position);
      }
    add_saving_edge(position, saving == Saving::kept ? Life::Kind::saved : Life::Kind::made_again);
  }

  void add_plain_edge(std::size_t position) {
    const IntraOpEdge& edge = by_state_[0].edges[position];
    IntraOpEdge made{edge.a, edge.b, {}};
    for (const WholeGraphNode::Choice& a : choices(edge.a))
      for (const WholeGraphNode::Choice& b : choices(edge.b)) made.costs.push_back(entry(edge, a.choice, b.choice));
    part_.edges.push_back(std::move(made));
  }

  std::int64_t entry(const IntraOpEdge& edge, std::uint32_t a, std::uint32_t b) const {
    return edge.costs[a * model_.nodes[edge.b].choices.size() + b];
  }

  // What is saved depends on both ends: a node between them, whose choices are a's choice and the bytes.
  void add_saving_edge(std::size_t position, Life::Kind kind) {
    const ModelEdge& model = model_.edges[position];
    const IntraOpEdge& edge = by_state_[0].edges[position];
    const auto columns = static_cast<std::uint32_t>(model_.nodes[edge.b].choices.size());
    std::vector<std::pair<std::uint32_t, std::int64_t>> between;
    for (std::uint32_t e = 0; e < edge.costs.size(); ++e)
      if (edge.costs[e] < infinite_cost) between.emplace_back(e / columns, whole_bytes(model.costs[e].saved));
    std::sort(between.begin(), between.end());
    between.erase(std::unique(between.begin(), between.end()), between.end());
    if (between.empty()) return add_plain_edge(position);
    const auto here = static_cast<std::uint32_t>(part_.nodes.size());
    IntraOpEdge from{edge.a, here, {}}, to{here, edge.b, {}};
    for (const WholeGraphNode::Choice& a : choices(edge.a))
      for (const auto& [choice, bytes] : between) from.costs.push_back(a.choice == choice ? 0 : infinite_cost);
    PartNode made;
    Bytewise usages;
    for (const auto& [choice, bytes] : between) {
      usages.push_back(bytes);
      for (const WholeGraphNode::Choice& b : choices(edge.b))
        to.costs.push_back(whole_bytes(model.costs[choice * columns + b.choice].saved) == bytes
                               ? entry(edge, choice, b.choice)
                               : infinite_cost);
    }
    made.value.costs.assign(between.size(), 0);
    const std::size_t producer = position_.at(model_.nodes[edge.a].op);
    use(made, std::move(usages), {kind, producer, edge.b < model_.interior ? first_reader(model.tensor) : producer});
    part_.nodes.push_back(std::move(made));
    part_.edges.push_back(std::move(from));
    part_.edges.push_back(std::move(to));
  }

  const ModelContext& context_;
  const PlanningLayer& layer_;
  const LayerModel& model_;
  const WholeGraphOptions& options_;
  std::map<OpId, std::size_t> position_;
  std::vector<IntraOpProblem> by_state_;
  std::vector<Bytewise> kept_, made_again_;  // by node of the model
  Part part_;
};

class Joiner {
 public:
  Joiner(const ModelContext& context, const PlanningLayers& layers, const WholeGraphOptions& options)
      : context_(context), layers_(layers), options_(options), position_(layers.layer_of.size()) {
    for (const PlanningLayer& layer : layers.layers)
      for (const OpId op : layer.ops) position_[index(op)] = ops_++;
  }

  WholeGraph run() {
    std::size_t first = 0;
    for (std::size_t l = 0; l < layers_.layers.size(); ++l) {
      add_layer(l, first);
      first += layers_.layers[l].ops.size();
    }
    if (options_.memory) whole_.problem.usage_limit = whole_bytes(*options_.memory);
    return std::move(whole_);
  }

 private:
  const Part& part(const PlanningLayer& layer) {
    const auto found = parts_.find(layer.key);
    if (found != parts_.end()) return found->second;
    const LayerModel& model = whole_.models.emplace(layer.key, build_layer_model(context_, layer)).first->second;
    return parts_.emplace(layer.key, PartBuilder(context_, layer, model, options_).build()).first->second;
  }

  void add_layer(std::size_t position, std::size_t first) {
    const PlanningLayer& layer = layers_.layers[position];
    const Part& added = part(layer);
    const LayerModel& model = whole_.models.at(layer.key);
    whole_.keys.push_back(layer.key);
    std::vector<std::uint32_t> numbers;
    for (std::uint32_t n = 0; n < added.nodes.size(); ++n) {
      const bool is_variable = n >= model.interior && n < model.nodes.size();
      numbers.push_back(is_variable ? variable(layer.variables[n - model.interior], position, added.nodes[n])
                                    : append(added.nodes[n], position, first));
    }
    for (const IntraOpEdge& edge : added.edges)
      whole_.problem.edges.push_back({numbers[edge.a], numbers[edge.b], edge.costs});
  }

  // Position of the op before whose backward the layer's repeated ops run again.
  std::size_t last_repeated(const PlanningLayer& layer) const {
    std::size_t last = 0;
    for (std::size_t k = 0; k < layer.runs.size(); ++k)
      if (runs_in_backward(layer.runs[k][static_cast<std::size_t>(options_.recompute)])) last = k;
    return last;
  }

  std::int64_t backward(std::size_t op) const { return static_cast<std::int64_t>(2 * ops_ - 1 - op); }

  std::uint32_t append(const PartNode& node, std::size_t layer, std::size_t first) {
    PartNode copy = node;
    const std::vector<OpId>& ops = layers_.layers[layer].ops;
    copy.meaning.layer = layer;
    if (copy.meaning.kind == WholeGraphNode::Kind::op) copy.meaning.op = ops[copy.meaning.model_node];
    switch (copy.life.kind) {
      case Life::Kind::never:
        break;
      case Life::Kind::always:
        copy.value.live_until = static_cast<std::int64_t>(2 * ops_);
        break;
      case Life::Kind::saved:
      case Life::Kind::made_again:
        copy.value.live_from = copy.life.kind == Life::Kind::saved
                                   ? static_cast<std::int64_t>(first + copy.life.from)
                                   : backward(first + last_repeated(layers_.layers[layer]));
        copy.value.live_until = backward(first + copy.life.until) + 1;
    }
    return push(std::move(copy));
  }

  // The node of a tensor that several layers share, made by the first of them.
  std::uint32_t variable(const InterfaceVariable& variable, std::size_t layer, const PartNode& node) {
    const auto [found, added] = variables_.emplace(variable.tensor, 0);
    if (!added) return found->second;
    PartNode copy = node;
    copy.meaning.layer = layer;
    if (options_.memory && variable.parameter) copy.value.live_until = static_cast<std::int64_t>(2 * ops_);
    if (options_.memory && !variable.parameter) keep(variable.tensor, copy);
    return found->second = push(std::move(copy));
  }

  bool runs_again(OpId op) const {
    const PlanningLayer& layer = layers_.layers[layers_.layer_of[index(op)]];
    const auto position = std::find(layer.ops.begin(), layer.ops.end(), op) - layer.ops.begin();
    return runs_in_backward(
        layer.runs[static_cast<std::size_t>(position)][static_cast<std::size_t>(options_.recompute)]);
  }

  // Whether the op's layer needs the tensor kept.
  bool saved_where_used(OpId op, TensorId tensor) const {
    const auto& variables = layers_.layers[layers_.layer_of[index(op)]].variables;
    const auto found =
        std::find_if(variables.begin(), variables.end(), [&](const auto& v) { return v.tensor == tensor; });
    return found->saved[static_cast<std::size_t>(options_.recompute)];
  }

  // An activation between layers is saved where some backward reads it or recomputation starts from it.
  void keep(TensorId tensor, PartNode& node) const {
    const GraphRelations& relations = context_.strategies.training.relations;
    std::vector<OpId> users = relations.consumers[index(tensor)];
    const OpId producer = *relations.producer[index(tensor)];
    users.push_back(producer);
    std::optional<std::size_t> until;
    for (const OpId op : users)
      if (saved_where_used(op, tensor) && (reads(op, tensor) || (runs_again(op) && op != producer)))
        until = std::min(until.value_or(SIZE_MAX), position_[index(op)]);
    if (!until) return;
    const ModelNode& model = whole_.model(node.meaning.layer).nodes[node.meaning.model_node];
    for (const WholeGraphNode::Choice& choice : node.meaning.choices)
      node.value.usages.push_back(whole_bytes(model.choices[choice.choice].saved));
    node.value.live_from = static_cast<std::int64_t>(position_[index(producer)]);
    node.value.live_until = backward(*until) + 1;
  }

  bool reads(OpId id, TensorId tensor) const {
    const Op& op = context_.strategies.graph.op(id);
    const SavedTensors& saved = context_.strategies.training.gradients[index(id)].saved;
    return std::any_of(saved.inputs.begin(), saved.inputs.end(),
                       [&](std::size_t i) { return op.inputs[i] == tensor; }) ||
           std::any_of(saved.outputs.begin(), saved.outputs.end(),
                       [&](std::size_t o) { return op.outputs[o] == tensor; });
  }

  std::uint32_t push(PartNode node) {
    whole_.problem.nodes.push_back(std::move(node.value));
    whole_.nodes.push_back(std::move(node.meaning));
    return static_cast<std::uint32_t>(whole_.nodes.size() - 1);
  }

  const ModelContext& context_;
  const PlanningLayers& layers_;
  const WholeGraphOptions& options_;
  std::vector<std::size_t> position_;  // by OpId
  std::size_t ops_ = 0;
  std::map<std::uint32_t, Part> parts_;  // by layer key
  std::map<TensorId, std::uint32_t> variables_;
  WholeGraph whole_;
};

}  // namespace

WholeGraph whole_graph_problem(const ModelContext& context, const PlanningLayers& layers,
                               const WholeGraphOptions& options) {
  assert(!options.states.empty());
  return Joiner(context, layers, options).run();
}

std::vector<OpDecision> op_decisions(const WholeGraph& whole, const std::vector<std::uint32_t>& choices) {
  std::vector<OpDecision> result;
  for (std::size_t n = 0; n < whole.nodes.size(); ++n) {
    const WholeGraphNode& node = whole.nodes[n];
    if (node.kind != WholeGraphNode::Kind::op) continue;
    result.resize(std::max(result.size(), static_cast<std::size_t>(index(node.op)) + 1));
    const WholeGraphNode::Choice& choice = node.choices[choices[n]];
    result[index(node.op)] = {whole.model(node.layer).nodes[node.model_node].choices[choice.choice].strategy,
                              choice.state};
  }
  return result;
}

}  // namespace meshloom
