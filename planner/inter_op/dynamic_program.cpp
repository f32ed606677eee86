// The exact search of the inter-operator problem.
//
// For a bound on the largest t, a dynamic program runs from the last layer to the first. With p for per_step and
//   A_i = t_i + A_{i+1},  C_i = max(p_i + A_i, f_i + C_{i+1}),  A_{S+1} = C_{S+1} = 0
// where sends beside computing count into t and f, but for the largest t, which is the largest period,
// C_1 is Σt + max_i max(0, p_i − Σ_{j<i} b_j), so the rest of a pipeline is a label (A, C, number of stages), and only
// labels that no other one is below in all three matter; where the number of stages is fixed, only labels of as many
// stages are compared. Around it, a branch and bound over intervals of the largest t.
#include <algorithm>
#include <limits>
#include <tuple>

#include "planner/inter_op/placement.hpp"
#include "planner/inter_op/problem.hpp"
#include "planner/inter_op/reachable_offsets.hpp"

namespace meshloom {
namespace {

constexpr double unreachable = std::numeric_limits<double>::infinity();

// An option with the sends of its place.
struct Variant {
  double forward, time, period, per_step;
  std::uint32_t most_following;
  std::uint32_t option;
};

// The variants of one (first, last, submesh, place), by ascending time.
struct Group {
  std::uint32_t last;
  std::uint32_t begin, end;  // positions of the variants
  double least_forward, least_time, least_period;
};

// A submesh that may begin at some device offset, with the links at both its ends.
struct Start {
  std::uint32_t submesh;
  std::size_t place;  // links · link at the begin + link at the end
  std::int64_t devices;
};

class StageTable {
 public:
  explicit StageTable(const InterOpProblem& problem)
      : problem_(problem), devices_(device_count(problem)), links_(link_count(problem)) {
    find_starts();
    group_options();
  }

  std::uint32_t layers() const { return problem_.layers; }
  std::int64_t devices() const { return devices_; }
  const std::optional<std::uint32_t>& stages() const { return problem_.stages; }
  const std::vector<Start>& starts(std::int64_t offset) const { return starts_[static_cast<std::size_t>(offset)]; }
  const std::vector<Group>& groups(std::uint32_t first, const Start& start) const {
    return groups_[group_index(first, start.submesh, start.place)];
  }
  const Variant& variant(std::uint32_t position) const { return variants_[position]; }
  // Whether some way to run the layers there takes at most `largest_time`.
  bool usable(std::uint32_t first, std::uint32_t last, std::uint32_t submesh, double largest_time) const {
    return least_times_[(first * problem_.submeshes.size() + submesh) * problem_.layers + last] <= largest_time;
  }
  std::vector<std::int64_t> submesh_sizes() const {
    std::vector<std::int64_t> sizes;
    for (const Submesh& submesh : problem_.submeshes) sizes.push_back(submesh.devices());
    return sizes;
  }
  // Above this number of stages no option cares how many follow it.
  std::uint32_t largest_binding_count() const { return largest_binding_count_; }

  // Every value that the largest t may have, ascending.
  std::vector<double> times() const {
    std::vector<double> result;
    for (const Variant& variant : variants_) result.push_back(variant.period);
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
  }

 private:
  std::size_t group_index(std::uint32_t first, std::uint32_t submesh, std::size_t place) const {
    return (first * problem_.submeshes.size() + submesh) * links_ * links_ + place;
  }

  void find_starts() {
    starts_.resize(static_cast<std::size_t>(devices_));
    places_.assign(problem_.submeshes.size(), std::vector<bool>(links_ * links_, false));
    for (std::int64_t offset = 0; offset < devices_; ++offset)
      for (std::uint32_t i = 0; i < problem_.submeshes.size(); ++i) {
        const Submesh& submesh = problem_.submeshes[i];
        if (!can_start_at(problem_, submesh, offset)) continue;
        std::size_t place = links_ * link_at(problem_, offset) + link_at(problem_, offset + submesh.devices());
        if (problem_.cuts.empty()) place = 0;  // sends are free everywhere
        starts_[static_cast<std::size_t>(offset)].push_back({i, place, submesh.devices()});
        places_[i][place] = true;
      }
  }

