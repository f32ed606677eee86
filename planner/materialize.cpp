#include "planner/materialize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "costmodel/groups.hpp"
#include "costmodel/stage_time.hpp"
#include "graphs/input_error.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/plan/synchronization_waits.hpp"
#include "planner/shared_parameters.hpp"
#include "planner/transfers.hpp"

namespace meshloom {
namespace {

std::vector<std::string> axis_names(const DeviceMesh& mesh, unsigned axis_set) {
  std::vector<std::string> names;
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
    if ((axis_set >> axis & 1U) != 0) names.push_back(mesh.axes[axis].name);
  return names;
}

class StageWriter {
 public:
  StageWriter(const SearchSpace& space, const StageRequest& request, MeshSolver& solver)
      : space_(space), request_(request), solver_(solver) {
    stage_.first_layer = static_cast<std::int64_t>(request.first);
    stage_.last_layer = static_cast<std::int64_t>(request.last);
    stage_.submesh = request.mesh.submesh;
    for (std::int64_t d = 0; d < request.mesh.submesh.devices(); ++d)
      stage_.devices.push_back(request.first_device + d);
    stage_.mesh = request.mesh.axes;
    stage_.recompute = request.settings.recompute;
    stage_.allowed_states = request.settings.states;
    stage_.weights = request.settings.weights;
  }

  Stage write() {
    const std::optional<RangeChoices> choices = range_choices();
    if (!choices)
      throw InputError("layout",
                       fmt::format("layers {} to {} cannot be sharded so on {}: a size (vocabulary, heads, sequence, "
                                   "batch) does not divide; pad the vocabulary (--pad-vocab-to) or change the degrees",
                                   space_.layers.layers[request_.first].name, space_.layers.layers[request_.last].name,
                                   axes_text()));
    for (std::size_t l = request_.first; l <= request_.last; ++l) write_layer(l, (*choices)[l - request_.first]);
    finish_times();
    stage_.parameter_state = common_state(stage_);
    stage_.memory.activations_per_microbatch = activations_;
    stage_.memory.transient = largest_recomputed_ + largest_working_ + gathered_;
    return std::move(stage_);
  }

 private:
  const Graph& graph() const { return space_.input.graph; }

  std::optional<RangeChoices> range_choices() {
    if (!request_.held) return solver_.ranges().choices(request_.settings, request_.first, request_.last);
    RangeChoices choices;
    for (const std::vector<StateChoices::Origin>& layer : *request_.held) {
      choices.emplace_back();
      for (const StateChoices::Origin& origin : layer) choices.back().push_back(origin.choice);
    }
    return choices;
  }

  ParameterState state_of(std::size_t l, std::size_t node, std::size_t position, const ParameterChoices& parameter) {
    if (request_.held) return (*request_.held)[l - request_.first][node].states[position];
    return best_state(parameter, request_.settings);
  }

  std::string axes_text() const {
    std::string text;
    for (const MeshAxis& axis : request_.mesh.axes)
      text += fmt::format("{}{}={}", text.empty() ? "" : " ", axis.name, axis.size);
    return text;
  }
  const std::string& name_of(TensorId t) const { return graph().tensor(t).id; }

  // The model belongs to a layer of equal structure; its tensors are translated by their places in the ops.
  void map_tensors(const LayerModel& model, const PlanningLayer& layer) {
    actual_.clear();
    for (std::size_t k = 0; k < layer.ops.size(); ++k) {
      const Op& modelled = graph().op(model.nodes[k].op);
      const Op& op = graph().op(layer.ops[k]);
      for (std::size_t i = 0; i < op.inputs.size(); ++i) actual_[modelled.inputs[i]] = op.inputs[i];
      for (const auto* operands : {&op.inputs, &op.outputs})
        for (const TensorId t : *operands) id_of_[name_of(t)] = t;
      for (std::size_t o = 0; o < op.outputs.size(); ++o) actual_[modelled.outputs[o]] = op.outputs[o];
    }
  }

