#include "planner/strategies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "graphs/graph_json.hpp"
#include "planner/materialize.hpp"
#include "tests/mesh_case.hpp"

using namespace meshloom;

namespace {

using Lines = std::vector<std::string>;

// The parts of a graph file that describe one op.
struct OneOpGraph {
  std::string dims, tensors, op;
};

Graph parse(const OneOpGraph& text) {
  return parse_graph(fmt::format(R"({{"schema": "meshloom.graph/1", "name": "one", "batch_dim": "b", "dims": {{{}}},
    "tensors": [{}], "ops": [{}]}})",
                                 text.dims, text.tensors, text.op),
                     "one.json");
}

OneOpGraph product(const std::string& dims) {
  return {
      dims,
      R"({"id": "x", "shape": ["b", "s", "h"], "dtype": "bf16", "role": "input"}, {"id": "w", "shape": ["h", "f"], "role": "parameter"})",
      R"({"id": "y", "kind": "einsum", "inputs": ["x", "w"], "outputs": ["y"], "rule": "b s h, h f -> b s f"})"};
}

// Enumerates for the op `id` of a graph; all axes free unless roles are given.
class Enumerated {
 public:
  Enumerated(Graph graph, const DeviceMesh& mesh, std::int64_t batch, std::vector<AxisRole> roles = {})
      : graph_(std::move(graph)),
        training_(differentiate(graph_)),
        meanings_(dimension_meanings(graph_)),
        mesh_(mesh),
        context_{graph_, training_, meanings_, mesh_, std::move(roles), batch} {
    context_.roles.resize(mesh.dimensions(), AxisRole::free);
  }
  Enumerated(const Enumerated&) = delete;
  Enumerated& operator=(const Enumerated&) = delete;

  OpId op(const std::string& id) const {
    const auto found = std::find_if(graph_.ops.begin(), graph_.ops.end(), [&](const Op& op) { return op.id == id; });
    REQUIRE(found != graph_.ops.end());
    return OpId{static_cast<std::uint32_t>(found - graph_.ops.begin())};
  }

  // "b,f": the factor on each axis, "-" for none.
  std::string factors(OpId id, const Strategy& strategy) const {
    std::string text;
    for (std::size_t axis = 0; axis < mesh_.dimensions(); ++axis)
      text += fmt::format("{}{}", axis == 0 ? "" : ",",
                          strategy.axes[axis] ? graph_.op(id).rule.factors[index(*strategy.axes[axis])].name : "-");
    return text;
  }

  Lines strategies(const std::string& id) const {
    Lines lines;
    for (const Strategy& strategy : enumerate_strategies(context_, op(id))) lines.push_back(factors(op(id), strategy));
    return lines;
  }

  // "b: [S(0)], [R/P] -> [S(0)]" for each strategy.
  Lines layouts(const std::string& id) const {
    Lines lines;
    for (const Strategy& strategy : enumerate_strategies(context_, op(id)))
      lines.push_back(
          fmt::format("{}: {} -> {}", factors(op(id), strategy), print(strategy.inputs), print(strategy.outputs)));
    return lines;
  }

  Lines excluded(const std::string& id) const { return excluded_by_shape(context_, op(id)); }

 private:
  std::string print(const std::vector<Layout>& layouts) const {
    std::string text;
    for (const Layout& layout : layouts) text += (text.empty() ? "" : ", ") + print_layout(layout, mesh_.dimensions());
    return text;
  }

  Graph graph_;
  TrainingGraph training_;
  DimensionMeanings meanings_;
  DeviceMesh mesh_;
  StrategyContext context_;
};

Graph small_gpt() { return build_gpt({.layers = 1, .hidden = 64, .heads = 4, .seq_len = 16, .vocab = 128}); }

