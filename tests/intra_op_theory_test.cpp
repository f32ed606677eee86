// Parallelism as people know it, found by the search on graphs and clusters for which theory says that it is the
// optimum, with all axes free; volumes are bytes that one device sends, for n devices on the axis.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "graphs/graph_json.hpp"
#include "tests/mesh_case.hpp"

using namespace meshloom;

namespace {

using Lines = std::vector<std::string>;

Graph graph_of(const std::string& dims, const std::string& tensors, const std::string& ops) {
  return parse_graph(fmt::format(R"({{"schema": "meshloom.graph/1", "name": "theory", "batch_dim": "b", "dims": {{{}}},
    "tensors": [{}], "ops": [{}]}})",
                                 dims, tensors, ops),
                     "theory.json");
}

std::string steps(const std::vector<CollectiveStep>& collectives) {
  std::string text;
  for (const CollectiveStep& step : collectives)
    text += fmt::format("{}{} {} {}", text.empty() ? "" : ", ", name(step.collective), fmt::join(step.axes, ""),
                        step.whole.value());
  return text.empty() ? "none" : text;
}

// What moves: "tensor > consumer: collectives on the value; on the gradient".
Lines conversions(const Stage& stage) {
  Lines lines;
  for (const Conversion& c : stage.conversions)
    lines.push_back(fmt::format("{} > {}: {}; {}", c.tensor,
                                c.rate == Rate::per_step ? "step"
                                : c.consumer.empty()     ? "node"
                                                         : c.consumer,
                                steps(c.forward), steps(c.backward)));
  std::sort(lines.begin(), lines.end());
  return lines;
}

Lines sorted(Lines lines) {
  std::sort(lines.begin(), lines.end());
  return lines;
}

// The factor that each op's one axis shards: "up:f gelu:f".
std::string shardings(const Stage& stage) {
  std::string text;
  for (const OpSharding& op : stage.ops)
    text += fmt::format("{}{}:{}", text.empty() ? "" : " ", op.op, fmt::join(op.axes, ","));
  return text;
}

struct Volume {
  double forward = 0, backward = 0, per_step = 0;
};

Volume volume(const Stage& stage) {
  const auto sent = [&](const std::vector<CollectiveStep>& collectives) {
    double bytes = 0;
    for (const CollectiveStep& step : collectives) {
      std::int64_t group = 1;
      for (const MeshAxis& axis : stage.mesh)
        if (std::find(step.axes.begin(), step.axes.end(), axis.name) != step.axes.end()) group *= axis.size;
      bytes += wire_bytes(step.collective, step.whole, group).value();
    }
    return bytes;
  };
  Volume total;
  for (const Conversion& c : stage.conversions) {
    (c.rate == Rate::per_step ? total.per_step : total.forward) += sent(c.forward);
    (c.rate == Rate::per_step ? total.per_step : total.backward) += sent(c.backward);
  }
  return total;
}

// The stage that the search makes of a graph of one layer, after CBC has found the same optimum in the same problem.
Stage optimum(MeshCase& on_mesh, const RangeSettings& settings) {
  REQUIRE(on_mesh.layers() == 1);
  const LayerModel& model = on_mesh.solver().ranges().model(0);
  REQUIRE(model.interior == model.nodes.size());  // nothing crosses the layer's border: the problem is whole
  const IntraOpProblem problem = PricedLayer(model, settings).problem();
  const IntraOpSolution by_cbc = solve_by_cbc(problem, {});
  REQUIRE(by_cbc.status == SolveStatus::optimal);
  const TotalCost found = cost_of(problem, on_mesh.solver().ranges().choices(settings, 0, 0).value()[0]);
  CHECK(static_cast<std::int64_t>(found) == static_cast<std::int64_t>(by_cbc.objective));
  return on_mesh.stage(settings, 0, 0);
}

}  // namespace

