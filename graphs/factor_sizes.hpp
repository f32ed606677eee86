// The sizes of a rule's factors, from the shapes they stand at: `b s h, h f -> b s f` on x [b, 1024, 2048] and
// w [2048, 8192] gives s = 1024, h = 2048, f = 8192.
//
// A dimension alone gives its factor; a product with one unknown factor gives the quotient. A factor that positions do
// not determine takes the op's "sizes", else the graph's dim of the same name.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "graphs/extents.hpp"
#include "graphs/sharding_rule.hpp"

namespace meshloom {

// One dimension of a tensor whose shape is known, as the rule sees it.
struct BoundDimension {
  RuleDimension factors;
  Extent extent;
  std::string place;        // for errors: file and pointer
  std::string description;  // "dimension 1 of \"w1\""
};

struct FactorSize {
  std::string factor;
  Extent extent;
};

// By rule.factors. Throws InputError, naming both sides: dimensions that contradict each other or `given`; naming the
// factor and the remedy: a size that cannot be known.
std::vector<Extent> bind_factors(const ShardingRule& rule, std::span<const BoundDimension> dimensions,
                                 std::span<const FactorSize> given, const DimensionNames& names,
                                 const std::string& rule_place);

// The sizes that must be given so that bind_factors finds `sizes` again.
std::vector<FactorSize> sizes_to_give(const ShardingRule& rule, std::span<const BoundDimension> dimensions,
                                      std::span<const Extent> sizes, const DimensionNames& names);

}  // namespace meshloom
