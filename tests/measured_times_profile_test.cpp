#include <catch2/catch.hpp>
#include <cmath>

#include "costmodel/device_files.hpp"
#include "costmodel/measured_times.hpp"
#include "costmodel/op_costs.hpp"
#include "graphs/input_error.hpp"
#include "planned_samples.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan_sources.hpp"
#include "planner/reprice.hpp"
#include "planner/work_bound.hpp"

using namespace meshloom;

namespace {

Cluster quad() {
  Cluster cluster;
  cluster.name = "quad";
  cluster.device.name = "D-100";
  cluster.device.memory_bandwidth = BytesPerSecond(1e9);
  cluster.device.memory_efficiency = 1;
  cluster.device.peak = {{DType::bf16, FlopsPerSecond(1e12)}};
  cluster.device.gemm = {.of_peak = 1};
  cluster.device.launch = Seconds(1e-9);
  cluster.devices_per_host = 4;
  cluster.hosts = 2;
  cluster.intra_host = {BytesPerSecond(1e9), 1, Seconds(1e-6)};
  cluster.nic = {BytesPerSecond(1e8), 1, Seconds(1e-5)};
  return cluster;
}

ProfileFile file_of(const Profile& profile) { return {"p.json", "fnv1a64:0", profile}; }

Cluster with(const Cluster& cluster, Profile profile) {
  profile.provenance.device = cluster.device.name;
  return with_profiles(cluster, Recipe{}, {file_of(profile)}, {});
}

// x of 4 × 8 times a weight of 8 × 16: forward nn 4 16 8; gradients: of x nt 4 8 16, of the weight tn 8 16 4.
struct Linear {
  Graph graph;
  OpGradient gradient;
  std::vector<std::int64_t> sizes{4, 8, 16};

  Linear() {
    Op op;
    op.kind = OpKind::einsum;
    op.rule = parse_rule("m k, k n -> m n", "rule");
    for (int t = 0; t < 3; ++t) graph.tensors.push_back({});
    op.inputs = {TensorId{0}, TensorId{1}};
    op.outputs = {TensorId{2}};
    graph.tensors[1].role = TensorRole::parameter;
    graph.ops.push_back(op);
    gradient.kernels.push_back({.of_inputs = {0}});
    gradient.kernels.push_back({.of_inputs = {1}});
  }
  OpTime time(const Cluster& cluster) const { return op_time(cluster, Recipe{}, graph, gradient, OpId{0}, sizes); }
};

OperatorKey gemm(OperandOrder order) { return {.kind = MeasuredOperator::gemm, .operands = order}; }

}  // namespace

TEST_CASE("a measured product replaces the model's time of its kernel and no other", "[profile]") {
  Profile profile;
  add_sample(profile, gemm(OperandOrder::nn), {{1, 4, 16, 8}, {Seconds(3)}});
  add_sample(profile, gemm(OperandOrder::nt), {{1, 4, 8, 16}, {Seconds(5)}});
  add_sample(profile, gemm(OperandOrder::tn), {{1, 8, 16, 4}, {Seconds(7)}});
  const OpTime time = Linear().time(with(quad(), profile));
  CHECK(time.forward == Seconds(3));
  CHECK(time.backward == Seconds(12));
  CHECK(time.backward_weight == Seconds(7));
  CHECK(time.forward_source.of(TimeSource::measured) == Seconds(3));
  CHECK(time.backward_source.of(TimeSource::measured) == Seconds(12));
}

TEST_CASE("a product of another operand order lends its ratio, not its certainty", "[profile]") {
  Profile profile;
  const Seconds modelled = Linear().time(quad()).forward;
  add_sample(profile, gemm(OperandOrder::tt), {{1, 4, 16, 8}, {modelled * 3}});
  const OpTime time = Linear().time(with(quad(), profile));
  CHECK(time.forward.value() == Approx(3 * modelled.value()));
  CHECK(time.forward_source.main() == TimeSource::interpolated);
  // The gradients' shapes have one size twice and another half as large: √2 doublings away from the ratio 3.
  const double ratio = std::pow(3, 1 - std::sqrt(2) / 4);
  CHECK(time.backward.value() == Approx(ratio * Linear().time(quad()).backward.value()));
  CHECK(time.backward_source.main() == TimeSource::extrapolated);
}

