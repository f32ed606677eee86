#include "costmodel/op_costs.hpp"

#include <catch2/catch.hpp>

#include "graphs/builders.hpp"
#include "tests/one_op.hpp"

using namespace meshloom;

namespace {

Recipe computing_in(DType dtype) {
  Recipe recipe;
  recipe.compute_dtype = dtype;
  return recipe;
}

Recipe half_fused() {
  Recipe recipe;
  recipe.elementwise_traffic = 0.5;
  return recipe;
}

}  // namespace

TEST_CASE("a matrix product takes its FLOPs over the peak") {
  // 2·10·20·30 = 12000 FLOP at 100 FLOP/s; 2 B·(10·20 + 20·30 + 10·30) = 2200 B at 1000 B/s take 2.2 s.
  Cluster cluster = toy_device();
  cluster.device.memory_bandwidth = BytesPerSecond(1000);
  const OneOp product(OpKind::einsum, {"mk", "kn"}, "mn", {10, 20, 30});
  CHECK(product.time(cluster).forward == Seconds(120));
  CHECK(product.time(cluster).backward == Seconds(0));  // no gradient kernels
}

TEST_CASE("a product that moves more than it computes takes its bytes over the bandwidth") {
  // 2·10·2·10 = 400 FLOP, 4 s; 2 B·(20 + 20 + 100) = 280 B at 10 B/s.
  CHECK(OneOp(OpKind::einsum, {"mk", "kn"}, "mn", {10, 2, 10}).time(toy_device()).forward == Seconds(28));
}

TEST_CASE("each gradient of a product is a product whose contracted size is its own") {
  Cluster cluster = toy_device();
  cluster.device.memory_bandwidth = BytesPerSecond(1e9);
  cluster.device.gemm.depth_penalty = 10;
  OneOp product(OpKind::einsum, {"mk", "kn"}, "mn", {10, 20, 40});
  product.differentiate(0).differentiate(1);
  // 16000 FLOP: 160 s, times 1 + 10/k. Forward contracts k = 20; of the left operand n = 40; of the right one m = 10.
  CHECK(product.time(cluster).forward.value() == Approx(160 * 1.5));
  CHECK(product.time(cluster).backward.value() == Approx(160 * 1.25 + 160 * 2.0));
}

TEST_CASE("the wave penalty goes by the elements of the result, batch included") {
  Cluster cluster = toy_device();
  cluster.device.memory_bandwidth = BytesPerSecond(1e9);
  cluster.device.gemm.wave_penalty = 300;
  // Factors b m k n = 3 10 20 10: 12000 FLOP, 120 s, result 300 elements: doubled.
  CHECK(OneOp(OpKind::einsum, {"bmk", "bkn"}, "bmn", {3, 10, 20, 10}).time(cluster).forward.value() == Approx(240));
}

TEST_CASE("a product without contraction is priced by bytes, not by the depth of its loop") {
  Cluster cluster = toy_device();
  cluster.device.gemm.depth_penalty = 100;
  // 2 B·(10 + 10 + 100) at 10 B/s; 200 FLOP would take 2 s, times 101.
  CHECK(OneOp(OpKind::einsum, {"m", "n"}, "mn", {10, 10}).time(cluster).forward == Seconds(24));
}

TEST_CASE("16-bit floats are computed in the recipe's dtype, 32-bit ones in their own") {
  Cluster cluster = toy_device();
  cluster.device.memory_bandwidth = BytesPerSecond(1e9);
  OneOp product(OpKind::einsum, {"mk", "kn"}, "mn", {10, 20, 30});
  CHECK(product.time(cluster, computing_in(DType::fp16)).forward == Seconds(120));
  CHECK(product.time(cluster, computing_in(DType::fp32)).forward == Seconds(480));  // 25 FLOP/s
  for (std::size_t tensor = 0; tensor < 3; ++tensor) product.dtype(tensor) = DType::fp32;
  CHECK(product.time(cluster).forward == Seconds(480));
  CHECK(element_size(computing_in(DType::fp16), DType::bf16) == Bytes(2));
  CHECK(element_size(computing_in(DType::fp32), DType::bf16) == Bytes(4));
  CHECK(element_size(computing_in(DType::bf16), DType::fp32) == Bytes(4));
  CHECK(element_size(computing_in(DType::bf16), DType::int64) == Bytes(8));
}

