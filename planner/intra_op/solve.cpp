#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "graphs/input_error.hpp"
#include "planner/intra_op/branch_and_bound.hpp"
#include "planner/intra_op/dual_ascent.hpp"
#include "planner/intra_op/label_elimination.hpp"
#include "planner/intra_op/multiplier_search.hpp"
#include "planner/intra_op/neighbourhood_search.hpp"
#include "planner/intra_op/problem.hpp"
#include "planner/intra_op/working_problem.hpp"

namespace meshloom {
namespace {

using namespace intra_op;

// Efforts are entries of tables visited; 10^9 of them take a second or two.
constexpr std::uint64_t quick_attempt = 100'000'000;     // of branch and bound, which closes most of what is small
constexpr std::uint64_t first_attempt = 2'000'000'000;   // of branch and bound; each later one may take twice that
constexpr std::size_t small_enough_to_branch = 500'000;  // entries
constexpr std::size_t widths[] = {10, 30, 100, 300};     // of label elimination
constexpr double shares_above_bound[] = {0.001, 0.004, 0.016, 0.064, 0.256};  // of its cutoffs
constexpr std::size_t updates_per_round = 60;                                 // of multipliers
constexpr std::size_t considered = 10;  // every so many decoded choices are improved
constexpr double report_interval_s = 0.25;
constexpr std::size_t most_batches = 40, dull_batches = 6;  // of windows in a round, and without improvement in a row

std::size_t entries_of(const WorkingProblem& problem) {
  std::size_t entries = 0;
  for (const WorkingPair& pair : problem.pairs) entries += pair.costs.size();
  return entries;
}

// In rounds: bound the rest by dual ascent; close it by elimination where it is narrow, by branch and bound where it is
// small; else improve the best choices by neighbourhoods and drop what is then known to cost too much, which makes the
// next round's rest smaller.
class AutomaticSolver {
 public:
  AutomaticSolver(const IntraOpProblem& problem, const SolveOptions& options) : problem_(problem), options_(options) {}

  IntraOpSolution run() {
    whole_ = working_problem(problem_);
    shrink(whole_);
    if (whole_.infeasible || whole_.constant >= infinite_cost) return {};
    rest_ = compacted(whole_);
    bound_ = rest_.constant;
    for (const WorkingNode& node : rest_.nodes) bound_ += *std::min_element(node.costs.begin(), node.costs.end());
    if (rest_.nodes.empty()) keep({}, rest_.constant);
    if (options_.solver != Solver::anytime && entries_of(rest_) <= small_enough_to_branch) branch(quick_attempt);
    for (std::uint64_t effort = first_attempt; !closed() && !out_of_time(); effort *= 2) {
      raise_bound();
      if (options_.solver == Solver::anytime) search_neighbourhoods();
      eliminate();
      branch(effort);
      if (options_.solver != Solver::anytime) search_neighbourhoods();
      drop_too_expensive();
    }
    if (!best_ && !exhausted_) repair_first_strategies();
    return answer();
  }

 private:
  bool out_of_time() const {
    return elapsed() >= options_.time_limit_s || (options_.interrupt && options_.interrupt->load());
  }
  double elapsed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  bool closed() const { return exhausted_ || (best_ && bound_ >= cost_) || close_enough(); }
  bool close_enough() const {
    return best_ && static_cast<double>(cost_ - bound_) <= options_.accepted_gap * static_cast<double>(bound_);
  }

  // `choices` are for `rest_` in its first numbering.
  void keep(const std::vector<std::uint32_t>& choices, TotalCost cost) {
    if (cost >= infinite_cost || (best_ && cost >= cost_)) return;
    best_ = choices;
    cost_ = cost;
    show(cost);
  }

  void prove(TotalCost bound) {
    if (best_) bound = std::min(bound, cost_);
    if (bound <= bound_) return;
    bound_ = bound;
    report();
  }

