#include <signal.h>

#include <atomic>

#include "graphs/files.hpp"
#include "planner/intra_op/contest_json.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/solution_output.hpp"

namespace meshloom {
namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal's handler may set it

// While it lives, the first SIGINT asks the solver for its best answer; the second one ends the program as usual.
class FirstInterrupt {
 public:
  FirstInterrupt() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    ::sigaction(SIGINT, &action, &before_);
  }
  ~FirstInterrupt() { ::sigaction(SIGINT, &before_, nullptr); }
  FirstInterrupt(const FirstInterrupt&) = delete;
  FirstInterrupt& operator=(const FirstInterrupt&) = delete;

 private:
  struct sigaction before_ {};
};

template <typename Command>
void check_outputs(const Command& command, const std::string& argument, const std::string& input) {
  check_output("--output", command.output);
  check_one_standard_output({{"--output -", is_standard_output(command.output)}, {"--json", command.json}});
  check_distinct({{argument, input}}, {{"--output", command.output}});
}

// The JSON to --output; the JSON or the text to standard output.
template <typename Command, typename Problem, typename Solution>
void write_outputs(const Command& command, const Problem& problem, const Solution& solution, Seconds time) {
  const std::string json = solution_json(problem, solution, time);
  if (command.output) write_file(*command.output, json);
  if (command.json)
    write_file("-", json);
  else if (!is_standard_output(command.output))
    write_file("-", solution_text(problem, solution, time));
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
  const IntraOpProblem problem = read_contest_problem(command.problem);
  IntraOpSolution solution;
  Seconds time;
  {
    const FirstInterrupt first_interrupt;
    Progress progress;
    solution =
        solve_intra_op(problem, {.solver = command.solver,
                                 .time_limit_s = command.time_limit_s,
                                 .progress = [&](const SolveProgress& now) { progress.show(progress_text(now)); },
                                 .interrupt = &interrupted});
    time = progress.elapsed();
  }
  write_outputs(command, problem, solution, time);
  return exit_code_of(solution.status);
}

ExitCode run(const SolveInterOpCommand& command) {
  check_outputs(command, "TABLE", command.table);
  const ConfiguredProblem table = read_stage_table(command.table);
  const Progress clock;
  const InterOpSolution solution = solve_inter_op(table.problem);
  write_outputs(command, table, solution, clock.elapsed());
  return solution.feasible ? ExitCode::done : ExitCode::infeasible;
}

}  // namespace meshloom
