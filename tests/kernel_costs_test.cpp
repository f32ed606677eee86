// What recipes and devices say of single kernels: low precision, attention's kernels, traffic by kind.
#include <catch2/catch.hpp>

#include "planner/layer_model.hpp"
#include "tests/one_op.hpp"

using namespace meshloom;

namespace {

// 200 FLOP/s in fp8 and 400 in fp4, too, and memory that never counts.
Cluster fast_memory() {
  Cluster cluster = toy_device();
  cluster.device.memory_bandwidth = BytesPerSecond(1e9);
  cluster.device.peak[DType::fp8] = FlopsPerSecond(200);
  cluster.device.peak[DType::fp4] = FlopsPerSecond(400);
  return cluster;
}

Recipe linear_in(DType dtype) {
  Recipe recipe;
  recipe.linear_dtype = dtype;
  return recipe;
}

// m k n = 10 20 30, the second operand a parameter: 12000 FLOP.
OneOp linear_layer() {
  OneOp product(OpKind::einsum, {"mk", "kn"}, "mn", {10, 20, 30});
  product.graph.tensors[1].role = TensorRole::parameter;
  return product;
}

}  // namespace

TEST_CASE("linear layers are computed in the recipe's dtype for them, other products are not") {
  const Cluster cluster = fast_memory();
  CHECK(linear_layer().time(cluster).forward == Seconds(120));                          // at 100 FLOP/s
  CHECK(linear_layer().time(cluster, linear_in(DType::fp8)).forward == Seconds(60));    // at 200
  CHECK(linear_layer().time(cluster, linear_in(DType::fp4)).forward == Seconds(30));    // at 400
  CHECK(linear_layer().time(cluster, linear_in(DType::fp32)).forward == Seconds(480));  // at 25
  OneOp activations = linear_layer();
  activations.graph.tensors[1].role = TensorRole::intermediate;
  CHECK(activations.time(cluster, linear_in(DType::fp8)).forward == Seconds(120));
  OneOp logits = linear_layer();
  logits.gradient.makes_logits = true;
  CHECK(logits.time(cluster, linear_in(DType::fp8)).forward == Seconds(120));
}

TEST_CASE("a dtype has its own share of its peak; a device without it computes in a wider one") {
  Cluster cluster = fast_memory();
  cluster.device.gemm.of_peak_by_dtype[DType::fp8] = 0.5;
  CHECK(linear_layer().time(cluster, linear_in(DType::fp8)).forward == Seconds(120));
  CHECK(linear_layer().time(cluster, linear_in(DType::fp4)).forward == Seconds(30));
  cluster.device.peak.erase(DType::fp4);
  CHECK(linear_layer().time(cluster, linear_in(DType::fp4)).forward == Seconds(120));  // as fp8, with its share
}

TEST_CASE("the prologue of a product's loop does not shrink with its operands' width") {
  Cluster cluster = fast_memory();
  cluster.device.gemm.depth_penalty = 10;
  // 1 + 10 / 20 in 16 bits. Fp8 is twice as fast: the prologue is 20 of its elements long, 1 + 2 · 10 / 20; fp4: 4.
  CHECK(linear_layer().time(cluster).forward.value() == Approx(120 * 1.5));
  CHECK(linear_layer().time(cluster, linear_in(DType::fp8)).forward.value() == Approx(60 * 2.0));
  CHECK(linear_layer().time(cluster, linear_in(DType::fp4)).forward.value() == Approx(30 * 3.0));
}

TEST_CASE("operands are cast before a product, the result's gradient once for both of its products") {
  Cluster cluster = fast_memory();
  cluster.device.memory_bandwidth = BytesPerSecond(1000);
  Recipe recipe = linear_in(DType::fp8);
  recipe.cast_bytes = 4;
  OneOp layer = linear_layer();
  layer.differentiate(0).differentiate(1);
  // The operand that is no parameter has 10·20 elements, 800 B at 1000 B/s; the gradient of the result 10·30, 1200 B.
  CHECK(layer.time(cluster, recipe).forward.value() == Approx(60 + 0.8));
  CHECK(layer.time(cluster, recipe).backward.value() == Approx(2 * 60 + 1.2));
  recipe.linear_dtype = recipe.compute_dtype;  // nothing to cast
  CHECK(layer.time(cluster, recipe).forward == Seconds(120));
}

