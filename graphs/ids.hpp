// Typed ids: positions in the vectors that own the things. `index(id)` is the position.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace meshloom {

enum class TensorId : std::uint32_t {};
enum class OpId : std::uint32_t {};
enum class FactorId : std::uint32_t {};  // local to one op's rule
enum class LayerId : std::uint32_t {};

template <typename Id>
requires std::is_enum_v<Id>
constexpr std::size_t index(Id id) { return static_cast<std::size_t>(id); }

}  // namespace meshloom
