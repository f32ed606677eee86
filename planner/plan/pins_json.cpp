#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "costmodel/layout.hpp"
#include "graphs/files.hpp"
#include "graphs/json_input.hpp"
#include "planner/plan/pins.hpp"
#include "planner/plan/plan_json_parts.hpp"

namespace meshloom {
namespace {

constexpr std::int64_t most_parts = 1'000'000;

PinnedDegree read_degree(const JsonInput& input) {
  if (!input.is_string()) return input.integer(1, most_parts);
  if (input.string() != "all") input.fail("expected a number of parts, or \"all\" for all devices of the stage");
  return std::nullopt;
}

void read_shard(const JsonInput& input, Pin& pin) {
  if (pin.subject == Pin::Subject::op) {
    if (!input.is_object()) input.fail("expected the parts of each factor: {\"f\": 4}");
    for (const auto& [factor, degree] : input.members()) pin.shard.emplace_back(factor, read_degree(degree));
    return;
  }
  if (!input.is_array()) input.fail("expected the parts of each dimension, null where it is free: [null, 4]");
  const std::vector<JsonInput> degrees = input.elements();
  for (std::size_t d = 0; d < degrees.size(); ++d)
    if (!degrees[d].is_null()) pin.shard.emplace_back(std::to_string(d), read_degree(degrees[d]));
  pin.rank = degrees.size();
}

void read_axes(const JsonInput& input, Pin& pin) {
  static const std::vector<std::string> known{"x", "y", "z", "w"};
  for (const auto& [axis, value] : input.members()) {
    if (std::find(known.begin(), known.end(), axis) == known.end())
      value.fail(fmt::format("unknown mesh axis \"{}\"; expected {}", axis, fmt::join(known, ", ")));
    const std::string text = value.string();
    if (pin.subject == Pin::Subject::tensor && (!parse_axis_layout(text) || text == "P/R"))
      value.fail(fmt::format("\"{}\" is no layout; expected \"S(0)\", \"S(1)\", … , \"R/P\" or \"R/R\"", text));
    pin.axes.emplace_back(axis, text);
  }
}

}  // namespace

Pin read_pin(const JsonInput& input) {
  input.only_keys({"op", "tensor", "shard", "axes"});
  const auto op = input.find("op"), tensor = input.find("tensor");
  if (op.has_value() == tensor.has_value()) input.fail("names both an op and a tensor, or neither; give one of them");
  Pin pin;
  pin.subject = op ? Pin::Subject::op : Pin::Subject::tensor;
  pin.pattern = (op ? op : tensor)->string();
  if (const auto shard = input.find("shard")) read_shard(*shard, pin);
  if (const auto axes = input.find("axes")) read_axes(*axes, pin);
  if (pin.shard.empty() && pin.axes.empty()) input.fail("fixes nothing; say \"shard\" or \"axes\"");
  return pin;
}

Json pin_json(const Pin& pin) {
  const auto degree = [](const PinnedDegree& parts) { return parts ? Json(*parts) : Json("all"); };
  const bool op = pin.subject == Pin::Subject::op;
  Json json{{op ? "op" : "tensor", pin.pattern}};
  if (op && !pin.shard.empty())
    for (const auto& [factor, parts] : pin.shard) json["shard"][factor] = degree(parts);
  if (!op && !pin.shard.empty()) {
    json["shard"] = Json(std::vector<Json>(*pin.rank));
    for (const auto& [dimension, parts] : pin.shard) json["shard"][std::stoul(dimension)] = degree(parts);
  }
  for (const auto& [axis, value] : pin.axes) json["axes"][axis] = value;
  return json;
}

Pins parse_pins(const std::string& text, const std::string& file) {
  const JsonInput root = parse_json(text, file);
  expect_schema(root, "meshloom.pins/1");
  root.only_keys({"schema", "pins"});
  Pins pins{file, {}};
  for (const JsonInput& pin : root.at("pins").elements()) pins.list.push_back(read_pin(pin));
  return pins;
}

Pins read_pins(const std::string& path) { return parse_pins(read_file(path), path == "-" ? "<stdin>" : path); }

}  // namespace meshloom
