#include <catch2/catch.hpp>
#include <limits>
#include <set>

#include "graphs/input_error.hpp"
#include "planner/inter_op/stage_table_json.hpp"
#include "tests/synthetic_stage_table.hpp"

namespace meshloom {
namespace {

using Catch::Matchers::Equals;

const std::string folder = MESHLOOM_SOURCE_DIR "/tests/data/stage_tables/";

// Alpa's dynamic program as its paper states it (Eq. 3 to 5), without any pruning: for every largest t, the least Σt of
// s stages that run the layers from k on with d devices. Shares nothing with the search.
class PlainProgram {
 public:
  explicit PlainProgram(const InterOpProblem& problem)
      : problem_(problem), devices_(problem.hosts * problem.devices_per_host), by_first_(problem.layers) {
    for (const StageOption& option : problem.options) by_first_[option.first].push_back(&option);
  }

  double least_objective() {
    std::set<double> times;
    for (const StageOption& option : problem_.options) times.insert(option.forward.value());
    double best = none;
    for (double largest : times)
      best = std::min(best, least_sum(largest) + static_cast<double>(problem_.microbatches - 1) * largest);
    return best;
  }

 private:
  static constexpr double none = std::numeric_limits<double>::infinity();

  double& sum(std::size_t stages, std::size_t first, std::int64_t devices) {
    return sums_[(stages * (problem_.layers + 1) + first) * static_cast<std::size_t>(devices_ + 1) +
                 static_cast<std::size_t>(devices)];
  }

  double least_sum(double largest) {
    sums_.assign((problem_.layers + 1) * (problem_.layers + 1) * static_cast<std::size_t>(devices_ + 1), none);
    sum(0, problem_.layers, 0) = 0;
    double best = none;
    for (std::size_t stages = 1; stages <= problem_.layers; ++stages) {
      for (std::size_t first = 0; first < problem_.layers; ++first)
        for (const StageOption* option : by_first_[first]) {
          const std::int64_t own = problem_.submeshes[option->submesh].devices();
          if (option->forward.value() > largest || option->max_following_stages < std::int64_t(stages) - 1) continue;
          for (std::int64_t devices = own; devices <= devices_; ++devices)
            sum(stages, first, devices) =
                std::min(sum(stages, first, devices),
                         option->forward.value() + sum(stages - 1, option->last + 1, devices - own));
        }
      best = std::min(best, sum(stages, 0, devices_));
    }
    return best;
  }