  void group_options() {
    std::vector<std::uint32_t> order;
    for (std::uint32_t i = 0; i < problem_.options.size(); ++i)
      if (problem_.options[i].max_following_stages >= 0) order.push_back(i);
    auto range = [&](std::uint32_t i) {
      const StageOption& option = problem_.options[i];
      return std::tuple(option.first, option.submesh, option.last);
    };
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return range(a) < range(b); });
    groups_.resize(problem_.layers * problem_.submeshes.size() * links_ * links_);
    least_times_.assign(problem_.layers * problem_.submeshes.size() * problem_.layers, unreachable);
    for (auto begin = order.begin(); begin != order.end();) {
      auto end = std::find_if(begin, order.end(), [&](std::uint32_t i) { return range(i) != range(*begin); });
      add_groups(undominated({begin, end}));
      begin = end;
    }
  }

  // No more stages than layers and devices are left.
  std::int64_t possible_following(const StageOption& option) const {
    return std::max<std::int64_t>(0, std::min<std::int64_t>(problem_.layers - 1 - option.last,
                                                            devices_ - problem_.submeshes[option.submesh].devices()));
  }

  std::uint32_t most_following(const StageOption& option) const {
    return static_cast<std::uint32_t>(std::min(option.max_following_stages, possible_following(option)));
  }

  // Of options for the same layers and submesh, those that no other one equals or betters in everything.
  std::vector<std::uint32_t> undominated(const std::vector<std::uint32_t>& options) const {
    auto betters = [&](const StageOption& a, const StageOption& b) {
      return a.forward <= b.forward && a.forward + a.backward <= b.forward + b.backward && a.per_step <= b.per_step &&
             most_following(a) >= most_following(b);
    };
    std::vector<std::uint32_t> result;
    for (std::uint32_t i : options) {
      const StageOption& option = problem_.options[i];
      auto bettered = [&](std::uint32_t other) { return betters(problem_.options[other], option); };
      if (std::any_of(result.begin(), result.end(), bettered)) continue;
      std::erase_if(result, [&](std::uint32_t other) { return betters(option, problem_.options[other]); });
      result.push_back(i);
    }
    return result;
  }

  void add_groups(const std::vector<std::uint32_t>& options) {
    const StageOption& any = problem_.options[options.front()];
    for (std::size_t place = 0; place < links_ * links_; ++place) {
      if (!places_[any.submesh][place]) continue;
      Group group{any.last, static_cast<std::uint32_t>(variants_.size()), 0, unreachable, unreachable, unreachable};
      for (std::uint32_t i : options) {
        TimesWithSends times = times_with_sends(problem_, problem_.options[i], place / links_, place % links_);
        Variant variant{(times.forward + times.sends_beside()).value(),
                        (times.forward + times.backward + times.sends_beside()).value(),
                        times.period().value(),
                        problem_.options[i].per_step.value(),
                        most_following(problem_.options[i]),
                        i};
        group.least_forward = std::min(group.least_forward, variant.forward);
        group.least_time = std::min(group.least_time, variant.time);
        group.least_period = std::min(group.least_period, variant.period);
        if (problem_.options[i].max_following_stages < possible_following(problem_.options[i]))
          largest_binding_count_ = std::max(largest_binding_count_, variant.most_following + 1);
        variants_.push_back(variant);
      }
      group.end = static_cast<std::uint32_t>(variants_.size());
      std::stable_sort(variants_.begin() + group.begin, variants_.end(),
                       [](const Variant& a, const Variant& b) { return a.time < b.time; });
      groups_[group_index(any.first, any.submesh, place)].push_back(group);
      double& least = least_times_[(any.first * problem_.submeshes.size() + any.submesh) * problem_.layers + any.last];
      least = std::min(least, group.least_period);
    }
  }

  const InterOpProblem& problem_;
  std::int64_t devices_;
  std::size_t links_;
  std::vector<std::vector<Start>> starts_;  // by device offset
  std::vector<std::vector<bool>> places_;   // by submesh: where it may lie
  std::vector<Variant> variants_;
  std::vector<std::vector<Group>> groups_;  // by first layer, submesh, place; ascending last layer
  std::vector<double> least_times_;         // by first layer, submesh, last layer
  std::uint32_t largest_binding_count_ = 0;
};

// The rest of a pipeline from some layer on.
struct Label {
  double time;            // A
  double total;           // C
  std::uint32_t counted;  // stages, as far as they matter for memory
  std::uint32_t stages;
  std::uint32_t variant;  // of its first stage
  std::uint32_t next;     // position of the label after that stage
};

struct Found {
  double total;  // C_1
  double largest_time;
  std::vector<std::uint32_t> options;
};

