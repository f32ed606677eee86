#include "simulator/report_data_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "costmodel/groups.hpp"
#include "graphs/json_input.hpp"
#include "planner/plan/ranks.hpp"
#include "planner/plan/stage_breakdown.hpp"
#include "simulator/report_timeline.hpp"

namespace meshloom {
namespace {

// Above these the page would be slow to open; docs/simulation.md states them.
constexpr std::size_t most_instructions = 300'000;
constexpr std::size_t most_samples = 200'000;  // of all ranks together

Json mesh_json(const std::vector<MeshAxis>& mesh) {
  Json axes = Json::array();
  for (const MeshAxis& axis : mesh) axes.push_back({axis.name, axis.size});
  return axes;
}

Json stages_json(const Plan& plan) {
  Json stages = Json::array();
  for (const Stage& stage : plan.stages)
    stages.push_back({{"layers", layer_names(plan, stage.first_layer, stage.last_layer)},
                      {"mesh", mesh_json(stage.mesh)},
                      {"link", name(stage.boundary.link)},
                      {"forward_bytes", stage.boundary.forward_bytes.value()},
                      {"backward_bytes", stage.boundary.backward_bytes.value()}});
  return stages;
}

// The sums over a rank's chunks, in seconds. What a recompute repeats is apart from the rest of the backward.
Json times_json(const Plan& plan, const std::vector<StageBreakdown>& stages, std::int64_t rank) {
  std::map<std::string, double> sums;
  const PipelineShape shape = plan.shape();
  double recompute = 0, busy = 0;
  for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const auto position = static_cast<std::size_t>(shape.stage_of(rank, chunk));
    for (const NamedTime& each : stages[position].times) sums[each.name] += each.time.value();
    if (plan.schedule.kind != ScheduleKind::inference)
      recompute += static_cast<double>(plan.microbatches) * plan.stages[position].backward_recompute.value();
  }
  const std::vector<std::pair<const char*, double>> parts{
      {"forward compute", sums["forward_compute"]},
      {"backward compute", sums["backward_compute"] - recompute},
      {"recompute", recompute},
      {"collectives", sums["forward_collectives"] + sums["backward_collectives"]},
      {"sends", sums["send_activations"] + sums["send_gradients"]},
      {"synchronization", sums["synchronization"]},
      {"update", sums["update"]}};
  Json times = Json::object();
  for (const auto& [part, seconds] : parts) {
    times[part] = seconds;
    busy += seconds;
  }
  times["bubble"] = std::max(0.0, plan.iteration_time.value() - busy);
  return times;
}

// What a device of the rank holds when it holds most.
Json memory_json(const std::vector<StageMemory>& chunks) {
  Bytes parameters, gradients, optimizer, overhead, activations, transient;
  Json in_flight = Json::array();
  for (const StageMemory& chunk : chunks) {
    parameters += chunk.parameters;
    gradients += chunk.gradients;
    optimizer += chunk.optimizer;
    overhead += chunk.overhead;
    activations += static_cast<double>(chunk.in_flight) * chunk.activations_per_microbatch;
    transient = std::max(transient, chunk.transient);
    in_flight.push_back(chunk.in_flight);
  }
  return {{"in_flight", in_flight},
          {"parts",
           {{"parameters", parameters.value()},
            {"gradients", gradients.value()},
            {"optimizer", optimizer.value()},
            {"overhead", overhead.value()},
            {"activations", activations.value()},
            {"working set", transient.value()}}}};
}

Json ranks_json(const Plan& plan, const Simulation& simulation) {
  Json ranks = Json::array();
  const PipelineShape shape = plan.shape();
  const std::vector<MemoryTimeline> timelines = memory_timelines(plan, simulation);
  const std::vector<StageBreakdown> stages = break_down(plan, seen_times(plan, simulation));
  const std::size_t samples = std::max<std::size_t>(500, most_samples / timelines.size());
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank) {
    const auto position = static_cast<std::size_t>(rank);
    const Stage& stage = plan.stages[position];
    Json numbers = Json::array();
    for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) numbers.push_back(shape.stage_of(rank, chunk));
    Json memory = memory_json(memory_of_rank(plan, position));
    const PackedMemory packed = pack_memory(timelines[position], samples);
    Json values = Json::array();
    for (const Bytes value : packed.values) values.push_back(value.value());
    memory["peak"] = timelines[position].peak.value();
    memory["values"] = values;
    memory["count"] = packed.count;
    memory["samples"] = base64(packed.bytes);
    ranks.push_back({{"stages", numbers},
                     {"submesh", {stage.submesh.hosts, stage.submesh.devices_per_host}},
                     {"devices", stage.devices},
                     {"capacity", memory_capacity(plan, position).value()},
                     {"times", times_json(plan, stages, rank)},
                     {"memory", memory},
                     {"most_in_flight", simulation.most_in_flight[position]}});
  }
  return ranks;
}

