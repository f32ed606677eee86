#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "graphs/gradients.hpp"
#include "graphs/graph_json.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

MoeOptions moe(std::int64_t hidden, std::int64_t layers, std::int64_t experts) {
  MoeOptions options;
  options.gpt.hidden = hidden, options.gpt.layers = layers, options.gpt.heads = 16;
  options.experts = experts;
  return options;
}

double parameters(const Graph& graph) { return summarize(graph).parameters; }

const Op& op_named(const Graph& graph, const std::string& id) {
  return *std::find_if(graph.ops.begin(), graph.ops.end(), [&](const Op& op) { return op.id == id; });
}

}  // namespace

TEST_CASE("mixtures of experts have the parameters of Alpa's models") {
  // [Zheng et al. 2022, table 8], in billions as printed there.
  CHECK(parameters(build_moe(moe(768, 8, 8))) == Approx(0.380e9).epsilon(0.02));
  CHECK(parameters(build_moe(moe(768, 8, 16))) == Approx(0.690e9).epsilon(0.02));
  CHECK(parameters(build_moe(moe(768, 16, 16))) == Approx(1.3e9).epsilon(0.04));
  CHECK(parameters(build_moe(moe(1024, 16, 16))) == Approx(2.4e9).epsilon(0.02));
  CHECK(parameters(build_moe(moe(1536, 16, 32))) == Approx(10e9).epsilon(0.02));
  CHECK(parameters(build_moe(moe(2048, 16, 48))) == Approx(27e9).epsilon(0.02));
  CHECK(parameters(build_moe(moe(2048, 32, 64))) == Approx(70e9).epsilon(0.02));
}

TEST_CASE("a mixture's parameters and FLOPs add up by hand") {
  MoeOptions options = moe(64, 2, 4);
  options.gpt.heads = 4, options.gpt.seq_len = 128, options.gpt.vocab = 1000;
  const GraphSummary summary = summarize(build_moe(options));
  const double h = 64, s = 128, f = 512, e = 4, c = 64;  // f = 8h; c = 2·128/4
  // A layer besides its MLP: 4h² + 4h, norms 4h. Dense 2hf + f + h; experts e·2hf, router h·e. Tables 1000h + s·h,
  // norm.
  const double expected =
      2 * (4 * h * h + 8 * h) + (2 * h * f + f + h) + (e * 2 * h * f + h * e) + 1000 * h + s * h + 2 * h;
  CHECK(summary.parameters == expected);
  // Projections 8sh², attention 4s²h; dense 4shf; experts 4·e·c·h·f, router 2she, dispatch and combine 2·s·e·c·h each.
  const double products = 2 * (8 * s * h * h + 4 * s * s * h) + 4 * s * h * f + 4 * e * c * h * f + 2 * s * h * e +
                          4 * s * e * c * h + 2 * s * h * 1000;
  CHECK(summary.forward_flops_per_sample.value() == products);
  // Backward: twice the forward, but the dispatch's mask has no gradient.
  CHECK(summary.training_flops_per_sample.value() == 3 * products - 2 * s * e * c * h);
}

TEST_CASE("every second layer of a mixture has experts unless told otherwise") {
  const auto expert_layers = [](std::int64_t every) {
    MoeOptions options = moe(768, 4, 8);
    options.moe_every = every;
    std::string layers;
    for (const Op& op : build_moe(options).ops)
      if (op.id.ends_with(".moe.dispatch")) layers += op.layer + " ";
    return layers;
  };
  CHECK(expert_layers(2) == "h1 h3 ");
  CHECK(expert_layers(1) == "h0 h1 h2 h3 ");
  CHECK(expert_layers(3) == "h2 ");
}

TEST_CASE("an expert's room is its even share of a sample's tokens times the capacity factor, rounded up") {
  MoeOptions options = moe(768, 2, 48);
  options.capacity_factor = 1.25;
  const Graph graph = build_moe(options);
  const Op& dispatch = op_named(graph, "h1.moe.dispatch");
  // 2·1024/48·1.25 = 53.3
  CHECK(graph.tensor(dispatch.outputs[0]).shape ==
        std::vector<Extent>{{1, true}, {48, false}, {54, false}, {768, false}});
}

