#include "planner/shared_parameters.hpp"

#include <algorithm>
#include <bit>

namespace meshloom {
namespace {

// What the uplinks between two hosts leave of their NICs' bandwidth, when as many neighbouring hosts as a stage has
// send below each switch.
double share_between(const Cluster& cluster, const Submesh& stage, std::int64_t a, std::int64_t b) {
  double share = 1;
  for (std::size_t level = 0; level < cluster.switch_levels.size(); ++level) {
    const std::int64_t below = cluster.switch_levels[level].hosts_per_switch;
    if (a / below == b / below) break;
    const double senders = static_cast<double>(std::min(below, stage.hosts));
    share = std::min(share, share_of_switches(cluster, level) * static_cast<double>(below) / senders);
  }
  return share;
}

}  // namespace

SharedParameters::SharedParameters(const Plan& plan)
    : plan_(plan), chunks_share_(plan.ranks() == 1 || plan.shape().placement == ChunkPlacement::vee) {
  for (std::size_t s = 0; s < plan.stages.size(); ++s)
    for (const TensorLayout& tensor : plan.stages[s].tensors)
      if (tensor.parameter) holders_[tensor.tensor].push_back({s, &tensor});
}

bool SharedParameters::one_copy(const Holder& a, const Holder& b) const {
  const PipelineShape shape = plan_.shape();
  return chunks_share_ &&
         shape.rank_of(static_cast<std::int64_t>(a.stage)) == shape.rank_of(static_cast<std::int64_t>(b.stage)) &&
         plan_.stages[a.stage].mesh == plan_.stages[b.stage].mesh && a.tensor->layout == b.tensor->layout &&
         a.tensor->state == b.tensor->state;
}

const SharedParameters::Holder* SharedParameters::holder(std::size_t stage, const std::string& parameter) const {
  const auto found = holders_.find(parameter);
  if (found == holders_.end()) return nullptr;
  const auto here = std::find_if(found->second.begin(), found->second.end(),
                                 [stage](const Holder& each) { return each.stage == stage; });
  return here == found->second.end() ? nullptr : &*here;
}

bool SharedParameters::stored_before(std::size_t stage, const std::string& parameter) const {
  const Holder* here = holder(stage, parameter);
  if (here == nullptr) return false;
  const std::vector<Holder>& all = holders_.at(parameter);
  return std::any_of(all.begin(), all.end(),
                     [&](const Holder& each) { return each.stage < stage && one_copy(each, *here); });
}

bool SharedParameters::all_reduced(std::size_t stage, const std::string& parameter) const {
  const Holder* here = holder(stage, parameter);
  if (here == nullptr || stored_before(stage, parameter)) return false;
  const std::vector<Holder>& all = holders_.at(parameter);
  return std::any_of(all.begin(), all.end(),
                     [&](const Holder& each) { return each.stage != stage && !one_copy(each, *here); });
}

Seconds SharedParameters::gradient_time(const Cluster& cluster, std::size_t stage, Bytes gradients) const {
  unsigned groups = 0;
  for (const Stage& each : plan_.stages) groups |= 1U << each.submesh.group;
  const Submesh& submesh = plan_.stages[stage].submesh;
  if (!std::has_single_bit(groups)) return shared_gradient_time(cluster, gradients, submesh, groups);
  Cluster between = group_at(cluster, submesh.group);
  const auto host = [&](std::size_t s) { return host_of_device(cluster, plan_.stages[s].devices.front()); };
  double share = 1;
  for (const auto& [parameter, all] : holders_)
    if (all_reduced(stage, parameter))
      for (const Holder& each : all)
        share = std::min(share, share_between(between, submesh, host(stage), host(each.stage)));
  between.switch_levels.clear();
  between.nic.efficiency *= share;
  return shared_gradient_time(between, gradients, submesh);
}

Seconds shared_gradient_time(const Cluster& cluster, Bytes gradients, const Submesh& stage, unsigned groups) {
  const auto time = [&](const Cluster& links, bool across) {
    const DeviceGroup pair{2, across ? 2 : 1, stage.devices_per_host};
    return collective_time(links, Collective::all_reduce, gradients, pair);
  };
  const unsigned known = groups & ((1U << group_count(cluster)) - 1);
  if (std::has_single_bit(known)) {
    const Cluster& group = group_at(cluster, static_cast<std::size_t>(std::countr_zero(known)));
    return time(group, group.hosts > 1);
  }
  return time(slowest_links(cluster, known), true);
}

}  // namespace meshloom
