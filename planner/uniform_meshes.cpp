#include "planner/uniform_meshes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string_view>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

// One axis of a layout's mesh: Megatron's order, tensor parallelism on neighbouring devices.
struct LayoutAxis {
  const char* name;
  std::int64_t size;
  AxisRole role;
};

// Of the tensor-parallel devices.
std::int64_t devices_per_key_value_head(const DimensionMeanings& model, std::int64_t tensor_parallel) {
  std::int64_t heads = tensor_parallel;
  for (const AttentionHeads& each : model.heads) heads = std::gcd(heads, each.key_value);
  return heads == 1 ? 1 : tensor_parallel / heads;  // of one head each device has a copy: nothing to tell apart
}

// Of expert parallelism's devices, those that are one tensor-parallel group.
std::int64_t experts_over_tensor_parallel(const UniformLayout& layout) {
  return layout.tensor_parallel / layout.expert_tensor_parallel.value_or(layout.tensor_parallel);
}

// Expert parallelism takes the tensor-parallel devices that divide no expert, then what it can of context
// parallelism's, the rest of data parallelism's: neighbours first, as Megatron-Core's groups of experts.
std::vector<LayoutAxis> layout_axes(const DimensionMeanings& model, const UniformLayout& layout) {
  const std::int64_t copies = devices_per_key_value_head(model, layout.tensor_parallel);
  const std::int64_t of_tensor = experts_over_tensor_parallel(layout);
  const std::int64_t elsewhere = layout.expert_parallel / of_tensor;
  const std::int64_t of_context = std::gcd(elsewhere, layout.context_parallel);
  const std::int64_t of_data = elsewhere / of_context;
  const bool sequence = layout.sequence_parallel;
  const LayoutAxis whole_experts{
      "tp-ep", of_tensor / (of_tensor > 1 ? copies : 1),
      sequence ? AxisRole::sequence_and_expert_parallel : AxisRole::tensor_and_expert_parallel};
  std::vector<LayoutAxis> axes{{"dp", layout.data_parallel / of_data, AxisRole::data_parallel},
                               {"ep", of_data, AxisRole::expert_parallel},
                               {"cp", layout.context_parallel / of_context, AxisRole::context_parallel},
                               {"cp-ep", of_context, AxisRole::context_and_expert_parallel},
                               whole_experts,
                               {"tp", layout.tensor_parallel / of_tensor / (of_tensor > 1 ? 1 : copies),
                                sequence ? AxisRole::sequence_parallel : AxisRole::tensor_parallel},
                               {"tp-kv", copies, AxisRole::key_value_copies}};
  std::erase_if(axes, [](const LayoutAxis& axis) { return axis.size == 1; });
  return axes;
}

// On the hosts of one group, as its first devices or behind other stages of as many.
DeviceMesh mesh_on_hosts(const Cluster& cluster, const DimensionMeanings& model, const UniformLayout& layout) {
  const std::int64_t devices = devices_of_stage(layout);
  DeviceMesh mesh;
  if (devices <= cluster.devices_per_host && cluster.devices_per_host % devices == 0)
    mesh.submesh = {1, devices};
  else if (devices % cluster.devices_per_host == 0)
    mesh.submesh = {devices / cluster.devices_per_host, cluster.devices_per_host};
  else
    throw InputError("--tp, --dp", fmt::format("a stage of {} devices does not lie evenly on hosts of {}", devices,
                                               cluster.devices_per_host));
  const std::vector<LayoutAxis> axes = layout_axes(model, layout);
  if (axes.size() > max_mesh_axes && axes.back().role == AxisRole::key_value_copies)
    throw InputError("--tp",
                     fmt::format("{} devices with copies of key-value heads make, with --dp, --ep and --cp, more "
                                 "than {} mesh axes; give no more devices than heads",
                                 layout.tensor_parallel, std::size_t{max_mesh_axes}));
  if (axes.size() > max_mesh_axes)
    throw InputError("--ep", fmt::format("{} takes a part of --dp {} and a part of --cp {}, which with --tp makes more "
                                         "than {} mesh axes; give a multiple of dp or a divisor",
                                         layout.expert_parallel, layout.data_parallel, layout.context_parallel,
                                         std::size_t{max_mesh_axes}));
  std::int64_t extent = 1;  // of the axes from the minor-most on
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    extent *= axis->size;
    if (cluster.devices_per_host % extent != 0 && extent % cluster.devices_per_host != 0)
      throw InputError(fmt::format("--{}", std::string_view(axis->name).substr(0, 2)),
                       fmt::format("{} does not lie evenly on hosts of {}", axis->size, cluster.devices_per_host));
  }
  for (const LayoutAxis& axis : axes) mesh.axes.push_back({axis.name, axis.size});
  return mesh;
}

