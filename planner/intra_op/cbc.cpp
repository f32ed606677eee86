#include <Cbc_C_Interface.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <set>

#include "planner/intra_op/pair_tables.hpp"
#include "planner/intra_op/problem.hpp"

namespace meshloom {
namespace {

using reductions::infinite;
using reductions::PairTable;
using reductions::ReducedProblem;

constexpr double unbounded = std::numeric_limits<double>::max();
constexpr double largest_coefficient = 1e6;  // of the objective: far above CBC's tolerances of 1e-7

struct Column {
  TotalCost cost = 0;
  bool is_integer = false;
  std::vector<std::pair<int, double>> entries;  // row, coefficient
};

struct Row {
  double low, high;
};

// The linear program as columns. A strategy without a column cannot be chosen.
struct Program {
  TotalCost constant = 0;
  std::vector<Column> columns;
  std::vector<Row> rows;
  std::vector<std::vector<int>> choice_columns;  // by node and strategy left; −1: none (CBC's columns are plain ints)
  bool is_infeasible = false;
};

std::int64_t usage_of(const IntraOpNode& node, std::uint32_t strategy) {
  return node.usages.empty() || node.live_from >= node.live_until ? 0 : node.usages[strategy];
}

// The maximal sets of nodes that are live at one time; the others are implied. A set is maximal when a life ends right
// after one has begun.
std::vector<std::vector<std::uint32_t>> maximal_live_sets(const IntraOpProblem& problem) {
  enum class Event { end, begin };  // at one time ends come first: lives are half-open
  std::vector<std::tuple<std::int64_t, Event, std::uint32_t>> events;
  for (std::uint32_t node = 0; node < problem.nodes.size(); ++node) {
    const IntraOpNode& value = problem.nodes[node];
    if (value.usages.empty() || value.live_from >= value.live_until) continue;
    events.emplace_back(value.live_from, Event::begin, node);
    events.emplace_back(value.live_until, Event::end, node);
  }
  std::sort(events.begin(), events.end());
  std::vector<std::vector<std::uint32_t>> result;
  std::set<std::uint32_t> live;
  Event last = Event::end;
  for (const auto& [time, event, node] : events) {
    if (event == Event::end && last == Event::begin) result.emplace_back(live.begin(), live.end());
    if (event == Event::begin)
      live.insert(node);
    else
      live.erase(node);
    last = event;
  }
  return result;
}

class ProgramBuilder {
 public:
  explicit ProgramBuilder(const IntraOpProblem& problem) : problem_(problem) {
    const std::vector<bool> none_kept(problem.nodes.size(), false);
    reduced_ = reductions::merge_edges<std::int64_t>(problem, none_kept);
    reductions::drop_strategies(problem, none_kept, reduced_);
    if (problem.usage_limit) live_sets_ = maximal_live_sets(problem);
  }

  Program build() {
    for (const std::vector<std::uint32_t>& live : live_sets_) forbid_what_cannot_fit(live);
    for (PairTable<std::int64_t>& pair : reduced_.pairs) move_minima_to_nodes(pair);
    for (std::uint32_t node = 0; node < problem_.nodes.size(); ++node) add_node(node);
    for (const PairTable<std::int64_t>& pair : reduced_.pairs) add_pair(pair);
    for (const std::vector<std::uint32_t>& live : live_sets_) add_usage_row(live);
    return std::move(program_);
  }

  const ReducedProblem<std::int64_t>& reduced() const { return reduced_; }
  const std::vector<std::vector<std::uint32_t>>& live_sets() const { return live_sets_; }

 private:
  std::int64_t usage(std::uint32_t node, std::size_t strategy) const {
    return usage_of(problem_.nodes[node], reduced_.strategies[node][strategy]);
  }

  std::int64_t least_usage(std::uint32_t node) const {
    std::int64_t least = usage(node, 0);
    for (std::size_t k = 1; k < reduced_.size(node); ++k) least = std::min(least, usage(node, k));
    return least;
  }

  // What the limit leaves when all live nodes take their least.
  TotalCost slack(const std::vector<std::uint32_t>& live) const {
    TotalCost result = *problem_.usage_limit;
    for (std::uint32_t node : live) result -= least_usage(node);
    return result;
  }

