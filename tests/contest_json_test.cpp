#include "planner/intra_op/contest_json.hpp"

#include <catch2/catch.hpp>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

using Catch::Matchers::Equals;

const std::string folder = MESHLOOM_SOURCE_DIR "/tests/data/intra_op_contest/";

// A node of one strategy and a node of two, joined by an edge, whose parts a test may replace.
struct Parts {
  std::string intervals = "[[0, 2], [1, 3]]", costs = "[[1], [2, 3]]", usages = "[[4], [5, 6]]";
  std::string ends = "[[0, 1]]", matrices = "[[7, 8]]", limit = "11";
};

std::string text_of(const Parts& parts) {
  return "{\"problem\": {\"name\": \"two\", \"nodes\": {\"intervals\": " + parts.intervals +
         ", \"costs\": " + parts.costs + ", \"usages\": " + parts.usages + "}, \"edges\": {\"nodes\": " + parts.ends +
         ", \"costs\": " + parts.matrices + "}, \"usage_limit\": " + parts.limit + "}}";
}

std::string complaint(const std::string& text) {
  try {
    parse_contest_problem(text, "p.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

IntraOpProblem two_nodes() { return {{{{1}, {4}, 0, 2}, {{2, 3}, {5, 6}, 1, 3}}, {{0, 1, {7, 8}}}, 11}; }

TEST_CASE("a contest file is the problem it describes, whichever part comes first", "[contest_json]") {
  CHECK(parse_contest_problem(text_of({}), "p.json") == two_nodes());
  const std::string edges_first =
      R"({"problem": {"usage_limit": 11, "edges": {"costs": [[7, 8]], "nodes": [[0, 1]]}, "nodes": {"usages": [[4], [5, 6]],
          "costs": [[1], [2, 3]], "intervals": [[0, 2], [1, 3]]}}})";
  CHECK(parse_contest_problem(edges_first, "p.json") == two_nodes());
}

TEST_CASE("a usage limit may be missing or null", "[contest_json]") {
  CHECK_FALSE(parse_contest_problem(text_of({.limit = "null"}), "p.json").usage_limit);
  const std::string none = R"({"problem": {"nodes": {"intervals": [], "costs": [], "usages": []},
                               "edges": {"nodes": [], "costs": []}}})";
  CHECK(parse_contest_problem(none, "p.json") == IntraOpProblem{});
}

TEST_CASE("the contest's example costs 415 without a limit and 445 with one", "[contest_json]") {
  // docs/solve.md counts both by hand.
  IntraOpProblem example = read_contest_problem(folder + "example.json");
  check_problem(example);
  CHECK(solve_by_enumeration(example).objective == 445);
  example.usage_limit.reset();
  CHECK(solve_by_enumeration(example).objective == 415);
}

TEST_CASE("a contest instance is read from gzip and passes the checks of problems", "[contest_json]") {
  const IntraOpProblem problem = read_contest_problem(folder + "asplos-2025-iopddl-G.json.gz");
  check_problem(problem);
  CHECK(problem.nodes.size() == 816);
  CHECK(problem.edges.size() == 1023);
  CHECK(problem.usage_limit == 14392528);
}

TEST_CASE("writing and reading a problem changes nothing", "[contest_json]") {
  for (const std::string file : {"example.json", "asplos-2025-iopddl-G.json.gz"}) {
    const IntraOpProblem problem = read_contest_problem(folder + file);
    CHECK(parse_contest_problem(write_contest_problem(problem, "a \"name\""), "written") == problem);
  }
}

TEST_CASE("a written problem says outright what a problem of ours leaves out", "[contest_json]") {
  IntraOpProblem problem = two_nodes();
  problem.nodes[1].usages.clear();
  problem.nodes[0].live_from = 5;  // after its end: never live
  problem.usage_limit.reset();
  const std::string text = write_contest_problem(problem, "two");
  CHECK(text ==
        "{\"problem\":{\"name\":\"two\",\"nodes\":{\"intervals\":[[0,0],[1,3]],\"costs\":[[1],[2,3]],"
        "\"usages\":[[4],[0,0]]},\"edges\":{\"nodes\":[[0,1]],\"costs\":[[7,8]]}}}\n");
}

