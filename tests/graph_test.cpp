#include "graphs/graph.hpp"

#include <catch2/catch.hpp>
#include <stdexcept>

#include "graphs/builders.hpp"
#include "graphs/files.hpp"
#include "graphs/graph_json.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

const std::string zoo = std::string(MESHLOOM_SOURCE_DIR "/graphs/zoo/");

// A graph of which a test writes only what it is about.
std::string graph_text(const std::string& dims, const std::string& tensors, const std::string& ops) {
  return R"({"schema": "meshloom.graph/1", "name": "test", "batch_dim": "b", "dims": {)" + dims + R"(}, "tensors": [)" +
         tensors + R"(], "ops": [)" + ops + "]}";
}

Graph parse(const std::string& dims, const std::string& tensors, const std::string& ops) {
  return parse_graph(graph_text(dims, tensors, ops), "g.json");
}

std::string refusal_of_text(const std::string& text) {
  try {
    parse_graph(text, "g.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

std::string refusal_of(const std::string& dims, const std::string& tensors, const std::string& ops) {
  return refusal_of_text(graph_text(dims, tensors, ops));
}

const Tensor& tensor_named(const Graph& graph, const std::string& id) {
  for (const Tensor& tensor : graph.tensors)
    if (tensor.id == id) return tensor;
  throw std::runtime_error("no tensor " + id);
}

const Op& op_named(const Graph& graph, const std::string& id) {
  for (const Op& op : graph.ops)
    if (op.id == id) return op;
  throw std::runtime_error("no op " + id);
}

const std::string x = R"({"id": "x", "shape": ["b", "h"]})";
const std::string w = R"({"id": "w", "shape": ["h", "f"], "role": "parameter"})";
const std::string up =
    R"({"id": "up", "kind": "einsum", "inputs": ["x", "w"], "outputs": ["u"], "rule": "b h, h f -> b f"})";
const std::string h_and_f = R"("h": 8, "f": 16)";

std::string relu(const std::string& id, const std::string& input, const std::string& output) {
  return R"({"id": ")" + id + R"(", "kind": "relu", "inputs": [")" + input + R"("], "outputs": [")" + output +
         R"("], "rule": "b f -> b f"})";
}

}  // namespace

TEST_CASE("zoo files read, and are written as they stand") {
  for (const char* file : {"mlp.json", "moe_layer.json"}) {
    INFO(file);
    const Graph graph = read_graph(zoo + file);
    CHECK(write_graph(graph) == read_file(zoo + file));
    CHECK(parse_graph(write_graph(graph), file) == graph);
  }
}

TEST_CASE("the format page's worked file is the zoo's, and page and schema name every kind") {
  const std::string docs = std::string(MESHLOOM_SOURCE_DIR "/docs/");
  const std::string page = read_file(docs + "graph_format.md");
  const std::string schema = read_file(docs + "schemas/graph.schema.json");
  CHECK(page.find("```json\n" + read_file(zoo + "mlp.json") + "```") != std::string::npos);
  for (const std::string& kind : op_kind_names()) {
    INFO(kind);
    CHECK(page.find("`" + kind + "`") != std::string::npos);
    CHECK(schema.find("\"" + kind + "\"") != std::string::npos);
  }
}

TEST_CASE("built graphs are the same after writing and reading") {
  for (const bool fused : {true, false}) {
    const Graph gpt =
        build_gpt({.layers = 2, .vocab = 1000, .pad_vocab_to = 128, .fused_attention = fused, .causal = fused});
    CHECK(parse_graph(write_graph(gpt), "gpt") == gpt);
    const Graph llama = build_llama({.layers = 2, .kv_heads = 8, .fused_attention = fused, .dtype = DType::fp16});
    CHECK(parse_graph(write_graph(llama), "llama") == llama);
  }
}

TEST_CASE("sizes that positions do not determine are written and read again") {
  // x is [b, 24] as (p q); p comes from "sizes", q = 24/4. The custom op's r takes its sizes although a dim r exists.
  const Graph graph = parse(R"("h": 24, "r": 5)", R"({"id": "x", "shape": ["b", "h"]})",
                            R"({"id": "split", "kind": "reshape", "inputs": ["x"], "outputs": ["y"],
                                "rule": "b (p q) -> b p q", "sizes": {"p": 4}},
                               {"id": "grow", "kind": "custom", "inputs": ["y"], "outputs": ["z"],
                                "rule": "b p q -> b p q r", "sizes": {"r": 7}})");
  CHECK(tensor_named(graph, "y").shape == std::vector<Extent>{{1, true}, {4, false}, {6, false}});
  CHECK(tensor_named(graph, "z").shape.back() == Extent{7, false});
  CHECK(parse_graph(write_graph(graph), "g.json") == graph);
}

