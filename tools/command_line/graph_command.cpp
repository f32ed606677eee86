#include <fmt/format.h>

#include <initializer_list>
#include <string_view>

#include "graphs/files.hpp"
#include "graphs/graph_json.hpp"
#include "graphs/hf_config.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/json_output.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

Graph build(const GptOptions& options) { return build_gpt(options); }
Graph build(const LlamaOptions& options) { return build_llama(options); }
Graph build(const MoeOptions& options) { return build_moe(options); }
Graph build(const WresnetOptions& options) { return build_wresnet(options); }
Graph build(const TransformerOptions& options) { return build_transformer(options); }

Graph build(const HfModel& model) {
  TransformerOptions options = read_hf_config(model.config);
  if (model.name) options.name = *model.name;
  if (model.seq_len) options.seq_len = *model.seq_len;
  options.pad_vocab_to = model.pad_vocab_to;
  options.fused_attention = model.fused_attention;
  options.causal = model.causal;
  options.dropout = model.dropout;
  options.dtype = model.dtype;
  return build_transformer(options);
}

struct Scale {
  double from;
  std::string_view name;
};

// Four digits in the largest unit that the value reaches: "16.87 million", "9.128 GFLOP".
std::string scaled(double value, std::initializer_list<Scale> scales) {
  for (const Scale& scale : scales)
    if (value >= scale.from) return fmt::format("{:.4g} {}", value / scale.from, scale.name);
  return fmt::format("{:.4g} {}", value, (scales.end() - 1)->name);
}

std::string parameters_text(double count) {
  if (count < 1e4) return fmt::format("{}", count);
  return scaled(count, {{1e9, "billion"}, {1e6, "million"}, {1e3, "thousand"}});
}

std::string flops_text(Flops flops) {
  return scaled(flops.value(),
                {{1e15, "PFLOP"}, {1e12, "TFLOP"}, {1e9, "GFLOP"}, {1e6, "MFLOP"}, {1e3, "kFLOP"}, {1, "FLOP"}});
}

std::string summary_text(const Graph& graph, const GraphSummary& summary) {
  std::string text = fmt::format("{}: {} parameters, {} ops, {} tensors\n", graph.name,
                                 parameters_text(summary.parameters), summary.ops, summary.tensors);
  text += fmt::format("  one sample  {} forward, {} with backward\n", flops_text(summary.forward_flops_per_sample),
                      flops_text(summary.training_flops_per_sample));
  if (graph.padded_vocabulary > 0) text += fmt::format("  vocabulary  padded by {}\n", graph.padded_vocabulary);
  return text;
}

}  // namespace

ExitCode run(const GraphCommand& command) {
  check_output("--output", command.output);
  check_one_standard_output({{"--output -", is_standard_output(command.output)}, {"--json", command.json}});
  const Graph graph = std::visit([](const auto& options) { return build(options); }, command.model);
  const GraphSummary summary = summarize(graph);
  if (command.output) write_file(*command.output, write_graph(graph));
  if (command.json)
    write_file("-", graph_json(graph, summary));
  else if (!is_standard_output(command.output))
    write_file("-", summary_text(graph, summary));
  return ExitCode::done;
}

}  // namespace meshloom
