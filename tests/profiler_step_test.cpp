// The training step on the processor: its gradients are those of its loss.
#include <catch2/catch.hpp>

#include "costmodel/profiler/graph_step.hpp"
#include "graphs/builders.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

GptOptions tiny_gpt() {
  return {.layers = 2, .hidden = 16, .heads = 2, .seq_len = 5, .vocab = 11, .dropout = false, .dtype = DType::fp32};
}

LlamaOptions tiny_llama() {
  return {.layers = 1,
          .hidden = 16,
          .heads = 4,
          .kv_heads = 2,
          .seq_len = 5,
          .vocab = 11,
          .ffn_hidden = 24,
          .causal = true,
          .dtype = DType::fp32};
}

// The loss with one parameter's element moved; a step of its own, because a step changes all parameters.
double loss_with(const Graph& graph, TensorId parameter, std::size_t element, float by) {
  GraphStep step(graph, 2, CpuClock::wall);
  step.values(parameter)[element] += by;
  step.run();
  return double(step.loss());
}

void check_gradients(const Graph& graph) {
  GraphStep step(graph, 2, CpuClock::wall);
  step.run();
  for (std::uint32_t t = 0; t < graph.tensors.size(); ++t) {
    if (graph.tensors[t].role != TensorRole::parameter) continue;
    const std::span<float> gradient = step.gradient(TensorId{t});
    REQUIRE(!gradient.empty());
    for (const std::size_t element : {std::size_t{0}, gradient.size() / 2, gradient.size() - 1}) {
      INFO(graph.tensors[t].id << " element " << element);
      const double slope =
          (loss_with(graph, TensorId{t}, element, 0.01F) - loss_with(graph, TensorId{t}, element, -0.01F)) / 0.02;
      CHECK(double(gradient[element]) == Approx(slope).margin(0.02).epsilon(0.02));
    }
  }
}

}  // namespace

TEST_CASE("a step of a GPT computes the gradients of its loss", "[profiler]") {
  check_gradients(build_gpt(tiny_gpt()));
}

TEST_CASE("a step of a GPT with scores of their own, untied embeddings", "[profiler]") {
  GptOptions options = tiny_gpt();
  options.fused_attention = false;
  options.tied_embeddings = false;
  check_gradients(build_gpt(options));
}

TEST_CASE("a step of a Llama with groups of query heads", "[profiler]") { check_gradients(build_llama(tiny_llama())); }

TEST_CASE("training lowers the loss", "[profiler]") {
  const Graph graph = build_gpt(tiny_gpt());
  GraphStep step(graph, 4, CpuClock::wall);
  step.run();
  const float first = step.loss();
  for (int i = 0; i < 200; ++i) step.run();
  CHECK(step.loss() < 0.95F * first);
}

TEST_CASE("every kernel of a step is timed under its op", "[profiler]") {
  const Graph graph = build_gpt(tiny_gpt());
  GraphStep step(graph, 1, CpuClock::processor);
  const std::vector<KernelTime> times = step.run_kernel_by_kernel();
  CHECK(times.front().op == graph.ops.front().id);
  CHECK(!times.front().backward);
  CHECK(times.back().op == "update");
}

TEST_CASE("a step refuses what it cannot run", "[profiler]") {
  GptOptions options = tiny_gpt();
  options.dtype = DType::bf16;
  const Graph graph = build_gpt(options);
  CHECK_THROWS_WITH(GraphStep(graph, 1, CpuClock::wall), Catch::Contains("build the graph with --dtype fp32"));
  const Graph moe = build_moe(
      {.gpt = {.layers = 2, .hidden = 16, .heads = 2, .seq_len = 4, .vocab = 8, .dtype = DType::fp32}, .experts = 2});
  CHECK_THROWS_AS(GraphStep(moe, 1, CpuClock::wall), InputError);
}
