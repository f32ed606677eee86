#include <fmt/format.h>

#include <cmath>
#include <set>

#include "costmodel/groups.hpp"
#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan/plan_json_parts.hpp"

namespace meshloom {
namespace {

constexpr std::int64_t most_count = 1'000'000'000'000;

constexpr double most_seconds = 1e6;  // what the simulation's clock takes for one instruction

Seconds seconds_at(const JsonInput& input, const std::string& key) {
  return Seconds(input.at(key).number(0, most_seconds));
}
Bytes bytes_at(const JsonInput& input, const std::string& key) { return Bytes(input.at(key).number(0)); }

// The key must be there; null is 0, which stands for "does not exist".
double optional_number_at(const JsonInput& input, const std::string& key) {
  const JsonInput value = input.at(key);
  return value.is_null() ? 0 : value.number(0);
}

// A number that follows from others stands in the file for its readers; it must agree with them.
void expect_derived(const JsonInput& value, double expected) {
  if (!(std::abs(value.number(-1) - expected) <= 1e-9 * std::max(1.0, std::abs(expected))))
    value.fail(fmt::format("is {}, but the numbers it follows from give {}", value.raw().dump(), expected));
}

FileReference read_file_reference(const JsonInput& input) {
  return {input.at("path").string(), input.at("digest").string()};
}

std::vector<MeshAxis> read_mesh(const JsonInput& input) {
  std::vector<MeshAxis> mesh;
  std::set<std::string> names;
  for (const JsonInput& element : input.elements()) {
    element.only_keys({"name", "size"});
    mesh.push_back({element.at("name").string(), element.at("size").integer(1, most_count)});
    if (!names.insert(mesh.back().name).second)
      element.at("name").fail(
          fmt::format("axis \"{}\" stands twice; give each axis a name of its own", mesh.back().name));
  }
  if (mesh.size() > max_mesh_axes)
    input.fail(fmt::format("has {} axes; a mesh has at most {}", mesh.size(), max_mesh_axes));
  return mesh;
}

std::vector<Layout> read_layouts(const JsonInput& input, std::size_t dimensions) {
  std::vector<Layout> layouts;
  for (const JsonInput& element : input.elements()) layouts.push_back(read_layout(element, dimensions));
  return layouts;
}

OpSharding read_op(const JsonInput& input, std::size_t dimensions) {
  input.only_keys({"op", "axes", "inputs", "outputs", "forward_s", "backward_s", "forward_source", "backward_source"});
  OpSharding op{.op = input.at("op").string(),
                .axes = input.at("axes").strings(),
                .inputs = read_layouts(input.at("inputs"), dimensions),
                .outputs = read_layouts(input.at("outputs"), dimensions),
                .forward = seconds_at(input, "forward_s"),
                .backward = seconds_at(input, "backward_s")};
  if (const auto source = input.find("forward_source")) op.forward_source = read_enumerator(*source, all_time_sources);
  if (const auto source = input.find("backward_source"))
    op.backward_source = read_enumerator(*source, all_time_sources);
  if (op.axes.size() != dimensions)
    input.at("axes").fail(fmt::format("names {} factors; the stage's mesh has {} axes", op.axes.size(), dimensions));
  return op;
}

TensorLayout read_tensor(const JsonInput& input, std::size_t dimensions) {
  input.only_keys({"tensor", "parameter", "layout", "saved", "state", "bytes"});
  return {.tensor = input.at("tensor").string(),
          .parameter = input.at("parameter").boolean(),
          .layout = read_layout(input.at("layout"), dimensions),
          .saved = read_layout(input.at("saved"), dimensions),
          .state = read_enumerator(input.at("state"), all_parameter_states),
          .bytes = bytes_at(input, "bytes")};
}

std::vector<CollectiveStep> read_steps(const JsonInput& input, const std::vector<MeshAxis>& mesh) {
  std::vector<std::string> known;
  for (const MeshAxis& axis : mesh) known.push_back(axis.name);
  std::vector<CollectiveStep> steps;
  for (const JsonInput& element : input.elements()) {
    element.only_keys({"collective", "axes", "whole_bytes", "time_s", "source"});
    CollectiveStep step;
    step.collective = read_enumerator(element.at("collective"), collectives);
    for (const JsonInput& axis : element.at("axes").elements()) step.axes.push_back(known[axis.one_of(known)]);
    step.whole = bytes_at(element, "whole_bytes");
    step.time = seconds_at(element, "time_s");
    if (const auto source = element.find("source")) step.source = read_enumerator(*source, all_time_sources);
    steps.push_back(std::move(step));
  }
  return steps;
}

Conversion read_conversion(const JsonInput& input, const std::vector<MeshAxis>& mesh) {
  input.only_keys({"tensor", "consumer", "from", "to", "rate", "forward", "backward"});
  return {.tensor = input.at("tensor").string(),
          .consumer = input.at("consumer").string(),
          .from = read_layout(input.at("from"), mesh.size()),
          .to = read_layout(input.at("to"), mesh.size()),
          .rate = read_enumerator(input.at("rate"), rates),
          .forward = read_steps(input.at("forward"), mesh),
          .backward = read_steps(input.at("backward"), mesh)};
}

StageMemory read_memory(const JsonInput& input) {
  input.only_keys({"parameters_bytes", "gradients_bytes", "optimizer_bytes", "activations_per_microbatch_bytes",
                   "transient_bytes", "overhead_bytes", "in_flight", "peak_bytes"});
  const StageMemory memory{.parameters = bytes_at(input, "parameters_bytes"),
                           .gradients = bytes_at(input, "gradients_bytes"),
                           .optimizer = bytes_at(input, "optimizer_bytes"),
                           .activations_per_microbatch = bytes_at(input, "activations_per_microbatch_bytes"),
                           .transient = bytes_at(input, "transient_bytes"),
                           .overhead = bytes_at(input, "overhead_bytes"),
                           .in_flight = input.at("in_flight").integer(0, most_count)};
  expect_derived(input.at("peak_bytes"), memory.peak().value());
  return memory;
}

// [tensor, from, to, [begin, …], [size, …], bytes]
Transfer read_transfer(const JsonInput& input, std::size_t tensors) {
  const std::vector<JsonInput> parts = input.elements();
  if (parts.size() != 6) input.fail("expected [tensor, from, to, [begin, …], [size, …], bytes]");
  Transfer transfer;
  transfer.tensor = static_cast<std::uint32_t>(parts[0].integer(0, most_count));
  if (transfer.tensor >= tensors) parts[0].fail(fmt::format("is no position among the boundary's {} tensors", tensors));
  transfer.from = parts[1].integer(0, most_count);
  transfer.to = parts[2].integer(0, most_count);
  for (const JsonInput& each : parts[3].elements()) transfer.slice.begin.push_back(each.integer(0, most_count));
  for (const JsonInput& each : parts[4].elements()) transfer.slice.size.push_back(each.integer(1, most_count));
  if (transfer.slice.begin.size() != transfer.slice.size.size())
    parts[4].fail(fmt::format("states {} sizes; the slice begins at {} numbers", transfer.slice.size.size(),
                              transfer.slice.begin.size()));
  transfer.bytes = Bytes(parts[5].number(0));
  return transfer;
}

std::vector<Transfer> read_transfers(const JsonInput& input, std::size_t tensors) {
  std::vector<Transfer> transfers;
  for (const JsonInput& element : input.elements()) transfers.push_back(read_transfer(element, tensors));
  return transfers;
}

StageBoundary read_boundary(const JsonInput& input) {
  input.only_keys({"tensors", "forward_bytes", "backward_bytes", "link", "forward_s", "backward_s", "formula_forward_s",
                   "formula_backward_s", "activations", "gradients"});
  StageBoundary boundary{.tensors = input.at("tensors").strings(),
                         .forward_bytes = bytes_at(input, "forward_bytes"),
                         .backward_bytes = bytes_at(input, "backward_bytes"),
                         .link = read_enumerator(input.at("link"), link_classes),
                         .forward_time = seconds_at(input, "forward_s"),
                         .backward_time = seconds_at(input, "backward_s"),
                         .formula_forward = seconds_at(input, "formula_forward_s"),
                         .formula_backward = seconds_at(input, "formula_backward_s"),
                         .activations = {},
                         .gradients = {}};
  boundary.activations = read_transfers(input.at("activations"), boundary.tensors.size());
  boundary.gradients = read_transfers(input.at("gradients"), boundary.tensors.size());
  return boundary;
}

Submesh read_submesh(const JsonInput& input) {
  const std::vector<JsonInput> sizes = input.elements();
  if (sizes.size() != 2) input.fail("expected [hosts, devices per host]");
  return {sizes[0].integer(1, most_count), sizes[1].integer(1, most_count)};
}

std::optional<ParameterState> read_parameter_state(const JsonInput& input) {
  std::vector<std::string> names{"mixed"};
  for (const ParameterState state : all_parameter_states) names.emplace_back(name(state));
  return parameter_state_named(names[input.one_of(names)]);
}

void read_optimised_for(const JsonInput& input, Stage& stage) {
  input.only_keys(
      {"microbatches", "per_step", "seconds_per_fixed_byte", "seconds_per_activation_byte", "parameter_states"});
  stage.weights = {.microbatches = input.at("microbatches").number(0),
                   .per_step = input.at("per_step").number(0),
                   .seconds_per_fixed_byte = input.at("seconds_per_fixed_byte").number(0),
                   .seconds_per_activation_byte = input.at("seconds_per_activation_byte").number(0)};
  std::vector<ParameterState> states;
  for (const JsonInput& element : input.at("parameter_states").elements())
    states.push_back(read_enumerator(element, all_parameter_states));
  if (states.empty()) input.at("parameter_states").fail("allows no state; list at least one");
  stage.allowed_states = ParameterStates(states);
}

Stage read_stage(const JsonInput& input) {
  input.only_keys({"chunk",
                   "first_layer",
                   "last_layer",
                   "submesh",
                   "devices",
                   "mesh",
                   "recompute",
                   "parameter_state",
                   "optimised_for",
                   "forward_s",
                   "backward_s",
                   "forward_compute_s",
                   "backward_compute_s",
                   "backward_recompute_s",
                   "forward_waits_s",
                   "synchronization_waits_s",
                   "backward_waits_s",
                   "backward_weight_s",
                   "synchronization_s",
                   "update_s",
                   "shared_gradients_bytes",
                   "shared_gradients_s",
                   "memory",
                   "boundary",
                   "ops",
                   "tensors",
                   "conversions"});
  Stage stage;
  stage.chunk = input.at("chunk").integer(0, UINT16_MAX);
  stage.first_layer = input.at("first_layer").integer(0);
  stage.last_layer = input.at("last_layer").integer(0);
  stage.submesh = read_submesh(input.at("submesh"));
  for (const JsonInput& device : input.at("devices").elements()) stage.devices.push_back(device.integer(0));
  stage.mesh = read_mesh(input.at("mesh"));
  stage.recompute = read_enumerator(input.at("recompute"), all_recomputes);
  stage.parameter_state = read_parameter_state(input.at("parameter_state"));
  read_optimised_for(input.at("optimised_for"), stage);
  stage.forward = seconds_at(input, "forward_s");
  stage.backward = seconds_at(input, "backward_s");
  stage.forward_compute = seconds_at(input, "forward_compute_s");
  stage.backward_compute = seconds_at(input, "backward_compute_s");
  if (const auto recompute = input.find("backward_recompute_s"))
    stage.backward_recompute = Seconds(recompute->number(0));
  if (const auto waits = input.find("synchronization_waits_s")) stage.synchronization_waits = Seconds(waits->number(0));
  if (const auto waits = input.find("forward_waits_s")) stage.forward_waits = Seconds(waits->number(0));
  if (const auto waits = input.find("backward_waits_s")) stage.backward_waits = Seconds(waits->number(0));
  if (stage.backward_recompute > stage.backward_compute * (1 + 1e-9))
    input.at("backward_recompute_s").fail("is part of backward_compute_s, so it cannot be longer");
  stage.backward_weight = seconds_at(input, "backward_weight_s");
  if (stage.backward_weight > stage.backward * (1 + 1e-9))
    input.at("backward_weight_s").fail("is part of backward_s, so it cannot be longer");
  stage.synchronization = seconds_at(input, "synchronization_s");
  stage.update = seconds_at(input, "update_s");
  stage.shared_gradients = bytes_at(input, "shared_gradients_bytes");
  stage.shared_gradients_time = seconds_at(input, "shared_gradients_s");
  stage.memory = read_memory(input.at("memory"));
  stage.boundary = read_boundary(input.at("boundary"));
  for (const JsonInput& op : input.at("ops").elements()) stage.ops.push_back(read_op(op, stage.mesh.size()));
  for (const JsonInput& tensor : input.at("tensors").elements())
    stage.tensors.push_back(read_tensor(tensor, stage.mesh.size()));
  for (const JsonInput& conversion : input.at("conversions").elements())
    stage.conversions.push_back(read_conversion(conversion, stage.mesh));
  return stage;
}

void check_layers(const JsonInput& root, const Plan& plan) {
  const std::vector<JsonInput> stages = root.at("stages").elements();
  std::int64_t next = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    if (stage.first_layer != next)
      stages[i]
          .at("first_layer")
          .fail(fmt::format("is {}; stages cover the layers in order, so it must be {}", stage.first_layer, next));
    if (stage.last_layer < stage.first_layer)
      stages[i].at("last_layer").fail(fmt::format("is {}, before first_layer {}", stage.last_layer, stage.first_layer));
    next = stage.last_layer + 1;
  }
  const auto count = static_cast<std::int64_t>(plan.layers.size());
  if (!stages.empty() && next != count)
    stages.back()
        .at("last_layer")
        .fail(fmt::format("is {}; the stages must end with the last layer, {}", next - 1, count - 1));
}

void check_devices(const JsonInput& root, const Plan& plan) {
  const std::vector<JsonInput> stages = root.at("stages").elements();
  std::vector<bool> used(static_cast<std::size_t>(plan.cluster.devices()), false);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    const auto count = static_cast<std::int64_t>(stage.devices.size());
    if (count != stage.submesh.devices())
      stages[i].at("devices").fail(fmt::format("lists {} devices; submesh {} x {} has {}", count, stage.submesh.hosts,
                                               stage.submesh.devices_per_host, stage.submesh.devices()));
    std::int64_t product = 1;
    for (const MeshAxis& axis : stage.mesh) product *= axis.size;
    if (product != count)
      stages[i].at("mesh").fail(fmt::format("its axes multiply to {}; the stage has {} devices", product, count));
    if (stage.chunk > 0) continue;  // the devices of its rank, check_chunks
    for (const JsonInput& place : stages[i].at("devices").elements()) {
      const std::int64_t device = place.integer(0);
      if (device >= plan.cluster.devices())
        place.fail(fmt::format("device {} is outside the cluster, whose devices are 0 to {}", device,
                               plan.cluster.devices() - 1));
      if (group_of_device(plan.cluster, device) != stage.submesh.group)
        place.fail(
            fmt::format("device {} is not in group \"{}\", where the stage's first is; a stage lies in one group",
                        device, group_at(plan.cluster, stage.submesh.group).name));
      if (used[static_cast<std::size_t>(device)])
        place.fail(fmt::format("device {} is used twice; give each device to one stage", device));
      used[static_cast<std::size_t>(device)] = true;
    }
  }
}

