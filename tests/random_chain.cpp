#include "tests/random_chain.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graphs/graph_draft.hpp"

namespace meshloom {

std::size_t draw(std::mt19937& random, std::size_t least, std::size_t most) {
  return least + random() % (most - least + 1);
}

Graph random_chain(std::mt19937& random, std::size_t layers, Tying tying) {
  GraphDraft draft{"chain", "chain", "b", {}, DType::fp32, 0, {}, {}};
  std::size_t width = std::size_t{4} << draw(random, 0, 2);
  draft.tensors.push_back({"x", {"b", std::to_string(width)}, DType::fp32});
  std::string last = "x";
  for (std::size_t l = 0; l < layers; ++l) {
    const std::string tag = fmt::format("l{}", l), product = tag + ".y";
    std::string weight = tag + ".w";
    const bool residual = draw(random, 0, 3) == 0;
    const std::size_t next = residual ? width : std::size_t{4} << draw(random, 0, 2);
    const std::vector<std::string> shape{std::to_string(width), std::to_string(next)};
    const auto alike =
        std::find_if(draft.tensors.begin() + 1, draft.tensors.end(), [&](const auto& t) { return t.shape == shape; });
    if (tying == Tying::some && alike != draft.tensors.end())
      weight = alike->id;
    else
      draft.tensors.push_back({weight, shape, DType::fp32, TensorRole::parameter});
    draft.ops.push_back({product, OpKind::einsum, tag, {last, weight}, {product}, "b i, i j -> b j"});
    if (residual)
      draft.ops.push_back({tag + ".sum", OpKind::add, tag, {product, last}, {tag + ".sum"}, "b i, b i -> b i"});
    else if (draw(random, 0, 2) == 0)
      draft.ops.push_back({tag + ".a", OpKind::gelu, tag, {product}, {tag + ".a"}, "b i -> b i"});
    last = draft.ops.back().outputs[0];
    width = next;
  }
  return check_graph(draft);
}

PlanningInput random_input(std::mt19937& random, std::size_t layers, Tying tying) {
  PlanningInput input;
  input.graph = random_chain(random, layers, tying);
  Cluster& cluster = input.cluster;
  cluster.name = "tiny";
  cluster.hosts = static_cast<std::int64_t>(draw(random, 1, 2));
  cluster.devices_per_host = cluster.hosts == 2 ? static_cast<std::int64_t>(draw(random, 1, 2))
                                                : static_cast<std::int64_t>(draw(random, 1, 2)) * 2;
  cluster.device.name = "toy";
  cluster.device.memory = Bytes(1e12);
  cluster.device.memory_bandwidth = BytesPerSecond(1e8);
  cluster.device.peak = {{DType::fp32, FlopsPerSecond(1e8)}, {DType::bf16, FlopsPerSecond(1e8)}};
  cluster.device.launch = Seconds(1e-6);
  cluster.intra_host = {BytesPerSecond(1e7 * static_cast<double>(draw(random, 1, 50))), 1, Seconds(1e-6)};
  cluster.nic = {BytesPerSecond(1e6 * static_cast<double>(draw(random, 1, 50))), 1, Seconds(2e-6)};
  return input;
}

PlanningInput random_attention(std::mt19937& random, std::size_t layers) {
  PlanningInput input = random_input(random, 1);
  GraphDraft draft{"cores", "cores", "b", {}, DType::fp32, 0, {}, {}};
  draft.tensors.push_back({"x", {"b", "4"}, DType::fp32});
  std::string last = "x";
  for (std::size_t l = 0; l < layers; ++l) {
    const std::string tag = fmt::format("l{}", l), y = tag + ".y", p = tag + ".p", q = tag + ".q", o = tag + ".o";
    draft.tensors.push_back({tag + ".w", {"4", "4"}, DType::fp32, TensorRole::parameter});
    draft.ops.push_back({y, OpKind::einsum, tag, {last, tag + ".w"}, {y}, "b i, i j -> b j"});
    draft.ops.push_back({p, OpKind::einsum, tag, {y, y}, {p}, "b i, b i -> b i"});
    draft.ops.push_back({q, OpKind::softmax, tag, {p}, {q}, "b i~ -> b i"});
    draft.ops.push_back({o, OpKind::einsum, tag, {q, y}, {o}, "b i, b i -> b i"});
    last = o;
  }
  input.graph = check_graph(draft);
  input.recipe.parameter_states = {ParameterState::zero3};
  input.recipe.optimizer_traffic = 0;
  return input;
}

}  // namespace meshloom