  void write_layer(std::size_t l, const std::vector<std::uint32_t>& choices) {
    const LayerModel& model = solver_.ranges().model(l);
    const PlanningLayer& layer = space_.layers.layers[l];
    map_tensors(model, layer);
    with_node_.clear();
    for (std::size_t n = layer.ops.size(); n < model.nodes.size(); ++n)
      with_node_.insert(actual_.at(model.nodes[n].tensor));
    recomputed_ = Bytes(0);
    for (std::size_t k = 0; k < layer.ops.size(); ++k)
      write_op(l, k, model.nodes[k], model.nodes[k].choices[choices[k]]);
    for (std::size_t n = layer.ops.size(); n < model.nodes.size(); ++n)
      write_tensor(l, n, model.nodes[n], model.nodes[n].choices[choices[n]], n >= model.interior);
    for (const ModelEdge& edge : model.edges) write_edge(model, layer, edge, choices);
    largest_recomputed_ = std::max(largest_recomputed_, recomputed_);
  }

  const RecomputePart& part_in(const ByRecompute<RecomputePart>& parts) const {
    return parts[static_cast<std::size_t>(request_.settings.recompute)];
  }

  void save(Bytes bytes, Saving saving) {
    if (saving == Saving::kept) activations_ += bytes;
    if (saving == Saving::made_again) recomputed_ += bytes;
  }

  void write_op(std::size_t l, std::size_t position, const ModelNode& node, const Choice& choice) {
    const RecomputePart& part = part_in(node.parts);
    const OpId id = space_.layers.layers[l].ops[position];
    const Op& op = graph().op(id);
    OpSharding sharding{op.id, {}, choice.strategy.inputs, choice.strategy.outputs, choice.forward, choice.backward};
    for (std::size_t axis = 0; axis < request_.mesh.dimensions(); ++axis)
      sharding.axes.push_back(choice.strategy.axes[axis] ? op.rule.factors[index(*choice.strategy.axes[axis])].name
                                                         : "");
    stage_.ops.push_back(std::move(sharding));
    const OpTime time = sharded_op_time(solver_.context().strategies, solver_.context().cluster,
                                        solver_.context().recipe, id, choice.strategy);
    const bool late = part.runs == ForwardRuns::in_backward;
    (late ? stage_.backward_compute : stage_.forward_compute) += time.forward;
    stage_.backward_compute += time.backward;
    stage_.backward_weight += time.backward_weight;
    if (late) late_ops_.insert(stage_.ops.size() - 1);
    if (part.runs == ForwardRuns::in_both) {
      repeated_ += choice.forward;
      stage_.backward_recompute += time.forward;
    }
    save(choice.saved, part.saving);
    Bytes working = choice.working;
    for (std::size_t i = 0, next = 0; i < op.inputs.size() && next < choice.parameters.size(); ++i) {
      if (graph().tensor(op.inputs[i]).role != TensorRole::parameter || with_node_.contains(op.inputs[i])) continue;
      const ParameterChoices& parameter = choice.parameters[next];
      const ParameterCost& cost = write_parameter(op.inputs[i], choice.strategy.inputs[i], parameter,
                                                  state_of(l, position, next, parameter), op.id, part.runs);
      ++next;
      const bool in_backward = runs_in_backward(part.runs), again = in_backward && node.regathers;
      if (again) gather_again(cost);
      (in_backward && !again ? recomputed_ : working) += cost.gathered;  // repeated: held until the layer's backward
    }
    largest_working_ = std::max(largest_working_, working);
  }

  // Returns what it costs in its state.
  const ParameterCost& write_parameter(TensorId t, const Layout& layout, const ParameterChoices& parameter,
                                       ParameterState state, const std::string& consumer, ForwardRuns runs) {
    const ParameterCost& cost = parameter[static_cast<std::size_t>(state)];
    stage_.tensors.push_back({name_of(t), true, layout, layout, state, cost.parameters});
    stage_.memory.parameters += cost.parameters;
    stage_.memory.gradients += cost.gradients;
    stage_.memory.optimizer += cost.optimizer;
    stage_.update += cost.update;
    const bool late = runs == ForwardRuns::in_backward;
    (late ? beside_.backward : beside_.forward) += cost.forward_beside;
    beside_.backward += cost.backward_beside;
    const auto steps = [&](const ParameterCollectives& collectives) {
      std::vector<CollectiveStep> result;
      for (const ParameterCollective& c : collectives)
        result.push_back({c.collective, axis_names(request_.mesh, cost.axis_set), c.whole, c.time});
      return result;
    };
    if (!cost.forward.empty() || !cost.backward.empty()) {
      if (late) late_conversions_.insert(stage_.conversions.size());
      stage_.conversions.push_back(
          {name_of(t), consumer, layout, layout, Rate::per_microbatch, steps(cost.forward), steps(cost.backward)});
    }
    if (!cost.per_step.empty())
      stage_.conversions.push_back({name_of(t), "optimizer", layout, layout, Rate::per_step, {}, steps(cost.per_step)});
    return cost;
  }

