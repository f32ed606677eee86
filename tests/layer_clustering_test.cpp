#include "planner/layer_clustering.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>
#include <random>
#include <set>
#include <tuple>

#include "graphs/builders.hpp"
#include "graphs/graph_draft.hpp"
#include "planner/layers.hpp"

namespace meshloom {
namespace {

using Begins = std::vector<std::size_t>;

std::size_t draw(std::mt19937& random, std::size_t least, std::size_t most) {
  return least + random() % (most - least + 1);
}

struct RandomGraph {
  std::size_t least_ops, most_ops;
  std::size_t free_ops_in_ten;  // how many of ten ops have no FLOPs
  bool even = false;            // all others have 60 FLOPs; else 1 to 30
};

// Ops that read one to three of the results before them, some twice; whole numbers of FLOPs, so that sums are exact.
Graph random_graph(std::mt19937& random, const RandomGraph& shape) {
  GraphDraft draft{"random", "random", "b", {}, DType::bf16, 0, {{"x", {"b", "3"}}}, {}};
  std::vector<std::string> made{"x"};
  const std::size_t ops = draw(random, shape.least_ops, shape.most_ops);
  for (std::size_t o = 0; o < ops; ++o) {
    OpDraft op{fmt::format("op{}", o), OpKind::custom};
    const std::size_t inputs = draw(random, 1, 3);
    for (std::size_t i = 0; i < inputs; ++i) {
      const std::size_t reach = std::min<std::size_t>(made.size(), draw(random, 1, 4));
      op.inputs.push_back(made[made.size() - draw(random, 1, reach)]);
      op.rule += fmt::format("{}b k{}!", i == 0 ? "" : ", ", i);
    }
    op.rule += " -> b out";
    op.outputs = {fmt::format("t{}", o)};
    const std::size_t out = draw(random, 1, 6);
    op.sizes = {{"out", std::to_string(out)}};
    const double flops_per_element = static_cast<double>(shape.even ? 60 / out : draw(random, 1, 5));
    op.flops_per_element = draw(random, 1, 10) <= shape.free_ops_in_ten ? 0 : flops_per_element;
    made.push_back(op.outputs[0]);
    draft.ops.push_back(std::move(op));
  }
  return check_graph(draft);
}

// A layer as the definition says, counted anew.
struct Layer {
  double flops = 0, received = 0;
  std::size_t products = 0;
  double load() const { return products > 1 ? flops : 0; }
};

Layer layer_of(const Graph& graph, std::size_t begin, std::size_t end) {
  Layer layer;
  std::set<TensorId> made, read;
  for (std::size_t o = 0; o < begin; ++o) made.insert(graph.ops[o].outputs.begin(), graph.ops[o].outputs.end());
  for (std::size_t o = begin; o < end; ++o) {
    layer.flops += forward_flops(graph.ops[o], 1).value();
    layer.products += forward_flops(graph.ops[o], 1).value() > 0;
    read.insert(graph.ops[o].inputs.begin(), graph.ops[o].inputs.end());
  }
  for (const TensorId t : read)
    if (made.contains(t)) layer.received += size_of(graph.tensor(t).dtype).value() * elements(graph.tensor(t), 1);
  return layer;
}

std::vector<Layer> layers_of(const Graph& graph, const Begins& begins) {
  std::vector<Layer> layers;
  for (std::size_t l = 0; l < begins.size(); ++l)
    layers.push_back(layer_of(graph, begins[l], l + 1 < begins.size() ? begins[l + 1] : graph.ops.size()));
  return layers;
}

template <typename Visit>
void for_each_clustering(std::size_t ops, const Visit& visit) {
  for (std::uint32_t cuts = 0; cuts < 1U << (ops - 1); ++cuts) {
    Begins begins{0};
    for (std::size_t o = 1; o < ops; ++o)
      if ((cuts >> (o - 1) & 1U) != 0) begins.push_back(o);
    visit(begins);
  }
}

double largest_load(const std::vector<Layer>& layers) {
  double load = 0;
  for (const Layer& layer : layers) load = std::max(load, layer.load());
  return load;
}

// Largest received bytes, sum of squared FLOPs, sum of received bytes, cuts.
using Merit = std::tuple<double, double, double, Begins>;
Merit merit_of(const std::vector<Layer>& layers, const Begins& begins) {
  Merit merit{0, 0, 0, begins};
  for (const Layer& layer : layers) {
    std::get<0>(merit) = std::max(std::get<0>(merit), layer.received);
    std::get<1>(merit) += layer.flops * layer.flops;
    std::get<2>(merit) += layer.received;
  }
  return merit;
}

double average_flops(const Graph& graph, std::size_t layers) {
  return layer_of(graph, 0, graph.ops.size()).flops / static_cast<double>(layers);
}

struct Oracle {
  Begins begins;
  bool relaxed = false;  // no clustering kept (1 + δ) times the average
};

Oracle best_by_enumeration(const Graph& graph, std::size_t layers) {
  double least_load = INFINITY;
  for_each_clustering(graph.ops.size(), [&](const Begins& begins) {
    if (begins.size() == layers) least_load = std::min(least_load, largest_load(layers_of(graph, begins)));
  });
  const double bound = 1.5 * average_flops(graph, layers);
  std::optional<Merit> best;
  for_each_clustering(graph.ops.size(), [&](const Begins& begins) {
    if (begins.size() != layers) return;
    const std::vector<Layer> each = layers_of(graph, begins);
    if (largest_load(each) > std::max(bound, least_load)) return;
    Merit merit = merit_of(each, begins);
    if (!best || merit < *best) best = std::move(merit);
  });
  return {std::get<3>(*best), least_load > bound};
}

Begins begins_of(const std::vector<std::vector<OpId>>& layers) {
  Begins begins;
  for (const std::vector<OpId>& ops : layers) begins.push_back(index(ops.front()));
  return begins;
}

Begins clustered(const Graph& graph, const ClusteringOptions& options) {
  return begins_of(cluster_layers(graph, differentiate(graph), options));
}

TEST_CASE("clustering finds the optimum of 300 random graphs", "[layer_clustering]") {
  int relaxed = 0, cut = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const Graph graph = random_graph(random, {2, 9, 2, seed % 2 == 0});
    const std::size_t layers = draw(random, 1, graph.ops.size());
    INFO("seed " << seed << ", " << layers << " layers of " << graph.ops.size() << " ops");
    const Oracle oracle = best_by_enumeration(graph, layers);
    CHECK(clustered(graph, {.layers = layers}) == oracle.begins);
    relaxed += oracle.relaxed;
    cut += layers > 2;
  }
  CHECK(relaxed >= 5);
  CHECK(cut > 100);
}

// The rules for a chosen number of layers, as the header says them.
bool narrow_by_definition(const Graph& graph, std::size_t cut) {
  const auto crossing = [&](std::size_t at) {
    double bytes = 0;
    std::set<TensorId> made;
    for (std::size_t o = 0; o < at; ++o) made.insert(graph.ops[o].outputs.begin(), graph.ops[o].outputs.end());
    for (const TensorId t : made)
      if (std::any_of(graph.ops.begin() + static_cast<std::ptrdiff_t>(at), graph.ops.end(),
                      [&](const Op& op) { return std::count(op.inputs.begin(), op.inputs.end(), t) > 0; }))
        bytes += size_of(graph.tensor(t).dtype).value() * elements(graph.tensor(t), 1);
    return bytes;
  };
  const auto between = [&](std::size_t a, std::size_t b) {
    return layer_of(graph, std::min(a, b), std::max(a, b)).products;
  };
  const auto separates = [&](std::size_t at) { return between(0, at) > 0 && between(at, graph.ops.size()) > 0; };
  for (std::size_t other = 1; other < graph.ops.size(); ++other)
    if (separates(other) && between(cut, other) < 3 && crossing(other) < crossing(cut)) return false;
  return separates(cut);
}

// Whether a narrow cut parts products of the ops [begin, end).
bool can_be_cut(const Graph& graph, const Begins& narrow, std::size_t begin, std::size_t end) {
  return std::any_of(narrow.begin(), narrow.end(), [&](std::size_t cut) {
    return begin < cut && cut < end && layer_of(graph, begin, cut).products > 0 &&
           layer_of(graph, cut, end).products > 0;
  });
}

std::size_t most_useful_layers(const Graph& graph) {
  Begins narrow;
  for (std::size_t cut = 1; cut < graph.ops.size(); ++cut)
    if (narrow_by_definition(graph, cut)) narrow.push_back(cut);
  const std::size_t products = layer_of(graph, 0, graph.ops.size()).products;
  std::size_t most = 1;
  for (std::uint32_t chosen = 0; chosen < 1U << narrow.size(); ++chosen) {
    Begins begins{0};
    for (std::size_t n = 0; n < narrow.size(); ++n)
      if ((chosen >> n & 1U) != 0) begins.push_back(narrow[n]);
    if (begins.size() <= most || begins.size() > products / 3) continue;
    const std::vector<Layer> layers = layers_of(graph, begins);
    const double average = average_flops(graph, begins.size());
    bool useful = true;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const std::size_t end = l + 1 < begins.size() ? begins[l + 1] : graph.ops.size();
      if (can_be_cut(graph, narrow, begins[l], end)) useful = useful && layers[l].flops <= 1.5 * average;
      useful = useful && (layers[l].products >= 3 || (layers[l].products == 1 && layers[l].flops >= average / 2));
    }
    if (useful) most = begins.size();
  }
  return most;
}