TEST_CASE("fused attention runs at its own share of the peak, half of it when causal") {
  Cluster cluster = toy_device();
  cluster.device.memory_bandwidth = BytesPerSecond(1e9);
  // b s n d t = 1 10 2 4 10: 4·800 = 3200 FLOP at 50 FLOP/s.
  OneOp attention(OpKind::attention, {"bsnd", "btnd", "btnd"}, "bsnd", {1, 10, 2, 4, 10});
  attention.joint_kernel(2.5);
  CHECK(attention.time(cluster).forward == Seconds(64));
  CHECK(attention.time(cluster).backward == Seconds(160));
  attention.op().causal = true;
  CHECK(attention.time(cluster).forward == Seconds(32));
}

TEST_CASE("elementwise ops take their bytes times what the recipe's fusion leaves") {
  // 2 B·(100 + 100) at 10 B/s.
  OneOp gelu(OpKind::gelu, {"bh"}, "bh", {10, 10});
  gelu.joint_kernel(1.5);
  CHECK(gelu.time(toy_device()).forward == Seconds(40));
  CHECK(gelu.time(toy_device()).backward == Seconds(60));
  CHECK(gelu.time(toy_device(), half_fused()).forward == Seconds(20));
}

TEST_CASE("an add passes its gradient on, and sums it only for an operand that lacks dimensions") {
  // Forward 2 B·(100 + 10 + 100) = 420 B. Backward: nothing for x; for the bias reads 200 B and writes 20 B.
  OneOp add(OpKind::add, {"bh", "h"}, "bh", {10, 10});
  CHECK(add.time(toy_device()).forward == Seconds(42));
  add.differentiate(0);
  CHECK(add.time(toy_device()).backward == Seconds(0));
  add.differentiate(1);
  CHECK(add.time(toy_device()).backward == Seconds(22));
}

TEST_CASE("splitting and joining dimensions is free, a transposition moves the tensor twice") {
  OneOp split(OpKind::reshape, {"bnd"}, "bnd", {2, 5, 10});
  split.op().rule.inputs[0] = {{FactorId{0}}, {FactorId{1}, FactorId{2}}};
  split.differentiate(0);
  CHECK(split.time(toy_device()).forward == Seconds(0));
  CHECK(split.time(toy_device()).backward == Seconds(0));
  OneOp transposed(OpKind::reshape, {"bnd"}, "bdn", {2, 5, 10});
  transposed.differentiate(0);
  CHECK(transposed.time(toy_device()).forward == Seconds(40));  // 200 B read, 200 B written
  CHECK(transposed.time(toy_device()).backward == Seconds(40));
  // With one head on each device there is nothing to transpose.
  transposed.sizes[1] = 1;
  CHECK(transposed.time(toy_device()).forward == Seconds(0));
}

TEST_CASE("a broadcast is a view, and its gradient a sum") {
  OneOp broadcast(OpKind::broadcast, {"h"}, "bh", {10, 5});
  broadcast.differentiate(0);
  CHECK(broadcast.time(toy_device()).forward == Seconds(0));
  CHECK(broadcast.time(toy_device()).backward == Seconds(12));  // 100 B read, 20 B written
}

TEST_CASE("sums and scalings take their bytes in both directions") {
  OneOp sum(OpKind::sum, {"bh"}, "b", {10, 5});
  sum.differentiate(0);
  CHECK(sum.time(toy_device()).forward == Seconds(12));  // 100 B read, 20 B written
  CHECK(sum.time(toy_device()).backward == Seconds(12));
}

TEST_CASE("a gather reads the rows it takes, not the table") {
  // Table 1000 x 10, 5 tokens of 4 B: rows 5·10·2 B = 100 B, read and written, and 20 B of indices.
  OneOp gather(OpKind::gather, {"vh", "b"}, "bh", {1000, 10, 5});
  gather.dtype(1) = DType::int32;
  gather.differentiate(0);
  CHECK(gather.time(toy_device()).forward == Seconds(22));
  CHECK(gather.time(toy_device()).backward == Seconds(32));  // reads the gradient's rows, reads and writes the table's
}