bool sends_anything(const StageBoundary& boundary) {
  return boundary.forward_time != Seconds(0) || boundary.backward_time != Seconds(0) ||
         boundary.formula_forward != Seconds(0) || boundary.formula_backward != Seconds(0) ||
         !boundary.activations.empty() || !boundary.gradients.empty();
}

bool has_device(const Stage& stage, std::int64_t device) {
  return std::find(stage.devices.begin(), stage.devices.end(), device) != stage.devices.end();
}

// Activations leave the stage for later ones, gradients the next stage for this or earlier ones.
void check_transfers(const JsonInput& boundary, const Plan& plan, std::size_t s) {
  const auto check = [&](const char* key, const std::vector<Transfer>& transfers, std::size_t sender, std::size_t first,
                         std::size_t last) {
    for (std::size_t k = 0; k < transfers.size(); ++k) {
      if (!has_device(plan.stages[sender], transfers[k].from))
        boundary.at(key).elements()[k].fail(
            fmt::format("device {} is not one of stage {}, which sends", transfers[k].from, sender));
      bool receives = false;
      for (std::size_t to = first; to <= last && !receives; ++to)
        receives = has_device(plan.stages[to], transfers[k].to);
      if (!receives)
        boundary.at(key).elements()[k].fail(
            fmt::format("device {} is not one of stages {} to {}, which may receive", transfers[k].to, first, last));
    }
  };
  check("activations", plan.stages[s].boundary.activations, s, s + 1, plan.stages.size() - 1);
  check("gradients", plan.stages[s].boundary.gradients, s + 1, 0, s);
}

