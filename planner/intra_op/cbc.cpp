#include <CbcEventHandler.hpp>
#include <CbcModel.hpp>
#include <CbcSolver.hpp>
#include <ClpEventHandler.hpp>
#include <OsiClpSolverInterface.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "planner/intra_op/integer_program.hpp"
#include "planner/intra_op/local_search.hpp"
#include "planner/intra_op/problem.hpp"
#include "planner/intra_op/working_problem.hpp"

namespace meshloom {
namespace {

using namespace intra_op;
using Clock = std::chrono::steady_clock;

constexpr double largest_coefficient = 1e6;     // of the objective: far above CBC's tolerances of 1e-7
constexpr double proof_tolerance = 1e-9;        // CBC and Clp sum in floating point
constexpr std::size_t most_rows_per_round = 4;  // of memory; few periods bind in practice
constexpr double usage_tolerance = 1e-6;        // where fractions are summed

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// When to stop. CBC looks at its own limit between nodes only, and not in preprocessing, cuts and heuristics; so the
// linear programs that all of these consist of are broken off a little later. What CBC says after that is no proof.
class Deadline {
 public:
  explicit Deadline(const SolveOptions& options) : options_(options) {}

  double left() const { return std::max(0.0, options_.time_limit_s - seconds_since(start_)); }
  double elapsed() const { return seconds_since(start_); }
  bool interrupted() const { return options_.interrupt && options_.interrupt->load(); }
  bool passed() const { return interrupted() || left() == 0; }

  // Asked at every iteration of a linear program.
  bool must_break_off() {
    if (++asked_ % 64 != 0 && !broken_off_) return false;
    if (interrupted() || elapsed() > 1.1 * options_.time_limit_s + 0.1) broken_off_ = true;
    return broken_off_;
  }
  bool broken_off() const { return broken_off_; }

 private:
  const SolveOptions& options_;
  const Clock::time_point start_ = Clock::now();
  std::uint64_t asked_ = 0;
  bool broken_off_ = false;
};

class LinearProgramWatch : public ClpEventHandler {
 public:
  explicit LinearProgramWatch(Deadline& deadline) : deadline_(deadline) {}
  int event(Event) override { return deadline_.must_break_off() ? 0 : -1; }
  ClpEventHandler* clone() const override { return new LinearProgramWatch(*this); }

 private:
  Deadline& deadline_;
};

class TreeWatch : public CbcEventHandler {
 public:
  explicit TreeWatch(Deadline& deadline) : deadline_(deadline) {}
  CbcAction event(CbcEvent) override { return deadline_.passed() ? stop : noAction; }
  CbcEventHandler* clone() const override { return new TreeWatch(*this); }

 private:
  Deadline& deadline_;
};

enum class Outcome { optimal, infeasible, stopped };

struct Answer {
  Outcome outcome = Outcome::stopped;
  std::vector<double> values;  // by column; empty: nothing found
  double lower_bound = 0;      // of the program's costs
};

// The program in Clp's hands; rows may be added.
class Model {
 public:
  Model(const IntegerProgram& program, Deadline& deadline) : deadline_(deadline) {
    const auto largest = *std::max_element(program.costs.begin(), program.costs.end());
    scale_ = std::max(1.0, static_cast<double>(largest) / largest_coefficient);
    const std::size_t columns = program.costs.size();
    std::vector<double> costs(columns);
    for (std::size_t column = 0; column < columns; ++column)
      costs[column] = static_cast<double>(program.costs[column]) / scale_;
    const std::vector<double> zeros(columns, 0), ones(columns, 1);
    linear_.setLogLevel(0);
    linear_.getModelPtr()->setLogLevel(0);
    linear_.loadProblem(static_cast<int>(columns), static_cast<int>(program.row_values.size()), program.starts.data(),
                        program.rows.data(), program.coefficients.data(), zeros.data(), ones.data(), costs.data(),
                        program.row_values.data(), program.row_values.data());
    for (int column = 0; column < program.first_column.back(); ++column) linear_.setInteger(column);
    // The simplex method alone: Clp's other methods for a first solution know no time limit.
    ClpSolve method;
    method.setSolveType(ClpSolve::useDual);
    method.setPresolveType(ClpSolve::presolveOff);
    linear_.setSolveOptions(method);
    const LinearProgramWatch watch(deadline);
    linear_.getModelPtr()->passInEventHandler(&watch);
  }

  void add(const Row& row) {
    linear_.addRow(static_cast<int>(row.columns.size()), row.columns.data(), row.coefficients.data(),
                   -linear_.getInfinity(), row.most);
  }

