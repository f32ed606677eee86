#include "planner/parameter_costs.hpp"

#include <catch2/catch.hpp>

using namespace meshloom;

namespace {

// Eight devices of one host, 100 GB/s without latency; memory of 1.4 TB/s that streams at its full bandwidth.
Cluster eight_devices() {
  Cluster cluster;
  cluster.devices_per_host = 8;
  cluster.intra_host = {BytesPerSecond(100e9), 1, Seconds(0)};
  cluster.device.memory_bandwidth = BytesPerSecond(1.4e12);
  cluster.device.memory_efficiency = 1;
  return cluster;
}

// Bytes per parameter: 2 of the working copy, 4 of the gradient, 12 of master copy and moments; 28 moved by a step.
Recipe mixed_precision() {
  Recipe recipe;
  recipe.parameter_bytes = Bytes(2);
  recipe.gradient_bytes = Bytes(4);
  recipe.optimizer_bytes = Bytes(12);
  recipe.optimizer_traffic = 28;
  return recipe;
}

const DeviceMesh data_parallel{{1, 8}, {{"data", 8}}};
constexpr double parameters = 1e9;
constexpr ParameterState all_states[] = {ParameterState::replicated, ParameterState::zero1, ParameterState::zero2,
                                         ParameterState::zero3};

ParameterCost cost_of(ParameterState state, const Recipe& recipe = mixed_precision()) {
  return parameter_cost(eight_devices(), recipe, data_parallel, {{replicated_partial_gradient}}, parameters,
                        DType::bf16, state);
}

double gigabytes(Bytes bytes) { return bytes.value() / 1e9; }

void check_one(const ParameterCollectives& collectives, Collective kind, Bytes whole, double milliseconds) {
  REQUIRE(collectives.size() == 1);
  CHECK(collectives[0].collective == kind);
  CHECK(collectives[0].whole == whole);
  CHECK(collectives[0].time.value() == Approx(milliseconds / 1e3));
  CHECK(total_time(collectives) == collectives[0].time);
}

}  // namespace

// The worked example of docs/layouts.md. Each device sends 7/8 of X: of 4 GB of gradients 3.5 GB (35 ms), twice that in
// an all-reduce; of 2 GB of values 1.75 GB (17.5 ms). The optimizer moves 28 GB at 1.4 TB/s, 20 ms, or an eighth of it.

TEST_CASE("a replicated parameter keeps everything everywhere and all-reduces its gradient once per step") {
  const ParameterCost cost = cost_of(ParameterState::replicated);
  CHECK(gigabytes(cost.parameters) == Approx(2));
  CHECK(gigabytes(cost.gradients) == Approx(4));
  CHECK(gigabytes(cost.optimizer) == Approx(12));
  CHECK(cost.gathered == Bytes(0));
  CHECK(cost.forward.empty());
  CHECK(cost.backward.empty());
  check_one(cost.per_step, Collective::all_reduce, Bytes(4e9), 70);
  CHECK(cost.update.value() == Approx(20e-3));
  CHECK(cost.axis_set == 1);
}

TEST_CASE("ZeRO-1 shards the optimizer state; gradients are scattered and values gathered once per step") {
  const ParameterCost cost = cost_of(ParameterState::zero1);
  CHECK(gigabytes(cost.parameters) == Approx(2));
  CHECK(gigabytes(cost.gradients) == Approx(4));
  CHECK(gigabytes(cost.optimizer) == Approx(1.5));
  CHECK(cost.gathered == Bytes(0));
  CHECK(cost.forward.empty());
  CHECK(cost.backward.empty());
  REQUIRE(cost.per_step.size() == 2);
  check_one({cost.per_step[0]}, Collective::reduce_scatter, Bytes(4e9), 35);
  check_one({cost.per_step[1]}, Collective::all_gather, Bytes(2e9), 17.5);
  CHECK(total_time(cost.per_step).value() == Approx(52.5e-3));
  CHECK(cost.update.value() == Approx(2.5e-3));
}

TEST_CASE("a framework may keep gradients in 16 bits and all-reduce them in 32, with ZeRO-1, too") {
  Recipe recipe = mixed_precision();
  recipe.gradient_bytes = Bytes(2);
  recipe.reduction_bytes = Bytes(4);
  recipe.zero1_all_reduces = true;
  const ParameterCost cost = cost_of(ParameterState::zero1, recipe);
  CHECK(gigabytes(cost.gradients) == Approx(2));
  REQUIRE(cost.per_step.size() == 2);
  check_one({cost.per_step[0]}, Collective::all_reduce, Bytes(4e9), 70);
  check_one({cost.per_step[1]}, Collective::all_gather, Bytes(2e9), 17.5);
  check_one(cost_of(ParameterState::replicated, recipe).per_step, Collective::all_reduce, Bytes(4e9), 70);
  recipe.reduction_bytes.reset();
  check_one({cost_of(ParameterState::zero1, recipe).per_step[0]}, Collective::all_reduce, Bytes(2e9), 35);
}

