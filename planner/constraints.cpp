#include "planner/constraints.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "costmodel/groups.hpp"
#include "graphs/input_error.hpp"
#include "planner/inter_op/placement.hpp"
#include "planner/plan/readable.hpp"

namespace meshloom {
namespace {

std::string text_of(const Submesh& submesh) { return fmt::format("{}x{}", submesh.hosts, submesh.devices_per_host); }

std::vector<std::string> names_of(const PlanningLayers& layers) {
  std::vector<std::string> names;
  for (const PlanningLayer& layer : layers.layers) names.push_back(layer.name);
  return names;
}

// A group of layers, "h0…h3" (--layers), may be called by its first layer where it begins and by its last where it
// ends.
enum class Edge { begin, end };
bool is_called(const std::string& layer, const std::string& name, Edge edge) {
  switch (edge) {
    case Edge::begin:
      return layer == name || layer.starts_with(name + "…");
    case Edge::end:
      return layer == name || layer.ends_with("…" + name);
  }
  return false;
}

std::size_t layer_named(const std::string& name, Edge edge, const PlanningLayers& layers, const std::string& place) {
  const std::vector<std::string> names = names_of(layers);
  const auto found =
      std::find_if(names.begin(), names.end(), [&](const auto& layer) { return is_called(layer, name, edge); });
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  const std::string hint = did_you_mean(name, names);
  throw InputError(place, fmt::format("there is no layer \"{}\"{}", name,
                                      !hint.empty() ? hint
                                                    : fmt::format("; the {} layers are {} to {}", names.size(),
                                                                  names.front(), names.back())));
}

std::string place_of(const StageList& list, std::size_t stage) {
  return fmt::format("{}: /stages/{}", list.file, stage);
}

constexpr std::size_t most_divisors = 24;

std::int64_t odd_part(std::int64_t number) {
  while (number % 2 == 0) number /= 2;
  return number;
}

// Powers of two and divisors, ascending; of many divisors those with the whole odd part.
std::set<std::int64_t> usual_sizes(std::int64_t all) {
  std::set<std::int64_t> divisors, sizes;
  for (std::int64_t size = 1; size <= all; ++size)
    if (all % size == 0) divisors.insert(size);
  const bool many = divisors.size() > most_divisors;
  for (const std::int64_t size : divisors)
    if (!many || odd_part(size) == odd_part(all)) sizes.insert(size);
  for (std::int64_t size = 1; size <= all; size *= 2) sizes.insert(size);
  return sizes;
}

std::vector<Submesh> usual_submeshes(const Cluster& cluster, std::uint32_t group) {
  std::vector<Submesh> result;
  for (const std::int64_t devices : usual_sizes(cluster.devices_per_host))
    if (cluster.devices_per_host % devices == 0) result.push_back({1, devices, group});
  for (const std::int64_t hosts : usual_sizes(cluster.hosts))
    if (hosts > 1) result.push_back({hosts, cluster.devices_per_host, group});
  return result;
}

std::string cluster_text(const Cluster& cluster) {
  std::string text;
  for (std::size_t g = 0; g < group_count(cluster); ++g) {
    const Cluster& group = group_at(cluster, g);
    text +=
        fmt::format("{}{} of {} devices", g == 0 ? "" : " and ", counted(group.hosts, "host"), group.devices_per_host);
  }
  return text;
}

InterOpProblem empty_cluster(const Cluster& cluster) {
  InterOpProblem problem;
  problem.hosts = cluster.hosts;
  problem.devices_per_host = cluster.devices_per_host;
  return problem;
}

// Numbers of stages, up to `most`, that fill all devices one after the other; ascending.
std::vector<std::size_t> counts_that_fill(const std::vector<Submesh>& submeshes, const Cluster& cluster,
                                          std::size_t most) {
  const InterOpProblem problem = empty_cluster(cluster);
  const auto devices = static_cast<std::size_t>(cluster.devices());
  std::vector<std::vector<bool>> counts(devices + 1, std::vector<bool>(most + 1, false));  // by devices filled
  counts[0][0] = true;
  for (std::size_t offset = 0; offset < devices; ++offset)
    for (const Submesh& submesh : submeshes) {
      if (!can_start_at(problem, submesh, static_cast<std::int64_t>(offset))) continue;
      std::vector<bool>& after = counts[offset + static_cast<std::size_t>(submesh.devices())];
      for (std::size_t k = 0; k < most; ++k)
        if (counts[offset][k]) after[k + 1] = true;
    }
  std::vector<std::size_t> result;
  for (std::size_t k = 1; k <= most; ++k)
    if (counts[devices][k]) result.push_back(k);
  return result;
}

// "1, 2, 4–8".
std::string ranges_text(const std::vector<std::size_t>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", numbers[i]);
    if (last > i) text += fmt::format("{}{}", last > i + 1 ? "–" : ", ", numbers[last]);
    i = last;
  }
  return text;
}

// The stages of a list lie one after the other.
void check_order(const StageList& list, const Cluster& cluster) {
  const InterOpProblem problem = empty_cluster(cluster);
  std::int64_t offset = 0;
  for (std::size_t s = 0; s < list.stages.size(); ++s) {
    const Submesh& submesh = list.stages[s].submesh;
    if (!can_start_at(problem, submesh, offset))
      throw InputError(place_of(list, s) + "/submesh",
                       fmt::format("{} cannot begin at device {} of {}: it must not straddle two hosts, and on several "
                                   "begins at a host's first; change the order or the submeshes",
                                   text_of(submesh), offset, cluster_text(cluster)));
    offset += submesh.devices();
  }
  if (offset != cluster.devices())
    throw InputError(list.file + ": /stages",
                     fmt::format("take {} devices, the cluster has {}; enlarge them, or give other --hosts", offset,
                                 cluster.devices()));
}

bool fits_in(const Submesh& submesh, const Cluster& group) {
  return submesh.hosts <= group.hosts && submesh.devices_per_host <= group.devices_per_host;
}

bool is_possible(const Submesh& submesh, const Cluster& group) {
  return fits_in(submesh, group) && (submesh.hosts == 1 || submesh.devices_per_host == group.devices_per_host);
}

template <typename Holds>
bool any_group(const Cluster& cluster, const Holds& holds) {
  for (std::size_t group = 0; group < group_count(cluster); ++group)
    if (holds(group_at(cluster, group))) return true;
  return false;
}

void check_submesh(const Submesh& submesh, const Cluster& cluster, const std::string& place) {
  const auto fail = [&](const std::string& message) {
    throw InputError(place, fmt::format("{} {}", text_of(submesh), message));
  };
  if (!any_group(cluster, [&](const Cluster& group) { return fits_in(submesh, group); }))
    fail(fmt::format("is larger than the cluster, {}; make it smaller, or give more --hosts", cluster_text(cluster)));
  if (!any_group(cluster, [&](const Cluster& group) { return is_possible(submesh, group); }))
    fail(fmt::format("cannot be: a stage on several hosts takes all their devices; write {}x{} or 1x{}", submesh.hosts,
                     group_at(cluster, 0).devices_per_host, submesh.devices_per_host));
}

void check_shape(const FixedStage& stage, std::size_t max_mesh_axes, const std::string& place) {
  if (!stage.mesh) return;
  std::vector<std::string> known;
  for (const DeviceMesh& mesh : logical_shapes(stage.submesh, max_mesh_axes)) {
    std::vector<std::int64_t> sizes;
    for (const MeshAxis& axis : mesh.axes) sizes.push_back(axis.size);
    if (sizes == *stage.mesh) return;
    known.push_back(fmt::format("[{}]", fmt::join(sizes, ", ")));
  }
  throw InputError(
      place, fmt::format("[{}] is no shape of submesh {} with at most {} axes (--max-mesh-axes); it has {}",
                         fmt::join(*stage.mesh, ", "), text_of(stage.submesh), max_mesh_axes, fmt::join(known, ", ")));
}

}  // namespace

