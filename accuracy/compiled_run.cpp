#include "accuracy/compiled_run.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "planner/layer_model.hpp"
#include "planner/materialize.hpp"
#include "planner/parameter_costs.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/plan/synchronization_waits.hpp"
#include "planner/shared_parameters.hpp"

namespace meshloom {

CompiledGraph::CompiledGraph(Graph given, const Recipe& recipe)
    : graph(std::move(given)),
      training(differentiate(graph)),
      meanings(dimension_meanings(graph)),
      repeated(repeated_ops(graph, training, recipe.recompute_scope, recipe.selective_recompute)) {
  for (std::uint32_t o = 0; o < graph.ops.size(); ++o) ops[graph.ops[o].id] = OpId{o};
  for (std::uint32_t t = 0; t < graph.tensors.size(); ++t) tensors[graph.tensors[t].id] = TensorId{t};
}

namespace {

DeviceGroup group_of_step(const DeviceMesh& mesh, const CollectiveStep& step) {
  unsigned axis_set = 0;
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
    if (std::count(step.axes.begin(), step.axes.end(), mesh.axes[axis].name) > 0) axis_set |= 1U << axis;
  return group_of(mesh, axis_set);
}

}  // namespace

// Makes the terms of one stage of a plan.
class CompiledRun::Compiler {
 public:
  Compiler(const CompiledGraph& graph, const Plan& plan, const SharedParameters& shared, std::size_t position)
      : graph_(graph), plan_(plan), shared_(shared), position_(position), stage_(plan.stages[position]) {
    terms_.mesh = {stage_.submesh, stage_.mesh};
  }

  StageTerms run() {
    for (const OpSharding& op : stage_.ops) add_op(op);
    for (const TensorLayout& tensor : stage_.tensors) with_node_.insert({tensor.tensor, &tensor});
    for (const Conversion& conversion : stage_.conversions) add_conversion(conversion);
    for (const TensorLayout& tensor : stage_.tensors)
      if (tensor.parameter) add_update(tensor);
    return std::move(terms_);
  }

 private:
  ForwardRuns runs_of_op(OpId op) const { return graph_.repeated.of(op)[static_cast<std::size_t>(stage_.recompute)]; }

  // Everything that op_time looks at.
  std::string key_of(const Op& op, const OpTerm& term) const {
    std::string key = fmt::format("{} {} {} {} {} {}|{}|{} {} {} {} {}|", static_cast<int>(op.kind), op.causal,
                                  op.custom_flops_per_element, op.custom_bytes_per_element, op.custom_backward_cost,
                                  print_rule(op.rule), term.rows, term.inner.size, term.inner.hosts,
                                  term.inner.groups_per_host, term.inner.host_stride, term.inner.host_span);
    for (const std::int64_t size : term.sizes) key += fmt::format("{} ", size);
    for (const auto* operands : {&op.inputs, &op.outputs})
      for (const TensorId t : *operands)
        key += fmt::format("{}{} ", static_cast<int>(graph_.graph.tensor(t).dtype),
                           static_cast<int>(graph_.graph.tensor(t).role));
    if (graph_.training.gradients[index(term.op)].makes_logits) key += "logits ";
    if (term.shards_experts) key += "experts ";
    key += fmt::format("w{} ", op.window);
    for (const GradientOp& kernel : graph_.training.gradients[index(term.op)].kernels) {
      key += fmt::format("g{} ", kernel.cost_of_forward);
      for (const std::size_t input : kernel.of_inputs) key += fmt::format("{} ", input);
    }
    return key;
  }

