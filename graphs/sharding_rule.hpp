// The sharding rule of an operator: which dimensions of its operands and results go together.
//
//   b s h, h (n d) -> b s (n d)
//
// The letters are factors. A factor is bound to dimensions by position; `(n d)` is one dimension, the product of two
// factors, the first (major) of which is sharded first. A factor in inputs and outputs is parallel; one only in
// outputs is a broadcast; one only in inputs is a reduction, allowed only on multilinear kinds, where shards add up.
// A mark behind a factor's name limits what a mesh axis may do with it:
//
//   !  must stay whole (attention's key length)
//   ~  may be sharded at the price of a named inner collective (softmax, norms, cross-entropy); the result is whole,
//      not partial, where the result lacks the factor
//   ^  may be sharded at the price of a halo exchange (the spatial dimensions of convolutions and
//      pooling)
//
// A mark may stand at one occurrence; it holds for all. Operands are separated by commas; an operand without
// dimensions is a scalar: "b s -> ".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graphs/ids.hpp"

namespace meshloom {

enum class FactorMark { none, whole, inner_collective, halo };

struct RuleFactor {
  std::string name;
  FactorMark mark = FactorMark::none;
  bool operator==(const RuleFactor&) const = default;
};

// One dimension: its factors, major first. Empty: a dimension of size one, written "1".
using RuleDimension = std::vector<FactorId>;
// One operand: its dimensions.
using RuleOperand = std::vector<RuleDimension>;

struct ShardingRule {
  std::vector<RuleFactor> factors;  // in order of first appearance
  std::vector<RuleOperand> inputs;
  std::vector<RuleOperand> outputs;
  bool operator==(const ShardingRule&) const = default;
};

// Throws InputError with `place` and the column: two arrows, unbalanced brackets, a factor twice in one operand,
// two different marks on one factor, an unknown character.
ShardingRule parse_rule(std::string_view text, const std::string& place);

// The canonical text: marks at the first occurrence; parse_rule(print_rule(r)) == r.
std::string print_rule(const ShardingRule& rule);

// Where a factor stands.
bool contains(const RuleOperand& operand, FactorId factor);
bool in_inputs(const ShardingRule& rule, FactorId factor);
bool in_outputs(const ShardingRule& rule, FactorId factor);

// "Y, W -> X": the rule of the gradient of input `input` of a multilinear op: the result's operand and the other
// inputs to that input, with the same factors. Shapes the gradient's own GEMM.
ShardingRule gradient_rule(const ShardingRule& rule, std::size_t input);

}  // namespace meshloom