TEST_CASE("declared shapes stay symbolic in one spelling") {
  const Graph graph =
      parse(h_and_f, R"({"id": "x", "shape": ["b", "h * f", "2*h", 7, "07"]})",
            R"({"id": "r", "kind": "relu", "inputs": ["x"], "outputs": ["y"], "rule": "a b c d e -> a b c d e"})");
  CHECK(tensor_named(graph, "x").shape_text == std::vector<std::string>{"b", "h*f", "2*h", "7", "7"});
  CHECK(tensor_named(graph, "y").shape ==
        std::vector<Extent>{{1, true}, {128, false}, {16, false}, {7, false}, {7, false}});
  CHECK(parse_graph(write_graph(graph), "g.json") == graph);
}

TEST_CASE("a factor without position or sizes takes the dim of its name") {
  const Graph graph = parse(R"("h": 8, "s": 5)", x,
                            R"({"id": "repeat", "kind": "broadcast", "inputs": ["x"], "outputs": ["y"],
                                "rule": "b h -> b s h"})");
  CHECK(tensor_named(graph, "y").shape[1] == Extent{5, false});
}

TEST_CASE("a product with one unknown factor gives the quotient, also across the batch") {
  // (b s) of 3·b rows splits into b and s = 3; back again the product scales with the batch.
  const Graph graph = parse(R"("h": 8)", R"({"id": "rows", "shape": ["3*b", "h"]})",
                            R"({"id": "split", "kind": "reshape", "inputs": ["rows"], "outputs": ["y"],
                                "rule": "(b s) h -> b s h"},
                               {"id": "join", "kind": "reshape", "inputs": ["y"], "outputs": ["z"],
                                "rule": "b s h -> (b s) h"})");
  CHECK(tensor_named(graph, "y").shape == std::vector<Extent>{{1, true}, {3, false}, {8, false}});
  CHECK(tensor_named(graph, "z").shape == std::vector<Extent>{{3, true}, {8, false}});
  CHECK(elements(tensor_named(graph, "z"), 10) == 240);  // 30 × 8
}

TEST_CASE("grouped query heads bind by the keys' heads") {
  const Graph graph = build_llama({.layers = 1, .heads = 32, .kv_heads = 8});
  const Op& core = op_named(graph, "h0.attn.core");
  CHECK(print_rule(core.rule) == "b s (k g) d!, b t! k d, b t k d -> b s (k g) d");
  // b, s 4096, k 8, g 32/8, d 4096/32, t 4096
  CHECK(core.factor_sizes ==
        std::vector<Extent>{{1, true}, {4096, false}, {8, false}, {4, false}, {128, false}, {4096, false}});
}

TEST_CASE("ops are brought into order, keeping the file's where it can") {
  const Graph graph =
      parse(h_and_f, x + "," + w,
            relu("last", "r", "z") + "," + relu("middle", "u", "r") + "," + up + "," + relu("side", "u", "q"));
  std::vector<std::string> ids;
  for (const Op& op : graph.ops) ids.push_back(op.id);
  CHECK(ids == std::vector<std::string>{"up", "middle", "last", "side"});
}

TEST_CASE("relations say who makes and reads a tensor, each reader once") {
  const Graph graph = parse(h_and_f, x + "," + w,
                            up + "," + relu("r1", "u", "r") +
                                R"(,{"id": "twice", "kind": "add", "inputs": ["u", "u"], "outputs": ["z"],
                                     "rule": "b f, b f -> b f"})");
  const GraphRelations related = relations(graph);
  // Tensors: x, w as declared, then u, r, z as made.
  CHECK(related.producer == std::vector<std::optional<OpId>>{std::nullopt, std::nullopt, OpId{0}, OpId{1}, OpId{2}});
  CHECK(related.consumers[2] == std::vector<OpId>{OpId{1}, OpId{2}});
  CHECK(related.needs_gradient == std::vector<bool>{false, true, true, true, true});
}

