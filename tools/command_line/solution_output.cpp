#include "tools/command_line/solution_output.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

// By hand, because totals may have more digits than the JSON library's integers.
template <typename Value>
std::string or_null(const std::optional<Value>& value) {
  return value ? fmt::format("{}", *value) : "null";
}

bool has_answer(const IntraOpSolution& solution) {
  return solution.status == SolveStatus::optimal || solution.status == SolveStatus::feasible;
}

// Cost over bound, less 1; none above a bound of 0.
std::optional<double> gap(TotalCost cost, TotalCost lower_bound) {
  if (cost <= lower_bound) return 0;
  if (lower_bound <= 0) return std::nullopt;
  return static_cast<double>(cost - lower_bound) / static_cast<double>(lower_bound);
}

std::string gap_text(TotalCost cost, TotalCost lower_bound) {
  const std::optional<double> value = gap(cost, lower_bound);
  return value ? fmt::format("gap {:.3g} %", 100 * *value) : "no gap above a bound of 0";
}

std::string_view status_of(const InterOpSolution& solution) { return solution.feasible ? "optimal" : "infeasible"; }

}  // namespace

std::string solution_json(const IntraOpProblem& problem, const IntraOpSolution& solution, Seconds time) {
  std::optional<TotalCost> objective, lower_bound, peak;
  std::optional<double> gap_of_it;
  std::string choices = "null";
  if (solution.status != SolveStatus::infeasible) lower_bound = solution.lower_bound;
  if (has_answer(solution)) {
    objective = solution.objective;
    gap_of_it = gap(solution.objective, solution.lower_bound);
    choices = fmt::format("[{}]", fmt::join(solution.choices, ", "));
    peak = peak_usage(problem, solution.choices);
  }
  std::string json = fmt::format("{{\n  \"status\": \"{}\",\n  \"objective\": {},\n  \"lower_bound\": {},\n",
                                 name(solution.status), or_null(objective), or_null(lower_bound));
  json += fmt::format("  \"gap\": {},\n  \"choices\": {},\n", or_null(gap_of_it), choices);
  return json + fmt::format("  \"seconds\": {},\n  \"peak_usage\": {}\n}}\n", time.value(), or_null(peak));
}

std::string solution_text(const IntraOpProblem& problem, const IntraOpSolution& solution, Seconds time) {
  constexpr std::size_t most_listed = 20;
  std::string text =
      fmt::format("{} nodes, {} edges: {}\n", problem.nodes.size(), problem.edges.size(), name(solution.status));
  if (has_answer(solution)) {
    const std::size_t listed = std::min(most_listed, solution.choices.size());
    text += fmt::format("  cost         {}\n", solution.objective);
    text += fmt::format("  lower bound  {}, {}\n", solution.lower_bound,
                        gap_text(solution.objective, solution.lower_bound));
    text += fmt::format("  peak usage   {} of {}\n", peak_usage(problem, solution.choices),
                        problem.usage_limit ? fmt::format("{}", *problem.usage_limit) : "any");
    text += fmt::format("  choices      {}{}\n",
                        fmt::join(solution.choices.begin(), solution.choices.begin() + std::ptrdiff_t(listed), " "),
                        listed < solution.choices.size() ? " …; --json lists all" : "");
  } else if (solution.status == SolveStatus::time_limit) {
    text += fmt::format("  lower bound  {}; give more time with --time-limit\n", solution.lower_bound);
  }
  return text + fmt::format("  time         {}\n", readable(time));
}

std::string solution_json(const ConfiguredProblem& table, const InterOpSolution& solution, Seconds time) {
  std::optional<double> objective;
  std::string stages = "null";
  if (solution.feasible) {
    objective = solution.objective.value();
    std::vector<std::string> listed;
    for (std::uint32_t i : solution.options) {
      const StageOption& option = table.problem.options[i];
      listed.push_back(fmt::format("\n    {{\"first\": {}, \"last\": {}, \"submesh\": {}, \"config\": {}}}",
                                   option.first, option.last, option.submesh, table.configs[i]));
    }
    stages = fmt::format("[{}\n  ]", fmt::join(listed, ","));
  }
  return fmt::format("{{\n  \"status\": \"{}\",\n  \"objective_s\": {},\n  \"stages\": {},\n  \"seconds\": {}\n}}\n",
                     status_of(solution), or_null(objective), stages, time.value());
}

std::string solution_text(const ConfiguredProblem& table, const InterOpSolution& solution, Seconds time) {
  const InterOpProblem& problem = table.problem;
  std::string text = fmt::format("{} layers on {} devices, {} microbatches: {}\n", problem.layers,
                                 problem.hosts * problem.devices_per_host, problem.microbatches, status_of(solution));
  if (solution.feasible) text += fmt::format("  objective  {} s\n", solution.objective.value());
  text += fmt::format("  time       {}\n", readable(time));
  if (!solution.feasible) return text;
  Table stages({"stage", "<layers", "<submesh", "config", "time"});
  for (std::size_t stage = 0; stage < solution.options.size(); ++stage) {
    const StageOption& option = problem.options[solution.options[stage]];
    const Submesh& submesh = problem.submeshes[option.submesh];
    stages.row({fmt::format("{}", stage), fmt::format("{}–{}", option.first, option.last),
                fmt::format("{} × {}", submesh.hosts, submesh.devices_per_host),
                fmt::format("{}", table.configs[solution.options[stage]]), readable(option.forward + option.backward)});
  }
  return text + "\n" + stages.text();
}

std::string progress_text(const SolveProgress& progress) {
  if (!progress.cost) return fmt::format("no answer yet, bound {}", progress.lower_bound);
  return fmt::format("cost {}, bound {}, {}", *progress.cost, progress.lower_bound,
                     gap_text(*progress.cost, progress.lower_bound));
}

}  // namespace meshloom
