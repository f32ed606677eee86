// The transfers between stages that follow from a plan's layouts.
#include "planner/transfers.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "graphs/input_error.hpp"
#include "planner/baseline.hpp"
#include "planner/reprice.hpp"
#include "simulator/simulation.hpp"
#include "tests/planned_samples.hpp"

using namespace meshloom;

namespace {

TensorLayout whole(const std::string& tensor) {
  return {tensor, false, Layout{}, Layout{}, ParameterState::replicated, Bytes(1)};
}

// Three stages of one device on a host of its own, 10 B/s and 1 s between hosts. "a" goes from the first stage to the
// second, "b" from the second to the third, "far" from the first to the third.
Plan plan_with_a_far_tensor() {
  Plan plan;
  plan.cluster.hosts = 3, plan.cluster.devices_per_host = 1;
  plan.cluster.nic = {BytesPerSecond(10), 1, Seconds(1)};
  plan.stages.resize(3);
  for (std::size_t s = 0; s < 3; ++s) plan.stages[s].devices = {static_cast<std::int64_t>(s)};
  plan.stages[0].tensors = {whole("a"), whole("far")};
  plan.stages[1].tensors = {whole("a"), whole("b")};
  plan.stages[2].tensors = {whole("b"), whole("far")};
  plan.stages[0].boundary.tensors = {"a", "far"};
  plan.stages[1].boundary.tensors = {"b", "far"};
  return plan;
}

// 4, 4 and 8 elements of 5 B.
SentTensor sent(const std::string& tensor) { return {{tensor == "far" ? 8 : 4}, Bytes(5), true}; }

UniformLayout sized(UniformLayout layout, std::int64_t micro_batch) {
  layout.micro_batch_per_replica = micro_batch;
  return layout;
}

}  // namespace

TEST_CASE("a tensor used beyond the next stage goes straight there, and its gradient straight back") {
  Plan plan = plan_with_a_far_tensor();
  set_transfers(plan, plan.cluster, sent);
  const Tile four{{0}, {4}}, eight{{0}, {8}};
  const StageBoundary &first = plan.stages[0].boundary, &second = plan.stages[1].boundary;
  CHECK(first.activations == std::vector<Transfer>{{0, 0, 1, four, Bytes(20)}, {1, 0, 2, eight, Bytes(40)}});
  CHECK(first.gradients == std::vector<Transfer>{{0, 1, 0, four, Bytes(20)}});
  CHECK(second.activations == std::vector<Transfer>{{0, 1, 2, four, Bytes(20)}});
  CHECK(second.gradients == std::vector<Transfer>{{0, 2, 1, four, Bytes(20)}, {1, 2, 0, eight, Bytes(40)}});
  // The first stage sends 60 B over its NIC, the second 20 B, the third 60 B of gradients.
  CHECK(first.forward_time == Seconds(7));
  CHECK(first.backward_time == Seconds(3));
  CHECK(second.forward_time == Seconds(3));
  CHECK(second.backward_time == Seconds(7));
}

TEST_CASE("a tensor of several later stages goes to each of them") {
  Plan plan = plan_with_a_far_tensor();
  plan.stages[1].tensors.push_back(whole("far"));
  set_transfers(plan, plan.cluster, sent);
  CHECK(plan.stages[0].boundary.activations.size() == 3);
  CHECK(plan.stages[0].boundary.gradients.size() == 2);
  CHECK(plan.stages[1].boundary.activations.size() == 1);
  CHECK(plan.stages[1].boundary.gradients.size() == 2);
}

// Four stages on two ranks there and back: 0 1 | 1 0. "far" goes from the second stage to the fourth, "near" from the
// first to the third; the second and the third stage are on one rank and send nothing to each other.
TEST_CASE("tensors that pass over chunks that stay on one rank are sent by the last, their gradients by the first") {
  Plan plan = plan_with_a_far_tensor();
  plan.cluster.hosts = 2;
  plan.schedule = ScheduleKind::dualpipe;
  plan.stages.assign(4, Stage{});
  for (std::size_t s = 0; s < 4; ++s) plan.stages[s].devices = {s == 1 || s == 2 ? 1 : 0};
  plan.stages[0].tensors = {whole("near")};
  plan.stages[1].tensors = {whole("far")};
  plan.stages[2].tensors = {whole("near")};
  plan.stages[3].tensors = {whole("far")};
  plan.stages[0].boundary.tensors = {"near"};
  plan.stages[1].boundary.tensors = {"near", "far"};
  plan.stages[2].boundary.tensors = {"far"};
  set_transfers(plan, plan.cluster, sent);
  const Tile four{{0}, {4}}, eight{{0}, {8}};
  CHECK(plan.stages[0].boundary.activations == std::vector<Transfer>{{0, 0, 1, four, Bytes(20)}});
  CHECK(plan.stages[0].boundary.gradients == std::vector<Transfer>{{0, 1, 0, four, Bytes(20)}});
  CHECK(plan.stages[1].boundary.activations.empty());
  CHECK(plan.stages[1].boundary.gradients.empty());
  CHECK(plan.stages[2].boundary.activations == std::vector<Transfer>{{0, 1, 0, eight, Bytes(40)}});
  CHECK(plan.stages[2].boundary.gradients == std::vector<Transfer>{{0, 0, 1, eight, Bytes(40)}});
  CHECK(plan.stages[2].boundary.forward_time == Seconds(5));  // 1 s and 40 B at 10 B/s
}

