// What the definitions of the commands' options share. CLI11 is private to arguments*.cpp, and this header to them.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/command_line/argument_values.hpp"
#include "tools/command_line/arguments.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {

// Beyond these nobody means it, and sums of such numbers would no longer be exact.
inline constexpr std::int64_t most_samples = std::int64_t{1} << 31, most_runs = 1'000'000, most_layers = 10'000,
                              most_searched_chunks = 8, most_hosts = 100'000, most_degree = 10'000'000,
                              most_threads = 4'096, most_listed = 1'000'000, most_folds = 100, most_size = 1 << 20,
                              most_heads = 1 << 14, most_tokens = std::int64_t{1} << 31;

// An option whose text `set` understands.
inline CLI::Option* add_text(CLI::App& app, const std::string& option, const std::string& type, const std::string& help,
                             std::function<void(const std::string&)> set) {
  return app.add_option_function<std::string>(option, std::move(set), help)->type_name(type);
}

template <typename Target>
CLI::Option* add_integer(CLI::App& app, const std::string& option, Target& target, std::int64_t most,
                         const std::string& help) {
  return add_text(app, option, "N", help, [&target, option, most](const std::string& text) {
    target = static_cast<Target>(parse_integer(option, text, most));
  });
}

// A whole number, or "auto" for none.
inline CLI::Option* add_integer_or_auto(CLI::App& app, const std::string& option, std::optional<std::int64_t>& target,
                                        const std::string& help) {
  return add_text(app, option, "auto|N", help, [&target, option](const std::string& text) {
    target.reset();
    if (text != "auto") target = parse_integer(option, text, most_samples);
  });
}

inline CLI::Option* add_choice(CLI::App& app, const std::string& option, std::vector<std::string> choices,
                               const std::string& help, std::function<void(const std::string&)> set) {
  const std::string type = joined(choices, "|");
  return add_text(app, option, type, help, [option, choices = std::move(choices), set](const std::string& text) {
    check_choice(option, text, choices);
    set(text);
  });
}

// Options that are read but whose feature comes later: only `value` is accepted.
inline CLI::Option* add_path(CLI::App& app, const std::string& option, std::optional<std::string>& target,
                             const std::string& help) {
  return add_text(app, option, "FILE", help, [&target](const std::string& text) { target = text; });
}

// Everything the callbacks of CLI11 write into.
struct Parsed {
  Arguments arguments;
  PlanCommand plan;
  BaselineCommand baseline;
  SimulateCommand simulate;
  CompareCommand compare;
  GptOptions gpt;
  LlamaOptions llama;
  MoeOptions moe;
  WresnetOptions wresnet;
  TransformerOptions transformer;
  LatentAttention latent_attention;
  bool has_latent_attention = false;
  Experts experts = {.count = 0};
  HfModel hf;
  GraphCommand graph;
  ProblemCommand problem;
  ValidateCommand validate;
  ExplainCommand explain;
  SolveIntraOpCommand intra_op;
  SolveInterOpCommand inter_op;
  ImportCommand import;
  AccuracyCommand accuracy;
  CalibrateCommand calibrate;
  DevicesCommand devices;
  std::string shell;
};

// A leaf command: its options are added by the caller; when it is chosen, `command` becomes the answer.
inline CLI::App& add_command(CLI::App& parent, const std::string& name, const std::string& help,
                             const std::string& example, Parsed& parsed, std::function<Command()> command) {
  CLI::App* app = parent.add_subcommand(name, help);
  app->footer("Example:\n  " + example);
  app->final_callback([&parsed, command = std::move(command)] { parsed.arguments.command = command(); });
  add_integer(*app, "--threads", parsed.arguments.threads, most_threads,
              "Use at most N threads; the answer does not depend on it");
  return *app;
}

inline void add_json(CLI::App& app, bool& json, const std::string& what) {
  app.add_flag("--json", json, "Print " + what + " as one JSON object on standard output");
}

inline CLI::Option* add_profiles(CLI::App& app, ProfilePaths& profiles) {
  CLI::Option* files =
      app.add_option("--profile", profiles.files, "Measured times to price with (meshloom.profile/1); repeat for more")
          ->type_name("FILE")
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--profile-device-is", profiles.stand_ins,
                 "With --profile: use profiles of this device though the cluster has another; repeat for more")
      ->type_name("NAME")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->needs(files);
  return files;
}

inline void add_inputs(CLI::App& app, InputPaths& inputs) {
  app.add_option("GRAPH", inputs.graph, "Graph file (meshloom.graph/1); - for standard input")->required();
  app.add_option("CLUSTER", inputs.cluster, "Cluster file (meshloom.cluster/1); - for standard input")->required();
  app.add_option("--recipe", inputs.recipe, "What the training framework does; neutral unless told")
      ->type_name(recipe_choices());
  app.add_option("--kernels", inputs.kernels, "One of the recipe's kernel sets, instead of its own choice")
      ->type_name("NAME");
  add_text(app, "--hosts", "N", "Number of hosts, instead of the cluster file's",
           [&inputs](const std::string& text) { inputs.hosts = parse_integer("--hosts", text, most_hosts); });
  add_text(app, "--device-memory", "BYTES", "Memory of each device, as in \"96 GiB\", instead of the cluster file's",
           [&inputs](const std::string& text) { inputs.device_memory = parse_bytes("--device-memory", text); });
}

inline void add_outputs(CLI::App& app, PlanOutputs& outputs) {
  add_path(app, "-o,--output", outputs.plan, "Write the plan (meshloom.plan/1)");
  add_path(app, "--report", outputs.report, "Write a report as one HTML page");
  add_json(app, outputs.json, "the summary");
}

// Of arguments_graph.cpp, arguments_files.cpp and arguments_import.cpp.
void add_graph(CLI::App& root, Parsed& parsed);
void add_transformer(CLI::App& group, Parsed& parsed);
void add_hf(CLI::App& group, Parsed& parsed);
void add_graph_outputs(CLI::App& app, GraphCommand& graph);
void add_problem(CLI::App& root, Parsed& parsed);
void add_readers(CLI::App& root, Parsed& parsed);
void add_solve(CLI::App& root, Parsed& parsed);
void add_import(CLI::App& root, Parsed& parsed);
void add_accuracy(CLI::App& root, Parsed& parsed);
void add_calibrate(CLI::App& root, Parsed& parsed);
void add_devices(CLI::App& root, Parsed& parsed);

}  // namespace meshloom
