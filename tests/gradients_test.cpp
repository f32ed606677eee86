#include "graphs/gradients.hpp"

#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "graphs/graph_json.hpp"

using namespace meshloom;

namespace {

// x, ids and rows are inputs; p, q, w, table, scale, bias are parameters; frozen is a parameter without gradient.
Graph parse(const std::string& ops) {
  return parse_graph(R"({"schema": "meshloom.graph/1", "name": "test", "batch_dim": "b", "dims": {"h": 8, "f": 4},
    "tensors": [{"id": "x", "shape": ["b", "h"]}, {"id": "ids", "shape": ["b"], "dtype": "int32"},
                {"id": "rows", "shape": [6], "dtype": "int32"},
                {"id": "p", "shape": [6, "h"], "role": "parameter"}, {"id": "q", "shape": [6, "h"], "role": "parameter"},
                {"id": "w", "shape": ["h", "f"], "role": "parameter"},
                {"id": "frozen", "shape": ["h", "f"], "role": "parameter", "stop_gradient": true},
                {"id": "scale", "shape": ["h"], "role": "parameter"}, {"id": "bias", "shape": ["h"], "role": "parameter"}],
    "ops": [)" + ops + "]}",
                     "test");
}

std::string op(const std::string& kind, const std::string& inputs, const std::string& rule) {
  return R"({"id": "op", "kind": ")" + kind + R"(", "inputs": [)" + inputs + R"(], "outputs": ["y"], "rule": ")" +
         rule + R"("})";
}

OpGradient gradient(const std::string& kind, const std::string& inputs, const std::string& rule) {
  return differentiate(parse(op(kind, inputs, rule))).gradients[0];
}

using Positions = std::vector<std::size_t>;

}  // namespace

TEST_CASE("an einsum of two parameters has two gradients, each reading the other operand") {
  const OpGradient result = gradient("einsum", R"("p", "w")", "a h, h f -> a f");
  REQUIRE(result.kernels.size() == 2);
  CHECK(result.kernels[0].of_inputs == Positions{0});
  CHECK(print_rule(*result.kernels[0].rule) == "a f, h f -> a h");
  CHECK(print_rule(*result.kernels[1].rule) == "a f, a h -> h f");
  CHECK(result.saved.inputs == Positions{0, 1});
  CHECK(result.saved.outputs.empty());
}

TEST_CASE("an einsum of an input and a parameter has one gradient and keeps the input alone") {
  const OpGradient result = gradient("einsum", R"("x", "w")", "b h, h f -> b f");
  REQUIRE(result.kernels.size() == 1);
  CHECK(result.kernels[0].of_inputs == Positions{1});
  CHECK(result.saved.inputs == Positions{0});
}

TEST_CASE("stopped parameters and what depends on no parameter have no gradient") {
  const OpGradient stopped = gradient("einsum", R"("x", "frozen")", "b h, h f -> b f");
  CHECK(stopped.kernels.empty());
  CHECK(stopped.saved.inputs.empty());
  CHECK(gradient("dropout", R"("x")", "b h -> b h").saved.extra_bytes_per_output_element == 0);
  // The gradient passes a frozen weight on its way to p, for which it reads that weight and not p.
  const OpGradient passing = gradient("einsum", R"("p", "frozen")", "a h, h f -> a f");
  REQUIRE(passing.kernels.size() == 1);
  CHECK(passing.kernels[0].of_inputs == Positions{0});
  CHECK(passing.saved.inputs == Positions{1});
}

TEST_CASE("a result whose gradient is stopped leaves nothing for the backward") {
  const Graph graph = parse_graph(R"({"schema": "meshloom.graph/1", "name": "t", "batch_dim": "b", "dims": {},
    "tensors": [{"id": "p", "shape": [4], "role": "parameter"},
                {"id": "y", "shape": [4], "role": "intermediate", "stop_gradient": true}],
    "ops": [{"id": "r", "kind": "gelu", "inputs": ["p"], "outputs": ["y"], "rule": "a -> a"},
            {"id": "z", "kind": "gelu", "inputs": ["y"], "outputs": ["z"], "rule": "a -> a"}]})",
                                  "t");
  const TrainingGraph training = differentiate(graph);
  CHECK(training.gradients[0].kernels.empty());
  CHECK(training.gradients[1].kernels.empty());
}

TEST_CASE("an embedding's gradient reads the indices and not the table") {
  const OpGradient result = gradient("gather", R"("p", "ids")", "v h, b -> b h");
  REQUIRE(result.kernels.size() == 1);
  CHECK(print_rule(*result.kernels[0].rule) == "b h, b -> v h");
  CHECK(result.saved.inputs == Positions{1});
}

TEST_CASE("an add saves nothing and its gradients read the result's alone") {
  const OpGradient result = gradient("add", R"("p", "bias")", "a h, h -> a h");
  REQUIRE(result.kernels.size() == 2);
  CHECK(print_rule(*result.kernels[0].rule) == "a h -> a h");
  CHECK(print_rule(*result.kernels[1].rule) == "a h -> h");
  CHECK(result.saved.inputs.empty());
  CHECK(result.saved.outputs.empty());
}