class DynamicProgram {
 public:
  explicit DynamicProgram(const StageTable& table)
      : table_(table),
        width_(static_cast<std::size_t>(table.devices()) + 1),
        sums_before_((table.layers() + 1) * width_),
        spans_(sums_before_.size()),
        stages_after_(sums_before_.size()) {}

  // Whether stages that take at most `largest_time` can use up layers and devices, wherever they may lie and whatever
  // memory they need.
  bool may_be_feasible(double largest_time) {
    find_states(largest_time);
    return !states_.front().empty();
  }

  // Whether there is a pipeline whose stages all take at most `largest_time`. Fewer stages are never worse for memory.
  bool is_feasible(double largest_time) {
    if (!may_be_feasible(largest_time)) return false;
    if (table_.stages()) return is_feasible(largest_time, *table_.stages());
    constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
    std::fill(stages_after_.begin(), stages_after_.end(), none);
    stages_after_[state(table_.layers(), table_.devices())] = 0;
    for (std::uint32_t first = table_.layers(); first-- > 0;)
      for_each_offset(first, [&](std::int64_t offset) {
        std::uint32_t& fewest = stages_after_[state(first, offset)];
        for (const Start& start : table_.starts(offset))
          for (const Group& group : table_.groups(first, start)) {
            if (group.least_period > largest_time) continue;
            std::uint32_t after = stages_after_[state(group.last + 1, offset + start.devices)];
            if (after >= fewest - 1) continue;
            for (std::uint32_t i = group.begin; i < group.end && table_.variant(i).period <= largest_time; ++i)
              if (table_.variant(i).most_following >= after) fewest = after + 1;
          }
      });
    return stages_after_[state(0, 0)] != none;
  }

  // Σt is at least this where no stage takes longer than `largest_time`.
  double least_time(double largest_time) {
    find_states(largest_time);
    sum_before(largest_time);
    return sums_before_[state(table_.layers(), table_.devices())].time;
  }

  // The pipeline of least C_1 among those whose stages all take at most `largest_time`; none when it is not below
  // `limit`.
  std::optional<Found> least_total(double largest_time, double limit) {
    find_states(largest_time);
    sum_before(largest_time);
    labels_.assign(1, {0, 0, 0, 0, 0, 0});
    std::fill(spans_.begin(), spans_.end(), Span{});
    spans_[state(table_.layers(), table_.devices())] = {0, 1};
    for (std::uint32_t first = table_.layers(); first-- > 0;)
      for_each_offset(first, [&](std::int64_t offset) {
        if (sums_before_[state(first, offset)].time < unreachable) extend(first, offset, largest_time, limit);
      });
    Span span = spans_[state(0, 0)];
    if (span.begin == span.end) return std::nullopt;
    auto better = [&](const Label& a, const Label& b) {
      return std::tuple(a.total, a.stages) < std::tuple(b.total, b.stages);
    };
    return trace(*std::min_element(labels_.begin() + span.begin, labels_.begin() + span.end, better));
  }

 private:
  struct Sums {
    double time = unreachable, forward = unreachable;
  };
  struct Span {
    std::uint32_t begin = 0, end = 0;
  };

  std::size_t state(std::uint32_t first, std::int64_t offset) const {
    return first * width_ + static_cast<std::size_t>(offset);
  }

  void find_states(double largest_time) {
    auto usable = [&](std::uint32_t first, std::uint32_t last, std::uint32_t submesh) {
      return table_.usable(first, last, submesh, largest_time);
    };
    if (!table_.stages()) {
      states_ = offsets_on_the_way(table_.layers(), table_.devices(), table_.submesh_sizes(), usable);
      return;
    }
    counted_states_ =
        offsets_on_the_way(table_.layers(), table_.devices(), table_.submesh_sizes(), *table_.stages(), usable);
    states_.assign(table_.layers() + 1, OffsetSet(table_.devices() + 1));
    for (const std::vector<OffsetSet>& after_as_many : counted_states_)
      for (std::uint32_t first = 0; first <= table_.layers(); ++first) states_[first].unite(after_as_many[first]);
  }

  // The same for exactly so many stages.
  bool is_feasible(double largest_time, std::uint32_t stages) const {
    std::vector<OffsetSet> rest(table_.layers() + 1, OffsetSet(table_.devices() + 1)), none = rest;
    rest.back().insert(table_.devices());
    for (std::uint32_t following = 0; following < stages; ++following) {
      std::vector<OffsetSet> longer = none;
      for (std::uint32_t first = 0; first < table_.layers(); ++first)
        counted_states_[stages - 1 - following][first].for_each([&](std::int64_t offset) {
          for (const Start& start : table_.starts(offset))
            for (const Group& group : table_.groups(first, start))
              if (group.least_period <= largest_time && rest[group.last + 1].contains(offset + start.devices) &&
                  bears(group, following, largest_time))
                return longer[first].insert(offset);
        });
      rest = std::move(longer);
    }
    return rest.front().contains(0);
  }