TEST_CASE("the chosen number of layers is the largest that the rules allow, in 100 random graphs",
          "[layer_clustering]") {
  std::set<std::size_t> numbers;
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed);
    const Graph graph = random_graph(random, {10, 20, 2});
    INFO("seed " << seed);
    const Begins begins = clustered(graph, {});
    CHECK(begins.size() == most_useful_layers(graph));
    for (std::size_t l = 1; l < begins.size(); ++l) CHECK(narrow_by_definition(graph, begins[l]));
    numbers.insert(begins.size());
  }
  CHECK(numbers.size() >= 3);
}

Graph without_tags(Graph graph) {
  for (Op& op : graph.ops) op.layer.clear();
  return graph;
}

Bytes largest_received(const Graph& graph, const Begins& begins) {
  const TrainingGraph training = differentiate(graph);
  Bytes largest;
  for (std::size_t l = 0; l < begins.size(); ++l)
    largest = std::max(
        largest, received_bytes(graph, training, begins[l], l + 1 < begins.size() ? begins[l + 1] : graph.ops.size()));
  return largest;
}

Begins tagged_begins(const Graph& graph) {
  Begins begins;
  for (const GraphLayer& layer : tagged_layers(graph)) begins.push_back(index(layer.ops.front()));
  return begins;
}