TEST_CASE("linear kinds of one operand save nothing") {
  CHECK(print_rule(*gradient("sum", R"("p")", "a h -> a").kernels[0].rule) == "a -> a h");
  CHECK(print_rule(*gradient("broadcast", R"("scale")", "h -> f h").kernels[0].rule) == "f h -> h");
  for (const char* kind : {"sum", "reshape", "scale"})
    CHECK(gradient(kind, R"("p")", "a h -> a h").saved.inputs.empty());
}

TEST_CASE("a product of activations keeps the operands that the other's gradient reads") {
  CHECK(gradient("multiply", R"("p", "q")", "a h, a h -> a h").saved.inputs == Positions{0, 1});
  const OpGradient result = gradient("multiply", R"("x", "scale")", "b h, h -> b h");
  CHECK(result.saved.inputs == Positions{0});
  CHECK(result.kernels[0].of_inputs == Positions{1});
  // Forward moves 3 tensors, backward 5.
  CHECK(result.kernels[0].cost_of_forward == Approx(5.0 / 3));
}

TEST_CASE("each kind that is not multilinear keeps what its backward reads") {
  const auto saved = [](const char* kind, const char* inputs, const char* rule) {
    return gradient(kind, inputs, rule).saved;
  };
  CHECK(saved("gelu", R"("p")", "a h -> a h").inputs == Positions{0});
  CHECK(saved("gelu", R"("p")", "a h -> a h").outputs.empty());
  CHECK(saved("silu", R"("p")", "a h -> a h").inputs == Positions{0});
  CHECK(saved("relu", R"("p")", "a h -> a h").inputs.empty());
  CHECK(saved("relu", R"("p")", "a h -> a h").outputs == Positions{0});
  CHECK(saved("softmax", R"("p")", "a h~ -> a h").inputs.empty());
  CHECK(saved("softmax", R"("p")", "a h~ -> a h").outputs == Positions{0});
  CHECK(saved("dropout", R"("p")", "a h -> a h").inputs.empty());
  CHECK(saved("dropout", R"("p")", "a h -> a h").extra_bytes_per_output_element == 1);
  CHECK(saved("rotary", R"("p")", "a h! -> a h").inputs.empty());
  // The norm reads its input and its scale, not its bias; mean and deviation are two floats a row, one without mean.
  CHECK(saved("layer_norm", R"("p", "scale", "bias")", "a h~, h, h -> a h").inputs == Positions{0, 1});
  CHECK(saved("layer_norm", R"("p", "scale", "bias")", "a h~, h, h -> a h").extra_bytes_per_row == 8);
  CHECK(saved("rms_norm", R"("p", "scale")", "a h~, h -> a h").extra_bytes_per_row == 4);
  CHECK(saved("cross_entropy", R"("p", "rows")", "a h~, a -> a").inputs == Positions{0, 1});
}

TEST_CASE("a fused attention keeps its operands, its result and a log-sum-exp a row, and costs 2.5 backward") {
  const Graph graph = build_gpt({.layers = 1});
  const TrainingGraph training = differentiate(graph);
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (graph.ops[i].kind != OpKind::attention) continue;
    const OpGradient& core = training.gradients[i];
    REQUIRE(core.kernels.size() == 1);
    CHECK(core.kernels[0].of_inputs == Positions{0, 1, 2});
    CHECK(core.kernels[0].cost_of_forward == 2.5);
    CHECK(core.saved.inputs == Positions{0, 1, 2});
    CHECK(core.saved.outputs == Positions{0});
    CHECK(core.saved.extra_bytes_per_row == 4);
    // In model FLOPs the repeated scores do not count: 2.
    CHECK(backward_model_flops(graph, training.relations, OpId{static_cast<std::uint32_t>(i)}, 3) ==
          2 * forward_flops(graph.ops[i], 3));
    return;
  }
  FAIL("no attention");
}

TEST_CASE("a custom op states its backward and keeps its inputs") {
  const Graph graph = parse(R"({"id": "op", "kind": "custom", "inputs": ["p", "x"], "outputs": ["y"],
                                "rule": "a! h, b h -> b h", "flops_per_element": 3, "backward_cost": 1.25})");
  const TrainingGraph training = differentiate(graph);
  CHECK(training.gradients[0].kernels[0].cost_of_forward == 1.25);
  CHECK(training.gradients[0].kernels[0].of_inputs == Positions{0});
  CHECK(training.gradients[0].saved.inputs == Positions{0, 1});
  // 3 for each of 2·8 elements; the backward 1.25 times that.
  CHECK(forward_flops(graph.ops[0], 2) == Flops(48));
  CHECK(backward_model_flops(graph, training.relations, OpId{0}, 2) == Flops(60));
}
