#include "planner/reprice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "costmodel/conversions.hpp"
#include "costmodel/groups.hpp"
#include "costmodel/op_costs.hpp"
#include "graphs/gradients.hpp"
#include "graphs/input_error.hpp"
#include "planner/layer_model.hpp"
#include "planner/materialize.hpp"
#include "planner/plan/synchronization_waits.hpp"
#include "planner/shared_parameters.hpp"
#include "planner/transfers.hpp"

namespace meshloom {
namespace {

class Repricer {
 public:
  Repricer(const Plan& plan, const Graph& graph, const Cluster& cluster, double tolerance)
      : plan_(plan),
        graph_(graph),
        training_(differentiate(graph)),
        meanings_(dimension_meanings(graph)),
        cluster_(cluster),
        tolerance_(tolerance),
        of_microbatch_(averaged_over(plan.recipe, plan.microbatches)),
        repeated_(repeated_ops(graph, training_, plan.recipe.recompute_scope, plan.recipe.selective_recompute)),
        shared_(plan) {
    for (std::uint32_t o = 0; o < graph.ops.size(); ++o) ops_[graph.ops[o].id] = OpId{o};
    for (std::uint32_t t = 0; t < graph.tensors.size(); ++t) tensors_[graph.tensors[t].id] = TensorId{t};
  }

  std::vector<PriceDifference> run() {
    std::size_t op_count = 0;
    for (std::size_t s = 0; s < plan_.stages.size(); ++s) {
      op_count += plan_.stages[s].ops.size();
      price_stage(fmt::format("/stages/{}", s), plan_.stages[s]);
    }
    add_synchronization_waits(priced_);
    for (std::size_t s = 0; s < plan_.stages.size(); ++s)
      note(fmt::format("/stages/{}/synchronization_s", s), plan_.stages[s].synchronization.value(),
           priced_.stages[s].synchronization.value());
    price_boundaries();
    if (op_count != graph_.ops.size())
      throw InputError("plan", fmt::format("holds {} ops, but the graph \"{}\" has {}; give the graph that was planned",
                                           op_count, graph_.name, graph_.ops.size()));
    const Seconds estimate = schedule_formula(plan_.schedule, stage_times(priced_), plan_.microbatches);
    note("/estimate_s", plan_.estimate.value(), estimate.value());
    return std::move(differences_);
  }

 private:
  void note(const std::string& path, double stored, double priced) {
    if (std::abs(stored - priced) > tolerance_ * std::max(std::abs(stored), std::abs(priced)))
      differences_.push_back({path, stored, priced});
  }

  std::size_t stage_number(const Stage& stored) const {
    return static_cast<std::size_t>(&stored - plan_.stages.data());
  }

