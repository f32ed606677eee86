// Interleaved 1F1B: (B·v + p − 1)·max t + exposed, where the chunks of a rank share its memory.
//
// For a bound on t, a depth-first branch and bound over the chunks in layer order finds the least exposed work per
// step. What is left to place is bounded by dynamic programs without the coupling: the least largest t, the least
// per_step of the first rank, and for some groups of ranks the least memory that the rest needs on all of them
// together. The bound on t itself is found by bisection and then, like 1F1B's, by intervals.
#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "planner/inter_op/even_table.hpp"
#include "planner/inter_op/schedules.hpp"
#include "planner/plan/program.hpp"

namespace meshloom {
namespace {

constexpr double unreachable = std::numeric_limits<double>::infinity();

// How many microbatches of each chunk a rank holds at one moment.
using Held = std::vector<std::int64_t>;

bool holds_no_more(const Held& a, const Held& b) {
  for (std::size_t chunk = 0; chunk < a.size(); ++chunk)
    if (a[chunk] > b[chunk]) return false;
  return true;
}

// By rank: the moments of which no other holds as much of everything. After three rounds the program repeats itself.
std::vector<std::vector<Held>> fullest_moments(const EvenPipeline& pipeline, std::int64_t microbatches) {
  const PipelineProgram program = make_program({ScheduleKind::interleaved, pipeline.chunks}, pipeline.ranks,
                                               std::min(microbatches, 3 * pipeline.ranks));
  std::vector<std::vector<Held>> result;
  for (const std::vector<Instruction>& list : program.ranks) {
    std::vector<Held>& moments = result.emplace_back();
    Held held(static_cast<std::size_t>(pipeline.chunks), 0);
    for (const Instruction& instruction : list) {
      if (instruction.kind == InstructionKind::run_backward) --held[instruction.chunk];
      if (instruction.kind != InstructionKind::run_forward) continue;
      ++held[instruction.chunk];
      if (std::any_of(moments.begin(), moments.end(), [&](const Held& other) { return holds_no_more(held, other); }))
        continue;
      std::erase_if(moments, [&](const Held& other) { return holds_no_more(other, held); });
      moments.push_back(held);
    }
  }
  return result;
}

// Ranks whose memory is bounded together.
struct RankGroup {
  std::uint32_t begin, end;
  bool contains(std::uint32_t rank) const { return begin <= rank && rank < end; }
};

// The first ranks hold most microbatches, the last often the heaviest layers.
std::vector<RankGroup> rank_groups(std::uint32_t ranks) {
  std::vector<RankGroup> groups{{0, ranks}};
  for (std::uint32_t end : {1U, (ranks + 3) / 4, (ranks + 1) / 2})
    if (end < ranks && groups.back().end != end) groups.push_back({0, end});
  if (ranks > 1) groups.push_back({ranks - 1, ranks});
  return groups;
}

// Lower bounds on what the stages from one on need, by stage and first layer.
using Rest = std::vector<std::vector<double>>;

class InterleavedSearch {
 public:
  // The table must outlive it and have as many stages as the pipeline, or more.
  InterleavedSearch(const InterOpProblem& problem, const EvenPipeline& pipeline, const EvenTable& table,
                    const InterleavedOptions& options)
      : problem_(problem),
        pipeline_(pipeline),
        table_(table),
        ranks_(static_cast<std::uint32_t>(pipeline.ranks)),
        limit_(options.limit.value()),
        nodes_left_(options.nodes),
        rounds_(static_cast<double>(problem.microbatches * pipeline.chunks + pipeline.ranks - 1)),
        groups_(rank_groups(ranks_)) {}

  InterleavedSolution run() {
    solution_.lower_bound = Seconds(limit_);
    solution_.chunks = pipeline_.chunks;
    least_times_ = table_.least_largest_times(pipeline_.stages());
    if (!(rounds_ * least_times_[0][0] < limit_)) return solution_;
    times_ = table_.times();
    times_.resize(first_index([&](double time) { return rounds_ * time < limit_; }));
    if (times_.empty()) return solution_;
    moments_ = fullest_moments(pipeline_, problem_.microbatches);
    find_priced_moments();
    set_bound(times_.back());
    least_exposed_ = rest_per_step_[0][0];
    const std::size_t begin = first_index([&](double time) { return !may_fit(time); });
    if (begin == times_.size() || !(rounds_ * times_[begin] + least_exposed_ < limit_)) return solution_;
    solve_from(begin);
    return solution_;
  }