// The factor on the one axis for each op that has one, as the search assigns them under a role.
Lines assignment(const Graph& graph, AxisRole role) {
  MeshCase on_mesh(graph, toy_cluster({}), mesh_of({4}), {}, 4);
  const DeviceMesh mesh = mesh_of({4});
  const Stage stage = materialize_stage(on_mesh.space(), {0, on_mesh.layers() - 1, mesh, {role}, {}, 0}, 4);
  Lines lines;
  for (const OpSharding& op : stage.ops)
    if (!op.axes[0].empty()) lines.push_back(op.op + ":" + op.axes[0]);
  return lines;
}

}  // namespace

TEST_CASE("a product shards each of its factors, and the layouts follow from the rule") {
  const Enumerated one(parse(product(R"("s": 8, "h": 8, "f": 8)")), mesh_of({4}), 4);
  // x is an input of the graph and has no gradient: whole it is R/R. w has one: whole beside sharded work it is R/P.
  CHECK(one.layouts("y") == Lines{"-: [R/R], [R/R] -> [R/R]", "b: [S(0)], [R/P] -> [S(0)]",
                                  "s: [S(1)], [R/P] -> [S(1)]", "h: [S(2)], [S(0)] -> [P/R]",
                                  "f: [R/R], [S(1)] -> [S(2)]"});
}

TEST_CASE("an axis shards only what it divides, two axes what their product divides") {
  const Enumerated one(parse(product(R"("s": 6, "h": 8, "f": 10)")), mesh_of({4}), 8);
  CHECK(one.strategies("y") == Lines{"-", "b", "h"});
  CHECK(one.excluded("y") ==
        Lines{"axis x cannot shard s: 6 is not divisible by 4", "axis x cannot shard f: 10 is not divisible by 4"});
  // b = 2, h = 4; s = 3 and f = 5 are odd. Both axes on b would make 4 parts of 2.
  const Enumerated two(parse(product(R"("s": 3, "h": 4, "f": 5)")), mesh_of({2, 2}), 2);
  CHECK(two.strategies("y") == Lines{"-,-", "-,b", "-,h", "b,-", "b,h", "h,-", "h,b", "h,h"});
}

TEST_CASE("a whole factor is never sharded, and the reason is told") {
  const Enumerated gpt(small_gpt(), mesh_of({4}), 4);
  CHECK(gpt.strategies("h0.attn.core") == Lines{"-", "b", "s", "n"});
  CHECK(gpt.excluded("h0.attn.core") ==
        Lines{"axis x cannot shard d: it must stay whole", "axis x cannot shard t: it must stay whole"});
  // Queries sharded along the positions: keys and values stay whole, their gradients are partial sums.
  CHECK(gpt.layouts("h0.attn.core")[2] == "s: [S(1)], [R/P], [R/P] -> [S(1)]");
}

TEST_CASE("in a product dimension the minor factor is sharded only behind the whole major one") {
  // 8 query heads in 2 groups of key and value heads: (k g) = (2 4).
  const auto llama = [] {
    return build_llama(
        {.layers = 1, .hidden = 64, .heads = 8, .kv_heads = 2, .seq_len = 3, .vocab = 32, .ffn_hidden = 64});
  };
  const Enumerated by_two(llama(), mesh_of({2, 2}), 1);
  CHECK(by_two.strategies("h0.attn.core") == Lines{"-,-", "-,k", "k,-", "k,g"});
  // The keys lack g, so their gradients are partial sums over y.
  CHECK(by_two.layouts("h0.attn.core")[3] == "k,g: [S(2), S(2)], [S(2), R/P], [S(2), R/P] -> [S(2), S(2)]");
  CHECK(Enumerated(llama(), mesh_of({4}), 1).strategies("h0.attn.core") == Lines{"-"});  // 4 does not divide k = 2
}

