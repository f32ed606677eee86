// Our intra-op solvers against plain CBC on whole graphs of our own, on files of the ASPLOS contest, and how they grow
// with the number of equal layers. Prints tables; writes JSON to the file given. Ratios are what counts: both sides run
// in one process on one machine.
//
//   intra_op_bench [--cases TEXT] [--memory TEXT] [--cbc-limit S] [--limit S] [--solver NAME] [--contest FOLDER]
//   [--curves] [--json FILE]
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include "graphs/files.hpp"
#include "planner/intra_op/contest_json.hpp"
#include "tests/bench/intra_op_cases.hpp"
#include "tests/bench/plain_cbc.hpp"

namespace meshloom {
namespace {

struct BenchOptions {
  std::string cases = "GPT MoE Wide";    // words that names of cases begin with
  std::string memory = "none 75 50 25";  // shares in percent
  double cbc_limit_s = 600, limit_s = 600;
  double gap = 0.0003;  // at which ours stops under a limit
  SolveOptions solve;
  std::optional<std::string> contest, json;
  bool curves = false;
};

double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double number(TotalCost cost) { return static_cast<double>(cost); }

double gap(const IntraOpSolution& solution) {
  return solution.choices.empty() ? 1 : number(solution.objective - solution.lower_bound) / number(solution.objective);
}

std::string objective_text(const IntraOpSolution& solution) {
  return solution.choices.empty() ? "none" : fmt::format("{:.0f}", number(solution.objective));
}

class Bench {
 public:
  explicit Bench(BenchOptions options) : options_(std::move(options)) {}

  void run() {
    fmt::print(
        "costs in picoseconds of a step; memory as share of the way from the least peak to the free optimum's\n");
    fmt::print("{:<26} {:>6} {:>6} {:>6} {:>8} {:>20} {:>20} {:>9} {:>9} {:>20} {:>8} {:>10} {:>8}\n", "case", "memory",
               "nodes", "edges", "columns", "ours", "bound", "gap", "s", "plain CBC", "status", "s", "times");
    for (const IntraOpCase& which : intra_op_cases())
      if (options_.cases.find(which.name.substr(0, which.name.find_first_of(",-"))) != std::string::npos)
        run_case(which);
    if (options_.contest) contest(*options_.contest);
    if (options_.curves) curves();
    if (options_.json) write_file(*options_.json, fmt::format("[\n{}\n]\n", fmt::join(records_, ",\n")));
  }

 private:
  void run_case(const IntraOpCase& which) {
    const CaseModel model(which);
    if (is_asked("none")) compare(which.name, "none", model.problem({}));
    if (options_.memory == "none") return;
    IntraOpProblem limited = model.problem(Bytes(9e18));
    limited.usage_limit.reset();
    const IntraOpSolution free = solve_by_elimination(limited);
    const std::int64_t least = least_peak(limited);
    const auto most = static_cast<std::int64_t>(peak_usage(limited, free.choices));
    for (const int percent : {75, 50, 25}) {
      if (!is_asked(std::to_string(percent))) continue;
      limited.usage_limit = least + (most - least) / 100 * percent;
      compare(which.name, fmt::format("{} %", percent), limited);
    }
  }

  bool is_asked(const std::string& memory) const { return options_.memory.find(memory) != std::string::npos; }

  void compare(const std::string& name, const std::string& memory, const IntraOpProblem& problem) {
    IntraOpSolution ours;
    SolveOptions solve = options_.solve;
    solve.time_limit_s = options_.limit_s;
    if (problem.usage_limit && solve.solver == Solver::elimination) solve.solver = Solver::automatic;
    if (problem.usage_limit) solve.accepted_gap = options_.gap;
    const double ours_s = seconds_of([&] { ours = solve_intra_op(problem, solve); });
    PlainCbcAnswer cbc;
    std::size_t columns = 0;
    for (const IntraOpNode& node : problem.nodes) columns += node.costs.size();
    for (const IntraOpEdge& edge : problem.edges) columns += edge.costs.size();
    fmt::print("{:<26} {:>6} {:>6} {:>6} {:>8} {:>20} {:>20.0f} {:>9.2g} {:>9.3f} ", name, memory, problem.nodes.size(),
               problem.edges.size(), columns, objective_text(ours), number(ours.lower_bound), gap(ours), ours_s);
    std::fflush(stdout);
    if (options_.cbc_limit_s > 0) cbc = solve_by_plain_cbc(problem, options_.cbc_limit_s);
    fmt::print("{:>20} {:>8} {:>10.1f} {:>8.0f}\n", objective_text(cbc.solution), meshloom::name(cbc.solution.status),
               cbc.solve_s, cbc.solve_s / ours_s);
    std::fflush(stdout);
    records_.push_back(fmt::format(
        R"({{"case": "{}", "memory": "{}", "nodes": {}, "edges": {}, "columns": {}, "objective": {:.0f}, )"
        R"("lower_bound": {:.0f}, "gap": {:.6g}, "seconds": {:.6g}, "status": "{}", "cbc_objective": {:.0f}, )"
        R"("cbc_lower_bound": {:.0f}, "cbc_seconds": {:.6g}, "cbc_status": "{}"}})",
        name, memory, problem.nodes.size(), problem.edges.size(), columns, number(ours.objective),
        number(ours.lower_bound), gap(ours), ours_s, meshloom::name(ours.status), number(cbc.solution.objective),
        number(cbc.solution.lower_bound), cbc.solve_s, meshloom::name(cbc.solution.status)));
  }

