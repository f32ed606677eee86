#include <fmt/format.h>

#include "graphs/files.hpp"
#include "graphs/json_input.hpp"
#include "planner/constraints.hpp"

namespace meshloom {
namespace {

constexpr std::int64_t most = 10'000'000;  // layers, hosts, devices

std::vector<std::int64_t> sizes(const JsonInput& input) {
  std::vector<std::int64_t> result;
  for (const JsonInput& size : input.elements())
    if (size.integer(1, most) > 1) result.push_back(size.integer(1, most));
  return result;
}

FixedStage read_stage(const JsonInput& input) {
  input.only_keys({"layers", "first", "last", "submesh", "mesh"});
  FixedStage stage;
  const auto count = input.find("layers"), first = input.find("first"), last = input.find("last");
  if (count.has_value() == (first || last))
    input.fail("says its layers twice, or not at all; give either \"layers\", their number, or \"first\" and \"last\"");
  if (count) {
    stage.count = count->integer(1, most);
  } else {
    stage.first = input.at("first").string();
    stage.last = input.at("last").string();
  }
  const JsonInput submesh = input.at("submesh");
  const std::vector<JsonInput> numbers = submesh.elements();
  if (numbers.size() != 2) submesh.fail("expected two numbers: hosts, and devices of each host, as in [1, 8]");
  stage.submesh = {numbers[0].integer(1, most), numbers[1].integer(1, most)};
  if (const auto mesh = input.find("mesh")) stage.mesh = sizes(*mesh);
  return stage;
}

}  // namespace

StageList parse_stage_list(const std::string& text, const std::string& file) {
  const JsonInput root = parse_json(text, file);
  expect_schema(root, "meshloom.stages/1");
  root.only_keys({"schema", "stages"});
  StageList list{file, {}};
  for (const JsonInput& stage : root.at("stages").elements()) list.stages.push_back(read_stage(stage));
  if (list.stages.empty()) root.at("stages").fail("is empty; list the stages in order");
  return list;
}

StageList read_stage_list(const std::string& path) {
  return parse_stage_list(read_file(path), path == "-" ? "<stdin>" : path);
}

}  // namespace meshloom