// Of one rank's stages; ranks take the devices in order.
DeviceMesh stage_mesh(const Cluster& cluster, const DimensionMeanings& model, const UniformLayout& layout,
                      std::int64_t rank) {
  const std::int64_t devices = devices_of_stage(layout);
  const std::size_t group = group_of_device(cluster, rank * devices);
  const Cluster& here = group_at(cluster, group);
  DeviceMesh mesh = mesh_on_hosts(here, model, layout);
  mesh.submesh.group = static_cast<std::uint32_t>(group);
  const std::int64_t first = rank * devices - first_device_of(cluster, group);
  const std::int64_t unit = mesh.submesh.hosts > 1 ? here.devices_per_host : devices;
  if (first % unit != 0 || first + devices > here.devices())
    throw InputError("--pp", fmt::format("stage {} of {} devices does not lie within one group of hosts (\"{}\" has "
                                         "{} devices); give stages that divide each group",
                                         rank, devices, here.name, here.devices()));
  return mesh;
}

bool is_expert_factor(const DimensionMeanings& model, const Op& op, FactorId factor) {
  return in_marked(op.inputs, op.rule.inputs, model.experts, factor);
}

std::int64_t least_experts(const Graph& graph, const DimensionMeanings& model) {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const Op& op : graph.ops)
    for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
      if (is_expert_factor(model, op, FactorId{f})) least = std::min(least, op.factor_sizes[f].size);
  return least;
}

bool has_experts(const DimensionMeanings& model, const Op& op) {
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (is_expert_factor(model, op, FactorId{f})) return true;
  return false;
}

// What an activation function between two products runs along beside tokens and experts: the hidden size of the MLP.
std::vector<std::int64_t> hidden_sizes(const DimensionMeanings& model, const Op& op) {
  std::vector<std::int64_t> sizes;
  for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
    if (!op.factor_sizes[f].scales_with_batch && !in_marked(op.inputs, op.rule.inputs, model.tokens, FactorId{f}) &&
        !is_expert_factor(model, op, FactorId{f}))
      sizes.push_back(op.factor_sizes[f].size);
  return sizes;
}

}  // namespace

std::int64_t devices_of_stage(const UniformLayout& layout) {
  return layout.tensor_parallel * layout.context_parallel * layout.data_parallel;
}

UniformLayout with_expert_degrees(const Graph& graph, const DimensionMeanings& model, const Recipe& recipe,
                                  UniformLayout layout) {
  if (layout.expert_tensor_parallel || layout.tensor_parallel == 1 || !model.has_experts()) return layout;
  const std::int64_t tp = layout.tensor_parallel, ep = layout.expert_parallel;
  layout.expert_tensor_parallel = tp;
  if (recipe.divides_experts) return layout;
  const std::int64_t experts = least_experts(graph, model);
  if (ep % tp == 0 && experts / ep % tp == 0) layout.expert_tensor_parallel = 1;
  return layout;
}

std::vector<DeviceMesh> stage_meshes(const Cluster& cluster, const DimensionMeanings& model,
                                     const UniformLayout& layout) {
  std::vector<DeviceMesh> meshes;
  for (std::int64_t rank = 0; rank < layout.pipeline_parallel; ++rank)
    meshes.push_back(stage_mesh(cluster, model, layout, rank));
  return meshes;
}

std::vector<AxisRole> axis_roles(const DimensionMeanings& model, const UniformLayout& layout) {
  std::vector<AxisRole> roles;
  for (const LayoutAxis& axis : layout_axes(model, layout)) roles.push_back(axis.role);
  return roles;
}