// Around the block everything works on whole activations (marked `!`), as in a network of which only the blocks are
// sharded [Megatron-LM: Shoeybi et al. 2019, §3]. 16 tokens of 64: X = 2·16·64 = 2048 B; W = 2·64·256 parameters.
//   column then row: x whole, and its gradient a partial sum     one all-reduce of X back
//                    y a partial sum                             one all-reduce of X forward
//   tokens sharded:  all-gathers of X only, but an all-reduce of the gradients, 4·W = 131072 B, each step
//   row then column: a reduce-scatter of the wide activations, 4·X, both ways
//   nothing sharded: 4 times the FLOPs, 3/4 · 12·16·64·256 / 10^12 = 2.4 us against 0.06 us of messages
TEST_CASE("theory: a column- then row-parallel MLP is the optimum for large parameters and few tokens") {
  const Graph graph = graph_of(R"("s": 8, "h": 64, "f": 256)",
                               R"({"id": "tokens", "shape": ["b", "s", "h"], "dtype": "bf16", "role": "input"},
      {"id": "bias", "shape": ["h"], "role": "parameter"},
      {"id": "up.weight", "shape": ["h", "f"], "role": "parameter"}, {"id": "down.weight", "shape": ["f", "h"], "role": "parameter"})",
                               R"(
      {"id": "before", "kind": "add", "inputs": ["tokens", "bias"], "outputs": ["x"], "rule": "b! s! h!, h -> b s h", "layer": "mlp"},
      {"id": "up", "kind": "einsum", "inputs": ["x", "up.weight"], "outputs": ["wide"], "rule": "b s h, h f -> b s f", "layer": "mlp"},
      {"id": "gelu", "kind": "gelu", "inputs": ["wide"], "outputs": ["active"], "rule": "b s f -> b s f", "layer": "mlp"},
      {"id": "down", "kind": "einsum", "inputs": ["active", "down.weight"], "outputs": ["y"], "rule": "b s f, f h -> b s h", "layer": "mlp"},
      {"id": "after", "kind": "sum", "inputs": ["y"], "outputs": ["loss"], "rule": "b! s! h! -> ", "layer": "mlp"})");
  MeshCase on_mesh(graph, toy_cluster({}), mesh_of({4}), {}, 2);
  const Stage stage = optimum(on_mesh, {});
  CHECK(shardings(stage) == "before: up:f gelu:f down:f after:");
  CHECK(conversions(stage) == Lines{"x > up: none; all_reduce x 2048", "y > after: all_reduce x 2048; none"});
  // 2·3/4·2048
  CHECK(volume(stage).forward == 3072);
  CHECK(volume(stage).backward == 3072);
  CHECK(volume(stage).per_step == 0);
}

// As above with 4 heads of 16: heads sharded, so that query, key, value and the core need nothing from other devices. X
// has three consumers; its gradient's three partial sums are added before the one all-reduce.
//   tokens sharded: the all-reduce of the gradients, 4·4·64·64 = 65536 B, and keys and values gathered besides
TEST_CASE("theory: Megatron's attention is the optimum for large parameters and few tokens") {
  const Graph graph = graph_of(R"("s": 8, "h": 64, "n": 4, "d": 16)",
                               R"({"id": "tokens", "shape": ["b", "s", "h"], "dtype": "bf16", "role": "input"},
      {"id": "bias", "shape": ["h"], "role": "parameter"},
      {"id": "q.weight", "shape": ["h", "n", "d"], "role": "parameter"}, {"id": "k.weight", "shape": ["h", "n", "d"], "role": "parameter"},
      {"id": "v.weight", "shape": ["h", "n", "d"], "role": "parameter"}, {"id": "out.weight", "shape": ["n", "d", "h"], "role": "parameter"})",
                               R"(
      {"id": "before", "kind": "add", "inputs": ["tokens", "bias"], "outputs": ["x"], "rule": "b! s! h!, h -> b s h", "layer": "attention"},
      {"id": "q", "kind": "einsum", "inputs": ["x", "q.weight"], "outputs": ["query"], "rule": "b s h, h n d -> b s n d", "layer": "attention"},
      {"id": "k", "kind": "einsum", "inputs": ["x", "k.weight"], "outputs": ["key"], "rule": "b s h, h n d -> b s n d", "layer": "attention"},
      {"id": "v", "kind": "einsum", "inputs": ["x", "v.weight"], "outputs": ["value"], "rule": "b s h, h n d -> b s n d", "layer": "attention"},
      {"id": "core", "kind": "attention", "inputs": ["query", "key", "value"], "outputs": ["mixed"],
       "rule": "b s n d!, b t! n d, b t n d -> b s n d", "layer": "attention"},
      {"id": "out", "kind": "einsum", "inputs": ["mixed", "out.weight"], "outputs": ["y"], "rule": "b s n d, n d h -> b s h", "layer": "attention"},
      {"id": "after", "kind": "sum", "inputs": ["y"], "outputs": ["loss"], "rule": "b! s! h! -> ", "layer": "attention"})");
  MeshCase on_mesh(graph, toy_cluster({}), mesh_of({4}), {}, 2);
  const Stage stage = optimum(on_mesh, {});
  CHECK(shardings(stage) == "before: q:n k:n v:n core:n out:n after:");
  CHECK(conversions(stage) == Lines{"x > node: none; all_reduce x 2048", "y > after: all_reduce x 2048; none"});
  CHECK(volume(stage).forward == 3072);
  CHECK(volume(stage).backward == 3072);
  CHECK(volume(stage).per_step == 0);
}

