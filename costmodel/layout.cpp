#include "costmodel/layout.hpp"

#include <fmt/format.h>

namespace meshloom {

std::string print_axis_layout(const AxisLayout& axis) {
  switch (axis.kind) {
    case LayoutKind::sharded:
      return fmt::format("S({})", axis.dimension);
    case LayoutKind::replicated_partial_gradient:
      return "R/P";
    case LayoutKind::replicated:
      return "R/R";
    case LayoutKind::partial:
      return "P/R";
  }
  return {};
}

std::optional<AxisLayout> parse_axis_layout(std::string_view text) {
  if (text == "R/P") return replicated_partial_gradient;
  if (text == "R/R") return replicated;
  if (text == "P/R") return partial;
  if (text.size() == 4 && text.starts_with("S(") && text[3] == ')' && text[2] >= '0' && text[2] <= '9')
    return sharded(static_cast<std::size_t>(text[2] - '0'));
  return std::nullopt;
}

std::string print_layout(const Layout& layout, std::size_t mesh_dimensions) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < mesh_dimensions; ++axis)
    text += (axis == 0 ? "" : ", ") + print_axis_layout(layout.axes[axis]);
  return text + "]";
}

std::int64_t shards(const Layout& layout, const DeviceMesh& mesh) {
  std::int64_t result = 1;
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
    if (layout.axes[axis].kind == LayoutKind::sharded) result *= mesh.size(axis);
  return result;
}

}  // namespace meshloom