TEST_CASE("layers are runs of equal tags; an untagged op belongs to the layer before it, the first ones to the next") {
  const auto tagged = [](const std::string& id, const std::string& from, const std::string& to,
                         const std::string& tag) {
    std::string text = relu(id, from, to);
    return text.insert(1, R"("layer": ")" + tag + R"(", )");
  };
  const Graph graph = parse(h_and_f, R"({"id": "u", "shape": ["b", "f"]})",
                            relu("first", "u", "a") + "," + tagged("second", "a", "c", "one") + "," +
                                relu("third", "c", "d") + "," + tagged("fourth", "d", "e", "two"));
  const std::vector<GraphLayer> layers = tagged_layers(graph);
  REQUIRE(layers.size() == 2);
  CHECK(layers[0].name == "one");
  CHECK(layers[0].ops == std::vector<OpId>{OpId{0}, OpId{1}, OpId{2}});
  CHECK(layers[1].name == "two");
  CHECK(layers[1].ops == std::vector<OpId>{OpId{3}});
  CHECK(refusal_of(
            h_and_f, R"({"id": "u", "shape": ["b", "f"]})",
            tagged("p", "u", "a", "one") + "," + tagged("q", "a", "c", "two") + "," + tagged("r", "c", "d", "one")) ==
        "g.json: /ops/2/layer: op \"r\" returns to layer \"one\" after layer \"two\"; a layer is a contiguous run of "
        "ops, "
        "rename one part");
}

TEST_CASE("FLOPs count two for each multiplication of an einsum and four for each of a fused attention") {
  // 2·b·h·f = 2·3·8·16
  CHECK(forward_flops(parse(h_and_f, x + "," + w, up).ops[0], 3) == Flops(768));
  const std::string shapes = R"({"id": "q", "shape": ["b", 6, 2, 4]}, {"id": "k", "shape": ["b", 5, 2, 4]},
                                {"id": "v", "shape": ["b", 5, 2, 3]})";
  const auto attention = [](const std::string& more) {
    return R"({"id": "core", "kind": "attention", "inputs": ["q", "k", "v"], "outputs": ["o"],
               "rule": "b s n d!, b t! n d, b t n e! -> b s n e")" +
           more + "}";
  };
  // Scores 2·b·s·t·n·d = 2·1·6·5·2·4 = 480; values 2·b·s·t·n·e = 2·1·6·5·2·3 = 360.
  CHECK(forward_flops(parse("", shapes, attention("")).ops[0], 1) == Flops(840));
  CHECK(forward_flops(parse("", shapes, attention(R"(, "causal": true)")).ops[0], 1) == Flops(420));
  CHECK(forward_flops(parse(h_and_f, R"({"id": "u", "shape": ["b", "f"]})", relu("r", "u", "z")).ops[0], 3) ==
        Flops(0));
}

TEST_CASE("the summary of the MLP is its hand count") {
  const GraphSummary summary = summarize(read_graph(zoo + "mlp.json"));
  // w1 1024·4096 + bias 4096 + w2 4096·512
  CHECK(summary.parameters == 6295552);
  // 2·(1024·4096 + 4096·512)
  CHECK(summary.forward_flops_per_sample == Flops(12582912));
  // Backward: the first product has a gradient for w1 only (x is an input), the second for r and w2:
  // 12582912 + 2·1024·4096 + 2·2·4096·512
  CHECK(summary.training_flops_per_sample == Flops(29360128));
  CHECK(summary.ops == 6);
  CHECK(summary.tensors == 11);
}

TEST_CASE("the MoE layer's experts hold their capacity") {
  const Graph graph = read_graph(zoo + "moe_layer.json");
  CHECK(graph.batch_dim == "g");
  // c = ceil(k·s·capacity/e) = 2·2048·1/8
  CHECK(tensor_named(graph, "expert_inputs").shape ==
        std::vector<Extent>{{1, true}, {8, false}, {512, false}, {1024, false}});
  CHECK(forward_flops(op_named(graph, "experts.up"), 1) == Flops(2.0 * 8 * 512 * 1024 * 4096));
}

