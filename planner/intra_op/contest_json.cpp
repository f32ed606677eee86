#include "planner/intra_op/contest_json.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "graphs/input_error.hpp"
#include "graphs/json_input.hpp"
#include "graphs/json_stream.hpp"

namespace meshloom {
namespace {

// Nodes and edges come as parallel arrays, and edges may come first; so what depends on both is checked at the end.
class ContestReader {
 public:
  explicit ContestReader(JsonStream& stream) : stream_(stream) {}

  IntraOpProblem read() {
    stream_.object({.required = {"problem"}}, [&](std::string_view) { read_problem(); });
    stream_.end();
    expect_equal("nodes/intervals", intervals_, "nodes/costs", costs_, "node");
    expect_equal("nodes/usages", usages_, "nodes/costs", costs_, "node");
    expect_equal("edges/nodes", ends_, "edges/costs", matrices_, "edge");
    for (std::size_t i = 0; i < problem_.nodes.size(); ++i) check_usages(i);
    for (std::size_t i = 0; i < problem_.edges.size(); ++i) check_edge(i);
    return std::move(problem_);
  }

 private:
  void read_problem() {
    stream_.object({.required = {"nodes", "edges"}, .optional = {"name", "usage_limit"}}, [&](std::string_view key) {
      if (key == "name") stream_.string();
      if (key == "nodes") read_nodes();
      if (key == "edges") read_edges();
      if (key == "usage_limit") problem_.usage_limit = stream_.integer_or_null(0);
    });
  }

  void read_nodes() {
    stream_.object({.required = {"intervals", "costs", "usages"}}, [&](std::string_view key) {
      if (key == "intervals") intervals_ = each_list([&](std::size_t i) { read_interval(node(i)); });
      if (key == "costs") costs_ = each_list([&](std::size_t i) { read_costs(node(i)); });
      if (key == "usages") usages_ = each_list([&](std::size_t i) { node(i).usages = numbers_; });
    });
  }

  void read_edges() {
    stream_.object({.required = {"nodes", "costs"}}, [&](std::string_view key) {
      if (key == "nodes") ends_ = each_list([&](std::size_t i) { read_ends(edge(i)); });
      if (key == "costs") matrices_ = each_list([&](std::size_t i) { edge(i).costs = numbers_; });
    });
  }

  // Reads an array of lists of numbers, each into numbers_; returns how many.
  template <typename Use>
  std::size_t each_list(const Use& use) {
    std::size_t count = 0;
    stream_.array([&](std::size_t i) {
      stream_.integers(0, numbers_);
      use(i);
      count = i + 1;
    });
    return count;
  }

  IntraOpNode& node(std::size_t i) {
    return i < problem_.nodes.size() ? problem_.nodes[i] : problem_.nodes.emplace_back();
  }
  IntraOpEdge& edge(std::size_t i) {
    return i < problem_.edges.size() ? problem_.edges[i] : problem_.edges.emplace_back();
  }

  void read_interval(IntraOpNode& node) {
    expect_pair("the times [from, until]");
    if (numbers_[0] > numbers_[1])
      stream_.fail(fmt::format("[{}, {}] ends before it begins; write [from, until], or [0, 0] for no time at all",
                               numbers_[0], numbers_[1]));
    node.live_from = numbers_[0];
    node.live_until = numbers_[1];
  }

  void read_costs(IntraOpNode& node) {
    if (numbers_.empty()) stream_.fail("the node has no strategies; give at least one cost");
    node.costs = numbers_;
  }

  void read_ends(IntraOpEdge& edge) {
    expect_pair("two nodes");
    for (std::int64_t end : numbers_)
      if (end > UINT32_MAX) stream_.fail(fmt::format("unknown node {}; nodes are numbered from 0", end));
    edge.a = static_cast<std::uint32_t>(numbers_[0]);
    edge.b = static_cast<std::uint32_t>(numbers_[1]);
    if (edge.a == edge.b)
      stream_.fail(fmt::format("joins node {} to itself; add its diagonal to the node's costs", edge.a));
  }

  void expect_pair(std::string_view what) {
    if (numbers_.size() != 2) stream_.fail(fmt::format("has {} numbers; give {}", numbers_.size(), what));
  }

  [[noreturn]] void fail_at(const std::string& pointer, const std::string& message) const {
    throw InputError(fmt::format("{}: /problem/{}", stream_.file(), pointer), message);
  }

  void expect_equal(const std::string& key, std::size_t size, std::string_view other, std::size_t other_size,
                    std::string_view what) const {
    if (size == other_size) return;
    fail_at(key,
            fmt::format("has {} entries, /problem/{} has {}; give one for each {}", size, other, other_size, what));
  }

