#include "planner/intra_op/branch_and_bound.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "planner/intra_op/local_search.hpp"
#include "planner/intra_op/multiplier_search.hpp"

namespace meshloom::intra_op {
namespace {

// Takes choices of a part of the problem to the whole one.
using Lift = std::function<std::vector<std::uint32_t>(const std::vector<std::uint32_t>&)>;

// What a node of the search tree costs besides the sweeps: copies, reductions, certificates.
std::uint64_t effort_of_node(const WorkingProblem& problem) {
  std::uint64_t values = 2'000;
  for (const WorkingNode& node : problem.nodes) values += node.costs.size() + node.usage.amounts.size();
  for (const WorkingPair& pair : problem.pairs) values += pair.costs.size();
  return 30 * values;
}

class Search {
 public:
  explicit Search(const BranchAndBoundOptions& options) : options_(options), cutoff_(options.cutoff) {}

  BranchAndBoundAnswer run(const WorkingProblem& problem) {
    bound_ = problem.constant;
    explore(
        problem, {}, [](const std::vector<std::uint32_t>& choices) { return choices; }, options_.most_updates, true);
    BranchAndBoundAnswer answer;
    answer.complete = !stopped_;
    answer.choices = best_;
    answer.cost = cutoff_.value_or(0);
    answer.lower_bound = answer.complete && cutoff_ ? *cutoff_ : bound_;
    answer.effort = effort_;
    return answer;
  }

 private:
  bool must_stop() const { return effort_ >= options_.most_effort || options_.out_of_time(); }

  bool too_expensive(TotalCost cost) const { return cost >= infinite_cost || (cutoff_ && cost >= *cutoff_); }

  // All that `problem` (shrunk) holds below the cutoff; `lift` takes choices of its whole problem further up.
  void explore(const WorkingProblem& problem, const Multipliers& multipliers, const Lift& lift, std::size_t updates,
               bool is_root) {
    if (problem.infeasible || too_expensive(problem.constant)) return;
    const WorkingProblem rest = compacted(problem);
    const Lift lift_rest = [&](const std::vector<std::uint32_t>& choices) {
      return lift(expand(problem, from_compacted(problem, choices)));
    };
    if (rest.nodes.empty()) return keep({}, rest.constant, lift_rest);
    MultiplierSearchOptions search;
    search.start = multipliers;
    search.most_updates = updates;
    search.cutoff = cutoff_ ? static_cast<double>(*cutoff_) : std::numeric_limits<double>::infinity();
    search.out_of_time = options_.out_of_time;
    search.consider = [&](const std::vector<std::uint32_t>& choices) {
      ChoiceState state(rest, choices);
      state.improve();
      if (state.feasible()) keep(state.choices(), state.cost(), lift_rest);
    };
    const BestDual dual = search_multipliers(rest, search);
    effort_ += dual.effort + effort_of_node(rest);
    if (is_root) {
      bound_ = cutoff_ ? std::min(*cutoff_, dual.certificate.lower_bound) : dual.certificate.lower_bound;
      if (options_.proved) options_.proved(bound_);
    }
    if (too_expensive(dual.certificate.lower_bound)) return;
    if (must_stop()) {
      stopped_ = true;
      return;
    }
    WorkingProblem fixed = rest;
    const double dropped =
        cutoff_ ? drop_expensive(dual.certificate, *cutoff_ - 1 - dual.certificate.lower_bound, fixed) : 0;
    if (fixed.infeasible) return;
    if (dropped > 0.2) {
      shrink(fixed);
      return explore(std::move(fixed), dual.multipliers, lift_rest, updates, is_root);
    }
    branch(fixed, dual, lift_rest);
  }

  void keep(const std::vector<std::uint32_t>& choices, TotalCost cost, const Lift& lift) {
    if (too_expensive(cost)) return;
    cutoff_ = cost;
    best_ = lift(choices);
    if (options_.found) options_.found(cost);
  }

  void branch(const WorkingProblem& problem, const BestDual& dual, const Lift& lift) {
    // The node whose second-best strategy costs most: without its best one the bound rises furthest.
    NodeIndex chosen = 0;
    std::uint32_t strategy = 0;
    double best_score = -1;
    for (NodeIndex node = 0; node < problem.nodes.size(); ++node) {
      const std::size_t size = problem.size(node);
      if (size < 2) continue;
      std::vector<std::int64_t> excess;
      std::size_t first = 0;
      for (std::size_t k = 0, old = 0; k < size; ++k, ++old) {
        // strategies are numbered as in the certificate's problem
        old = problem.nodes[node].strategies[k];
        excess.push_back(dual.certificate.strategy_excess[node][old]);
        if (excess[k] < excess[first]) first = k;
      }
      std::int64_t second = std::numeric_limits<std::int64_t>::max();
      for (std::size_t k = 0; k < size; ++k)
        if (k != first) second = std::min(second, excess[k]);
      const double score = static_cast<double>(second - excess[first]);
      if (score > best_score) {
        best_score = score;
        chosen = node;
        strategy = static_cast<std::uint32_t>(first);
      }
    }
    for (const bool with : {true, false}) {
      if (stopped_) return;
      WorkingProblem part = problem;
      std::vector<bool> keep(problem.size(chosen), !with);
      keep[strategy] = with;
      drop(part, chosen, keep);
      shrink(part);
      explore(std::move(part), dual.multipliers, lift, 40, false);
    }
  }

  const BranchAndBoundOptions& options_;
  std::optional<TotalCost> cutoff_;
  std::vector<std::uint32_t> best_;
  TotalCost bound_ = 0;
  bool stopped_ = false;
  std::uint64_t effort_ = 0;
};

}  // namespace

BranchAndBoundAnswer branch_and_bound(const WorkingProblem& problem, const BranchAndBoundOptions& options) {
  return Search(options).run(problem);
}

}  // namespace meshloom::intra_op