TEST_CASE("a gather sharded along its table's rows gives a partial sum") {
  const Enumerated gpt(small_gpt(), mesh_of({4}), 4);
  // The tokens are integers without a gradient.
  CHECK(gpt.layouts("embed.tokens") == Lines{"-: [R/R], [R/R] -> [R/R]", "v: [S(0)], [R/R] -> [P/R]",
                                             "h: [S(1)], [R/R] -> [S(2)]", "b: [R/P], [S(0)] -> [S(0)]",
                                             "s: [R/P], [S(1)] -> [S(1)]"});
}

TEST_CASE("a norm or a loss sharded along its rows has a whole result where the result lacks the factor") {
  const Enumerated gpt(small_gpt(), mesh_of({4}), 4);
  CHECK(gpt.layouts("h0.ln1") == Lines{"-: [R/R], [R/R], [R/R] -> [R/R]", "b: [S(0)], [R/P], [R/P] -> [S(0)]",
                                       "s: [S(1)], [R/P], [R/P] -> [S(1)]", "h: [S(2)], [S(0)], [S(0)] -> [S(2)]"});
  CHECK(gpt.layouts("head.token_loss") == Lines{"-: [R/R], [R/R] -> [R/R]", "b: [S(0)], [S(0)] -> [S(0)]",
                                                "s: [S(1)], [S(1)] -> [S(1)]", "v: [S(2)], [R/R] -> [R/R]"});
}

// Shards of a sum add up, so its result may lack the sharded factor; a custom op's do not.
TEST_CASE("a custom op is not sharded along a factor that one of its results lacks") {
  const Enumerated one(
      parse({R"("s": 8)", R"({"id": "x", "shape": ["b", "s"], "dtype": "bf16", "role": "input"})",
             R"({"id": "scan", "kind": "custom", "inputs": ["x"], "outputs": ["y", "last"], "rule": "b s -> b s, b",
      "flops_per_element": 1.0, "bytes_per_element": 4.0, "backward_cost": 1.0})"}),
      mesh_of({4}), 4);
  CHECK(one.strategies("scan") == Lines{"-", "b"});
  CHECK(one.excluded("scan") == Lines{"axis x cannot shard s: an output lacks it"});
}

TEST_CASE("data parallelism shards every batch and nothing else") {
  const Enumerated gpt(small_gpt(), mesh_of({4}), 4, {AxisRole::data_parallel});
  for (const std::string op :
       {"embed.tokens", "embed.positions", "h0.ln1", "h0.attn.q", "h0.attn.core", "h0.mlp.down", "head.token_loss"})
    CHECK(gpt.strategies(op) == Lines{"b"});
  // 2 samples cannot be shared by 4 devices: the work is redundant.
  const Enumerated few(small_gpt(), mesh_of({4}), 2, {AxisRole::data_parallel});
  CHECK(few.strategies("h0.attn.q") == Lines{"-"});
}

TEST_CASE("tensor parallelism shards parameters, and activations between them, never tokens") {
  const Enumerated gpt(small_gpt(), mesh_of({4}), 4, {AxisRole::tensor_parallel});
  CHECK(gpt.strategies("embed.tokens") == Lines{"v"});  // vocabulary parallel, as Megatron's
  CHECK(gpt.strategies("h0.attn.q") == Lines{"h", "n", "d"});
  CHECK(gpt.strategies("h0.attn.core") == Lines{"n"});
  CHECK(gpt.strategies("h0.ln1") == Lines{"-"});
  CHECK(gpt.strategies("h0.mlp.gelu") == Lines{"-", "f"});
  CHECK(gpt.strategies("head.token_loss") == Lines{"-", "v"});
  const Enumerated sequence(small_gpt(), mesh_of({4}), 4, {AxisRole::sequence_parallel});
  CHECK(sequence.strategies("h0.ln1") == Lines{"s"});
  CHECK(sequence.strategies("h0.attn.q") == gpt.strategies("h0.attn.q"));
}