  // Fractions are allowed.
  Answer solve_relaxation() {
    linear_.getModelPtr()->setMaximumWallSeconds(deadline_.left());
    if (is_solved_)
      linear_.resolve();
    else
      linear_.initialSolve();
    linear_.getModelPtr()->setMaximumWallSeconds(-1);
    is_solved_ = true;
    Answer answer;
    if (deadline_.broken_off()) return answer;
    if (linear_.isProvenPrimalInfeasible()) answer.outcome = Outcome::infeasible;
    if (!linear_.isProvenOptimal()) return answer;
    answer.outcome = Outcome::optimal;
    answer.lower_bound = linear_.getObjValue() * scale_;
    answer.values.assign(linear_.getColSolution(), linear_.getColSolution() + linear_.getNumCols());
    return answer;
  }

  Answer solve() {
    CbcModel model(linear_);
    CbcSolverUsefulData settings;
    settings.noPrinting_ = true;
    CbcMain0(model, settings);
    const TreeWatch watch(deadline_);
    model.passInEventHandler(&watch);
    model.setLogLevel(0);
    const std::string seconds = std::to_string(deadline_.left());
    const std::vector<const char*> words = {"cbc",
                                            "-log",
                                            "0",
                                            "-threads",
                                            "0",
                                            "-randomSeed",
                                            "1",
                                            "-randomCbcSeed",
                                            "1",
                                            "-ratioGap",
                                            "0",
                                            "-allowableGap",
                                            "0",
                                            "-increment",
                                            "1e-9",
                                            "-timeMode",
                                            "elapsed",
                                            "-sec",
                                            seconds.c_str(),
                                            "-solve",
                                            "-quit"};
    CbcMain1(
        static_cast<int>(words.size()), const_cast<const char**>(words.data()), model, [](CbcModel*, int) { return 0; },
        settings);
    Answer answer;
    if (const double* values = model.bestSolution()) answer.values.assign(values, values + linear_.getNumCols());
    if (deadline_.broken_off()) return answer;
    if (model.isProvenOptimal()) answer.outcome = Outcome::optimal;
    if (model.isProvenInfeasible()) answer.outcome = Outcome::infeasible;
    const double bound = model.getBestPossibleObjValue() * scale_;
    if (std::isfinite(bound) && bound < 1e30) answer.lower_bound = bound;
    return answer;
  }

 private:
  Deadline& deadline_;
  OsiClpSolverInterface linear_;
  double scale_ = 1;
  bool is_solved_ = false;
};

class CbcSolver {
 public:
  CbcSolver(const IntraOpProblem& problem, const SolveOptions& options)
      : options_(options), deadline_(options), whole_(working_problem(problem)) {}

  IntraOpSolution run() {
    shrink(whole_);
    if (whole_.infeasible || whole_.constant >= infinite_cost) return {};
    rest_ = compacted(whole_);
    bound_ = rest_.constant;
    if (rest_.nodes.empty()) {
      consider({});
      return solution(Outcome::optimal);
    }
    has_row_.assign(rest_.slack.size(), false);
    consider(std::vector<std::uint32_t>(rest_.nodes.size(), 0));  // some answer, however little time there is
    static std::mutex one_at_a_time;                              // CBC's driver keeps state between calls
    const std::scoped_lock lock(one_at_a_time);
    program_ = integer_program(rest_);
    Model model(program_, deadline_);
    const Outcome outcome = relax(model);
    return solution(outcome == Outcome::optimal ? search(model) : outcome);
  }

 private:
  bool is_close_enough() const {
    return best_ && options_.accepted_gap > 0 &&
           static_cast<double>(cost_ - bound_) <= options_.accepted_gap * static_cast<double>(bound_);
  }

  // Rows that fractions violate come first: a linear program costs little.
  Outcome relax(Model& model) {
    while (!deadline_.passed() && !is_close_enough()) {
      const Answer answer = model.solve_relaxation();
      if (answer.outcome != Outcome::optimal) return answer.outcome;
      prove(answer.lower_bound);
      consider(choices_in(answer.values));
      const std::vector<std::uint32_t> violated = worst_periods(overuse_of(answer.values));
      if (violated.empty()) return Outcome::optimal;
      for (const std::uint32_t period : violated) add_usage_row(period, model);
    }
    return Outcome::stopped;
  }

  Outcome search(Model& model) {
    while (!deadline_.passed() && !is_close_enough()) {
      const Answer answer = model.solve();
      if (answer.outcome == Outcome::infeasible) return Outcome::infeasible;
      prove(answer.lower_bound);
      if (answer.values.empty()) return Outcome::stopped;
      const std::vector<std::uint32_t> choices = choices_in(answer.values);
      consider(choices);
      if (answer.outcome == Outcome::stopped) return Outcome::stopped;
      if (ChoiceState(rest_, choices).feasible()) return Outcome::optimal;
      forbid(choices, model);
    }
    return Outcome::stopped;
  }

  std::vector<std::uint32_t> choices_in(const std::vector<double>& values) const {
    std::vector<std::uint32_t> choices;
    for (std::size_t node = 0; node < rest_.nodes.size(); ++node) {
      const auto first = values.begin() + program_.first_column[node];
      const auto last = values.begin() + program_.first_column[node + 1];
      choices.push_back(static_cast<std::uint32_t>(std::max_element(first, last) - first));
    }
    return choices;
  }