  void price_stage(const std::string& path, const Stage& stored) {
    if (priced_.stages.empty()) priced_ = plan_;
    Stage& stage = priced_.stages[stage_number(stored)];
    const DeviceMesh mesh{stored.submesh, stored.mesh};
    group_ = &group_at(cluster_, stored.submesh.group);
    stage.forward = stage.backward = stage.backward_weight = stage.synchronization = Seconds(0);
    stage.forward_waits = stage.backward_waits = Seconds(0);
    Seconds repeated;  // of the forward: what runs in the backward
    Launches launched;
    beside_ = {};
    for (std::size_t k = 0; k < stored.ops.size(); ++k) {
      const OpTime time = price_op(fmt::format("{}/ops/{}", path, k), mesh, stored.ops[k]);
      const OpId op = ops_.at(stored.ops[k].op);
      const ForwardRuns runs = runs_of_op(stored, op);
      const Launches own = launches(plan_.recipe, graph_, training_.gradients[index(op)], op);
      if (runs != ForwardRuns::in_backward) stage.forward += time.forward, launched.forward += own.forward;
      if (runs_in_backward(runs)) repeated += time.forward, launched.backward += own.forward;
      stage.backward += time.backward;
      launched.backward += own.backward;
      stage.backward_weight += time.backward_weight;
    }
    for (std::size_t k = 0; k < stored.conversions.size(); ++k) {
      const std::string place = fmt::format("{}/conversions/{}", path, k);
      Conversion& conversion = stage.conversions[k];
      const TensorRole role = role_of(place, conversion.tensor);
      const bool bucketed = role == TensorRole::parameter && conversion.from == conversion.to;
      const CollectiveUse use = !bucketed                           ? CollectiveUse::conversion
                                : conversion.rate == Rate::per_step ? CollectiveUse::synchronization
                                                                    : CollectiveUse::parameters;
      const Seconds forward = price_steps(place + "/forward", mesh, conversion.forward, use, beside_.forward);
      const Seconds backward = price_steps(place + "/backward", mesh, conversion.backward, use, beside_.backward);
      check_conversion(place, mesh, stored.conversions[k]);
      if (conversion.rate == Rate::per_step) {
        stage.synchronization += forward + backward;
        continue;
      }
      const ForwardRuns runs = runs_of(conversion, ends_of(stored, conversion, role));
      if (runs != ForwardRuns::in_backward) stage.forward += forward;
      if (runs_in_backward(runs)) repeated += forward;
      stage.backward += backward, stage.backward_weight += weight_part(conversion, role);
    }
    if (stored.shared_gradients > Bytes(0)) {
      const Seconds time = shared_.gradient_time(cluster_, stage_number(stored), stored.shared_gradients);
      note(path + "/shared_gradients_s", stored.shared_gradients_time.value(), time.value());
      stage.synchronization += time;
    }
    stage.backward += repeated;
    add_waits(stage, launched, beside_);
    check_borders(path, mesh, stored);
    stage.update = Seconds(0);
    for (const TensorLayout& tensor : stored.tensors)
      if (tensor.parameter) stage.update += price_update(place_of(path, tensor.tensor), stored, tensor);
    note(path + "/forward_s", stored.forward.value(), stage.forward.value());
    note(path + "/backward_s", stored.backward.value(), stage.backward.value());
    note(path + "/backward_weight_s", stored.backward_weight.value(), stage.backward_weight.value());
    note(path + "/update_s", stored.update.value(), stage.update.value());
  }

  ForwardRuns runs_of_op(const Stage& stage, OpId op) const {
    return repeated_.of(op)[static_cast<std::size_t>(stage.recompute)];
  }

  ConversionEnds ends_of(const Stage& stage, const Conversion& conversion, TensorRole role) const {
    ConversionEnds ends{role, false, ForwardRuns::in_forward, ForwardRuns::in_forward};
    ends.has_node = std::any_of(stage.tensors.begin(), stage.tensors.end(),
                                [&](const TensorLayout& tensor) { return tensor.tensor == conversion.tensor; });
    if (const auto producer = training_.relations.producer[index(tensors_.at(conversion.tensor))])
      ends.producer = runs_of_op(stage, *producer);
    if (const auto consumer = ops_.find(conversion.consumer); consumer != ops_.end())
      ends.consumer = runs_of_op(stage, consumer->second);
    return ends;
  }

  static std::string place_of(const std::string& path, const std::string& tensor) {
    return path + "/tensors/" + tensor;
  }