  void forbid_what_cannot_fit(const std::vector<std::uint32_t>& live) {
    TotalCost left = slack(live);
    if (left < 0) program_.is_infeasible = true;
    for (std::uint32_t node : live)
      for (std::size_t k = 0; k < reduced_.size(node); ++k)
        if (usage(node, k) - least_usage(node) > left) reduced_.costs[node][k] = infinite_cost;
  }

  // Every choice pays its row's and its column's least cost, so the nodes may carry it. Tables that are sums of a
  // vector per end vanish, and the others need smaller coefficients.
  void move_minima_to_nodes(PairTable<std::int64_t>& pair) {
    if (pair.costs.empty()) return;
    std::size_t rows = reduced_.size(pair.a), columns = reduced_.size(pair.b);
    for (std::size_t row = 0; row < rows; ++row)
      move_minimum(&pair.costs[row * columns], columns, 1, reduced_.costs[pair.a][row]);
    for (std::size_t column = 0; column < columns; ++column)
      move_minimum(&pair.costs[column], rows, columns, reduced_.costs[pair.b][column]);
    if (std::all_of(pair.costs.begin(), pair.costs.end(), [](std::int64_t cost) { return cost == 0; }))
      pair.costs.clear();
  }

  static void move_minimum(std::int64_t* costs, std::size_t count, std::size_t stride, std::int64_t& node_cost) {
    std::int64_t least = infinite_cost;
    for (std::size_t i = 0; i < count; ++i) least = std::min(least, costs[i * stride]);
    node_cost = std::min(infinite_cost, node_cost + least);
    for (std::size_t i = 0; i < count && least < infinite_cost; ++i)
      if (costs[i * stride] < infinite_cost) costs[i * stride] -= least;
  }

  int add_row(double low, double high) {
    program_.rows.push_back({low, high});
    return static_cast<int>(program_.rows.size()) - 1;
  }

  void add_node(std::uint32_t node) {
    const std::vector<std::int64_t>& costs = reduced_.costs[node];
    std::int64_t least = *std::min_element(costs.begin(), costs.end());
    if (least >= infinite_cost) program_.is_infeasible = true;
    program_.constant += least;
    std::vector<int>& columns = program_.choice_columns.emplace_back(costs.size(), -1);
    int row = add_row(1, 1);
    for (std::size_t k = 0; k < costs.size(); ++k) {
      if (costs[k] >= infinite_cost) continue;
      columns[k] = static_cast<int>(program_.columns.size());
      program_.columns.push_back({TotalCost{costs[k]} - least, true, {{row, 1.0}}});
    }
  }

  // A column per pair of strategies; those of one strategy sum to its choice [the linearisation of Alpa's Eq. 1, as
  // equations: their relaxation is the local polytope].
  void add_pair(const PairTable<std::int64_t>& pair) {
    if (pair.costs.empty()) return;
    std::vector<int> rows_of_a = add_link_rows(pair.a), rows_of_b = add_link_rows(pair.b);
    std::size_t columns = reduced_.size(pair.b);
    for (std::size_t entry = 0; entry < pair.costs.size(); ++entry) {
      int row_of_a = rows_of_a[entry / columns], row_of_b = rows_of_b[entry % columns];
      if (row_of_a < 0 || row_of_b < 0 || pair.costs[entry] >= infinite_cost) continue;
      program_.columns.push_back({pair.costs[entry], false, {{row_of_a, 1.0}, {row_of_b, 1.0}}});
    }
  }

  std::vector<int> add_link_rows(std::uint32_t node) {
    std::vector<int> rows;
    for (int column : program_.choice_columns[node]) {
      rows.push_back(column < 0 ? -1 : add_row(0, 0));
      if (column >= 0) program_.columns[static_cast<std::size_t>(column)].entries.emplace_back(rows.back(), -1.0);
    }
    return rows;
  }