 private:
  const StageOption& option(const EvenVariant& variant) const { return problem_.options[variant.option]; }

  template <typename Holds>
  std::size_t first_index(const Holds& holds) const {
    return static_cast<std::size_t>(std::partition_point(times_.begin(), times_.end(), holds) - times_.begin());
  }

  // Bounds on memory add up over chunks at one moment of each rank: the one that holds most.
  void find_priced_moments() {
    for (const std::vector<Held>& moments : moments_)
      priced_.push_back(*std::max_element(moments.begin(), moments.end(), [](const Held& a, const Held& b) {
        return std::accumulate(a.begin(), a.end(), std::int64_t{0}) <
               std::accumulate(b.begin(), b.end(), std::int64_t{0});
      }));
  }

  // At least this comes to the rank's memory by the stage; the largest transient is no less than the mean.
  double share_of_memory(const StageOption& option, std::uint32_t stage) const {
    const auto held = static_cast<double>(priced_[stage % ranks_][stage / ranks_]);
    return (option.fixed + held * option.activations + option.transient / static_cast<double>(pipeline_.chunks))
        .value();
  }

  // By first layer and range of the table: the least need of a variant in time; unreachable where there is none.
  using LeastNeeds = std::vector<std::vector<double>>;

  template <typename Need>
  LeastNeeds least_needs(double largest_time, std::uint32_t stage, const Need& need) const {
    LeastNeeds result(problem_.layers);
    for (std::uint32_t first = 0; first < problem_.layers; ++first)
      for (const EvenRange& range : table_.ranges(stage, first)) {
        double& least = result[first].emplace_back(unreachable);
        for (const EvenVariant& variant : range.variants) {
          if (variant.time > largest_time) break;
          least = std::min(least, need(variant, stage));
        }
      }
    return result;
  }

  // `weight_of(stage)`: stages of one kind and equal weights have equal needs.
  template <typename Need, typename Weight>
  Rest least_rest(double largest_time, const Need& need, const Weight& weight_of) const {
    const std::uint32_t stages = pipeline_.stages();
    Rest rest(stages + 1, std::vector<double>(problem_.layers + 1, unreachable));
    rest[stages][problem_.layers] = 0;
    std::map<std::pair<std::size_t, std::int64_t>, LeastNeeds> needs;
    for (std::uint32_t stage = stages; stage-- > 0;) {
      const auto [known, added] = needs.try_emplace({table_.kind(stage), weight_of(stage)});
      if (added) known->second = least_needs(largest_time, stage, need);
      for (std::uint32_t first = stage; first + (stages - stage) <= problem_.layers; ++first) {
        const std::vector<EvenRange>& ranges = table_.ranges(stage, first);
        for (std::size_t r = 0; r < ranges.size(); ++r)
          rest[stage][first] =
              std::min(rest[stage][first], known->second[first][r] + rest[stage + 1][ranges[r].last + 1]);
      }
    }
    return rest;
  }

  Rest least_memory(double largest_time, const RankGroup& group) const {
    constexpr std::int64_t outside = -1;  // no rank holds less than nothing
    return least_rest(
        largest_time,
        [&](const EvenVariant& variant, std::uint32_t stage) {
          return group.contains(stage % ranks_) ? share_of_memory(option(variant), stage) : 0.0;
        },
        [&](std::uint32_t stage) {
          return group.contains(stage % ranks_) ? priced_[stage % ranks_][stage / ranks_] : outside;
        });
  }
  double room(const RankGroup& group) const {
    return static_cast<double>(group.end - group.begin) * problem_.memory.value() * (1 + 1e-12);
  }

