#include "planner/layer_model.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

namespace meshloom {
namespace {

double local_elements(const RuleOperand& operand, const std::vector<std::int64_t>& sizes) {
  double result = 1;
  for (const RuleDimension& dimension : operand)
    for (const FactorId factor : dimension) result *= static_cast<double>(sizes[index(factor)]);
  return result;
}

class Builder {
 public:
  Builder(const ModelContext& context, const PlanningLayer& layer)
      : context_(context), graph_(context.strategies.graph), training_(context.strategies.training), layer_(layer) {}

  LayerModel build() {
    for (std::size_t k = 0; k < layer_.ops.size(); ++k) position_[layer_.ops[k]] = k;
    regathers_ = context_.recipe.live_parameters && parameters_of_layer() > *context_.recipe.live_parameters;
    for (const OpId op : layer_.ops) add_op(op);
    for (const OpId op : layer_.ops)
      for (const auto* operands : {&graph_.op(op).inputs, &graph_.op(op).outputs})
        for (const TensorId t : *operands)
          if (needs_node(t) && !is_interface(t)) add_tensor_node(t);
    model_.interior = model_.nodes.size();
    for (const InterfaceVariable& variable : layer_.variables) add_tensor_node(variable.tensor);
    for (const OpId op : layer_.ops) {
      for (std::size_t o = 0; o < graph_.op(op).outputs.size(); ++o) add_result_edges(op, o);
      for (std::size_t i = 0; i < graph_.op(op).inputs.size(); ++i) add_operand_edge(op, i);
    }
    for (ModelEdge& edge : model_.edges) forbid_impossible(edge);
    return std::move(model_);
  }

 private:
  const Tensor& tensor(TensorId t) const { return graph_.tensor(t); }
  const SavedTensors& saved(OpId op) const { return training_.gradients[index(op)].saved; }
  bool has_gradient(TensorId t) const { return training_.relations.needs_gradient[index(t)]; }

  bool is_interface(TensorId t) const {
    return std::any_of(layer_.variables.begin(), layer_.variables.end(), [&](const auto& v) { return v.tensor == t; });
  }

  // How many operand positions read a tensor.
  std::size_t uses(TensorId t) const {
    std::size_t count = 0;
    for (const OpId consumer : training_.relations.consumers[index(t)])
      count += std::count(graph_.op(consumer).inputs.begin(), graph_.op(consumer).inputs.end(), t);
    return count;
  }

  double parameters_of_layer() const {
    std::set<TensorId> parameters;
    for (const OpId op : layer_.ops)
      for (const TensorId t : graph_.op(op).inputs)
        if (tensor(t).role == TensorRole::parameter) parameters.insert(t);
    double sum = 0;
    for (const TensorId t : parameters) sum += elements(tensor(t), 1);
    return sum;
  }

  const ByRecompute<ForwardRuns>& runs(OpId op) const { return layer_.runs[position_.at(op)]; }
  bool repeats(OpId op, std::size_t recompute) const { return runs_in_backward(runs(op)[recompute]); }

  // Whether it is an activation function's result that is only multiplied.
  bool only_gates(OpId producer, TensorId t) const {
    const OpKind kind = graph_.op(producer).kind;
    if (kind != OpKind::silu && kind != OpKind::gelu && kind != OpKind::relu) return false;
    const auto& consumers = training_.relations.consumers[index(t)];
    return std::all_of(consumers.begin(), consumers.end(),
                       [&](OpId op) { return graph_.op(op).kind == OpKind::multiply; });
  }

