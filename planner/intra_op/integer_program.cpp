#include "planner/intra_op/integer_program.hpp"

#include <algorithm>

namespace meshloom::intra_op {
namespace {

class ProgramBuilder {
 public:
  explicit ProgramBuilder(const WorkingProblem& problem) : problem_(problem) {}

  IntegerProgram build() {
    program_.row_values.assign(problem_.nodes.size(), 1);  // one strategy for each node
    for (const WorkingPair& pair : problem_.pairs) {
      const std::size_t rows_of_a = program_.row_values.size();
      link_rows_.push_back({static_cast<int>(rows_of_a), static_cast<int>(rows_of_a + problem_.size(pair.a))});
      program_.row_values.resize(rows_of_a + problem_.size(pair.a) + problem_.size(pair.b), 0);
    }
    for (NodeIndex node = 0; node < problem_.nodes.size(); ++node) add_node(node);
    program_.first_column.push_back(static_cast<int>(program_.costs.size()));
    for (std::size_t pair = 0; pair < problem_.pairs.size(); ++pair) add_entries(pair);
    program_.starts.push_back(static_cast<int>(program_.rows.size()));
    return std::move(program_);
  }

 private:
  struct LinkRows {  // entries of one strategy sum to its choice
    int of_a, of_b;  // of the first strategy
  };

  void begin_column(std::int64_t cost) {
    program_.starts.push_back(static_cast<int>(program_.rows.size()));
    program_.costs.push_back(cost);
  }

  void add(int row, double coefficient) {
    program_.rows.push_back(row);
    program_.coefficients.push_back(coefficient);
  }

  void add_node(NodeIndex node) {
    program_.first_column.push_back(static_cast<int>(program_.costs.size()));
    const WorkingNode& state = problem_.nodes[node];
    for (std::size_t k = 0; k < state.costs.size(); ++k) {
      begin_column(state.costs[k]);
      add(static_cast<int>(node), 1);
      for (const std::uint32_t pair : state.pairs) {
        const bool is_a = problem_.pairs[pair].a == node;
        add((is_a ? link_rows_[pair].of_a : link_rows_[pair].of_b) + static_cast<int>(k), -1);
      }
    }
  }

  void add_entries(std::size_t position) {
    const WorkingPair& pair = problem_.pairs[position];
    const std::size_t columns = problem_.size(pair.b);
    for (std::size_t entry = 0; entry < pair.costs.size(); ++entry) {
      if (pair.costs[entry] >= infinite_cost) continue;
      begin_column(pair.costs[entry]);
      add(link_rows_[position].of_a + static_cast<int>(entry / columns), 1);
      add(link_rows_[position].of_b + static_cast<int>(entry % columns), 1);
    }
  }

  const WorkingProblem& problem_;
  IntegerProgram program_;
  std::vector<LinkRows> link_rows_;  // by pair
};

// Calls `visit(node, amounts by strategy)` for each node that uses memory in the period.
template <typename Visit>
void for_each_user(const WorkingProblem& problem, std::uint32_t period, const Visit& visit) {
  for (NodeIndex node = 0; node < problem.nodes.size(); ++node) {
    const Usage& usage = problem.nodes[node].usage;
    for (std::size_t i = 0; i < usage.spans.size(); ++i)
      if (usage.spans[i].begin <= period && period < usage.spans[i].end) visit(node, usage.of(i));
  }
}

}  // namespace

IntegerProgram integer_program(const WorkingProblem& problem) { return ProgramBuilder(problem).build(); }

Row usage_row(const WorkingProblem& problem, std::uint32_t period, const IntegerProgram& program) {
  std::int64_t unit = 1;
  for_each_user(problem, period, [&](NodeIndex node, const std::int64_t* amounts) {
    unit = std::max(unit, *std::max_element(amounts, amounts + problem.size(node)));
  });
  Row row;
  row.most = static_cast<double>(problem.slack[period]) / static_cast<double>(unit);
  for_each_user(problem, period, [&](NodeIndex node, const std::int64_t* amounts) {
    for (std::size_t k = 0; k < problem.size(node); ++k) {
      if (amounts[k] == 0) continue;
      row.columns.push_back(program.first_column[node] + static_cast<int>(k));
      row.coefficients.push_back(static_cast<double>(amounts[k]) / static_cast<double>(unit));
    }
  });
  return row;
}

Row forbidding_row(const WorkingProblem& problem, std::uint32_t period, const std::vector<std::uint32_t>& choices,
                   const IntegerProgram& program) {
  Row row;
  for_each_user(problem, period, [&](NodeIndex node, const std::int64_t* amounts) {
    if (amounts[choices[node]] == 0) return;
    row.columns.push_back(program.first_column[node] + static_cast<int>(choices[node]));
    row.coefficients.push_back(1);
  });
  row.most = static_cast<double>(row.columns.size()) - 1;
  return row;
}

}  // namespace meshloom::intra_op