  bool bears(const Group& group, std::uint32_t following, double largest_time) const {
    for (std::uint32_t i = group.begin; i < group.end && table_.variant(i).period <= largest_time; ++i)
      if (table_.variant(i).most_following >= following) return true;
    return false;
  }

  // Whether a number of stages from there on can be that of a pipeline.
  bool may_follow(std::uint32_t stages, std::uint32_t first, std::int64_t offset) const {
    return !table_.stages() ||
           (stages <= *table_.stages() && counted_states_[*table_.stages() - stages][first].contains(offset));
  }

  // Of the states before layer `first`, in which there are devices left.
  template <typename Visit>
  void for_each_offset(std::uint32_t first, const Visit& visit) const {
    states_[first].for_each([&](std::int64_t offset) {
      if (offset < table_.devices()) visit(offset);
    });
  }

  // Lower bounds of Σt and Σf over the stages before each state.
  void sum_before(double largest_time) {
    std::fill(sums_before_.begin(), sums_before_.end(), Sums{});
    sums_before_[0] = {0, 0};
    for (std::uint32_t first = 0; first < table_.layers(); ++first)
      for_each_offset(first, [&](std::int64_t offset) {
        Sums before = sums_before_[state(first, offset)];
        if (before.time == unreachable) return;
        for (const Start& start : table_.starts(offset))
          for (const Group& group : table_.groups(first, start)) {
            if (group.least_period > largest_time) continue;
            Sums& sums = sums_before_[state(group.last + 1, offset + start.devices)];
            sums.time = std::min(sums.time, before.time + group.least_time);
            sums.forward = std::min(sums.forward, before.forward + group.least_forward);
          }
      });
  }

  void extend(std::uint32_t first, std::int64_t offset, double largest_time, double limit) {
    fresh_.clear();
    Sums before = sums_before_[state(first, offset)];
    for (const Start& start : table_.starts(offset))
      for (const Group& group : table_.groups(first, start)) {
        if (group.least_period > largest_time) continue;
        Span rest = spans_[state(group.last + 1, offset + start.devices)];
        for (std::uint32_t next = rest.begin; next < rest.end; ++next)
          for (std::uint32_t i = group.begin; i < group.end && table_.variant(i).period <= largest_time; ++i) {
            if (table_.variant(i).most_following < labels_[next].stages) continue;
            if (!may_follow(labels_[next].stages + 1, first, offset)) continue;
            Label label = prepend(i, next);
            if (std::max(before.time + label.time, before.forward + label.total) < limit) insert(label);
          }
      }
    std::uint32_t begin = static_cast<std::uint32_t>(labels_.size());
    labels_.insert(labels_.end(), fresh_.begin(), fresh_.end());
    spans_[state(first, offset)] = {begin, static_cast<std::uint32_t>(labels_.size())};
  }

  Label prepend(std::uint32_t position, std::uint32_t next) const {
    const Variant& variant = table_.variant(position);
    const Label& rest = labels_[next];
    double time = variant.time + rest.time;
    return {time,
            std::max(variant.per_step + time, variant.forward + rest.total),
            table_.stages() ? rest.stages + 1 : std::min(rest.stages + 1, table_.largest_binding_count()),
            rest.stages + 1,
            position,
            next};
  }

  void insert(const Label& label) {
    auto is_below = [&](const Label& a, const Label& b) {
      return a.time <= b.time && a.total <= b.total &&
             (table_.stages() ? a.counted == b.counted : a.counted <= b.counted);
    };
    for (const Label& other : fresh_)
      if (is_below(other, label) && !(is_below(label, other) && precedes(label, other))) return;
    std::erase_if(fresh_, [&](const Label& other) { return is_below(label, other); });
    fresh_.push_back(label);
  }

  // Of equal labels the one of fewer stages, then of lower options.
  bool precedes(const Label& a, const Label& b) const {
    if (a.stages != b.stages) return a.stages < b.stages;
    const Label *left = &a, *right = &b;
    for (std::uint32_t stage = 0; stage < a.stages; ++stage) {
      std::uint32_t left_option = table_.variant(left->variant).option;
      std::uint32_t right_option = table_.variant(right->variant).option;
      if (left_option != right_option) return left_option < right_option;
      left = &labels_[left->next];
      right = &labels_[right->next];
    }
    return false;
  }

