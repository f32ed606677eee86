#include <fmt/format.h>
#include <signal.h>

#include <atomic>
#include <type_traits>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/intra_op/contest_json.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/solution_output.hpp"

namespace meshloom {
namespace {

std::atomic<bool> must_stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal's handler may set it

// While it lives, the first SIGINT asks the solver for its best answer; the second one ends the program as usual.
class FirstInterrupt {
 public:
  FirstInterrupt() {
    struct sigaction action {};
    action.sa_handler = [](int) { must_stop = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    ::sigaction(SIGINT, &action, &before_);
  }
  ~FirstInterrupt() { ::sigaction(SIGINT, &before_, nullptr); }
  FirstInterrupt(const FirstInterrupt&) = delete;
  FirstInterrupt& operator=(const FirstInterrupt&) = delete;

 private:
  struct sigaction before_ {};
};

// Runs `read`; when the file is for the other one of the two commands, its complaint says so.
template <typename Read>
auto read_solver_input(const std::string& path, Read read) {
  try {
    return read(path);
  } catch (const InputError& error) {
    const std::optional<std::string_view> other = problem_schema(path);
    if (!other || std::is_same_v<decltype(read(path)), IntraOpProblem> == (*other == contest_schema)) throw;
    throw InputError(
        *other == contest_schema
            ? fmt::format("{}; this is an intra-operator problem, use meshloom solve intra-op", error.what())
            : fmt::format("{}; this is a stage table, use meshloom solve inter-op", error.what()));
  }
}

template <typename Command>
void check_outputs(const Command& command, const std::string& argument, const std::string& input) {
  check_output("--output", command.output);
  check_one_standard_output({{"--output -", is_standard_output(command.output)}, {"--json", command.json}});
  check_distinct({{argument, input}}, {{"--output", command.output}});
}

// The JSON to --output; the JSON or the text to standard output.
template <typename Command, typename Text>
void write_outputs(const Command& command, const std::string& json, const Text& text) {
  if (command.output) write_perhaps_gzip(*command.output, json);
  if (command.json)
    write_file("-", json);
  else if (!is_standard_output(command.output))
    write_file("-", text());
}

bool is_accepted(const SolveIntraOpCommand& command, TotalCost cost, TotalCost lower_bound) {
  const std::optional<double> share = gap(cost, lower_bound);
  return command.gap > 0 && share && *share <= command.gap;
}

StoppedBy cause(const SolveIntraOpCommand& command, const IntraOpSolution& solution) {
  switch (solution.status) {
    case SolveStatus::optimal:
    case SolveStatus::infeasible:
      return StoppedBy::proof;
    case SolveStatus::feasible:
      if (is_accepted(command, solution.objective, solution.lower_bound)) return StoppedBy::gap;
      break;
    case SolveStatus::time_limit:
      if (command.solver == Solver::elimination) return StoppedBy::table_size;
      break;
  }
  return must_stop ? StoppedBy::interrupt : StoppedBy::time_limit;
}

IntraOpAnswer solve(const SolveIntraOpCommand& command, const IntraOpProblem& problem) {
  const FirstInterrupt first_interrupt;
  Progress progress;
  SolveOptions options{.solver = command.solver,
                       .time_limit_s = command.time_limit_s,
                       .accepted_gap = command.gap,
                       .interrupt = &must_stop};
  options.progress = [&](const SolveProgress& now) {
    progress.show(progress_text(now));
    // Not every solver looks at accepted_gap; all of them look at the interrupt.
    if (now.cost && is_accepted(command, *now.cost, now.lower_bound)) must_stop = true;
  };
  const IntraOpSolution solution = solve_intra_op(problem, options);
  return {solution, cause(command, solution), progress.elapsed()};
}

ExitCode exit_code_of(SolveStatus status) {
  switch (status) {
    case SolveStatus::optimal:
    case SolveStatus::feasible:
      return ExitCode::done;
    case SolveStatus::infeasible:
      return ExitCode::infeasible;
    case SolveStatus::time_limit:
      return ExitCode::time_limit;
  }
  return ExitCode::internal_error;
}

}  // namespace

ExitCode run(const SolveIntraOpCommand& command) {
  check_outputs(command, "PROBLEM", command.problem);
  const IntraOpProblem problem = read_solver_input(command.problem, read_contest_problem);
  const IntraOpAnswer answer = solve(command, problem);
  write_outputs(command, solution_json(problem, answer), [&] { return solution_text(problem, answer); });
  return exit_code_of(answer.solution.status);
}

ExitCode run(const SolveInterOpCommand& command) {
  check_outputs(command, "TABLE", command.table);
  const ConfiguredProblem table = read_solver_input(command.table, read_stage_table);
  const Progress clock;
  const InterOpSolution solution = solve_inter_op(table.problem);
  const Seconds time = clock.elapsed();
  write_outputs(command, solution_json(table, solution, time), [&] { return solution_text(table, solution, time); });
  return solution.feasible ? ExitCode::done : ExitCode::infeasible;
}

}  // namespace meshloom