std::string submeshes_text(const std::vector<Submesh>& submeshes) {
  std::vector<std::string> words;
  for (const Submesh& submesh : submeshes) words.push_back(text_of(submesh));
  return fmt::format("{}", fmt::join(words, ","));
}

std::string options_text(const Constraints& constraints) {
  std::string text;
  if (constraints.stages) text += fmt::format(" --stages {}", *constraints.stages);
  if (!constraints.submeshes.empty()) text += " --submeshes " + submeshes_text(constraints.submeshes);
  if (!constraints.boundaries.empty()) text += fmt::format(" --boundaries {}", fmt::join(constraints.boundaries, ","));
  if (constraints.memory_share < 1) text += fmt::format(" --memory-share {}", constraints.memory_share);
  return text;
}

std::vector<Submesh> allowed_submeshes(const Constraints& constraints, const Cluster& cluster) {
  std::vector<Submesh> result;
  const auto add = [&](const Submesh& submesh, const std::string& place) {
    check_submesh(submesh, cluster, place);
    for (std::uint32_t group = 0; group < group_count(cluster); ++group) {
      const Submesh here{submesh.hosts, submesh.devices_per_host, group};
      if (is_possible(here, group_at(cluster, group)) && std::find(result.begin(), result.end(), here) == result.end())
        result.push_back(here);
    }
  };
  for (const Submesh& submesh : constraints.submeshes) add(submesh, "--submeshes");
  if (constraints.stage_list)
    for (std::size_t s = 0; s < constraints.stage_list->stages.size(); ++s)
      add(constraints.stage_list->stages[s].submesh, place_of(*constraints.stage_list, s) + "/submesh");
  if (result.empty()) {
    for (std::uint32_t group = 0; group < group_count(cluster); ++group)
      for (const Submesh& submesh : usual_submeshes(group_at(cluster, group), group)) result.push_back(submesh);
    return result;
  }
  // By group, then hosts, then devices: the order of the usual ones.
  std::sort(result.begin(), result.end(),
            [](const Submesh& a, const Submesh& b) { return std::tie(a.group, a) < std::tie(b.group, b); });
  return result;
}