  Found trace(const Label& first) const {
    Found found{first.total, 0, {}};
    for (const Label* label = &first; label->stages > 0; label = &labels_[label->next]) {
      const Variant& variant = table_.variant(label->variant);
      found.options.push_back(variant.option);
      found.largest_time = std::max(found.largest_time, variant.period);
    }
    return found;
  }

  const StageTable& table_;
  std::size_t width_;
  std::vector<OffsetSet> states_;                       // by first layer: offsets on the way of some pipeline
  std::vector<std::vector<OffsetSet>> counted_states_;  // the same by number of stages before, where that is fixed
  std::vector<Sums> sums_before_;                       // by state
  std::vector<Span> spans_;                             // by state: its labels
  std::vector<std::uint32_t> stages_after_;             // by state
  std::vector<Label> labels_, fresh_;
};

// Branch and bound over the largest t. With times sorted, C_1 never rises with the bound on t; so on an interval it is
// at least what the upper end allows, and the largest t is at least the lower end.
class IntervalSearch {
 public:
  IntervalSearch(const InterOpProblem& problem, Seconds limit)
      : problem_(problem), limit_(limit.value()), table_(problem), program_(table_), times_(table_.times()) {}

  InterOpSolution run() {
    // B times the slowest stage is below the limit.
    std::size_t end = first_not(times_.begin(), [&](double time) { return repeated(time) + time < limit_; });
    times_.resize(end);
    if (times_.empty() || !program_.may_be_feasible(times_.back())) return best_;
    std::size_t begin = first_not(times_.begin(), [&](double time) { return !program_.may_be_feasible(time); });
    // Memory and places mostly ask for little more.
    std::size_t reach = 1;
    while (begin < end && !program_.is_feasible(times_[std::min(begin + reach, end) - 1])) begin += reach, reach *= 2;
    if (begin >= end) return best_;
    times_.resize(std::min(begin + reach, end));
    begin = first_not(times_.begin() + static_cast<std::ptrdiff_t>(begin),
                      [&](double time) { return !program_.is_feasible(time); });
    times_ = table_.times();
    times_.resize(end);
    consider(*program_.least_total(times_[begin], unreachable));
    const double longest = std::min(best_.objective.value(), limit_) / static_cast<double>(problem_.microbatches);
    search(begin + 1, end, program_.least_time(longest));
    return best_;
  }

 private:
  template <typename Holds>
  std::size_t first_not(std::vector<double>::iterator from, const Holds& holds) {
    return static_cast<std::size_t>(std::partition_point(from, times_.end(), holds) - times_.begin());
  }

  double repeated(double time) const { return static_cast<double>(problem_.microbatches - 1) * time; }

  void consider(const Found& found) {
    Seconds objective = *objective_of(problem_, found.options);
    bool better =
        objective < best_.objective || (objective == best_.objective && found.options.size() < best_.options.size());
    if (!best_.feasible || better) best_ = {true, objective, found.options};
  }

  // Looks for better pipelines whose largest t is one of times[begin, end); their C_1 is at least `least_total`.
  void search(std::size_t begin, std::size_t end, double least_total) {
    while (begin < end) {
      double room = std::min(best_.objective.value(), limit_) - least_total;
      end = static_cast<std::size_t>(std::partition_point(times_.begin() + begin, times_.begin() + end,
                                                          [&](double time) { return repeated(time) < room; }) -
                                     times_.begin());
      if (begin >= end) return;
      std::size_t middle = begin + (end - begin) / 2;
      std::optional<Found> found =
          program_.least_total(times_[middle], std::min(best_.objective.value(), limit_) - repeated(times_[begin]));
      if (found) {
        consider(*found);
        // From its own largest t on, no bound below the middle changes what was found.
        auto same_from = std::lower_bound(times_.begin() + begin, times_.begin() + middle, found->largest_time);
        search(begin, static_cast<std::size_t>(same_from - times_.begin()), found->total);
      }
      begin = middle + 1;
    }
  }

  const InterOpProblem& problem_;
  double limit_;
  StageTable table_;
  DynamicProgram program_;
  std::vector<double> times_;
  InterOpSolution best_;
};

}  // namespace

InterOpSolution solve_inter_op(const InterOpProblem& problem, Seconds limit) {
  return IntervalSearch(problem, limit).run();
}

}  // namespace meshloom