  void add_op(const OpSharding& stored) {
    OpTerm term;
    term.op = graph_.ops.at(stored.op);
    const Op& op = graph_.graph.op(term.op);
    const DeviceMesh& mesh = terms_.mesh;
    const StrategyContext context{graph_.graph,
                                  graph_.training,
                                  graph_.meanings,
                                  mesh,
                                  std::vector<AxisRole>(mesh.dimensions(), AxisRole::free),
                                  plan_.microbatch_size};
    std::array<std::optional<FactorId>, max_mesh_axes> axes{};
    unsigned inner = 0;
    for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
      for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
        if (!stored.axes[axis].empty() && op.rule.factors[f].name == stored.axes[axis]) {
          axes[axis] = FactorId{f};
          if (op.rule.factors[f].mark == FactorMark::inner_collective) inner |= 1U << axis;
        }
    const Strategy strategy = strategy_for(context, term.op, axes).value();
    term.sizes = strategy.local_sizes;
    term.shards_experts = shards_experts(context, op, strategy);
    if (inner != 0) {
      term.inner = group_of(mesh, inner);
      term.rows = local_rows(op, strategy);
      term.inner_forward = traits(op.kind).inner_collectives_forward;
      if (!graph_.training.gradients[index(term.op)].kernels.empty())
        term.inner_backward = traits(op.kind).inner_collectives_backward;
    }
    const auto [found, is_new] = op_terms_.try_emplace(key_of(op, term), terms_.ops.size());
    if (is_new) terms_.ops.push_back(std::move(term));
    OpTerm& counted = terms_.ops[found->second];
    const ForwardRuns runs = runs_of_op(graph_.ops.at(stored.op));
    if (runs != ForwardRuns::in_backward) counted.forwards += 1;
    if (runs_in_backward(runs)) counted.repeated += 1;
    counted.backwards += 1;
  }

  ConversionEnds ends_of(const Conversion& conversion, TensorRole role) const {
    ConversionEnds ends{role, with_node_.contains(conversion.tensor), ForwardRuns::in_forward, ForwardRuns::in_forward};
    const TensorId tensor = graph_.tensors.at(conversion.tensor);
    if (const auto producer = graph_.training.relations.producer[index(tensor)]) ends.producer = runs_of_op(*producer);
    if (const auto consumer = graph_.ops.find(conversion.consumer); consumer != graph_.ops.end())
      ends.consumer = runs_of_op(consumer->second);
    return ends;
  }

  CollectiveTerm& term_of(const CollectiveStep& step, Use use) {
    const DeviceGroup group = group_of_step(terms_.mesh, step);
    const auto found = std::find_if(terms_.collectives.begin(), terms_.collectives.end(), [&](const auto& term) {
      return term.collective == step.collective && term.whole == step.whole && term.group == group && term.use == use;
    });
    if (found != terms_.collectives.end()) return *found;
    return terms_.collectives.emplace_back(CollectiveTerm{step.collective, step.whole, group, use, 0, 0, 0, 0});
  }

  void add_conversion(const Conversion& conversion) {
    const TensorRole role = graph_.graph.tensor(graph_.tensors.at(conversion.tensor)).role;
    const bool of_parameter = role == TensorRole::parameter && conversion.from == conversion.to;
    const Use use = !of_parameter                       ? Use::conversion
                    : conversion.rate == Rate::per_step ? Use::synchronization
                                                        : Use::parameters;
    const ForwardRuns runs = conversion.rate == Rate::per_microbatch ? runs_of(conversion, ends_of(conversion, role))
                                                                     : ForwardRuns::in_forward;
    for (const CollectiveStep& step : conversion.forward) {
      CollectiveTerm& term = term_of(step, use);
      (runs == ForwardRuns::in_backward ? term.backward : term.forward) += 1;
      if (runs == ForwardRuns::in_both) term.repeated += 1;
    }
    for (const CollectiveStep& step : conversion.backward) {
      CollectiveTerm& term = term_of(step, use);
      term.backward += 1;
      if (role == TensorRole::parameter && reduces(step.collective)) term.weight += 1;
    }
  }

  void add_update(const TensorLayout& parameter) {
    if (shared_.stored_before(position_, parameter.tensor)) return;
    const Tensor& tensor = graph_.graph.tensor(graph_.tensors.at(parameter.tensor));
    const double local = elements(tensor, 1) / static_cast<double>(shards(parameter.layout, terms_.mesh));
    UpdateTerm term{parameter.layout, local, tensor.dtype, parameter.state, 1};
    for (UpdateTerm& known : terms_.updates) {
      term.count = known.count;
      if (known == term) {
        known.count += 1;
        return;
      }
    }
    term.count = 1;
    terms_.updates.push_back(term);
  }