  void show(TotalCost cost) {
    if (!shown_ || cost < *shown_) shown_ = cost;
    report();
  }

  void report() {
    reported_ = elapsed();
    if (options_.progress) options_.progress({reported_, shown_, bound_});
  }

  // Between two findings, so that one sees that it is alive. Only from this thread.
  bool report_and_ask_for_time() {
    if (elapsed() > reported_ + report_interval_s) report();
    return out_of_time();
  }

  std::vector<std::uint32_t> numbered_first(const std::vector<std::uint32_t>& choices) const {
    std::vector<std::uint32_t> result;
    for (NodeIndex node = 0; node < choices.size(); ++node)
      result.push_back(rest_.nodes[node].strategies[choices[node]]);
    return result;
  }

  std::vector<std::uint32_t> numbered_now(const std::vector<std::uint32_t>& choices) const {
    std::vector<std::uint32_t> result;
    for (NodeIndex node = 0; node < choices.size(); ++node) {
      const std::vector<std::uint32_t>& left = rest_.nodes[node].strategies;
      result.push_back(
          static_cast<std::uint32_t>(std::lower_bound(left.begin(), left.end(), choices[node]) - left.begin()));
    }
    return result;
  }

  // Below cutoffs that rise from the bound, which keeps tables sparse; wider where a width does not decide.
  void eliminate() {
    for (const double share : shares_above_bound)
      for (const std::size_t width : widths) {
        if (closed() || out_of_time()) return;
        const TotalCost above = bound_ + static_cast<TotalCost>(share * static_cast<double>(bound_)) + 1;
        LabelEliminationOptions options;
        options.cutoff = best_ ? std::min(cost_, above) : above;
        options.width = width;
        options.out_of_time = [this] { return report_and_ask_for_time(); };
        const LabelEliminationAnswer found = eliminate_by_labels(rest_, reparametrisation_, options);
        if (!found.complete) return;
        prove(found.lower_bound);
        if (!found.choices.empty()) consider(found.choices);
        if (found.lower_bound >= options.cutoff) break;
      }
  }

  void branch(std::uint64_t effort) {
    if (closed() || out_of_time()) return;
    WorkingProblem shrunk = rest_;
    shrink(shrunk);
    if (entries_of(shrunk) > small_enough_to_branch && best_) return;
    BranchAndBoundOptions options;
    options.out_of_time = [this] { return report_and_ask_for_time(); };
    options.most_effort = effort;
    if (best_) options.cutoff = cost_;
    options.found = [this](TotalCost cost) {
      if (cost >= bound_) show(cost);
    };
    const BranchAndBoundAnswer found = branch_and_bound(shrunk, options);
    prove(found.lower_bound);
    if (!found.choices.empty()) keep(found.choices, found.cost);
    exhausted_ = found.complete;
  }

  void consider(const std::vector<std::uint32_t>& choices) {
    ChoiceState state(rest_, choices);
    state.improve();
    if (state.feasible()) keep(numbered_first(state.choices()), state.cost());
  }

  void raise_bound() {
    MultiplierSearchOptions search;
    search.start = multipliers_;
    search.most_updates = multipliers_.empty() ? updates_per_round : 2 * updates_per_round;
    search.cutoff = best_ ? static_cast<double>(cost_) : std::numeric_limits<double>::infinity();
    search.out_of_time = [this] { return report_and_ask_for_time(); };
    std::size_t decoded = 0;
    search.consider = [&](const std::vector<std::uint32_t>& choices) {
      if (++decoded % considered != 0) return;
      consider(choices);
      if (best_) search.cutoff = static_cast<double>(cost_);  // steps aim at it
    };
    BestDual dual = search_multipliers(rest_, search);
    multipliers_ = std::move(dual.multipliers);
    prove(dual.certificate.lower_bound);
    reparametrisation_ = std::move(dual.reparametrisation);
    certificate_ = std::move(dual.certificate);
  }