  // Whether memory suffices as far as the uncoupled bounds tell.
  bool may_fit(double largest_time) const {
    if (least_times_[0][0] > largest_time) return false;
    return std::all_of(groups_.begin(), groups_.end(),
                       [&](const RankGroup& group) { return least_memory(largest_time, group)[0][0] <= room(group); });
  }

  void set_bound(double largest_time) {
    largest_time_ = largest_time;
    rest_memory_.clear();
    for (const RankGroup& group : groups_) rest_memory_.push_back(least_memory(largest_time, group));
    rest_per_step_ = least_rest(
        largest_time,
        [&](const EvenVariant& variant, std::uint32_t stage) { return stage % ranks_ == 0 ? variant.per_step : 0.0; },
        [&](std::uint32_t stage) { return std::int64_t{stage % ranks_ == 0}; });
  }

  // Bisection for the least largest t that fits, then intervals for what takes longer and hides more.
  void solve_from(std::size_t begin) {
    std::size_t reach = 1, proven = begin;
    const auto none_below = [&](std::size_t position) {
      const bool found = search_below(times_[position], unreachable, nodes_left_ / 8, true);
      if (!found && !stopped_ && proven <= position) proven = position + 1;
      return !found;
    };
    std::size_t low = begin, high = times_.size();
    while (low < high && none_below(std::min(low + reach, high) - 1)) low += reach, reach *= 2;
    if (low < high) {
      high = std::min(low + reach, high) - 1;
      while (low < high) {
        const std::size_t middle = low + (high - low) / 2;
        if (none_below(middle))
          low = middle + 1;
        else
          high = middle;
      }
      search_below(times_[high], unreachable, nodes_left_ / 2, false);
      search_intervals(high + 1, times_.size(), least_exposed_);
    }
    finish(proven);
  }

  void finish(std::size_t proven) {
    const double bound = proven < times_.size() ? rounds_ * times_[proven] + least_exposed_ : limit_;
    solution_.lower_bound = Seconds(std::min(bound, limit_));
    if (solution_.best.feasible)
      solution_.lower_bound =
          solution_.exact ? solution_.best.objective : std::min(solution_.lower_bound, solution_.best.objective);
    else if (solution_.exact)
      solution_.lower_bound = Seconds(limit_);
  }

  double to_beat() const { return solution_.best.feasible ? solution_.best.objective.value() : limit_; }

  // Looks for better pipelines whose largest t is one of times_[begin, end); they leave at least `least` exposed.
  void search_intervals(std::size_t begin, std::size_t end, double least) {
    while (begin < end) {
      end = std::min(end, first_index([&](double time) { return rounds_ * time + least < to_beat(); }));
      if (begin >= end) return;
      const std::size_t middle = begin + (end - begin) / 2;
      if (search_below(times_[middle], to_beat() - rounds_ * times_[begin], nodes_left_ / 4, false))
        search_intervals(begin, middle, stopped_ ? least : exposed_to_beat_);
      begin = middle + 1;
    }
  }

  // What has been placed on a rank.
  struct RankLoad {
    double fixed = 0, transient = 0, per_step = 0;
    std::vector<double> activations;  // by moment
  };
  struct Child {
    std::uint32_t last;
    const EvenVariant* variant;
    double exposed, memory;
  };

  // Looks for pipelines whose stages all take at most `largest_time` and that leave less than `exposed` exposed: the
  // least of them, or any. Whether there was one.
  bool search_below(double largest_time, double exposed, std::size_t nodes, bool any) {
    stopped_ = false;
    if (nodes == 0) {
      stopped_ = true;
      solution_.exact = false;
      return false;
    }
    set_bound(largest_time);
    loads_.assign(ranks_, {});
    for (std::uint32_t rank = 0; rank < ranks_; ++rank) loads_[rank].activations.assign(moments_[rank].size(), 0);
    backward_before_.assign(ranks_ + 1, 0);
    used_.assign(groups_.size(), 0);
    chosen_.clear();
    exposed_to_beat_ = exposed;
    any_ = any, found_ = false;
    nodes_ = nodes;
    place(0, 0, 0);
    nodes_left_ -= nodes - nodes_;
    if (stopped_) solution_.exact = false;
    return found_;
  }

