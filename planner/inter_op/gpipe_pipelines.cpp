// GPipe: Σt + exposed + (B−1)(max f + max b). For bounds on f and b a dynamic program from the last layer to the first
// finds the least Σt + exposed; a branch and bound over boxes of the two bounds finds the rest.
//
// With p for per_step and A_i = t_i + A_{i+1}, C_i = max(p_i + A_i, f_i + C_{i+1}), A_{S+1} = C_{S+1} = 0, C_1 is
// Σt + max_i max(0, p_i − Σ_{j<i} b_j).
#include <algorithm>

#include "planner/inter_op/placement.hpp"
#include "planner/inter_op/schedules.hpp"

namespace meshloom {
namespace {

constexpr double unreachable = std::numeric_limits<double>::infinity();

struct Variant {
  double forward, backward, per_step;
  std::uint32_t last, option;
  std::int64_t devices;
};

struct Label {
  double time, total;  // A, C
  std::uint32_t option, next;
  std::uint32_t stages;
};

struct Found {
  double total;  // C_1
  double forward, backward;
  std::vector<std::uint32_t> options;
};

class GPipeProgram {
 public:
  explicit GPipeProgram(const InterOpProblem& problem)
      : problem_(problem), devices_(device_count(problem)), variants_(problem.layers * places()) {
    for (std::uint32_t i = 0; i < problem.options.size(); ++i) {
      const StageOption& option = problem.options[i];
      const double held = static_cast<double>(problem.microbatches);
      if (option.fixed + held * option.activations + option.transient > problem.memory) continue;
      add(i);
    }
    for (std::vector<double>* values : {&forwards, &backwards}) {
      std::sort(values->begin(), values->end());
      values->erase(std::unique(values->begin(), values->end()), values->end());
    }
  }

  std::vector<double> forwards, backwards;  // every value that a stage may have, ascending

  // The pipeline of least C_1 below `limit` among those whose stages all keep the bounds.
  std::optional<Found> least_total(double forward, double backward, double limit) {
    labels_.assign(1, {0, 0, 0, 0, 0});
    spans_.assign((problem_.layers + 1) * width(), {});
    spans_[state(problem_.layers, devices_)] = {0, 1};
    for (std::uint32_t first = problem_.layers; first-- > 0;)
      for (std::int64_t offset = 0; offset < devices_; ++offset) extend(first, offset, forward, backward, limit);
    const Span span = spans_[state(0, 0)];
    const Label* best = nullptr;
    for (std::uint32_t l = span.begin; l < span.end; ++l)
      if (labels_[l].stages == problem_.stages.value_or(labels_[l].stages) &&
          (best == nullptr || labels_[l].total < best->total))
        best = &labels_[l];
    if (best == nullptr) return std::nullopt;
    return trace(*best);
  }

 private:
  struct Span {
    std::uint32_t begin = 0, end = 0;
  };

  // Kinds of places: the submesh and the links at both ends.
  std::size_t places() const { return 4 * problem_.submeshes.size(); }
  std::size_t width() const { return static_cast<std::size_t>(devices_) + 1; }
  std::size_t state(std::uint32_t layer, std::int64_t offset) const {
    return layer * width() + static_cast<std::size_t>(offset);
  }
  std::vector<Variant>& variants(std::uint32_t first, std::size_t submesh, std::size_t begin, std::size_t end) {
    return variants_[first * places() + 4 * submesh + 2 * begin + end];
  }

  void add(std::uint32_t position) {
    const StageOption& option = problem_.options[position];
    for (std::size_t begin = 0; begin < 2; ++begin)
      for (std::size_t end = 0; end < 2; ++end) {
        const TimesWithSends times = times_with_sends(problem_, option, begin, end);
        variants(option.first, option.submesh, begin, end)
            .push_back({times.forward.value(), times.backward.value(), option.per_step.value(), option.last, position,
                        problem_.submeshes[option.submesh].devices()});
        forwards.push_back(times.forward.value());
        backwards.push_back(times.backward.value());
      }
  }

  void extend(std::uint32_t first, std::int64_t offset, double forward, double backward, double limit) {
    fresh_.clear();
    for (std::size_t s = 0; s < problem_.submeshes.size(); ++s) {
      if (!can_start_at(problem_, problem_.submeshes[s], offset)) continue;
      const std::int64_t end = offset + problem_.submeshes[s].devices();
      for (const Variant& variant : variants(first, s, link_at(problem_, offset), link_at(problem_, end))) {
        if (variant.forward > forward || variant.backward > backward) continue;
        const Span rest = spans_[state(variant.last + 1, end)];
        for (std::uint32_t next = rest.begin; next < rest.end; ++next) {
          const double time = variant.forward + variant.backward + labels_[next].time;
          const Label label{time, std::max(variant.per_step + time, variant.forward + labels_[next].total),
                            variant.option, next, labels_[next].stages + 1};
          if (label.total < limit) insert(label);
        }
      }
    }
    const auto begin = static_cast<std::uint32_t>(labels_.size());
    labels_.insert(labels_.end(), fresh_.begin(), fresh_.end());
    spans_[state(first, offset)] = {begin, static_cast<std::uint32_t>(labels_.size())};
  }

