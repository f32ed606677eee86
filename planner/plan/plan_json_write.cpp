#include <fmt/format.h>

#include <cmath>

#include "costmodel/groups.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan/plan_json_parts.hpp"
#include "planner/plan/ranks.hpp"

namespace meshloom {
namespace {

// What has no value yet, or none at all for an infeasible plan, is null: zero stands for it in the Plan.
Json optional_number(double value) { return value == 0 || !std::isfinite(value) ? Json() : Json(value); }

Json axes_json(const std::vector<MeshAxis>& mesh) {
  Json result = Json::array();
  for (const MeshAxis& axis : mesh) result.push_back({{"name", axis.name}, {"size", axis.size}});
  return result;
}

Json layouts_json(const std::vector<Layout>& layouts, std::size_t dimensions) {
  Json result = Json::array();
  for (const Layout& layout : layouts) result.push_back(layout_json(layout, dimensions));
  return result;
}

Json op_json(const OpSharding& op, std::size_t dimensions) {
  Json json = {{"op", op.op},
               {"axes", op.axes},
               {"inputs", layouts_json(op.inputs, dimensions)},
               {"outputs", layouts_json(op.outputs, dimensions)},
               {"forward_s", op.forward.value()},
               {"backward_s", op.backward.value()}};
  if (op.forward_source) json["forward_source"] = name(*op.forward_source);
  if (op.backward_source) json["backward_source"] = name(*op.backward_source);
  return json;
}

Json tensor_json(const TensorLayout& tensor, std::size_t dimensions) {
  return {{"tensor", tensor.tensor},
          {"parameter", tensor.parameter},
          {"layout", layout_json(tensor.layout, dimensions)},
          {"saved", layout_json(tensor.saved, dimensions)},
          {"state", name(tensor.state)},
          {"bytes", tensor.bytes.value()}};
}

Json steps_json(const std::vector<CollectiveStep>& steps) {
  Json result = Json::array();
  for (const CollectiveStep& step : steps) {
    result.push_back({{"collective", name(step.collective)},
                      {"axes", step.axes},
                      {"whole_bytes", step.whole.value()},
                      {"time_s", step.time.value()}});
    if (step.source) result.back()["source"] = name(*step.source);
  }
  return result;
}

Json conversion_json(const Conversion& conversion, std::size_t dimensions) {
  return {{"tensor", conversion.tensor},
          {"consumer", conversion.consumer},
          {"from", layout_json(conversion.from, dimensions)},
          {"to", layout_json(conversion.to, dimensions)},
          {"rate", name(conversion.rate)},
          {"forward", steps_json(conversion.forward)},
          {"backward", steps_json(conversion.backward)}};
}

Json memory_json(const StageMemory& memory) {
  return {{"parameters_bytes", memory.parameters.value()},
          {"gradients_bytes", memory.gradients.value()},
          {"optimizer_bytes", memory.optimizer.value()},
          {"activations_per_microbatch_bytes", memory.activations_per_microbatch.value()},
          {"transient_bytes", memory.transient.value()},
          {"overhead_bytes", memory.overhead.value()},
          {"in_flight", memory.in_flight},
          {"peak_bytes", memory.peak().value()}};
}

// One line each: [tensor, from, to, [begin, …], [size, …], bytes].
Json transfers_json(const std::vector<Transfer>& transfers) {
  Json result = Json::array();
  for (const Transfer& each : transfers)
    result.push_back({each.tensor, each.from, each.to, each.slice.begin, each.slice.size, each.bytes.value()});
  return result;
}

Json boundary_json(const StageBoundary& boundary) {
  return {{"tensors", boundary.tensors},
          {"forward_bytes", boundary.forward_bytes.value()},
          {"backward_bytes", boundary.backward_bytes.value()},
          {"link", name(boundary.link)},
          {"forward_s", boundary.forward_time.value()},
          {"backward_s", boundary.backward_time.value()},
          {"formula_forward_s", boundary.formula_forward.value()},
          {"formula_backward_s", boundary.formula_backward.value()},
          {"activations", transfers_json(boundary.activations)},
          {"gradients", transfers_json(boundary.gradients)}};
}

Json optimised_for_json(const Stage& stage) {
  Json states = Json::array();
  for (const ParameterState state : stage.allowed_states.list()) states.push_back(name(state));
  return {{"microbatches", stage.weights.microbatches},
          {"per_step", stage.weights.per_step},
          {"seconds_per_fixed_byte", stage.weights.seconds_per_fixed_byte},
          {"seconds_per_activation_byte", stage.weights.seconds_per_activation_byte},
          {"parameter_states", states}};
}

Json stage_json(const Stage& stage) {
  const std::size_t dimensions = stage.mesh.size();
  Json result = {{"chunk", stage.chunk},
                 {"first_layer", stage.first_layer},
                 {"last_layer", stage.last_layer},
                 {"submesh", {stage.submesh.hosts, stage.submesh.devices_per_host}},
                 {"devices", stage.devices},
                 {"mesh", axes_json(stage.mesh)},
                 {"recompute", name(stage.recompute)},
                 {"parameter_state", parameter_state_text(stage)},
                 {"optimised_for", optimised_for_json(stage)},
                 {"forward_s", stage.forward.value()},
                 {"backward_s", stage.backward.value()},
                 {"forward_compute_s", stage.forward_compute.value()},
                 {"backward_compute_s", stage.backward_compute.value()},
                 {"backward_recompute_s", stage.backward_recompute.value()},
                 {"forward_waits_s", stage.forward_waits.value()},
                 {"backward_waits_s", stage.backward_waits.value()},
                 {"backward_weight_s", stage.backward_weight.value()},
                 {"synchronization_s", stage.synchronization.value()},
                 {"synchronization_waits_s", stage.synchronization_waits.value()},
                 {"update_s", stage.update.value()},
                 {"shared_gradients_bytes", stage.shared_gradients.value()},
                 {"shared_gradients_s", stage.shared_gradients_time.value()},
                 {"memory", memory_json(stage.memory)},
                 {"boundary", boundary_json(stage.boundary)}};
  Json& ops = result["ops"] = Json::array();
  for (const OpSharding& op : stage.ops) ops.push_back(op_json(op, dimensions));
  Json& tensors = result["tensors"] = Json::array();
  for (const TensorLayout& tensor : stage.tensors) tensors.push_back(tensor_json(tensor, dimensions));
  Json& conversions = result["conversions"] = Json::array();
  for (const Conversion& conversion : stage.conversions) conversions.push_back(conversion_json(conversion, dimensions));
  return result;
}

Json remedies_json(const std::vector<Remedy>& remedies) {
  Json result = Json::array();
  for (const Remedy& remedy : remedies) result.push_back({{"text", remedy.text}, {"options", remedy.options}});
  return result;
}

// Of plans that were priced with profiles.
void add_profiles(Json& object, const Plan& plan) {
  if (plan.profiles.empty() || !plan.time_by_source) return;
  Json& profiles = object["profiles"] = Json::array();
  for (const ProfileReference& each : plan.profiles)
    profiles.push_back(
        {{"path", each.file.path}, {"digest", each.file.digest}, {"device", each.device}, {"measured", each.measured}});
  Json& times = object["time_by_source"] = Json::object();
  for (const TimeSource source : all_time_sources)
    times[fmt::format("{}_s", name(source))] = plan.time_by_source->of(source).value();
}

// The numbers that a plan file and the summary share.
void add_results(Json& object, const Plan& plan) {
  object["status"] = name(plan.status);
  object["iteration_time_s"] = optional_number(plan.iteration_time.value());
  if (plan.runner_up) object["runner_up_s"] = plan.runner_up->value();
  object["estimate_s"] = optional_number(plan.estimate.value());
  object["best_estimate_s"] = optional_number(plan.best_estimate.value());
  object["lower_bound_s"] = optional_number(plan.lower_bound.value());
  object["gap"] = plan.best_estimate > Seconds(0) && plan.lower_bound > Seconds(0) && std::isfinite(plan.gap())
                      ? Json(plan.gap())
                      : Json();
  object["schedule"] = name(plan.schedule);
  object["microbatch_size"] = plan.microbatch_size;
  object["microbatches"] = plan.microbatches;
  object["global_batch"] = plan.global_batch;
  object["bubble_fraction"] = plan.iteration_time > Seconds(0) ? Json(plan.bubble_fraction) : Json();
}

// An op, a tensor, a conversion or another list of plain values is a line; what encloses them is indented by one.
constexpr std::size_t deepest_broken_level = 3;

bool fits_one_line(const Json& value, std::size_t level) {
  if (!value.is_structured() || value.empty() || level > deepest_broken_level) return true;
  if (!value.is_array()) return false;
  for (const Json& element : value)
    if (element.is_structured()) return false;
  return true;
}

void print(const Json& value, std::size_t level, std::string& text) {
  if (fits_one_line(value, level)) {
    text += value.dump();
    return;
  }
  text += value.is_array() ? '[' : '{';
  bool first = true;
  for (const auto& [key, element] : value.items()) {
    text += first ? "\n" : ",\n";
    text.append(level + 1, ' ');
    if (value.is_object()) text += Json(key).dump() + ": ";
    print(element, level + 1, text);
    first = false;
  }
  text += '\n';
  text.append(level, ' ');
  text += value.is_array() ? ']' : '}';
}

std::string printed(const Json& root) {
  std::string text;
  print(root, 0, text);
  return text + "\n";
}

const Cluster& group_of(const Plan& plan, const Stage& stage) { return group_at(plan.cluster, stage.submesh.group); }

Json stage_summary(const Stage& stage, Bytes device) {
  return {{"first_layer", stage.first_layer},
          {"last_layer", stage.last_layer},
          {"chunk", stage.chunk},
          {"submesh", {stage.submesh.hosts, stage.submesh.devices_per_host}},
          {"devices", stage.devices},
          {"mesh", axes_json(stage.mesh)},
          {"forward_s", stage.forward.value()},
          {"backward_s", stage.backward.value()},
          {"forward_compute_s", stage.forward_compute.value()},
          {"backward_compute_s", stage.backward_compute.value()},
          {"backward_weight_s", stage.backward_weight.value()},
          {"sync_s", (stage.synchronization + stage.update).value()},
          {"send_forward_s", stage.boundary.forward_time.value()},
          {"send_backward_s", stage.boundary.backward_time.value()},
          {"send_link", stage.boundary.tensors.empty() ? Json() : Json(name(stage.boundary.link))},
          {"peak_memory_bytes", device.value()},
          {"in_flight", stage.memory.in_flight},
          {"recompute", name(stage.recompute)},
          {"parameter_state", parameter_state_text(stage)}};
}

}  // namespace

std::string write_plan(const Plan& plan) {
  Json root = {{"schema", plan_schema},
               {"graph", {{"name", plan.graph_name}, {"path", plan.graph.path}, {"digest", plan.graph.digest}}},
               {"cluster_file", {{"path", plan.cluster_file.path}, {"digest", plan.cluster_file.digest}}},
               {"options", plan.options},
               {"origin", plan.origin}};
  if (plan.mixture_of_experts) root["mixture_of_experts"] = true;
  add_results(root, plan);
  add_profiles(root, plan);
  root["program"] = plan.program ? program_json(*plan.program) : Json();
  root["model_flops"] = plan.model_flops.value();
  if (!plan.cluster.groups.empty()) root["idle_devices"] = plan.idle_devices();
  Json& reasons = root["reasons"] = Json::array();
  for (const InfeasibleReason& reason : plan.reasons)
    reasons.push_back({{"first_layer", reason.first_layer},
                       {"last_layer", reason.last_layer},
                       {"needs_bytes", reason.needs.value()},
                       {"has_bytes", reason.has.value()}});
  root["remedies"] = remedies_json(plan.remedies);
  Json& pins = root["pins"] = Json::array();
  for (const Pin& pin : plan.pins) pins.push_back(pin_json(pin));
  root["layers"] = plan.layers;
  root["cluster"] = cluster_json(plan.cluster);
  root["recipe"] = recipe_json(plan.recipe);
  Json& stages = root["stages"] = Json::array();
  for (const Stage& stage : plan.stages) stages.push_back(stage_json(stage));
  return printed(root);
}

std::string summary_json(const Plan& plan, Seconds search_time) {
  Json root = Json::object();
  add_results(root, plan);
  const bool planned = !plan.stages.empty();
  const double flops = plan.flops_per_device_second();
  root["peak_memory_bytes"] = planned ? Json(plan.peak_memory().value()) : Json();
  root["tflops_per_device"] = optional_number(flops * 1e-12);
  root["search_s"] = optional_number(search_time.value());
  root["devices"] = planned ? Json(plan.devices()) : Json();
  root["idle_devices"] = plan.idle_devices();
  root["graph"] = plan.graph_name;
  root["cluster"] = plan.cluster.name;
  root["recipe"] = plan.recipe.name;
  root["origin"] = plan.origin;
  add_profiles(root, plan);
  Json& stages = root["stages"] = Json::array();
  const PipelineShape shape = plan.shape();
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const auto rank = static_cast<std::size_t>(shape.rank_of(static_cast<std::int64_t>(s)));
    stages.push_back(stage_summary(plan.stages[s], device_memory(memory_of_rank(plan, rank))));
    stages.back()["group"] = plan.cluster.groups.empty() ? Json() : Json(group_of(plan, plan.stages[s]).name);
  }
  Json& reasons = root["reasons"] = Json::array();
  for (const InfeasibleReason& reason : plan.reasons)
    reasons.push_back({{"layers", {reason.first_layer, reason.last_layer}},
                       {"needs_bytes", reason.needs.value()},
                       {"has_bytes", reason.has.value()}});
  root["remedies"] = remedies_json(plan.remedies);
  return printed(root);
}

}  // namespace meshloom