TEST_CASE("impossible mixtures are refused with the option's name") {
  MoeOptions options = moe(768, 2, 4);
  options.top_k = 5;
  CHECK_THROWS_WITH(build_moe(options), "--top-k: 5 is above --experts 4; change one of them");
  options.top_k = 2, options.moe_every = 0;
  CHECK_THROWS_WITH(build_moe(options), "--moe-every: must be at least 1, is 0");
}

TEST_CASE("ResNet has the published number of parameters and multiplications") {
  // torchvision's resnet50, 101 and 152: 25,557,032, 44,549,160 and 60,192,808 parameters.
  WresnetOptions options{.depth = 50, .base_channels = 64, .width = 1, .classes = 1000};
  const GraphSummary summary = summarize(build_wresnet(options));
  CHECK(summary.parameters == 25557032);
  // ibid.: 4.09 billion multiplications for an image of 224 × 224, the stride at the 3 × 3 convolution.
  CHECK(summary.forward_flops_per_sample.value() == Approx(2 * 4.09e9).epsilon(0.002));
  // The image has no gradient: the stem's convolution, 2·112²·64·3·49 FLOPs, is computed twice instead of three times.
  CHECK(summary.training_flops_per_sample.value() ==
        Approx(3 * summary.forward_flops_per_sample.value() - 2.0 * 112 * 112 * 64 * 3 * 49).epsilon(1e-12));
  options.depth = 101;
  CHECK(parameters(build_wresnet(options)) == 44549160);
  options.depth = 152;
  CHECK(parameters(build_wresnet(options)) == 60192808);
}

TEST_CASE("Wide-ResNets have the parameters of Alpa's models") {
  const auto size = [](std::int64_t depth, std::int64_t channels, std::int64_t width) {
    return parameters(build_wresnet({.depth = depth, .base_channels = channels, .width = width}));
  };
  // [Zheng et al. 2022, table 9], in billions as printed there; 13B has 12.6.
  CHECK(size(50, 160, 2) == Approx(0.250e9).epsilon(0.02));
  CHECK(size(50, 224, 2) == Approx(0.500e9).epsilon(0.02));
  CHECK(size(50, 320, 2) == Approx(1e9).epsilon(0.02));
  CHECK(size(50, 448, 2) == Approx(2e9).epsilon(0.02));
  CHECK(size(50, 640, 2) == Approx(4e9).epsilon(0.02));
  CHECK(size(50, 320, 16) == Approx(6.8e9).epsilon(0.02));
  CHECK(size(101, 320, 16) == Approx(13e9).epsilon(0.03));
}

TEST_CASE("a strided convolution reads a larger image and multiplies no more") {
  const Graph graph = build_wresnet({});
  const Op& stem = op_named(graph, "stem.conv");
  CHECK(graph.tensor(stem.outputs[0]).shape ==
        std::vector<Extent>{{1, true}, {160, false}, {112, false}, {112, false}});
  CHECK(forward_flops(stem, 2).value() == 2.0 * 2 * 112 * 112 * 160 * 3 * 49);
}

TEST_CASE("pooling keeps operand and result, batch norm its operand and two floats a channel") {
  const Graph graph = build_wresnet({});
  const TrainingGraph training = differentiate(graph);
  const auto saved = [&](const std::string& id) {
    for (std::size_t o = 0; o < graph.ops.size(); ++o)
      if (graph.ops[o].id == id) return training.gradients[o].saved;
    return SavedTensors{};
  };
  CHECK(saved("stem.pool").inputs == std::vector<std::size_t>{0});
  CHECK(saved("stem.pool").outputs == std::vector<std::size_t>{0});
  CHECK(saved("stem.conv.norm").inputs == std::vector<std::size_t>{0, 1});  // and the scale, a parameter
  CHECK(saved("stem.conv.norm").extra_bytes_per_row == 8);
}

TEST_CASE("images that the strides do not divide are refused") {
  CHECK_THROWS_WITH(build_wresnet({.image_size = 225}),
                    "--image-size: 225 is not a multiple of 32, the product of the model's strides");
  CHECK_THROWS_WITH(build_wresnet({.depth = 51}), "--depth: must be 50, 101 or 152, is 51");
}

TEST_CASE("mixtures and Wide-ResNets survive being written and read") {
  for (const Graph& graph : {build_moe(moe(768, 2, 8)), build_wresnet({})})
    CHECK(parse_graph(write_graph(graph), "graph.json") == graph);
}