  const CompiledGraph& graph_;
  const Plan& plan_;
  const SharedParameters& shared_;
  std::size_t position_;
  const Stage& stage_;
  StageTerms terms_;
  std::map<std::string, std::size_t> op_terms_;
  std::map<std::string, const TensorLayout*> with_node_;
};

namespace {

// What the simulation reads of a stage's collectives: rings of each step, those of one kind and group as one, for what
// links carry of them is proportional to their bytes.
std::vector<Conversion> merged_synchronization(const Stage& stage) {
  const DeviceMesh mesh{stage.submesh, stage.mesh};
  Conversion merged;
  merged.consumer = "optimizer";
  merged.rate = Rate::per_step;
  for (const Conversion& conversion : stage.conversions) {
    if (conversion.rate != Rate::per_step) continue;
    for (const auto* steps : {&conversion.forward, &conversion.backward})
      for (const CollectiveStep& step : *steps) {
        const auto found = std::find_if(merged.backward.begin(), merged.backward.end(), [&](const auto& known) {
          return known.collective == step.collective && group_of_step(mesh, known) == group_of_step(mesh, step);
        });
        if (found == merged.backward.end())
          merged.backward.push_back(step);
        else
          found->whole += step.whole;
      }
  }
  if (merged.backward.empty()) return {};
  return {merged};
}

// Parameters that several stages have.
void keep_shared_parameters(Plan& plan) {
  std::map<std::string, std::size_t> holders;
  for (const Stage& stage : plan.stages)
    for (const TensorLayout& tensor : stage.tensors)
      if (tensor.parameter) ++holders[tensor.tensor];
  for (Stage& stage : plan.stages)
    std::erase_if(stage.tensors,
                  [&](const TensorLayout& tensor) { return !tensor.parameter || holders[tensor.tensor] < 2; });
}

bool depends_on_times(ScheduleKind kind) { return kind == ScheduleKind::zb_1p || kind == ScheduleKind::zb_2p; }

}  // namespace

CompiledRun::CompiledRun(std::shared_ptr<const CompiledGraph> graph, const Plan& plan)
    : graph_(std::move(graph)), plan_(plan) {
  const SharedParameters shared(plan);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    StageTerms terms = Compiler(*graph_, plan, shared, s).run();
    const auto found = std::find(terms_.begin(), terms_.end(), terms);
    terms_of_.push_back(static_cast<std::size_t>(found - terms_.begin()));
    if (found == terms_.end()) terms_.push_back(std::move(terms));
  }
  for (Stage& stage : plan_.stages) {
    stage.ops.clear();
    stage.conversions = merged_synchronization(stage);
  }
  keep_shared_parameters(plan_);
  if (!depends_on_times(plan.schedule.kind)) program_ = program_of(plan);
}

Stage CompiledRun::price_terms(const StageTerms& terms, const Cluster& cluster, const Recipe& recipe) const {
  Stage stage;
  Seconds repeated;
  Launches launched, beside;
  for (const OpTerm& term : terms.ops) {
    const OpGradient& gradient = graph_->training.gradients[index(term.op)];
    OpTime time = op_time(cluster, recipe, graph_->graph, gradient, term.op, term.sizes);
    if (term.shards_experts) time = times_imbalance(time, recipe);
    const Launches own = launches(recipe, graph_->graph, gradient, term.op);
    if (term.inner.size > 1) {
      const Seconds one = waiting_for_activations(recipe).of(
          Collective::all_reduce, collective_time(cluster, Collective::all_reduce, Bytes(4 * term.rows), term.inner));
      time.forward += one * term.inner_forward;
      time.backward += one * term.inner_backward;
    }
    stage.forward += term.forwards * time.forward;
    stage.backward += term.backwards * time.backward;
    stage.backward_weight += term.backwards * time.backward_weight;
    launched.forward += term.forwards * own.forward;
    launched.backward += term.backwards * own.backward + term.repeated * own.forward;
    repeated += term.repeated * time.forward;
  }
  for (const CollectiveTerm& term : terms.collectives) {
    const Seconds time = time_of(term, cluster, recipe);
    if (term.use == Use::synchronization) {
      stage.synchronization += (term.forward + term.backward) * time;
      continue;
    }
    stage.forward += term.forward * time;
    stage.backward += term.backward * time;
    stage.backward_weight += term.weight * time;
    repeated += term.repeated * time;
    if (term.use == Use::conversion) continue;
    const MicrobatchTime all = microbatch_collective_time(cluster, recipe, term.collective, term.whole, term.group);
    beside.forward += term.forward * all.beside;
    beside.backward += term.backward * all.beside;
  }
  for (const UpdateTerm& term : terms.updates)
    stage.update +=
        term.count *
        parameter_cost(cluster, recipe, terms.mesh, term.layout, term.local_elements, term.dtype, term.state).update;
  stage.backward += repeated;
  add_waits(stage, launched, beside);
  return stage;
}

