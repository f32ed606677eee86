#include "planner/plan/plan_json_parts.hpp"

#include <fmt/format.h>

namespace meshloom {
namespace {

AxisLayout read_state(const JsonInput& input) {
  const std::string text = input.string();
  if (const std::optional<AxisLayout> state = parse_axis_layout(text)) return *state;
  input.fail(fmt::format(
      "\"{}\" is not the layout of an axis; write \"S(0)\", \"S(1)\", …, \"R/P\", \"R/R\" or \"P/R\"", text));
}

}  // namespace

Json layout_json(const Layout& layout, std::size_t mesh_dimensions) {
  Json result = Json::array();
  for (std::size_t axis = 0; axis < mesh_dimensions; ++axis) result.push_back(print_axis_layout(layout.axes[axis]));
  return result;
}

Layout read_layout(const JsonInput& input, std::size_t mesh_dimensions) {
  const std::vector<JsonInput> states = input.elements();
  if (states.size() != mesh_dimensions)
    input.fail(fmt::format("has {} states; the stage's mesh has {} axes", states.size(), mesh_dimensions));
  Layout layout;
  for (std::size_t axis = 0; axis < mesh_dimensions; ++axis) layout.axes[axis] = read_state(states[axis]);
  return layout;
}

Json cluster_json(const Cluster& cluster) { return Json::parse(write_cluster(cluster)); }
Json recipe_json(const Recipe& recipe) { return Json::parse(write_recipe(recipe)); }
Cluster read_inline_cluster(const JsonInput& input) { return parse_cluster(input.raw().dump(), input.place()); }
Recipe read_inline_recipe(const JsonInput& input) { return parse_recipe(input.raw().dump(), input.place()); }

}  // namespace meshloom
