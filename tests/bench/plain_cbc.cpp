#include "tests/bench/plain_cbc.hpp"

#include <Cbc_C_Interface.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <tuple>

namespace meshloom {
namespace {

constexpr double unbounded = std::numeric_limits<double>::max();
constexpr double largest_coefficient = 1e6;  // costs and usages are scaled to it, to suit CBC's absolute tolerances

class PlainModel {
 public:
  explicit PlainModel(const IntraOpProblem& problem) : problem_(problem) {
    std::int64_t largest = 1;
    for (const IntraOpNode& node : problem.nodes)
      for (const std::int64_t cost : node.costs) largest = cost < infinite_cost ? std::max(largest, cost) : largest;
    for (const IntraOpEdge& edge : problem.edges)
      for (const std::int64_t cost : edge.costs) largest = cost < infinite_cost ? std::max(largest, cost) : largest;
    scale_ = std::max(1.0, static_cast<double>(largest) / largest_coefficient);
    for (const IntraOpNode& node : problem.nodes) add_node(node);
    for (const IntraOpEdge& edge : problem.edges) add_edge(edge);
    if (problem.usage_limit) add_usage_rows();
  }

  PlainCbcAnswer solve(double time_limit_s) {
    PlainCbcAnswer answer;
    answer.columns = costs_.size(), answer.rows = row_low_.size();
    const std::unique_ptr<Cbc_Model, void (*)(Cbc_Model*)> model = load();
    Cbc_setParameter(model.get(), "log", "0");
    Cbc_setParameter(model.get(), "timeMode", "elapsed");
    Cbc_setParameter(model.get(), "sec", std::to_string(time_limit_s).c_str());
    const auto start = std::chrono::steady_clock::now();
    Cbc_solve(model.get());
    answer.solve_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const bool ran_out = answer.solve_s >= time_limit_s;  // CBC then calls what it broke off infeasible
    read(model.get(), ran_out, answer.solution);
    return answer;
  }

 private:
  int add_row(double low, double high) {
    row_low_.push_back(low);
    row_high_.push_back(high);
    return static_cast<int>(row_low_.size()) - 1;
  }

  void add_column(std::int64_t cost, std::vector<std::pair<int, double>> entries) {
    const bool allowed = cost < infinite_cost;
    costs_.push_back(allowed ? static_cast<double>(cost) / scale_ : 0);
    high_.push_back(allowed ? 1 : 0);
    entries_.push_back(std::move(entries));
  }

  void add_node(const IntraOpNode& node) {
    const int one = add_row(1, 1);
    first_column_.push_back(costs_.size());
    for (const std::int64_t cost : node.costs) add_column(cost, {{one, 1.0}});
  }

  void add_edge(const IntraOpEdge& edge) {
    const std::size_t rows = problem_.nodes[edge.a].costs.size(), columns = problem_.nodes[edge.b].costs.size();
    const int one = add_row(1, 1);
    const int first_row = static_cast<int>(row_low_.size());
    for (std::size_t k = 0; k < rows; ++k)
      entries_[first_column_[edge.a] + k].emplace_back(add_row(-unbounded, 0), -1.0);
    for (std::size_t k = 0; k < columns; ++k)
      entries_[first_column_[edge.b] + k].emplace_back(add_row(-unbounded, 0), -1.0);
    for (std::size_t e = 0; e < edge.costs.size(); ++e)
      add_column(edge.costs[e], {{one, 1.0},
                                 {first_row + static_cast<int>(e / columns), 1.0},
                                 {first_row + static_cast<int>(rows + e % columns), 1.0}});
  }

  void add_usage_rows() {
    const double unit = std::max(1.0, static_cast<double>(*problem_.usage_limit) / largest_coefficient);
    std::vector<std::tuple<std::int64_t, int, std::size_t>> events;  // at one time ends (0) come before begins (1)
    for (std::size_t n = 0; n < problem_.nodes.size(); ++n) {
      const IntraOpNode& node = problem_.nodes[n];
      if (node.usages.empty() || node.live_from >= node.live_until) continue;
      events.emplace_back(node.live_from, 1, n);
      events.emplace_back(node.live_until, 0, n);
    }
    std::sort(events.begin(), events.end());
    std::set<std::size_t> live;
    bool grew = false;
    for (const auto& [time, begins, n] : events) {
      if (begins == 0 && grew) {
        const int row = add_row(-unbounded, static_cast<double>(*problem_.usage_limit) / unit);
        for (const std::size_t each : live)
          for (std::size_t k = 0; k < problem_.nodes[each].usages.size(); ++k)
            entries_[first_column_[each] + k].emplace_back(row,
                                                           static_cast<double>(problem_.nodes[each].usages[k]) / unit);
      }
      grew = begins == 1;
      if (grew)
        live.insert(n);
      else
        live.erase(n);
    }
  }

  std::unique_ptr<Cbc_Model, void (*)(Cbc_Model*)> load() const {
    std::vector<int> starts{0}, rows;
    std::vector<double> coefficients;
    const std::vector<double> low(costs_.size(), 0);
    for (const auto& column : entries_) {
      for (const auto& [row, coefficient] : column) {
        rows.push_back(row);
        coefficients.push_back(coefficient);
      }
      starts.push_back(static_cast<int>(rows.size()));
    }
    std::unique_ptr<Cbc_Model, void (*)(Cbc_Model*)> model(Cbc_newModel(), Cbc_deleteModel);
    Cbc_setLogLevel(model.get(), 0);
    Cbc_loadProblem(model.get(), static_cast<int>(costs_.size()), static_cast<int>(row_low_.size()), starts.data(),
                    rows.data(), coefficients.data(), low.data(), high_.data(), costs_.data(), row_low_.data(),
                    row_high_.data());
    for (std::size_t c = 0; c < costs_.size(); ++c) Cbc_setInteger(model.get(), static_cast<int>(c));
    return model;
  }

  void read(Cbc_Model* model, bool ran_out, IntraOpSolution& solution) const {
    const bool proven = Cbc_isProvenOptimal(model) != 0;
    if (Cbc_isProvenInfeasible(model) != 0 && !ran_out) return;
    const double bound = Cbc_getBestPossibleObjValue(model) * scale_;
    if (std::isfinite(bound) && bound > 0 && bound < 1e30) solution.lower_bound = static_cast<TotalCost>(bound);
    solution.status = SolveStatus::time_limit;
    const double* values = Cbc_bestSolution(model);
    if (values == nullptr) return;
    for (std::size_t n = 0; n < problem_.nodes.size(); ++n) {
      const double* first = values + first_column_[n];
      solution.choices.push_back(
          static_cast<std::uint32_t>(std::max_element(first, first + problem_.nodes[n].costs.size()) - first));
    }
    solution.objective = cost_of(problem_, solution.choices);
    solution.status = proven ? SolveStatus::optimal : SolveStatus::feasible;
  }

  const IntraOpProblem& problem_;
  double scale_ = 1;
  std::vector<std::size_t> first_column_;  // by node
  std::vector<double> costs_, high_, row_low_, row_high_;
  std::vector<std::vector<std::pair<int, double>>> entries_;  // by column: row, coefficient
};

}  // namespace

PlainCbcAnswer solve_by_plain_cbc(const IntraOpProblem& problem, double time_limit_s) {
  return PlainModel(problem).solve(time_limit_s);
}

}  // namespace meshloom