TEST_CASE("ZeRO-2 keeps gradients sharded too, for a reduce-scatter in every microbatch") {
  const ParameterCost cost = cost_of(ParameterState::zero2);
  CHECK(gigabytes(cost.parameters) == Approx(2));
  CHECK(gigabytes(cost.gradients) == Approx(0.5));
  CHECK(gigabytes(cost.optimizer) == Approx(1.5));
  CHECK(cost.gathered == Bytes(0));
  CHECK(cost.forward.empty());
  check_one(cost.backward, Collective::reduce_scatter, Bytes(4e9), 35);
  check_one(cost.per_step, Collective::all_gather, Bytes(2e9), 17.5);
  CHECK(cost.update.value() == Approx(2.5e-3));
}

TEST_CASE("ZeRO-3 keeps values sharded too, for an all-gather in every forward and backward") {
  const ParameterCost cost = cost_of(ParameterState::zero3);
  CHECK(gigabytes(cost.parameters) == Approx(0.25));
  CHECK(gigabytes(cost.gradients) == Approx(0.5));
  CHECK(gigabytes(cost.optimizer) == Approx(1.5));
  CHECK(gigabytes(cost.gathered) == Approx(2));
  check_one(cost.forward, Collective::all_gather, Bytes(2e9), 17.5);
  REQUIRE(cost.backward.size() == 2);
  check_one({cost.backward[0]}, Collective::all_gather, Bytes(2e9), 17.5);
  check_one({cost.backward[1]}, Collective::reduce_scatter, Bytes(4e9), 35);
  CHECK(total_time(cost.backward).value() == Approx(52.5e-3));
  CHECK(cost.per_step.empty());
  CHECK(cost.update.value() == Approx(2.5e-3));
}

TEST_CASE("only the axes where the parameter is R/P reduce its gradient or shard its state") {
  const DeviceMesh mesh{{1, 8}, {{"data", 2}, {"model", 4}}};
  // Sharded over the four devices of an axis: 1/4 of the parameters here, and groups of two.
  const Layout column{{replicated_partial_gradient, sharded(1)}};
  const ParameterCost zero1 = parameter_cost(eight_devices(), mixed_precision(), mesh, column, parameters / 4,
                                             DType::bf16, ParameterState::zero1);
  CHECK(zero1.axis_set == 1);
  CHECK(gigabytes(zero1.parameters) == Approx(0.5));
  CHECK(gigabytes(zero1.optimizer) == Approx(1.5));  // 12 GB / 4 / 2
  REQUIRE(zero1.per_step.size() == 2);
  check_one({zero1.per_step[0]}, Collective::reduce_scatter, Bytes(1e9), 5);  // 1/2 · 1 GB at 100 GB/s
  // Used redundantly, every device has the whole gradient: nothing to reduce, nothing that a state could shard.
  for (const ParameterState state : all_states) {
    CAPTURE(name(state));
    const ParameterCost cost = parameter_cost(eight_devices(), mixed_precision(), mesh, {{replicated, sharded(1)}},
                                              parameters / 4, DType::bf16, state);
    CHECK(cost.axis_set == 0);
    CHECK(gigabytes(cost.parameters + cost.gradients + cost.optimizer) == Approx(18.0 / 4));
    CHECK((cost.forward.empty() && cost.backward.empty() && cost.per_step.empty()));
    CHECK(cost.gathered == Bytes(0));
  }
}

TEST_CASE("several R/P axes form one group of their product") {
  const DeviceMesh mesh{{1, 8}, {{"data", 2}, {"sequence", 4}}};
  const Layout layout{{replicated_partial_gradient, replicated_partial_gradient}};
  for (const ParameterState state : all_states) {
    CAPTURE(name(state));
    const ParameterCost cost =
        parameter_cost(eight_devices(), mixed_precision(), mesh, layout, parameters, DType::bf16, state);
    CHECK(cost.axis_set == 3);
    CHECK(cost.parameters == cost_of(state).parameters);
    CHECK(cost.optimizer == cost_of(state).optimizer);
    CHECK(total_time(cost.per_step) == total_time(cost_of(state).per_step));
    CHECK(total_time(cost.backward) == total_time(cost_of(state).backward));
  }
}