  // Of the parameter that was written last: for the forward that the backward repeats.
  void gather_again(const ParameterCost& cost) {
    beside_.backward += cost.forward_beside;
    if (cost.forward.empty()) return;
    Conversion& written = stage_.conversions.back();
    written.backward.insert(written.backward.begin(), written.forward.begin(), written.forward.end());
  }

  // An activation or a parameter with a node of its own; one that crosses layers is written where it first appears.
  void write_tensor(std::size_t l, std::size_t position, const ModelNode& node, const Choice& choice, bool crosses) {
    const TensorId t = actual_.at(node.tensor);
    if (crosses && saved_in_range(l, t)) save_crossing(choice.saved);
    if (!written_.insert(t).second) return;
    if (node.kind == ModelNode::Kind::parameter) {
      const ParameterCost& cost =
          write_parameter(t, choice.layout, choice.parameters.front(),
                          state_of(l, position, 0, choice.parameters.front()), "", ForwardRuns::in_forward);
      gathered_ += cost.gathered;
      return;
    }
    stage_.tensors.push_back({name_of(t), false, choice.layout, choice.layout, ParameterState::replicated,
                              conversion_table(solver_.context(), t).local_bytes(choice.layout)});
    if (!crosses)
      save(choice.saved, part_in(node.parts).saving);
    else
      write_border(variable_of(l, t), choice.layout);
  }

  const InterfaceVariable& variable_of(std::size_t l, TensorId t) const {
    const auto& variables = space_.layers.layers[l].variables;
    return *std::find_if(variables.begin(), variables.end(), [&](const auto& v) { return v.tensor == t; });
  }

  // What a border of stages costs an activation that is held redundantly.
  void write_border(const InterfaceVariable& variable, const Layout& layout) {
    const bool arrives = variable.first_layer < request_.first;
    if (!arrives && variable.last_layer <= request_.last) return;
    const ModelContext& context = solver_.context();
    const Seconds time =
        arrives ? arrival_time(context, variable.tensor, layout) : departure_time(context, variable.tensor, layout);
    if (!(time > Seconds(0))) return;
    const std::vector<CollectiveStep> gather{{Collective::all_gather,
                                              axis_names(request_.mesh, redundant_axes(layout, request_.mesh)),
                                              conversion_table(context, variable.tensor).local_bytes(layout), time}};
    Conversion conversion{
        name_of(variable.tensor), arrives ? "receive" : "send", layout, layout, Rate::per_microbatch, {}, {}};
    (arrives ? conversion.forward : conversion.backward) = gather;
    stage_.conversions.push_back(std::move(conversion));
  }

  // True once per tensor: in the first layer of the range whose backward, or whose recomputation, starts from it.
  bool saved_in_range(std::size_t l, TensorId t) {
    for (const InterfaceVariable& v : space_.layers.layers[l].variables)
      if (v.tensor == t && !v.parameter && v.saved[static_cast<std::size_t>(request_.settings.recompute)])
        return saved_.insert(t).second;
    return false;
  }

  void save_crossing(Bytes bytes) { activations_ += bytes; }

  void write_edge(const LayerModel& model, const PlanningLayer& layer, const ModelEdge& edge,
                  const std::vector<std::uint32_t>& choices) {
    const Choice& a = model.nodes[edge.a].choices[choices[edge.a]];
    const Choice& b = model.nodes[edge.b].choices[choices[edge.b]];
    const EdgeCost& cost = edge.costs[choices[edge.a] * model.nodes[edge.b].choices.size() + choices[edge.b]];
    const RecomputePart& part = part_in(edge.parts);
    save(cost.saved, part.saving);
    const TensorId t = actual_.at(edge.tensor);
    const bool to_node = model.nodes[edge.b].kind != ModelNode::Kind::op;
    const Layout from =
        model.nodes[edge.a].kind == ModelNode::Kind::op ? result_layout(model.nodes[edge.a], a, edge.tensor) : a.layout;
    const Layout to = to_node ? b.layout : b.strategy.inputs[edge.operand];
    ConversionTable& table = conversion_table(solver_.context(), t);
    Conversion conversion{
        name_of(t), to_node ? "" : graph().op(layer.ops[edge.b]).id, from, to, Rate::per_microbatch, {}, {}};
    append(conversion.forward, table.value_path(from, to));
    for (const CollectiveStep& step : conversion.forward)
      if (part.runs == ForwardRuns::in_both) repeated_ += step.time;
    MovePath back;
    if (space_.training.relations.needs_gradient[index(t)]) back = table.gradient_path(from, to);
    if (cost.backward > back.time)
      append(conversion.backward, table.value_path(from, to));  // the saved value, converted again
    append(conversion.backward, back);
    if (conversion.forward.empty() && conversion.backward.empty()) return;
    if (part.runs == ForwardRuns::in_backward) late_conversions_.insert(stage_.conversions.size());
    stage_.conversions.push_back(std::move(conversion));
  }