  // Files of the contest in one folder, smallest first.
  void contest(const std::string& folder) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().filename().string().find(".json") != std::string::npos) files.push_back(entry.path());
    std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
      return std::pair(std::filesystem::file_size(a), a) < std::pair(std::filesystem::file_size(b), b);
    });
    fmt::print("\n{:<40} {:>20} {:>20} {:>9} {:>10} {:>9}\n", "contest file", "objective", "bound", "gap", "status",
               "s");
    for (const std::filesystem::path& file : files) {
      const IntraOpProblem problem = read_contest_problem(file.string());
      SolveOptions solve = options_.solve;
      solve.time_limit_s = options_.limit_s;
      IntraOpSolution solution;
      const double seconds = seconds_of([&] { solution = solve_intra_op(problem, solve); });
      fmt::print("{:<40} {:>20} {:>20.0f} {:>9.2g} {:>10} {:>9.2f}\n", file.filename().string(),
                 objective_text(solution), number(solution.lower_bound), gap(solution), meshloom::name(solution.status),
                 seconds);
      std::fflush(stdout);
      records_.push_back(fmt::format(
          R"({{"contest": "{}", "objective": {:.0f}, "lower_bound": {:.0f}, "status": "{}", "seconds": {:.6g}}})",
          file.filename().string(), number(solution.objective), number(solution.lower_bound),
          meshloom::name(solution.status), seconds));
    }
  }

  void curves() {
    fmt::print(
        "\nequal layers of GPT on mesh 2x4: all in one problem, by auto and by elimination; one range, each structure "
        "once\n");
    fmt::print("{:>7} {:>9} {:>14} {:>14} {:>12} {:>14}\n", "layers", "nodes", "one problem s", "eliminated s",
               "range s", "layers' keys s");
    for (const std::int64_t layers : {10, 30, 100, 300, 1000}) {
      const IntraOpCase which = gpt_case(layers, {2, 4});
      const CaseModel model(which);
      double range_s = 1e30, space_s = 0;
      for (int repeat = 0; repeat < 5; ++repeat) range_s = std::min(range_s, seconds_of([&] { solve_range(model); }));
      space_s = seconds_of([&] { planning_layers(model.space().input.graph, model.space().training); });
      const IntraOpProblem problem = model.problem({});
      double whole_s = 1e30, elimination_s = 1e30;
      for (int repeat = 0; repeat < 3; ++repeat) {
        whole_s = std::min(whole_s, seconds_of([&] { solve_intra_op(problem); }));
        elimination_s = std::min(elimination_s, seconds_of([&] { solve_by_elimination(problem); }));
      }
      fmt::print("{:>7} {:>9} {:>14.3f} {:>14.3f} {:>12.4f} {:>14.4f}\n", layers, problem.nodes.size(), whole_s,
                 elimination_s, range_s, space_s);
      std::fflush(stdout);
      records_.push_back(fmt::format(
          R"({{"curve": "equal layers", "layers": {}, "nodes": {}, "one_problem_seconds": {:.6g}, "eliminated_seconds": {:.6g}, "range_seconds": {:.6g}}})",
          layers, problem.nodes.size(), whole_s, elimination_s, range_s));
    }
  }

  // Including the layers' models.
  static void solve_range(const CaseModel& model) {
    MeshSolver solver(model.space(), model.mesh(), std::vector<AxisRole>(model.mesh().dimensions(), AxisRole::free),
                      16);
    const RangeSettings settings{ParameterState::replicated, Recompute::none, model.weights()};
    solver.ranges().choices(settings, 0, model.space().layers.layers.size() - 1);
  }

  BenchOptions options_;
  std::vector<std::string> records_;
};

BenchOptions parse(int count, char** words) {
  BenchOptions options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--curves") {
      options.curves = true;
      continue;
    }
    if (i + 1 == count) throw std::invalid_argument(word + " needs a value");
    const std::string value = words[++i];
    if (word == "--cases")
      options.cases = value;
    else if (word == "--memory")
      options.memory = value;
    else if (word == "--cbc-limit")
      options.cbc_limit_s = std::stod(value);
    else if (word == "--gap")
      options.gap = std::stod(value);
    else if (word == "--limit")
      options.limit_s = std::stod(value);
    else if (word == "--solver")
      options.solve.solver = solver_named(value).value();
    else if (word == "--contest")
      options.contest = value;
    else if (word == "--json")
      options.json = value;
    else
      throw std::invalid_argument("unknown option " + word);
  }
  return options;
}

}  // namespace
}  // namespace meshloom

int main(int count, char** words) {
  try {
    meshloom::Bench(meshloom::parse(count, words)).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "intra_op_bench: %s\n", error.what());
    return 2;
  }
}