  void insert(const Label& label) {
    const auto is_below = [&](const Label& a, const Label& b) {
      return a.time <= b.time && a.total <= b.total && (!problem_.stages || a.stages == b.stages);
    };
    for (const Label& other : fresh_)
      if (is_below(other, label)) return;
    std::erase_if(fresh_, [&](const Label& other) { return is_below(label, other); });
    fresh_.push_back(label);
  }

  Found trace(const Label& first) const {
    Found found{first.total, 0, 0, {}};
    std::int64_t offset = 0;
    for (const Label* label = &first;; label = &labels_[label->next]) {
      const StageOption& option = problem_.options[label->option];
      const std::int64_t end = offset + problem_.submeshes[option.submesh].devices();
      const TimesWithSends times =
          times_with_sends(problem_, option, link_at(problem_, offset), link_at(problem_, end));
      found.options.push_back(label->option);
      found.forward = std::max(found.forward, times.forward.value());
      found.backward = std::max(found.backward, times.backward.value());
      offset = end;
      if (label->next == 0) return found;
    }
  }

  const InterOpProblem& problem_;
  std::int64_t devices_;
  std::vector<std::vector<Variant>> variants_;  // by first layer and place
  std::vector<Label> labels_, fresh_;           // label 0: nothing left
  std::vector<Span> spans_;                     // by state: its labels
};

class BoxSearch {
 public:
  BoxSearch(const InterOpProblem& problem, Seconds limit)
      : problem_(problem), limit_(limit.value()), program_(problem) {}

  InterOpSolution run() {
    evaluate({0, program_.forwards.size(), 0, program_.backwards.size()}, 0);
    return best_;
  }

 private:
  // The largest f is one of forwards[forward_begin, forward_end), and so on.
  struct Box {
    std::size_t forward_begin, forward_end, backward_begin, backward_end;
    bool empty() const { return forward_begin >= forward_end || backward_begin >= backward_end; }
    std::size_t cells() const { return (forward_end - forward_begin) * (backward_end - backward_begin); }
  };

  double to_beat() const { return std::min(best_.objective.value(), limit_); }
  double repeated(double forward, double backward) const {
    return static_cast<double>(problem_.microbatches - 1) * (forward + backward);
  }

  // Drops what cannot be below the best: C_1 is at least `least_total` in the box.
  void trim(Box& box, double least_total) const {
    const auto &forwards = program_.forwards, &backwards = program_.backwards;
    while (!box.empty() &&
           !(least_total + repeated(forwards[box.forward_end - 1], backwards[box.backward_begin]) < to_beat()))
      --box.forward_end;
    while (!box.empty() &&
           !(least_total + repeated(forwards[box.forward_begin], backwards[box.backward_end - 1]) < to_beat()))
      --box.backward_end;
  }

  // Solves at the loosest bounds of the box. What takes at least as long in f and b as the pipeline found is then done.
  void evaluate(Box box, double least_total) {
    trim(box, least_total);
    if (box.empty()) return;
    const auto &forwards = program_.forwards, &backwards = program_.backwards;
    const auto found =
        program_.least_total(forwards[box.forward_end - 1], backwards[box.backward_end - 1],
                             to_beat() - repeated(forwards[box.forward_begin], backwards[box.backward_begin]));
    if (!found) return;
    const Seconds objective = *objective_of(problem_, ScheduleKind::gpipe, found->options);
    if (objective < Seconds(to_beat())) best_ = {true, objective, found->options};
    const auto position = [](const std::vector<double>& values, double value) {
      return static_cast<std::size_t>(std::lower_bound(values.begin(), values.end(), value) - values.begin());
    };
    const std::size_t forward = std::clamp(position(forwards, found->forward), box.forward_begin, box.forward_end);
    const std::size_t backward = std::clamp(position(backwards, found->backward), box.backward_begin, box.backward_end);
    search({box.forward_begin, forward, box.backward_begin, box.backward_end}, found->total);
    search({forward, box.forward_end, box.backward_begin, backward}, found->total);
  }

  void search(Box box, double least_total) {
    trim(box, least_total);
    if (box.empty()) return;
    if (box.cells() == 1) return evaluate(box, least_total);
    const auto span = [](const std::vector<double>& values, std::size_t begin, std::size_t end) {
      return end - begin > 1 ? values[end - 1] - values[begin] : -1.0;
    };
    Box low = box, high = box;
    if (span(program_.forwards, box.forward_begin, box.forward_end) >=
        span(program_.backwards, box.backward_begin, box.backward_end))
      low.forward_end = high.forward_begin = (box.forward_begin + box.forward_end) / 2;
    else
      low.backward_end = high.backward_begin = (box.backward_begin + box.backward_end) / 2;
    evaluate(low, least_total);
    search(high, least_total);
  }

  const InterOpProblem& problem_;
  double limit_;
  GPipeProgram program_;
  InterOpSolution best_{false, Seconds(unreachable), {}};
};

}  // namespace

InterOpSolution solve_gpipe(const InterOpProblem& problem, Seconds limit) {
  InterOpSolution best = BoxSearch(problem, limit).run();
  if (!best.feasible) best.objective = Seconds();
  return best;
}

}  // namespace meshloom
