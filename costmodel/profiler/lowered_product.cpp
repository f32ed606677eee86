#include "costmodel/profiler/lowered_product.hpp"

#include <algorithm>
#include <utility>

namespace meshloom {
namespace {

// Where a factor lies in each operand: elements from one value to the next, 0 where it is absent.
struct PlacedFactor {
  std::int64_t size = 1, a = 0, b = 0, c = 0;
};

std::vector<std::int64_t> strides_in(const RuleOperand& operand, std::span<const std::int64_t> sizes) {
  std::vector<std::int64_t> strides(sizes.size(), 0);
  std::int64_t stride = 1;
  for (auto dimension = operand.rbegin(); dimension != operand.rend(); ++dimension)
    for (auto factor = dimension->rbegin(); factor != dimension->rend(); ++factor) {
      strides[index(*factor)] = stride;
      stride *= sizes[index(*factor)];
    }
  return strides;
}

struct Roles {
  std::vector<PlacedFactor> batch, rows, columns, depth;
};

std::optional<Roles> roles_of(const RuleOperand& a, const RuleOperand& b, const RuleOperand& c,
                              std::span<const std::int64_t> sizes) {
  const auto in_a = strides_in(a, sizes), in_b = strides_in(b, sizes), in_c = strides_in(c, sizes);
  Roles roles;
  for (std::size_t f = 0; f < sizes.size(); ++f) {
    if (sizes[f] == 1) continue;
    const PlacedFactor placed{sizes[f], in_a[f], in_b[f], in_c[f]};
    const bool of_a = placed.a > 0, of_b = placed.b > 0, of_c = placed.c > 0;
    if (of_a && of_b) {
      (of_c ? roles.batch : roles.depth).push_back(placed);
    } else if (of_c && (of_a || of_b)) {
      (of_a ? roles.rows : roles.columns).push_back(placed);
    } else {
      return std::nullopt;
    }
  }
  return roles;
}

// Factors that lie behind each other wherever they are, major first, are one.
void merge_neighbours(std::vector<PlacedFactor>& factors) {
  std::stable_sort(factors.begin(), factors.end(), [](const PlacedFactor& one, const PlacedFactor& other) {
    return std::max(one.a, one.b) > std::max(other.a, other.b);
  });
  for (std::size_t i = 0; i + 1 < factors.size();) {
    const PlacedFactor major = factors[i], minor = factors[i + 1];
    if (major.a == minor.a * minor.size && major.b == minor.b * minor.size && major.c == minor.c * minor.size) {
      factors[i] = {major.size * minor.size, minor.a, minor.b, minor.c};
      factors.erase(factors.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    } else {
      ++i;
    }
  }
}

std::optional<PlacedFactor> single(std::vector<PlacedFactor> factors) {
  merge_neighbours(factors);
  if (factors.size() > 1) return std::nullopt;
  return factors.empty() ? PlacedFactor{} : factors.front();
}

// A matrix whose rows and columns have these strides; a size of 1 has any stride.
std::optional<MatrixOperand> matrix(std::int64_t rows, std::int64_t row_stride, std::int64_t columns,
                                    std::int64_t column_stride) {
  if (columns == 1 || column_stride == 1) return MatrixOperand{false, rows == 1 ? columns : row_stride, 0};
  if (rows == 1 || row_stride == 1) return MatrixOperand{true, columns == 1 ? rows : column_stride, 0};
  return std::nullopt;
}

}  // namespace

std::optional<LoweredProduct> lower_product(const RuleOperand& a, const RuleOperand& b, const RuleOperand& c,
                                            std::span<const std::int64_t> sizes) {
  const std::optional<Roles> roles = roles_of(a, b, c, sizes);
  if (!roles) return std::nullopt;
  const auto rows = single(roles->rows), columns = single(roles->columns), depth = single(roles->depth);
  if (!rows || !columns || !depth) return std::nullopt;
  // A transposed result is the product of the other two, exchanged.
  const bool swapped = columns->size > 1 && columns->c != 1;
  if (swapped && rows->c != 1 && rows->size > 1) return std::nullopt;
  const auto first = swapped ? matrix(columns->size, columns->b, depth->size, depth->b)
                             : matrix(rows->size, rows->a, depth->size, depth->a);
  const auto second = swapped ? matrix(depth->size, depth->a, rows->size, rows->a)
                              : matrix(depth->size, depth->b, columns->size, columns->b);
  const auto result = swapped ? matrix(columns->size, columns->c, rows->size, rows->c)
                              : matrix(rows->size, rows->c, columns->size, columns->c);
  if (!first || !second || !result || result->transposed) return std::nullopt;

  LoweredProduct lowered;
  lowered.swapped = swapped;
  lowered.product = {
      1,      swapped ? columns->size : rows->size, swapped ? rows->size : columns->size, depth->size, *first, *second,
      *result};
  std::vector<PlacedFactor> batch = roles->batch;
  merge_neighbours(batch);
  if (!batch.empty()) {
    const PlacedFactor inner = batch.back();
    lowered.product.batch = inner.size;
    lowered.product.a.stride = swapped ? inner.b : inner.a;
    lowered.product.b.stride = swapped ? inner.a : inner.b;
    lowered.product.c.stride = inner.c;
    for (std::size_t i = 0; i + 1 < batch.size(); ++i)
      lowered.loops.push_back(
          {batch[i].size, swapped ? batch[i].b : batch[i].a, swapped ? batch[i].a : batch[i].b, batch[i].c});
  }
  return lowered;
}

namespace {

void run_loops(const LoweredProduct& lowered, std::size_t depth, const float* a, const float* b, float* c,
               Store store) {
  if (depth == lowered.loops.size()) return multiply_matrices(lowered.product, a, b, c, store);
  const OuterLoop& loop = lowered.loops[depth];
  for (std::int64_t i = 0; i < loop.count; ++i)
    run_loops(lowered, depth + 1, a + i * loop.a, b + i * loop.b, c + i * loop.c, store);
}

}  // namespace

void run_product(const LoweredProduct& lowered, const float* a, const float* b, float* c, Store store) {
  if (lowered.swapped) std::swap(a, b);
  run_loops(lowered, 0, a, b, c, store);
}

}  // namespace meshloom