  // Of a tensor made and used in this layer: what is saved of it.
  Saving saving_of(TensorId t, std::size_t recompute) const {
    const OpId producer = *training_.relations.producer[index(t)];
    if (context_.recipe.fused_gates && only_gates(producer, t)) return Saving::none;
    bool read = false, read_outside = false, starts = false;
    const auto use = [&](OpId op, bool reads) {
      const bool repeated = repeats(op, recompute);
      read = read || reads, read_outside = read_outside || (reads && !repeated), starts = starts || repeated;
    };
    for (const OpId consumer : training_.relations.consumers[index(t)]) use(consumer, reads_input(consumer, t));
    if (!repeats(producer, recompute)) return read || producer_reads(t) || starts ? Saving::kept : Saving::none;
    // Megatron keeps what leaves the core of attention; other ops are repeated just before their results are read.
    const bool cheap = recompute == static_cast<std::size_t>(Recompute::selective) &&
                       context_.recipe.selective_recompute != SelectiveRecompute::attention;
    if (read_outside && !cheap) return Saving::kept;
    return read || producer_reads(t) ? Saving::made_again : Saving::none;
  }

  bool saved_by_some_recompute(TensorId t) const {
    for (std::size_t m = 0; m < all_recomputes.size(); ++m)
      if (saving_of(t, m) != Saving::none) return true;
    return false;
  }

  // Of what only the op itself needs: it is made again when the op runs again.
  ByRecompute<RecomputePart> parts_of_op(OpId op) const {
    ByRecompute<RecomputePart> parts;
    for (std::size_t m = 0; m < parts.size(); ++m)
      parts[m] = {runs(op)[m], repeats(op, m) ? Saving::made_again : Saving::kept};
    return parts;
  }

  // Of an edge from its producer. A repeated op brings its result again to where it is used.
  ByRecompute<RecomputePart> parts_of_result(OpId producer, TensorId t) const {
    ByRecompute<RecomputePart> parts = parts_of_op(producer);
    for (std::size_t m = 0; m < parts.size() && !is_interface(t); ++m) parts[m].saving = saving_of(t, m);
    return parts;
  }

  bool reads_input(OpId op, TensorId t) const {
    const auto& positions = saved(op).inputs;
    return std::any_of(positions.begin(), positions.end(), [&](std::size_t p) { return graph_.op(op).inputs[p] == t; });
  }

  bool producer_reads(TensorId t) const {
    const auto producer = training_.relations.producer[index(t)];
    if (!producer) return false;
    const auto& positions = saved(*producer).outputs;
    return std::any_of(positions.begin(), positions.end(),
                       [&](std::size_t p) { return graph_.op(*producer).outputs[p] == t; });
  }

  bool some_consumer_reads(TensorId t) const {
    const auto& consumers = training_.relations.consumers[index(t)];
    return std::any_of(consumers.begin(), consumers.end(), [&](OpId op) { return reads_input(op, t); });
  }

  bool needs_node(TensorId t) const {
    if (tensor(t).role == TensorRole::input) return false;
    if (is_interface(t) || uses(t) > 1) return true;
    return tensor(t).role == TensorRole::intermediate && producer_reads(t) && some_consumer_reads(t);
  }

  Bytes local_bytes(TensorId t, const RuleOperand& operand, const std::vector<std::int64_t>& sizes) const {
    return element_size(context_.recipe, tensor(t).dtype) * local_elements(operand, sizes);
  }

  void add_op(OpId id) {
    const Op& op = graph_.op(id);
    ModelNode node{ModelNode::Kind::op, id, {}, {}, parts_of_op(id), regathers_};
    priced_parameters_.clear();
    for (Strategy& strategy : enumerate_strategies(context_.strategies, id)) {
      Choice choice;
      const OpTime time = sharded_op_time(context_.strategies, context_.cluster, context_.recipe, id, strategy);
      choice.forward = time.forward;
      choice.backward = time.backward;
      choice.backward_weight = time.backward_weight;
      add_inner_collectives(op, id, strategy, choice);
      add_memory(op, id, strategy, choice);
      add_parameters(op, strategy, choice);
      choice.strategy = std::move(strategy);
      node.choices.push_back(std::move(choice));
    }
    node_of_op_[id] = static_cast<std::uint32_t>(model_.nodes.size());
    keep_pinned(node, [&](const Choice& choice) { return pins_allow(op, id, choice.strategy); });
    model_.nodes.push_back(std::move(node));
  }

