#include "costmodel/measured_times.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "costmodel/device_files.hpp"
#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

// Samples and heads of attention count by their product (kernel_shapes.cpp), other shapes as they are.
std::vector<std::int64_t> canonical(MeasuredOperator kind, const std::vector<std::int64_t>& shape) {
  if (kind != MeasuredOperator::attention) return shape;
  return {1, shape[0] * shape[1], shape[0] * shape[2], shape[3], shape[4], shape[5]};
}

// The model's own time is changed only by a ratio that is not one, and a sample's shape gives the sample's time.
SourcedTime scaled(const RatioSample* sample, const Ratio& ratio, Seconds modelled) {
  if (sample == nullptr) return {modelled * ratio.of_modelled, ratio.source};
  if (sample->modelled == modelled) return {sample->measured, TimeSource::measured};
  return {modelled * ratio.of_modelled, TimeSource::interpolated};
}

// A sample's bytes, of the whole tensor.
std::int64_t bytes_of(const CollectiveKey& key, Bytes whole) {
  return std::max<std::int64_t>(1, std::llround(whole / whole_of(key, 1)));
}

// An all-reduce is a reduce-scatter and an all-gather, which are as fast as each other: what slows one slows all.
std::vector<MeasuredCollective> alike(MeasuredCollective kind) {
  switch (kind) {
    case MeasuredCollective::all_gather:
      return {MeasuredCollective::reduce_scatter, MeasuredCollective::all_reduce};
    case MeasuredCollective::reduce_scatter:
      return {MeasuredCollective::all_gather, MeasuredCollective::all_reduce};
    case MeasuredCollective::all_reduce:
      return {MeasuredCollective::reduce_scatter, MeasuredCollective::all_gather};
    case MeasuredCollective::all_to_all:
    case MeasuredCollective::send_receive:
      break;
  }
  return {};
}

}  // namespace

bool same_device(const std::string& one, const std::string& other) {
  if (spelled_alike(one, other)) return true;
  if (!family_named(one).empty() || !family_named(other).empty()) return false;
  const auto first = device_named(one), second = device_named(other);
  return first && second && first->device.name == second->device.name;
}

MeasuredTimes::MeasuredTimes(const std::vector<Profile>& profiles, const Cluster& cluster, const Recipe& recipe)
    : cluster_(std::make_unique<Cluster>(cluster)) {
  cluster_->measured.reset();
  std::map<OperatorKey, std::vector<RatioSample>> operators;
  std::map<CollectiveKey, std::vector<RatioSample>> collectives;
  for (const Profile& profile : profiles) {
    for (const OperatorSeries& series : profile.operators) {
      const SampleModel model(*cluster_, recipe, series.key);
      for (const OperatorSample& sample : series.samples) {
        const std::vector<std::int64_t> shape = canonical(series.key.kind, sample.shape);
        const Seconds modelled = model.time(shape);
        if (modelled > Seconds(0)) operators[series.key].push_back({shape, modelled, sample.timing.median});
      }
    }
    for (const CollectiveSeries& series : profile.collectives)
      for (const CollectiveSample& sample : series.samples) {
        const Seconds modelled = modelled_sample(*cluster_, series.key, sample.bytes);
        if (modelled > Seconds(0)) collectives[series.key].push_back({{sample.bytes}, modelled, sample.timing.median});
      }
  }
  for (const auto& [key, samples] : operators)
    operators_.emplace(key, Series{SampleModel(*cluster_, recipe, key), RatioTable(samples)});
  for (const auto& [key, samples] : collectives) collectives_.emplace(key, RatioTable(samples));
}

const MeasuredTimes::Series* MeasuredTimes::find(const OperatorKey& key) const {
  const auto found = operators_.find(key);
  return found == operators_.end() ? nullptr : &found->second;
}

SourcedTime MeasuredTimes::from(const Series& series, std::vector<std::int64_t> shape, Seconds modelled) const {
  const Seconds alone = series.model.time(shape);
  if (!(alone > Seconds(0))) return {modelled, TimeSource::modelled};
  return scaled(series.table.exactly(shape), series.table.at(shape, alone), modelled);
}

