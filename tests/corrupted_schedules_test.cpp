// Schedules and plans with one thing spoiled: each is refused with a place, or shown to be as good as the original.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <tuple>

#include "graphs/input_error.hpp"
#include "graphs/json_input.hpp"
#include "planner/plan/plan_json.hpp"
#include "planner/plan/ranks.hpp"
#include "simulator/simulation.hpp"
#include "tests/pipeline_samples.hpp"
#include "tests/plan_samples.hpp"

using namespace meshloom;

namespace {

struct Sample {
  PipelineProgram program;
  std::int64_t microbatches;
};

Sample sample_program(std::mt19937& random) {
  const std::vector<Schedule> schedules{ScheduleKind::gpipe,
                                        ScheduleKind::one_f_one_b,
                                        ScheduleKind::eager_one_f_one_b,
                                        {ScheduleKind::interleaved, 2},
                                        ScheduleKind::zb_h1,
                                        ScheduleKind::zb_h2,
                                        ScheduleKind::zb_2p,
                                        ScheduleKind::dualpipe,
                                        ScheduleKind::inference};
  const std::int64_t ranks = draw(random, 1, 4), microbatches = ranks * draw(random, 2, 3);
  return {make_program(schedules[random() % schedules.size()], ranks, microbatches), microbatches};
}

std::vector<Instruction>& any_list(PipelineProgram& program, std::mt19937& random) {
  return program.ranks[random() % program.ranks.size()];
}

using Spoil = void (*)(PipelineProgram&, std::mt19937&);
const std::vector<Spoil> spoils{
    [](PipelineProgram& program, std::mt19937& random) {  // something is missing, a send perhaps
      auto& list = any_list(program, random);
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(random() % list.size()));
    },
    [](PipelineProgram& program, std::mt19937& random) {  // something stands twice
      auto& list = any_list(program, random);
      const Instruction twice = list[random() % list.size()];
      list.insert(list.begin() + static_cast<std::ptrdiff_t>(random() % list.size()), twice);
    },
    [](PipelineProgram& program, std::mt19937& random) {  // two are swapped
      auto& list = any_list(program, random);
      std::swap(list[random() % list.size()], list[random() % list.size()]);
    },
    [](PipelineProgram& program, std::mt19937& random) {  // neighbours are swapped
      auto& list = any_list(program, random);
      const std::size_t first = random() % (list.size() - 1);
      std::swap(list[first], list[first + 1]);
    },
    [](PipelineProgram& program, std::mt19937& random) {  // another microbatch, perhaps a negative or a huge one
      auto& list = any_list(program, random);
      const std::int32_t others[] = {-1, 0, 1, 2, INT32_MAX, INT32_MIN};
      list[random() % list.size()].microbatch = others[random() % std::size(others)];
    },
    [](PipelineProgram& program, std::mt19937& random) {  // another chunk
      auto& list = any_list(program, random);
      list[random() % list.size()].chunk = static_cast<std::uint16_t>(random() % 3 == 0 ? 65535 : random() % 2);
    },
    [](PipelineProgram& program, std::mt19937& random) {  // another kind
      auto& list = any_list(program, random);
      list[random() % list.size()].kind = static_cast<InstructionKind>(random() % instruction_kinds);
    },
    [](PipelineProgram& program, std::mt19937& random) {  // the end is missing
      auto& list = any_list(program, random);
      list.resize(random() % list.size());
    },
    [](PipelineProgram& program, std::mt19937& random) {  // a rank's list is another's
      any_list(program, random) = any_list(program, random);
    },
    [](PipelineProgram& program, std::mt19937& random) {  // a list is missing, or too many are there
      if (random() % 2 == 0)
        program.ranks.pop_back();
      else
        program.ranks.push_back(program.ranks.front());
    },
    [](PipelineProgram& program, std::mt19937& random) {  // a circle: receives before the sends that lead to them
      auto& list = any_list(program, random);
      std::stable_sort(list.begin(), list.end(), [](const Instruction& a, const Instruction& b) {
        return is_receive(a.kind) && !is_receive(b.kind);
      });
    },
    [](PipelineProgram& program, std::mt19937& random) {  // the end comes first
      auto& list = any_list(program, random);
      std::reverse(list.begin(), list.end());
    }};

// A whole backward is both of its parts.
std::multiset<std::tuple<InstructionKind, int, int>> contents(const std::vector<Instruction>& list) {
  using enum InstructionKind;
  std::multiset<std::tuple<InstructionKind, int, int>> result;
  for (const Instruction& each : list) {
    const bool whole = each.kind == run_backward;
    result.emplace(whole ? run_backward_input : each.kind, each.microbatch, each.chunk);
    if (whole) result.emplace(run_backward_weight, each.microbatch, each.chunk);
  }
  return result;
}

