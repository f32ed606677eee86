#include "accuracy/prediction.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <set>

#include "graphs/input_error.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/plan_sources.hpp"
#include "simulator/simulation.hpp"

namespace meshloom {
namespace {

// Of parameters, in each microbatch.
Seconds parameter_collectives(const Stage& stage) {
  std::set<std::string_view> parameters;
  for (const TensorLayout& tensor : stage.tensors)
    if (tensor.parameter) parameters.insert(tensor.tensor);
  Seconds sum;
  for (const Conversion& conversion : stage.conversions) {
    if (conversion.rate == Rate::per_step || !parameters.contains(conversion.tensor)) continue;
    for (const auto* steps : {&conversion.forward, &conversion.backward})
      for (const CollectiveStep& step : *steps) sum += step.time;
  }
  return sum;
}

// Of all ranks together, by the simulation's own clock: in whole picoseconds nothing idles a rounding below 0.
Picoseconds idle_time(const Plan& plan) {
  const bool blocking = !sends_overlap(plan);
  Picoseconds idle = plan.ranks() * to_picoseconds(plan.iteration_time);
  for (const StageDurations& stage : durations_of(plan)) {
    Picoseconds run = stage.forward + stage.backward;
    if (blocking) run += stage.send_activation + stage.send_gradient;
    idle -= plan.microbatches * run + stage.synchronize - stage.overlapped_synchronize + stage.update;
  }
  return idle;
}

TimeShares shares_of(const Plan& plan) {
  const double microbatches = static_cast<double>(plan.microbatches);
  const bool blocking = !sends_overlap(plan);
  Seconds compute, recompute, activations, gathers, waits, sends, synchronization, update;
  for (const Stage& stage : plan.stages) {
    const Seconds parameters = parameter_collectives(stage);
    compute += microbatches * (stage.forward_compute + stage.backward_compute - stage.backward_recompute);
    recompute += microbatches * stage.backward_recompute;
    gathers += microbatches * parameters;
    const Seconds waiting = stage.forward_waits + stage.backward_waits;
    waits += microbatches * waiting;
    activations += microbatches * (stage.forward + stage.backward - stage.forward_compute - stage.backward_compute -
                                   parameters - waiting);
    if (blocking) sends += microbatches * (stage.boundary.forward_time + stage.boundary.backward_time);
    synchronization += stage.synchronization - overlapped_synchronization(plan, stage);
    update += stage.update;
  }
  activations = std::max(Seconds(0), activations);  // of none, what rounding leaves
  const Seconds whole = static_cast<double>(plan.ranks()) * plan.iteration_time;
  const Seconds idle(static_cast<double>(idle_time(plan)) * 1e-12);
  return {compute / whole, recompute / whole,       activations / whole, gathers / whole, waits / whole,
          sends / whole,   synchronization / whole, update / whole,      idle / whole};
}

Prediction with_layout(const RunCase& run, const UniformLayout& layout, BaselinePlanner& planner) {
  Plan plan = planner.plan(layout, run.global_batch);
  apply_simulation(plan, simulate(plan));
  const MemoryUse memory = tightest_memory(plan);
  Prediction made{plan.iteration_time,  memory.peak, plan.status != PlanStatus::infeasible,
                  plan.bubble_fraction, layout,      shares_of(plan)};
  if (run.cluster.measured) {
    record_sources(plan, planner.input().graph, run.cluster, {});
    made.time_by_source = plan.time_by_source;
  }
  return made;
}

PlanningInput input_of(const RunCase& run) {
  return {build_transformer(run.model), run.cluster, run.recipe, {}, {}, {}};
}

}  // namespace

Prediction predict(const RunCase& run, BaselinePlanner& planner) {
  planner.move_to(run.cluster);
  if (run.recompute_stated) return with_layout(run, run.layout, planner);
  UniformLayout layout = run.layout;
  for (const Recompute recompute : {Recompute::none, Recompute::selective}) {
    if (recompute < run.recipe.recompute_by_default) continue;
    layout.recompute = recompute;
    Prediction prediction = with_layout(run, layout, planner);
    if (prediction.fits) return prediction;
  }
  layout.recompute = Recompute::full;
  return with_layout(run, layout, planner);
}

Prediction predict(const RunCase& run) {
  BaselinePlanner planner(input_of(run));
  return predict(run, planner);
}

namespace {

// Positions of runs that one planner serves, so many that threads share large groups.
constexpr std::size_t most_together = 24;
using Together = std::vector<std::size_t>;

std::vector<Together> grouped(const std::vector<std::variant<RunCase, SkipReason>>& cases) {
  std::vector<Together> groups;
  for (std::size_t k = 0; k < cases.size(); ++k) {
    const auto* run = std::get_if<RunCase>(&cases[k]);
    if (run == nullptr) continue;
    const auto fitting = std::find_if(groups.begin(), groups.end(), [&](const Together& group) {
      const RunCase& first = std::get<RunCase>(cases[group.front()]);
      return group.size() < most_together && first.model == run->model && first.recipe == run->recipe;
    });
    if (fitting == groups.end())
      groups.push_back({k});
    else
      fitting->push_back(k);
  }
  return groups;
}

void use_profiles(RunCase& run, const std::vector<ProfileFile>& profiles) {
  std::vector<ProfileFile> own;
  for (const ProfileFile& file : profiles)
    if (same_device(file.profile.provenance.device, run.cluster.device.name)) own.push_back(file);
  if (!own.empty()) run.cluster = with_profiles(run.cluster, run.recipe, own, {});
}

Outcome outcome_of(const RunCase& run, BaselinePlanner& planner) {
  try {
    return predict(run, planner);
  } catch (const InputError& error) {
    return SkipReason{error.what()};
  }
}

// Of runs of one model and recipe; of a model that cannot be built: the same reason for each.
std::vector<Outcome> outcomes_of(const std::vector<const RunCase*>& runs) {
  std::vector<Outcome> outcomes;
  try {
    BaselinePlanner planner(input_of(*runs.front()));
    for (const RunCase* run : runs) outcomes.push_back(outcome_of(*run, planner));
  } catch (const InputError& error) {
    outcomes.assign(runs.size(), SkipReason{error.what()});
  }
  return outcomes;
}

}  // namespace

std::vector<Outcome> predict_all(const std::vector<MeasuredRun>& runs, const Constants& constants,
                                 const std::function<void(std::size_t)>& progress,
                                 const std::vector<ProfileFile>& profiles) {
  std::vector<std::variant<RunCase, SkipReason>> cases;
  std::vector<Outcome> outcomes(runs.size(), SkipReason{});
  for (const MeasuredRun& run : runs) {
    cases.push_back(make_case(run, constants));
    if (const auto* reason = std::get_if<SkipReason>(&cases.back())) outcomes[cases.size() - 1] = *reason;
    if (auto* priced = std::get_if<RunCase>(&cases.back())) use_profiles(*priced, profiles);
  }
  const std::vector<Together> groups = grouped(cases);
  std::atomic<std::size_t> done = 0;
  tbb::parallel_for(std::size_t{0}, groups.size(), [&](std::size_t g) {
    std::vector<const RunCase*> together;
    for (const std::size_t k : groups[g]) together.push_back(&std::get<RunCase>(cases[k]));
    std::vector<Outcome> made = outcomes_of(together);
    for (std::size_t i = 0; i < made.size(); ++i) outcomes[groups[g][i]] = std::move(made[i]);
    if (progress) progress(done += made.size());
  });
  return outcomes;
}

}  // namespace meshloom