TEST_CASE("a custom op costs what it states") {
  OneOp custom(OpKind::custom, {"b"}, "b", {100});
  custom.op().custom_bytes_per_element = 5;
  custom.joint_kernel(3);
  CHECK(custom.time(toy_device()).forward == Seconds(50));
  CHECK(custom.time(toy_device()).backward == Seconds(150));
  custom.op().custom_flops_per_element = 70;  // 7000 FLOP at 100 FLOP/s
  CHECK(custom.time(toy_device()).forward == Seconds(70));
}

TEST_CASE("a kernel takes at least its launch, and what is free launches none") {
  Cluster cluster = toy_device();
  cluster.device.launch = Seconds(1000);
  OneOp product(OpKind::einsum, {"mk", "kn"}, "mn", {10, 20, 30});
  product.differentiate(0).differentiate(1);
  CHECK(product.time(cluster).forward == Seconds(1000));
  CHECK(product.time(cluster).backward == Seconds(2000));  // two kernels
  OneOp add(OpKind::add, {"bh", "bh"}, "bh", {10, 10});
  add.differentiate(0);
  CHECK(add.time(cluster).backward == Seconds(0));
}

TEST_CASE("sharding a factor never makes an op slower") {
  const Cluster cluster = read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/dgx_a100.json");
  OneOp product(OpKind::einsum, {"mk", "kn"}, "mn", {4096, 4096, 4096});
  product.differentiate(0).differentiate(1);
  const OpTime whole = product.time(cluster, find_recipe("neutral"));
  for (std::size_t factor = 0; factor < 3; ++factor) {
    OneOp shard = product;
    shard.sizes[factor] /= 8;
    const OpTime part = shard.time(cluster, find_recipe("neutral"));
    CHECK(part.forward < whole.forward);
    CHECK(part.backward < whole.backward);
    CHECK(8 * part.forward > whole.forward);  // the curve: eight shards take longer than the whole
  }
}

TEST_CASE("GPT-350M on one V100 comes within a third of what was measured") {
  // Alpa's artifact: 44.2 to 47.5 TFLOP/s, with the forward run twice (recompute) and counted twice.
  const Graph graph = build_gpt({.layers = 24, .hidden = 1024, .heads = 16, .seq_len = 1024, .vocab = 51200});
  const TrainingGraph training = differentiate(graph);
  const Cluster cluster = read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/aws_p3_16xlarge.json");
  const std::int64_t batch = 8;
  Seconds step;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    std::vector<std::int64_t> sizes;
    for (const Extent& extent : graph.ops[i].factor_sizes) sizes.push_back(extent.at(batch));
    const OpTime time = op_time(cluster, find_recipe("alpa"), graph, training.gradients[i], OpId(i), sizes);
    INFO(graph.ops[i].id);
    CHECK(time.forward >= cluster.device.launch);
    step += 2 * time.forward + time.backward;
  }
  const GraphSummary summary = summarize(graph);
  const Flops flops = double(batch) * (summary.training_flops_per_sample + summary.forward_flops_per_sample);
  const double teraflops = (flops / step).value() / 1e12;
  CHECK(teraflops > 46.0 * 2 / 3);
  CHECK(teraflops < 46.0 * 4 / 3);
}

TEST_CASE("of a product's gradients the parameter's is the weight gradient, of a norm's joint kernel nothing") {
  OneOp product(OpKind::einsum, {"mk", "kn"}, "mn", {40, 40, 40});
  product.graph.tensors[1].role = TensorRole::parameter;
  product.differentiate(0).differentiate(1);
  const OpTime time = product.time(toy_device(), computing_in(DType::fp16));
  CHECK(time.backward_weight.value() == Approx(time.backward.value() / 2));
  OneOp norm(OpKind::layer_norm, {"m"}, "m", {40});
  norm.joint_kernel(2);
  CHECK(norm.time(toy_device(), computing_in(DType::fp16)).backward_weight == Seconds(0));
}