TEST_CASE("each further ZeRO stage holds less, and all but ZeRO-3 move the same bytes once in a microbatch and step") {
  Bytes before(1e30);
  for (const ParameterState state : all_states) {
    const ParameterCost cost = cost_of(state);
    const Bytes held = cost.parameters + cost.gradients + cost.optimizer;
    CHECK(held < before);
    before = held;
  }
  const auto once = [](ParameterState state) {
    const ParameterCost cost = cost_of(state);
    return total_time(cost.forward) + total_time(cost.backward) + total_time(cost.per_step);
  };
  CHECK(once(ParameterState::zero1).value() == Approx(once(ParameterState::zero2).value()));
  // One more all-gather of values: half as many bytes again as ZeRO-1 when values and gradients have the same size,
  // here 17.5 ms more than 52.5 ms.
  CHECK(once(ParameterState::zero3).value() == Approx(once(ParameterState::zero1).value() + 17.5e-3));
}

TEST_CASE("a parameter smaller than a bucket pays its share of the latency") {
  // 10^6 parameters of 4 B gradients are 4 MB, a tenth of a 40 MB bucket. The ring's 14 steps of 1 us cost 1.4 us of
  // the bucket's 14 us; 2·7/8·4 MB at 100 GB/s take 70 us.
  Cluster cluster = eight_devices();
  cluster.intra_host.latency = Seconds(1e-6);
  Recipe recipe = mixed_precision();
  recipe.bucket_bytes = Bytes(40e6);
  const ParameterCost cost = parameter_cost(cluster, recipe, data_parallel, {{replicated_partial_gradient}}, 1e6,
                                            DType::bf16, ParameterState::replicated);
  CHECK(total_time(cost.per_step).value() == Approx(71.4e-6));
  // 10 MB for each of eight devices: a bucket of 80 MB, and 0.7 us of its latency.
  recipe.bucket_bytes_per_device = Bytes(10e6);
  const ParameterCost grown = parameter_cost(cluster, recipe, data_parallel, {{replicated_partial_gradient}}, 1e6,
                                             DType::bf16, ParameterState::replicated);
  CHECK(total_time(grown.per_step).value() == Approx(70.7e-6));
}

TEST_CASE("fp32 parameters are kept and reduced in four bytes") {
  Recipe recipe = mixed_precision();
  recipe.gradient_bytes = Bytes(2);
  const ParameterCost cost = parameter_cost(eight_devices(), recipe, data_parallel, {{replicated_partial_gradient}},
                                            parameters, DType::fp32, ParameterState::replicated);
  CHECK(gigabytes(cost.parameters) == Approx(4));
  CHECK(gigabytes(cost.gradients) == Approx(4));
}

TEST_CASE("gradients may be reduced in other bytes than they are kept in") {
  // Kept in 4 bytes, sent in 2: the reduce-scatter takes 7/8 of 2 GB at 100 GB/s, 17.5 ms, as an all-gather does.
  Recipe recipe = mixed_precision();
  recipe.reduction_bytes = Bytes(2);
  const ParameterCost cost = parameter_cost(eight_devices(), recipe, data_parallel, {{replicated_partial_gradient}},
                                            parameters, DType::bf16, ParameterState::zero2);
  CHECK(gigabytes(cost.gradients) == Approx(0.5));
  check_one(cost.backward, Collective::reduce_scatter, Bytes(2e9), 17.5);
  CHECK(parameter_cost(eight_devices(), recipe, data_parallel, {{replicated_partial_gradient}}, parameters, DType::fp32,
                       ParameterState::zero2)
            .backward[0]
            .whole == Bytes(4e9));
}

TEST_CASE("copies into and out of the buffers of gathers and reductions are waited for, in each microbatch") {
  // Twice 2 GB of gathered values at 1.4 TB/s: 2.857 ms beside 17.5 ms on the wire, in forward and backward; 1.5 times
  // 4 GB of reduced gradients: 4.286 ms beside 35 ms. Computing waits for half of what is on the wire.
  Recipe recipe = mixed_precision();
  recipe.gather_traffic = 2;
  recipe.reduction_traffic = 1.5;
  recipe.exposed_parameters = 0.5;
  recipe.overlap_parameters = true;
  const ParameterCost zero3 = parameter_cost(eight_devices(), recipe, data_parallel, {{replicated_partial_gradient}},
                                             parameters, DType::bf16, ParameterState::zero3);
  CHECK(total_time(zero3.forward).value() == Approx(8.75e-3 + 2.857e-3).epsilon(1e-4));
  CHECK(total_time(zero3.backward).value() == Approx(8.75e-3 + 2.857e-3 + 17.5e-3 + 4.286e-3).epsilon(1e-4));
  CHECK(zero3.forward_beside.value() == Approx(17.5e-3));
  // Once per step nothing is copied: both collectives in whole, 52.5 ms.
  const ParameterCost zero1 = parameter_cost(eight_devices(), recipe, data_parallel, {{replicated_partial_gradient}},
                                             parameters, DType::bf16, ParameterState::zero1);
  CHECK(total_time(zero1.per_step).value() == Approx(52.5e-3));
}