  void add_inner_collectives(const Op& op, OpId id, const Strategy& strategy, Choice& choice) const {
    unsigned axis_set = 0;
    for (std::size_t axis = 0; axis < context_.strategies.mesh.dimensions(); ++axis)
      if (strategy.axes[axis] && op.rule.factors[index(*strategy.axes[axis])].mark == FactorMark::inner_collective)
        axis_set |= 1U << axis;
    if (axis_set == 0) return;
    const Seconds one = waiting_for_activations(context_.recipe)
                            .of(Collective::all_reduce, collective_time(context_.cluster, Collective::all_reduce,
                                                                        Bytes(4 * local_rows(op, strategy)),
                                                                        group_of(context_.strategies.mesh, axis_set)));
    choice.forward += one * traits(op.kind).inner_collectives_forward;
    if (!training_.gradients[index(id)].kernels.empty())
      choice.backward += one * traits(op.kind).inner_collectives_backward;
  }

  void add_memory(const Op& op, OpId id, const Strategy& strategy, Choice& choice) const {
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
      if (tensor(op.inputs[i]).role == TensorRole::parameter) continue;
      const Bytes bytes = local_bytes(op.inputs[i], op.rule.inputs[i], strategy.local_sizes);
      choice.working += bytes;
      if (tensor(op.inputs[i]).role == TensorRole::input && reads_input(id, op.inputs[i])) choice.saved += bytes;
    }
    const SavedTensors& kept = saved(id);
    for (std::size_t o = 0; o < op.outputs.size(); ++o) {
      const Bytes bytes = local_bytes(op.outputs[o], op.rule.outputs[o], strategy.local_sizes);
      choice.working += bytes;
      if (uses(op.outputs[o]) == 0 && producer_reads(op.outputs[o])) choice.saved += bytes;
    }
    choice.saved +=
        Bytes(kept.extra_bytes_per_output_element * local_elements(op.rule.outputs[0], strategy.local_sizes) +
              kept.extra_bytes_per_row * local_rows(op, strategy));
    if (!training_.gradients[index(id)].kernels.empty()) choice.saved += bytes_by_recipe(op, strategy);
  }

  // What the framework's kernels keep besides; of the loss, what it needs when memory peaks.
  Bytes bytes_by_recipe(const Op& op, const Strategy& strategy) const {
    const Recipe& recipe = context_.recipe;
    if (op.kind == OpKind::layer_norm || op.kind == OpKind::rms_norm)
      return Bytes(recipe.norm_bytes * local_elements(op.rule.outputs[0], strategy.local_sizes));
    if (op.kind != OpKind::cross_entropy) return Bytes(0);
    double entries = 0;
    for (const RuleDimension& dimension : op.rule.inputs[0])
      for (const FactorId factor : dimension)
        if (op.rule.factors[index(factor)].mark == FactorMark::inner_collective)
          entries = static_cast<double>(op.factor_sizes[index(factor)].at(1));
    return Bytes(recipe.gathered_logits_bytes * entries * local_rows(op, strategy) +
                 recipe.logits_bytes * local_elements(op.rule.inputs[0], strategy.local_sizes));
  }

  void add_parameters(const Op& op, const Strategy& strategy, Choice& choice) {
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
      if (tensor(op.inputs[i]).role != TensorRole::parameter || needs_node(op.inputs[i])) continue;
      add_parameter(op.inputs[i], strategy.inputs[i], local_elements(op.rule.inputs[i], strategy.local_sizes), choice);
    }
  }

  // Choices of one layout hold equal shards, so a layout is priced once.
  void add_parameter(TensorId t, const Layout& layout, double elements_here, Choice& choice) {
    const auto same = [&](const auto& priced) { return std::get<0>(priced) == t && std::get<1>(priced) == layout; };
    const auto known = std::find_if(priced_parameters_.begin(), priced_parameters_.end(), same);
    if (known != priced_parameters_.end()) {
      choice.parameters.push_back(std::get<2>(*known));
      return;
    }
    ParameterChoices& parameter = choice.parameters.emplace_back();
    for (const ParameterState state : all_parameter_states)
      parameter[static_cast<std::size_t>(state)] = parameter_cost(
          context_.cluster, context_.recipe, context_.strategies.mesh, layout, elements_here, tensor(t).dtype, state);
    priced_parameters_.emplace_back(t, layout, parameter);
  }

