// The commands: what each was asked to do, as a value, and the function that does it. The options' meaning is in the
// help texts of arguments*.cpp and in docs/meshloom.1.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "accuracy/leave_out.hpp"
#include "costmodel/profile_import.hpp"
#include "graphs/builders.hpp"
#include "graphs/units.hpp"
#include "planner/baseline.hpp"
#include "planner/intra_op/problem.hpp"
#include "planner/search.hpp"
#include "simulator/noise.hpp"

namespace meshloom {

// An interface to scripts: README.md, docs/meshloom.1.
enum class ExitCode {
  done = 0,
  internal_error = 1,
  bad_input = 2,
  infeasible = 3,
  time_limit = 4,
  comparison_failed = 5,
};

// Times that were measured, to price with.
struct ProfilePaths {
  std::vector<std::string> files;
  std::vector<std::string> stand_ins;  // devices whose profiles are to be used though the cluster has others
};

// What `plan` and `baseline` read: paths, "-" for standard input.
struct InputPaths {
  std::string graph, cluster;
  std::string recipe = "neutral";
  std::string kernels;                 // one of the recipe's kernel sets; "": the recipe's own choice
  std::optional<std::int64_t> hosts;   // none: as the cluster file says
  std::optional<Bytes> device_memory;  // none: the same
  ProfilePaths profiles;
};

// What they write; none: not written. "-" is standard output.
struct PlanOutputs {
  std::optional<std::string> plan, report;
  bool json = false;  // the summary as JSON on standard output instead of a table
};

struct PlanCommand {
  InputPaths inputs;
  SearchOptions search;
  std::optional<std::string> pins;           // a file
  std::optional<std::string> stage_list;     // a file
  std::optional<std::int64_t> microbatches;  // the other way to say search.microbatch_size
  std::optional<Seconds> time_limit;
  bool without_baselines = false;
  PlanOutputs outputs;
};
ExitCode run(const PlanCommand& command);

struct BaselineCommand {
  InputPaths inputs;
  UniformLayout layout;                  // its schedule follows from the next two
  std::optional<ScheduleKind> schedule;  // none: interleaved with virtual stages, else 1F1B
  std::int64_t virtual_stages = 1;
  std::int64_t global_batch = 0;
  PlanOutputs outputs;
};
ExitCode run(const BaselineCommand& command);

// Failures of the job; none when `between_of_host` is.
struct FailureOptions {
  std::optional<Seconds> between_of_host;  // mean time between failures of one host
  std::optional<Seconds> interval;         // of checkpoints; none: about the best
  Seconds checkpoint, restart;
};

struct SimulateCommand {
  std::string plan;
  std::optional<std::string> trace, report;
  std::int64_t trace_limit = 200'000;         // instructions
  std::optional<std::string> graph, cluster;  // both or none: price every op again
  ProfilePaths profiles;                      // with them
  Noise noise{.runs = 100};
  FailureOptions failures;
  bool json = false;
};
ExitCode run(const SimulateCommand& command);

enum class ComparisonFormat { text, markdown, junit, json };
struct CompareCommand {
  std::string base, next;
  std::optional<double> max_slowdown;  // 0.02: the new plan may take 2 % longer
  ComparisonFormat format = ComparisonFormat::text;
};
ExitCode run(const CompareCommand& command);

// A config.json of Hugging Face's transformers, and what it does not say.
struct HfModel {
  std::string config;
  std::optional<std::string> name;
  std::optional<std::int64_t> seq_len;
  std::int64_t pad_vocab_to = 1;
  bool fused_attention = true, causal = false, dropout = false;
  DType dtype = DType::bf16;
};

struct GraphCommand {
  std::variant<GptOptions, LlamaOptions, MoeOptions, WresnetOptions, TransformerOptions, HfModel> model;
  std::optional<std::string> output;
  bool json = false;
};
ExitCode run(const GraphCommand& command);

// Of a device: a share of its usable memory, or so many bytes.
using MemoryLimit = std::variant<double, Bytes>;

struct ProblemCommand {
  InputPaths inputs;
  std::vector<std::int64_t> mesh;  // sizes of its axes
  std::int64_t global_batch = 0;
  std::optional<std::int64_t> microbatch_size;  // none: the global batch
  std::optional<MemoryLimit> memory;            // none: no limit
  std::optional<std::string> output;
};
ExitCode run(const ProblemCommand& command);

struct ValidateCommand {
  std::vector<std::string> files;
  bool json = false;
};
ExitCode run(const ValidateCommand& command);

struct ExplainCommand {
  std::string plan;
  std::optional<std::string> op;
  std::optional<std::string> graph;  // none: the path that the plan states
  bool json = false;
};
ExitCode run(const ExplainCommand& command);

struct SolveIntraOpCommand {
  std::string problem;
  Solver solver = Solver::automatic;
  double time_limit_s = 60;
  double gap = 0;  // 0.01: stop once the answer is proven to cost at most 1 % more than necessary
  std::optional<std::string> output;
  bool json = false;
};
ExitCode run(const SolveIntraOpCommand& command);

struct SolveInterOpCommand {
  std::string table;
  std::optional<std::string> output;
  bool json = false;
};
ExitCode run(const SolveInterOpCommand& command);

enum class ImportFormat { nccl_tests, kineto, csv };
struct ImportCommand {
  ImportFormat format = ImportFormat::csv;
  std::string file;
  ImportOptions options;
  std::optional<std::string> output, cluster;  // with a cluster: what the model says
  std::string recipe = "neutral";
  std::vector<std::string> stand_ins;  // devices that the cluster's is compared with though it is another
  bool json = false;
};
ExitCode run(const ImportCommand& command);

struct AccuracyCommand {
  std::string runs;
  std::optional<std::string> source, gpu, framework;  // of runs: part of the name; none: all
  std::optional<std::string> constants;               // a folder that `calibrate` wrote; none: the program's
  std::vector<std::string> profiles;                  // measured times to price with
  std::int64_t worst = 10;                            // rows listed
  std::optional<std::string> csv, svg;
  bool json = false;
};
ExitCode run(const AccuracyCommand& command);

struct CalibrateCommand {
  std::string runs;
  std::string output;                    // a folder
  std::optional<std::string> constants;  // a list; none: the one that comes with the program
  std::optional<std::string> from;       // a folder of device files and recipes that go before the program's
  std::int64_t folds = 4;
  std::set<LeaveOut> leave_out;
  std::int64_t worst = 20;  // rows listed
  bool json = false;
};
ExitCode run(const CalibrateCommand& command);

struct DevicesCommand {
  bool json = false;
};
ExitCode run(const DevicesCommand& command);

// Help, version or a completion script.
struct PrintCommand {
  std::string text;
};
ExitCode run(const PrintCommand& command);

using Command = std::variant<PlanCommand, BaselineCommand, SimulateCommand, CompareCommand, GraphCommand,
                             ProblemCommand, ValidateCommand, ExplainCommand, SolveIntraOpCommand, SolveInterOpCommand,
                             ImportCommand, AccuracyCommand, CalibrateCommand, DevicesCommand, PrintCommand>;

}  // namespace meshloom