TEST_CASE("a product far from every measured one is modelled", "[profile]") {
  Profile profile;
  add_sample(profile, gemm(OperandOrder::nn), {{1, 4096, 4096, 4096}, {Seconds(1e3)}});
  const OpTime time = Linear().time(with(quad(), profile));
  CHECK(time.forward == Linear().time(quad()).forward);
  CHECK(time.forward_source.main() == TimeSource::modelled);
}

TEST_CASE("elementwise kinds that were not measured take the ratio of copies", "[profile]") {
  Profile profile;
  // 1000 bytes at 1 GB/s are modelled as 1 us.
  add_sample(profile, {.kind = MeasuredOperator::copy}, {{1000}, {Seconds(2e-6)}});
  const Cluster cluster = with(quad(), profile);
  const KernelShape gelu{{.kind = MeasuredOperator::gelu}, {1000}};
  const SourcedTime time = cluster.measured->of(gelu, Seconds(1e-6));
  CHECK(time.time.value() == Approx(2e-6));
  CHECK(time.source == TimeSource::extrapolated);
}

TEST_CASE("fused traffic scales what was measured of a kernel that moves all bytes", "[profile]") {
  Profile profile;
  add_sample(profile, {.kind = MeasuredOperator::gelu}, {{1000}, {Seconds(3e-6)}});
  const Cluster cluster = with(quad(), profile);
  const KernelShape gelu{{.kind = MeasuredOperator::gelu}, {1000}};
  const SourcedTime half = cluster.measured->of(gelu, Seconds(0.5e-6));  // half of the 1 us that are modelled
  CHECK(half.time.value() == Approx(1.5e-6));
  CHECK(half.source == TimeSource::interpolated);
  CHECK(cluster.measured->of(gelu, SampleModel(quad(), Recipe{}, gelu.key).time(gelu.shape)).time == Seconds(3e-6));
}

TEST_CASE("a measured collective replaces the model's time of its group alone", "[profile]") {
  Profile profile;
  add_sample(profile, CollectiveKey{MeasuredCollective::all_reduce, 1, 4}, {1000, {Seconds(0.5)}});
  const Cluster cluster = with(quad(), profile);
  CHECK(collective_time(cluster, Collective::all_reduce, Bytes(1000), {4}) == Seconds(0.5));
  CHECK(sourced_collective_time(cluster, Collective::all_reduce, Bytes(1000), {4}).source == TimeSource::measured);
  for (const DeviceGroup& other : {DeviceGroup{2}, DeviceGroup{8, 2}})
    CHECK(collective_time(cluster, Collective::all_reduce, Bytes(1000), other) ==
          collective_time(quad(), Collective::all_reduce, Bytes(1000), other));
  CHECK(sourced_collective_time(cluster, Collective::all_to_all, Bytes(1000), {4}).source == TimeSource::modelled);
}

TEST_CASE("a slow all-reduce is not evaded by its halves, which nobody measured", "[profile]") {
  Profile profile;
  const DeviceGroup four{4};
  const Seconds modelled = collective_time(quad(), Collective::all_reduce, Bytes(1e6), four);
  add_sample(profile, CollectiveKey{MeasuredCollective::all_reduce, 1, 4}, {1000000, {modelled * 3}});
  const Cluster cluster = with(quad(), profile);
  for (const Collective half : {Collective::reduce_scatter, Collective::all_gather}) {
    const SourcedTime time = sourced_collective_time(cluster, half, Bytes(1e6), four);
    CHECK(time.time.value() == Approx(3 * collective_time(quad(), half, Bytes(1e6), four).value()));
    CHECK(time.source == TimeSource::extrapolated);
  }
  const Collective other = Collective::all_to_all;
  CHECK(collective_time(cluster, other, Bytes(1e6), four) == collective_time(quad(), other, Bytes(1e6), four));
}

TEST_CASE("an all-to-all is looked up by the buffer of each device", "[profile]") {
  Profile profile;
  add_sample(profile, CollectiveKey{MeasuredCollective::all_to_all, 1, 4}, {1000, {Seconds(0.5)}});
  add_sample(profile, CollectiveKey{MeasuredCollective::send_receive, 1, 4}, {1000, {Seconds(0.25)}});
  const Cluster cluster = with(quad(), profile);
  CHECK(collective_time(cluster, Collective::all_to_all, Bytes(4000), {4}) == Seconds(0.5));
  CHECK(collective_time(cluster, Collective::permute, Bytes(4000), {4}) == Seconds(0.25));
}

