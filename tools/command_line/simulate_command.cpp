#include <fmt/format.h>

#include <limits>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/reprice.hpp"
#include "simulator/report.hpp"
#include "simulator/simulation.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/json_output.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/plan_text.hpp"

namespace meshloom {
namespace {

using Differences = std::optional<std::vector<PriceDifference>>;

void check_streams(const SimulateCommand& command) {
  check_output("--trace", command.trace);
  check_output("--report", command.report);
  check_one_standard_output({{"--trace -", is_standard_output(command.trace)},
                             {"--report -", is_standard_output(command.report)},
                             {"--json", command.json}});
  check_distinct({{"PLAN", command.plan}, {"--graph", command.graph}, {"--cluster", command.cluster}},
                 {{"--trace", command.trace}, {"--report", command.report}});
  int inputs = command.plan == "-";
  inputs += is_standard_output(command.graph) + is_standard_output(command.cluster);
  if (inputs > 1) throw InputError("PLAN, --graph and --cluster", "only one of them can be standard input");
}

Differences price_again(const SimulateCommand& command, const Plan& plan) {
  if (!command.graph) return std::nullopt;
  const Graph graph = read_graph_of(plan, command.plan, command.graph);
  Cluster cluster = read_cluster(*command.cluster);
  cluster.hosts = plan.cluster.hosts;
  return reprice(plan, graph, cluster);
}

std::string differences_text(const Differences& differences) {
  if (!differences) return "";
  if (differences->empty()) return "\npriced again: every time agrees\n";
  std::string text = fmt::format("\npriced again: {} differences over 0.1 %\n", differences->size());
  Table table({"path", "stored", "priced"});
  for (const PriceDifference& each : *differences)
    table.row({each.path, fmt::format("{:.6g}", each.stored), fmt::format("{:.6g}", each.priced)});
  return text + table.text();
}

void write_files(const SimulateCommand& command, const Plan& plan, const Simulation& simulation) {
  if (command.trace) write_file(*command.trace, chrome_trace(plan, simulation));
  if (command.report) write_file(*command.report, report_html(plan, simulation));
}

}  // namespace

ExitCode run(const SimulateCommand& command) {
  check_streams(command);
  Plan plan = read_plan(command.plan);
  if (!is_runnable(plan))
    throw InputError(command.plan, "nothing fitted, so there is no step to simulate; make another plan");
  const Simulation simulation = simulate(plan);
  apply_simulation(plan, simulation);
  const Differences differences = price_again(command, plan);
  write_files(command, plan, simulation);
  // Nothing was searched: the time of the search does not exist.
  const Seconds no_search(std::numeric_limits<double>::quiet_NaN());
  if (command.json)
    write_file("-", with_differences(summary_json(plan, no_search), differences));
  else if (!is_standard_output(command.trace) && !is_standard_output(command.report))
    write_file("-", summary_text(plan) + differences_text(differences));
  return differences && !differences->empty() ? ExitCode::comparison_failed : ExitCode::done;
}

}  // namespace meshloom