// 8 query heads, 2 key-value heads, 4 devices: two and two share a head.
TEST_CASE("with fewer key-value heads than devices each device has a copy of one and a part of its queries") {
  const Graph llama = build_llama(
      {.layers = 1, .hidden = 64, .heads = 8, .kv_heads = 2, .seq_len = 16, .vocab = 128, .ffn_hidden = 64});
  CHECK(dimension_meanings(llama).heads == std::vector<AttentionHeads>{{8, 2}});
  const Enumerated copies(llama, mesh_of({2, 2}), 4, {AxisRole::tensor_parallel, AxisRole::key_value_copies});
  CHECK(copies.strategies("h0.attn.core") == Lines{"k,g"});  // never twice, however small
  CHECK(copies.strategies("h0.attn.k.rotary") == Lines{"-,-", "n,-"});
  // All else as on one axis of 4 devices.
  const Enumerated one(llama, mesh_of({4}), 4, {AxisRole::tensor_parallel});
  for (const std::string op : {"h0.attn.q", "h0.attn.out", "h0.mlp.up", "h0.mlp.silu", "head.logits", "h0.norm1"}) {
    Lines twice;
    for (const std::string& factor : one.strategies(op)) twice.push_back(factor + "," + factor);
    CHECK(copies.strategies(op) == twice);
  }
  // The product that makes keys: the head of the first axis, made twice. No framework divides a head.
  CHECK(copies.strategies("h0.attn.k") == Lines{"n,-"});
}

TEST_CASE("with one key-value head each device makes it") {
  const Enumerated one(
      build_llama(
          {.layers = 1, .hidden = 64, .heads = 8, .kv_heads = 1, .seq_len = 16, .vocab = 128, .ffn_hidden = 64}),
      mesh_of({4}), 4, {AxisRole::tensor_parallel});
  CHECK(one.strategies("h0.attn.core") == Lines{"g"});
  CHECK(one.strategies("h0.attn.k") == Lines{"-"});
  CHECK(one.strategies("h0.attn.q") == Lines{"h", "n", "d"});
}

TEST_CASE("unfused attention has the heads of its scores") {
  LlamaOptions options{
      .layers = 1, .hidden = 64, .heads = 8, .kv_heads = 2, .seq_len = 16, .vocab = 128, .ffn_hidden = 64};
  options.fused_attention = false;
  CHECK(dimension_meanings(build_llama(options)).heads == std::vector<AttentionHeads>{{8, 2}});
  CHECK(dimension_meanings(small_gpt()).heads == std::vector<AttentionHeads>{{4, 4}});
}

TEST_CASE("context parallelism shards the tokens of a sample, never its parameters or the batch") {
  const Enumerated gpt(small_gpt(), mesh_of({4}), 4, {AxisRole::context_parallel});
  for (const std::string op :
       {"embed.tokens", "embed.positions", "h0.ln1", "h0.attn.q", "h0.attn.core", "h0.mlp.down", "head.token_loss"})
    CHECK(gpt.strategies(op) == Lines{"s"});
}

TEST_CASE("expert parallelism shards the experts' work by expert, all else by batch") {
  MoeOptions options;
  options.gpt.layers = 2, options.gpt.hidden = 64, options.gpt.heads = 4, options.gpt.seq_len = 16;
  options.gpt.vocab = 128, options.experts = 8;
  const Enumerated moe(build_moe(options), mesh_of({4}), 4, {AxisRole::expert_parallel});
  for (const std::string op : {"h1.moe.up", "h1.moe.gelu", "h1.moe.down"}) CHECK(moe.strategies(op) == Lines{"e"});
  for (const std::string op : {"embed.tokens", "h0.attn.core", "h0.mlp.up", "h1.ln2", "h1.moe.router", "h1.moe.softmax",
                               "h1.moe.top_k", "h1.moe.dispatch", "h1.moe.combine", "head.token_loss"})
    CHECK(moe.strategies(op) == Lines{"b"});
}

