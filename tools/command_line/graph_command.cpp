#include <fmt/format.h>

#include "graphs/files.hpp"
#include "graphs/graph_json.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/json_output.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

Graph build(const GptOptions& options) { return build_gpt(options); }
Graph build(const LlamaOptions& options) { return build_llama(options); }
Graph build(const MoeOptions& options) { return build_moe(options); }
Graph build(const WresnetOptions& options) { return build_wresnet(options); }

std::string summary_text(const Graph& graph, const GraphSummary& summary) {
  std::string text = fmt::format("{}: {:.4g} billion parameters, {} ops, {} tensors\n", graph.name,
                                 summary.parameters / 1e9, summary.ops, summary.tensors);
  text +=
      fmt::format("  one sample  {:.4g} TFLOP forward, {:.4g} TFLOP with backward\n",
                  summary.forward_flops_per_sample.value() / 1e12, summary.training_flops_per_sample.value() / 1e12);
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
