// Layouts: how a tensor lies on a device mesh, one state per mesh axis, value and gradient together.
//
//   S(d)/S(d)  dimension d is sharded, so is its gradient
//   R/P        a whole copy of which each device uses a part: its gradient is a partial sum
//   R/R        a whole copy, used redundantly: each device computes the whole gradient
//   P/R        a partial sum, still to be reduced: its gradient is whole
//
// Operands are S, R/P or R/R; results are S, R/R or P/R; a tensor with several consumers has a node of its own whose
// layout is S, R/P or R/R. docs/layouts.md walks through one example.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "costmodel/device_mesh.hpp"

namespace meshloom {

constexpr std::size_t max_mesh_axes = 4;

enum class LayoutKind : std::uint8_t { sharded, replicated_partial_gradient, replicated, partial };

struct AxisLayout {
  LayoutKind kind = LayoutKind::replicated;
  std::uint8_t dimension = 0;  // of the tensor; only when sharded
  auto operator<=>(const AxisLayout&) const = default;
};

constexpr AxisLayout sharded(std::size_t dimension) {
  return {LayoutKind::sharded, static_cast<std::uint8_t>(dimension)};
}
constexpr AxisLayout replicated_partial_gradient{LayoutKind::replicated_partial_gradient, 0};
constexpr AxisLayout replicated{LayoutKind::replicated, 0};
constexpr AxisLayout partial{LayoutKind::partial, 0};

// One state per axis of the mesh; states beyond the mesh's axes stay `replicated`.
struct Layout {
  std::array<AxisLayout, max_mesh_axes> axes{};
  auto operator<=>(const Layout&) const = default;
};

// "S(1)", "R/P", "R/R", "P/R"; dimensions up to 9.
std::string print_axis_layout(const AxisLayout& axis);
std::optional<AxisLayout> parse_axis_layout(std::string_view text);

// Into how many equal parts the layout cuts the tensor: the product of the sizes of the axes that shard it.
std::int64_t shards(const Layout& layout, const DeviceMesh& mesh);

// "[S(0), R/P]" for a mesh of two axes, "[]" for one device.
std::string print_layout(const Layout& layout, std::size_t mesh_dimensions);

}  // namespace meshloom