TEST_CASE("fused attention runs at the share of peak of the recipe's kernel, and longer with small heads") {
  Cluster cluster = fast_memory();
  cluster.device.attention_kernels = {{"triton", 0.25}};
  // b s n d t = 1 10 2 4 10: 3200 FLOP at 100 FLOP/s.
  OneOp attention(OpKind::attention, {"bsnd", "btnd", "btnd"}, "bsnd", {1, 10, 2, 4, 10});
  Recipe recipe;
  CHECK(attention.time(cluster, recipe).forward == Seconds(64));  // attention_of_peak 0.5
  recipe.attention_kernel = "triton";
  CHECK(attention.time(cluster, recipe).forward == Seconds(128));
  recipe.attention_kernel = "unknown to the device";
  CHECK(attention.time(cluster, recipe).forward == Seconds(64));
  recipe.small_head_cost = 1.25;
  CHECK(attention.time(cluster, recipe).forward == Seconds(80));
  // Heads of 100 are not small: 4·10·2·100·10 = 80000 FLOP at 50 FLOP/s.
  attention.sizes[3] = 100;
  CHECK(attention.time(cluster, recipe).forward == Seconds(1600));
}

TEST_CASE("norms, losses, unfused scores and tokens on their way to experts have traffic of their own") {
  const Cluster cluster = toy_device();
  Recipe recipe;
  recipe.elementwise_traffic = 0.5;
  recipe.norm_traffic = 2, recipe.loss_traffic = 3, recipe.softmax_traffic = 4, recipe.dispatch_traffic = 5;
  // 2 B·(100 + 100) at 10 B/s take 40 s; half of that, times the kind's.
  const auto forward = [&](OpKind kind) { return OneOp(kind, {"bh"}, "bh", {10, 10}).time(cluster, recipe).forward; };
  CHECK(forward(OpKind::gelu) == Seconds(20));
  CHECK(forward(OpKind::layer_norm) == Seconds(40));
  CHECK(forward(OpKind::rms_norm) == Seconds(40));
  CHECK(forward(OpKind::cross_entropy) == Seconds(60));
  CHECK(forward(OpKind::softmax) == Seconds(80));
  CHECK(forward(OpKind::scale) == Seconds(80));
  // Five of a thousand rows of 10: 100 B read, 100 B written, 20 B of indices, 22 s; half, times 5 for tokens.
  OneOp gather(OpKind::gather, {"vh", "b"}, "bh", {1000, 10, 5});
  gather.dtype(1) = DType::int32;
  CHECK(gather.time(cluster, recipe).forward == Seconds(55));
  gather.graph.tensors[0].role = TensorRole::parameter;  // an embedding
  CHECK(gather.time(cluster, recipe).forward == Seconds(11));
}

TEST_CASE("experts' products that are kernels of their own fill the device as few at a time as there are streams") {
  Cluster cluster = fast_memory();
  cluster.device.gemm.wave_penalty = 3000;
  // e c k n = 8 10 20 30: 8 products, each with a result of 300 and 12000 FLOP; the second operand holds the experts.
  OneOp experts(OpKind::einsum, {"eck", "ekn"}, "ecn", {8, 10, 20, 30});
  experts.graph.tensors[1].role = TensorRole::parameter;
  Recipe recipe;
  // One kernel makes all 2400 elements: 960 s · (1 + 3000 / 2400).
  CHECK(experts.time(cluster, recipe).forward.value() == Approx(960 * 2.25));
  recipe.expert_streams = 4;  // 1200 at once
  CHECK(experts.time(cluster, recipe).forward.value() == Approx(960 * 3.5));
  recipe.expert_streams = 16;  // all
  CHECK(experts.time(cluster, recipe).forward.value() == Approx(960 * 2.25));
  recipe.expert_streams = 4;
  experts.graph.tensors[1].role = TensorRole::intermediate;  // a batch of activations is one kernel
  CHECK(experts.time(cluster, recipe).forward.value() == Approx(960 * 2.25));
}