// The same work on every rank, in another order that runs to its end: every run has had its inputs.
bool is_equivalent(const PipelineProgram& program, const PipelineProgram& original) {
  if (program.ranks.size() != original.ranks.size()) return false;
  for (std::size_t rank = 0; rank < program.ranks.size(); ++rank)
    if (contents(program.ranks[rank]) != contents(original.ranks[rank])) return false;
  const std::vector<StageDurations> durations(static_cast<std::size_t>(program.shape.stages()), {3, 4, 1, 1, 1, 1, 2});
  std::size_t instructions = 0;
  for (const auto& list : program.ranks) instructions += list.size();
  return simulate(program, durations).timeline.size() == instructions &&
         simulate(program, durations, Sends::overlapped).timeline.size() == instructions;
}

}  // namespace

TEST_CASE("2,000 spoiled schedules are refused with their place, or run to the same end") {
  std::mt19937 random(41);
  int refused = 0;
  for (int i = 0; i < 2'000; ++i) {
    const Sample sample = sample_program(random);
    PipelineProgram program = sample.program;
    const std::size_t which = random() % spoils.size();
    spoils[which](program, random);
    CAPTURE(i, which);
    std::string message;
    try {
      check_program(program, sample.microbatches);
    } catch (const InputError& error) {
      message = error.what();
    }
    if (message.empty()) {
      REQUIRE(is_equivalent(program, sample.program));
      continue;
    }
    ++refused;
    CAPTURE(message);
    REQUIRE(message.starts_with("pipeline program: "));
    const bool names_rank = message.find("rank") != std::string::npos;
    REQUIRE((names_rank || message.find("too few") != std::string::npos));
  }
  CHECK(refused > 1'300);
}

namespace {

Plan custom_plan(std::mt19937& random) {
  for (;;) {
    Plan plan = random_plan(random);
    if (plan.schedule.kind != ScheduleKind::custom) continue;
    plan.iteration_time = Seconds(1);
    return plan;
  }
}

// Every value of the document, as JSON pointers.
void list_values(const Json& value, const std::string& pointer, std::vector<std::string>& pointers) {
  pointers.push_back(pointer);
  if (value.is_object())
    for (const auto& [key, each] : value.items()) list_values(each, pointer + "/" + key, pointers);
  if (value.is_array())
    for (std::size_t i = 0; i < value.size(); ++i) list_values(value[i], pointer + "/" + std::to_string(i), pointers);
}

}  // namespace

TEST_CASE("1,000 spoiled plan files are refused with file and place, or are plans that simulate") {
  std::mt19937 random(42);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    const Plan plan = custom_plan(random);
    Json root = Json::parse(write_plan(plan));
    root.erase("cluster_file");
    root["cluster_file"] = {{"path", ""}, {"digest", ""}};
    std::vector<std::string> pointers;
    list_values(root["program"], "/program", pointers);
    list_values(root["stages"][0]["boundary"], "/stages/0/boundary", pointers);
    for (const char* key : {"/schedule", "/microbatches", "/microbatch_size", "/stages/0/chunk", "/stages/0/forward_s",
                            "/stages/0/backward_weight_s", "/stages/0/devices"})
      pointers.emplace_back(key);
    const Json::json_pointer pointer(pointers[random() % pointers.size()]);
    const Json values[] = {nullptr, -1, -1e-3, 1'000'000'000'000, "x", Json::array(), Json::object(), 3, true};
    root[pointer] = values[random() % std::size(values)];
    CAPTURE(i, pointer.to_string(), root[pointer].dump());
    try {
      const Plan read = parse_plan(root.dump(), "p.json");
      const PipelineProgram program = program_of(read);
      check_program(program, read.microbatches);
      REQUIRE(simulate(read).makespan > 0);
    } catch (const InputError& error) {
      ++refused;
      REQUIRE(std::string(error.what()).starts_with("p.json: "));
    }
  }
  CHECK(refused > 400);
}

TEST_CASE("a plan file cut off anywhere is refused") {
  std::mt19937 random(43);
  const std::string text = write_plan(custom_plan(random));
  for (int i = 0; i < 300; ++i) {
    const std::size_t size = random() % (text.size() - 2);
    CHECK_THROWS_AS(parse_plan(text.substr(0, size), "p.json"), InputError);
  }
}

TEST_CASE("lists that would not fit into memory are refused before they are unrolled") {
  std::mt19937 random(44);
  Json root = Json::parse(write_plan(custom_plan(random)));
  Json& run = root["program"]["ranks"][0][0];
  run = {{"repeat", 60'000'000}, {"step", 0}, {"instructions", Json::array({Json::array({"run_forward"})})}};
  CHECK_THROWS_WITH(parse_plan(root.dump(), "p.json"),
                    Catch::StartsWith("p.json: /program/ranks/0/0: makes the list longer than the "));
  PipelineProgram program{{1, 1}, {{{InstructionKind::run_forward, 0}}}};
  CHECK_THROWS_WITH(check_program(program, INT32_MAX),
                    "pipeline program: has 1 instructions, too few for 2147483647 microbatches on 1 stages");
  CHECK_THROWS_WITH(
      make_program(ScheduleKind::one_f_one_b, 64, INT32_MAX),
      "schedule 1f1b: 2147483647 microbatches on 64 stages are too many to list; use larger microbatches");
}
