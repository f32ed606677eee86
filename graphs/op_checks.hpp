// What an op's kind demands of its rule: how many operands, which factors may be summed over, which marks mean
// something.
#pragma once

#include <string>

#include "graphs/graph.hpp"
#include "graphs/op_kind.hpp"
#include "graphs/sharding_rule.hpp"

namespace meshloom {

// Throws InputError at `place` with the remedy. Checked: operand counts; a bare reduction only on einsum, conv, sum and
// gather (rows of the table, and rows summed); a factor that no input has only on broadcast, concat and custom; `~`
// only on kinds with an inner collective, `^` only on conv; kinds that combine whole rows (softmax, norms, attention,
// cross_entropy) mark the row.
void check_rule(const ShardingRule& rule, OpKind kind, const std::string& place);

// A concat's result has one dimension of its own, whole, whose size is the sum over the operands of what the result
// lacks. Throws InputError at `place`.
void check_concatenation(const ShardingRule& rule, const std::vector<Extent>& sizes, const std::string& place);

}  // namespace meshloom