// Stages are numbered chunk by chunk; the chunks of a rank have its devices.
void check_chunks(const JsonInput& root, const Plan& plan) {
  const std::vector<JsonInput> stages = root.at("stages").elements();
  const std::int64_t chunks = plan.schedule.chunks, count = std::ssize(plan.stages);
  const bool any = plan.schedule.kind == ScheduleKind::interleaved || plan.schedule.kind == ScheduleKind::custom;
  if (!any && chunks != Schedule(plan.schedule.kind).chunks)
    root.at("schedule")
        .fail(fmt::format("\"{}\" has {} per rank; the stages have {}", name(plan.schedule),
                          Schedule(plan.schedule.kind).chunks == 1 ? "one chunk" : "2 chunks", chunks));
  if (count % chunks != 0)
    root.at("stages").fail(fmt::format("{} stages are no multiple of the {} chunks of each rank", count, chunks));
  const PipelineShape shape = plan.shape();
  for (std::int64_t s = 0; s < count; ++s) {
    const Stage& stage = plan.stages[static_cast<std::size_t>(s)];
    const JsonInput& place = stages[static_cast<std::size_t>(s)];
    if (stage.chunk != shape.chunk_of(s))
      place.at("chunk").fail(fmt::format("is {}; of {} stages on {} ranks this one is chunk {}", stage.chunk, count,
                                         shape.ranks, shape.chunk_of(s)));
    if (stage.devices != plan.stages[static_cast<std::size_t>(shape.rank_of(s))].devices)
      place.at("devices").fail(fmt::format("differ from those of stage {}, whose rank it shares", shape.rank_of(s)));
  }
  for (std::int64_t s = 0; s < count; ++s) {
    const JsonInput place = stages[static_cast<std::size_t>(s)].at("boundary");
    if (shape.sends_after(s))
      check_transfers(place, plan, static_cast<std::size_t>(s));
    else if (sends_anything(plan.stages[static_cast<std::size_t>(s)].boundary))
      place.fail(s + 1 == count ? "the last stage sends nothing: its times must be 0, its transfers empty"
                                : "the next stage has the same devices: its times must be 0, its transfers empty");
  }
  if (const auto reason = why_impossible(plan.schedule, shape.ranks, plan.microbatches))
    root.at("microbatches").fail(*reason);
}

