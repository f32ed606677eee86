#include "planner/plan/plan_json.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <random>

#include "graphs/files.hpp"
#include "graphs/json_input.hpp"
#include "simulator/simulation.hpp"
#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {

// Reads the sample plan with one value replaced; `pointer` is a JSON pointer into the file.
void read_changed(const std::string& pointer, const Json& value) {
  Json root = Json::parse(write_plan(sample_plan()));
  root[Json::json_pointer(pointer)] = value;
  parse_plan(root.dump(), "p.json");
}

void read_without(const std::string& parent, const std::string& key) {
  Json root = Json::parse(write_plan(sample_plan()));
  root[Json::json_pointer(parent)].erase(key);
  parse_plan(root.dump(), "p.json");
}

}  // namespace

TEST_CASE("a plan with every field set survives writing and reading") {
  Plan plan = sample_plan();
  CHECK(parse_plan(write_plan(plan), "p.json") == plan);
  plan.mixture_of_experts = true;  // left out of others
  CHECK(parse_plan(write_plan(plan), "p.json") == plan);
}

TEST_CASE("an infeasible plan survives writing and reading, its numbers null") {
  const Plan plan = infeasible_plan();
  const std::string text = write_plan(plan);
  CHECK(parse_plan(text, "p.json") == plan);
  const Json root = Json::parse(text);
  for (const char* key :
       {"iteration_time_s", "estimate_s", "best_estimate_s", "lower_bound_s", "gap", "bubble_fraction"}) {
    INFO(key);
    REQUIRE(root.contains(key));
    CHECK(root[key].is_null());
  }
}

TEST_CASE("100 random plans survive writing and reading, byte for byte the second time") {
  std::mt19937 random(11);
  for (int i = 0; i < 100; ++i) {
    const Plan plan = random_plan(random);
    const std::string text = write_plan(plan);
    const Plan again = parse_plan(text, "p.json");
    REQUIRE(again == plan);
    REQUIRE(write_plan(again) == text);
  }
}

TEST_CASE("an op, a tensor or a conversion stands on one line") {
  const std::string line = R"-(    {"op":"h0.up","axes":["f"],"inputs":[["R/P"],["S(1)"]],"outputs":[["S(2)"]],)-"
                           R"-("forward_s":1e-06,"backward_s":2e-06},)-";
  CHECK(write_plan(sample_plan()).find("\n" + line + "\n") != std::string::npos);
}