namespace {

// A transformer block of one sample of 16 tokens of 64, its norms without parameters, dropout before each residual.
Graph block() {
  return graph_of(R"("s": 16, "h": 64, "n": 4, "d": 16, "f": 256)",
                  R"({"id": "tokens", "shape": ["b", "s", "h"], "dtype": "bf16", "role": "input"},
      {"id": "positions", "shape": ["s", "h"], "role": "parameter"},
      {"id": "q.weight", "shape": ["h", "n", "d"], "role": "parameter"}, {"id": "k.weight", "shape": ["h", "n", "d"], "role": "parameter"},
      {"id": "v.weight", "shape": ["h", "n", "d"], "role": "parameter"}, {"id": "out.weight", "shape": ["n", "d", "h"], "role": "parameter"},
      {"id": "up.weight", "shape": ["h", "f"], "role": "parameter"}, {"id": "down.weight", "shape": ["f", "h"], "role": "parameter"})",
                  R"(
      {"id": "embed", "kind": "add", "inputs": ["tokens", "positions"], "outputs": ["x"], "rule": "b s h, s h -> b s h", "layer": "block"},
      {"id": "norm1", "kind": "layer_norm", "inputs": ["x"], "outputs": ["x1"], "rule": "b s h~ -> b s h", "layer": "block"},
      {"id": "q", "kind": "einsum", "inputs": ["x1", "q.weight"], "outputs": ["query"], "rule": "b s h, h n d -> b s n d", "layer": "block"},
      {"id": "k", "kind": "einsum", "inputs": ["x1", "k.weight"], "outputs": ["key"], "rule": "b s h, h n d -> b s n d", "layer": "block"},
      {"id": "v", "kind": "einsum", "inputs": ["x1", "v.weight"], "outputs": ["value"], "rule": "b s h, h n d -> b s n d", "layer": "block"},
      {"id": "core", "kind": "attention", "inputs": ["query", "key", "value"], "outputs": ["mixed"],
       "rule": "b s n d!, b t! n d, b t n d -> b s n d", "layer": "block"},
      {"id": "out", "kind": "einsum", "inputs": ["mixed", "out.weight"], "outputs": ["y1"], "rule": "b s n d, n d h -> b s h", "layer": "block"},
      {"id": "drop1", "kind": "dropout", "inputs": ["y1"], "outputs": ["z1"], "rule": "b s h -> b s h", "layer": "block"},
      {"id": "add1", "kind": "add", "inputs": ["z1", "x"], "outputs": ["r"], "rule": "b s h, b s h -> b s h", "layer": "block"},
      {"id": "norm2", "kind": "layer_norm", "inputs": ["r"], "outputs": ["x2"], "rule": "b s h~ -> b s h", "layer": "block"},
      {"id": "up", "kind": "einsum", "inputs": ["x2", "up.weight"], "outputs": ["wide"], "rule": "b s h, h f -> b s f", "layer": "block"},
      {"id": "gelu", "kind": "gelu", "inputs": ["wide"], "outputs": ["active"], "rule": "b s f -> b s f", "layer": "block"},
      {"id": "down", "kind": "einsum", "inputs": ["active", "down.weight"], "outputs": ["y2"], "rule": "b s f, f h -> b s h", "layer": "block"},
      {"id": "drop2", "kind": "dropout", "inputs": ["y2"], "outputs": ["z2"], "rule": "b s h -> b s h", "layer": "block"},
      {"id": "add2", "kind": "add", "inputs": ["z2", "r"], "outputs": ["t"], "rule": "b s h, b s h -> b s h", "layer": "block"},
      {"id": "after", "kind": "sum", "inputs": ["t"], "outputs": ["loss"], "rule": "b s h -> ", "layer": "block"})");
}