TEST_CASE("gradients of parameters are added to those of the microbatches before, after their products") {
  Cluster cluster = fast_memory();
  cluster.device.memory_bandwidth = BytesPerSecond(1000);
  Recipe recipe;
  recipe.gradient_traffic = 6;
  OneOp layer = linear_layer();
  layer.differentiate(0).differentiate(1);
  // Two products of 120 s; 6 B for each of 20·30 parameters are 3600 B at 1000 B/s, 3.6 s.
  const OpTime both = layer.time(cluster, recipe);
  CHECK(both.adding_gradients.value() == Approx(3.6));
  CHECK(both.backward.value() == Approx(240 + 3.6));
  CHECK(both.backward_weight.value() == Approx(120 + 3.6));
  CHECK(both.backward_source.total().value() == Approx(both.backward.value()));
  CHECK(both.forward == Seconds(120));
  // The first of four microbatches has nothing to add to; a single one neither.
  CHECK(averaged_over(recipe, 4).gradient_traffic == 4.5);
  CHECK(averaged_over(recipe, 1).gradient_traffic == 0);
  // Experts wait for the busiest in their products, not in adding gradients, of which each has as many.
  recipe.expert_imbalance = 2;
  const OpTime unequal = times_imbalance(both, recipe);
  CHECK(unequal.backward.value() == Approx(480 + 3.6));
  CHECK(unequal.backward_weight.value() == Approx(240 + 3.6));
  CHECK(unequal.backward_source.total().value() == Approx(unequal.backward.value()));
  // Of activations nothing is added.
  layer.graph.tensors[1].role = TensorRole::intermediate;
  CHECK(layer.time(cluster, recipe).backward.value() == Approx(240));
}

TEST_CASE("the host starts one kernel in the forward and one for each gradient, none for a view") {
  Recipe recipe;
  recipe.launch = Seconds(3);
  recipe.backward_launch = 1.5;
  OneOp layer = linear_layer();
  layer.differentiate(0).differentiate(1);
  const Launches both = launches(recipe, layer.graph, layer.gradient, OpId{0});
  CHECK(both.forward == Seconds(3));
  CHECK(both.backward == Seconds(9));  // 1.5 · 2 kernels · 3 s
  OneOp view(OpKind::broadcast, {"h"}, "bh", {10, 5});
  view.differentiate(0);
  CHECK(launches(recipe, view.graph, view.gradient, OpId{0}).forward == Seconds(0));
  CHECK(launches(recipe, view.graph, view.gradient, OpId{0}).backward == Seconds(4.5));  // the sum over b
}

TEST_CASE("the host starts no kernel for a gradient that is the result's") {
  Recipe recipe;
  recipe.launch = Seconds(3);
  OneOp residual(OpKind::add, {"bh", "bh"}, "bh", {10, 10});
  residual.differentiate(0).differentiate(1);
  CHECK(launches(recipe, residual.graph, residual.gradient, OpId{0}).forward == Seconds(3));
  CHECK(launches(recipe, residual.graph, residual.gradient, OpId{0}).backward == Seconds(0));
  OneOp bias(OpKind::add, {"bh", "h"}, "bh", {10, 10});
  bias.differentiate(0).differentiate(1);
  CHECK(launches(recipe, bias.graph, bias.gradient, OpId{0}).backward == Seconds(3));  // the sum over b
  // Dimensions split in their order are a view, exchanged ones are a copy, each way.
  OneOp kept(OpKind::reshape, {"bnd"}, "bnd", {10, 2, 5}), exchanged(OpKind::reshape, {"bnd"}, "bdn", {10, 2, 5});
  kept.differentiate(0), exchanged.differentiate(0);
  CHECK(launches(recipe, kept.graph, kept.gradient, OpId{0}).forward == Seconds(0));
  CHECK(launches(recipe, kept.graph, kept.gradient, OpId{0}).backward == Seconds(0));
  CHECK(launches(recipe, exchanged.graph, exchanged.gradient, OpId{0}).forward == Seconds(3));
  CHECK(launches(recipe, exchanged.graph, exchanged.gradient, OpId{0}).backward == Seconds(3));
}