TEST_CASE("reading a plan refuses what is wrong, with the place") {
  // Each: pointer, new value, message.
  struct Case {
    const char* pointer;
    Json value;
    const char* message;
  };
  const std::vector<Case> cases{
      {"/stagess", 1, R"(p.json: unknown key "stagess"; did you mean "stages"?)"},
      {"/stages/0/forwrd_s", 1, R"(p.json: /stages/0: unknown key "forwrd_s"; did you mean "forward_s"?)"},
      {"/stages/1/forward_s", -1.0, "p.json: /stages/1/forward_s: must be at least 0, is -1"},
      {"/stages/1/update_s", nullptr, "p.json: /stages/1/update_s: expected a number, found null"},
      {"/stages/1/first_layer", 1,
       "p.json: /stages/1/first_layer: is 1; stages cover the layers in order, so it must be 2"},
      {"/stages/0/last_layer", 0,
       "p.json: /stages/1/first_layer: is 2; stages cover the layers in order, so it must be 1"},
      {"/stages/1/last_layer", 3, "p.json: /stages/1/last_layer: is 3; the stages must end with the last layer, 2"},
      {"/stages/1/last_layer", 1, "p.json: /stages/1/last_layer: is 1, before first_layer 2"},
      {"/stages/1/devices/0", 1, "p.json: /stages/1/devices/0: device 1 is used twice; give each device to one stage"},
      {"/stages/1/devices/1", 4,
       "p.json: /stages/1/devices/1: device 4 is outside the cluster, whose devices are 0 to 3"},
      {"/stages/1/devices/2", 1, "p.json: /stages/1/devices: lists 3 devices; submesh 1 x 2 has 2"},
      {"/stages/1/mesh/0/size", 4, "p.json: /stages/1/mesh: its axes multiply to 4; the stage has 2 devices"},
      {"/stages/0/submesh", Json::array({2}), "p.json: /stages/0/submesh: expected [hosts, devices per host]"},
      {"/stages/0/ops/0/axes", Json::array(),
       "p.json: /stages/0/ops/0/axes: names 0 factors; the stage's mesh has 1 axes"},
      {"/stages/0/ops/0/inputs/0/0", "X",
       "p.json: /stages/0/ops/0/inputs/0/0: \"X\" is not the layout of an axis; write "
       "\"S(0)\", \"S(1)\", …, \"R/P\", \"R/R\" or \"P/R\""},
      {"/stages/0/ops/0/inputs/0/1", "R/R",
       "p.json: /stages/0/ops/0/inputs/0: has 2 states; the stage's mesh has 1 axes"},
      {"/stages/0/conversions/0/forward/0/axes/0", "y",
       R"(p.json: /stages/0/conversions/0/forward/0/axes/0: unknown value "y"; expected one of: x)"},
      {"/stages/0/recompute", "ful",
       R"(p.json: /stages/0/recompute: unknown value "ful"; expected one of: none, selective, full; did you mean "full"?)"},
      {"/stages/0/memory/peak_bytes", 1.0,
       "p.json: /stages/0/memory/peak_bytes: is 1.0, but the numbers it follows from give 10400"},
      {"/stages/1/boundary/forward_s", 1.0,
       "p.json: /stages/1/boundary: the last stage sends nothing: its times must be 0, its transfers empty"},
      {"/gap", 0.5, "p.json: /gap: is 0.5, but the numbers it follows from give 0.125"},
      {"/microbatches", 4, "p.json: /microbatches: microbatch_size 4 times microbatches 4 is not global_batch 12"},
      {"/microbatches", 0, "p.json: /microbatches: must be at least 1, is 0"},
      {"/stages", Json::array(), R"(p.json: /stages: has 0 stages, but the status is "feasible")"},
      {"/schema", "meshloom.plan/2", R"(p.json: /schema: is "meshloom.plan/2"; expected "meshloom.plan/1")"},
  };
  for (const Case& bad : cases) {
    INFO(bad.pointer << " " << bad.value.dump());
    CHECK_THROWS_WITH(read_changed(bad.pointer, bad.value), bad.message);
  }
}

TEST_CASE("a missing key is named, on every level") {
  CHECK_THROWS_WITH(read_without("", "origin"), R"(p.json: missing key "origin")");
  CHECK_THROWS_WITH(read_without("", "gap"), R"(p.json: missing key "gap")");
  CHECK_THROWS_WITH(read_without("/stages/0", "mesh"), R"(p.json: /stages/0: missing key "mesh")");
  CHECK_THROWS_WITH(read_without("/stages/0/tensors/1", "bytes"),
                    R"(p.json: /stages/0/tensors/1: missing key "bytes")");
}

TEST_CASE("a number that no double holds is refused") {
  std::string text = write_plan(sample_plan());
  const std::string number = "\"model_flops\": 7600000000.0";
  REQUIRE(text.find(number) != std::string::npos);
  text.replace(text.find(number), number.size(), "\"model_flops\": 1e999");
  CHECK_THROWS_WITH(parse_plan(text, "p.json"),
                    Catch::Contains("p.json: is not valid JSON") && Catch::Contains("1e999"));
}

TEST_CASE("a mistake in the inline cluster is placed inside the plan") {
  CHECK_THROWS_WITH(read_changed("/cluster/hosts", 0),
                    Catch::StartsWith("p.json: /cluster: /hosts: must be at least 1"));
}

