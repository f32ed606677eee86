#include <catch2/catch.hpp>

#include "costmodel/profiler/work_list.hpp"
#include "graphs/graph_json.hpp"

using namespace meshloom;

namespace {

// x [b, 64] · w1 [64, 256], gelu, · w2 [256, 64]
const char* mlp = R"({"schema": "meshloom.graph/1", "name": "mlp", "batch_dim": "b", "dims": {"h": 64, "f": 256},
 "tensors": [{"id": "x", "shape": ["b", "h"], "dtype": "fp32", "role": "input"},
             {"id": "w1", "shape": ["h", "f"], "dtype": "fp32", "role": "parameter"},
             {"id": "w2", "shape": ["f", "h"], "dtype": "fp32", "role": "parameter"}],
 "dtype": "fp32",
 "ops": [{"id": "up", "kind": "einsum", "inputs": ["x", "w1"], "outputs": ["u"], "rule": "b h, h f -> b f"},
         {"id": "act", "kind": "gelu", "inputs": ["u"], "outputs": ["a"], "rule": "b f -> b f"},
         {"id": "down", "kind": "einsum", "inputs": ["a", "w2"], "outputs": ["y"], "rule": "b f, f h -> b h"}]})";

Cluster cluster(int devices) {
  Cluster result;
  result.devices_per_host = devices;
  result.device.peak = {{DType::fp32, FlopsPerSecond(1e12)}};
  return result;
}

std::vector<std::string> texts(const std::vector<Task>& tasks, const std::string& kind) {
  std::vector<std::string> result;
  for (const Task& task : tasks)
    if (describe(task).starts_with(kind)) result.push_back(describe(task));
  return result;
}

}  // namespace

TEST_CASE("on one device a graph's kernels are measured as they stand, each shape once", "[profiler]") {
  const std::vector<Task> tasks = tasks_of_graph(parse_graph(mlp, "mlp.json"), cluster(1), find_recipe("neutral"), {8});
  // x is an input: of the first product only the weight has a gradient.
  CHECK(texts(tasks, "gemm") ==
        std::vector<std::string>{"gemm fp32 nn batch=1 m=8 n=256 k=64",    // up
                                 "gemm fp32 tn batch=1 m=64 n=256 k=8",    // its weight's gradient
                                 "gemm fp32 nn batch=1 m=8 n=64 k=256",    // down
                                 "gemm fp32 nt batch=1 m=8 n=256 k=64",    // its operand's gradient
                                 "gemm fp32 tn batch=1 m=256 n=64 k=8"});  // its weight's gradient
  // Reads and writes 8·256 floats each.
  CHECK(texts(tasks, "gelu") ==
        std::vector<std::string>{"gelu fp32 forward bytes=16384", "gelu fp32 backward bytes=16384"});
  // 2·64·256 parameters, under the first size of the series.
  CHECK(texts(tasks, "optimizer") == std::vector<std::string>{"optimizer fp32 parameters=32768"});
}

TEST_CASE("on two devices every factor may be halved", "[profiler]") {
  const std::vector<Task> tasks = tasks_of_graph(parse_graph(mlp, "mlp.json"), cluster(2), find_recipe("neutral"), {8});
  // Forward products: whole, b, h or f halved, of two ops.
  CHECK(texts(tasks, "gemm fp32 nn") ==
        std::vector<std::string>{"gemm fp32 nn batch=1 m=8 n=256 k=64", "gemm fp32 nn batch=1 m=8 n=64 k=256",
                                 "gemm fp32 nn batch=1 m=4 n=256 k=64", "gemm fp32 nn batch=1 m=8 n=256 k=32",
                                 "gemm fp32 nn batch=1 m=8 n=128 k=64", "gemm fp32 nn batch=1 m=4 n=64 k=256",
                                 "gemm fp32 nn batch=1 m=8 n=64 k=128", "gemm fp32 nn batch=1 m=8 n=32 k=256"});
  CHECK(texts(tasks, "gelu fp32 forward") ==
        std::vector<std::string>{"gelu fp32 forward bytes=16384", "gelu fp32 forward bytes=8192"});
}