TEST_CASE("without gradients nothing comes back, and what no stage lists is refused") {
  Plan plan = plan_with_a_far_tensor();
  set_transfers(plan, plan.cluster, [](const std::string& tensor) {
    return SentTensor{sent(tensor).shape, Bytes(5), false};
  });
  CHECK(plan.stages[1].boundary.gradients.empty());
  CHECK(plan.stages[1].boundary.backward_time == Seconds(0));
  plan.stages[0].boundary.tensors.push_back("lost");
  CHECK_THROWS_WITH(set_transfers(plan, plan.cluster, sent),
                    "/stages/0/boundary/tensors: no stage lists the layout of \"lost\"");
  plan.stages[0].boundary.tensors.pop_back();
  plan.stages[2].devices = {3};
  CHECK_THROWS_WITH(set_transfers(plan, plan.cluster, sent),
                    "/stages/2/devices: device 3 is outside the cluster, whose devices are 0 to 2");
}

TEST_CASE("every stage of a plan receives each tensor at its cut once, whatever the layouts", "[baseline]") {
  const PlanningInput input = small_gpt_on_v100s();
  for (const UniformLayout& layout :
       {UniformLayout{4, 2, 1}, UniformLayout{2, 4, 1}, UniformLayout{1, 2, 4}, UniformLayout{1, 4, 2}}) {
    const Plan plan = baseline_plan(input, sized(layout, 2), 32);
    for (std::size_t s = 0; s + 1 < plan.stages.size(); ++s) {
      const StageBoundary& boundary = plan.stages[s].boundary;
      Bytes there, back;
      for (const Transfer& each : boundary.activations) there += each.bytes;
      for (const Transfer& each : boundary.gradients) back += each.bytes;
      CHECK(there == boundary.forward_bytes);
      CHECK(back == boundary.backward_bytes);
      CHECK(boundary.forward_time > Seconds(0));
    }
  }
}

// Equal stages, tiles that lie evenly: what the formula takes for the sender's lanes is what the transfers take.
TEST_CASE("in uniform plans the formula's sends are the simulation's", "[baseline]") {
  PlanningInput input = small_gpt_on_v100s();
  for (const auto& [hosts, layout] : {std::pair{1, UniformLayout{4, 2, 1}},
                                      {1, UniformLayout{1, 4, 2}},
                                      {2, UniformLayout{8, 2, 1}},
                                      {4, UniformLayout{2, 2, 8}}}) {
    input.cluster.hosts = hosts;
    const Plan plan = baseline_plan(input, sized(layout, 1), 32);
    const StageBoundary& boundary = plan.stages[0].boundary;
    CHECK(boundary.formula_forward.value() == Approx(boundary.forward_time.value()));
    CHECK(boundary.formula_backward.value() == Approx(boundary.backward_time.value()));
    CHECK(stage_times(plan)[0].forward == plan.stages[0].forward + boundary.formula_forward);
    CHECK(durations_of(plan)[0].send_activation == to_picoseconds(boundary.forward_time));
  }
}

TEST_CASE("without tensors that pass over stages the formula's sends are never above the simulation's", "[search]") {
  PlanningInput input = small_gpt_on_v100s();
  input.cluster.hosts = 2;
  const Plan plan = make_plan(input, batch_of(64));
  for (const Stage& stage : plan.stages) {
    CHECK(stage.boundary.formula_forward <= stage.boundary.forward_time * (1 + 1e-9));
    CHECK(stage.boundary.formula_backward <= stage.boundary.backward_time * (1 + 1e-9));
  }
}

TEST_CASE("pricing again finds transfers that were changed", "[baseline]") {
  const PlanningInput input = small_gpt_on_v100s();
  Plan plan = baseline_plan(input, sized(UniformLayout{4, 2, 1}, 2), 32);
  const auto paths = [&] {
    std::vector<std::string> result;
    for (const PriceDifference& each : reprice(plan, input.graph, input.cluster)) result.push_back(each.path);
    return result;
  };
  CHECK(paths().empty());
  plan.stages[0].boundary.activations[0].bytes *= 2;
  CHECK(paths() == std::vector<std::string>{"/stages/0/boundary/activations/bytes to device 4",
                                            "/stages/0/boundary/activations/time_s"});
  plan.stages[0].boundary.activations[0].bytes *= 0.5;
  plan.stages[0].boundary.backward_time *= 1.01;
  plan.stages[0].boundary.formula_forward *= 1.01;
  CHECK(paths() == std::vector<std::string>{"/stages/0/boundary/backward_s", "/stages/0/boundary/formula_forward_s"});
}