// What computing waits for.
Seconds CompiledRun::time_of(const CollectiveTerm& term, const Cluster& cluster, const Recipe& recipe) {
  if (term.use == Use::conversion)
    return waiting_for_activations(recipe).of(term.collective,
                                              collective_time(cluster, term.collective, term.whole, term.group));
  if (term.use == Use::synchronization)
    return recipe.exposed_synchronization *
           bucketed_collective_time(cluster, recipe, term.collective, term.whole, term.group);
  return microbatch_collective_time(cluster, recipe, term.collective, term.whole, term.group).waited;
}

// Of the stages, and of their synchronization's parts.
void CompiledRun::set_times(const Cluster& cluster, const Recipe& recipe) {
  const Recipe of_microbatch = averaged_over(recipe, plan_.microbatches);
  std::vector<Stage> priced;
  for (const StageTerms& terms : terms_) priced.push_back(price_terms(terms, cluster, of_microbatch));
  const SharedParameters shared(plan_);
  for (std::size_t s = 0; s < plan_.stages.size(); ++s) {
    Stage& stage = plan_.stages[s];
    const Stage& times = priced[terms_of_[s]];
    stage.forward = times.forward;
    stage.backward = times.backward;
    stage.backward_weight = times.backward_weight;
    stage.synchronization = times.synchronization;
    stage.update = times.update;
    if (!stage.conversions.empty())
      for (CollectiveStep& step : stage.conversions.front().backward) {
        step.time = Seconds(0);
        const DeviceGroup group = group_of_step(terms_[terms_of_[s]].mesh, step);
        for (const CollectiveTerm& term : terms_[terms_of_[s]].collectives)
          if (term.use == Use::synchronization && term.collective == step.collective && term.group == group)
            step.time += (term.forward + term.backward) * time_of(term, cluster, recipe);
      }
    if (!(stage.shared_gradients > Bytes(0))) continue;
    stage.shared_gradients_time = shared.gradient_time(cluster, s, stage.shared_gradients);
    stage.synchronization += stage.shared_gradients_time;
  }
  add_synchronization_waits(plan_);
}

void CompiledRun::set_boundaries() {
  if (plan_.cluster.intra_host == intra_host_ && plan_.cluster.nic == nic_) return;
  intra_host_ = plan_.cluster.intra_host;
  nic_ = plan_.cluster.nic;
  conditions_for_.clear();
  const ClusterLinks links(plan_.cluster);
  for (Stage& stage : plan_.stages) {
    stage.boundary.forward_time = transfer_time(links, stage.boundary.activations);
    stage.boundary.backward_time = transfer_time(links, stage.boundary.gradients);
    stage.boundary.formula_forward = stage.boundary.forward_time;
    stage.boundary.formula_backward = stage.boundary.backward_time;
  }
}

void CompiledRun::set_overheads() {
  for (Stage& stage : plan_.stages) stage.memory.overhead = Bytes(0);
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(plan_.ranks()); ++rank)
    plan_.stages[rank].memory.overhead =
        plan_.recipe.context_memory + device_memory(memory_of_rank(plan_, rank)) * plan_.recipe.memory_fragmentation;
}

void CompiledRun::set(const Cluster& cluster, const Recipe& recipe) {
  plan_.cluster = cluster;
  plan_.recipe = recipe;
  set_times(cluster, recipe);
  set_boundaries();
  set_overheads();
}

RunPrice CompiledRun::estimate(const Cluster& cluster, const Recipe& recipe) {
  set(cluster, recipe);
  const MemoryUse memory = tightest_memory(plan_);
  return {schedule_formula(plan_.schedule, stage_times(plan_), plan_.microbatches).value(), memory.peak.value(),
          memory.capacity.value()};
}

RunPrice CompiledRun::price(const Cluster& cluster, const Recipe& recipe) {
  set(cluster, recipe);
  std::vector<Seconds> conditions_for;
  for (const Stage& stage : plan_.stages) conditions_for.push_back(stage.synchronization);
  if (conditions_for != conditions_for_) {
    conditions_ = conditions_of(plan_);
    conditions_for_ = std::move(conditions_for);
  }
  const Simulation simulation = program_ ? simulate(*program_, durations_of(plan_), conditions_)
                                         : simulate(program_of(plan_), durations_of(plan_), conditions_);
  const MemoryUse memory = tightest_memory(plan_);
  return {static_cast<double>(step_time(plan_, simulation)) * 1e-12, memory.peak.value(), memory.capacity.value()};
}

}  // namespace meshloom