  void add_tensor_node(TensorId t) {
    if (node_of_tensor_.contains(t)) return;
    const bool parameter = tensor(t).role == TensorRole::parameter;
    ModelNode node{parameter ? ModelNode::Kind::parameter : ModelNode::Kind::activation, {}, t, {}, {}};
    for (std::size_t m = 0; m < node.parts.size() && !parameter && !is_interface(t); ++m)
      node.parts[m].saving = saving_of(t, m);
    ConversionTable& table = conversion_table(context_, t);
    // An activation inside the layer is saved once here, unless the edge from its producer decides where it lies.
    const bool saved_at_node = !parameter && (is_interface(t) || (saved_by_some_recompute(t) && !regathered(t)));
    for (const Layout& layout : enumerate_layouts(context_.strategies, t)) {
      Choice choice;
      choice.layout = layout;
      if (saved_at_node) choice.saved = table.local_bytes(layout);
      if (parameter) {
        double elements_here = 1;
        for (const std::int64_t size : sizes_of(tensor(t), 1)) elements_here *= static_cast<double>(size);
        add_parameter(t, layout, elements_here / static_cast<double>(shards(layout, context_.strategies.mesh)), choice);
      }
      node.choices.push_back(std::move(choice));
    }
    node_of_tensor_[t] = static_cast<std::uint32_t>(model_.nodes.size());
    keep_pinned(node, [&](const Choice& choice) {
      return context_.strategies.pins->allows(t, choice.layout, context_.strategies.mesh);
    });
    model_.nodes.push_back(std::move(node));
  }

  // Of the op itself, and of its operands and results that have no node to hold the pin.
  bool pins_allow(const Op& op, OpId id, const Strategy& strategy) const {
    const PinnedGraph& pins = *context_.strategies.pins;
    const DeviceMesh& mesh = context_.strategies.mesh;
    if (!pins.allows(id, strategy, mesh)) return false;
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      if (!needs_node(op.inputs[i]) && !pins.allows(op.inputs[i], strategy.inputs[i], mesh)) return false;
    for (std::size_t o = 0; o < op.outputs.size(); ++o)
      if (uses(op.outputs[o]) == 0 && !pins.allows(op.outputs[o], strategy.outputs[o], mesh)) return false;
    return true;
  }

  // What pins rule out is left out; where they leave nothing, an impossible choice stands for the node.
  template <typename Allowed>
  void keep_pinned(ModelNode& node, const Allowed& allowed) const {
    if (context_.strategies.pins == nullptr || context_.strategies.pins->empty()) return;
    Choice none = node.choices.front();
    none.forward = impossible;
    std::erase_if(node.choices, [&](const Choice& choice) { return !allowed(choice); });
    if (node.choices.empty()) node.choices.push_back(std::move(none));
  }

  void forbid_impossible(ModelEdge& edge) const {
    const auto& from = model_.nodes[edge.a].choices;
    const auto& to = model_.nodes[edge.b].choices;
    for (std::size_t a = 0; a < from.size(); ++a)
      for (std::size_t b = 0; b < to.size(); ++b)
        if (!(from[a].forward < impossible && to[b].forward < impossible))
          edge.costs[a * to.size() + b] = {impossible, impossible, {}, {}};
  }

  // Whether a saved tensor of this layer may lie in its producer's layout. What only recomputation starts from is saved
  // as it is used.
  bool regathered(TensorId t) const {
    return context_.recipe.regather_saved_activations && (producer_reads(t) || some_consumer_reads(t));
  }

  // A parameter held R/R but used R/P would be reduced with every microbatch, past its parameter state: R/P is the
  // layout for that.
  bool skips_the_state(TensorId t, const Layout& from, const Layout& to) const {
    if (tensor(t).role != TensorRole::parameter) return false;
    for (std::size_t axis = 0; axis < context_.strategies.mesh.dimensions(); ++axis)
      if (from.axes[axis] == replicated && to.axes[axis] == replicated_partial_gradient) return true;
    return false;
  }