TEST_CASE("every beginning of the example is refused with a place", "[contest_json]") {
  std::string text = read_file(folder + "example.json");
  while (text.back() != '}') text.pop_back();
  for (std::size_t size = 0; size < text.size(); ++size) {
    INFO("the first " << size << " bytes");
    const std::string found = complaint(text.substr(0, size));
    REQUIRE(found.starts_with("p.json: "));
    const bool is_said = found.find("cut off") != std::string::npos || found.find("is empty") != std::string::npos;
    REQUIRE(is_said);
  }
  CHECK(complaint(text) == "none");
}

// Every single byte removed or replaced: read or refused, but never a crash, and what is read is a problem.
TEST_CASE("a spoiled example is refused or still a problem", "[contest_json]") {
  const std::string text = text_of({});
  int refused = 0, read = 0;
  for (std::size_t at = 0; at < text.size(); ++at)
    for (const std::string byte : {"", "9", "-", "]", "[", "\"", ",", "x", "{"}) {
      const std::string spoiled = text.substr(0, at) + byte + text.substr(at + 1);
      try {
        check_problem(parse_contest_problem(spoiled, "p.json"));
        ++read;
      } catch (const InputError& error) {
        ++refused;
        CHECK(std::string(error.what()).starts_with("p.json: "));
      }
    }
  CHECK(refused > 1000);
  CHECK(read > 50);
}

TEST_CASE("a contest file that contradicts itself is refused with place, value and remedy", "[contest_json]") {
  const auto refusal = [](const Parts& parts) { return complaint(text_of(parts)); };
  CHECK(refusal({}) == "none");
  CHECK_THAT(refusal({.intervals = "[[0, 2], [3, 1]]"}),
             Equals("p.json: /problem/nodes/intervals/1: [3, 1] ends before it begins; write [from, until], or [0, 0] "
                    "for no time at all"));
  CHECK_THAT(refusal({.intervals = "[[0, 2], [1]]"}),
             Equals("p.json: /problem/nodes/intervals/1: has 1 numbers; give the times [from, until]"));
  CHECK_THAT(refusal({.intervals = "[[0, 2]]"}), Equals("p.json: /problem/nodes/intervals: has 1 entries, "
                                                        "/problem/nodes/costs has 2; give one for each node"));
  CHECK_THAT(refusal({.costs = "[[1], []]"}),
             Equals("p.json: /problem/nodes/costs/1: the node has no strategies; give at least one cost"));
  CHECK_THAT(refusal({.costs = "[[1], [2, -3]]"}),
             Equals("p.json: /problem/nodes/costs/1/1: must be at least 0, is -3"));
  CHECK_THAT(refusal({.usages = "[[4], [5]]"}),
             Equals("p.json: /problem/nodes/usages/1: has 1 usages, but node 1 has 2 costs; give one for each"));
  CHECK_THAT(refusal({.usages = "[[4], [5, 6], [7]]"}), Equals("p.json: /problem/nodes/usages: has 3 entries, "
                                                               "/problem/nodes/costs has 2; give one for each node"));
  CHECK_THAT(refusal({.ends = "[[1, 1]]"}), Equals("p.json: /problem/edges/nodes/0: joins node 1 to itself; add its "
                                                   "diagonal to the node's costs"));
  CHECK_THAT(refusal({.ends = "[[0, 2]]"}),
             Equals("p.json: /problem/edges/nodes/0/1: unknown node 2; there are 2, numbered from 0"));
  CHECK_THAT(refusal({.ends = "[[0, 5000000000]]"}),
             Equals("p.json: /problem/edges/nodes/0: unknown node 5000000000; nodes are numbered from 0"));
  CHECK_THAT(refusal({.ends = "[[0, 1], [0, 1]]"}), Equals("p.json: /problem/edges/nodes: has 2 entries, "
                                                           "/problem/edges/costs has 1; give one for each edge"));
  CHECK_THAT(refusal({.matrices = "[[7, 8, 9]]"}),
             Equals("p.json: /problem/edges/costs/0: has 3 costs; nodes 0 and 1 with 1 and 2 strategies need 2"));
  CHECK_THAT(refusal({.matrices = "[[7, 8.5]]"}),
             Equals("p.json: /problem/edges/costs/0/1: expected a whole number, "
                    "found the number 8.5; write it in digits, without fraction or "
                    "exponent"));
  CHECK_THAT(refusal({.limit = "-1"}), Equals("p.json: /problem/usage_limit: must be at least 0, is -1"));
  CHECK_THAT(refusal({.limit = "\"11\""}),
             Equals("p.json: /problem/usage_limit: expected a whole number, found the string \"11\""));
}

}  // namespace
}  // namespace meshloom