  Layout result_layout(const ModelNode& node, const Choice& choice, TensorId t) const {
    const auto& outputs = graph().op(node.op).outputs;
    return choice.strategy
        .outputs[static_cast<std::size_t>(std::find(outputs.begin(), outputs.end(), t) - outputs.begin())];
  }

  void append(std::vector<CollectiveStep>& steps, const MovePath& path) const {
    for (const Move& move : path.moves)
      if (const auto collective = collective_of(move.kind))
        steps.push_back({*collective, axis_names(request_.mesh, move.axis_set), move.whole, move.time});
  }

  void finish_times() {
    for (std::size_t k = 0; k < stage_.ops.size(); ++k) {
      (late_ops_.contains(k) ? stage_.backward : stage_.forward) += stage_.ops[k].forward;
      stage_.backward += stage_.ops[k].backward;
    }
    for (std::size_t k = 0; k < stage_.conversions.size(); ++k) {
      const Conversion& conversion = stage_.conversions[k];
      Seconds forward, backward;
      for (const CollectiveStep& step : conversion.forward) forward += step.time;
      for (const CollectiveStep& step : conversion.backward) backward += step.time;
      if (conversion.rate == Rate::per_step) {
        stage_.synchronization += forward + backward;
      } else {
        (late_conversions_.contains(k) ? stage_.backward : stage_.forward) += forward;
        stage_.backward += backward;
        stage_.backward_weight += weight_part(conversion, role_of(conversion));
      }
    }
    stage_.backward += repeated_;
    stage_.backward_compute += stage_.backward_recompute;
    add_waits(stage_, space_.launches.of(request_.first, request_.last, request_.settings.recompute), beside_);
  }

  TensorRole role_of(const Conversion& conversion) const { return graph().tensor(id_of_.at(conversion.tensor)).role; }

