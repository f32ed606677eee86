#include "tools/command_line/solution_output.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "planner/inter_op/infeasible_reason.hpp"
#include "planner/intra_op/infeasible_reason.hpp"
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

std::string gap_text(TotalCost cost, TotalCost lower_bound) {
  const std::optional<double> value = gap(cost, lower_bound);
  return value ? fmt::format("gap {:.3g} %", 100 * *value) : "no gap above a bound of 0";
}

std::string_view status_of(const InterOpSolution& solution) { return solution.feasible ? "optimal" : "infeasible"; }

// "optimal", "feasible (interrupted)", "no answer (time limit)".
std::string status_text(const IntraOpAnswer& answer) {
  const SolveStatus status = answer.solution.status;
  if (answer.stopped_by == StoppedBy::proof) return std::string(name(status));
  const std::string_view result = status == SolveStatus::time_limit ? "no answer" : name(status);
  switch (answer.stopped_by) {
    case StoppedBy::proof:
      break;
    case StoppedBy::gap:
      return fmt::format("{} (within the gap)", result);
    case StoppedBy::interrupt:
      return fmt::format("{} (interrupted)", result);
    case StoppedBy::time_limit:
      return fmt::format("{} (time limit)", result);
    case StoppedBy::table_size:
      return fmt::format("{} (a table too large)", result);
  }
  return std::string(result);
}

std::string remedy(StoppedBy cause) {
  switch (cause) {
    case StoppedBy::proof:
    case StoppedBy::gap:
      return "";
    case StoppedBy::interrupt:
      return "; let it run longer";
    case StoppedBy::time_limit:
      return "; give more time with --time-limit";
    case StoppedBy::table_size:
      return "; use --solver auto";
  }
  return "";
}

bool has_usages(const IntraOpProblem& problem) {
  return std::any_of(problem.nodes.begin(), problem.nodes.end(), [](const IntraOpNode& node) {
    return std::any_of(node.usages.begin(), node.usages.end(), [](std::int64_t usage) { return usage > 0; });
  });
}

std::string answer_text(const IntraOpProblem& problem, const IntraOpSolution& solution) {
  constexpr std::size_t most_listed = 20;
  const std::size_t listed = std::min(most_listed, solution.choices.size());
  std::string text = fmt::format("  cost         {}\n", solution.objective);
  text +=
      fmt::format("  lower bound  {}, {}\n", solution.lower_bound, gap_text(solution.objective, solution.lower_bound));
  if (has_usages(problem))
    text += fmt::format("  peak usage   {}{}\n", peak_usage(problem, solution.choices),
                        problem.usage_limit ? fmt::format(" of {}", *problem.usage_limit) : ", not limited");
  return text + fmt::format("  choices      {}{}\n",
                            fmt::join(solution.choices.begin(), solution.choices.begin() + std::ptrdiff_t(listed), " "),
                            listed < solution.choices.size() ? " …; --json lists all" : "");
}

}  // namespace

std::string_view name(StoppedBy cause) {
  switch (cause) {
    case StoppedBy::proof:
      return "proof";
    case StoppedBy::gap:
      return "gap";
    case StoppedBy::interrupt:
      return "interrupt";
    case StoppedBy::time_limit:
      return "time_limit";
    case StoppedBy::table_size:
      return "table_size";
  }
  return "";
}

std::optional<double> gap(TotalCost cost, TotalCost lower_bound) {
  if (cost <= lower_bound) return 0;
  if (lower_bound <= 0) return std::nullopt;
  return static_cast<double>(cost - lower_bound) / static_cast<double>(lower_bound);
}

std::string solution_json(const IntraOpProblem& problem, const IntraOpAnswer& answer) {
  const IntraOpSolution& solution = answer.solution;
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
  std::string json = fmt::format("{{\n  \"status\": \"{}\",\n  \"stopped_by\": \"{}\",\n  \"objective\": {},\n",
                                 name(solution.status), name(answer.stopped_by), or_null(objective));
  json += fmt::format("  \"lower_bound\": {},\n  \"gap\": {},\n  \"choices\": {},\n", or_null(lower_bound),
                      or_null(gap_of_it), choices);
  return json + fmt::format("  \"seconds\": {},\n  \"peak_usage\": {}\n}}\n", answer.time.value(), or_null(peak));
}

std::string solution_text(const IntraOpProblem& problem, const IntraOpAnswer& answer) {
  const IntraOpSolution& solution = answer.solution;
  std::string text = fmt::format("{}, {}: {}\n", counted(std::ssize(problem.nodes), "node"),
                                 counted(std::ssize(problem.edges), "edge"), status_text(answer));
  if (has_answer(solution)) text += answer_text(problem, solution);
  if (solution.status == SolveStatus::infeasible)
    text += fmt::format("  reason       {}\n", reason_of_infeasibility(problem));
  if (solution.status == SolveStatus::time_limit)
    text += fmt::format("  lower bound  {}{}\n", solution.lower_bound, remedy(answer.stopped_by));
  return text + fmt::format("  time         {}\n", readable(answer.time));
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
  if (solution.feasible) text += fmt::format("  objective  {}\n", readable(solution.objective));
  if (!solution.feasible) text += fmt::format("  reason     {}\n", reason_of_infeasibility(problem));
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
  constexpr double most_shown = 10;
  const std::optional<double> share = gap(*progress.cost, progress.lower_bound);
  return fmt::format("cost {}, bound {}, gap {}", *progress.cost, progress.lower_bound,
                     share && *share <= most_shown ? fmt::format("{:.3g} %", 100 * *share) : "–");
}

}  // namespace meshloom