TEST_CASE("several microbatch sizes add their shapes", "[profiler]") {
  const Graph graph = parse_graph(mlp, "mlp.json");
  const auto one = tasks_of_graph(graph, cluster(1), find_recipe("neutral"), {8});
  const auto two = tasks_of_graph(graph, cluster(1), find_recipe("neutral"), {8, 16});
  CHECK(two.size() == one.size() + 5 + 2);  // products and gelu
}

TEST_CASE("rows are found again from the bytes of operands and results", "[profiler]") {
  const auto rows = [](MeasuredOperator kind, std::vector<std::int64_t> shape, std::int64_t row) {
    const RowShape found = rows_of({{.kind = kind, .dtype = DType::bf16}, std::move(shape), row});
    return std::pair(found.rows, found.columns);
  };
  // 100 rows of 64 in bf16 are 12 800 bytes; scale and bias 128 each.
  CHECK(rows(MeasuredOperator::layer_norm, {2 * 12'800 + 256, 64}, 0) == std::pair(100L, 64L));
  CHECK(rows(MeasuredOperator::rms_norm, {2 * 12'800 + 128, 64}, 0) == std::pair(100L, 64L));
  CHECK(rows(MeasuredOperator::softmax, {2 * 12'800, 64}, 0) == std::pair(100L, 64L));
  // Logits, a label of 4 bytes and a loss of 2 for each row.
  CHECK(rows(MeasuredOperator::cross_entropy, {12'800 + 600, 64}, 0) == std::pair(100L, 64L));
  CHECK(rows(MeasuredOperator::add,
             {
                 2 * 12'800 + 128,
             },
             64) == std::pair(100L, 64L));
  CHECK(rows(MeasuredOperator::add, {3 * 12'800}, 0) == std::pair(6400L, 1L));
  CHECK(rows(MeasuredOperator::gather, {2 * 12'800 + 400}, 64) == std::pair(100L, 64L));
  CHECK(rows(MeasuredOperator::multiply, {3 * 12'800}, 0) == std::pair(6400L, 1L));
}

TEST_CASE("collectives run over every group of the devices present", "[profiler]") {
  const auto groups = [](std::int64_t hosts, std::int64_t devices) {
    std::vector<std::string> result;
    for (const Task& task : collective_tasks(Sweep::quick, hosts, devices)) {
      const CollectiveTask& one = std::get<CollectiveTask>(task);
      if (one.key.kind == MeasuredCollective::all_reduce && one.bytes == 1024)
        result.push_back(std::to_string(one.key.hosts) + "x" + std::to_string(one.key.devices_per_host));
    }
    return result;
  };
  CHECK(groups(1, 4) == std::vector<std::string>{"1x2", "1x3", "1x4"});
  CHECK(groups(2, 2) == std::vector<std::string>{"1x2", "2x1", "2x2"});
  CHECK(collective_tasks(Sweep::quick, 1, 1).empty());
  // 2^10, 2^15, … 2^30: 5 sizes of 5 kinds; standard: 21 sizes.
  CHECK(collective_tasks(Sweep::quick, 1, 2).size() == 25);
  CHECK(collective_tasks(Sweep::standard, 1, 2).size() == 105);
}

TEST_CASE("a sweep holds each task once, in each dtype; of fp8 products alone", "[profiler]") {
  const std::vector<Task> tasks = tasks_of_sweep(Sweep::standard, {DType::bf16, DType::fp8});
  std::vector<Task> again = tasks;
  add_tasks(again, tasks);
  CHECK(again == tasks);
  CHECK(!texts(tasks, "gemm fp8").empty());
  CHECK(texts(tasks, "gelu fp8").empty());
  CHECK(!texts(tasks, "attention bf16 causal backward").empty());
}