TEST_CASE("groups that share NICs pay for it on top of what one was measured to take", "[profile]") {
  Profile profile;
  const DeviceGroup alone{2, 2, 1, 1, 2}, shared{2, 2, 4, 1, 2};
  const Seconds modelled = collective_time(quad(), Collective::all_reduce, Bytes(1e6), alone);
  add_sample(profile, CollectiveKey{MeasuredCollective::all_reduce, 2, 1}, {1000000, {modelled * 2}});
  const SourcedTime time = sourced_collective_time(with(quad(), profile), Collective::all_reduce, Bytes(1e6), shared);
  CHECK(time.time.value() == Approx(2 * collective_time(quad(), Collective::all_reduce, Bytes(1e6), shared).value()));
  CHECK(time.source == TimeSource::interpolated);
}

TEST_CASE("attention is looked up by samples times heads", "[profile]") {
  Op op;
  op.kind = OpKind::attention;
  op.causal = true;
  op.rule = parse_rule("b s (k g) d!, b t! k d, b t k d -> b s (k g) d", "rule");
  Graph graph;
  for (std::uint32_t t = 0; t < 4; ++t) graph.tensors.push_back({});
  op.inputs = {TensorId{0}, TensorId{1}, TensorId{2}};
  op.outputs = {TensorId{3}};
  graph.ops.push_back(op);
  // Factors in order b s k g d t: 2 samples, 16 queries, 3 key-value heads of 4 query heads each, size 64, 32 keys.
  const std::vector<std::int64_t> sizes{2, 16, 3, 4, 64, 32};
  const auto kernel = forward_kernel(Recipe{}, graph, op, sizes, DType::bf16);
  REQUIRE(kernel);
  CHECK(kernel->shape == std::vector<std::int64_t>{1, 24, 6, 16, 32, 64});
  CHECK(kernel->key.causal);
  Profile profile;
  add_sample(profile, kernel->key, {{2, 12, 3, 16, 32, 64}, {Seconds(9)}});
  CHECK(op_time(with(quad(), profile), Recipe{}, graph, {}, OpId{0}, sizes).forward == Seconds(9));
}

TEST_CASE("the result's order of dimensions decides which operand is the left one", "[profile]") {
  // y^T = w x^T: a result of n before m is the product of the second operand, n × k as it lies, and of the first.
  Linear linear;
  linear.graph.ops[0].rule = parse_rule("m k, n k -> n m", "rule");
  const auto kernel =
      forward_kernel(Recipe{}, linear.graph, linear.graph.ops[0], std::vector<std::int64_t>{4, 8, 16}, DType::bf16);
  REQUIRE(kernel);
  CHECK(kernel->shape == std::vector<std::int64_t>{1, 16, 4, 8});
  CHECK(kernel->key.operands == OperandOrder::nt);
}

TEST_CASE("a profile of another device is refused unless its device is named", "[profile]") {
  Profile profile{.provenance = {.device = "E"}};
  add_sample(profile, CollectiveKey{MeasuredCollective::all_reduce, 1, 4}, {1000, {Seconds(0.5)}});
  try {
    with_profiles(quad(), Recipe{}, {file_of(profile)}, {});
    FAIL("accepted");
  } catch (const InputError& error) {
    CHECK(std::string(error.what()) ==
          "p.json: /device: was measured on \"E\", the cluster has 8 × D-100; give a profile of its device, or say "
          "--profile-device-is \"E\" to use this one nevertheless");
  }
  CHECK_THROWS_AS(with_profiles(quad(), Recipe{}, {file_of(profile)}, {"F"}), InputError);
  CHECK(with_profiles(quad(), Recipe{}, {file_of(profile)}, {"E"}).measured);
}

TEST_CASE("a profile works on the groups of hosts that have its device", "[profile]") {
  Cluster cluster;
  cluster.groups = {quad(), quad()};
  cluster.groups[1].device.name = "E";
  const auto measured_groups = [&](const std::string& device, const std::vector<std::string>& stand_ins) {
    const Cluster result = with_profiles(cluster, Recipe{}, {file_of({.provenance = {.device = device}})}, stand_ins);
    return std::pair(bool(result.groups[0].measured), bool(result.groups[1].measured));
  };
  CHECK(measured_groups("E", {}) == std::pair(false, true));
  CHECK(measured_groups("E", {"E"}) == std::pair(false, true));
  CHECK(measured_groups("F", {"F"}) == std::pair(true, true));
}