  void search_neighbourhoods() {
    if (!best_ || closed() || out_of_time()) return;
    NeighbourhoodSearch search(rest_, numbered_now(*best_));
    std::size_t dull = 0;
    for (std::size_t batch = 0; batch < most_batches && dull < dull_batches && !report_and_ask_for_time(); ++batch) {
      dull = search.improve([this] { return out_of_time(); }) > 0 ? 0 : dull + 1;
      keep(numbered_first(search.state().choices()), search.state().cost());
      if (closed()) return;
    }
  }

  // Some answer, however little time there was.
  void repair_first_strategies() { consider(std::vector<std::uint32_t>(rest_.nodes.size(), 0)); }

  // The best choices stay: only what costs more than they do goes.
  void drop_too_expensive() {
    if (!best_ || closed() || cost_ < certificate_.lower_bound) return;
    drop_expensive(certificate_, cost_ - certificate_.lower_bound, rest_);
    if (rest_.infeasible) exhausted_ = true;
  }

  IntraOpSolution answer() const {
    if (!best_) {
      if (exhausted_) return {};
      return {SolveStatus::time_limit, {}, 0, bound_};
    }
    IntraOpSolution solution;
    solution.choices = expand(whole_, from_compacted(whole_, *best_));
    solution.objective = cost_;
    const bool proven = exhausted_ || bound_ >= cost_;
    solution.status = proven ? SolveStatus::optimal : SolveStatus::feasible;
    solution.lower_bound = proven ? cost_ : bound_;
    return solution;
  }

  const IntraOpProblem& problem_;
  const SolveOptions& options_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  WorkingProblem whole_, rest_;  // rest_: what is left of it, later without what costs too much
  std::optional<std::vector<std::uint32_t>> best_;
  TotalCost cost_ = 0, bound_ = 0;
  std::optional<TotalCost> shown_;  // the least cost found, maybe by a search that goes on
  double reported_ = 0;             // when
  bool exhausted_ = false;          // nothing cheaper than the best choices is left
  Multipliers multipliers_;
  Certificate certificate_;
  Reparametrisation reparametrisation_;
};

// What is left, without the limit.
IntraOpProblem without_limit(const WorkingProblem& rest) {
  IntraOpProblem problem;
  for (const WorkingNode& node : rest.nodes) problem.nodes.push_back({node.costs, {}, 0, 0});
  for (const WorkingPair& pair : rest.pairs) problem.edges.push_back({pair.a, pair.b, pair.costs});
  return problem;
}

// Reductions are exact under a limit, and mostly find that it cannot bind in what they leave.
IntraOpSolution reduce_and_eliminate(const IntraOpProblem& problem) {
  WorkingProblem whole = working_problem(problem);
  shrink(whole);
  if (whole.infeasible || whole.constant >= infinite_cost) return {};
  const WorkingProblem rest = compacted(whole);
  if (!rest.slack.empty())
    throw InputError("--solver elimination",
                     fmt::format("cannot keep the usage limit {}, which choices may exceed; use --solver auto",
                                 *problem.usage_limit));
  IntraOpSolution solution = solve_by_elimination(without_limit(rest));
  solution.lower_bound += rest.constant;
  if (solution.status != SolveStatus::optimal) return solution;
  solution.objective += rest.constant;
  if (solution.objective >= infinite_cost) return {};
  solution.choices = expand(whole, from_compacted(whole, solution.choices));
  return solution;
}

}  // namespace

IntraOpSolution solve_intra_op(const IntraOpProblem& problem, const SolveOptions& options) {
  switch (options.solver) {
    case Solver::elimination:
      return reduce_and_eliminate(problem);
    case Solver::cbc:
      return solve_by_cbc(problem, options);
    case Solver::automatic:
    case Solver::anytime:
      return AutomaticSolver(problem, options).run();
  }
  return {};
}

}  // namespace meshloom