TEST_CASE("the summary has the contract's keys and values") {
  Plan plan = sample_plan();
  const Json root = Json::parse(summary_json(plan, Seconds(1.5)));
  CHECK(root["status"] == "feasible");
  CHECK(root["iteration_time_s"] == 38e-6);
  CHECK(root["estimate_s"] == 38e-6);
  CHECK(root["best_estimate_s"] == 36e-6);
  CHECK(root["lower_bound_s"] == 32e-6);
  CHECK(root["gap"] == 0.125);  // 36/32 - 1
  CHECK(root["schedule"] == "1f1b");
  CHECK(root["microbatch_size"] == 4);
  CHECK(root["microbatches"] == 3);
  CHECK(root["global_batch"] == 12);
  CHECK(root["peak_memory_bytes"] == 20850.0);  // stage 1: 4000 + 4000 + 12000 + 700 + 50 + 100
  // 7.6e9 FLOPs in 38 us on 4 devices: 5e13 per second and device.
  CHECK(root["tflops_per_device"].get<double>() == Approx(50).epsilon(1e-12));
  CHECK(root["bubble_fraction"] == 0.25);
  CHECK(root["search_s"] == 1.5);
  CHECK(root["reasons"].empty());
  CHECK(root["remedies"].empty());
  REQUIRE(root["stages"].size() == 2);
  const Json& stage = root["stages"][0];
  CHECK(stage["first_layer"] == 0);
  CHECK(stage["last_layer"] == 1);
  CHECK(stage["chunk"] == 0);
  CHECK(stage["submesh"] == Json({1, 2}));
  CHECK(stage["devices"] == Json({0, 1}));
  CHECK(stage["mesh"] == Json::array({{{"name", "x"}, {"size", 2}}}));
  CHECK(stage["forward_s"] == 2e-6);
  CHECK(stage["backward_s"] == 4e-6);
  CHECK(stage["sync_s"] == 3e-6 + 1e-6);  // synchronization and update
  CHECK(stage["peak_memory_bytes"] == 10400.0);
  CHECK(stage["in_flight"] == 2);
  CHECK(stage["recompute"] == "full");
  CHECK(stage["parameter_state"] == "zero1");
}

TEST_CASE("the summary of an infeasible plan says what is short and what helps") {
  const Json root = Json::parse(summary_json(infeasible_plan(), Seconds(0)));
  for (const char* key : {"iteration_time_s", "estimate_s", "best_estimate_s", "lower_bound_s", "gap",
                          "bubble_fraction", "peak_memory_bytes", "tflops_per_device", "search_s"}) {
    INFO(key);
    REQUIRE(root.contains(key));
    CHECK(root[key].is_null());
  }
  CHECK(root["status"] == "infeasible");
  CHECK(root["stages"].empty());
  CHECK(root["reasons"] == Json::array({{{"layers", {0, 1}}, {"needs_bytes", 20e9}, {"has_bytes", 16e9}}}));
  CHECK(root["remedies"] == Json::array({{{"text", "recompute activations"}, {"options", "--recompute full"}}}));
}

TEST_CASE("lists given as data are read as written, in runs instead of single instructions") {
  Plan plan = sample_plan();
  plan.schedule = ScheduleKind::custom;
  plan.global_batch = 2000;
  plan.microbatch_size = 2;
  plan.microbatches = 1000;
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::zb_h1}) {
    plan.program = make_program(kind, 2, 1000);
    const std::string text = write_plan(plan);
    CHECK(parse_plan(text, "p.json") == plan);
    CHECK(Json::parse(text)["program"].dump().size() < 4000);
  }
}