AllowedStages::AllowedStages(const Constraints& constraints, const PlanningLayers& layers, const Cluster& cluster,
                             std::size_t max_mesh_axes)
    : count_(constraints.stages), list_(constraints.stage_list) {
  const std::size_t all = layers.layers.size();
  if (count_ && *count_ > all)
    throw InputError("--stages", fmt::format("{} stages need as many layers, the graph has {}; ask for fewer, or cut "
                                             "it into more (--layers)",
                                             *count_, all));
  if (count_ && *count_ > cluster.devices())
    throw InputError("--stages",
                     fmt::format("{} stages need as many devices, the cluster has {}", *count_, cluster.devices()));
  for (const std::string& name : constraints.boundaries)
    boundaries_.push_back(layer_named(name, Edge::begin, layers, "--boundaries"));
  std::sort(boundaries_.begin(), boundaries_.end());
  boundaries_.erase(std::unique(boundaries_.begin(), boundaries_.end()), boundaries_.end());
  if (list_ && !cluster.groups.empty())
    throw InputError(list_->file,
                     "lists stages, but not on which groups of the cluster they are; use --stages, "
                     "--submeshes and --boundaries, or a cluster without groups");
  // On groups any number of stages may do that fills some of them.
  if (constraints.of_stages() && !list_ && cluster.groups.empty()) check_filling(constraints, all, cluster);
  if (!list_) return;
  if (constraints.stages || !constraints.boundaries.empty() || !constraints.submeshes.empty())
    throw InputError(list_->file, "lists the stages; leave out --stages, --submeshes and --boundaries");
  std::size_t begin = 0;
  for (std::size_t s = 0; s < list_->stages.size(); ++s) {
    ranges_.emplace_back(begin, last_layer(s, begin, layers));
    begin = ranges_.back().second + 1;
    check_shape(list_->stages[s], max_mesh_axes, place_of(*list_, s) + "/mesh");
  }
  if (begin != all)
    throw InputError(list_->file + ": /stages",
                     fmt::format("end with layer {} ({} of {} layers); add the rest, from {} on", begin - 1, begin, all,
                                 layers.layers[begin].name));
  count_ = static_cast<std::uint32_t>(ranges_.size());
  check_order(*list_, cluster);
}

