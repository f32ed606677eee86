#include <algorithm>

#include "planner/intra_op/working_problem.hpp"

namespace meshloom::intra_op {
namespace {

// What the usages of one period can be above those of another at most, whatever is chosen.
struct Excess {
  TotalCost of_earlier = 0, of_later = 0;
};

class PeriodDropping {
 public:
  explicit PeriodDropping(WorkingProblem& problem) : problem_(problem), kept_(problem.slack.size(), true) {}

  bool run() {
    drop_what_cannot_bind();
    drop_implied();
    if (std::find(kept_.begin(), kept_.end(), false) == kept_.end()) return false;
    renumber();
    return true;
  }

 private:
  void drop_what_cannot_bind() {
    std::vector<TotalCost> change(kept_.size() + 1, 0);
    for (const WorkingNode& node : problem_.nodes)
      for (std::size_t i = 0; i < node.usage.spans.size(); ++i) {
        const std::int64_t most = *std::max_element(node.usage.of(i), node.usage.of(i) + node.costs.size());
        change[node.usage.spans[i].begin] += most;
        change[node.usage.spans[i].end] -= most;
      }
    TotalCost most = 0;
    for (std::size_t period = 0; period < kept_.size(); ++period) {
      most += change[period];
      kept_[period] = most > problem_.slack[period];
    }
  }

  // From each period to the next: where spans of a node meet or end.
  std::vector<Excess> excesses() const {
    std::vector<Excess> result(kept_.size());  // the last one is unused
    for (const WorkingNode& node : problem_.nodes) {
      const std::vector<std::int64_t> nothing(node.costs.size(), 0);
      const Usage& usage = node.usage;
      for (std::size_t i = 0; i < usage.spans.size(); ++i) {
        const bool follows = i > 0 && usage.spans[i - 1].end == usage.spans[i].begin;
        const bool followed = i + 1 < usage.spans.size() && usage.spans[i + 1].begin == usage.spans[i].end;
        add(usage.spans[i].begin, follows ? usage.of(i - 1) : nothing.data(), usage.of(i), node.costs.size(), result);
        if (!followed) add(usage.spans[i].end, usage.of(i), nothing.data(), node.costs.size(), result);
      }
    }
    return result;
  }

  static void add(std::uint32_t later_period, const std::int64_t* earlier, const std::int64_t* later,
                  std::size_t strategies, std::vector<Excess>& result) {
    if (later_period == 0 || later_period == result.size()) return;
    std::int64_t of_earlier = earlier[0] - later[0], of_later = -of_earlier;
    for (std::size_t k = 1; k < strategies; ++k) {
      of_earlier = std::max(of_earlier, earlier[k] - later[k]);
      of_later = std::max(of_later, later[k] - earlier[k]);
    }
    result[later_period - 1].of_earlier += of_earlier;
    result[later_period - 1].of_later += of_later;
  }

  // A period is implied by another one when its slack is larger by at least what its usages can be larger.
  void drop_implied() {
    struct Kept {
      std::size_t period;
      Excess from_previous;  // kept one
    };
    const std::vector<Excess> steps = excesses();
    std::vector<Kept> stack;
    Excess path;  // from the top of the stack
    for (std::size_t period = 0; period < kept_.size(); ++period) {
      if (kept_[period]) {
        while (!stack.empty() && path.of_earlier <= slack(stack.back().period) - slack(period)) {
          kept_[stack.back().period] = false;
          path.of_earlier += stack.back().from_previous.of_earlier;
          path.of_later += stack.back().from_previous.of_later;
          stack.pop_back();
        }
        if (!stack.empty() && path.of_later <= slack(period) - slack(stack.back().period)) {
          kept_[period] = false;
        } else {
          stack.push_back({period, path});
          path = {};
        }
      }
      path.of_earlier += steps[period].of_earlier;
      path.of_later += steps[period].of_later;
    }
  }

  TotalCost slack(std::size_t period) const { return problem_.slack[period]; }

  void renumber() {
    std::vector<std::uint32_t> position(kept_.size() + 1, 0);
    std::vector<std::int64_t> slack;
    std::vector<std::uint32_t> names;
    for (std::size_t period = 0; period < kept_.size(); ++period) {
      position[period] = static_cast<std::uint32_t>(slack.size());
      if (!kept_[period]) continue;
      slack.push_back(problem_.slack[period]);
      names.push_back(problem_.period_names[period]);
    }
    position[kept_.size()] = static_cast<std::uint32_t>(slack.size());
    problem_.slack = std::move(slack);
    problem_.period_names = std::move(names);
    for (WorkingNode& node : problem_.nodes) renumber(position, node);
  }

  static void renumber(const std::vector<std::uint32_t>& position, WorkingNode& node) {
    Usage kept;
    for (std::size_t i = 0; i < node.usage.spans.size(); ++i) {
      const Usage::Span span{position[node.usage.spans[i].begin], position[node.usage.spans[i].end]};
      if (span.begin == span.end) continue;
      const std::int64_t* amounts = node.usage.of(i);
      if (!kept.empty() && kept.spans.back().end == span.begin &&
          std::equal(amounts, amounts + node.costs.size(), kept.of(kept.spans.size() - 1))) {
        kept.spans.back().end = span.end;
        continue;
      }
      kept.spans.push_back(span);
      kept.amounts.insert(kept.amounts.end(), amounts, amounts + node.costs.size());
    }
    node.usage = std::move(kept);
  }

  WorkingProblem& problem_;
  std::vector<bool> kept_;  // by period
};

}  // namespace

bool drop_periods(WorkingProblem& problem) { return PeriodDropping(problem).run(); }

}  // namespace meshloom::intra_op