  OpTime price_op(const std::string& path, const DeviceMesh& mesh, const OpSharding& stored) {
    const auto found = ops_.find(stored.op);
    if (found == ops_.end())
      throw InputError(path, fmt::format("the graph has no op \"{}\"; give the graph that was planned", stored.op));
    const Op& op = graph_.op(found->second);
    const StrategyContext context{graph_,
                                  training_,
                                  meanings_,
                                  mesh,
                                  std::vector<AxisRole>(mesh.dimensions(), AxisRole::free),
                                  plan_.microbatch_size};
    std::array<std::optional<FactorId>, max_mesh_axes> axes{};
    unsigned inner = 0;
    for (std::size_t axis = 0; axis < std::min(mesh.dimensions(), stored.axes.size()); ++axis) {
      if (stored.axes[axis].empty()) continue;
      for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
        if (op.rule.factors[f].name == stored.axes[axis]) axes[axis] = FactorId{f};
      if (!axes[axis]) throw InputError(path, fmt::format("op \"{}\" has no factor \"{}\"", op.id, stored.axes[axis]));
      if (op.rule.factors[index(*axes[axis])].mark == FactorMark::inner_collective) inner |= 1U << axis;
    }
    const auto strategy = strategy_for(context, found->second, axes);
    if (!strategy)
      throw InputError(path, fmt::format("op \"{}\" cannot be sharded so: the sizes do not divide", op.id));
    if (strategy->inputs != stored.inputs || strategy->outputs != stored.outputs)
      throw InputError(path, fmt::format("the layouts of op \"{}\" do not follow from its sharding", op.id));
    OpTime time = sharded_op_time(context, *group_, of_microbatch_, found->second, *strategy);
    if (inner != 0) {
      const Seconds one =
          waiting_for_activations(plan_.recipe)
              .of(Collective::all_reduce, collective_time(*group_, Collective::all_reduce,
                                                          Bytes(4 * local_rows(op, *strategy)), group_of(mesh, inner)));
      time.forward += one * traits(op.kind).inner_collectives_forward;
      if (!training_.gradients[index(found->second)].kernels.empty())
        time.backward += one * traits(op.kind).inner_collectives_backward;
    }
    note(path + "/forward_s", stored.forward.value(), time.forward.value());
    note(path + "/backward_s", stored.backward.value(), time.backward.value());
    return time;
  }

  TensorRole role_of(const std::string& path, const std::string& tensor) const {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end())
      throw InputError(path, fmt::format("the graph has no tensor \"{}\"; give the graph that was planned", tensor));
    return graph_.tensor(found->second).role;
  }

  // What a border of stages cuts is received, and its gradient sent back, as the layouts say.
  void check_borders(const std::string& path, const DeviceMesh& mesh, const Stage& stored) {
    std::set<std::string> own, sent(stored.boundary.tensors.begin(), stored.boundary.tensors.end());
    for (const OpSharding& op : stored.ops)
      if (const auto found = ops_.find(op.op); found != ops_.end())
        for (const TensorId t : graph_.op(found->second).outputs) own.insert(graph_.tensor(t).id);
    ConversionTables tables(*group_, mesh, waiting_for_activations(plan_.recipe));
    const ModelContext context{{graph_, training_, meanings_, mesh,
                                std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), plan_.microbatch_size},
                               *group_,
                               plan_.recipe,
                               tables};
    for (const TensorLayout& tensor : stored.tensors) {
      if (tensor.parameter) continue;
      const TensorId id = tensors_.at(tensor.tensor);
      Seconds received, returned;
      for (const Conversion& conversion : stored.conversions)
        if (conversion.tensor == tensor.tensor && (conversion.consumer == "receive" || conversion.consumer == "send"))
          for (const auto* steps : {&conversion.forward, &conversion.backward})
            for (const CollectiveStep& step : *steps)
              (conversion.consumer == "receive" ? received : returned) += step.time;
      if (!own.contains(tensor.tensor))
        note(place_of(path, tensor.tensor) + "/receive", received.value(),
             arrival_time(context, id, tensor.layout).value());
      else if (sent.contains(tensor.tensor))
        note(place_of(path, tensor.tensor) + "/send", returned.value(),
             departure_time(context, id, tensor.layout).value());
    }
  }

  enum class CollectiveUse { conversion, parameters, synchronization };

  Seconds exposed_time(CollectiveUse use, Collective collective, Bytes whole, const DeviceGroup& group,
                       Seconds& beside) const {
    const Recipe& recipe = plan_.recipe;
    if (use == CollectiveUse::conversion)
      return waiting_for_activations(recipe).of(collective, collective_time(*group_, collective, whole, group));
    if (use == CollectiveUse::synchronization)
      return recipe.exposed_synchronization * bucketed_collective_time(*group_, recipe, collective, whole, group);
    const MicrobatchTime time = microbatch_collective_time(*group_, recipe, collective, whole, group);
    beside += time.beside;
    return time.waited;
  }