  void check_usages(std::size_t i) const {
    const IntraOpNode& node = problem_.nodes[i];
    if (node.usages.size() != node.costs.size())
      fail_at(fmt::format("nodes/usages/{}", i),
              fmt::format("has {} usages, but node {} has {} costs; give one for each", node.usages.size(), i,
                          node.costs.size()));
  }

  void check_edge(std::size_t i) const {
    const IntraOpEdge& edge = problem_.edges[i];
    for (std::size_t end = 0; end < 2; ++end)
      if (const std::uint32_t node = end == 0 ? edge.a : edge.b; node >= problem_.nodes.size())
        fail_at(fmt::format("edges/nodes/{}/{}", i, end),
                fmt::format("unknown node {}; there are {}, numbered from 0", node, problem_.nodes.size()));
    const std::size_t rows = problem_.nodes[edge.a].costs.size(), columns = problem_.nodes[edge.b].costs.size();
    if (edge.costs.size() != rows * columns)
      fail_at(fmt::format("edges/costs/{}", i),
              fmt::format("has {} costs; nodes {} and {} with {} and {} strategies need {}", edge.costs.size(), edge.a,
                          edge.b, rows, columns, rows * columns));
  }

  JsonStream& stream_;
  IntraOpProblem problem_;
  std::vector<std::int64_t> numbers_;  // of the list just read
  std::size_t intervals_ = 0, costs_ = 0, usages_ = 0, ends_ = 0, matrices_ = 0;
};

using Text = fmt::memory_buffer;

// `[…, …]`, each element written by `write_one`.
template <typename Elements, typename WriteOne>
void write_array(Text& text, const Elements& elements, const WriteOne& write_one) {
  text.push_back('[');
  bool is_first = true;
  for (const auto& element : elements) {
    if (!is_first) text.push_back(',');
    is_first = false;
    write_one(element);
  }
  text.push_back(']');
}

void write_numbers(Text& text, const std::vector<std::int64_t>& numbers) {
  write_array(text, numbers, [&](std::int64_t number) { fmt::format_to(std::back_inserter(text), "{}", number); });
}

void write_nodes(Text& text, const std::vector<IntraOpNode>& nodes) {
  const auto append = [&](std::string_view part) { text.append(part); };
  append("{\"intervals\":");
  write_array(text, nodes, [&](const IntraOpNode& node) {
    const bool is_reversed = node.live_from > node.live_until;
    fmt::format_to(std::back_inserter(text), "[{},{}]", is_reversed ? 0 : node.live_from,
                   is_reversed ? 0 : node.live_until);
  });
  append(",\"costs\":");
  write_array(text, nodes, [&](const IntraOpNode& node) { write_numbers(text, node.costs); });
  append(",\"usages\":");
  write_array(text, nodes, [&](const IntraOpNode& node) {
    write_numbers(text, node.usages.empty() ? std::vector<std::int64_t>(node.costs.size()) : node.usages);
  });
  append("}");
}

void write_edges(Text& text, const std::vector<IntraOpEdge>& edges) {
  const auto append = [&](std::string_view part) { text.append(part); };
  append("{\"nodes\":");
  write_array(text, edges,
              [&](const IntraOpEdge& edge) { fmt::format_to(std::back_inserter(text), "[{},{}]", edge.a, edge.b); });
  append(",\"costs\":");
  write_array(text, edges, [&](const IntraOpEdge& edge) { write_numbers(text, edge.costs); });
  append("}");
}

}  // namespace

IntraOpProblem read_contest_problem(const std::string& path) {
  JsonStream stream(path);
  return ContestReader(stream).read();
}

IntraOpProblem parse_contest_problem(const std::string& text, const std::string& file) {
  JsonStream stream(text, file);
  return ContestReader(stream).read();
}

std::string write_contest_problem(const IntraOpProblem& problem, std::string_view name) {
  Text text;
  fmt::format_to(std::back_inserter(text), "{{\"problem\":{{\"name\":{},\"nodes\":", Json(name).dump());
  write_nodes(text, problem.nodes);
  fmt::format_to(std::back_inserter(text), ",\"edges\":");
  write_edges(text, problem.edges);
  if (problem.usage_limit) fmt::format_to(std::back_inserter(text), ",\"usage_limit\":{}", *problem.usage_limit);
  fmt::format_to(std::back_inserter(text), "}}}}\n");
  return fmt::to_string(text);
}

}  // namespace meshloom
