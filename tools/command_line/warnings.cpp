#include "tools/command_line/warnings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "costmodel/groups.hpp"

namespace meshloom {
namespace {

// Frameworks pad to a multiple of this times the devices that share the vocabulary (Megatron-LM,
// --make-vocab-size-divisible-by).
constexpr std::int64_t usual_padding = 128;

std::optional<std::string> about_state(const Recipe& recipe, std::optional<ParameterState> asked) {
  const auto& known = recipe.parameter_states;
  if (!asked || std::count(known.begin(), known.end(), *asked) > 0) return std::nullopt;
  std::vector<std::string_view> names;
  for (const ParameterState state : known) names.push_back(name(state));
  return fmt::format("the recipe {} does not have {} (it has {}); priced as frameworks that have it do", recipe.name,
                     name(*asked), fmt::join(names, ", "));
}

// The recipe's word counts. Where the device has only one of both types nobody has a choice.
std::optional<std::string> about_dtype(const Graph& graph, const Cluster& cluster, const Recipe& recipe) {
  const DeviceType& device = group_at(cluster, 0).device;
  for (const Tensor& tensor : graph.tensors) {
    const bool has_two = device.peak.contains(tensor.dtype) && device.peak.contains(recipe.compute_dtype);
    if ((tensor.dtype != DType::bf16 && tensor.dtype != DType::fp16) || tensor.dtype == recipe.compute_dtype ||
        !has_two)
      continue;
    return fmt::format(
        "the graph's {0} is computed in {1}, as the recipe {2} says; for {0} give a recipe file with "
        "\"extends\": \"{2}\", \"compute_dtype\": \"{0}\"",
        name(tensor.dtype), name(recipe.compute_dtype), recipe.name);
  }
  return std::nullopt;
}

std::optional<std::string> about_vocabulary(const Graph& graph, const Stage& stage) {
  for (const OpSharding& sharding : stage.ops) {
    const auto op =
        std::find_if(graph.ops.begin(), graph.ops.end(), [&](const Op& each) { return each.id == sharding.op; });
    if (op == graph.ops.end() || op->kind != OpKind::cross_entropy) continue;
    const std::int64_t vocabulary = graph.tensor(op->inputs.front()).shape.back().size;
    for (std::size_t axis = 0; axis < stage.mesh.size(); ++axis) {
      const std::int64_t devices = stage.mesh[axis].size;
      if (!sharding.axes[axis].empty() || vocabulary % devices == 0) continue;
      return fmt::format(
          "the vocabulary of {} is not a multiple of the {} devices of mesh axis \"{}\", so each of them "
          "computes the whole loss; frameworks pad it: meshloom graph … --pad-vocab-to {}",
          vocabulary, devices, stage.mesh[axis].name, usual_padding * devices);
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> warnings_about(const PlanningInput& input, const Plan& plan,
                                        std::optional<ParameterState> asked) {
  std::vector<std::string> warnings;
  if (auto line = about_state(input.recipe, asked)) warnings.push_back(std::move(*line));
  if (auto line = about_dtype(input.graph, input.cluster, input.recipe)) warnings.push_back(std::move(*line));
  for (const Stage& stage : plan.stages)
    if (auto line = about_vocabulary(input.graph, stage)) warnings.push_back(std::move(*line));
  return warnings;
}

void print_warnings(const std::vector<std::string>& warnings) {
  for (const std::string& line : warnings) fmt::print(stderr, "warning: {}\n", line);
}

}  // namespace meshloom