  EdgeCost conversion(TensorId t, ConversionTable& table, const Layout& from, const Layout& to) const {
    if (!conversion_allowed(context_.strategies, t, from, to) || skips_the_state(t, from, to))
      return {impossible, impossible, {}, {}};
    EdgeCost cost;
    cost.forward = table.value_time(from, to);
    if (has_gradient(t) && cost.forward < impossible) cost.backward = table.gradient_time(from, to);
    if (tensor(t).role == TensorRole::parameter && cost.backward > Seconds(0))
      for (const Move& move : table.gradient_path(from, to).moves)
        if (const auto collective = collective_of(move.kind); collective && reduces(*collective))
          cost.backward_weight += move.time;
    return cost;
  }

  // Where a saved activation lies between a producer's result and where it is used: as it is used, or under a recipe
  // that gathers again in the producer's smaller layout, at the price of converting it once more in the backward.
  void save_on_edge(const ConversionTable& table, const Layout& from, const Layout& to, EdgeCost& cost) const {
    if (!(cost.forward < impossible)) return;
    const bool partial_result =
        std::any_of(from.axes.begin(), from.axes.end(), [](const AxisLayout& axis) { return axis == partial; });
    cost.saved = table.local_bytes(to);
    if (!context_.recipe.regather_saved_activations || partial_result || table.local_bytes(from) >= cost.saved) return;
    cost.saved = table.local_bytes(from);
    cost.backward += cost.forward;
  }

  // One tensor's layouts in the choices of a node: many choices share one.
  struct Layouts {
    std::vector<Layout> distinct;
    std::vector<std::uint32_t> of;  // by choice
  };
  template <typename LayoutOf>
  Layouts layouts(std::uint32_t node, const LayoutOf& layout_of) const {
    Layouts result;
    for (const Choice& choice : model_.nodes[node].choices) {
      const Layout& layout = layout_of(choice);
      const auto known = std::find(result.distinct.begin(), result.distinct.end(), layout);
      result.of.push_back(static_cast<std::uint32_t>(known - result.distinct.begin()));
      if (known == result.distinct.end()) result.distinct.push_back(layout);
    }
    return result;
  }
  Layouts own_layouts(std::uint32_t node) const {
    return layouts(node, [](const Choice& choice) -> const Layout& { return choice.layout; });
  }
  Layouts result_layouts(std::uint32_t node, std::size_t output) const {
    return layouts(node, [=](const Choice& choice) -> const Layout& { return choice.strategy.outputs[output]; });
  }
  Layouts operand_layouts(std::uint32_t node, std::size_t input) const {
    return layouts(node, [=](const Choice& choice) -> const Layout& { return choice.strategy.inputs[input]; });
  }

  // What an edge costs depends on the layouts alone: price(from, to).
  template <typename Price>
  void add_edge(ModelEdge edge, const Layouts& from, const Layouts& to, const Price& price) {
    std::vector<EdgeCost> prices;
    prices.reserve(from.distinct.size() * to.distinct.size());
    for (const Layout& a : from.distinct)
      for (const Layout& b : to.distinct) prices.push_back(price(a, b));
    edge.costs.reserve(from.of.size() * to.of.size());
    for (const std::uint32_t a : from.of)
      for (const std::uint32_t b : to.of) edge.costs.push_back(prices[a * to.distinct.size() + b]);
    model_.edges.push_back(std::move(edge));
  }

  // From a result to the tensor's node.
  void add_result_edges(OpId id, std::size_t output) {
    const TensorId t = graph_.op(id).outputs[output];
    const auto node = node_of_tensor_.find(t);
    if (node == node_of_tensor_.end()) return;
    const bool saved_on_edge = !is_interface(t) && regathered(t);
    const bool kept_by_producer = producer_reads(t);
    ConversionTable& table = conversion_table(context_, t);
    const std::uint32_t producer = node_of_op_.at(id);
    add_edge({producer, node->second, t, 0, {}, parts_of_result(id, t)}, result_layouts(producer, output),
             own_layouts(node->second), [&](const Layout& from, const Layout& to) {
               EdgeCost cost = conversion(t, table, from, to);
               if (saved_on_edge) save_on_edge(table, from, to, cost);
               // A producer whose own backward reads the result keeps it in the layout it made, besides the node's.
               if (kept_by_producer && cost.forward < impossible && from != to) cost.saved += table.local_bytes(from);
               return cost;
             });
  }

