#include "planner/intra_op/branch_and_bound.hpp"

#include <algorithm>
#include <limits>
#include <memory>

#include "planner/intra_op/local_search.hpp"
#include "planner/intra_op/multiplier_search.hpp"

namespace meshloom::intra_op {
namespace {

constexpr double worth_another_bound = 0.2;  // share of strategies or entries that went
constexpr std::size_t updates_below_root = 40;

// How a part's choices lead back to those of the whole problem. No recursion: trees get as deep as there are
// strategies.
struct Path {
  std::shared_ptr<const Path> above;
  WorkingProblem removals;  // without tables and usage: what `expand` needs
};

std::vector<std::uint32_t> choices_of_whole(const Path& path, std::vector<std::uint32_t> choices) {
  for (const Path* step = &path; step; step = step->above.get())
    choices = expand(step->removals, from_compacted(step->removals, choices));
  return choices;
}

std::shared_ptr<const Path> extended(std::shared_ptr<const Path> above, const WorkingProblem& problem) {
  auto path = std::make_shared<Path>(Path{std::move(above), {}});
  path->removals.log = problem.log;
  for (const WorkingNode& node : problem.nodes) {
    WorkingNode& copy = path->removals.nodes.emplace_back();
    copy.strategies = node.strategies;
    copy.removed = node.removed;
  }
  return path;
}

// One of a node's strategies, or all others.
struct Split {
  enum class Side { with, without };
  Side side = Side::with;
  NodeIndex node = 0;
  std::uint32_t strategy = 0;
};

// A part of the problem that is still to be searched.
struct Part {
  std::shared_ptr<const WorkingProblem> problem;  // shrunk, unless it is to be split
  std::optional<Split> split;
  std::shared_ptr<const Path> above;
  std::shared_ptr<const Multipliers> multipliers;
  std::size_t updates = 0;
  bool is_root = false;
};

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
    open_.push_back({std::make_shared<const WorkingProblem>(problem), std::nullopt, nullptr,
                     std::make_shared<const Multipliers>(), options_.most_updates, true});
    while (!open_.empty() && !stopped_) {
      const Part part = std::move(open_.back());
      open_.pop_back();
      if (part.split)
        explore(split(*part.problem, *part.split), part);
      else
        explore(*part.problem, part);
    }
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

  static WorkingProblem split(const WorkingProblem& problem, const Split& split) {
    WorkingProblem part = problem;
    std::vector<bool> keep(problem.size(split.node), split.side == Split::Side::without);
    keep[split.strategy] = split.side == Split::Side::with;
    drop(part, split.node, keep);
    shrink(part);
    return part;
  }

  // All that `problem` (shrunk) holds below the cutoff, or what is left of that to search.
  void explore(const WorkingProblem& problem, const Part& part) {
    if (problem.infeasible || too_expensive(problem.constant)) return;
    const WorkingProblem rest = compacted(problem);
    const std::shared_ptr<const Path> path = extended(part.above, problem);
    if (rest.nodes.empty()) return keep({}, rest.constant, *path);
    if (rest.nodes.size() == 2) return try_all_of_two(rest, *path);
    const BestDual dual = raise_bound(rest, part, *path);
    effort_ += dual.effort + effort_of_node(rest);
    if (part.is_root) {
      const TotalCost proven = dual.certificate.lower_bound;
      bound_ = std::max(bound_, cutoff_ ? std::min(*cutoff_, proven) : proven);
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
    Part next{nullptr,      std::nullopt, path, std::make_shared<const Multipliers>(dual.multipliers),
              part.updates, part.is_root};
    if (dropped > worth_another_bound) {
      shrink(fixed);
    } else {
      next.split = best_split(fixed, dual.certificate);
      next.split->side = Split::Side::without;
      next.updates = updates_below_root;
      next.is_root = false;
    }
    next.problem = std::make_shared<const WorkingProblem>(std::move(fixed));
    open_.push_back(next);
    if (!next.split) return;
    open_.push_back(std::move(next));
    open_.back().split->side = Split::Side::with;  // searched first
  }

  BestDual raise_bound(const WorkingProblem& rest, const Part& part, const Path& path) {
    MultiplierSearchOptions search;
    search.start = *part.multipliers;
    search.most_updates = part.updates;
    search.cutoff = cutoff_ ? static_cast<double>(*cutoff_) : std::numeric_limits<double>::infinity();
    search.out_of_time = options_.out_of_time;
    search.consider = [&](const std::vector<std::uint32_t>& choices) {
      ChoiceState state(rest, choices);
      state.improve();
      if (state.feasible()) keep(state.choices(), state.cost(), path);
    };
    return search_multipliers(rest, search);
  }

  // Two nodes with a thousand strategies each would be split for long.
  void try_all_of_two(const WorkingProblem& rest, const Path& path) {
    ChoiceState state(rest, {0, 0});
    for (std::uint32_t first = 0; first < rest.size(0); ++first)
      for (std::uint32_t second = 0; second < rest.size(1); ++second) {
        TotalCost cost = rest.constant + rest.nodes[0].costs[first] + rest.nodes[1].costs[second];
        for (const WorkingPair& pair : rest.pairs) cost += pair.costs[first * rest.size(1) + second];
        if (too_expensive(cost)) continue;
        state.move(0, first);
        state.move(1, second);
        if (state.feasible()) keep({first, second}, cost, path);
      }
    effort_ += effort_of_node(rest);
  }

  void keep(const std::vector<std::uint32_t>& choices, TotalCost cost, const Path& path) {
    if (too_expensive(cost)) return;
    cutoff_ = cost;
    best_ = choices_of_whole(path, choices);
    if (options_.found) options_.found(cost);
  }

  // The node whose second-best strategy costs most: without its best one the bound rises furthest. Strategies are
  // numbered as in the certificate's problem.
  static Split best_split(const WorkingProblem& problem, const Certificate& certificate) {
    Split best;
    std::int64_t best_score = -1;
    for (NodeIndex node = 0; node < problem.nodes.size(); ++node) {
      if (problem.size(node) < 2) continue;
      std::int64_t least = std::numeric_limits<std::int64_t>::max(), second = least;
      std::uint32_t first = 0;
      for (std::uint32_t k = 0; k < problem.size(node); ++k) {
        const std::int64_t excess = certificate.strategy_excess[node][problem.nodes[node].strategies[k]];
        if (excess < least) first = k;
        second = std::min(second, std::max(least, excess));
        least = std::min(least, excess);
      }
      if (second - least <= best_score) continue;
      best_score = second - least;
      best = {Split::Side::with, node, first};
    }
    return best;
  }

  const BranchAndBoundOptions& options_;
  std::vector<Part> open_;  // the last one comes next
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
