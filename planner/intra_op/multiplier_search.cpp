#include "planner/intra_op/multiplier_search.hpp"

#include <algorithm>
#include <cmath>

namespace meshloom::intra_op {
namespace {

constexpr int sweeps_per_update = 3;
constexpr int patience = 8;         // updates without progress before steps shorten
constexpr double shortening = 0.7;  // then
constexpr double shortest = 0.02;   // of Polyak's step

class Search {
 public:
  Search(const WorkingProblem& problem, const MultiplierSearchOptions& options)
      : problem_(problem), options_(options), dual_(problem), multipliers_(problem.slack.size(), 0) {
    for (std::size_t t = 0; t < multipliers_.size(); ++t)
      if (const auto given = options.start.find(problem.period_names[t]); given != options.start.end())
        multipliers_[t] = given->second;
    dual_.set_multipliers(multipliers_);
    best_ = dual_.point();
  }

  BestDual run() {
    for (std::size_t update = 0; update < options_.most_updates; ++update) {
      if (!sweep_and_keep()) break;
      const std::vector<std::uint32_t> choices = dual_.decode();
      options_.consider(choices);
      if (!step(choices)) break;
    }
    polish();
    dual_.restore(best_);
    return {dual_.certify(), dual_.reparametrisation(), named(best_.multipliers), dual_.effort()};
  }

 private:
  // False when there is no reason to go on.
  bool sweep_and_keep() {
    for (int i = 0; i < sweeps_per_update; ++i) dual_.sweep();
    value_ = dual_.value();
    const double gap = std::isfinite(options_.cutoff) ? options_.cutoff - best_value_ : std::abs(best_value_);
    stalled_ = value_ > best_value_ + 1e-4 * std::abs(gap) ? 0 : stalled_ + 1;
    keep();
    if (best_value_ > options_.cutoff + 1e-6 * std::abs(options_.cutoff)) return false;
    if (stalled_ >= patience) {
      length_ *= shortening;
      stalled_ = 0;
    }
    return length_ > shortest && !options_.out_of_time();
  }

  void keep() {
    if (value_ <= best_value_) return;
    best_value_ = value_;
    best_ = dual_.point();
  }

  // Along the subgradient of the most overused period and of those that have a multiplier.
  bool step(const std::vector<std::uint32_t>& choices) {
    std::vector<double> over = overuse(choices);
    const auto worst = std::max_element(over.begin(), over.end());
    double norm = 0;
    for (std::size_t t = 0; t < over.size(); ++t) {
      if (multipliers_[t] == 0 && (over[t] <= 0 || over.begin() + static_cast<std::ptrdiff_t>(t) != worst)) over[t] = 0;
      norm += over[t] * over[t];
    }
    if (norm == 0) {
      length_ *= shortening;  // nothing to do but sweeps
      return true;
    }
    const double target = std::isfinite(options_.cutoff) ? options_.cutoff : value_ + 0.01 * std::abs(value_);
    const double step = length_ * std::max(target - value_, 1e-9 * std::abs(value_)) / norm;
    for (std::size_t t = 0; t < over.size(); ++t) multipliers_[t] = std::max(0.0, multipliers_[t] + step * over[t]);
    dual_.set_multipliers(multipliers_);
    return true;
  }

  std::vector<double> overuse(const std::vector<std::uint32_t>& choices) const {
    std::vector<double> change(problem_.slack.size() + 1, 0);
    for (NodeIndex node = 0; node < choices.size(); ++node) {
      const Usage& usage = problem_.nodes[node].usage;
      for (std::size_t i = 0; i < usage.spans.size(); ++i) {
        const auto amount = static_cast<double>(usage.of(i)[choices[node]]);
        change[usage.spans[i].begin] += amount;
        change[usage.spans[i].end] -= amount;
      }
    }
    double sum = 0;
    for (std::size_t t = 0; t + 1 < change.size(); ++t) {
      sum += change[t];
      change[t] = sum - static_cast<double>(problem_.slack[t]);
    }
    change.pop_back();
    return change;
  }

  void polish() {
    dual_.restore(best_);
    for (int round = 0; round < 20 && !options_.out_of_time(); ++round) {
      const double before = best_value_;
      for (int i = 0; i < sweeps_per_update; ++i) dual_.sweep();
      value_ = dual_.value();
      keep();
      if (!(best_value_ > before + 1e-3 * std::abs(options_.cutoff - before))) return;
    }
  }

  Multipliers named(const std::vector<double>& multipliers) const {
    Multipliers result;
    for (std::size_t t = 0; t < multipliers.size(); ++t)
      if (multipliers[t] > 0) result[problem_.period_names[t]] = multipliers[t];
    return result;
  }

  const WorkingProblem& problem_;
  const MultiplierSearchOptions& options_;
  DualAscent dual_;
  DualPoint best_;
  std::vector<double> multipliers_;
  double value_ = 0, best_value_ = -std::numeric_limits<double>::infinity(), length_ = 1;
  int stalled_ = 0;
};

}  // namespace

BestDual search_multipliers(const WorkingProblem& problem, const MultiplierSearchOptions& options) {
  return Search(problem, options).run();
}

}  // namespace meshloom::intra_op
