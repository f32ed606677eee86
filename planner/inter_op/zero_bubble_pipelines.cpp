// Zero bubble: B·max t + bubble + max per_step, where the bubble is a maximum over stages too. So the beginning of a
// pipeline is a label of three maxima, and only labels that no other is below in all three matter.
#include <algorithm>

#include "planner/inter_op/even_table.hpp"
#include "planner/inter_op/schedules.hpp"
#include "planner/plan/schedule_formula.hpp"

namespace meshloom {
namespace {

struct Label {
  double time, bubble, per_step;  // largest of the stages so far
  std::uint32_t option, previous;
};

class ZeroBubbleSearch {
 public:
  ZeroBubbleSearch(const InterOpProblem& problem, const EvenPipeline& pipeline, ScheduleKind kind)
      : problem_(problem),
        pipeline_(pipeline),
        kind_(kind),
        table_(
            problem, pipeline, 1, [](std::uint32_t) { return std::size_t{0}; },
            [&](const StageOption& option, std::uint32_t) { return fits(option); },
            [&](const EvenVariant& a, const EvenVariant& b, std::uint32_t) { return betters(a, b); }),
        least_(table_.least_largest_times(pipeline.stages())) {}

  // The options of the best pipeline below `limit`; empty when there is none.
  std::vector<std::uint32_t> run(double limit) {
    if (!(value(least_[0][0], 0, 0) < limit)) return {};
    labels_.assign(1, {0, 0, 0, 0, 0});
    std::vector<std::vector<std::uint32_t>> ends(problem_.layers + 1);  // by layers so far: labels
    ends[0] = {0};
    for (std::uint32_t stage = 0; stage < pipeline_.stages(); ++stage) {
      std::vector<std::vector<std::uint32_t>> next(problem_.layers + 1);
      for (std::uint32_t first = 0; first < problem_.layers; ++first)
        for (const std::uint32_t label : ends[first]) extend(stage, first, label, limit, next);
      ends = std::move(next);
    }
    return best_of(ends.back());
  }

 private:
  double value(double time, double bubble, double per_step) const {
    return static_cast<double>(problem_.microbatches) * time + bubble + per_step;
  }
  double value(const Label& label) const { return value(label.time, label.bubble, label.per_step); }

  bool fits(const StageOption& option) const {
    const auto held = static_cast<double>(in_flight(kind_, pipeline_.ranks, 0, problem_.microbatches));
    return option.fixed + held * option.activations + option.transient <= problem_.memory;
  }

  double bubble_of(const EvenVariant& variant) const {
    return bubble_of_stage(kind_, pipeline_.ranks,
                           {Seconds(variant.forward), Seconds(variant.backward), Seconds(variant.per_step),
                            problem_.options[variant.option].backward_weight})
        .value();
  }

  bool betters(const EvenVariant& a, const EvenVariant& b) const {
    return a.time <= b.time && a.per_step <= b.per_step && bubble_of(a) <= bubble_of(b);
  }

  void extend(std::uint32_t stage, std::uint32_t first, std::uint32_t from, double limit,
              std::vector<std::vector<std::uint32_t>>& ends) {
    for (const EvenRange& range : table_.ranges(stage, first)) {
      const double rest = least_[stage + 1][range.last + 1];
      for (const EvenVariant& variant : range.variants) {
        const Label& before = labels_[from];
        const Label label{std::max(before.time, variant.time), std::max(before.bubble, bubble_of(variant)),
                          std::max(before.per_step, variant.per_step), variant.option, from};
        if (!(value(std::max(label.time, rest), label.bubble, label.per_step) < limit)) continue;
        insert(label, ends[range.last + 1]);
      }
    }
  }

  void insert(const Label& label, std::vector<std::uint32_t>& labels) {
    const auto is_below = [](const Label& a, const Label& b) {
      return a.time <= b.time && a.bubble <= b.bubble && a.per_step <= b.per_step;
    };
    for (const std::uint32_t other : labels)
      if (is_below(labels_[other], label)) return;
    std::erase_if(labels, [&](std::uint32_t other) { return is_below(label, labels_[other]); });
    labels.push_back(static_cast<std::uint32_t>(labels_.size()));
    labels_.push_back(label);
  }

  std::vector<std::uint32_t> best_of(const std::vector<std::uint32_t>& ends) const {
    if (ends.empty()) return {};
    std::uint32_t label = *std::min_element(ends.begin(), ends.end(),
                                            [&](auto a, auto b) { return value(labels_[a]) < value(labels_[b]); });
    std::vector<std::uint32_t> options;
    for (; label != 0; label = labels_[label].previous) options.push_back(labels_[label].option);
    std::reverse(options.begin(), options.end());
    return options;
  }

  const InterOpProblem& problem_;
  const EvenPipeline& pipeline_;
  ScheduleKind kind_;
  EvenTable table_;
  std::vector<std::vector<double>> least_;
  std::vector<Label> labels_;
};

}  // namespace

InterOpSolution solve_zero_bubble(const InterOpProblem& problem, ScheduleKind kind, Seconds limit) {
  InterOpSolution best;
  for (const EvenPipeline& pipeline : even_pipelines(problem, 1, 1)) {
    std::vector<std::uint32_t> options = ZeroBubbleSearch(problem, pipeline, kind).run(limit.value());
    if (options.empty()) continue;
    const Seconds objective = *objective_of(problem, kind, options);
    if (!(objective < limit)) continue;
    best = {true, objective, std::move(options)};
    limit = objective;
  }
  return best;
}

}  // namespace meshloom