  bool done() const { return stopped_ || (found_ && (any_ || exposed_to_beat_ <= least_exposed_)); }

  void place(std::uint32_t stage, std::uint32_t first, double exposed) {
    if (stage == pipeline_.stages()) return consider(exposed);
    if (nodes_ == 0) {
      stopped_ = true;
      return;
    }
    --nodes_;
    const RankLoad before = loads_[stage % ranks_];
    for (const Child& child : children(stage, first, exposed)) {
      if (!(child.exposed < exposed_to_beat_)) continue;  // since the children were listed
      add(stage, *child.variant);
      place(stage + 1, child.last + 1, child.exposed);
      remove(stage, *child.variant, before);
      if (done()) return;
    }
  }

  // Least exposed work first, then least memory for all ranks together.
  std::vector<Child> children(std::uint32_t stage, std::uint32_t first, double exposed) {
    std::vector<Child> result;
    for (const EvenRange& range : table_.ranges(stage, first))
      for (const EvenVariant& variant : range.variants) {
        if (variant.time > largest_time_) break;
        if (!fits(stage, range.last, variant)) continue;
        const double next = exposed_with(stage, range.last, variant, exposed);
        if (!(next < exposed_to_beat_)) continue;
        result.push_back({range.last, &variant, next,
                          share_of_memory(option(variant), stage) + rest_memory_[0][stage + 1][range.last + 1]});
      }
    std::stable_sort(result.begin(), result.end(), [](const Child& a, const Child& b) {
      return std::pair(a.exposed, a.memory) < std::pair(b.exposed, b.memory);
    });
    return result;
  }

  bool fits(std::uint32_t stage, std::uint32_t last, const EvenVariant& variant) const {
    const std::uint32_t rank = stage % ranks_;
    const StageOption& chosen = option(variant);
    const RankLoad& load = loads_[rank];
    double most = 0;
    for (std::size_t m = 0; m < load.activations.size(); ++m)
      most = std::max(most, load.activations[m] +
                                static_cast<double>(moments_[rank][m][stage / ranks_]) * chosen.activations.value());
    if (load.fixed + chosen.fixed.value() + most + std::max(load.transient, chosen.transient.value()) >
        problem_.memory.value())
      return false;
    const double share = share_of_memory(chosen, stage);
    for (std::size_t g = 0; g < groups_.size(); ++g)
      if (used_[g] + (groups_[g].contains(rank) ? share : 0) + rest_memory_[g][stage + 1][last + 1] > room(groups_[g]))
        return false;
    return true;
  }

  double exposed_with(std::uint32_t stage, std::uint32_t last, const EvenVariant& variant, double exposed) const {
    const std::uint32_t rank = stage % ranks_;
    const double per_step = loads_[rank].per_step + variant.per_step;
    const double first_rank = rank == 0 ? per_step : loads_[0].per_step;
    return std::max({exposed, per_step - backward_before_[rank], first_rank + rest_per_step_[stage + 1][last + 1]});
  }

  void add(std::uint32_t stage, const EvenVariant& variant) {
    const std::uint32_t rank = stage % ranks_;
    const StageOption& chosen = option(variant);
    RankLoad& load = loads_[rank];
    load.fixed += chosen.fixed.value();
    load.transient = std::max(load.transient, chosen.transient.value());
    load.per_step += variant.per_step;
    for (std::size_t m = 0; m < load.activations.size(); ++m)
      load.activations[m] += static_cast<double>(moments_[rank][m][stage / ranks_]) * chosen.activations.value();
    for (std::size_t g = 0; g < groups_.size(); ++g)
      if (groups_[g].contains(rank)) used_[g] += share_of_memory(chosen, stage);
    if (stage < ranks_) backward_before_[stage + 1] = backward_before_[stage] + variant.backward;
    chosen_.push_back(variant.option);
  }

  void remove(std::uint32_t stage, const EvenVariant& variant, const RankLoad& before) {
    loads_[stage % ranks_] = before;
    for (std::size_t g = 0; g < groups_.size(); ++g)
      if (groups_[g].contains(stage % ranks_)) used_[g] -= share_of_memory(option(variant), stage);
    chosen_.pop_back();
  }

