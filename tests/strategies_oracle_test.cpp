// Every map of mesh axes to factors or none, filtered by the rules as planner/strategies.hpp states them, against
// enumerate_strategies.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "graphs/builders.hpp"
#include "graphs/graph_json.hpp"
#include "planner/strategies.hpp"
#include "tests/mesh_case.hpp"

using namespace meshloom;

namespace {

using Map = std::vector<int>;  // by axis: a factor, or `none`
constexpr int none = -1;

class Rules {
 public:
  Rules(const Op& op, const DeviceMesh& mesh, std::int64_t batch) : op_(op), mesh_(mesh), batch_(batch) {}

  bool allow(const Map& map) const {
    for (int f = 0; f < static_cast<int>(op_.rule.factors.size()); ++f)
      if (std::count(map.begin(), map.end(), f) > 0 && !may_shard(map, f)) return false;
    for (const auto* operands : {&op_.rule.inputs, &op_.rule.outputs})
      for (const RuleOperand& operand : *operands)
        for (const RuleDimension& dimension : operand)
          if (!majors_are_out(map, dimension)) return false;
    return true;
  }

 private:
  std::int64_t size(int f) const { return op_.factor_sizes[static_cast<std::size_t>(f)].at(batch_); }
  std::int64_t parts(const Map& map, int f, std::size_t axes) const {
    std::int64_t product = 1;
    for (std::size_t axis = 0; axis < axes; ++axis)
      if (map[axis] == f) product *= mesh_.size(axis);
    return product;
  }

  bool may_shard(const Map& map, int f) const {
    const FactorMark mark = op_.rule.factors[static_cast<std::size_t>(f)].mark;
    if (mark == FactorMark::whole || mark == FactorMark::halo) return false;
    if (size(f) % parts(map, f, map.size()) != 0) return false;
    const FactorId factor{static_cast<std::uint32_t>(f)};
    const bool everywhere = std::all_of(op_.rule.outputs.begin(), op_.rule.outputs.end(),
                                        [&](const RuleOperand& output) { return contains(output, factor); });
    const bool adds_up = traits(op_.kind).multilinear || mark == FactorMark::inner_collective;
    return everywhere || (in_inputs(op_.rule, factor) && adds_up);
  }

  // A minor factor of a product only where all more major ones are sharded out on more major axes.
  bool majors_are_out(const Map& map, const RuleDimension& dimension) const {
    for (std::size_t minor = 0; minor < dimension.size(); ++minor)
      for (std::size_t axis = 0; axis < map.size(); ++axis)
        if (map[axis] == static_cast<int>(index(dimension[minor])))
          for (std::size_t major = 0; major < minor; ++major) {
            const int f = static_cast<int>(index(dimension[major]));
            if (parts(map, f, axis) != size(f)) return false;
          }
    return true;
  }

  const Op& op_;
  const DeviceMesh& mesh_;
  std::int64_t batch_;
};

std::set<Map> by_rules(const Op& op, const DeviceMesh& mesh, std::int64_t batch) {
  const Rules rules(op, mesh, batch);
  std::set<Map> result;
  Map map(mesh.dimensions(), none);
  while (true) {
    if (rules.allow(map)) result.insert(map);
    std::size_t axis = 0;
    while (axis < map.size() && ++map[axis] == static_cast<int>(op.rule.factors.size())) map[axis++] = none;
    if (axis == map.size()) return result;
  }
}

std::size_t check_all_ops(const Graph& graph, const DeviceMesh& mesh, std::int64_t batch) {
  const TrainingGraph training = differentiate(graph);
  const DimensionMeanings meanings = dimension_meanings(graph);
  const StrategyContext context{
      graph, training, meanings, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), batch};
  std::size_t several_on_one = 0;
  for (std::uint32_t o = 0; o < graph.ops.size(); ++o) {
    std::set<Map> enumerated;
    for (const Strategy& strategy : enumerate_strategies(context, OpId{o})) {
      Map map;
      for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
        map.push_back(strategy.axes[axis] ? static_cast<int>(index(*strategy.axes[axis])) : none);
      CHECK(enumerated.insert(map).second);  // each once
      several_on_one += map.size() > 1 && map[0] >= 0 && std::count(map.begin(), map.end(), map[0]) > 1;
    }
    INFO(graph.name << ", op " << graph.ops[o].id << " on " << mesh.dimensions() << " axes");
    CHECK(enumerated == by_rules(graph.ops[o], mesh, batch));
  }
  return several_on_one;
}

}  // namespace

TEST_CASE("strategies are all maps of axes to factors that the rules allow, on one to four axes") {
  const std::vector<Graph> graphs = {
      build_gpt({.layers = 1, .hidden = 24, .heads = 4, .seq_len = 8, .vocab = 40}),
      build_llama({.layers = 1, .hidden = 32, .heads = 8, .kv_heads = 2, .seq_len = 8, .vocab = 32, .ffn_hidden = 24}),
      read_graph(std::string(MESHLOOM_SOURCE_DIR) + "/graphs/zoo/moe_layer.json")};
  std::size_t several_on_one = 0;
  for (const Graph& graph : graphs)
    for (const std::vector<std::int64_t>& sizes :
         {std::vector<std::int64_t>{}, {8}, {2, 4}, {4, 2}, {2, 3}, {2, 2, 2}, {4, 2, 2}})
      several_on_one += check_all_ops(graph, mesh_of(sizes), 8);
  DeviceMesh four = mesh_of({2, 2, 2});
  four.axes.push_back({"w", 2});
  four.submesh.devices_per_host *= 2;
  several_on_one += check_all_ops(graphs[0], four, 4);
  several_on_one += check_all_ops(graphs[1], four, 4);
  CHECK(several_on_one > 100);
}