TEST_CASE("tensor parallelism divides each expert, or with expert parallelism takes whole ones") {
  MoeOptions options;
  options.gpt.layers = 2, options.gpt.hidden = 64, options.gpt.heads = 4, options.gpt.seq_len = 16;
  options.gpt.vocab = 128, options.experts = 8;
  const Graph graph = build_moe(options);
  for (const AxisRole role : {AxisRole::tensor_parallel, AxisRole::sequence_parallel}) {
    const Enumerated divided(graph, mesh_of({4}), 4, {role});
    CHECK(divided.strategies("h1.moe.up") == Lines{"h", "f"});
    CHECK(divided.strategies("h1.moe.down") == Lines{"f", "h"});
  }
  const Enumerated whole(graph, mesh_of({4}), 4, {AxisRole::sequence_and_expert_parallel});
  for (const std::string op : {"h1.moe.up", "h1.moe.gelu", "h1.moe.down"}) CHECK(whole.strategies(op) == Lines{"e"});
  CHECK(whole.strategies("h1.ln2") == Lines{"s"});
  const Enumerated sequence(graph, mesh_of({4}), 4, {AxisRole::sequence_parallel});
  for (const std::string op : {"embed.tokens", "h0.attn.q", "h0.attn.core", "h0.mlp.up", "h1.ln2", "h1.moe.dispatch"})
    CHECK(whole.strategies(op) == sequence.strategies(op));
  const Enumerated without(graph, mesh_of({4}), 4, {AxisRole::tensor_and_expert_parallel});
  CHECK(without.strategies("h1.moe.up") == Lines{"e"});
  CHECK(without.strategies("h1.ln2") == Lines{"-"});
}

TEST_CASE("context parallelism divides the tokens sent to experts") {
  MoeOptions options;
  options.gpt.layers = 2, options.gpt.hidden = 64, options.gpt.heads = 4, options.gpt.seq_len = 16;
  options.gpt.vocab = 128, options.experts = 4, options.capacity_factor = 1;
  const Enumerated moe(build_moe(options), mesh_of({4}), 4, {AxisRole::context_parallel});
  for (const std::string op : {"h1.moe.up", "h1.moe.gelu", "h1.moe.down"}) CHECK(moe.strategies(op) == Lines{"c"});
  CHECK(moe.strategies("h1.moe.dispatch") == Lines{"s"});
}

namespace {

const Lines tensor_parallel_ops = {"embed.tokens:v",       "h0.attn.q:n",   "h0.attn.q.add_bias:n", "h0.attn.k:n",
                                   "h0.attn.k.add_bias:n", "h0.attn.v:n",   "h0.attn.v.add_bias:n", "h0.attn.core:n",
                                   "h0.attn.out:n",        "h0.mlp.up:f",   "h0.mlp.up.add_bias:f", "h0.mlp.gelu:f",
                                   "h0.mlp.down:f",        "head.logits:v", "head.token_loss:v"};

}  // namespace

// Columns of query, key, value and the MLP's first matrix, rows of the output projection and the second matrix, the
// vocabulary of embedding, logits and loss [Shoeybi et al. 2019, §3].
TEST_CASE("the tensor-parallel role gives Megatron's assignment on a built GPT") {
  CHECK(assignment(small_gpt(), AxisRole::tensor_parallel) == tensor_parallel_ops);
}

// And what lies between along the positions [Korthikanti et al. 2022, §4.2.2].
TEST_CASE("the sequence-parallel role shards norms, dropout and residuals along the positions besides") {
  Lines expected = tensor_parallel_ops;
  for (const std::string op :
       {"embed.positions", "embed.dropout", "h0.ln1", "h0.attn.out.add_bias", "h0.attn.dropout", "h0.attn.residual",
        "h0.ln2", "h0.mlp.down.add_bias", "h0.mlp.dropout", "h0.mlp.residual", "head.ln"})
    expected.push_back(op + ":s");
  Lines found = assignment(small_gpt(), AxisRole::sequence_parallel);
  std::sort(expected.begin(), expected.end());
  std::sort(found.begin(), found.end());
  CHECK(found == expected);
}