const std::string sequence_parallel_block =
    "embed:s norm1:s q:n k:n v:n core:n out:n drop1:s add1:s norm2:s up:f gelu:f down:f drop2:s add2:s after:s";

}  // namespace

// A reduce-scatter and an all-gather move what the all-reduce between them would [Korthikanti et al. 2022, §4.2], and
// between the two, norms, dropout and residuals work on a quarter of the tokens; memory is slow enough to count,
// 2·10^11 B/s. Sharding them along h instead costs the norms' inner all-reduces; the batch is one sample.
//   plain tensor parallel: the same 4·2·3/4·X both ways together, but norms, dropout and residuals on every device
//   tokens sharded throughout: an all-reduce of the gradients, 4·12·64·64 = 196608 B
TEST_CASE("theory: sequence parallelism is the optimum where norms, dropout and residuals cost time") {
  MeshCase on_mesh(block(), toy_cluster({.memory_bytes_per_s = 2e11, .link_bytes_per_s = 2e11}), mesh_of({4}), {}, 1);
  const Stage stage = optimum(on_mesh, {});
  CHECK(shardings(stage) == sequence_parallel_block);
  // X = 2·16·64 = 2048 B. One all-gather serves query, key and value, and one reduce-scatter their gradients.
  CHECK(conversions(stage) == sorted({"x1 > node: all_gather x 2048; reduce_scatter x 2048",
                                      "y1 > drop1: reduce_scatter x 2048; all_gather x 2048",
                                      "x2 > up: all_gather x 2048; reduce_scatter x 2048",
                                      "y2 > drop2: reduce_scatter x 2048; all_gather x 2048"}));
  CHECK(volume(stage).forward == 4 * 1536);  // 3/4·X each
  CHECK(volume(stage).backward == 4 * 1536);
  CHECK(volume(stage).per_step == 0);
}

// Megatron keeps the norms' sharded results and gathers them again for the weights' gradients: two all-gathers more,
// for 3/4·X less memory each. (Saved besides: as below.)
TEST_CASE("theory: sequence parallelism with saved activations left sharded gathers twice more in the backward") {
  Recipe regather;
  regather.regather_saved_activations = true;
  const Cluster cluster = toy_cluster({.memory_bytes_per_s = 2e11, .link_bytes_per_s = 2e11});
  MeshCase kept(block(), cluster, mesh_of({4}), {}, 1), gathered(block(), cluster, mesh_of({4}), regather, 1);
  const Stage stage = optimum(gathered, {});
  CHECK(shardings(stage) == sequence_parallel_block);
  CHECK(conversions(stage) == sorted({"x1 > node: all_gather x 2048; all_gather x 2048, reduce_scatter x 2048",
                                      "y1 > drop1: reduce_scatter x 2048; all_gather x 2048",
                                      "x2 > up: all_gather x 2048; all_gather x 2048, reduce_scatter x 2048",
                                      "y2 > drop2: reduce_scatter x 2048; all_gather x 2048"}));
  CHECK(volume(stage).forward == 4 * 1536);
  CHECK(volume(stage).backward == 6 * 1536);
  // Per device X/4 = 512 B: x, r, x1, x2; query, key, value, mixed. wide and active 2048 each; the masks of 4 tokens, a
  // byte each element; statistics of 4 tokens in each norm, 8 B, and of the core's 16 in one head, 4 B.
  CHECK(stage.memory.activations_per_microbatch.value() == 4 * 512 + 4 * 512 + 2 * 2048 + 2 * 256 + 64 + 64);
  CHECK(optimum(kept, {}).memory.activations_per_microbatch - stage.memory.activations_per_microbatch ==
        Bytes(2 * 1536));
}

namespace {

Graph small_mlp(std::int64_t hidden, std::int64_t wide) {
  return graph_of(fmt::format(R"("h": {}, "f": {})", hidden, wide),
                  R"({"id": "x", "shape": ["b", "h"], "dtype": "bf16", "role": "input"},
      {"id": "up.weight", "shape": ["h", "f"], "role": "parameter"}, {"id": "down.weight", "shape": ["f", "h"], "role": "parameter"})",
                  R"(
      {"id": "up", "kind": "einsum", "inputs": ["x", "up.weight"], "outputs": ["wide"], "rule": "b h, h f -> b f", "layer": "mlp"},
      {"id": "gelu", "kind": "gelu", "inputs": ["wide"], "outputs": ["active"], "rule": "b f -> b f", "layer": "mlp"},
      {"id": "down", "kind": "einsum", "inputs": ["active", "down.weight"], "outputs": ["y"], "rule": "b f, f h -> b h", "layer": "mlp"},
      {"id": "after", "kind": "sum", "inputs": ["y"], "outputs": ["loss"], "rule": "b h -> ", "layer": "mlp"})");
}

}  // namespace