TEST_CASE("layers found in a GPT without tags receive no more than its blocks", "[layer_clustering]") {
  for (const GptOptions& options : {GptOptions{.layers = 6}, GptOptions{.layers = 24, .hidden = 1024, .heads = 16}}) {
    const Graph graph = build_gpt(options);
    const Begins tagged = tagged_begins(graph);
    const Bytes blocks = largest_received(graph, tagged);
    // The residual stream in 2 bytes.
    CHECK(blocks == Bytes(2.0 * 1024 * static_cast<double>(options.hidden)));
    for (const std::size_t layers : {static_cast<std::size_t>(options.layers), tagged.size()})
      CHECK(largest_received(graph, clustered(without_tags(graph), {.layers = layers})) <= blocks);
  }
}

TEST_CASE("without tags a GPT's layers are its blocks, the embedding in the first, the logits apart",
          "[layer_clustering]") {
  const Graph graph = build_gpt({.layers = 12});
  Begins blocks = tagged_begins(graph);
  blocks.erase(blocks.begin() + 1);  // no cut between the embedding and h0
  CHECK(clustered(without_tags(graph), {}) == blocks);
}

TEST_CASE("layers found without tags repeat, so that they are solved once", "[layer_clustering]") {
  const Graph graph = without_tags(build_gpt({.layers = 32, .hidden = 2560, .heads = 32}));
  const PlanningLayers layers = planning_layers(graph, differentiate(graph));
  REQUIRE(layers.layers.size() == 33);
  CHECK(layers.layers.front().name == "l0");
  CHECK(layers.layers.back().name == "l32");
  for (std::size_t l = 2; l + 1 < layers.layers.size(); ++l) CHECK(layers.layers[l].key == layers.layers[1].key);
  // Equal blocks of each length, alone, behind the first, before the last, between both.
  CHECK(range_classes(layers).classes.size() <= 1 + 4 * 33);
}