// The lists stand in the plan exactly when the schedule's name does not say them.
void read_lists(const JsonInput& root, Plan& plan) {
  const JsonInput program = root.at("program");
  const bool custom = plan.schedule.kind == ScheduleKind::custom && !plan.stages.empty();
  if (program.is_null() && !custom) return;
  if (program.is_null()) program.fail("is null, but the schedule is \"custom\"; give the lists, or name a schedule");
  if (!custom) program.fail(fmt::format("the schedule \"{}\" has lists of its own; make it null", name(plan.schedule)));
  plan.program = read_program(program, plan.schedule.chunks, plan.microbatches);
  if (plan.program->shape.ranks * plan.schedule.chunks != std::ssize(plan.stages))
    program.at("ranks").fail(fmt::format("has {} lists; {} stages of {} chunks per rank need {}",
                                         plan.program->shape.ranks, plan.stages.size(), plan.schedule.chunks,
                                         plan.ranks()));
  try {
    check_program(*plan.program, plan.microbatches);
  } catch (const InputError& error) {
    program.fail(error.what());
  }
}

void check_idle(const JsonInput& input, const Plan& plan) {
  std::vector<std::int64_t> stated;
  for (const JsonInput& device : input.elements()) stated.push_back(device.integer(0));
  if (stated != plan.idle_devices())
    input.fail(fmt::format("lists {} devices; {} of the cluster are in no stage, and it must list those", stated.size(),
                           plan.idle_devices().size()));
}