// 512 samples of 16, parameters 2·16·32: the gradients' all-reduces move 2·3/4·4·1024 = 6144 B once per step; sharding
// parameters means to reduce-scatter y and gather its gradient, 2·3/4·2·512·16 = 24576 B for each of 8 microbatches.
TEST_CASE("theory: data parallelism is the optimum for small parameters and a large batch") {
  MeshCase on_mesh(small_mlp(16, 32), toy_cluster({}), mesh_of({4}), {}, 512);
  const Stage stage = optimum(on_mesh, {ParameterState::replicated, Recompute::none, {.microbatches = 8}});
  CHECK(shardings(stage) == "up:b gelu:b down:b after:b");
  // Gradients of 512 parameters in 4 bytes.
  CHECK(conversions(stage) ==
        Lines{"down.weight > step: none; all_reduce x 2048", "up.weight > step: none; all_reduce x 2048"});
  CHECK(volume(stage).forward == 0);
  CHECK(volume(stage).backward == 0);
  CHECK(volume(stage).per_step == 6144);
}

// 4096 samples of 64 on 8 devices, W = 2·64·256 = 32768 parameters. Under ZeRO-3 the parameters are kept in eighths, 2
// + 4
// + 12 bytes each, and move in each microbatch: 7/8·(2·2 + 4)·W = 229376 B. Sharding them for good takes no less memory
// and moves y and its gradient, 2·7/8·2·4096·64 = 917504 B. What ZeRO-2 keeps whole does not fit.
TEST_CASE("theory: ZeRO-3 is the optimum for a large batch when the parameters' states do not fit whole") {
  Recipe recipe;
  recipe.parameter_states = {ParameterState::replicated, ParameterState::zero1, ParameterState::zero2,
                             ParameterState::zero3};
  const Graph graph = small_mlp(64, 256);
  Cluster cluster = toy_cluster({.devices = 8});
  MeshCase on_mesh(graph, cluster, mesh_of({8}), recipe, 4096);
  const Stage stage = optimum(on_mesh, {ParameterState::zero3, Recompute::none, {}});
  CHECK(shardings(stage) == "up:b gelu:b down:b after:b");
  // 16384 parameters: 32768 B of values, 65536 B of gradients.
  CHECK(conversions(stage) ==
        Lines{"down.weight > down: all_gather x 32768; all_gather x 32768, reduce_scatter x 65536",
              "up.weight > up: all_gather x 32768; all_gather x 32768, reduce_scatter x 65536"});
  CHECK(volume(stage).forward == 57344);            // 2·7/8·32768
  CHECK(volume(stage).backward == 57344 + 114688);  // and 2·7/8·65536
  CHECK(volume(stage).per_step == 0);
  CHECK(stage.memory.parameters + stage.memory.gradients + stage.memory.optimizer == Bytes(32768 * 18 / 8));

  // ZeRO-2 needs 2 + (4 + 12)/8 = 4 bytes a parameter, ZeRO-3 2.25 and a gathered matrix of 32768 B: 24576 B less.
  SearchOptions options{
      .global_batch = 4096, .microbatch_size = 4096, .recompute = Recompute::none, .max_mesh_axes = 1};
  cluster.device.memory = stage.memory.peak();
  const std::vector<Plan> plans = search_plans({graph, cluster, recipe, {}, {}}, options);
  REQUIRE(plans.front().stages.size() == 1);
  CHECK(plans.front().stages[0].parameter_state == ParameterState::zero3);
  CHECK(shardings(plans.front().stages[0]) == "up:b gelu:b down:b after:b");
  CHECK(conversions(plans.front().stages[0]) == conversions(stage));
  cluster.device.memory = 2 * stage.memory.peak();
  CHECK(search_plans({graph, cluster, recipe, {}, {}}, options).front().stages[0].parameter_state !=
        ParameterState::zero3);
}

