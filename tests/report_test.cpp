#include "simulator/report.hpp"

#include <catch2/catch.hpp>
#include <random>

#include "graphs/json_input.hpp"
#include "planner/plan/ranks.hpp"
#include "simulator/report_data_json.hpp"
#include "simulator/report_timeline.hpp"
#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {

struct Shown {
  InstructionShape shape;
  Picoseconds start = 0;
  std::int64_t number = 0;
};

// As the page's script reads a lane.
std::vector<Shown> unpacked(const PackedTimeline& timeline, const PackedLane& lane) {
  std::vector<Shown> result;
  std::size_t at = 0;
  const auto next = [&] {
    std::int64_t number = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(lane.bytes.at(at++));
      number |= static_cast<std::int64_t>(byte & 127) << shift;
      if (byte < 128) return number;
    }
  };
  Picoseconds end = 0;
  while (at < lane.bytes.size()) {
    const InstructionShape& shape = timeline.shapes.at(static_cast<std::size_t>(next()));
    const std::int64_t gap = next();
    const Picoseconds start = end + (gap % 2 == 1 ? -(gap + 1) / 2 : gap / 2);
    result.push_back({shape, start, next()});
    end = start + shape.duration;
  }
  CHECK(std::ssize(result) == lane.count);
  return result;
}

}  // namespace

TEST_CASE("what is packed for the report is the timeline, without what takes no time") {
  std::mt19937 random(5);
  for (int i = 0; i < 50; ++i) {
    const Plan plan = random_plan(random);
    const Simulation simulation = simulate(plan);
    const Sends sends = sends_overlap(plan) ? Sends::overlapped : Sends::blocking;
    const PackedTimeline packed = pack_timeline(simulation, sends, 1'000'000);
    std::vector<TimelineEntry> expected, shown;
    for (const TimelineEntry& entry : simulation.timeline)
      if (entry.end > entry.start) expected.push_back(entry);
    for (const PackedLane& lane : packed.lanes)
      for (const Shown& each : unpacked(packed, lane))
        shown.push_back({static_cast<std::int32_t>(lane.rank),
                         {each.shape.kind, each.number, each.shape.chunk},
                         each.start,
                         each.start + each.shape.duration});
    const auto order = [](const TimelineEntry& a, const TimelineEntry& b) {
      const auto key = [](const TimelineEntry& e) {
        return std::tuple(e.rank, e.start, e.instruction.kind, e.instruction.microbatch, e.instruction.chunk);
      };
      return key(a) < key(b);
    };
    std::sort(expected.begin(), expected.end(), order);
    std::sort(shown.begin(), shown.end(), order);
    REQUIRE(shown == expected);
    REQUIRE(packed.instructions == std::ssize(expected));
    REQUIRE(packed.merged == 0);
  }
}

TEST_CASE("beyond the limit neighbours are merged, the ends of the step stay single and no busy time is lost") {
  Plan plan = sample_plan();
  plan.microbatches = 500;
  const Simulation simulation = simulate(plan);
  const PackedTimeline packed = pack_timeline(simulation, Sends::blocking, 100);
  std::int64_t shown = 0, stands_for = 0, merged = 0;
  std::vector<Picoseconds> busy(2);
  for (const PackedLane& lane : packed.lanes)
    for (const Shown& each : unpacked(packed, lane)) {
      ++shown;
      stands_for += each.shape.merged ? each.number : 1;
      merged += each.shape.merged ? each.number : 0;
      busy[static_cast<std::size_t>(lane.rank)] += each.shape.busy;
      CHECK(each.shape.busy <= each.shape.duration);
    }
  CHECK(shown <= 102);  // a group may be left open on each of the two lanes
  CHECK(stands_for == packed.instructions);
  CHECK(merged == packed.merged);
  CHECK(packed.merged == packed.instructions - 80);
  CHECK(busy == simulation.busy);
}

TEST_CASE("of many memory samples the highest of each part stay") {
  MemoryTimeline timeline;
  for (int i = 0; i < 1000; ++i) timeline.samples.push_back({i, Bytes(i == 501 ? 9 : i % 2)});
  const PackedMemory packed = pack_memory(timeline, 10);
  CHECK(packed.count == 10);
  CHECK(packed.values == std::vector<Bytes>{Bytes(1), Bytes(9)});
  CHECK(pack_memory(timeline, 1000).count == 1000);
}

// RFC 4648, section 10.
TEST_CASE("base64 of the standard's examples") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foobar") == "Zm9vYmFy");
  CHECK(base64("\xff\xff\xff") == "////");
}

TEST_CASE("the report's times add up to the step, its memory to the peak") {
  Plan plan = sample_plan();
  const Simulation simulation = simulate(plan);
  apply_simulation(plan, simulation);
  const Json data = Json::parse(report_data(plan, simulation));
  REQUIRE(data["ranks"].size() == 2);
  for (const Json& rank : data["ranks"]) {
    double time = 0, memory = 0;
    for (const auto& [part, seconds] : rank["times"].items()) time += seconds.get<double>();
    for (const auto& [part, bytes] : rank["memory"]["parts"].items()) memory += bytes.get<double>();
    CHECK(time == Approx(38e-6));
    CHECK(memory == rank["memory"]["peak"]);
  }
  // Stage 0 computes each forward, 1.5 us, again in the backward's 3.25 us, for three microbatches.
  const Json& times = data["ranks"][0]["times"];
  CHECK(times["recompute"] == Approx(4.5e-6));
  CHECK(times["backward compute"] == Approx(5.25e-6));
  CHECK(times["collectives"] == Approx(3 * 0.5e-6 + 3 * 0.75e-6));
  CHECK(times["sends"] == Approx(3e-6));
  CHECK(times["bubble"] == Approx(13e-6));  // busy for 25 of 38 us
}

TEST_CASE("a row for each operator and parameter, with what each axis does") {
  const Plan plan = sample_plan();
  const Json shardings = Json::parse(report_data(plan, simulate(plan)))["shardings"];
  CHECK(shardings["axes"] == 1);
  CHECK(shardings["rows"][0].dump() == R"~(["op",0,"h0","h0.up","f","[R/P], [S(1)]","[S(2)]","",3e-06,null])~");
  CHECK(shardings["rows"][3].dump() == R"~(["parameter",0,"embed…h0","w","S(1)","","","zero1",null,1000.0])~");
}

TEST_CASE("no name reaches the report as HTML") {
  const std::string evil = "</script><b>\"'&";
  Plan plan = sample_plan();
  plan.graph_name = plan.cluster.name = plan.cluster.device.name = plan.recipe.name = plan.origin = plan.options = evil;
  plan.graph.path = evil;
  plan.layers.assign(plan.layers.size(), evil);
  plan.stages[0].mesh[0].name = evil;
  plan.stages[0].ops[0].op = plan.stages[0].tensors[0].tensor = evil;
  const Simulation simulation = simulate(plan);
  CHECK(report_html(plan, simulation).find("<b>") == std::string::npos);
  CHECK(report_data(plan, simulation).find('<') == std::string::npos);
}