  void consider(double exposed) {
    const Seconds time = *time_of(problem_, {ScheduleKind::interleaved, pipeline_.chunks}, chosen_);
    found_ = true;
    exposed_to_beat_ = exposed;
    InterOpSolution& best = solution_.best;
    if (time < Seconds(to_beat())) best = {true, time, chosen_};
  }

  const InterOpProblem& problem_;
  const EvenPipeline& pipeline_;
  const EvenTable& table_;
  std::uint32_t ranks_;
  double limit_;
  std::size_t nodes_left_;
  double rounds_;                           // B·v + p − 1
  std::vector<std::vector<Held>> moments_;  // by rank
  std::vector<Held> priced_;                // by rank: one of its moments
  std::vector<RankGroup> groups_;           // the first is all ranks
  Rest least_times_;
  std::vector<double> times_;
  double least_exposed_ = 0;
  InterleavedSolution solution_;

  // Of the search under way.
  double largest_time_ = 0, exposed_to_beat_ = 0;
  std::vector<Rest> rest_memory_;  // by group
  Rest rest_per_step_;             // of the first rank
  std::vector<RankLoad> loads_;
  std::vector<double> backward_before_;  // by rank: of first chunks on the ranks before
  std::vector<double> used_;             // by group
  std::vector<std::uint32_t> chosen_;
  std::size_t nodes_ = 0;
  bool any_ = false, found_ = false, stopped_ = false;
};

// What stages of this many ranks may be, whatever the number of chunks: first chunks, and others.
EvenTable table_of(const InterOpProblem& problem, const EvenPipeline& pipeline, std::int64_t least_chunks,
                   Seconds limit) {
  const auto ranks = static_cast<std::uint32_t>(pipeline.ranks);
  const auto rounds = static_cast<double>(problem.microbatches * least_chunks + pipeline.ranks - 1);
  const auto fits = [&](const StageOption& option, std::uint32_t) {
    return option.fixed + option.activations + option.transient <= problem.memory &&
           rounds * (option.forward + option.backward) < limit;
  };
  // A longer backward of a first chunk hides more of what other ranks do once per step.
  const auto betters = [&](const EvenVariant& a, const EvenVariant& b, std::uint32_t stage) {
    const StageOption &left = problem.options[a.option], &right = problem.options[b.option];
    return a.time <= b.time && a.per_step <= b.per_step && left.fixed <= right.fixed &&
           left.transient <= right.transient && left.activations <= right.activations &&
           (stage >= ranks || a.backward >= b.backward);
  };
  return EvenTable(
      problem, pipeline, 2, [ranks](std::uint32_t stage) { return std::size_t{stage < ranks}; }, fits, betters);
}

}  // namespace

InterleavedSolution solve_interleaved(const InterOpProblem& problem, const std::vector<std::int64_t>& chunks,
                                      const InterleavedOptions& options) {
  InterleavedSolution result{{}, 1, options.limit, true};
  InterleavedOptions left = options;
  if (chunks.empty()) return result;
  for (EvenPipeline pipeline : even_pipelines(problem, chunks.front(), 2)) {
    if (problem.microbatches % pipeline.ranks != 0) continue;
    pipeline.chunks = std::min(chunks.back(), problem.layers / pipeline.ranks);
    const EvenTable table = table_of(problem, pipeline, chunks.front(), left.limit);
    for (auto each = chunks.rbegin(); each != chunks.rend(); ++each) {  // more chunks mostly take less
      if (*each > pipeline.chunks) continue;
      const EvenPipeline chunked{pipeline.submesh, pipeline.ranks, *each};
      const InterleavedSolution found = InterleavedSearch(problem, chunked, table, left).run();
      result.lower_bound = std::min(result.lower_bound, found.lower_bound);
      result.exact = result.exact && found.exact;
      if (!found.best.feasible) continue;
      result.best = found.best, result.chunks = *each;
      left.limit = found.best.objective;
    }
  }
  return result;
}

}  // namespace meshloom
