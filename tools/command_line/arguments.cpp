#include "tools/command_line/arguments.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>

#include "graphs/input_error.hpp"
#include "tools/command_line/argument_values.hpp"
#include "tools/command_line/completion.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

// Beyond these nobody means it, and sums of such numbers would no longer be exact.
constexpr std::int64_t most_samples = std::int64_t{1} << 31, most_runs = 1'000'000, most_layers = 10'000,
                       most_hosts = 100'000, most_degree = 10'000'000, most_threads = 4'096, most_size = 1 << 20,
                       most_heads = 1 << 14, most_tokens = std::int64_t{1} << 31;

// An option whose text `set` understands.
CLI::Option* add_text(CLI::App& app, const std::string& option, const std::string& type, const std::string& help,
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
CLI::Option* add_integer_or_auto(CLI::App& app, const std::string& option, std::optional<std::int64_t>& target,
                                 const std::string& help) {
  return add_text(app, option, "auto|N", help, [&target, option](const std::string& text) {
    target.reset();
    if (text != "auto") target = parse_integer(option, text, most_samples);
  });
}

CLI::Option* add_choice(CLI::App& app, const std::string& option, std::vector<std::string> choices,
                        const std::string& help, std::function<void(const std::string&)> set) {
  const std::string type = joined(choices, "|");
  return add_text(app, option, type, help, [option, choices = std::move(choices), set](const std::string& text) {
    check_choice(option, text, choices);
    set(text);
  });
}

// Options that are read but whose feature comes later: only `value` is accepted.
void add_not_yet(CLI::App& app, const std::string& option, const std::string& feature) {
  add_text(app, option, "1", feature + "; not supported yet, only 1", [option, feature](const std::string& text) {
    if (parse_integer(option, text, most_degree) != 1)
      throw InputError(option, fmt::format("{} is not supported yet; leave it at 1", feature));
  });
}

CLI::Option* add_path(CLI::App& app, const std::string& option, std::optional<std::string>& target,
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
  GraphCommand graph;
  ProblemCommand problem;
  ValidateCommand validate;
  ExplainCommand explain;
  SolveIntraOpCommand intra_op;
  SolveInterOpCommand inter_op;
  std::string shell;
};

// A leaf command: its options are added by the caller; when it is chosen, `command` becomes the answer.
CLI::App& add_command(CLI::App& parent, const std::string& name, const std::string& help, const std::string& example,
                      Parsed& parsed, std::function<Command()> command) {
  CLI::App* app = parent.add_subcommand(name, help);
  app->footer("Example:\n  " + example);
  app->final_callback([&parsed, command = std::move(command)] { parsed.arguments.command = command(); });
  add_integer(*app, "--threads", parsed.arguments.threads, most_threads,
              "Use at most N threads; the answer does not depend on it");
  return *app;
}

void add_json(CLI::App& app, bool& json, const std::string& what) {
  app.add_flag("--json", json, "Print " + what + " as one JSON object on standard output");
}

void add_inputs(CLI::App& app, InputPaths& inputs) {
  app.add_option("GRAPH", inputs.graph, "Graph file (meshloom.graph/1); - for standard input")->required();
  app.add_option("CLUSTER", inputs.cluster, "Cluster file (meshloom.cluster/1); - for standard input")->required();
  app.add_option("--recipe", inputs.recipe, "What the training framework does: neutral, megatron, alpa or a file")
      ->type_name("neutral|megatron|alpa|FILE");
  add_text(app, "--hosts", "N", "Number of hosts, instead of the cluster file's",
           [&inputs](const std::string& text) { inputs.hosts = parse_integer("--hosts", text, most_hosts); });
}

void add_outputs(CLI::App& app, PlanOutputs& outputs) {
  add_path(app, "-o,--output", outputs.plan, "Write the plan (meshloom.plan/1)");
  add_path(app, "--report", outputs.report, "Write a report as one HTML page");
  add_json(app, outputs.json, "the summary");
}

void add_plan(CLI::App& root, Parsed& parsed) {
  PlanCommand& plan = parsed.plan;
  CLI::App& app =
      add_command(root, "plan", "Find the fastest plan for a graph on a cluster",
                  "meshloom plan gpt.json cluster_specs/aws_p3_16xlarge.json --global-batch 1024 -o plan.json", parsed,
                  [&plan] { return plan; });
  add_inputs(app, plan.inputs);
  add_integer(app, "--global-batch", plan.search.global_batch, most_samples, "Samples per training step")->required();
  CLI::Option* size = add_integer_or_auto(app, "--microbatch-size", plan.search.microbatch_size,
                                          "Samples per microbatch over all devices of a stage");
  add_text(
      app, "--microbatches", "N", "Number of microbatches, instead of their size",
      [&plan](const std::string& text) { plan.microbatches = parse_integer("--microbatches", text, most_samples); })
      ->excludes(size);
  add_choice(app, "--schedule", {"auto", "1f1b", "gpipe"}, "Pipeline schedule",
             [&plan](const std::string& text) { plan.search.schedule = schedule_named(text); });
  add_choice(app, "--parameter-state", {"auto", "replicated", "zero1", "zero2", "zero3"},
             "How parameters and their state are kept",
             [&plan](const std::string& text) { plan.search.parameter_state = parameter_state_named(text); });
  add_choice(app, "--recompute", {"auto", "none", "full"}, "What the backward computes again",
             [&plan](const std::string& text) { plan.search.recompute = recompute_named(text); });
  add_integer(app, "--layers", plan.search.layers, most_layers,
              "Plan with N layers: groups of the graph's layers, or of its ops where it names none");
  add_text(app, "--max-mesh-axes", "1|2|3|4", "Axes of a device mesh at most; 2 unless told",
           [&plan](const std::string& text) {
             check_choice("--max-mesh-axes", text, {"1", "2", "3", "4"});
             plan.search.max_mesh_axes = static_cast<std::size_t>(parse_integer("--max-mesh-axes", text, 4));
           });
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
  add_integer(app, "--global-batch", baseline.global_batch, most_samples, "Samples per training step")->required();
  add_integer(app, "--tp", layout.tensor_parallel, most_degree, "Tensor-parallel degree; 1 unless told");
  add_integer(app, "--pp", layout.pipeline_parallel, most_degree, "Pipeline stages; 1 unless told");
  add_integer(app, "--dp", layout.data_parallel, most_degree, "Data-parallel degree; 1 unless told");
  add_not_yet(app, "--cp", "Context parallelism");
  add_not_yet(app, "--ep", "Expert parallelism");
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
  add_text(app, "--recompute", "none|full", "What the backward computes again; none unless told",
           [&layout](const std::string& text) {
             if (text == "selective")
               throw InputError("--recompute", "selective recompute is not supported yet; use none or full");
             check_choice("--recompute", text, {"none", "full"});
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
  add_path(app, "--report", simulate.report, "Write a report as one HTML page");
  CLI::Option* graph = add_path(app, "--graph", simulate.graph,
                                "With --cluster: price every op again from the layouts; exit 5 on differences");
  CLI::Option* cluster =
      add_path(app, "--cluster", simulate.cluster, "Cluster file to price with; the plan's number of hosts");
  graph->needs(cluster);
  cluster->needs(graph);
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

void add_graph_outputs(CLI::App& app, GraphCommand& graph) {
  add_path(app, "-o,--output", graph.output, "Write the graph (meshloom.graph/1)");
  add_json(app, graph.json, "parameters, FLOPs and sizes");
}

// The options that the transformers share; `Options` is GptOptions or LlamaOptions.
template <typename Options>
void add_model(CLI::App& app, Options& options) {
  app.add_option("--name", options.name, "Name of the graph")->type_name("TEXT");
  add_integer(app, "--layers", options.layers, most_layers,
              fmt::format("Transformer layers; {} unless told", options.layers));
  add_integer(app, "--hidden", options.hidden, most_size, fmt::format("Hidden size; {} unless told", options.hidden));
  add_integer(app, "--heads", options.heads, most_heads, fmt::format("Attention heads; {} unless told", options.heads));
  add_integer(app, "--seq-len", options.seq_len, most_tokens,
              fmt::format("Tokens per sample; {} unless told", options.seq_len));
  add_integer(app, "--vocab", options.vocab, most_tokens, fmt::format("Vocabulary; {} unless told", options.vocab));
  add_integer(app, "--pad-vocab-to", options.pad_vocab_to, most_tokens, "Round the vocabulary up to a multiple of N");
  app.add_flag("--tied-embeddings,!--untied-embeddings", options.tied_embeddings,
               options.tied_embeddings ? "Logits use the embedding's weights (the default)"
                                       : "Logits use the embedding's weights (not by default)");
  app.add_flag("--fused-attention,!--unfused-attention", options.fused_attention,
               "Attention as one kernel (the default), or as its single operators");
  app.add_flag("--causal", options.causal, "Fused attention computes only the lower triangle");
  add_choice(app, "--dtype", {"bf16", "fp16", "fp32"}, "Type of weights and activations; bf16 unless told",
             [&options](const std::string& text) { options.dtype = *dtype_named(text); });
}

void add_moe(CLI::App& group, Parsed& parsed) {
  MoeOptions& moe = parsed.moe;
  CLI::App& app = add_command(group, "moe", "Mixture of experts: GPT with experts in every second layer",
                              "meshloom graph moe --layers 16 --hidden 1024 --heads 16 --experts 16 -o moe.json",
                              parsed, [&parsed] {
                                parsed.graph.model = parsed.moe;
                                return parsed.graph;
                              });
  add_model(app, moe.gpt);
  add_integer(app, "--ffn-hidden", moe.gpt.ffn_hidden, most_size,
              "Hidden size of MLPs and experts; 8 times --hidden unless told");
  app.add_flag("--dropout,!--no-dropout", moe.gpt.dropout, "Dropout after attention and MLP (the default)");
  add_integer(app, "--experts", moe.experts, most_heads,
              fmt::format("Experts of a layer; {} unless told", moe.experts));
  add_integer(app, "--top-k", moe.top_k, most_heads, fmt::format("Experts of a token; {} unless told", moe.top_k));
  add_text(app, "--capacity-factor", "FACTOR", "Room of an expert, in even shares of the tokens; 1 unless told",
           [&moe](const std::string& text) { moe.capacity_factor = parse_factor("--capacity-factor", text); });
  add_integer(app, "--moe-every", moe.moe_every, most_layers, "Every Nth layer has experts; 2 unless told");
  add_graph_outputs(app, parsed.graph);
}

void add_wresnet(CLI::App& group, Parsed& parsed) {
  WresnetOptions& wresnet = parsed.wresnet;
  CLI::App& app =
      add_command(group, "wresnet", "Wide-ResNet: bottleneck blocks with wide 3x3 convolutions",
                  "meshloom graph wresnet --depth 50 --base-channels 320 --width 2 -o wresnet.json", parsed, [&parsed] {
                    parsed.graph.model = parsed.wresnet;
                    return parsed.graph;
                  });
  app.add_option("--name", wresnet.name, "Name of the graph")->type_name("TEXT");
  add_choice(app, "--depth", {"50", "101", "152"}, "Layers with parameters; 50 unless told",
             [&wresnet](const std::string& text) { wresnet.depth = parse_integer("--depth", text, most_layers); });
  add_integer(app, "--base-channels", wresnet.base_channels, most_heads,
              fmt::format("Channels of the first group; {} unless told", wresnet.base_channels));
  add_integer(app, "--width", wresnet.width, most_heads,
              fmt::format("How many times as wide the 3x3 convolutions are; {} unless told", wresnet.width));
  add_integer(app, "--image-size", wresnet.image_size, most_heads,
              fmt::format("Height and width of the images, a multiple of 32; {} unless told", wresnet.image_size));
  add_integer(app, "--classes", wresnet.classes, most_size, fmt::format("Classes; {} unless told", wresnet.classes));
  add_choice(app, "--dtype", {"bf16", "fp16", "fp32"}, "Type of weights and activations; fp32 unless told",
             [&wresnet](const std::string& text) { wresnet.dtype = *dtype_named(text); });
  add_graph_outputs(app, parsed.graph);
}

void add_graph(CLI::App& root, Parsed& parsed) {
  CLI::App* group = root.add_subcommand("graph", "Build the graph of a well-known model");
  group->require_subcommand(1);
  group->footer("Example:\n  meshloom graph gpt --layers 32 --hidden 2560 --heads 32 -o gpt.json");
  CLI::App& gpt =
      add_command(*group, "gpt", "GPT: learned positions, GELU MLP",
                  "meshloom graph gpt --layers 32 --hidden 2560 --heads 32 --seq-len 1024 --vocab 51200 -o gpt.json",
                  parsed, [&parsed] {
                    parsed.graph.model = parsed.gpt;
                    return parsed.graph;
                  });
  add_model(gpt, parsed.gpt);
  add_integer(gpt, "--ffn-hidden", parsed.gpt.ffn_hidden, most_size,
              "Hidden size of the MLP; 4 times --hidden unless told");
  gpt.add_flag("--dropout,!--no-dropout", parsed.gpt.dropout, "Dropout after attention and MLP (the default)");
  add_graph_outputs(gpt, parsed.graph);

  CLI::App& llama = add_command(
      *group, "llama", "Llama: grouped-query attention, gated MLP, RMS norm, rotary positions",
      "meshloom graph llama --layers 80 --hidden 8192 --heads 64 --kv-heads 8 --ffn-hidden 28672 -o llama.json", parsed,
      [&parsed] {
        parsed.graph.model = parsed.llama;
        return parsed.graph;
      });
  add_model(llama, parsed.llama);
  add_integer(llama, "--kv-heads", parsed.llama.kv_heads, most_heads,
              fmt::format("Key and value heads; {} unless told", parsed.llama.kv_heads));
  add_integer(llama, "--ffn-hidden", parsed.llama.ffn_hidden, most_size,
              fmt::format("Hidden size of the MLP; {} unless told", parsed.llama.ffn_hidden));
  add_integer(llama, "--head-dim", parsed.llama.head_dim, most_heads, "Size of a head; --hidden / --heads unless told");
  add_graph_outputs(llama, parsed.graph);
  add_moe(*group, parsed);
  add_wresnet(*group, parsed);
}

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
      root, "validate", "Check graph, cluster, recipe, pins and plan files, intra-operator problems and stage tables",
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

// What the names of the options' types say: "auto|1f1b|gpipe".
std::vector<OptionValues> option_values(const CLI::App& app) {
  std::vector<OptionValues> values;
  for (const CLI::Option* option : app.get_options()) {
    std::vector<std::string> choices = choices_of(option->get_type_name());
    if (choices.size() < 2) continue;
    for (const std::string& name : option->get_lnames()) values.push_back({"--" + name, choices});
    if (option->get_positional()) values.push_back({"", choices});
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