namespace {

void check_tensor_parallel(const Graph& graph, const DimensionMeanings& model, const UniformLayout& layout) {
  const std::int64_t devices = layout.tensor_parallel;
  for (const AttentionHeads& heads : model.heads) {
    if (heads.query % devices != 0)
      throw InputError("--tp", fmt::format("{} does not divide the model's {} attention heads; give a divisor", devices,
                                           heads.query));
    if (heads.key_value % devices != 0 && devices % heads.key_value != 0)
      throw InputError("--tp",
                       fmt::format("{} devices cannot share the model's {} key-value heads; give a divisor or a "
                                   "multiple",
                                   devices, heads.key_value));
  }
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::gelu && op.kind != OpKind::silu && op.kind != OpKind::relu) continue;
    const std::vector<std::int64_t> sizes = hidden_sizes(model, op);
    const bool of_experts = has_experts(model, op);
    const std::int64_t parts = of_experts ? layout.expert_tensor_parallel.value_or(devices) : devices;
    if (!sizes.empty() &&
        std::none_of(sizes.begin(), sizes.end(), [&](std::int64_t size) { return size % parts == 0; }))
      throw InputError(of_experts ? "--etp" : "--tp",
                       fmt::format("{} does not divide {}, the hidden size that \"{}\" works on; give a divisor", parts,
                                   sizes.back(), op.id));
  }
}

// That the degrees can be had together.
void check_expert_degrees(const DimensionMeanings& model, const UniformLayout& layout) {
  if (layout.expert_tensor_parallel && !model.has_experts())
    throw InputError("--etp", "the model has no experts to divide; leave it out");
  const std::int64_t tp = layout.tensor_parallel, etp = layout.expert_tensor_parallel.value_or(tp);
  if (etp < 1 || tp % etp != 0)
    throw InputError("--etp", fmt::format("{} does not divide tensor parallelism, --tp {}; give a divisor", etp, tp));
  const std::int64_t whole = tp / etp, ep = layout.expert_parallel;
  if (ep % whole != 0)
    throw InputError("--etp",
                     fmt::format("{} spreads experts over {} groups of the devices of --tp {}, so --ep must be a "
                                 "multiple of {}, but is {}; give --ep {} or --etp {}",
                                 etp, whole, tp, whole, ep, std::lcm(ep, whole), tp));
  if (whole > 1 && etp > 1 && devices_per_key_value_head(model, tp) > 1)
    throw InputError("--etp", fmt::format("{} cannot be had with --tp {}, whose devices share key-value heads; give 1 "
                                          "or {}",
                                          etp, tp, tp));
  if (layout.data_parallel * layout.context_parallel % (ep / whole) == 0) return;
  std::string kinds = "data", degrees = fmt::format("--dp {}", layout.data_parallel);
  if (layout.context_parallel > 1) kinds += " and context", degrees += fmt::format(" --cp {}", layout.context_parallel);
  if (whole > 1) kinds += " and tensor", degrees += fmt::format(" --tp {} of --etp {}", tp, etp);
  throw InputError("--ep", fmt::format("{} must divide {} parallelism{}, {}; give a divisor", ep, kinds,
                                       kinds == "data" ? "" : " together", degrees));
}

void check_expert_parallel(const Graph& graph, const DimensionMeanings& model, const UniformLayout& layout) {
  const std::int64_t devices = layout.expert_parallel;
  if (devices == 1) return;
  if (!model.has_experts())
    throw InputError("--ep",
                     fmt::format("{} devices have no experts to share: the model has none; leave it out", devices));
  for (const Op& op : graph.ops)
    for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f)
      if (is_expert_factor(model, op, FactorId{f}) && op.factor_sizes[f].size % devices != 0)
        throw InputError("--ep", fmt::format("{} does not divide the model's {} experts; give a divisor", devices,
                                             op.factor_sizes[f].size));
}

void check_context_parallel(const Graph& graph, const DimensionMeanings& model, const UniformLayout& layout) {
  const std::int64_t devices = layout.context_parallel;
  for (const Op& op : graph.ops)
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
      if (graph.tensor(op.inputs[i]).role != TensorRole::input) continue;
      for (std::uint32_t f = 0; f < op.rule.factors.size(); ++f) {
        const Extent& extent = op.factor_sizes[f];
        const bool runs_along = contains(op.rule.inputs[i], FactorId{f}) &&
                                in_marked({op.inputs[i]}, {op.rule.inputs[i]}, model.tokens, FactorId{f});
        if (runs_along && !extent.scales_with_batch && extent.size % devices != 0)
          throw InputError("--cp", fmt::format("{} does not divide the {} that a sample's \"{}\" has; give a divisor",
                                               devices, extent.size, graph.tensor(op.inputs[i]).id));
      }
    }
}

}  // namespace

void check_degrees(const Graph& graph, const DimensionMeanings& model, const UniformLayout& layout) {
  check_expert_degrees(model, layout);
  check_tensor_parallel(graph, model, layout);
  check_expert_parallel(graph, model, layout);
  check_context_parallel(graph, model, layout);
}

}  // namespace meshloom