  // Measured from the least usages and in units of the largest term, so that CBC's tolerance is as small as it gets.
  void add_usage_row(const std::vector<std::uint32_t>& live) {
    TotalCost left = slack(live), possible = 0;
    std::int64_t unit = 1;
    std::vector<std::pair<int, std::int64_t>> terms;
    for (std::uint32_t node : live) {
      std::int64_t least = least_usage(node), largest = 0;
      for (std::size_t k = 0; k < reduced_.size(node); ++k) {
        if (program_.choice_columns[node][k] < 0) continue;
        terms.emplace_back(program_.choice_columns[node][k], usage(node, k) - least);
        largest = std::max(largest, terms.back().second);
      }
      possible += largest;
      unit = std::max(unit, largest);
    }
    if (possible <= left) return;
    int row = add_row(-unbounded, static_cast<double>(left) / static_cast<double>(unit));
    for (auto [column, term] : terms)
      if (term > 0)
        program_.columns[static_cast<std::size_t>(column)].entries.emplace_back(
            row, static_cast<double>(term) / static_cast<double>(unit));
  }

  const IntraOpProblem& problem_;
  ReducedProblem<std::int64_t> reduced_;
  std::vector<std::vector<std::uint32_t>> live_sets_;
  Program program_;
};

enum class ProgramStatus { optimal, infeasible, stopped };

struct ProgramAnswer {
  ProgramStatus status = ProgramStatus::stopped;
  std::vector<double> values;  // by column; without: nothing found
  TotalCost lower_bound = 0;
};

struct ModelDeleter {
  void operator()(void* model) const { Cbc_deleteModel(model); }
};
using Model = std::unique_ptr<void, ModelDeleter>;

double scale_of(const Program& program) {
  TotalCost largest = 1;
  for (const Column& column : program.columns) largest = std::max(largest, column.cost);
  return std::max(1.0, static_cast<double>(largest) / largest_coefficient);
}

Model make_model(const Program& program, double scale) {
  std::vector<int> starts{0}, rows;
  std::vector<double> coefficients, low(program.columns.size(), 0), high(program.columns.size(), 1), costs, row_low,
      row_high;
  for (const Column& column : program.columns) {
    for (auto [row, coefficient] : column.entries) {
      rows.push_back(row);
      coefficients.push_back(coefficient);
    }
    starts.push_back(static_cast<int>(rows.size()));
    costs.push_back(static_cast<double>(column.cost) / scale);
  }
  for (const Row& row : program.rows) {
    row_low.push_back(row.low);
    row_high.push_back(row.high);
  }
  Model model(Cbc_newModel());
  Cbc_setLogLevel(model.get(), 0);
  Cbc_loadProblem(model.get(), static_cast<int>(program.columns.size()), static_cast<int>(program.rows.size()),
                  starts.data(), rows.data(), coefficients.data(), low.data(), high.data(), costs.data(),
                  row_low.data(), row_high.data());
  for (std::size_t column = 0; column < program.columns.size(); ++column)
    if (program.columns[column].is_integer) Cbc_setInteger(model.get(), static_cast<int>(column));
  return model;
}

ProgramAnswer solve_program(const Program& program, double seconds) {
  if (program.is_infeasible) return {ProgramStatus::infeasible, {}, 0};
  if (program.columns.empty()) return {ProgramStatus::optimal, {}, program.constant};
  double scale = scale_of(program);
  Model model = make_model(program, scale);
  for (auto [key, value] : {std::pair{"log", "0"},
                            {"threads", "0"},
                            {"randomSeed", "1"},
                            {"randomCbcSeed", "1"},
                            {"ratioGap", "0"},
                            {"allowableGap", "0"},
                            {"increment", "1e-9"},
                            {"timeMode", "elapsed"}})
    Cbc_setParameter(model.get(), key, value);
  Cbc_setParameter(model.get(), "sec", fmt::format("{:.3f}", seconds).c_str());
  {
    static std::mutex one_at_a_time;  // CBC's driver keeps state between calls
    std::scoped_lock lock(one_at_a_time);
    Cbc_solve(model.get());
  }
  ProgramAnswer answer;
  if (Cbc_isProvenOptimal(model.get())) answer.status = ProgramStatus::optimal;
  if (Cbc_isProvenInfeasible(model.get())) answer.status = ProgramStatus::infeasible;
  if (answer.status == ProgramStatus::infeasible) return answer;
  if (const double* values = Cbc_bestSolution(model.get()))
    answer.values.assign(values, values + program.columns.size());
  // CBC sums in floating point: what it proves holds up to its tolerance.
  double bound = Cbc_getBestPossibleObjValue(model.get()) * scale;
  if (std::isfinite(bound) && bound > 0 && bound < 1e30)
    answer.lower_bound = static_cast<TotalCost>(std::floor(bound * (1 - 1e-9)));
  answer.lower_bound += program.constant;
  return answer;
}

std::vector<std::uint32_t> choices_in(const Program& program, const ReducedProblem<std::int64_t>& reduced,
                                      const std::vector<double>& values) {
  std::vector<std::uint32_t> choices;
  for (std::uint32_t node = 0; node < reduced.strategies.size(); ++node) {
    const std::vector<int>& columns = program.choice_columns[node];
    auto value = [&](int column) { return column < 0 ? -1.0 : values[static_cast<std::size_t>(column)]; };
    auto chosen = std::max_element(columns.begin(), columns.end(), [&](int a, int b) { return value(a) < value(b); });
    choices.push_back(reduced.strategies[node][static_cast<std::size_t>(chosen - columns.begin())]);
  }
  return choices;
}

// CBC keeps rows up to a tolerance; when the choices of some live set exceed the limit by less than that, they are
// forbidden to come together again. Returns whether all fits.
bool forbid_overuse(const IntraOpProblem& problem, const ProgramBuilder& builder,
                    const std::vector<std::uint32_t>& choices, Program& program) {
  bool all_fits = true;
  for (const std::vector<std::uint32_t>& live : builder.live_sets()) {
    TotalCost usage = 0;
    for (std::uint32_t node : live) usage += usage_of(problem.nodes[node], choices[node]);
    if (usage <= *problem.usage_limit) continue;
    all_fits = false;
    int row = static_cast<int>(program.rows.size());
    program.rows.push_back({-unbounded, static_cast<double>(live.size()) - 1});
    for (std::uint32_t node : live) {
      const std::vector<std::uint32_t>& strategies = builder.reduced().strategies[node];
      auto chosen = std::find(strategies.begin(), strategies.end(), choices[node]) - strategies.begin();
      int column = program.choice_columns[node][static_cast<std::size_t>(chosen)];
      program.columns[static_cast<std::size_t>(column)].entries.emplace_back(row, 1.0);
    }
  }
  return all_fits;
}

IntraOpSolution to_solution(const IntraOpProblem& problem, const ProgramAnswer& answer,
                            std::vector<std::uint32_t> choices) {
  TotalCost objective = cost_of(problem, choices);
  if (answer.status == ProgramStatus::optimal) {
    if (objective >= infinite_cost) return {};  // the least total reaches infinity: every choice is forbidden
    return {SolveStatus::optimal, std::move(choices), objective, objective};
  }
  if (objective >= infinite_cost) return {SolveStatus::time_limit, {}, 0, answer.lower_bound};
  return {SolveStatus::feasible, std::move(choices), objective, std::min(answer.lower_bound, objective)};
}

}  // namespace

IntraOpSolution solve_by_cbc(const IntraOpProblem& problem, const SolveOptions& options) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point start = Clock::now();
  ProgramBuilder builder(problem);
  Program program = builder.build();
  while (true) {
    double spent = std::chrono::duration<double>(Clock::now() - start).count();
    ProgramAnswer answer = solve_program(program, std::max(0.0, options.time_limit_s - spent));
    if (answer.status == ProgramStatus::infeasible) return {};
    if (answer.values.size() < program.columns.size()) return {SolveStatus::time_limit, {}, 0, answer.lower_bound};
    std::vector<std::uint32_t> choices = choices_in(program, builder.reduced(), answer.values);
    if (forbid_overuse(problem, builder, choices, program)) return to_solution(problem, answer, std::move(choices));
    if (answer.status == ProgramStatus::stopped) return {SolveStatus::time_limit, {}, 0, answer.lower_bound};
  }
}

}  // namespace meshloom
