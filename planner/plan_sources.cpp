#include "planner/plan_sources.hpp"

#include <algorithm>
#include <map>

#include "costmodel/groups.hpp"
#include "costmodel/op_costs.hpp"
#include "planner/layer_model.hpp"
#include "planner/parameter_costs.hpp"

namespace meshloom {
namespace {

class SourceRecorder {
 public:
  SourceRecorder(Plan& plan, const Graph& graph, const Cluster& cluster)
      : plan_(plan),
        graph_(graph),
        training_(differentiate(graph)),
        meanings_(dimension_meanings(graph)),
        cluster_(cluster),
        of_microbatch_(averaged_over(plan.recipe, plan.microbatches)),
        repeated_(repeated_ops(graph, training_, plan.recipe.recompute_scope, plan.recipe.selective_recompute)) {
    for (std::uint32_t o = 0; o < graph.ops.size(); ++o) ops_[graph.ops[o].id] = OpId{o};
    for (std::uint32_t t = 0; t < graph.tensors.size(); ++t) tensors_[graph.tensors[t].id] = TensorId{t};
  }

  void run() {
    TimeBySource all;
    for (Stage& stage : plan_.stages) all.add(of_stage(stage), static_cast<double>(stage.submesh.devices()));
    plan_.time_by_source = all;
  }

 private:
  TimeBySource of_stage(Stage& stage) {
    group_ = &group_at(cluster_, stage.submesh.group);
    const DeviceMesh mesh{stage.submesh, stage.mesh};
    TimeBySource microbatch, sum;
    for (OpSharding& op : stage.ops) {
      const OpTime time = price(mesh, op);
      op.forward_source = time.forward_source.main();
      op.backward_source = time.backward_source.main();
      const ForwardRuns runs = repeated_.of(ops_.at(op.op))[static_cast<std::size_t>(stage.recompute)];
      microbatch.add(time.forward_source, runs == ForwardRuns::in_both ? 2 : 1);
      microbatch.add(time.backward_source, 1);
    }
    for (Conversion& conversion : stage.conversions) {
      const bool bucketed = graph_.tensor(tensors_.at(conversion.tensor)).role == TensorRole::parameter &&
                            conversion.from == conversion.to;
      TimeBySource& rate = conversion.rate == Rate::per_microbatch ? microbatch : sum;
      rate.add(of_steps(mesh, conversion.forward, bucketed), 1);
      rate.add(of_steps(mesh, conversion.backward, bucketed), 1);
    }
    // Collectives that recompute repeats, and whatever else the model makes a stage wait for.
    const Seconds rest = stage.forward + stage.backward - microbatch.total();
    if (rest > 1e-9 * microbatch.total()) microbatch.add({rest, TimeSource::modelled});
    sum.add(microbatch, static_cast<double>(plan_.microbatches));
    for (const TensorLayout& tensor : stage.tensors)
      if (tensor.parameter) sum.add(update_of(mesh, tensor));
    sum.add(SourcedTime{stage.shared_gradients_time + stage.synchronization_waits, TimeSource::modelled});
    return sum;
  }

  OpTime price(const DeviceMesh& mesh, const OpSharding& stored) const {
    const OpId id = ops_.at(stored.op);
    const Op& op = graph_.op(id);
    const StrategyContext context{graph_,
                                  training_,
                                  meanings_,
                                  mesh,
                                  std::vector<AxisRole>(mesh.dimensions(), AxisRole::free),
                                  plan_.microbatch_size};
    std::array<std::optional<FactorId>, max_mesh_axes> axes{};
    unsigned inner = 0;
    for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
      for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f) {
        if (op.rule.factors[f].name != stored.axes[axis]) continue;
        axes[axis] = FactorId{f};
        if (op.rule.factors[f].mark == FactorMark::inner_collective) inner |= 1U << axis;
      }
    const Strategy strategy = *strategy_for(context, id, axes);
    OpTime time = sharded_op_time(context, *group_, of_microbatch_, id, strategy);
    if (inner == 0) return time;
    const SourcedTime one = sourced_collective_time(*group_, Collective::all_reduce,
                                                    Bytes(4 * local_rows(op, strategy)), group_of(mesh, inner));
    time.forward_source.add({stored.forward - time.forward, one.source});
    time.backward_source.add({stored.backward - time.backward, one.source});
    return time;
  }

  TimeBySource of_steps(const DeviceMesh& mesh, std::vector<CollectiveStep>& steps, bool bucketed) const {
    TimeBySource sum;
    for (CollectiveStep& step : steps) {
      unsigned axes = 0;
      for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
        if (std::find(step.axes.begin(), step.axes.end(), mesh.axes[axis].name) != step.axes.end()) axes |= 1U << axis;
      const DeviceGroup group = group_of(mesh, axes);
      const SourcedTime time = bucketed
                                   ? sourced_bucketed_time(*group_, plan_.recipe, step.collective, step.whole, group)
                                   : sourced_collective_time(*group_, step.collective, step.whole, group);
      step.source = time.source;
      sum.add({step.time, time.source});
    }
    return sum;
  }

  SourcedTime update_of(const DeviceMesh& mesh, const TensorLayout& stored) const {
    const Tensor& tensor = graph_.tensor(tensors_.at(stored.tensor));
    const double local = elements(tensor, 1) / static_cast<double>(shards(stored.layout, mesh));
    const ParameterCost cost =
        parameter_cost(*group_, plan_.recipe, mesh, stored.layout, local, tensor.dtype, stored.state);
    return {cost.update, cost.update_source};
  }

  Plan& plan_;
  const Graph& graph_;
  TrainingGraph training_;
  DimensionMeanings meanings_;
  const Cluster& cluster_;
  const Cluster* group_ = nullptr;  // of the stage at hand
  Recipe of_microbatch_;
  RepeatedOps repeated_;
  std::map<std::string, OpId> ops_;
  std::map<std::string, TensorId> tensors_;
};

}  // namespace

void record_sources(Plan& plan, const Graph& graph, const Cluster& cluster, const std::vector<ProfileFile>& profiles) {
  for (const ProfileFile& file : profiles)
    plan.profiles.push_back(
        {{file.path, file.digest}, file.profile.provenance.device, file.profile.provenance.measured});
  plan.cluster.measured.reset();
  for (Cluster& group : plan.cluster.groups) group.measured.reset();
  SourceRecorder(plan, graph, cluster).run();
}

}  // namespace meshloom