  const InterOpProblem& problem_;
  std::int64_t devices_;
  std::vector<std::vector<const StageOption*>> by_first_;
  std::vector<double> sums_;
};

TEST_CASE("the tables of Alpa's searches have the optima that are known", "[stage_table]") {
  const std::pair<const char*, double> known[] = {{"alpa_log_0", 28.119},
                                                  {"alpa_log_2", 30.127},
                                                  {"alpa_log_4", 29.128},
                                                  {"alpa_log_6", 34.660},
                                                  {"alpa_log_8", 36.343}};
  for (const auto& [name, objective] : known) {
    INFO(name);
    const ConfiguredProblem table = read_stage_table(folder + name + ".json.gz");
    const InterOpSolution solution = solve_inter_op(table.problem);
    CHECK(solution.objective.value() == Approx(objective).margin(1e-6).epsilon(0));
    CHECK(PlainProgram(table.problem).least_objective() == Approx(objective).margin(1e-6).epsilon(0));
    CHECK(objective_of(table.problem, solution.options) == solution.objective);
  }
}

TEST_CASE("the search finds the optimum of synthetic tables, as the plain dynamic program does", "[stage_table]") {
  std::set<std::size_t> numbers_of_stages;
  int bound_by_memory = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const bool is_odd = seed % 2 == 1;
    SyntheticTable size{.layers = is_odd ? 16u : 11u, .hosts = is_odd ? 2 : 6, .devices_per_host = 4, .configs = 2};
    size.seed = seed;
    size.microbatches = std::int64_t{1} << 2 * (seed - 1);
    InterOpProblem problem = synthetic_stage_table(size).problem;
    const InterOpSolution solution = solve_inter_op(problem);
    INFO("seed " << seed);
    REQUIRE(solution.feasible);
    CHECK(solution.objective.value() == Approx(PlainProgram(problem).least_objective()).epsilon(1e-12));
    CHECK(objective_of(problem, solution.options) == solution.objective);
    numbers_of_stages.insert(solution.options.size());
    for (StageOption& option : problem.options) option.max_following_stages = 100;
    bound_by_memory += solve_inter_op(problem).objective < solution.objective;
  }
  CHECK(numbers_of_stages.size() >= 3);
  CHECK(bound_by_memory >= 2);
}

TEST_CASE("a synthetic table has every range, submesh and config, and the seed decides its times", "[stage_table]") {
  const SyntheticTable size{.layers = 5, .hosts = 3, .devices_per_host = 4, .configs = 2, .seed = 7};
  const ConfiguredProblem table = synthetic_stage_table(size);
  CHECK(table.problem.submeshes == std::vector<Submesh>{{1, 1}, {1, 2}, {1, 4}, {2, 4}, {3, 4}});
  CHECK(table.problem.options.size() == 15 * 5 * 2);
  CHECK(write_stage_table(table) == write_stage_table(synthetic_stage_table(size)));
  SyntheticTable other = size;
  other.seed = 8;
  CHECK(write_stage_table(table) != write_stage_table(synthetic_stage_table(other)));
}

TEST_CASE("writing and reading a table changes nothing", "[stage_table]") {
  const std::string text = write_stage_table(synthetic_stage_table({.layers = 6, .hosts = 2, .devices_per_host = 2}));
  CHECK(write_stage_table(parse_stage_table(text, "written")) == text);
  const std::string real = write_stage_table(read_stage_table(folder + "alpa_log_4.json.gz"));
  CHECK(write_stage_table(parse_stage_table(real, "written")) == real);
}

// Two layers on two devices; docs/solve.md solves it by hand.
struct Parts {
  std::string layers = "2", hosts = "1", microbatches = "4", submeshes = "[[1, 1], [1, 2]]", more = "";
};

std::string text_of(const Parts& parts) {
  return "{\"schema\": \"meshloom.stage_table/1\", \"layers\": " + parts.layers + ", \"hosts\": " + parts.hosts +
         ", \"devices_per_host\": 2, \"microbatches\": " + parts.microbatches + ", \"entries\": [" +
         R"({"first": 0, "last": 0, "submesh": 0, "config": 0, "time_s": 3, "max_following_stages": 1},
            {"first": 1, "last": 1, "submesh": 0, "config": 0, "time_s": 2.5, "max_following_stages": 0},
            {"first": 0, "last": 1, "submesh": 1, "config": 5, "time_s": 4, "max_following_stages": 0})" +
         parts.more + "], \"submeshes\": " + parts.submeshes + "}";
}

std::string entry(const std::string& first, const std::string& last, const std::string& submesh,
                  const std::string& time) {
  return ", {\"first\": " + first + ", \"last\": " + last + ", \"submesh\": " + submesh +
         ", \"config\": 0, \"time_s\": " + time + ", \"max_following_stages\": 1}";
}