  // By period what exceeds the slack; less than a tolerance does not count.
  std::vector<std::int64_t> overuse_of(const std::vector<double>& values) const {
    std::vector<double> change(rest_.slack.size() + 1, 0);
    double largest = 1;
    for (std::size_t node = 0; node < rest_.nodes.size(); ++node) {
      const Usage& usage = rest_.nodes[node].usage;
      for (std::size_t i = 0; i < usage.spans.size(); ++i)
        for (std::size_t k = 0; k < rest_.nodes[node].costs.size(); ++k) {
          const auto amount = static_cast<double>(usage.of(i)[k]);
          const double used = amount * values[static_cast<std::size_t>(program_.first_column[node]) + k];
          change[usage.spans[i].begin] += used;
          change[usage.spans[i].end] -= used;
          largest = std::max(largest, amount);
        }
    }
    std::vector<std::int64_t> over;
    double used = 0;
    for (std::size_t period = 0; period < rest_.slack.size(); ++period) {
      used += change[period];
      over.push_back(
          std::llround(used - static_cast<double>(rest_.slack[period]) - usage_tolerance * std::max(largest, used)));
    }
    return over;
  }

  // Of those without a row: the worst of each run of overused ones, and the worst few of these.
  std::vector<std::uint32_t> worst_periods(const std::vector<std::int64_t>& over) const {
    std::vector<std::uint32_t> worst;
    bool in_run = false;
    for (std::uint32_t period = 0; period < over.size(); ++period) {
      const bool is_over = over[period] > 0 && !has_row_[period];
      if (is_over && !in_run) worst.push_back(period);
      if (is_over && over[period] > over[worst.back()]) worst.back() = period;
      in_run = is_over;
    }
    std::stable_sort(worst.begin(), worst.end(), [&](std::uint32_t a, std::uint32_t b) { return over[a] > over[b]; });
    worst.resize(std::min(worst.size(), most_rows_per_round));
    return worst;
  }

  void add_usage_row(std::uint32_t period, Model& model) {
    model.add(usage_row(rest_, period, program_));
    has_row_[period] = true;
  }

  // Choices that exceed the limit: rows for where they do; or, where there are some already and CBC's tolerance lets
  // the choices pass, that they must not come together again.
  void forbid(const std::vector<std::uint32_t>& choices, Model& model) {
    std::vector<std::int64_t> over;
    for (const std::int64_t left : ChoiceState(rest_, choices).left()) over.push_back(-left);
    const std::vector<std::uint32_t> violated = worst_periods(over);
    for (const std::uint32_t period : violated) add_usage_row(period, model);
    if (!violated.empty()) return;
    const auto period = static_cast<std::uint32_t>(std::max_element(over.begin(), over.end()) - over.begin());
    model.add(forbidding_row(rest_, period, choices, program_));
  }

  // Choices that do not fit are made to, where that is easy.
  void consider(const std::vector<std::uint32_t>& choices) {
    ChoiceState state(rest_, choices);
    state.improve();
    if (!state.feasible() || state.cost() >= infinite_cost || (best_ && state.cost() >= cost_)) return;
    best_ = state.choices();
    cost_ = state.cost();
    report();
  }

  void prove(double lower_bound) {
    if (!(lower_bound > 0)) return;
    const auto rounded = static_cast<TotalCost>(std::floor(lower_bound * (1 - proof_tolerance)));
    bound_ = std::max(bound_, rest_.constant + rounded);
    report();
  }

  void report() const {
    if (!options_.progress) return;
    SolveProgress progress{deadline_.elapsed(), std::nullopt, bound_};
    if (best_) {
      progress.cost = cost_;
      progress.lower_bound = std::min(bound_, cost_);
    }
    options_.progress(progress);
  }

  IntraOpSolution solution(Outcome outcome) const {
    if (!best_) {
      if (outcome == Outcome::stopped) return {SolveStatus::time_limit, {}, 0, bound_};
      return {};  // the least total may reach infinity: then every choice is forbidden
    }
    IntraOpSolution result{SolveStatus::optimal, expand(whole_, from_compacted(whole_, *best_)), cost_, cost_};
    if (outcome == Outcome::optimal) return result;
    result.status = SolveStatus::feasible;
    result.lower_bound = std::min(bound_, cost_);
    return result;
  }

  const SolveOptions& options_;
  Deadline deadline_;
  WorkingProblem whole_, rest_;
  IntegerProgram program_;
  std::vector<bool> has_row_;  // by period
  std::optional<std::vector<std::uint32_t>> best_;
  TotalCost cost_ = 0, bound_ = 0;
};

}  // namespace

IntraOpSolution solve_by_cbc(const IntraOpProblem& problem, const SolveOptions& options) {
  return CbcSolver(problem, options).run();
}

}  // namespace meshloom