TEST_CASE("lists stand in a plan exactly when its schedule has none of its own") {
  Plan plan = sample_plan();
  plan.program = make_program(ScheduleKind::gpipe, 2, 3);
  CHECK_THROWS_WITH(parse_plan(write_plan(plan), "p.json"),
                    "p.json: /program: the schedule \"1f1b\" has lists of its own; make it null");
  plan.schedule = ScheduleKind::custom;
  CHECK(parse_plan(write_plan(plan), "p.json") == plan);
  Json root = Json::parse(write_plan(plan));
  root["program"]["ranks"][0][0]["instructions"].erase(1);
  CHECK_THROWS_WITH(
      parse_plan(root.dump(), "p.json"),
      "p.json: /program: pipeline program: rank 1, instruction 0 (receive_activation of microbatch 0) has "
      "no send_activation in rank 0");
  plan.program = std::nullopt;
  CHECK_THROWS_WITH(parse_plan(write_plan(plan), "p.json"),
                    "p.json: /program: is null, but the schedule is \"custom\"; give the lists, or name a schedule");
}

TEST_CASE("chunks of a rank have its devices, and the schedule's number") {
  CHECK_THROWS_WITH(read_changed("/stages/1/chunk", 1),
                    R"(p.json: /schedule: "1f1b" has one chunk per rank; the stages have 2)");
  Plan plan = sample_plan();
  plan.schedule = {ScheduleKind::interleaved, 2};
  plan.stages[1].chunk = 1;
  CHECK_THROWS_WITH(parse_plan(write_plan(plan), "p.json"),
                    "p.json: /stages/1/devices: differ from those of stage 0, whose rank it shares");
  plan.stages[1].devices = plan.stages[0].devices;
  CHECK_THROWS_WITH(
      parse_plan(write_plan(plan), "p.json"),
      "p.json: /stages/0/boundary: the next stage has the same devices: its times must be 0, its transfers empty");
  plan.stages[0].boundary = {};
  CHECK(parse_plan(write_plan(plan), "p.json") == plan);
}

TEST_CASE("transfers leave the devices of their stage for those of stages that may receive") {
  CHECK_THROWS_WITH(read_changed("/stages/0/boundary/activations/0/0", 1),
                    "p.json: /stages/0/boundary/activations/0/0: is no position among the boundary's 1 tensors");
  CHECK_THROWS_WITH(read_changed("/stages/0/boundary/activations/1/1", 2),
                    "p.json: /stages/0/boundary/activations/1: device 2 is not one of stage 0, which sends");
  CHECK_THROWS_WITH(
      read_changed("/stages/0/boundary/activations/1/2", 0),
      "p.json: /stages/0/boundary/activations/1: device 0 is not one of stages 1 to 1, which may receive");
  CHECK_THROWS_WITH(read_changed("/stages/0/boundary/gradients/0/2", 3),
                    "p.json: /stages/0/boundary/gradients/0: device 3 is not one of stages 0 to 0, which may receive");
  CHECK_THROWS_WITH(read_changed("/stages/0/boundary/gradients/0/4", Json::array({1})),
                    "p.json: /stages/0/boundary/gradients/0/4: states 1 sizes; the slice begins at 2 numbers");
  CHECK_THROWS_WITH(
      read_changed("/stages/0/boundary/gradients/0", Json::array({1})),
      "p.json: /stages/0/boundary/gradients/0: expected [tensor, from, to, [begin, …], [size, …], bytes]");
  CHECK_THROWS_WITH(read_changed("/stages/0/boundary/gradients/0/5", -1),
                    Catch::Contains("/stages/0/boundary/gradients/0/5: must be at least 0, is -1"));
}

// tests/plan_schemas_test.py validates these files against docs/schemas; docs/plan_format.md shows the first.
TEST_CASE("the worked files are what the program writes") {
  const std::string folder = MESHLOOM_SOURCE_DIR "/tests/data/plan/";
  const Plan plan = sample_plan();
  CHECK(read_file(folder + "plan.json") == write_plan(plan));
  CHECK(read_file(folder + "summary.json") == summary_json(plan, Seconds(1.5)));
  CHECK(read_file(folder + "infeasible_plan.json") == write_plan(infeasible_plan()));
  CHECK(read_file(folder + "infeasible_summary.json") == summary_json(infeasible_plan(), Seconds(0)));
  CHECK(read_file(folder + "trace.json") == chrome_trace(plan, simulate(plan)));
  CHECK(read_plan(folder + "plan.json") == plan);
}