std::string refusal(const Parts& parts) {
  try {
    parse_stage_table(text_of(parts), "t.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

TEST_CASE("two stages of 3 and 2.5 seconds beat one of 4 from four microbatches on", "[stage_table]") {
  // 3 + 2.5 + 3·3 = 14.5; one stage: 4 + 3·4 = 16. With one microbatch 5.5 against 4.
  const InterOpSolution solution = solve_inter_op(parse_stage_table(text_of({}), "t.json").problem);
  CHECK(solution.objective == Seconds(14.5));
  CHECK(solution.options == std::vector<std::uint32_t>{0, 1});
  CHECK(solve_inter_op(parse_stage_table(text_of({.microbatches = "1"}), "t.json").problem).objective == Seconds(4));
}

TEST_CASE("an entry that may have no stage after it only ends a pipeline", "[stage_table]") {
  // The faster first stage may not be followed.
  std::string faster = entry("0", "0", "0", "1");
  faster.replace(faster.find("_stages\": 1"), 11, "_stages\": 0");
  faster.replace(faster.find("config\": 0"), 10, "config\": 1");
  CHECK(solve_inter_op(parse_stage_table(text_of({.more = faster}), "t.json").problem).objective == Seconds(14.5));
}

TEST_CASE("a table that contradicts itself is refused with place, value and remedy", "[stage_table]") {
  CHECK(refusal({}) == "none");
  CHECK(refusal({.more = entry("0", "0", "0", "3.0")}) == "none");  // the same again
  CHECK_THAT(refusal({.more = entry("0", "0", "0", "3.5")}),
             Equals("t.json: /entries/3: contradicts /entries/0, of the same layers, submesh and config; keep one"));
  CHECK_THAT(refusal({.more = entry("1", "0", "0", "1")}),
             Equals("t.json: /entries/3: first is 1, after last, 0; give the first and the last layer"));
  CHECK_THAT(refusal({.more = entry("0", "2", "0", "1")}),
             Equals("t.json: /entries/3/last: unknown layer 2; there are 2, numbered from 0"));
  CHECK_THAT(refusal({.more = entry("0", "1", "2", "1")}),
             Equals("t.json: /entries/3/submesh: unknown submesh 2; there are 2, numbered from 0"));
  CHECK_THAT(refusal({.more = entry("0", "1", "0", "-1")}),
             Equals("t.json: /entries/3/time_s: must be at least 0, is -1"));
  CHECK_THAT(refusal({.more = entry("0", "1", "0", "NaN")}),
             Equals("t.json: /entries/3/time_s: expected a number, found NaN"));
  CHECK_THAT(refusal({.more = entry("0", "1", "0", "null")}),
             Equals("t.json: /entries/3/time_s: expected a number, found null"));
  CHECK_THAT(refusal({.more = ", {\"frist\": 0}"}),
             Equals("t.json: /entries/3: unknown key \"frist\"; did you mean \"first\"?"));
  CHECK_THAT(refusal({.more = ", {\"first\": 0}"}), Equals("t.json: /entries/3: missing key \"last\""));
  CHECK_THAT(refusal({.layers = "0"}), Equals("t.json: /layers: must be at least 1, is 0"));
  CHECK_THAT(refusal({.hosts = "0"}), Equals("t.json: /hosts: must be at least 1, is 0"));
  CHECK_THAT(refusal({.microbatches = "0"}), Equals("t.json: /microbatches: must be at least 1, is 0"));
  CHECK_THAT(refusal({.submeshes = "[[1, 1], [2]]"}),
             Equals("t.json: /submeshes/1: has 1 numbers; give [hosts, devices per host]"));
  CHECK_THAT(refusal({.hosts = "2097153"}),
             Equals("t.json: /hosts: 2097153 x 2 devices are too many; at most 4194304"));
  CHECK_THAT(refusal({.layers = "65536", .hosts = "65536"}),
             Equals("t.json: 65536 layers, 131072 devices and 2 submeshes are too many; the product of any two may be "
                    "67108864"));
}

TEST_CASE("every beginning of a table is refused with a place", "[stage_table]") {
  const std::string text = text_of({});
  for (std::size_t size = 0; size < text.size(); ++size) {
    INFO("the first " << size << " bytes");
    REQUIRE_THROWS_AS(parse_stage_table(text.substr(0, size), "t.json"), InputError);
  }
}

}  // namespace
}  // namespace meshloom