TEST_CASE("names of one device differ in case, spaces and the maker alone", "[profile]") {
  CHECK(same_device("NVIDIA A100-SXM4-80GB", "a100 sxm4 80gb"));
  CHECK(same_device("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"));
  CHECK_FALSE(same_device("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-40GB"));
  CHECK_FALSE(same_device("NVIDIA H100 PCIe", "H100-SXM5-80GB"));
  // As their drivers call them.
  CHECK(same_device("NVIDIA H200", "H200-SXM-141GB"));
  CHECK(same_device("NVIDIA B200", "B200-SXM-180GB"));
  CHECK(same_device("NVIDIA B300 SXM6 AC", "B300-SXM-288GB"));
  CHECK(same_device("NVIDIA GB200", "GB200-186GB"));
  CHECK(same_device("NVIDIA GB300", "GB300-288GB"));
  CHECK(same_device("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"));
  CHECK_FALSE(same_device("NVIDIA H200", "B200-SXM-180GB"));
}

// 1.6 and 2.0 TB/s, 16 and 32 GiB, HBM3 and HBM2e: tables mean one of them by the family's name, a profile may be of
// any.
TEST_CASE("a profile of a family of devices is of none of them", "[profile]") {
  for (const std::string device : {"A100-SXM4-80GB", "A100-SXM4-40GB"}) CHECK_FALSE(same_device("NVIDIA A100", device));
  CHECK_FALSE(same_device("H100", "H100-SXM5-80GB"));
  CHECK_FALSE(same_device("V100-SXM2-16GB", "V100"));
  CHECK(same_device("A100", "NVIDIA A100"));  // a cluster's own device of that name
  CHECK(device_named("A100")->device.name == "A100-SXM4-80GB");
  CHECK(family_named("H200").empty());
  for (const char* device : {"A10", "L4", "L40", "MI250", "H20", "GB20"}) {  // of which others are no kinds
    INFO(device);
    CHECK(family_named(device).empty());
  }
  CHECK(family_named("nvidia h100-sxm") == std::vector<std::string>{"H100-SXM5-80GB", "H100-SXM5-96GB-500W"});
  CHECK(family_named("H800") == std::vector<std::string>{"H800-PCIE-80GB", "H800-SXM5-80GB"});
  CHECK(same_device("NVIDIA H800", "H800-SXM5-80GB"));  // what the driver prints of SXM; of PCIe it says so
  CHECK_FALSE(same_device("NVIDIA H800", "H800-PCIE-80GB"));
  Cluster cluster = quad();
  cluster.device.name = "A100-SXM4-80GB";
  CHECK_THROWS_WITH(with_profiles(cluster, Recipe{}, {file_of({.provenance = {.device = "A100"}})}, {}),
                    "p.json: /device: was measured on \"A100\", which may be A100-PCIE-40GB or A100-PCIE-80GB or "
                    "A100-SXM4-40GB or A100-SXM4-80GB, the cluster has 8 × A100-SXM4-80GB; give a profile of its "
                    "device, or say --profile-device-is \"A100\" to use this one nevertheless");
  CHECK(with_profiles(cluster, Recipe{}, {file_of({.provenance = {.device = "A100"}})}, {"A100"}).measured);
}

