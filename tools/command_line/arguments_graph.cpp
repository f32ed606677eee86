#include "graphs/input_error.hpp"
#include "tools/command_line/arguments_models.hpp"

namespace meshloom {

void add_graph_outputs(CLI::App& app, GraphCommand& graph) {
  add_path(app, "-o,--output", graph.output, "Write the graph (meshloom.graph/1)");
  add_json(app, graph.json, "parameters, FLOPs and sizes");
}

namespace {

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

}  // namespace

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
  add_transformer(*group, parsed);
  add_hf(*group, parsed);
  add_wresnet(*group, parsed);
}

}  // namespace meshloom
