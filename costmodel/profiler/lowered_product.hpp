// An einsum of two operands as matrix products that a BLAS runs: which factors are rows, columns and depth, in which
// order the operands lie, and what is left to loop over.
//
//   b s n d, b t n d -> b n s t    loop over b; of each, n products of s × d times (t × d)ᵀ, with strides d, d and s·t
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "costmodel/profiler/cpu_kernels.hpp"
#include "graphs/sharding_rule.hpp"

namespace meshloom {

// Elements from one turn to the next.
struct OuterLoop {
  std::int64_t count = 1, a = 0, b = 0, c = 0;
  bool operator==(const OuterLoop&) const = default;
};

struct LoweredProduct {
  MatrixProduct product;
  std::vector<OuterLoop> loops;  // outermost first
  bool swapped = false;          // the second operand is the product's `a`
};

// `sizes` by factor. None when factors of one role do not lie behind each other in the same order in both operands, or
// neither dimension of an operand is dense.
std::optional<LoweredProduct> lower_product(const RuleOperand& a, const RuleOperand& b, const RuleOperand& c,
                                            std::span<const std::int64_t> sizes);

void run_product(const LoweredProduct& lowered, const float* a, const float* b, float* c, Store store);

}  // namespace meshloom