  // Sets the steps' times; adds what runs beside computing.
  Seconds price_steps(const std::string& path, const DeviceMesh& mesh, std::vector<CollectiveStep>& steps,
                      CollectiveUse use, Seconds& beside) {
    Seconds total;
    for (std::size_t k = 0; k < steps.size(); ++k) {
      CollectiveStep& step = steps[k];
      const std::string place = fmt::format("{}/{}", path, k);
      unsigned axis_set = 0;
      for (const std::string& name : step.axes) {
        const auto axis =
            std::find_if(mesh.axes.begin(), mesh.axes.end(), [&](const MeshAxis& a) { return a.name == name; });
        if (axis == mesh.axes.end()) throw InputError(place, fmt::format("the stage's mesh has no axis \"{}\"", name));
        axis_set |= 1U << (axis - mesh.axes.begin());
      }
      const DeviceGroup group = group_of(mesh, axis_set);
      const Seconds time = exposed_time(use, step.collective, step.whole, group, beside);
      note(place + "/time_s", step.time.value(), time.value());
      step.time = time;
      total += time;
    }
    return total;
  }

  // The collectives of an activation must be as cheap as the cheapest way between its layouts; a cheaper list would not
  // arrive, a dearer one is waste.
  void check_conversion(const std::string& path, const DeviceMesh& mesh, const Conversion& conversion) {
    const auto found = tensors_.find(conversion.tensor);
    const bool border = conversion.consumer == "receive" || conversion.consumer == "send";
    if (border || found == tensors_.end() || graph_.tensor(found->second).role == TensorRole::parameter) return;
    ConversionTables tables(*group_, mesh, waiting_for_activations(plan_.recipe));
    ConversionTable& table = tables.of(sizes_of(graph_.tensor(found->second), plan_.microbatch_size),
                                       element_size(plan_.recipe, graph_.tensor(found->second).dtype));
    Seconds stored_forward, stored_backward;
    for (const CollectiveStep& step : conversion.forward) stored_forward += step.time;
    for (const CollectiveStep& step : conversion.backward) stored_backward += step.time;
    const Seconds forward = table.value_time(conversion.from, conversion.to);
    const bool differentiable = training_.relations.needs_gradient[index(found->second)];
    const Seconds backward = differentiable ? table.gradient_time(conversion.from, conversion.to) : Seconds(0);
    note(path + "/forward", stored_forward.value(), forward.value());
    const bool again = stored_backward > backward && forward > Seconds(0);  // a saved activation is converted once more
    note(path + "/backward", stored_backward.value(), (again ? backward + forward : backward).value());
  }

  Seconds price_update(const std::string& path, const Stage& stage, const TensorLayout& stored) {
    const auto found = tensors_.find(stored.tensor);
    if (found == tensors_.end())
      throw InputError(path, "the graph has no such parameter; give the graph that was planned");
    if (shared_.stored_before(stage_number(stage), stored.tensor)) {
      note(path + "/bytes", stored.bytes.value(), 0);
      return Seconds(0);
    }
    const DeviceMesh mesh{stage.submesh, stage.mesh};
    const double local = elements(graph_.tensor(found->second), 1) / static_cast<double>(shards(stored.layout, mesh));
    const ParameterCost cost = parameter_cost(*group_, plan_.recipe, mesh, stored.layout, local,
                                              graph_.tensor(found->second).dtype, stored.state);
    note(path + "/bytes", stored.bytes.value(), cost.parameters.value());
    return cost.update;
  }

  SentTensor sent_tensor(const std::string& id) const {
    const auto found = tensors_.find(id);
    if (found == tensors_.end())
      throw InputError("plan", fmt::format("sends \"{}\", but the graph has no such tensor; give the graph that was "
                                           "planned",
                                           id));
    const Tensor& tensor = graph_.tensor(found->second);
    return {sizes_of(tensor, plan_.microbatch_size), element_size(plan_.recipe, tensor.dtype),
            training_.relations.needs_gradient[index(found->second)]};
  }