  const SearchSpace& space_;
  const StageRequest& request_;
  MeshSolver& solver_;
  Stage stage_;
  std::map<TensorId, TensorId> actual_;
  std::map<std::string, TensorId> id_of_;
  std::set<TensorId> with_node_;  // of the layer at hand
  std::set<TensorId> written_, saved_;
  // Of the stage: whose forward runs in the backward alone.
  std::set<std::size_t> late_ops_, late_conversions_;
  Seconds repeated_;  // of the forward
  Launches beside_;   // what collectives of parameters take that run beside computing
  Bytes activations_, recomputed_, largest_recomputed_, largest_working_, gathered_;
};

}  // namespace

Bytes bytes_of(const SearchSpace& space, TensorId t, std::int64_t microbatch_size) {
  const Tensor& tensor = space.input.graph.tensor(t);
  return element_size(space.input.recipe, tensor.dtype) * elements(tensor, microbatch_size);
}

void add_waits(Stage& stage, const Launches& launches, const Launches& beside) {
  const Seconds forward = stage.forward, backward = stage.backward;
  stage.forward = stage_time({forward, launches.forward, beside.forward});
  stage.backward = stage_time({backward, launches.backward, beside.backward});
  stage.forward_waits = stage.forward - forward;
  stage.backward_waits = stage.backward - backward;
  if (backward > Seconds(0)) stage.backward_weight = (stage.backward / backward) * stage.backward_weight;
}

Stage materialize_stage(const SearchSpace& space, const StageRequest& request, std::int64_t microbatch_size) {
  MeshSolver solver(space, request.mesh, request.roles, microbatch_size);
  return materialize_stage(space, request, solver);
}

Stage materialize_stage(const SearchSpace& space, const StageRequest& request, MeshSolver& solver) {
  return StageWriter(space, request, solver).write();
}

Seconds send_time(const Cluster& cluster, Bytes bytes, const StageBorder& border) {
  if (border.from == border.to) return send_time(group_at(cluster, border.from), bytes, border.link, 1);
  return send_time(border_between(cluster, border.from, border.to), bytes, border.link, 1);
}

StageBoundary boundary_after(const SearchSpace& space, std::size_t layer, const StageBorder& border,
                             std::int64_t microbatch_size) {
  StageBoundary boundary;
  boundary.link = border.link;
  for (const TensorId t : space.layers.cuts[layer]) {
    const Bytes bytes = bytes_of(space, t, microbatch_size);
    boundary.tensors.push_back(space.input.graph.tensor(t).id);
    boundary.forward_bytes += bytes;
    if (space.training.relations.needs_gradient[index(t)]) boundary.backward_bytes += bytes;
  }
  if (boundary.forward_bytes > Bytes(0))
    boundary.formula_forward = send_time(space.input.cluster, boundary.forward_bytes, border);
  if (boundary.backward_bytes > Bytes(0))
    boundary.formula_backward = send_time(space.input.cluster, boundary.backward_bytes, border);
  return boundary;
}

void price_sends(const Cluster& cluster, StageBoundary& boundary, const Submesh& stage, const Submesh& next) {
  const auto price = [&](Bytes bytes, const Submesh& sender, const Cluster& links) {
    if (!(bytes > Bytes(0))) return Seconds(0);
    return send_time(links, bytes, boundary.link, send_lanes(links, sender, boundary.link));
  };
  if (stage.group == next.group) {
    boundary.formula_forward = price(boundary.forward_bytes, stage, group_at(cluster, stage.group));
    boundary.formula_backward = price(boundary.backward_bytes, next, group_at(cluster, stage.group));
    return;
  }
  boundary.formula_forward = price(boundary.forward_bytes, stage, border_between(cluster, stage.group, next.group));
  boundary.formula_backward = price(boundary.backward_bytes, next, border_between(cluster, next.group, stage.group));
}

bool shares_parameters_outside(const PlanningLayers& layers, std::size_t first, std::size_t last) {
  for (std::size_t l = first; l <= last; ++l)
    for (const InterfaceVariable& v : layers.layers[l].variables)
      if (v.parameter && (v.first_layer < first || v.last_layer > last)) return true;
  return false;
}

ForwardRuns runs_of(const Conversion& conversion, const ConversionEnds& ends) {
  if (ends.role == TensorRole::parameter) return runs_of_gathering(ends.consumer);
  if (conversion.consumer == "receive") return ForwardRuns::in_forward;
  const bool from_node = ends.has_node && !conversion.consumer.empty();
  return from_node ? ends.consumer : ends.producer;
}

LinkClass link_between(const Cluster& cluster, const Stage& stage, const Stage& next) {
  return host_of_device(cluster, stage.devices.back()) == host_of_device(cluster, next.devices.front())
             ? LinkClass::intra_host
             : LinkClass::inter_host;
}

Seconds weight_part(const Conversion& conversion, TensorRole role) {
  Seconds part;
  if (role != TensorRole::parameter) return part;
  for (const CollectiveStep& step : conversion.backward)
    if (reduces(step.collective)) part += step.time;
  return part;
}

namespace {

// Forwards alone save nothing and need no gradients and no optimizer.
void keep_for_inference(Plan& plan) {
  for (Stage& stage : plan.stages)
    stage.memory.gradients = stage.memory.optimizer = stage.memory.activations_per_microbatch = Bytes(0);
}

SentTensor sent_tensor(const SearchSpace& space, const std::string& id, std::int64_t microbatch_size) {
  const auto& tensors = space.input.graph.tensors;
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& each) { return each.id == id; });
  return {sizes_of(*found, microbatch_size), element_size(space.input.recipe, found->dtype),
          space.training.relations.needs_gradient[static_cast<std::size_t>(found - tensors.begin())]};
}

ParameterCost cost_in(const SearchSpace& space, const Stage& stage, const TensorLayout& parameter) {
  const auto& tensors = space.input.graph.tensors;
  const Tensor& tensor =
      *std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& each) { return each.id == parameter.tensor; });
  const DeviceMesh mesh{stage.submesh, stage.mesh};
  const double local = elements(tensor, 1) / static_cast<double>(shards(parameter.layout, mesh));
  return parameter_cost(group_at(space.input.cluster, stage.submesh.group), space.input.recipe, mesh, parameter.layout,
                        local, tensor.dtype, parameter.state);
}