namespace {

// The model's own times, of a few shapes of every kind that the sample plan has.
Profile profile_of_model(const PlanningInput& input) {
  Profile profile{.provenance = {.device = input.cluster.device.name}};
  const auto add = [&](const OperatorKey& key, const std::vector<std::int64_t>& shape) {
    add_sample(profile, key, {shape, {SampleModel(input.cluster, input.recipe, key).time(shape)}});
  };
  for (const DType dtype : {DType::bf16, DType::fp32}) {
    for (const OperandOrder order : {OperandOrder::nn, OperandOrder::nt, OperandOrder::tn})
      for (const std::int64_t m : {1, 512, 8192})
        for (const std::int64_t n : {64, 2048})
          add({.kind = MeasuredOperator::gemm, .dtype = dtype, .operands = order}, {1, m, n, 512});
    for (const Direction direction : {Direction::forward, Direction::backward}) {
      add({.kind = MeasuredOperator::attention, .dtype = dtype, .direction = direction}, {4, 16, 16, 512, 512, 128});
      for (const MeasuredOperator kind : {MeasuredOperator::layer_norm, MeasuredOperator::cross_entropy})
        for (const std::int64_t bytes : {1 << 12, 1 << 26})
          add({.kind = kind, .dtype = dtype, .direction = direction}, {bytes, 2048});
      add({.kind = MeasuredOperator::gelu, .dtype = dtype, .direction = direction}, {1 << 20});
    }
    add({.kind = MeasuredOperator::copy, .dtype = dtype}, {1 << 20});
    add({.kind = MeasuredOperator::optimizer, .dtype = dtype}, {1 << 20});
  }
  for (const MeasuredCollective kind :
       {MeasuredCollective::all_reduce, MeasuredCollective::all_gather, MeasuredCollective::reduce_scatter,
        MeasuredCollective::all_to_all, MeasuredCollective::send_receive})
    for (const std::int64_t devices : {2, 4, 8})
      for (const std::int64_t bytes : {1 << 10, 1 << 22, 1 << 27}) {
        const CollectiveKey key{kind, 1, devices};
        add_sample(profile, key, {bytes, {modelled_sample(input.cluster, key, bytes)}});
      }
  return parse_profile(write_profile(profile), "p.json");
}

}  // namespace

TEST_CASE("a profile of the model's own times changes no byte of a plan", "[profile]") {
  PlanningInput input = small_gpt_on_v100s();
  const std::string without = write_plan(make_plan(input, batch_of(32)));
  const std::vector<ProfileFile> files{file_of(profile_of_model(input))};
  PlanningInput measured = input;
  measured.cluster = with_profiles(input.cluster, input.recipe, files, {});
  Plan plan = make_plan(measured, batch_of(32));
  CHECK(write_plan(plan) == without);

  record_sources(plan, input.graph, measured.cluster, files);
  REQUIRE(plan.time_by_source);
  CHECK(plan.time_by_source->total() - plan.time_by_source->of(TimeSource::modelled) > Seconds(0));
  CHECK(parse_plan(write_plan(plan), "plan.json") == plan);
}

TEST_CASE("the bound on products holds where they were measured to be faster than the peak", "[profile]") {
  PlanningInput input = small_gpt_on_v100s();
  const Seconds without = least_time_of_products(input, 32);
  Profile profile{.provenance = {.device = input.cluster.device.name}};
  const OperatorKey key{.kind = MeasuredOperator::gemm, .dtype = input.recipe.compute_dtype};
  const std::vector<std::int64_t> shape{1, 512, 2048, 2048};
  const Seconds modelled = SampleModel(input.cluster, input.recipe, key).time(shape);
  add_sample(profile, key, {shape, {modelled / 100}});
  input.cluster = with_profiles(input.cluster, input.recipe, {file_of(profile)}, {});
  CHECK(least_time_of_products(input, 32).value() == Approx(without.value() / 100));
}

TEST_CASE("times by source add up to the plan's own times", "[profile]") {
  PlanningInput input = small_gpt_on_v100s();
  Profile profile{.provenance = {.device = input.cluster.device.name}};
  // A V100 has no bf16: it computes in fp16.
  add_sample(profile, {.kind = MeasuredOperator::gemm, .dtype = DType::fp16}, {{1, 512, 2048, 2048}, {Seconds(2e-4)}});
  add_sample(profile, CollectiveKey{MeasuredCollective::all_reduce, 1, 8}, {1 << 24, {Seconds(1e-3)}});
  const std::vector<ProfileFile> files{file_of(profile)};
  input.cluster = with_profiles(input.cluster, input.recipe, files, {});
  Plan plan = make_plan(input, batch_of(32));
  record_sources(plan, input.graph, input.cluster, files);
  double expected = 0;
  for (const Stage& stage : plan.stages)
    expected += static_cast<double>(stage.submesh.devices()) *
                (static_cast<double>(plan.microbatches) * (stage.forward + stage.backward) + stage.synchronization +
                 stage.update)
                    .value();
  CHECK(plan.time_by_source->total().value() == Approx(expected));
  CHECK(plan.time_by_source->of(TimeSource::extrapolated) > Seconds(0));
  CHECK_FALSE(plan.cluster.measured);
  // Priced again with the same profile there is nothing to find, without it there is.
  CHECK(reprice(plan, input.graph, input.cluster, 1e-9).empty());
  CHECK_FALSE(reprice(plan, input.graph, small_gpt_on_v100s().cluster, 1e-9).empty());
}
