#include <fmt/format.h>

#include "graphs/input_error.hpp"
#include "tools/command_line/arguments_parts.hpp"

namespace meshloom {

void add_problem(CLI::App& root, Parsed& parsed) {
  ProblemCommand& problem = parsed.problem;
  CLI::App& app =
      add_command(root, "problem", "Write the intra-operator problem of a whole graph on one mesh",
                  "meshloom problem gpt.json cluster_specs/dgx_a100.json --mesh 2x4 --global-batch 64 -o problem.json",
                  parsed, [&problem] { return problem; });
  add_inputs(app, problem.inputs);
  add_text(app, "--mesh", "AxB", "Sizes of the device mesh's axes, such as 2x4", [&problem](const std::string& text) {
    problem.mesh = parse_mesh("--mesh", text);
  })->required();
  add_integer(app, "--global-batch", problem.global_batch, most_samples, "Samples per training step")->required();
  add_integer(app, "--microbatch-size", problem.microbatch_size, most_samples,
              "Samples per microbatch; the whole batch unless told; fewer need less memory");
  add_text(app, "--memory", "SHARE|BYTES|none",
           "Limit to this share of a device's usable memory, such as 90%, or to 40GiB; none unless told",
           [&problem](const std::string& text) {
             problem.memory.reset();
             if (text != "none") problem.memory = parse_memory("--memory", text);
           });
  add_path(app, "-o,--output", problem.output, "The file, gzip when it ends in .gz; - for standard output")->required();
}

void add_readers(CLI::App& root, Parsed& parsed) {
  ValidateCommand& validate = parsed.validate;
  CLI::App& check = add_command(
      root, "validate",
      "Check graph, cluster, device, recipe, profile, pins and plan files, intra-operator problems and stage tables",
      "meshloom validate gpt.json cluster_specs/*.json", parsed, [&validate] { return validate; });
  check.add_option("FILE", validate.files, "Files; - for standard input")->required();
  add_json(check, validate.json, "the finding for each file");

  ExplainCommand& explain = parsed.explain;
  CLI::App& app = add_command(root, "explain", "Where a plan's time and memory go; why an op is sharded as it is",
                              "meshloom explain plan.json --op h0.mlp.up", parsed, [&explain] { return explain; });
  app.add_option("PLAN", explain.plan, "Plan file (meshloom.plan/1); - for standard input")->required();
  add_path(app, "--op", explain.op, "Explain this op: its sharding, the runner-up, the difference")->type_name("ID");
  add_path(app, "--graph", explain.graph, "Graph file, for --op; the one named in the plan unless told");
  add_json(app, explain.json, "the explanation");
}

void add_solve(CLI::App& root, Parsed& parsed) {
  CLI::App* group = root.add_subcommand("solve", "Solve a search problem that is given as a file");
  group->require_subcommand(1);
  group->footer("Example:\n  meshloom solve intra-op problem.json.gz --time-limit 60");

  SolveIntraOpCommand& intra_op = parsed.intra_op;
  CLI::App& intra = add_command(*group, "intra-op", "Choose a strategy per node: Alpa's Eq. 1, the ASPLOS 2025 contest",
                                "meshloom solve intra-op problem.json.gz --time-limit 60 --json", parsed,
                                [&intra_op] { return intra_op; });
  intra.get_option("--threads")
      ->description("Use at most N threads; an answer that no time limit or interrupt stopped does not depend on it");
  intra.add_option("PROBLEM", intra_op.problem, "Problem file, plain or gzip; - for standard input")->required();
  add_text(intra, "--time-limit", "S", "Give the best answer found within S seconds; 60 unless told",
           [&intra_op](const std::string& text) { intra_op.time_limit_s = parse_seconds("--time-limit", text); });
  add_text(intra, "--gap", "SHARE",
           "Stop once the answer is proven to be this close to the best: 1% or 0.01; 0 unless told",
           [&intra_op](const std::string& text) { intra_op.gap = parse_share("--gap", text); });
  add_choice(intra, "--solver", {"auto", "elimination", "cbc", "anytime"},
             "auto (unless told): all means, until proven; elimination: exact and without a time limit, only where the "
             "usage limit cannot bind; cbc: Alpa's integer program; anytime: good answers before proofs",
             [&intra_op](const std::string& text) { intra_op.solver = *solver_named(text); });
  add_path(intra, "-o,--output", intra_op.output, "Write the answer as JSON, gzip when it ends in .gz");
  add_json(intra, intra_op.json, "the answer");

  SolveInterOpCommand& inter_op = parsed.inter_op;
  CLI::App& inter =
      add_command(*group, "inter-op", "Cut layers into stages on submeshes: Alpa's Eq. 2 on a stage table",
                  "meshloom solve inter-op table.json --json", parsed, [&inter_op] { return inter_op; });
  inter
      .add_option("TABLE", inter_op.table, "Stage table (meshloom.stage_table/1), plain or gzip; - for standard input")
      ->required();
  add_path(inter, "-o,--output", inter_op.output, "Write the answer as JSON, gzip when it ends in .gz");
  add_json(inter, inter_op.json, "the answer");
}

void add_accuracy(CLI::App& root, Parsed& parsed) {
  AccuracyCommand& accuracy = parsed.accuracy;
  CLI::App& app = add_command(root, "accuracy", "Compare predictions with measured training runs",
                              "meshloom accuracy runs.json --gpu H100 --worst 20 --svg scatter.svg", parsed,
                              [&accuracy] { return accuracy; });
  app.add_option("RUNS", accuracy.runs, "Measured runs, plain or gzip; - for standard input")->required();
  add_path(app, "--source", accuracy.source, "Only runs whose source contains TEXT")->type_name("TEXT");
  add_path(app, "--gpu", accuracy.gpu, "Only runs on GPUs whose name contains TEXT")->type_name("TEXT");
  add_path(app, "--framework", accuracy.framework, "Only runs of frameworks whose name contains TEXT")
      ->type_name("TEXT");
  add_path(app, "--constants", accuracy.constants, "Price with the device files and recipes that calibrate wrote")
      ->type_name("FOLDER");
  app.add_option("--profile", accuracy.profiles,
                 "Price runs on its device with these measured times (meshloom.profile/1); repeat for more")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_integer(app, "--worst", accuracy.worst, most_listed, "List the N runs with the largest errors; 10 unless told");
  add_path(app, "--csv", accuracy.csv, "Write a line for each run: error, memory, where its time goes");
  add_path(app, "--svg", accuracy.svg, "Draw measured against predicted times");
  add_json(app, accuracy.json, "the comparison");
}

std::set<LeaveOut> leave_outs(const std::string& text) {
  std::set<LeaveOut> result;
  for (const std::string& name : parse_names("--leave-out", text)) {
    check_choice("--leave-out", name, {"source", "framework", "device"});
    result.insert(name == "source" ? LeaveOut::source : name == "framework" ? LeaveOut::framework : LeaveOut::device);
  }
  return result;
}

void add_calibrate(CLI::App& root, Parsed& parsed) {
  CalibrateCommand& calibrate = parsed.calibrate;
  CLI::App& app = add_command(root, "calibrate", "Fit the constants of devices and recipes to measured training runs",
                              "meshloom calibrate runs.json -o calibrated", parsed, [&calibrate] { return calibrate; });
  app.add_option("RUNS", calibrate.runs, "Measured runs, plain or gzip; - for standard input")->required();
  add_text(app, "-o,--output", "FOLDER", "Write device files, recipes, intervals, residuals and a report here",
           [&calibrate](const std::string& text) { calibrate.output = text; })
      ->required();
  add_path(app, "--constants", calibrate.constants,
           "The constants to fit (meshloom.calibration/1), instead of those that come with the program");
  add_path(app, "--from", calibrate.from,
           "Take FOLDER/devices/*.json and FOLDER/recipes/*.json before the program's own")
      ->type_name("FOLDER");
  add_integer(app, "--folds", calibrate.folds, most_folds, "Cross-validate with N parts; 4 unless told");
  add_text(app, "--leave-out", fmt::format("source|framework|device{}", several_choices),
           "Predict each source, framework or generation of devices, too, by constants that were fitted without it; "
           "several with commas",
           [&calibrate](const std::string& text) { calibrate.leave_out = leave_outs(text); });
  add_integer(app, "--worst", calibrate.worst, most_listed, "List the N runs with the largest errors; 20 unless told");
  add_json(app, calibrate.json, "the report");
}

void add_devices(CLI::App& root, Parsed& parsed) {
  DevicesCommand& devices = parsed.devices;
  CLI::App& app = add_command(root, "devices", "List the devices that a cluster file may name", "meshloom devices",
                              parsed, [&devices] { return devices; });
  add_json(app, devices.json, "the devices, with their aliases");
}

}  // namespace meshloom
