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
          R"({"ph": "X", "name": "backward 1", "cat": "run_backward", "pid": 0, "tid": 0, "ts": 21.000000, "dur": 4.000000, )"
          R"("args": {"microbatch": 1, "stage": 0}})") != std::string::npos);
}

TEST_CASE("a rank is a process with its submesh and devices, its threads are what it does") {
  const Plan plan = sample_plan();
  std::map<std::int64_t, std::string> processes;
  std::map<std::int64_t, std::vector<std::string>> threads;
  for (const Json& event : events_of(Json::parse(chrome_trace(plan, simulate(plan))), "M")) {
    if (event["name"] == "process_name") processes[event["pid"]] = event["args"]["name"];
    if (event["name"] == "thread_name") threads[event["pid"]].push_back(event["args"]["name"]);
  }
  CHECK(processes == std::map<std::int64_t, std::string>{{0, "stage 0: embed to h0; submesh 1 × 2, devices 0-1"},
                                                         {1, "stage 1: head to head; submesh 1 × 2, devices 2-3"}});
  CHECK(threads[0] ==
        std::vector<std::string>{"compute", "communication: activations sent", "communication: synchronization"});
  CHECK(threads[1] ==
        std::vector<std::string>{"compute", "communication: gradients sent", "communication: synchronization"});
}

TEST_CASE("a picosecond is not lost in a trace") {
  Plan plan = sample_plan();
  plan.stages[0].forward = Seconds(123.456789e-6);
  CHECK(chrome_trace(plan, simulate(plan)).find("\"ts\": 0.000000, \"dur\": 123.456789,") != std::string::npos);
}

TEST_CASE("a trace with a limit shows the first instructions and the memory until then, and says so") {
  const Plan plan = sample_plan();
  const Simulation simulation = simulate(plan);
  const Json whole = Json::parse(chrome_trace(plan, simulation));
  CHECK(whole["otherData"]["instructions"] == simulation.timeline.size());
  CHECK(whole["otherData"]["instructions_shown"] == simulation.timeline.size());
  // Forward 0 from 0, its sending from 2 us, forward 1 from 3 us; stage 1 waits from 0 on, which is no event.
  const Json begin = Json::parse(chrome_trace(plan, simulation, 4));
  CHECK(begin["otherData"]["instructions_shown"] == 4);
  CHECK(begin["otherData"]["instructions"] == simulation.timeline.size());
  CHECK(events_of(begin, "X").size() == 3);
  for (const Json& event : events_of(begin, "C")) CHECK(picoseconds(event, "ts") <= 3'000'000);
  CHECK(events_of(Json::parse(chrome_trace(plan, simulation, 0)), "X").empty());
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
    CHECK(start["pid"] != end["pid"]);
    CHECK(end["tid"] == 0);
  }
  // Activation 0: sent by stage 0 from 2 us, used by stage 1 from 3 us.
  bool found = false;
  for (const auto& [id, start] : starts)
    found |= start["name"] == "activation" && picoseconds(start, "ts") == 2'000'000 &&
             picoseconds(ends.at(id), "ts") == 3'000'000 && ends.at(id)["pid"] == 1;
  CHECK(found);
}

TEST_CASE("the memory counter of each stage starts with what is fixed and reaches the peak") {
  const Plan plan = sample_plan();
  const Json trace = Json::parse(chrome_trace(plan, simulate(plan)));
  std::map<std::int64_t, std::vector<double>> bytes;
  for (const Json& event : events_of(trace, "C"))
    bytes[event["pid"].get<std::int64_t>()].push_back(event["args"]["bytes"].get<double>());
  REQUIRE(bytes.size() == 2);
  const std::vector<double>& second = bytes.at(1);
  CHECK(second.front() == 20100);
  CHECK(*std::max_element(second.begin(), second.end()) == 20850);
}

TEST_CASE("nothing overlaps on a thread, flows have both ends and counters stay above zero, in random plans") {
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
    std::map<std::pair<std::int64_t, std::int64_t>, Picoseconds> free_from;
    Picoseconds last = 0;
    for (const Json& run : events_of(trace, "X")) {
      Picoseconds& free = free_from[{run["pid"], run["tid"]}];
      REQUIRE(picoseconds(run, "ts") >= free);
      free = picoseconds(run, "ts") + picoseconds(run, "dur");
      last = std::max(last, free);
    }
    REQUIRE(last == simulation.makespan);
    std::map<std::int64_t, Picoseconds> sent, used;
    for (const Json& event : events_of(trace, "s")) sent[event["id"]] = picoseconds(event, "ts");
    for (const Json& event : events_of(trace, "f")) used[event["id"]] = picoseconds(event, "ts");
    REQUIRE(sent.size() == used.size());
    for (const auto& [id, time] : sent) REQUIRE(used.at(id) > time);
    for (const Json& event : events_of(trace, "C")) REQUIRE(event["args"]["bytes"] >= 0);
  }
}