TEST_CASE("names that nothing declares are refused with a suggestion") {
  CHECK(refusal_of(h_and_f, x + "," + w, up + "," + relu("r", "v", "z")) ==
        "g.json: /ops/1/inputs/0: unknown tensor \"v\"; no op makes it and \"tensors\" does not declare it");
  CHECK(refusal_of(h_and_f, R"({"id": "inputs", "shape": ["b", "f"]})", relu("r", "input", "z")) ==
        "g.json: /ops/0/inputs/0: unknown tensor \"input\"; did you mean \"inputs\"?");
  CHECK(refusal_of(R"("hidden": 8)", R"({"id": "x", "shape": ["b", "hiden"]})", relu("r", "x", "z")) ==
        "g.json: /tensors/0/shape/1: unknown dimension \"hiden\"; did you mean \"hidden\"?");
  CHECK(refusal_of(h_and_f, x, R"({"id": "r", "kind": "rellu", "inputs": [], "outputs": [], "rule": ""})")
            .find("g.json: /ops/0/kind: unknown value \"rellu\"; expected one of: einsum, conv") == 0);
  CHECK(refusal_of(h_and_f, R"({"id": "x", "shapes": ["b"]})", up) ==
        "g.json: /tensors/0: unknown key \"shapes\"; did you mean \"shape\"?");
}

TEST_CASE("a rule that does not fit its operands is refused, naming both sides") {
  CHECK(refusal_of(R"("h": 8, "f": 16, "m": 9)", R"({"id": "x", "shape": ["b", "m"]},)" + w, up) ==
        "g.json: /ops/0/inputs/1: dimension 0 of \"w\" is 8, but the rule \"b h, h f -> b f\" makes it h = 9 "
        "(dimension 1 "
        "of \"x\")");
  CHECK(refusal_of(h_and_f, R"({"id": "x", "shape": ["b", 3, "h"]},)" + w, up) ==
        "g.json: /ops/0/inputs/0: \"x\" has 3 dimensions, the rule gives it 2");
  CHECK(refusal_of(h_and_f, x + "," + w,
                   R"({"id": "up", "kind": "einsum", "inputs": ["x"], "outputs": ["u"], "rule": "b h, h f -> b f"})") ==
        "g.json: /ops/0/rule: the rule has 2 inputs, the op has 1");
  const std::string split = R"({"id": "split", "kind": "reshape", "inputs": ["x"], "outputs": ["y"],
                                "rule": "b (p q) -> b p q")";
  CHECK(refusal_of(h_and_f, x, split + R"(, "sizes": {"p": 3}})") ==
        "g.json: /ops/0/inputs/0: dimension 1 of \"x\" is 8, which is not divisible by p = 3 (in \"sizes\")");
  CHECK(refusal_of(h_and_f, x, split + R"(, "sizes": {"p": 2, "q": 2}})") ==
        "g.json: /ops/0/inputs/0: dimension 1 of \"x\" is 8, but the rule \"b (p q) -> b p q\" makes it p = 2 (in "
        "\"sizes\"), q = 2 (in \"sizes\")");
  CHECK(refusal_of(h_and_f, x, split + "}") ==
        "g.json: /ops/0/rule: the shapes do not say how large factor \"p\" is; give \"sizes\": {\"p\": …} in this op");
  CHECK(refusal_of(h_and_f, x, split + R"(, "sizes": {"r": 2}})") ==
        "g.json: /ops/0/sizes/r: the rule has no factor \"r\"");
  CHECK(refusal_of(h_and_f, x + "," + w + R"(, {"id": "u", "shape": ["b", "h"], "role": "intermediate"})", up) ==
        "g.json: /ops/0/outputs/0: dimension 1 of \"u\" is 8, but the rule \"b h, h f -> b f\" makes it f = 16 "
        "(dimension "
        "1 of \"w\")");
}

TEST_CASE("a tensor is made once, by one op or by the file") {
  CHECK(refusal_of(h_and_f, x + "," + w, up + "," + relu("r", "u", "u")) ==
        "g.json: /ops/1/outputs/0: tensor \"u\" is already made by op \"up\"");
  CHECK(refusal_of(h_and_f, x + "," + w, up + "," + relu("r", "u", "w")) ==
        "g.json: /tensors/1: op \"r\" makes \"w\"; give it \"role\": \"intermediate\"");
  CHECK(refusal_of(h_and_f, x + "," + w + R"(, {"id": "y", "shape": ["b"], "role": "intermediate"})", up) ==
        "g.json: /tensors/2: no op makes \"y\"; give it role input or parameter, or add the op");
  CHECK(refusal_of(h_and_f, x + "," + x, up) == "g.json: /tensors/1/id: a second tensor \"x\"; give it another id");
  CHECK(refusal_of(h_and_f, x + "," + w, up + "," + up) == "g.json: /ops/1/id: a second op \"up\"; give it another id");
}