// Another chunk of the rank has the copy that the stage uses, and does what is done with it once per step.
void leave_to_earlier_chunk(Stage& stage, TensorLayout& parameter, const ParameterCost& cost) {
  parameter.bytes = Bytes(0);
  stage.memory.parameters -= cost.parameters;
  stage.memory.gradients -= cost.gradients;
  stage.memory.optimizer -= cost.optimizer;
  stage.update -= cost.update;
  std::erase_if(stage.conversions, [&](const Conversion& conversion) {
    if (conversion.rate != Rate::per_step || conversion.tensor != parameter.tensor) return false;
    for (const auto* steps : {&conversion.forward, &conversion.backward})
      for (const CollectiveStep& step : *steps) stage.synchronization -= step.time;
    return true;
  });
}

void share_parameters(const SearchSpace& space, Plan& plan) {
  const SharedParameters shared(plan);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    Stage& stage = plan.stages[s];
    for (TensorLayout& tensor : stage.tensors) {
      if (!tensor.parameter) continue;
      if (shared.all_reduced(s, tensor.tensor)) stage.shared_gradients += cost_in(space, stage, tensor).gradients;
      if (shared.stored_before(s, tensor.tensor)) leave_to_earlier_chunk(stage, tensor, cost_in(space, stage, tensor));
    }
    if (!(stage.shared_gradients > Bytes(0))) continue;
    stage.shared_gradients_time = shared.gradient_time(plan.cluster, s, stage.shared_gradients);
    stage.synchronization += stage.shared_gradients_time;
  }
}

// What passes between chunks of one rank is there already.
void join_stages(const SearchSpace& space, Plan& plan) {
  const PipelineShape shape = plan.shape();
  for (std::int64_t s = 0; s < shape.stages(); ++s) {
    Stage& stage = plan.stages[static_cast<std::size_t>(s)];
    stage.chunk = shape.chunk_of(s);
    if (s + 1 == shape.stages()) continue;
    const Stage& next = plan.stages[static_cast<std::size_t>(s) + 1];
    stage.boundary = boundary_after(space, static_cast<std::size_t>(stage.last_layer),
                                    {link_between(plan.cluster, stage, next), stage.submesh.group, next.submesh.group},
                                    plan.microbatch_size);
    price_sends(plan.cluster, stage.boundary, stage.submesh, next.submesh);
    if (!shape.sends_after(s)) stage.boundary.formula_forward = stage.boundary.formula_backward = Seconds(0);
  }
  set_transfers(plan, plan.cluster,
                [&](const std::string& tensor) { return sent_tensor(space, tensor, plan.microbatch_size); });
  share_parameters(space, plan);
  if (plan.schedule.kind == ScheduleKind::inference) keep_for_inference(plan);
  add_synchronization_waits(plan);
  count_activations(plan);
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(shape.ranks); ++rank) {
    StageMemory& first = plan.stages[rank].memory;
    for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk)
      plan.stages[static_cast<std::size_t>(shape.stage_of(static_cast<std::int64_t>(rank), chunk))].memory.overhead =
          Bytes(0);
    first.overhead =
        plan.recipe.context_memory + device_memory(memory_of_rank(plan, rank)) * plan.recipe.memory_fragmentation;
  }
}

}  // namespace

Plan materialize_plan(const SearchSpace& space, PipelineRequest request) {
  const PlanningInput& input = space.input;
  Plan plan;
  plan.graph = input.graph_file;
  plan.cluster_file = input.cluster_file;
  plan.graph_name = input.graph.name;
  plan.mixture_of_experts = space.meanings.has_experts();
  plan.cluster = input.cluster;
  plan.recipe = input.recipe;
  plan.pins = input.pins.list;
  for (const PlanningLayer& layer : space.layers.layers) plan.layers.push_back(layer.name);
  plan.schedule = request.schedule;
  plan.global_batch = request.microbatch_size * request.microbatches;
  plan.microbatch_size = request.microbatch_size;
  plan.microbatches = request.microbatches;
  plan.stages = std::move(request.stages);
  join_stages(space, plan);
  plan.estimate = schedule_formula(plan.schedule, stage_times(plan), plan.microbatches);
  plan.best_estimate = plan.estimate;
  const GraphSummary summary = summarize(input.graph);
  plan.model_flops = (plan.schedule.kind == ScheduleKind::inference ? summary.forward_flops_per_sample
                                                                    : summary.training_flops_per_sample) *
                     static_cast<double>(plan.global_batch);
  return plan;
}

}  // namespace meshloom
