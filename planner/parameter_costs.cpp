#include "planner/parameter_costs.hpp"

#include <algorithm>

#include "costmodel/measured_times.hpp"
#include "costmodel/op_costs.hpp"

namespace meshloom {

namespace {

Bytes at_least(Bytes bytes, DType dtype) { return dtype == DType::fp32 ? std::max(bytes, size_of(dtype)) : bytes; }

Bytes bucket_size(const Recipe& recipe, const DeviceGroup& group) {
  return std::max(recipe.bucket_bytes, static_cast<double>(group.size) * recipe.bucket_bytes_per_device);
}

}  // namespace

Seconds bucketed_collective_time(const Cluster& cluster, const Recipe& recipe, Collective kind, Bytes whole,
                                 const DeviceGroup& group) {
  return sourced_bucketed_time(cluster, recipe, kind, whole, group).time;
}

SourcedTime sourced_bucketed_time(const Cluster& cluster, const Recipe& recipe, Collective kind, Bytes whole,
                                  const DeviceGroup& group) {
  const auto modelled = [&](Bytes bytes) { return modelled_collective_time(cluster, kind, bytes, group); };
  const Seconds latency = modelled(Bytes(0));
  const Bytes bucket_bytes = bucket_size(recipe, group);
  const Seconds time = modelled(whole) - latency + latency * std::min(1.0, whole / bucket_bytes);
  const Bytes bucket = std::max(whole, bucket_bytes);
  const SourcedTime of_bucket = sourced_collective_time(cluster, kind, bucket, group);
  if (of_bucket.source == TimeSource::modelled) return {time, TimeSource::modelled};
  return {time * (of_bucket.time / modelled(bucket)), of_bucket.source};
}

MicrobatchTime microbatch_collective_time(const Cluster& cluster, const Recipe& recipe, Collective kind, Bytes whole,
                                          const DeviceGroup& group) {
  const Seconds time = recipe.parameter_slowdown * bucketed_collective_time(cluster, recipe, kind, whole, group);
  const double traffic = kind == Collective::all_gather ? recipe.gather_traffic : recipe.reduction_traffic;
  const Seconds copies = traffic * whole / (cluster.device.memory_bandwidth * cluster.device.memory_efficiency);
  return {recipe.exposed_parameters * time + copies, recipe.overlap_parameters ? time : Seconds(0)};
}

Bytes stored_element(const Recipe& recipe, DType dtype) { return at_least(recipe.parameter_bytes, dtype); }

ParameterCost parameter_cost(const Cluster& cluster, const Recipe& recipe, const DeviceMesh& mesh, const Layout& layout,
                             double local_elements, DType dtype, ParameterState state) {
  ParameterCost cost;
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
    if (layout.axes[axis] == replicated_partial_gradient) cost.axis_set |= 1U << axis;
  const DeviceGroup group = cost.axis_set == 0 ? DeviceGroup{} : group_of(mesh, cost.axis_set);
  const Bytes values = stored_element(recipe, dtype) * local_elements;
  const Bytes of_gradient = gradient_bytes(cluster.device, recipe);
  const Bytes gradients = at_least(of_gradient, dtype) * local_elements;
  const Bytes reduced = at_least(recipe.reduction_bytes.value_or(of_gradient), dtype) * local_elements;
  const auto in_step = [&](Collective kind, Bytes whole) {
    const Seconds alone = bucketed_collective_time(cluster, recipe, kind, whole, group);
    return ParameterCollective{kind, whole, recipe.exposed_synchronization * alone};
  };
  const auto in_microbatch = [&](Collective kind, Bytes whole, Seconds& beside) {
    const MicrobatchTime time = microbatch_collective_time(cluster, recipe, kind, whole, group);
    beside += time.beside;
    return ParameterCollective{kind, whole, time.waited};
  };
  const double share = 1.0 / static_cast<double>(group.size);
  const bool optimizer_sharded = state != ParameterState::replicated;
  const bool gradients_sharded = state == ParameterState::zero2 || state == ParameterState::zero3;
  const bool values_sharded = state == ParameterState::zero3;
  cost.parameters = values * (values_sharded ? share : 1);
  cost.gradients = gradients * (gradients_sharded ? share : 1);
  cost.optimizer = recipe.optimizer_bytes * local_elements * (optimizer_sharded ? share : 1);
  cost.update = Bytes(recipe.optimizer_traffic * local_elements * (optimizer_sharded ? share : 1)) /
                (cluster.device.memory_bandwidth * cluster.device.memory_efficiency);
  if (cluster.measured) {
    const SourcedTime update = cluster.measured->of_update(
        recipe.compute_dtype, local_elements * (optimizer_sharded ? share : 1), cost.update);
    cost.update = update.time;
    cost.update_source = update.source;
  }
  if (group.size == 1) return cost;
  switch (state) {
    case ParameterState::replicated:
      cost.per_step = {in_step(Collective::all_reduce, reduced)};
      break;
    case ParameterState::zero1:
      cost.per_step = {in_step(recipe.zero1_all_reduces ? Collective::all_reduce : Collective::reduce_scatter, reduced),
                       in_step(Collective::all_gather, values)};
      break;
    case ParameterState::zero2:
      cost.backward = {in_microbatch(Collective::reduce_scatter, reduced, cost.backward_beside)};
      cost.per_step = {in_step(Collective::all_gather, values)};
      break;
    case ParameterState::zero3:
      cost.gathered = values;
      cost.forward = {in_microbatch(Collective::all_gather, values, cost.forward_beside)};
      cost.backward = {in_microbatch(Collective::all_gather, values, cost.backward_beside),
                       in_microbatch(Collective::reduce_scatter, reduced, cost.backward_beside)};
      break;
  }
  return cost;
}

Seconds total_time(const ParameterCollectives& collectives) {
  Seconds total;
  for (const ParameterCollective& collective : collectives) total += collective.time;
  return total;
}

}  // namespace meshloom