Json timeline_json(const Plan& plan, const Simulation& simulation) {
  const PackedTimeline packed =
      pack_timeline(simulation, sends_overlap(plan) ? Sends::overlapped : Sends::blocking, most_instructions);
  Json shapes = Json::array(), lanes = Json::array();
  for (const InstructionShape& shape : packed.shapes)
    shapes.push_back(
        {shape.merged ? std::string_view("merged") : name(shape.kind), shape.chunk, shape.duration, shape.busy});
  for (const PackedLane& lane : packed.lanes)
    lanes.push_back({lane.rank, static_cast<int>(lane.lane), lane.count, base64(lane.bytes)});
  return {{"instructions", packed.instructions}, {"merged", packed.merged}, {"shapes", shapes}, {"lanes", lanes}};
}

// The layer whose name the op's begins with, else all of the stage's: a plan does not say to which layer an op belongs.
std::string layer_of(const Plan& plan, const Stage& stage, const std::string& op) {
  std::string best;
  for (std::int64_t i = stage.first_layer; i <= stage.last_layer; ++i) {
    const std::string& layer = plan.layers[static_cast<std::size_t>(i)];
    if ((op == layer || op.starts_with(layer + ".")) && layer.size() > best.size()) best = layer;
  }
  return best.empty() ? layer_names(plan, stage.first_layer, stage.last_layer) : best;
}

// By op: the states of the parameters that it reads, as far as their names or gathers tell.
std::map<std::string, std::string> states_by_op(const Stage& stage) {
  std::map<std::string, std::string> states;
  for (const OpSharding& op : stage.ops) states[op.op];
  for (const TensorLayout& tensor : stage.tensors) {
    if (!tensor.parameter) continue;
    for (std::size_t end = tensor.tensor.rfind('.'); end != std::string::npos && end > 0;
         end = tensor.tensor.rfind('.', end - 1)) {
      const auto found = states.find(tensor.tensor.substr(0, end));
      if (found == states.end()) continue;
      const std::string state(name(tensor.state));
      if (found->second.find(state) == std::string::npos) found->second += (found->second.empty() ? "" : ", ") + state;
      break;
    }
  }
  return states;
}

std::string layouts_text(const std::vector<Layout>& layouts, std::size_t axes) {
  std::string text;
  for (const Layout& layout : layouts) text += (text.empty() ? "" : ", ") + print_layout(layout, axes);
  return text;
}

// Rows: [kind, stage, layer, name, by axis…, inputs, outputs, parameter state, seconds of a microbatch or null, bytes
// or null]. As many axes as the mesh with the most has; a smaller one leaves the rest empty.
Json shardings_json(const Plan& plan) {
  std::size_t axes = 0;
  for (const Stage& stage : plan.stages) axes = std::max(axes, stage.mesh.size());
  Json rows = Json::array();
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const Stage& stage = plan.stages[s];
    const std::size_t used = stage.mesh.size();
    const std::map<std::string, std::string> states = states_by_op(stage);
    for (const OpSharding& op : stage.ops) {
      Json row{"op", s, layer_of(plan, stage, op.op), op.op};
      for (std::size_t axis = 0; axis < axes; ++axis) row.push_back(axis < op.axes.size() ? op.axes[axis] : "");
      for (const Json& cell : {Json(layouts_text(op.inputs, used)), Json(layouts_text(op.outputs, used)),
                               Json(states.at(op.op)), Json((op.forward + op.backward).value()), Json()})
        row.push_back(cell);
      rows.push_back(row);
    }
    for (const TensorLayout& tensor : stage.tensors) {
      if (!tensor.parameter) continue;
      Json row{"parameter", s, layer_of(plan, stage, tensor.tensor), tensor.tensor};
      for (std::size_t axis = 0; axis < axes; ++axis)
        row.push_back(axis < used ? print_axis_layout(tensor.layout.axes[axis]) : "");
      for (const Json& cell : {Json(""), Json(""), Json(name(tensor.state)), Json(), Json(tensor.bytes.value())})
        row.push_back(cell);
      rows.push_back(row);
    }
  }
  return {{"axes", axes}, {"rows", rows}};
}

// One of a uniform cluster, without a name.
Json groups_json(const Cluster& cluster) {
  Json groups = Json::array();
  for (std::size_t g = 0; g < group_count(cluster); ++g) {
    const Cluster& group = group_at(cluster, g);
    groups.push_back({{"name", cluster.groups.empty() ? "" : group.name},
                      {"hosts", group.hosts},
                      {"devices_per_host", group.devices_per_host}});
  }
  return groups;
}

}  // namespace

std::string report_data(const Plan& plan, const Simulation& simulation) {
  const PipelineShape shape = plan.shape();
  const Json data{{"iteration_ps", step_time(plan, simulation)},
                  {"makespan_ps", simulation.makespan},
                  {"iteration_s", plan.iteration_time.value()},
                  {"chunks", shape.chunks},
                  {"microbatches", plan.microbatches},
                  {"groups", groups_json(plan.cluster)},
                  {"stages", stages_json(plan)},
                  {"ranks", ranks_json(plan, simulation)},
                  {"timeline", timeline_json(plan, simulation)},
                  {"shardings", shardings_json(plan)}};
  const std::string text = data.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) c == '<' ? safe += "\\u003c" : safe += c;
  return safe;
}

}  // namespace meshloom