TEST_CASE("a cycle is refused with the ops on it") {
  CHECK(refusal_of(h_and_f, x + "," + w, up + "," + relu("p", "rq", "rp") + "," + relu("q", "rp", "rq")) ==
        "g.json: /ops/1: ops wait for each other in a cycle: \"p\", \"q\", \"p\" (each reads a result of the next); "
        "remove "
        "one of these inputs");
  CHECK(refusal_of(h_and_f, "", relu("self", "y", "y")) ==
        "g.json: /ops/0: ops wait for each other in a cycle: \"self\", \"self\" (each reads a result of the next); "
        "remove "
        "one of these inputs");
}

TEST_CASE("the batch dimension has no size, stands once in a tensor and never in a parameter") {
  CHECK(refusal_of(R"("b": 4, "h": 8)", x, relu("r", "x", "z")) ==
        "g.json: /dims/b: this is the batch dimension, whose size the planner chooses; remove it");
  CHECK(refusal_of(h_and_f, R"({"id": "x", "shape": ["b", "b"]})", relu("r", "x", "z")) ==
        "g.json: /tensors/0/shape: tensor \"x\" has the batch dimension \"b\" twice");
  CHECK(refusal_of(h_and_f, R"({"id": "x", "shape": ["b*b"]})", relu("r", "x", "z")) ==
        "g.json: /tensors/0/shape/0: the batch dimension \"b\" stands twice");
  CHECK(refusal_of(h_and_f, R"({"id": "w", "shape": ["b", "f"], "role": "parameter"})", relu("r", "w", "z")) ==
        "g.json: /tensors/0/shape: parameter \"w\" grows with the batch dimension \"b\"; give it role input or another "
        "dimension");
  // Also in what a rule makes: similarities between samples.
  CHECK(refusal_of(h_and_f, x + R"(, {"id": "y", "shape": ["b", "h"]})",
                   R"({"id": "pairs", "kind": "einsum", "inputs": ["x", "y"], "outputs": ["z"],
                       "rule": "a h, c h -> a c"})") ==
        "g.json: /ops/0/outputs/0: tensor \"z\" has the batch dimension \"b\" twice");
}

TEST_CASE("sizes are checked for what a number can hold") {
  CHECK(refusal_of(h_and_f, R"({"id": "x", "shape": ["b", 0]})", relu("r", "x", "z")) ==
        "g.json: /tensors/0/shape/1: must be at least 1, is 0");
  CHECK(refusal_of(R"("m": 4000000000)", R"({"id": "x", "shape": ["b", "m*m"]})", relu("r", "x", "z")) ==
        "g.json: /tensors/0/shape/1: \"m*m\" is larger than 2^63");
}

TEST_CASE("keys of one kind are refused on another") {
  const auto with = [](const std::string& key) {
    std::string text = relu("r", "x", "z");
    return text.insert(1, key + ", ");
  };
  CHECK(refusal_of(h_and_f, x, with(R"("causal": true)")) ==
        "g.json: /ops/0/causal: is a property of attention, not of relu; remove it");
  CHECK(refusal_of(h_and_f, x, with(R"("backward_cost": 2)")) ==
        "g.json: /ops/0/backward_cost: only a custom op states its cost; a relu is priced by its rule, remove it");
  CHECK(
      refusal_of(h_and_f, R"({"id": "t", "shape": [9, "h"]}, {"id": "i", "shape": ["b"]})",
                 R"({"id": "g", "kind": "gather", "inputs": ["t", "i"], "outputs": ["z"], "rule": "v h, b -> b h"})") ==
      "g.json: /ops/0/inputs/1: a gather's indices must be whole numbers; give \"i\" dtype int32");
}

TEST_CASE("a graph file says its schema and holds an op") {
  CHECK(refusal_of_text(R"({"schema": "meshloom.graph/2"})") ==
        "g.json: /schema: is \"meshloom.graph/2\"; expected \"meshloom.graph/1\"");
  CHECK(refusal_of(h_and_f, x, "") == "g.json: /ops: a graph has at least one op");
}
