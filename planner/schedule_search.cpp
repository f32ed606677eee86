#include "planner/schedule_search.hpp"

#include <algorithm>
#include <numeric>

#include "planner/inter_op/reachable_offsets.hpp"
#include "planner/inter_op/schedules.hpp"

namespace meshloom {
namespace {

// Of the branch and bound for one submesh and number of chunks. Mostly a few hundred suffice.
constexpr std::size_t interleaving_nodes = 4000;

// The least largest time of a cut of all layers into so many ranges; impossible where there is none.
class BottleneckOfCuts {
 public:
  BottleneckOfCuts(const SearchSpace& space, const StageCosts& costs, std::uint32_t submesh)
      : space_(space), costs_(costs), submesh_(submesh) {
    for (std::size_t c = 1; c < costs.least_times.size(); ++c)
      if (time_of(c) < impossible) times_.push_back(time_of(c));
    std::sort(times_.begin(), times_.end());
  }

  Seconds with_stages(std::int64_t stages) const {
    const auto least = std::partition_point(times_.begin(), times_.end(),
                                            [&](Seconds time) { return !chunks_on_the_way(stages, time); });
    return least == times_.end() ? impossible : *least;
  }

 private:
  bool chunks_on_the_way(std::int64_t stages, Seconds largest) const {
    const auto layers = static_cast<std::uint32_t>(space_.layers.layers.size());
    std::vector<OffsetSet> after(layers + 1, OffsetSet(stages + 1));  // by boundary: numbers of stages so far
    after.front().insert(0);
    for (std::uint32_t first = 0; first < layers; ++first) {
      if (after[first].empty()) continue;
      for (std::uint32_t last = first; last < layers; ++last)
        if (time_of(space_.classes.of[first][last - first]) <= largest)
          after[last + 1].insert_moved_up(after[first], 1);
    }
    return after.back().contains(stages);
  }

  Seconds time_of(std::size_t range_class) const { return costs_.least_times[range_class][submesh_].front(); }

  const SearchSpace& space_;
  const StageCosts& costs_;
  std::uint32_t submesh_;
  std::vector<Seconds> times_;
};

// The least sum of priced times over cuts of all layers into ranges, however many; impossible where there is none.
Seconds least_sum(const SearchSpace& space, const StageCosts& costs, std::uint32_t submesh, std::size_t price) {
  const std::size_t layers = space.layers.layers.size();
  std::vector<Seconds> after(layers + 1, impossible);  // by boundary
  after.front() = Seconds(0);
  for (std::size_t first = 0; first < layers; ++first)
    for (std::size_t last = first; last < layers; ++last)
      after[last + 1] = std::min(
          after[last + 1], after[first] + costs.priced_times[space.classes.of[first][last - first]][submesh][price]);
  return after.back();
}

// What the chunks of one rank take together for one microbatch, at least, on average over the ranks: all chunks
// together hold at most what all ranks have, each for one microbatch at least, so the Lagrangian bound of their sum
// holds.
Seconds least_time_of_rank(const SearchSpace& space, const StageCosts& costs, std::uint32_t submesh,
                           std::int64_t ranks) {
  Seconds least(0);
  if (costs.priced_times.empty()) return least;
  for (std::size_t k = 0; k < chunk_prices.size(); ++k) {
    const Seconds sum = least_sum(space, costs, submesh, k);
    if (!(sum < impossible)) return impossible;
    least = std::max(least, sum / static_cast<double>(ranks) - chunk_prices[k] * costs.longest_stage);
  }
  return least;
}

}  // namespace

std::vector<std::int64_t> searched_chunks(const SearchOptions& options) {
  if (options.chunks) return {*options.chunks};
  std::vector<std::int64_t> chunks(most_chunks - 1);
  std::iota(chunks.begin(), chunks.end(), 2);
  return chunks;
}

Seconds lower_bound_on_equal_submeshes(const SearchSpace& space, const StageCosts& costs, std::int64_t microbatches,
                                       ScheduleKind kind, Seconds limit) {
  const auto layers = static_cast<std::int64_t>(space.layers.layers.size());
  for (std::uint32_t submesh = 0; submesh < space.submeshes.size(); ++submesh) {
    const std::optional<std::int64_t> ranks = ranks_that_tile(space, submesh);
    if (!ranks || *ranks > layers || *ranks != space.allowed.count().value_or(static_cast<std::uint32_t>(*ranks)))
      continue;
    const BottleneckOfCuts bottleneck(space, costs, submesh);
    if (kind != ScheduleKind::interleaved) {
      limit = std::min(limit, static_cast<double>(microbatches) * bottleneck.with_stages(*ranks));
      continue;
    }
    if (!can_interleave(*ranks, microbatches)) continue;
    const Seconds of_rank = least_time_of_rank(space, costs, submesh, *ranks);
    for (const std::int64_t chunks : searched_chunks(space.options))
      if (*ranks * chunks <= layers)
        limit = std::min(limit,
                         static_cast<double>(microbatches * chunks + *ranks - 1) *
                             std::max(bottleneck.with_stages(*ranks * chunks), of_rank / static_cast<double>(chunks)));
  }
  return limit;
}

ScheduledSolution solve_under(ScheduleKind kind, const SearchOptions& options, const InterOpProblem& problem,
                              Seconds limit) {
  switch (kind) {
    case ScheduleKind::gpipe:
      return {kind, solve_gpipe(problem, limit)};
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_h2:
    case ScheduleKind::zb_1p:
    case ScheduleKind::zb_2p:
      return {kind, solve_zero_bubble(problem, kind, limit)};
    case ScheduleKind::interleaved:
      break;
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::eager_one_f_one_b:
    case ScheduleKind::dualpipe:
    case ScheduleKind::inference:
    case ScheduleKind::custom:
      return {kind, solve_inter_op(problem, limit)};
  }
  InterleavedSolution found =
      solve_interleaved(problem, searched_chunks(options), {.limit = limit, .nodes = interleaving_nodes});
  return {{kind, found.chunks}, std::move(found.best)};
}

}  // namespace meshloom