// How many stages they may be depends on the submeshes alone, since layers may be cut anywhere, at least at boundaries.
void AllowedStages::check_filling(const Constraints& constraints, std::size_t layers, const Cluster& cluster) const {
  const std::size_t least =
      1 + static_cast<std::size_t>(std::count_if(boundaries_.begin(), boundaries_.end(), [](auto b) { return b > 0; }));
  std::vector<std::size_t> possible;
  for (const std::size_t count : counts_that_fill(allowed_submeshes(constraints, cluster), cluster, layers))
    if (count >= least) possible.push_back(count);
  const bool wanted = count_ ? std::count(possible.begin(), possible.end(), *count_) > 0 : !possible.empty();
  if (wanted) return;
  if (count_)
    throw InputError("--stages", fmt::format("{} cannot fill {} with the layers and submeshes that are allowed; {}",
                                             counted(*count_, "stage"), cluster_text(cluster),
                                             possible.empty() ? "no number of stages can"
                                                              : "possible are " + ranges_text(possible)));
  throw InputError(constraints.submeshes.empty() ? "--boundaries" : "--submeshes",
                   fmt::format("at least {} on submeshes {} cannot fill {}; allow more submeshes",
                               counted(static_cast<std::int64_t>(least), "stage"),
                               submeshes_text(allowed_submeshes(constraints, cluster)), cluster_text(cluster)));
}

// Of the stage of the list that begins at layer `begin`.
std::size_t AllowedStages::last_layer(std::size_t stage, std::size_t begin, const PlanningLayers& layers) const {
  const FixedStage& fixed = list_->stages[stage];
  const std::string place = place_of(*list_, stage);
  const std::size_t all = layers.layers.size();
  if (begin >= all)
    throw InputError(place, fmt::format("the stages before it have all {} layers already; leave it out", all));
  if (fixed.count) {
    if (static_cast<std::size_t>(*fixed.count) > all - begin)
      throw InputError(place + "/layers", fmt::format("{} layers, but only {} of the graph's {} are left", *fixed.count,
                                                      all - begin, all));
    return begin + static_cast<std::size_t>(*fixed.count) - 1;
  }
  const std::size_t first = layer_named(fixed.first, Edge::begin, layers, place + "/first");
  const std::size_t last = layer_named(fixed.last, Edge::end, layers, place + "/last");
  if (first != begin)
    throw InputError(place + "/first", fmt::format("the next stage begins with layer \"{}\", not \"{}\"; stages are "
                                                   "listed in order and have every layer once",
                                                   layers.layers[begin].name, fixed.first));
  if (last < first)
    throw InputError(place + "/last", fmt::format("layer \"{}\" comes before \"{}\"", fixed.last, fixed.first));
  return last;
}

bool AllowedStages::on(std::size_t first, std::size_t last, const Submesh& submesh) const {
  if (list_) {
    for (std::size_t s = 0; s < ranges_.size(); ++s)
      if (ranges_[s] == std::pair(first, last)) return list_->stages[s].submesh == submesh;
    return false;
  }
  const auto inside = std::upper_bound(boundaries_.begin(), boundaries_.end(), first);
  return inside == boundaries_.end() || *inside > last;
}

bool AllowedStages::on(std::size_t first, std::size_t last, const DeviceMesh& mesh) const {
  if (!on(first, last, mesh.submesh)) return false;
  if (!list_) return true;
  const auto stage = std::find(ranges_.begin(), ranges_.end(), std::pair(first, last)) - ranges_.begin();
  const auto& wanted = list_->stages[static_cast<std::size_t>(stage)].mesh;
  return !wanted || std::equal(wanted->begin(), wanted->end(), mesh.axes.begin(), mesh.axes.end(),
                               [](std::int64_t size, const MeshAxis& axis) { return size == axis.size; });
}

bool AllowedStages::fix_meshes() const {
  return list_ && std::any_of(list_->stages.begin(), list_->stages.end(), [](const auto& s) { return s.mesh; });
}

}  // namespace meshloom