void check_plan(const JsonInput& root, const Plan& plan) {
  check_layers(root, plan);
  check_devices(root, plan);
  const bool planned = plan.status == PlanStatus::optimal || plan.status == PlanStatus::feasible;
  // An infeasible plan may show the stages that do not fit; a search that was cut short may have found none.
  if (plan.stages.empty() && planned)
    root.at("stages").fail(
        fmt::format("has {} stages, but the status is \"{}\"", plan.stages.size(), name(plan.status)));
  if (const auto idle = root.find("idle_devices")) check_idle(*idle, plan);
  if (plan.stages.empty()) return;
  if (plan.global_batch % plan.microbatch_size != 0 || plan.global_batch / plan.microbatch_size != plan.microbatches)
    root.at("microbatches")
        .fail(fmt::format("microbatch_size {} times microbatches {} is not global_batch {}", plan.microbatch_size,
                          plan.microbatches, plan.global_batch));
  check_chunks(root, plan);
}

void read_results(const JsonInput& root, Plan& plan) {
  plan.status = read_enumerator(root.at("status"), plan_statuses);
  plan.schedule = read_enumerator(root.at("schedule"), schedule_kinds);
  plan.global_batch = root.at("global_batch").integer(1, most_count);
  plan.microbatch_size = root.at("microbatch_size").integer(1, most_count);
  plan.microbatches = root.at("microbatches").integer(1, INT32_MAX);
  plan.estimate = Seconds(optional_number_at(root, "estimate_s"));
  plan.best_estimate = Seconds(optional_number_at(root, "best_estimate_s"));
  plan.lower_bound = Seconds(optional_number_at(root, "lower_bound_s"));
  plan.iteration_time = Seconds(optional_number_at(root, "iteration_time_s"));
  if (const auto runner_up = root.find("runner_up_s")) plan.runner_up = Seconds(runner_up->number(0));
  plan.bubble_fraction = optional_number_at(root, "bubble_fraction");
  plan.model_flops = Flops(root.at("model_flops").number(0));
  if (!root.at("gap").is_null()) expect_derived(root.at("gap"), plan.gap());
}

