// Which sample of a profile an op's kernel would be: its key and its shape.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "costmodel/profile.hpp"
#include "costmodel/recipe.hpp"
#include "graphs/gradients.hpp"

namespace meshloom {

struct KernelShape {
  OperatorKey key;
  std::vector<std::int64_t> shape;
};

// None where a profile has no kind for it: convolutions, custom ops, views, the sums that gradients of additions are.
// `factor_sizes` as in op_costs.hpp.
std::optional<KernelShape> forward_kernel(const Recipe& recipe, const Graph& graph, const Op& op,
                                          std::span<const std::int64_t> factor_sizes);
std::optional<KernelShape> gradient_kernel(const Recipe& recipe, const Graph& graph, const Op& op,
                                           const GradientOp& kernel, std::span<const std::int64_t> factor_sizes);

}  // namespace meshloom
