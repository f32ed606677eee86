#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <random>

#include "graphs/json_input.hpp"
#include "simulator/simulation.hpp"
#include "tests/pipeline_samples.hpp"
#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {

std::vector<Json> events_of(const Json& trace, const std::string& phase) {
  std::vector<Json> events;
  for (const Json& event : trace["traceEvents"])
    if (event["ph"] == phase) events.push_back(event);
  return events;
}

// Microseconds with six digits, back to whole picoseconds.
Picoseconds picoseconds(const Json& event, const char* key) { return std::llround(event[key].get<double>() * 1e6); }

}  // namespace

TEST_CASE("the trace of the documented example") {
  const Plan plan = sample_plan();
  const std::string text = chrome_trace(plan, simulate(plan));
  const Json trace = Json::parse(text);

  // Two stages, three microbatches: 6 forwards, 6 backwards, 3 sends each way, 2 synchronizations, 2 updates.
  const std::vector<Json> runs = events_of(trace, "X");
  CHECK(runs.size() == 22);
  std::map<std::string, int> count;
  for (const Json& run : runs) ++count[run["cat"].get<std::string>()];
  CHECK(count == std::map<std::string, int>{{"run_forward", 6},
                                            {"run_backward", 6},
                                            {"send_activation", 3},
                                            {"send_gradient", 3},
                                            {"synchronize", 2},
                                            {"update", 2}});

  // Times stand in microseconds with the picoseconds' six digits.
  CHECK(
      text.find(
          R"({"ph": "X", "name": "backward 1", "cat": "run_backward", "pid": 0, "tid": 0, "ts": 21.000000, "dur": 4.000000})") !=
      std::string::npos);

  const std::vector<Json> names = events_of(trace, "M");
  REQUIRE(names.size() == 5);
  CHECK(names[0]["args"]["name"] == "training step of gpt-sample");
  CHECK(names[1]["args"]["name"] == "stage 0: embed to h0 on 2 devices");
  CHECK(names[3]["args"]["name"] == "stage 1: head to head on 2 devices");
}

TEST_CASE("a picosecond is not lost in a trace") {
  Plan plan = sample_plan();
  plan.stages[0].forward = Seconds(123.456789e-6);
  CHECK(chrome_trace(plan, simulate(plan)).find("\"ts\": 0.000000, \"dur\": 123.456789}") != std::string::npos);
}

TEST_CASE("every send has an arrow to the run that needs it") {
  const Plan plan = sample_plan();
  const Json trace = Json::parse(chrome_trace(plan, simulate(plan)));
  std::map<std::int64_t, Json> starts, ends;
  for (const Json& event : events_of(trace, "s")) starts[event["id"].get<std::int64_t>()] = event;
  for (const Json& event : events_of(trace, "f")) ends[event["id"].get<std::int64_t>()] = event;
  REQUIRE(starts.size() == 6);
  REQUIRE(ends.size() == 6);
  for (const auto& [id, start] : starts) {
    const Json& end = ends.at(id);
    CHECK(start["name"] == end["name"]);
    CHECK(picoseconds(start, "ts") < picoseconds(end, "ts"));
    CHECK(start["tid"] != end["tid"]);
  }
  // Activation 0: sent by stage 0 from 2 us, used by stage 1 from 3 us.
  bool found = false;
  for (const auto& [id, start] : starts)
    found |= start["name"] == "activation" && picoseconds(start, "ts") == 2'000'000 &&
             picoseconds(ends.at(id), "ts") == 3'000'000 && ends.at(id)["tid"] == 1;
  CHECK(found);
}

TEST_CASE("the memory counter of each stage starts with what is fixed and reaches the peak") {
  const Plan plan = sample_plan();
  const Json trace = Json::parse(chrome_trace(plan, simulate(plan)));
  std::map<std::string, std::vector<double>> bytes;
  for (const Json& event : events_of(trace, "C"))
    bytes[event["name"].get<std::string>()].push_back(event["args"]["bytes"].get<double>());
  REQUIRE(bytes.size() == 2);
  const std::vector<double>& second = bytes.at("memory of a device of stage 1");
  CHECK(second.front() == 20100);
  CHECK(*std::max_element(second.begin(), second.end()) == 20850);
}

TEST_CASE("nothing overlaps on a track, in the traces of random plans") {
  std::mt19937 random(21);
  for (int i = 0; i < 20; ++i) {
    Plan plan = random_plan(random);
    for (Stage& stage : plan.stages) {  // short times, which a double of microseconds holds to the picosecond
      stage.forward = Seconds(static_cast<double>(draw(random, 0, 1000)) * 1e-9);
      stage.backward = Seconds(static_cast<double>(draw(random, 0, 1000)) * 1e-9);
      stage.backward_weight = stage.backward * 0.5;
      stage.synchronization = stage.update = stage.boundary.forward_time = stage.boundary.backward_time =
          Seconds(5e-12);
    }
    for (std::size_t s = 0; s < plan.stages.size(); ++s)
      if (!plan.shape().sends_after(static_cast<std::int64_t>(s))) plan.stages[s].boundary = {};
    const Simulation simulation = simulate(plan);
    const Json trace = Json::parse(chrome_trace(plan, simulation));
    std::map<std::int64_t, Picoseconds> free_from;
    Picoseconds last = 0;
    for (const Json& run : events_of(trace, "X")) {
      Picoseconds& free = free_from[run["tid"].get<std::int64_t>()];
      REQUIRE(picoseconds(run, "ts") >= free);
      free = picoseconds(run, "ts") + picoseconds(run, "dur");
      last = std::max(last, free);
    }
    REQUIRE(last == simulation.makespan);
  }
}