void read_profiles(const JsonInput& root, Plan& plan) {
  const auto profiles = root.find("profiles");
  if (!profiles) return;
  for (const JsonInput& each : profiles->elements()) {
    each.only_keys({"path", "digest", "device", "measured"});
    plan.profiles.push_back({read_file_reference(each), each.at("device").string(), each.at("measured").string()});
  }
  const JsonInput times = root.at("time_by_source");
  times.only_keys({"modelled_s", "extrapolated_s", "interpolated_s", "measured_s"});
  plan.time_by_source.emplace();
  for (const TimeSource source : all_time_sources)
    plan.time_by_source->add({Seconds(times.at(fmt::format("{}_s", name(source))).number(0)), source});
}

void read_reasons(const JsonInput& root, Plan& plan) {
  for (const JsonInput& reason : root.at("reasons").elements()) {
    reason.only_keys({"first_layer", "last_layer", "needs_bytes", "has_bytes"});
    plan.reasons.push_back({reason.at("first_layer").integer(0), reason.at("last_layer").integer(0),
                            bytes_at(reason, "needs_bytes"), bytes_at(reason, "has_bytes")});
  }
  for (const JsonInput& remedy : root.at("remedies").elements()) {
    remedy.only_keys({"text", "options"});
    plan.remedies.push_back({remedy.at("text").string(), remedy.at("options").string()});
  }
}

}  // namespace

Plan parse_plan(const std::string& text, const std::string& file) {
  const JsonInput root = parse_json(text, file);
  expect_schema(root, plan_schema);
  root.only_keys(
      {"schema",           "graph",        "cluster_file",    "options",         "origin",      "status",
       "iteration_time_s", "estimate_s",   "best_estimate_s", "lower_bound_s",   "gap",         "schedule",
       "microbatch_size",  "microbatches", "global_batch",    "bubble_fraction", "model_flops", "reasons",
       "remedies",         "pins",         "layers",          "cluster",         "recipe",      "stages",
       "program",          "idle_devices", "profiles",        "time_by_source",  "runner_up_s", "mixture_of_experts"});
  root.at("graph").only_keys({"name", "path", "digest"});
  root.at("cluster_file").only_keys({"path", "digest"});
  Plan plan;
  plan.graph = read_file_reference(root.at("graph"));
  plan.graph_name = root.at("graph").at("name").string();
  if (const auto experts = root.find("mixture_of_experts")) plan.mixture_of_experts = experts->boolean();
  plan.cluster_file = read_file_reference(root.at("cluster_file"));
  plan.options = root.at("options").string();
  plan.origin = root.at("origin").string();
  read_results(root, plan);
  read_reasons(root, plan);
  read_profiles(root, plan);
  for (const JsonInput& pin : root.at("pins").elements()) plan.pins.push_back(read_pin(pin));
  plan.layers = root.at("layers").strings();
  plan.cluster = read_inline_cluster(root.at("cluster"));
  plan.recipe = read_inline_recipe(root.at("recipe"));
  for (const JsonInput& stage : root.at("stages").elements()) plan.stages.push_back(read_stage(stage));
  for (Stage& stage : plan.stages)
    if (!stage.devices.empty())
      stage.submesh.group = static_cast<std::uint32_t>(group_of_device(plan.cluster, stage.devices.front()));
  for (const Stage& stage : plan.stages) plan.schedule.chunks = std::max(plan.schedule.chunks, stage.chunk + 1);
  read_lists(root, plan);
  check_plan(root, plan);
  return plan;
}

Plan read_plan(const std::string& path) { return parse_plan(read_file(path), path == "-" ? "<stdin>" : path); }

}  // namespace meshloom