  // The transfers once more from the layouts on both sides, and the formula's prices.
  void price_boundaries() {
    set_transfers(priced_, cluster_, [this](const std::string& tensor) { return sent_tensor(tensor); });
    for (std::size_t s = 0; s + 1 < plan_.stages.size(); ++s) {
      const StageBoundary& stored = plan_.stages[s].boundary;
      StageBoundary& priced = priced_.stages[s].boundary;
      price_formula(s, priced);
      const std::string path = fmt::format("/stages/{}/boundary", s);
      note(path + "/forward_s", stored.forward_time.value(), priced.forward_time.value());
      note(path + "/backward_s", stored.backward_time.value(), priced.backward_time.value());
      note(path + "/formula_forward_s", stored.formula_forward.value(), priced.formula_forward.value());
      note(path + "/formula_backward_s", stored.formula_backward.value(), priced.formula_backward.value());
      compare_transfers(path + "/activations", stored.activations, priced.activations);
      compare_transfers(path + "/gradients", stored.gradients, priced.gradients);
    }
  }

  void price_formula(std::size_t s, StageBoundary& priced) const {
    const Stage &stage = plan_.stages[s], &next = plan_.stages[s + 1];
    priced.link = link_between(cluster_, stage, next);
    priced.forward_bytes = priced.backward_bytes = Bytes(0);
    for (const std::string& id : priced.tensors) {
      const SentTensor tensor = sent_tensor(id);
      Bytes bytes = tensor.element;
      for (const std::int64_t size : tensor.shape) bytes = bytes * static_cast<double>(size);
      priced.forward_bytes += bytes;
      if (tensor.needs_gradient) priced.backward_bytes += bytes;
    }
    price_sends(cluster_, priced, stage.submesh, next.submesh);
    if (!plan_.shape().sends_after(static_cast<std::int64_t>(s)))
      priced.formula_forward = priced.formula_backward = Seconds(0);
  }

  // Other ways to send the same are as good where every device gets as many bytes and no link is busy for longer, which
  // the boundary's time says.
  void compare_transfers(const std::string& path, const std::vector<Transfer>& stored,
                         const std::vector<Transfer>& priced) {
    std::map<std::int64_t, std::pair<double, double>> received;
    for (const Transfer& each : stored) received[each.to].first += each.bytes.value();
    for (const Transfer& each : priced) received[each.to].second += each.bytes.value();
    for (const auto& [device, bytes] : received)
      note(fmt::format("{}/bytes to device {}", path, device), bytes.first, bytes.second);
    const ClusterLinks links(cluster_);
    note(path + "/time_s", transfer_time(links, stored).value(), transfer_time(links, priced).value());
  }

  const Plan& plan_;
  const Graph& graph_;
  TrainingGraph training_;
  DimensionMeanings meanings_;
  const Cluster& cluster_;
  const Cluster* group_ = nullptr;  // of the stage at hand
  double tolerance_;
  Recipe of_microbatch_;
  RepeatedOps repeated_;
  Launches beside_;  // of the stage at hand
  SharedParameters shared_;
  Plan priced_;
  std::map<std::string, OpId> ops_;
  std::map<std::string, TensorId> tensors_;
  std::vector<PriceDifference> differences_;
};

}  // namespace

std::vector<PriceDifference> reprice(const Plan& plan, const Graph& graph, const Cluster& cluster, double tolerance) {
  for (std::size_t s = 0; s < plan.stages.size(); ++s)
    if (plan.stages[s].submesh.group >= group_count(cluster))
      throw InputError(
          fmt::format("/stages/{}", s),
          fmt::format("lies in group {} of the cluster, but \"{}\" has {}; give the cluster that was planned",
                      plan.stages[s].submesh.group, cluster.name, group_count(cluster)));
  return Repricer(plan, graph, cluster, tolerance).run();
}

}  // namespace meshloom
