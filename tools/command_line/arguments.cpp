#include "tools/command_line/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "graphs/input_error.hpp"
#include "tools/command_line/arguments_parts.hpp"
#include "tools/command_line/completion.hpp"

namespace meshloom {
namespace {

void add_constraints(CLI::App& app, PlanCommand& plan) {
  Constraints& constraints = plan.search.constraints;
  add_text(app, "--stages", "auto|N", "Number of pipeline stages", [&constraints](const std::string& text) {
    constraints.stages.reset();
    if (text != "auto") constraints.stages = static_cast<std::uint32_t>(parse_integer("--stages", text, most_layers));
  });
  add_text(app, "--submeshes", "all|LIST", "Submeshes that stages may have, hosts x devices of each, as in 1x4,1x8",
           [&constraints](const std::string& text) { constraints.submeshes = parse_submeshes("--submeshes", text); });
  add_text(app, "--boundaries", "none|LIST", "Layers that begin a stage, as in h4,h8; others may, too",
           [&constraints](const std::string& text) { constraints.boundaries = parse_names("--boundaries", text); });
  add_path(app, "--stages-from", plan.stage_list,
           "Fix all stages: their layers, submeshes and mesh shapes (meshloom.stages/1)");
  add_text(app, "--memory-share", "SHARE", "Share of a device's memory that a plan may take; all of it unless told",
           [&constraints](const std::string& text) {
             constraints.memory_share = parse_share_of_memory("--memory-share", text);
           });
  add_text(app, "--time-limit", "S", "Seconds after which the best plan so far is the answer; no limit unless told",
           [&plan](const std::string& text) { plan.time_limit = Seconds(parse_seconds("--time-limit", text)); });
}

void add_plan(CLI::App& root, Parsed& parsed) {
  PlanCommand& plan = parsed.plan;
  CLI::App& app =
      add_command(root, "plan", "Find the fastest plan for a graph on a cluster",
                  "meshloom plan gpt.json cluster_specs/aws_p3_16xlarge.json --global-batch 1024 -o plan.json", parsed,
                  [&plan] { return plan; });
  add_inputs(app, plan.inputs);
  add_profiles(app, plan.inputs.profiles);
  add_integer(app, "--global-batch", plan.search.global_batch, most_samples, "Samples per training step")->required();
  CLI::Option* size = add_integer_or_auto(app, "--microbatch-size", plan.search.microbatch_size,
                                          "Samples per microbatch over all devices of a stage");
  add_text(
      app, "--microbatches", "N", "Number of microbatches, instead of their size",
      [&plan](const std::string& text) { plan.microbatches = parse_integer("--microbatches", text, most_samples); })
      ->excludes(size);
  add_choice(app, "--schedule", {"auto", "1f1b", "gpipe", "interleaved-1f1b", "zb-h1", "zb-h2", "zb-1p", "zb-2p"},
             "Pipeline schedule; auto: those that the recipe lists",
             [&plan](const std::string& text) { plan.search.schedule = schedule_named(text); });
  add_integer(
      app, "--vpp", plan.search.chunks, most_searched_chunks,
      "Virtual pipeline stages of interleaved-1f1b: chunks of the model per rank; 2 to 8, searched, unless told");
  add_choice(app, "--parameter-state", {"auto", "replicated", "zero1", "zero2", "zero3"},
             "How parameters and their state are kept",
             [&plan](const std::string& text) { plan.search.parameter_state = parameter_state_named(text); });
  add_choice(app, "--recompute", {"auto", "none", "selective", "full"}, "What the backward computes again",
             [&plan](const std::string& text) { plan.search.recompute = recompute_named(text); });
  add_integer(app, "--layers", plan.search.layers, most_layers,
              "Plan with N layers: groups of the graph's layers, or of its ops where it names none");
  add_choice(
      app, "--thinning", {"auto", "always", "never"},
      "Keep only shardings that are best at some weights of time and memory; auto, unless told: not where all of "
      "them can be kept",
      [&plan](const std::string& text) {
        plan.search.thinning = text == "auto"     ? Thinning::automatic
                               : text == "always" ? Thinning::always
                                                  : Thinning::never;
      });
  add_text(app, "--max-mesh-axes", "1|2|3|4", "Axes of a device mesh at most; 2 unless told",
           [&plan](const std::string& text) {
             check_choice("--max-mesh-axes", text, {"1", "2", "3", "4"});
             plan.search.max_mesh_axes = static_cast<std::size_t>(parse_integer("--max-mesh-axes", text, 4));
           });
  add_constraints(app, plan);
  add_path(app, "--pin", plan.pins, "Fix how ops and tensors are sharded: pins file (meshloom.pins/1)");
  app.add_flag("--no-baselines", plan.without_baselines, "Do not add uniform layouts to the candidates");
  add_outputs(app, plan.outputs);
}

void add_baseline(CLI::App& root, Parsed& parsed) {
  BaselineCommand& baseline = parsed.baseline;
  UniformLayout& layout = baseline.layout;
  CLI::App& app = add_command(root, "baseline", "Price a uniform Megatron-style layout with the same cost model",
                              "meshloom baseline gpt.json cluster_specs/aws_p3_16xlarge.json --global-batch 1024 --tp "
                              "4 --pp 2 -o baseline.json",
                              parsed, [&baseline] { return baseline; });
  add_inputs(app, baseline.inputs);
  add_profiles(app, baseline.inputs.profiles);
  add_integer(app, "--global-batch", baseline.global_batch, most_samples, "Samples per training step")->required();
  add_integer(app, "--tp", layout.tensor_parallel, most_degree,
              "Tensor-parallel degree, which divides heads and hidden sizes of MLPs; 1 unless told");
  add_integer(app, "--pp", layout.pipeline_parallel, most_degree, "Pipeline stages; 1 unless told");
  add_integer(app, "--dp", layout.data_parallel, most_degree, "Data-parallel degree; 1 unless told");
  add_integer(app, "--cp", layout.context_parallel, most_degree,
              "Context-parallel degree, a divisor of a sample's tokens, which it shards; 1 unless told");
  add_integer(app, "--ep", layout.expert_parallel, most_degree,
              "Expert-parallel degree, a divisor of dp·cp·tp/etp and of the experts, which it shards; 1 unless told");
  add_integer(
      app, "--etp", layout.expert_tensor_parallel, most_degree,
      "Tensor-parallel devices that divide each expert, a divisor of tp; the others hold whole ones, as part of "
      "ep. As the recipe's frameworks have it unless told");
  add_integer(app, "--vpp", baseline.virtual_stages, most_layers,
              "Virtual pipeline stages: chunks of the model per pipeline rank; 1 unless told");
  app.add_flag("--account-for-embedding-in-pipeline-split", layout.embedding_counts_as_block,
               "The embedding counts as a layer when layers are divided among the stages");
  app.add_flag("--account-for-loss-in-pipeline-split", layout.loss_counts_as_block,
               "Logits and loss count as a layer when layers are divided among the stages");
  app.add_flag("--sequence-parallel", layout.sequence_parallel, "Shard activations between matrix products too");
  add_choice(app, "--zero", {"0", "1", "2", "3"}, "ZeRO stage; 0 unless told", [&layout](const std::string& text) {
    layout.parameter_state = static_cast<ParameterState>(text[0] - '0');
  });
  add_text(app, "--recompute", "none|selective|full", "What the backward computes again; none unless told",
           [&layout](const std::string& text) {
             check_choice("--recompute", text, {"none", "selective", "full"});
             layout.recompute = *recompute_named(text);
           });
  add_integer_or_auto(app, "--microbatch-size", layout.micro_batch_per_replica,
                      "Samples per microbatch and replica, as Megatron counts");
  add_choice(
      app, "--schedule",
      {"1f1b", "gpipe", "eager-1f1b", "interleaved-1f1b", "zb-h1", "zb-h2", "zb-1p", "zb-2p", "dualpipe", "inference"},
      "Pipeline schedule; 1f1b unless told, interleaved-1f1b with --vpp",
      [&baseline](const std::string& text) { baseline.schedule = schedule_named(text); });
  add_outputs(app, baseline.outputs);
}

void add_time(CLI::App& app, const std::string& option, std::function<void(Seconds)> set, const std::string& help) {
  add_text(app, option, "TIME", help,
           [option, set = std::move(set)](const std::string& text) { set(parse_time(option, text)); });
}

void add_disturbances(CLI::App& app, SimulateCommand& simulate) {
  app.add_option_function<std::vector<std::string>>(
         "--slow",
         [&simulate](const std::vector<std::string>& words) {
           for (const std::string& each : words) simulate.noise.slowdowns.push_back(parse_slowdown("--slow", each));
         },
         "A slow rank or device: it computes so many times as long, as in rank:2=1.2 or device:17=1.2; repeat for more")
      ->type_name("WHO=FACTOR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  CLI::Option* jitter =
      add_text(app, "--jitter", "SHARE", "Vary every duration at random, by this standard deviation: 3% or 0.03",
               [&simulate](const std::string& text) { simulate.noise.jitter = parse_share("--jitter", text); });
  add_integer(app, "--seed", simulate.noise.seed, most_samples, "With --jitter: where the random numbers start; 1")
      ->needs(jitter);
  add_integer(app, "--runs", simulate.noise.runs, most_runs, "With --jitter: how many steps are simulated; 100")
      ->needs(jitter);
  FailureOptions& failures = simulate.failures;
  add_time(
      app, "--mtbf", [&failures](Seconds time) { failures.between_of_host = time; },
      "Mean time between failures of one host, as in \"30 days\": print the goodput");
  add_time(
      app, "--checkpoint-interval", [&failures](Seconds time) { failures.interval = time; },
      "With --mtbf: work between two checkpoints; about the best unless told");
  add_time(
      app, "--checkpoint-time", [&failures](Seconds time) { failures.checkpoint = time; },
      "With --mtbf: how long the job stands still for a checkpoint");
  add_time(
      app, "--restart-time", [&failures](Seconds time) { failures.restart = time; },
      "With --mtbf: from a failure until the last checkpoint is loaded");
  CLI::Option* between = app.get_option("--mtbf");
  between->needs(app.get_option("--checkpoint-time"))->needs(app.get_option("--restart-time"));
  for (const char* option : {"--checkpoint-interval", "--checkpoint-time", "--restart-time"})
    app.get_option(option)->needs(between);
}

void add_simulate(CLI::App& root, Parsed& parsed) {
  SimulateCommand& simulate = parsed.simulate;
  CLI::App& app =
      add_command(root, "simulate", "Simulate the training step of a plan; price it again if asked",
                  "meshloom simulate plan.json --trace trace.json", parsed, [&simulate] { return simulate; });
  app.add_option("PLAN", simulate.plan, "Plan file (meshloom.plan/1); - for standard input")->required();
  add_path(app, "--trace", simulate.trace, "Write a trace for Perfetto or chrome://tracing");
  add_integer(app, "--trace-limit", simulate.trace_limit, most_samples,
              "With --trace: only the first N instructions of the step; 200000 unless told")
      ->needs(app.get_option("--trace"));
  add_path(app, "--report", simulate.report, "Write a report as one HTML page");
  CLI::Option* graph = add_path(app, "--graph", simulate.graph,
                                "With --cluster: price every op again from the layouts; exit 5 on differences");
  CLI::Option* cluster =
      add_path(app, "--cluster", simulate.cluster, "Cluster file to price with; the plan's number of hosts");
  graph->needs(cluster);
  cluster->needs(graph);
  add_profiles(app, simulate.profiles)->needs(graph);
  add_disturbances(app, simulate);
  add_json(app, simulate.json, "the summary and the differences");
}

void add_compare(CLI::App& root, Parsed& parsed) {
  CompareCommand& compare = parsed.compare;
  CLI::App& app = add_command(root, "compare", "Compare two plans: times, memory, stages, meshes",
                              "meshloom compare base.json new.json --max-slowdown 2% --format markdown", parsed,
                              [&compare] { return compare; });
  app.add_option("BASE", compare.base, "Plan file; - for standard input")->required();
  app.add_option("NEW", compare.next, "Plan file; - for standard input")->required();
  add_text(app, "--max-slowdown", "SHARE", "Exit 5 when NEW takes longer than BASE by more than this: 2% or 0.02",
           [&compare](const std::string& text) { compare.max_slowdown = parse_share("--max-slowdown", text); });
  const std::vector<std::string> formats{"text", "markdown", "junit", "json"};
  add_choice(app, "--format", formats, "What to print; text unless told", [&compare, formats](const std::string& text) {
    compare.format = static_cast<ComparisonFormat>(std::find(formats.begin(), formats.end(), text) - formats.begin());
  });
  app.add_flag_callback(
      "--json", [&compare] { compare.format = ComparisonFormat::json; }, "The same as --format json");
}

std::vector<CLI::App*> children(const CLI::App& app) {
  return const_cast<CLI::App&>(app).get_subcommands([](CLI::App*) { return true; });
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

// What the names of the options' types say: "auto|1f1b|gpipe", "source|device[,...]".
std::vector<OptionValues> option_values(const CLI::App& app) {
  std::vector<OptionValues> values;
  for (const CLI::Option* option : app.get_options()) {
    const bool several = option->get_type_name().ends_with(several_choices);
    const std::vector<std::string> choices = choices_of(option->get_type_name());
    if (choices.size() < 2) continue;
    for (const std::string& name : option->get_lnames()) values.push_back({"--" + name, choices, several});
    if (option->get_positional()) values.push_back({"", choices, several});
  }
  return values;
}

void collect_names(const CLI::App& app, const std::string& prefix, std::vector<CommandNames>& names) {
  for (const CLI::App* child : children(app)) {
    const std::string command = prefix + child->get_name();
    if (children(*child).empty()) names.push_back({command, option_names(*child), option_values(*child)});
    collect_names(*child, command + " ", names);
  }
}

void add_completion(CLI::App& root, Parsed& parsed) {
  CLI::App& app = add_command(root, "completion", "Print a completion script for a shell",
                              "source <(meshloom completion bash)", parsed, [&root, &parsed] {
                                check_choice("completion", parsed.shell, {"bash", "zsh", "fish"});
                                std::vector<CommandNames> names;
                                collect_names(root, "", names);
                                return PrintCommand{completion_script(parsed.shell, names)};
                              });
  app.add_option("SHELL", parsed.shell, "The shell")->required()->type_name("bash|zsh|fish");
}

// As the user types it: "meshloom graph gpt".
std::string full_name(const CLI::App& app) {
  return app.get_parent() ? full_name(*app.get_parent()) + " " + app.get_name() : app.get_name();
}

// CLI11's own complaints do not guess what was meant, so unknown names are found before it parses. Returns the command
// that the words choose.
const CLI::App& check_names(const CLI::App& root, const std::vector<std::string>& words) {
  const CLI::App* app = &root;
  std::size_t next = 0;
  for (; !children(*app).empty(); ++next) {
    std::vector<std::string> names;
    for (const CLI::App* child : children(*app)) names.push_back(child->get_name());
    if (next == words.size())
      throw InputError(fmt::format("{0} needs a command: {1}; see {0} --help", full_name(*app), joined(names, ", ")));
    if (words[next].starts_with('-')) break;
    const auto found = std::find(names.begin(), names.end(), words[next]);
    if (found == names.end())
      throw InputError(fmt::format("unknown command \"{}\"{}", words[next],
                                   did_you_mean(words[next], names).empty()
                                       ? "; expected one of: " + joined(names, ", ")
                                       : did_you_mean(words[next], names)));
    app = app->get_subcommand(*found);
  }
  const std::vector<std::string> options = option_names(*app);
  for (; next < words.size() && words[next] != "--"; ++next) {
    const std::string name = words[next].substr(0, words[next].find('='));
    if (!name.starts_with("--") || std::find(options.begin(), options.end(), name) != options.end()) continue;
    throw InputError(fmt::format("unknown option \"{}\"{}", name, did_you_mean(name, options)));
  }
  return *app;
}

}  // namespace

Arguments parse_arguments(const std::vector<std::string>& given) {
  CLI::App root("Plans how to train a neural network on a cluster, before anyone rents the cluster.", "meshloom");
  root.set_version_flag("--version", "meshloom " MESHLOOM_VERSION);
  root.require_subcommand(1);
  root.footer(
      "Example:\n  meshloom graph gpt -o gpt.json\n"
      "  meshloom plan gpt.json cluster_specs/aws_p3_16xlarge.json --global-batch 1024 -o plan.json");
  Parsed parsed;
  add_plan(root, parsed);
  add_baseline(root, parsed);
  add_simulate(root, parsed);
  add_compare(root, parsed);
  add_graph(root, parsed);
  add_problem(root, parsed);
  add_readers(root, parsed);
  add_solve(root, parsed);
  add_import(root, parsed);
  add_accuracy(root, parsed);
  add_calibrate(root, parsed);
  add_devices(root, parsed);
  add_completion(root, parsed);

  const std::vector<std::string> words = with_help_as_option(given);
  const CLI::App& chosen = check_names(root, words);
  try {
    root.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::CallForHelp&) {
    return {PrintCommand{root.help()}};
  } catch (const CLI::CallForVersion& version) {
    return {PrintCommand{std::string(version.what()) + "\n"}};
  } catch (const CLI::ParseError& error) {
    throw InputError(fmt::format("{}; see {} --help", error.what(), full_name(chosen)));
  }
  return parsed.arguments;
}

}  // namespace meshloom
