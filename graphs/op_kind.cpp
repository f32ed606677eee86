#include "graphs/op_kind.hpp"

#include <algorithm>
#include <array>

namespace meshloom {
namespace {

// Costs of joint backward kernels are traffic ratios, tensors moved by the backward over tensors moved by the forward:
// an elementwise forward reads x and writes y (2); its backward reads what it saved and dy and writes dx (3), thus 1.5.
//
// In the order of OpKind.
constexpr std::array<OpKindTraits, 23> table{{
    // name, multilinear, by FLOPs, reads inputs, outputs, extra per element, per row, backward, inner forward, backward

    // dX of X, W -> Y is an einsum of dY and W, and likewise for W: each gradient reads the other operands.
    {"einsum", true, true, true, false, 0, 0, 0, 0, 0},
    {"conv", true, true, true, false, 0, 0, 0, 0, 0},
    // dX is dY, broadcast: reads nothing.
    {"sum", true, false, false, false, 0, 0, 0, 0, 0},
    // The table's gradient adds rows of dY at the indices: reads the indices alone.
    {"gather", true, false, true, false, 0, 0, 0, 0, 0},
    // The same move back, the sum of what was repeated, dY or its sum, dY times the constant: these read nothing.
    {"reshape", true, false, false, false, 0, 0, 0, 0, 0},
    {"broadcast", true, false, false, false, 0, 0, 0, 0, 0},
    {"add", true, false, false, false, 0, 0, 0, 0, 0},
    {"scale", true, false, false, false, 0, 0, 0, 0, 0},

    // da = b·dy and db = a·dy: reads both operands. Forward moves 3 tensors, backward 5 (a, b, dy, da, db).
    {"multiply", false, false, true, false, 0, 0, 5.0 / 3, 0, 0},
    // The slope is a function of x that y does not determine (gelu and silu are not monotonic).
    {"gelu", false, false, true, false, 0, 0, 1.5, 0, 0},
    // The slope is 1 exactly where y > 0, so the output serves and the input need not stay.
    {"relu", false, false, false, true, 0, 0, 1.5, 0, 0},
    {"silu", false, false, true, false, 0, 0, 1.5, 0, 0},
    // dx = y·(dy − Σ y·dy): reads the output alone. Sharded: forward the rows' maximum, then the sum of exponentials
    // (the sum needs the maximum, so two messages); backward Σ y·dy.
    {"softmax", false, false, false, true, 0, 0, 1.5, 2, 1},
    // Reads x, mean and reciprocal deviation (two floats a row). One pass over x and dy gives dx and the parameters'
    // partial sums. Sharded: Σ x and Σ x² travel in one message; so do the backward's two sums.
    {"layer_norm", false, false, true, false, 0, 8, 1.5, 1, 1},
    // As layer_norm without the mean: one float a row.
    {"rms_norm", false, false, true, false, 0, 4, 1.5, 1, 1},
    // As layer_norm, over samples and positions; a row is a channel. Its statistics come from a pass of their own: x
    // twice and y against x and dy twice and dx.
    {"batch_norm", false, false, true, false, 0, 8, 5.0 / 3, 1, 1},
    // A rotation by angles that depend on the position only: its transpose, with angles computed again; reads nothing.
    {"rotary", false, false, false, false, 0, 0, 1, 0, 0},
    // Each operand's gradient is a slice of dy, summed over what was repeated: reads nothing. The same bytes back.
    {"concat", false, false, false, false, 0, 0, 1, 0, 0},
    // dx = dy·mask/(1−p); one byte for each element of the mask. Both passes move two tensors.
    {"dropout", false, false, false, false, 1, 0, 1, 0, 0},
    // Which element was the largest is found again from x and y: moves x, y, dy, dx against x and y.
    {"max_pool", false, false, true, true, 0, 0, 2, 0, 0},
    // Computes the probabilities again from query, key and the log-sum-exp (a float a row); reads the output for
    // Σ dy·y. Five matrix products against the forward's two: 2.5 [Dao 2023, FlashAttention-2, §3.1].
    {"attention", false, true, true, true, 0, 4, 2.5, 0, 0},
    // dlogits = softmax − one-hot: reads the logits, in the dtype they have, with maximum and sum of exponentials (two
    // floats a row), and the labels. Forward reads the logits, backward reads and writes: 2. Sharded: forward the
    // maximum, then the sum and the target's logit in one message; the backward has all it needs on each device.
    {"cross_entropy", false, false, true, false, 0, 8, 2, 2, 0},
    // Nothing is known: all inputs are kept; the op states its backward_cost.
    {"custom", false, false, true, false, 0, 0, 1, 0, 0},
}};
static_assert(table[static_cast<std::size_t>(OpKind::custom)].name == "custom");

}  // namespace

const OpKindTraits& traits(OpKind kind) { return table[static_cast<std::size_t>(kind)]; }

std::optional<OpKind> op_kind_named(std::string_view name) {
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const OpKindTraits& row) { return row.name == name; });
  if (found == table.end()) return std::nullopt;
  return static_cast<OpKind>(found - table.begin());
}

std::vector<std::string> op_kind_names() {
  std::vector<std::string> names;
  for (const OpKindTraits& row : table) names.emplace_back(row.name);
  return names;
}

}  // namespace meshloom
