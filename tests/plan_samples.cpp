#include "tests/plan_samples.hpp"

#include <fmt/format.h>

#include <cmath>

#include "tests/pipeline_samples.hpp"

namespace meshloom {
namespace {

Cluster sample_cluster(std::int64_t hosts, std::int64_t devices_per_host) {
  Cluster cluster;
  cluster.name = "test hosts";
  cluster.device.name = "T1";
  cluster.device.memory = Bytes(16 * 1073741824.0);
  cluster.device.memory_bandwidth = BytesPerSecond(1e12);
  cluster.device.peak = {{DType::bf16, FlopsPerSecond(1e14)}, {DType::fp32, FlopsPerSecond(1e13)}};
  cluster.device.launch = Seconds(5e-6);
  cluster.hosts = hosts;
  cluster.devices_per_host = devices_per_host;
  cluster.intra_host.bandwidth = BytesPerSecond(1e11);
  cluster.intra_host.latency = Seconds(3e-6);
  cluster.nic.bandwidth = BytesPerSecond(25e9);
  cluster.nic.latency = Seconds(8e-6);
  return cluster;
}

Recipe sample_recipe() {
  Recipe recipe;
  recipe.name = "test";
  return recipe;
}

Layout layout(AxisLayout first) { return Layout{{first}}; }

Stage first_stage() {
  Stage stage;
  stage.first_layer = 0;
  stage.last_layer = 1;
  stage.submesh = {1, 2};
  stage.devices = {0, 1};
  stage.mesh = {{"x", 2}};
  stage.recompute = Recompute::full;
  stage.parameter_state = ParameterState::zero1;
  stage.weights = {
      .microbatches = 3, .per_step = 1, .seconds_per_fixed_byte = 1e-9, .seconds_per_activation_byte = 8e-9};
  stage.allowed_states = ParameterStates({ParameterState::replicated, ParameterState::zero1});
  stage.forward = Seconds(2e-6);
  stage.backward = Seconds(4e-6);
  stage.forward_compute = Seconds(1.5e-6);
  stage.backward_compute = Seconds(3.25e-6);
  stage.backward_recompute = Seconds(1.5e-6);
  stage.backward_weight = Seconds(1.5e-6);
  stage.synchronization = Seconds(3e-6);
  stage.update = Seconds(1e-6);
  stage.shared_gradients = Bytes(4000);
  stage.shared_gradients_time = Seconds(1e-6);
  stage.memory = {.parameters = Bytes(1000),
                  .gradients = Bytes(2000),
                  .optimizer = Bytes(6000),
                  .activations_per_microbatch = Bytes(500),
                  .transient = Bytes(300),
                  .overhead = Bytes(100),
                  .in_flight = 2};
  stage.boundary = {
      {"h1.out"},    Bytes(4096), Bytes(8192), LinkClass::intra_host, Seconds(1e-6), Seconds(1e-6), Seconds(1e-6),
      Seconds(1e-6), {},          {}};
  for (const std::int64_t k : {0, 1}) {
    stage.boundary.activations.push_back({0, k, 2 + k, {{8 * k, 0}, {8, 128}}, Bytes(2048)});
    stage.boundary.gradients.push_back({0, 2 + k, k, {{8 * k, 0}, {8, 128}}, Bytes(4096)});
  }
  stage.ops = {
      {"h0.up",
       {"f"},
       {layout(replicated_partial_gradient), layout(sharded(1))},
       {layout(sharded(2))},
       Seconds(1e-6),
       Seconds(2e-6)},
      {"h0.down", {"f"}, {layout(sharded(2)), layout(sharded(0))}, {layout(partial)}, Seconds(1e-6), Seconds(2e-6)},
      {"h1.norm", {""}, {layout(replicated)}, {layout(replicated)}, Seconds(0.1e-6), Seconds(0.1e-6)}};
  stage.tensors = {{"w", true, layout(sharded(1)), layout(sharded(1)), ParameterState::zero1, Bytes(1000)},
                   {"h0.out", false, layout(replicated), layout(sharded(1)), ParameterState::replicated, Bytes(64)}};
  stage.conversions = {{"h0.out",
                        "",
                        layout(partial),
                        layout(replicated),
                        Rate::per_microbatch,
                        {{Collective::reduce_scatter, {"x"}, Bytes(128), Seconds(1e-7)},
                         {Collective::all_gather, {"x"}, Bytes(128), Seconds(1e-7)}},
                        {}},
                       {"w",
                        "optimizer",
                        layout(replicated),
                        layout(replicated_partial_gradient),
                        Rate::per_step,
                        {},
                        {{Collective::all_reduce, {"x"}, Bytes(2000), Seconds(3e-6)}}}};
  return stage;
}

Stage last_stage() {
  Stage stage;
  stage.first_layer = stage.last_layer = 2;
  stage.submesh = {1, 2};
  stage.devices = {2, 3};
  stage.mesh = {{"x", 2}};
  stage.forward = Seconds(3e-6);
  stage.backward = Seconds(5e-6);
  stage.forward_compute = Seconds(3e-6);
  stage.backward_compute = Seconds(5e-6);
  stage.backward_weight = Seconds(2e-6);
  stage.synchronization = Seconds(2e-6);
  stage.update = Seconds(1e-6);
  stage.memory = {.parameters = Bytes(4000),
                  .gradients = Bytes(4000),
                  .optimizer = Bytes(12000),
                  .activations_per_microbatch = Bytes(700),
                  .transient = Bytes(50),
                  .overhead = Bytes(100),
                  .in_flight = 1};
  stage.boundary = {};
  stage.ops = {{"head", {"b"}, {layout(sharded(0))}, {layout(sharded(0))}, Seconds(3e-6), Seconds(5e-6)}};
  return stage;
}

// Any magnitude, also with digits that no short decimal has.
double any_number(std::mt19937& random) {
  return std::ldexp(static_cast<double>(random()) + 0.1, static_cast<int>(random() % 40) - 60);
}
Seconds any_time(std::mt19937& random) { return Seconds(any_number(random)); }
Bytes any_bytes(std::mt19937& random) { return Bytes(any_number(random)); }
bool coin(std::mt19937& random) { return random() % 2 == 0; }

template <typename Value>
Value pick(std::mt19937& random, std::initializer_list<Value> values) {
  return values.begin()[random() % values.size()];
}

Layout any_layout(std::mt19937& random, std::size_t dimensions) {
  Layout result;
  for (std::size_t axis = 0; axis < dimensions; ++axis)
    result.axes[axis] = pick(random, {replicated, replicated_partial_gradient, partial, sharded(random() % 10)});
  return result;
}

std::vector<CollectiveStep> any_steps(std::mt19937& random, const std::vector<MeshAxis>& mesh) {
  std::vector<CollectiveStep> steps(random() % 3);
  for (CollectiveStep& step : steps) {
    step.collective = pick(random, {Collective::all_gather, Collective::reduce_scatter, Collective::all_reduce,
                                    Collective::all_to_all, Collective::permute});
    for (const MeshAxis& axis : mesh)
      if (coin(random)) step.axes.push_back(axis.name);
    step.whole = any_bytes(random);
    step.time = any_time(random);
  }
  return steps;
}

void fill_contents(Stage& stage, std::mt19937& random) {
  const std::size_t dimensions = stage.mesh.size();
  stage.ops.resize(random() % 4);
  for (OpSharding& op : stage.ops) {
    op.op = fmt::format("op \"{}\"\n", random() % 100);  // ids that JSON must escape
    for (std::size_t axis = 0; axis < dimensions; ++axis) op.axes.push_back(coin(random) ? "b" : "");
    for (std::size_t i = 0; i < random() % 3; ++i) op.inputs.push_back(any_layout(random, dimensions));
    for (std::size_t i = 0; i < random() % 3; ++i) op.outputs.push_back(any_layout(random, dimensions));
    op.forward = any_time(random);
    op.backward = any_time(random);
  }
  stage.tensors.resize(random() % 3);
  for (TensorLayout& tensor : stage.tensors)
    tensor = {"Größe",
              coin(random),
              any_layout(random, dimensions),
              any_layout(random, dimensions),
              pick(random, {ParameterState::replicated, ParameterState::zero2, ParameterState::zero3}),
              any_bytes(random)};
  stage.conversions.resize(random() % 3);
  for (Conversion& conversion : stage.conversions)
    conversion = {"t",
                  coin(random) ? "optimizer" : "",
                  any_layout(random, dimensions),
                  any_layout(random, dimensions),
                  pick(random, {Rate::per_microbatch, Rate::per_step}),
                  any_steps(random, stage.mesh),
                  any_steps(random, stage.mesh)};
}

Stage random_stage(std::mt19937& random) {
  Stage stage;
  stage.recompute = pick(random, {Recompute::none, Recompute::selective, Recompute::full});
  stage.parameter_state = pick<std::optional<ParameterState>>(
      random, {ParameterState::replicated, ParameterState::zero1, ParameterState::zero3, std::nullopt});
  stage.weights = {any_time(random).value(), any_time(random).value(), any_time(random).value(),
                   any_time(random).value()};
  stage.allowed_states = ParameterStates({pick(random, {ParameterState::replicated, ParameterState::zero3}),
                                          pick(random, {ParameterState::zero1, ParameterState::zero2})});
  stage.forward = any_time(random);
  stage.backward = any_time(random);
  stage.forward_compute = any_time(random);
  stage.backward_compute = any_time(random);
  stage.backward_recompute = stage.backward_compute * 0.5;
  stage.backward_weight = stage.backward * 0.25;
  stage.synchronization = any_time(random);
  stage.update = any_time(random);
  stage.shared_gradients_time = any_time(random);
  stage.memory = {any_bytes(random), any_bytes(random), any_bytes(random), any_bytes(random),
                  any_bytes(random), any_bytes(random), draw(random, 1, 9)};
  stage.boundary = {{"a", "b"},
                    any_bytes(random),
                    any_bytes(random),
                    pick(random, {LinkClass::intra_host, LinkClass::inter_host}),
                    any_time(random),
                    any_time(random),
                    any_time(random),
                    any_time(random),
                    {},
                    {}};
  return stage;
}

void add_random_transfers(Plan& plan, std::size_t s, std::mt19937& random) {
  StageBoundary& boundary = plan.stages[s].boundary;
  const std::int64_t here = plan.stages[s].devices.back(), there = plan.stages[s + 1].devices.front();
  const Tile slice{{draw(random, 0, 9), 0}, {draw(random, 1, 9), 1}};
  for (std::uint32_t tensor : {0U, 1U}) {
    boundary.activations.push_back({tensor, here, there, slice, any_bytes(random)});
    boundary.gradients.push_back({tensor, there, here, slice, any_bytes(random)});
  }
}

void set_random_schedule(Plan& plan, std::int64_t ranks, std::mt19937& random) {
  plan.schedule = schedule_kinds[random() % schedule_kinds.size()];
  if (plan.schedule.kind == ScheduleKind::interleaved) plan.schedule.chunks = draw(random, 1, 3);
  plan.microbatches = ranks * draw(random, 2, 8);  // which every schedule can have
  if (plan.schedule.kind != ScheduleKind::custom) return;
  const Schedule lists = pick(random, {Schedule(ScheduleKind::interleaved, 2), Schedule(ScheduleKind::zb_h1)});
  plan.program = make_program(lists, ranks, plan.microbatches);
  plan.schedule.chunks = lists.chunks;
}

void lay_on_devices(Stage& stage, std::int64_t& next_device, std::mt19937& random) {
  const std::size_t axes = random() % (max_mesh_axes + 1);
  for (std::size_t axis = 0; axis < axes; ++axis) stage.mesh.push_back({fmt::format("a{}", axis), 2});
  stage.submesh = {1, std::int64_t{1} << axes};
  for (std::int64_t k = 0; k < stage.submesh.devices(); ++k) stage.devices.push_back(next_device++);
}

void share_devices(Stage& stage, const Stage& first_of_rank) {
  stage.mesh = first_of_rank.mesh;
  stage.submesh = first_of_rank.submesh;
  stage.devices = first_of_rank.devices;
}

}  // namespace

Plan sample_plan() {
  Plan plan;
  plan.graph = {"gpt.json", "fnv1a64:0123456789abcdef"};
  plan.cluster_file = {"cluster.json", "fnv1a64:fedcba9876543210"};
  plan.graph_name = "gpt-sample";
  plan.cluster = sample_cluster(1, 4);
  plan.recipe = sample_recipe();
  plan.options = "--global-batch 12";
  plan.origin = "baseline tp=2 pp=2 dp=1";
  plan.layers = {"embed", "h0", "head"};
  plan.status = PlanStatus::feasible;
  plan.schedule = ScheduleKind::one_f_one_b;
  plan.global_batch = 12;
  plan.microbatch_size = 4;
  plan.microbatches = 3;
  plan.stages = {first_stage(), last_stage()};
  plan.estimate = Seconds(38e-6);
  plan.best_estimate = Seconds(36e-6);
  plan.lower_bound = Seconds(32e-6);
  plan.iteration_time = Seconds(38e-6);
  plan.bubble_fraction = 0.25;
  plan.model_flops = Flops(7.6e9);
  return plan;
}

Plan infeasible_plan() {
  Plan plan = sample_plan();
  plan.status = PlanStatus::infeasible;
  plan.stages.clear();
  plan.estimate = plan.best_estimate = plan.lower_bound = plan.iteration_time = Seconds(0);
  plan.bubble_fraction = 0;
  plan.reasons = {{0, 1, Bytes(20e9), Bytes(16e9)}};
  plan.remedies = {{"recompute activations", "--recompute full"}};
  return plan;
}

Plan random_plan(std::mt19937& random) {
  Plan plan = sample_plan();
  plan.stages.clear();
  plan.layers.clear();
  plan.status = pick(random, {PlanStatus::optimal, PlanStatus::feasible});
  const std::int64_t ranks = draw(random, 1, 4);
  set_random_schedule(plan, ranks, random);
  plan.microbatch_size = draw(random, 1, 64);
  plan.global_batch = plan.microbatch_size * plan.microbatches;
  const PipelineShape shape = plan.program ? plan.program->shape : shape_of(plan.schedule, ranks);
  std::int64_t device = 0;
  for (std::int64_t i = 0; i < shape.stages(); ++i) {
    Stage stage = random_stage(random);
    stage.chunk = shape.chunk_of(i);
    stage.first_layer = static_cast<std::int64_t>(plan.layers.size());
    for (std::int64_t layers = draw(random, 1, 3); layers > 0; --layers)
      plan.layers.push_back(fmt::format("layer{}", plan.layers.size()));
    stage.last_layer = static_cast<std::int64_t>(plan.layers.size()) - 1;
    if (stage.chunk == 0)
      lay_on_devices(stage, device, random);
    else
      share_devices(stage, plan.stages[static_cast<std::size_t>(shape.rank_of(i))]);
    if (!shape.sends_after(i)) stage.boundary = {};
    fill_contents(stage, random);
    plan.stages.push_back(stage);
  }
  for (std::size_t s = 0; s + 1 < plan.stages.size(); ++s)
    if (shape.sends_after(static_cast<std::int64_t>(s))) add_random_transfers(plan, s, random);
  plan.cluster = sample_cluster(ranks, 16);
  plan.estimate = any_time(random);
  plan.lower_bound = any_time(random);
  plan.best_estimate = plan.lower_bound * 1.5;
  plan.iteration_time = any_time(random);
  plan.bubble_fraction = static_cast<double>(random()) * 0x1p-32;
  plan.model_flops = Flops(any_number(random));
  return plan;
}

}  // namespace meshloom