// 4 groups of 8 tokens of 32, 4 experts with room for 4 tokens of each group, experts of 32·1024 twice. Tokens by
// group, experts by expert [GShard: Lepikhin et al. 2020, §3]: what is dispatched, X = 2·4·4·4·32 = 4096 B, goes to the
// experts and comes back by an all-to-all each, and so do the gradients: 4 times 3/16·X = 768 B for each of 8
// microbatches.
//   experts on all devices:   the all-reduce of their gradients, 2·3/4·4·4·2·32·1024 = 1.5 MiB a step
//   experts sharded inside:   an all-gather and a reduce-scatter of X instead of the two all-to-alls: n times as much
//   tokens whole everywhere:  the gradient of x all-reduced, 2·3/4·2048 B, and y reduced, as much
TEST_CASE("theory: expert parallelism is the optimum for large experts") {
  const Graph graph = parse_graph(R"({"schema": "meshloom.graph/1", "name": "moe", "batch_dim": "g",
    "dims": {"s": 8, "m": 32, "f": 1024, "e": 4, "c": 4},
    "tensors": [{"id": "tokens", "shape": ["g", "s", "m"], "dtype": "bf16", "role": "input"}, {"id": "bias", "shape": ["m"], "role": "parameter"},
      {"id": "router.weight", "shape": ["m", "e"], "role": "parameter"},
      {"id": "up.weight", "shape": ["e", "m", "f"], "role": "parameter"}, {"id": "down.weight", "shape": ["e", "f", "m"], "role": "parameter"},
      {"id": "mask", "shape": ["g", "s", "e", "c"], "dtype": "bool", "role": "intermediate"}],
    "ops": [
      {"id": "before", "kind": "add", "layer": "moe", "inputs": ["tokens", "bias"], "outputs": ["x"], "rule": "g s m, m -> g s m"},
      {"id": "router", "kind": "einsum", "layer": "moe", "inputs": ["x", "router.weight"], "outputs": ["logits"], "rule": "g s m, m e -> g s e"},
      {"id": "softmax", "kind": "softmax", "layer": "moe", "inputs": ["logits"], "outputs": ["shares"], "rule": "g s e~ -> g s e"},
      {"id": "top_k", "kind": "custom", "layer": "moe", "inputs": ["shares"], "outputs": ["weights", "mask"],
       "rule": "g s! e! -> g s e c!, g s e c", "flops_per_element": 0.0, "bytes_per_element": 3.0, "backward_cost": 1.0},
      {"id": "dispatch", "kind": "einsum", "layer": "moe", "inputs": ["x", "mask"], "outputs": ["dispatched"], "rule": "g s m, g s e c -> g e c m"},
      {"id": "up", "kind": "einsum", "layer": "moe", "inputs": ["dispatched", "up.weight"], "outputs": ["wide"], "rule": "g e c m, e m f -> g e c f"},
      {"id": "gelu", "kind": "gelu", "layer": "moe", "inputs": ["wide"], "outputs": ["active"], "rule": "g e c f -> g e c f"},
      {"id": "down", "kind": "einsum", "layer": "moe", "inputs": ["active", "down.weight"], "outputs": ["results"], "rule": "g e c f, e f m -> g e c m"},
      {"id": "combine", "kind": "einsum", "layer": "moe", "inputs": ["results", "weights"], "outputs": ["y"], "rule": "g e c m, g s e c -> g s m"},
      {"id": "residual", "kind": "add", "layer": "moe", "inputs": ["y", "x"], "outputs": ["z"], "rule": "g s m, g s m -> g s m"},
      {"id": "after", "kind": "sum", "layer": "moe", "inputs": ["z"], "outputs": ["loss"], "rule": "g s m -> "}]})",
                                  "moe.json");
  MeshCase on_mesh(graph, toy_cluster({}), mesh_of({4}), {}, 4);
  const Stage stage = optimum(on_mesh, {ParameterState::replicated, Recompute::none, {.microbatches = 8}});
  CHECK(shardings(stage) ==
        "before:g router:g softmax:g top_k:g dispatch:g up:e gelu:e down:e combine:g residual:g after:g");
  CHECK(conversions(stage) == sorted({"dispatched > up: all_to_all x 4096; all_to_all x 4096",
                                      "results > combine: all_to_all x 4096; all_to_all x 4096",
                                      "bias > step: none; all_reduce x 128",              // 32 gradients in 4 bytes
                                      "router.weight > step: none; all_reduce x 512"}));  // 32·4
  CHECK(volume(stage).forward == 2 * 768);
  CHECK(volume(stage).backward == 2 * 768);
  CHECK(volume(stage).per_step == 960);  // 2·3/4·640
}