TEST_CASE("a graph with few products is one layer", "[layer_clustering]") {
  const Graph graph = without_tags(build_gpt({.layers = 1}));
  const Graph elementwise = check_graph(
      {"e",
       "e",
       "b",
       {},
       DType::bf16,
       0,
       {{"x", {"b", "4"}}},
       {{"a", OpKind::gelu, "", {"x"}, {"a"}, "b k -> b k"}, {"r", OpKind::relu, "", {"a"}, {"r"}, "b k -> b k"}}});
  CHECK(clustered(elementwise, {}) == Begins{0});
  CHECK(planning_layers(elementwise, differentiate(elementwise)).layers.size() == 1);
  CHECK(clustered(graph, {}).size() <= 2);  // 8 products
}

TEST_CASE("fewer layers than tags are groups of whole tagged layers", "[layer_clustering]") {
  const Graph graph = build_gpt({.layers = 8, .vocab = 1000});
  const TrainingGraph training = differentiate(graph);
  const PlanningLayers layers = planning_layers(graph, training, 4);
  std::vector<std::string> names;
  for (const PlanningLayer& layer : layers.layers) names.push_back(layer.name);
  // 8 equal blocks by twos; embedding and head (768·1000 weights to a block's 7 M) weigh little.
  CHECK(names == std::vector<std::string>{"embed…h1", "h2…h3", "h4…h5", "h6…head"});
  CHECK(layers.layers[1].key == layers.layers[2].key);
  CHECK(planning_layers(graph, training, 10).layers[1].name == "h0");
}

TEST_CASE("a number of layers that a graph cannot have is refused", "[layer_clustering]") {
  const Graph graph = build_gpt({.layers = 2});
  const TrainingGraph training = differentiate(graph);
  CHECK_THROWS_WITH(planning_layers(graph, training, 5),
                    "--layers: must be between 1 and 4, the number of layers that the graph tags, is 5");
  const Graph bare = without_tags(graph);
  CHECK_THROWS_WITH(planning_layers(bare, training, 1000),
                    fmt::format("--layers: must be between 1 and {}, the number of ops, is 1000", bare.ops.size()));
}

TEST_CASE("a tensor that a layer reads twice is received once, parameters and inputs not at all",
          "[layer_clustering]") {
  const Graph graph =
      check_graph({"r",
                   "r",
                   "b",
                   {},
                   DType::fp32,
                   0,
                   {{"x", {"b", "4"}, DType::fp32}, {"w", {"4", "8"}, DType::fp32, TensorRole::parameter}},
                   {{"up", OpKind::einsum, "", {"x", "w"}, {"u"}, "b h, h f -> b f"},
                    {"square", OpKind::multiply, "", {"u", "u"}, {"s"}, "b f, b f -> b f"},
                    {"skip", OpKind::add, "", {"s", "u"}, {"y"}, "b f, b f -> b f"}}});
  const TrainingGraph training = differentiate(graph);
  CHECK(received_bytes(graph, training, 0, 3) == Bytes(0));
  CHECK(received_bytes(graph, training, 1, 3) == Bytes(8 * 4));      // u
  CHECK(received_bytes(graph, training, 2, 3) == Bytes(2 * 8 * 4));  // s and u
}

}  // namespace
}  // namespace meshloom