  // From a tensor's node, or straight from its producer, to an operand.
  void add_operand_edge(OpId id, std::size_t input) {
    const TensorId t = graph_.op(id).inputs[input];
    const std::uint32_t consumer = node_of_op_.at(id);
    const bool read_again = reads_input(id, t);
    if (const auto node = node_of_tensor_.find(t); node != node_of_tensor_.end()) {
      ModelEdge edge{node->second, consumer, t, input, {}, {}};
      for (std::size_t m = 0; m < edge.parts.size(); ++m)
        edge.parts[m].runs = tensor(t).role == TensorRole::parameter ? runs_of_gathering(runs(id)[m]) : runs(id)[m];
      ConversionTable& table = conversion_table(context_, t);
      add_edge(std::move(edge), own_layouts(node->second), operand_layouts(consumer, input),
               [&](const Layout& from, const Layout& to) {
                 EdgeCost cost = conversion(t, table, from, to);
                 // The node's copy is what is saved, so a reader in another layout converts again in its backward.
                 if (read_again && cost.forward < impossible) cost.backward += cost.forward;
                 return cost;
               });
      return;
    }
    const std::optional<OpId> producer = training_.relations.producer[index(t)];
    if (!producer) return;
    const auto& outputs = graph_.op(*producer).outputs;
    const auto output = static_cast<std::size_t>(std::find(outputs.begin(), outputs.end(), t) - outputs.begin());
    const bool kept_by_producer = producer_reads(t);
    const bool saved_to_start_from = !kept_by_producer && saved_by_some_recompute(t);
    ConversionTable& table = conversion_table(context_, t);
    const std::uint32_t from_node = node_of_op_.at(*producer);
    add_edge({from_node, consumer, t, input, {}, parts_of_result(*producer, t)}, result_layouts(from_node, output),
             operand_layouts(consumer, input), [&](const Layout& result, const Layout& operand) {
               EdgeCost cost = conversion(t, table, result, operand);
               if (read_again)
                 save_on_edge(table, result, operand, cost);
               else if (kept_by_producer)
                 cost.saved = table.local_bytes(result);
               else if (saved_to_start_from)
                 cost.saved = table.local_bytes(operand);
               return cost;
             });
  }

  const ModelContext& context_;
  const Graph& graph_;
  const TrainingGraph& training_;
  const PlanningLayer& layer_;
  LayerModel model_;
  std::vector<std::tuple<TensorId, Layout, ParameterChoices>> priced_parameters_;  // of the op at hand
  std::map<OpId, std::size_t> position_;                                           // in the layer
  bool regathers_ = false;
  std::map<OpId, std::uint32_t> node_of_op_;
  std::map<TensorId, std::uint32_t> node_of_tensor_;
};

}  // namespace

ConversionTable& ConversionTables::of(const std::vector<std::int64_t>& shape, Bytes element) {
  std::unique_ptr<ConversionTable>& table = tables_[{shape, element.value()}];
  if (!table) table = std::make_unique<ConversionTable>(cluster_, mesh_, shape, element, waiting_);
  return *table;
}

ConversionTable& conversion_table(const ModelContext& context, TensorId id) {
  const Tensor& tensor = context.strategies.graph.tensor(id);
  const Bytes element = tensor.role == TensorRole::parameter ? stored_element(context.recipe, tensor.dtype)
                                                             : element_size(context.recipe, tensor.dtype);
  return context.conversions.of(sizes_of(tensor, context.strategies.batch), element);
}

LayerModel build_layer_model(const ModelContext& context, const PlanningLayer& layer) {
  return Builder(context, layer).build();
}

}  // namespace meshloom
