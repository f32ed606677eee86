#include "planner/inter_op/even_table.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace meshloom {
namespace {

constexpr double unreachable = std::numeric_limits<double>::infinity();

bool can_tile(const InterOpProblem& problem, const Submesh& submesh) {
  const std::int64_t devices = device_count(problem), each = submesh.devices();
  if (devices % each != 0) return false;
  for (std::int64_t offset = 0; offset < devices; offset += each)
    if (!can_start_at(problem, submesh, offset)) return false;
  return true;
}

}  // namespace

std::vector<EvenPipeline> even_pipelines(const InterOpProblem& problem, std::int64_t chunks, std::int64_t least_ranks) {
  std::vector<EvenPipeline> result;
  for (std::uint32_t s = 0; s < problem.submeshes.size(); ++s) {
    if (!can_tile(problem, problem.submeshes[s])) continue;
    const std::int64_t ranks = device_count(problem) / problem.submeshes[s].devices();
    if (problem.stages && ranks != *problem.stages) continue;
    if (ranks >= least_ranks && ranks * chunks <= problem.layers) result.push_back({s, ranks, chunks});
  }
  return result;
}

StageLinks links_of(const InterOpProblem& problem, const EvenPipeline& pipeline, std::uint32_t stage) {
  const auto rank = static_cast<std::int64_t>(stage) % pipeline.ranks;
  const std::int64_t devices = problem.submeshes[pipeline.submesh].devices();
  const std::size_t round = problem.hosts > 1 ? 1 : 0;  // from the last rank to the first
  return {rank == 0 ? round : link_at(problem, rank * devices),
          rank + 1 == pipeline.ranks ? round : link_at(problem, (rank + 1) * devices)};
}

EvenTable::EvenTable(const InterOpProblem& problem, const EvenPipeline& pipeline, std::size_t classes,
                     const Class& class_of, const Fits& fits, const Betters& betters)
    : layers_(problem.layers) {
  std::vector<std::optional<std::size_t>> known(4 * classes);
  for (std::uint32_t stage = 0; stage < pipeline.stages(); ++stage) {
    StageLinks links = links_of(problem, pipeline, stage);
    if (problem.cuts.empty()) links = {};
    std::optional<std::size_t>& kind = known[4 * class_of(stage) + 2 * links.begin + links.end];
    if (!kind) {
      kind = ranges_.size();
      add_kind(problem, pipeline, stage, fits, betters);
    }
    kind_of_stage_.push_back(*kind);
  }
}

void EvenTable::add_kind(const InterOpProblem& problem, const EvenPipeline& pipeline, std::uint32_t stage,
                         const Fits& fits, const Betters& betters) {
  const StageLinks links = links_of(problem, pipeline, stage);
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<EvenVariant>> by_range;
  for (std::uint32_t i = 0; i < problem.options.size(); ++i) {
    const StageOption& option = problem.options[i];
    if (option.submesh != pipeline.submesh || !fits(option, stage)) continue;
    const TimesWithSends times = times_with_sends(problem, option, links.begin, links.end);
    const EvenVariant variant{times.forward.value(), times.backward.value(), times.period().value(),
                              option.per_step.value(), i};
    std::vector<EvenVariant>& kept = by_range[{option.first, option.last}];
    if (std::any_of(kept.begin(), kept.end(), [&](const auto& other) { return betters(other, variant, stage); }))
      continue;
    std::erase_if(kept, [&](const auto& other) { return betters(variant, other, stage); });
    kept.push_back(variant);
  }
  ranges_.emplace_back(layers_);
  for (auto& [range, variants] : by_range) {
    std::stable_sort(variants.begin(), variants.end(),
                     [](const EvenVariant& a, const EvenVariant& b) { return a.time < b.time; });
    ranges_.back()[range.first].push_back({range.second, std::move(variants)});
  }
}

std::vector<double> EvenTable::times() const {
  std::vector<double> result;
  for (const auto& of_kind : ranges_)
    for (const auto& of_first : of_kind)
      for (const EvenRange& range : of_first)
        for (const EvenVariant& variant : range.variants) result.push_back(variant.time);
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

std::vector<std::vector<double>> EvenTable::least_largest_times(std::uint32_t stages) const {
  std::vector<std::vector<double>> least(stages + 1, std::vector<double>(layers_ + 1, unreachable));
  least[stages][layers_] = 0;
  for (std::uint32_t stage = stages; stage-- > 0;)
    for (std::uint32_t first = stage; first + (stages - stage) <= layers_; ++first)
      for (const EvenRange& range : ranges(stage, first))
        least[stage][first] =
            std::min(least[stage][first], std::max(range.variants.front().time, least[stage + 1][range.last + 1]));
  return least;
}

}  // namespace meshloom