SourcedTime MeasuredTimes::of(const KernelShape& kernel, Seconds modelled) const {
  if (!(modelled > Seconds(0))) return {modelled, TimeSource::modelled};
  if (const Series* series = find(kernel.key)) return from(*series, kernel.shape, modelled);
  if (kernel.key.kind == MeasuredOperator::attention) return {modelled, TimeSource::modelled};
  if (kernel.key.kind == MeasuredOperator::gemm) {
    for (const OperandOrder order : {OperandOrder::nn, OperandOrder::nt, OperandOrder::tn, OperandOrder::tt}) {
      OperatorKey other = kernel.key;
      other.operands = order;
      const Series* series = find(other);
      if (series == nullptr) continue;
      SourcedTime time = from(*series, kernel.shape, modelled);
      time.source = std::min(time.source, TimeSource::interpolated);
      return time;
    }
    return {modelled, TimeSource::modelled};
  }
  const Series* copy = find({.kind = MeasuredOperator::copy, .dtype = kernel.key.dtype});
  if (copy == nullptr) return {modelled, TimeSource::modelled};
  SourcedTime time = from(*copy, {kernel.shape[0]}, modelled);
  time.source = std::min(time.source, TimeSource::extrapolated);
  return time;
}

SourcedTime MeasuredTimes::from(const CollectiveKey& key, const RatioTable& table, Bytes whole,
                                Seconds modelled) const {
  const std::int64_t bytes = bytes_of(key, whole);
  const std::int64_t shape[] = {bytes};
  return scaled(table.exactly(shape), table.at(shape, modelled_sample(*cluster_, key, bytes)), modelled);
}

SourcedTime MeasuredTimes::of(Collective collective, Bytes whole, const DeviceGroup& group, Seconds modelled) const {
  const CollectiveKey key{measured_collective(collective), group.hosts, group.size / group.hosts};
  // Between hosts the model's permutation is the worst one, not the ring that was measured.
  const bool other_pattern = collective == Collective::permute && group.hosts > 1;
  if (other_pattern || !(modelled > Seconds(0))) return {modelled, TimeSource::modelled};
  const auto found = collectives_.find(key);
  if (found != collectives_.end()) return from(key, found->second, whole, modelled);
  for (const MeasuredCollective kind : alike(key.kind)) {
    const CollectiveKey other{kind, key.hosts, key.devices_per_host};
    const auto known = collectives_.find(other);
    if (known == collectives_.end()) continue;
    const Seconds alone = modelled_sample(*cluster_, other, bytes_of(other, whole));
    const SourcedTime time = from(other, known->second, whole, alone);
    return {modelled * (time.time / alone), std::min(time.source, TimeSource::extrapolated)};
  }
  return {modelled, TimeSource::modelled};
}

SourcedTime MeasuredTimes::of_update(DType dtype, double parameters, Seconds modelled) const {
  const Series* series = find({.kind = MeasuredOperator::optimizer, .dtype = dtype});
  if (series == nullptr || !(modelled > Seconds(0))) return {modelled, TimeSource::modelled};
  return from(*series, {std::max<std::int64_t>(1, std::llround(parameters))}, modelled);
}

double MeasuredTimes::least_ratio_of_products() const {
  double least = 1;
  for (const auto& [key, series] : operators_)
    if (key.kind == MeasuredOperator::gemm) least = std::min(least, series.table.least());
  return least;
}

Cluster with_profiles(const Cluster& cluster, const Recipe& recipe, const std::vector<ProfileFile>& profiles,
                      const std::vector<std::string>& stand_ins) {
  Cluster result = cluster;
  std::vector<Cluster*> groups;
  for (Cluster& group : result.groups) groups.push_back(&group);
  if (groups.empty()) groups.push_back(&result);
  const auto device = [](const ProfileFile& file) { return file.profile.provenance.device; };
  const auto somewhere = [&](const ProfileFile& file) {
    return std::any_of(groups.begin(), groups.end(),
                       [&](const Cluster* group) { return same_device(device(file), group->device.name); });
  };
  for (const ProfileFile& file : profiles) {
    const auto named = [&](const std::string& other) { return same_device(device(file), other); };
    if (somewhere(file) || std::any_of(stand_ins.begin(), stand_ins.end(), named)) continue;
    const std::vector<std::string> family = family_named(device(file));
    throw InputError(
        file.path,
        fmt::format("/device: was measured on \"{}\"{}, the cluster has {}; give a profile of its "
                    "device, or say --profile-device-is \"{}\" to use this one nevertheless",
                    device(file), family.empty() ? "" : fmt::format(", which may be {}", fmt::join(family, " or ")),
                    devices_text(cluster), device(file)));
  }
  for (Cluster* group : groups) {
    std::vector<Profile> own;
    for (const ProfileFile& file : profiles)
      if (same_device(device(file), group->device.name) || !somewhere(file)) own.push_back(file.profile);
    if (!own.empty()) group->measured = std::make_shared<const MeasuredTimes>(own, *group, recipe);
  }
  return result;
}

}  // namespace meshloom
