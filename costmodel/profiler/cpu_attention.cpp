#include <algorithm>
#include <cmath>
#include <vector>

#include "costmodel/profiler/cpu_kernels.hpp"
#include "costmodel/profiler/cpu_vectors.hpp"

namespace meshloom {
namespace {

// Scores of one block of queries: half a megabyte stays in a core's second-level cache.
constexpr std::int64_t block_scores = 131'072;

// Where one head of one sample begins, and from one position to the next.
struct HeadViews {
  std::int64_t query, key;  // offsets
  std::int64_t query_leading, key_leading;
};

HeadViews head_views(const AttentionShape& shape, std::int64_t sample, std::int64_t head) {
  const std::int64_t key_head = head / (shape.heads / shape.key_heads);
  const std::int64_t query_leading = shape.heads * shape.head_size, key_leading = shape.key_heads * shape.head_size;
  return {sample * shape.queries * query_leading + head * shape.head_size,
          sample * shape.keys * key_leading + key_head * shape.head_size, query_leading, key_leading};
}

struct QueryBlock {
  std::int64_t first, count;
  std::int64_t keys;  // that its last query sees
};

template <typename Visit>
void for_each_block(const AttentionShape& shape, const Visit& visit) {
  const std::int64_t size = std::clamp<std::int64_t>(block_scores / shape.keys, 16, shape.queries < 16 ? 16 : 256);
  for (std::int64_t first = 0; first < shape.queries; first += size) {
    const std::int64_t count = std::min(size, shape.queries - first);
    const std::int64_t seen = first + count + shape.keys - shape.queries;
    visit(QueryBlock{first, count, shape.causal ? std::clamp<std::int64_t>(seen, 1, shape.keys) : shape.keys});
  }
}

std::int64_t keys_seen(const AttentionShape& shape, const QueryBlock& block, std::int64_t row) {
  if (!shape.causal) return block.keys;
  return std::clamp<std::int64_t>(block.first + row + 1 + shape.keys - shape.queries, 1, block.keys);
}

MatrixProduct block_product(std::int64_t m, std::int64_t n, std::int64_t k, MatrixOperand a, MatrixOperand b,
                            std::int64_t c_leading) {
  return {1, m, n, k, a, b, {false, c_leading, 0}};
}

// Turns scores into shares, one row; what comes after the keys seen becomes zero.
MESHLOOM_VECTOR_VARIANTS
float shares_of_row(std::int64_t seen, std::int64_t width, float factor, float* row) {
  float maximum = row[0];
  for (std::int64_t i = 1; i < seen; ++i) maximum = row[i] > maximum ? row[i] : maximum;
  float sum = 0;
  for (std::int64_t i = 0; i < seen; ++i) {
    row[i] = vector_exp((row[i] - maximum) * factor);
    sum += row[i];
  }
  const float share = 1.0F / sum;
  for (std::int64_t i = 0; i < seen; ++i) row[i] *= share;
  std::fill(row + seen, row + width, 0.0F);
  return maximum * factor + std::log(sum);
}

// From scores and the log-sum to shares, and from their gradient to that of the scores.
MESHLOOM_VECTOR_VARIANTS
void slopes_of_row(std::int64_t seen, std::int64_t width, float factor, float log_sum, float dot, float* shares,
                   float* slopes) {
  for (std::int64_t i = 0; i < seen; ++i) {
    shares[i] = vector_exp(shares[i] * factor - log_sum);
    slopes[i] = shares[i] * (slopes[i] - dot) * factor;
  }
  std::fill(shares + seen, shares + width, 0.0F);
  std::fill(slopes + seen, slopes + width, 0.0F);
}

MESHLOOM_VECTOR_VARIANTS
float dot_product(std::int64_t count, const float* a, const float* b) {
  float sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

float score_factor(const AttentionShape& shape) { return 1.0F / std::sqrt(static_cast<float>(shape.head_size)); }

void forward_block(const AttentionShape& shape, const AttentionInputs& inputs, const HeadViews& at,
                   const QueryBlock& block, std::vector<float>& scores, float* output, float* log_sums) {
  const std::int64_t rows = at.query + block.first * at.query_leading, d = shape.head_size;
  multiply_matrices(
      block_product(block.count, block.keys, d, {false, at.query_leading}, {true, at.key_leading}, block.keys),
      inputs.query + rows, inputs.key + at.key, scores.data(), Store::write);
  for (std::int64_t r = 0; r < block.count; ++r)
    log_sums[block.first + r] =
        shares_of_row(keys_seen(shape, block, r), block.keys, score_factor(shape), scores.data() + r * block.keys);
  multiply_matrices(
      block_product(block.count, d, block.keys, {false, block.keys}, {false, at.key_leading}, at.query_leading),
      scores.data(), inputs.value + at.key, output + rows, Store::write);
}

struct BackwardOperands {
  const AttentionInputs& inputs;
  const float* output;
  const float* doutput;
  const AttentionGradients& gradients;
};

void backward_block(const AttentionShape& shape, const BackwardOperands& of, const HeadViews& at,
                    const QueryBlock& block, const float* log_sums, std::vector<float>& shares,
                    std::vector<float>& slopes) {
  const std::int64_t rows = at.query + block.first * at.query_leading, d = shape.head_size;
  const MatrixOperand queries{false, at.query_leading}, keys{false, at.key_leading}, keys_across{true, at.key_leading};
  const MatrixOperand scores{false, block.keys}, scores_across{true, block.keys};
  const MatrixProduct to_scores = block_product(block.count, block.keys, d, queries, keys_across, block.keys);
  multiply_matrices(to_scores, of.inputs.query + rows, of.inputs.key + at.key, shares.data(), Store::write);
  multiply_matrices(to_scores, of.doutput + rows, of.inputs.value + at.key, slopes.data(), Store::write);
  for (std::int64_t r = 0; r < block.count; ++r) {
    const std::int64_t row = rows + r * at.query_leading;
    slopes_of_row(keys_seen(shape, block, r), block.keys, score_factor(shape), log_sums[block.first + r],
                  dot_product(d, of.output + row, of.doutput + row), shares.data() + r * block.keys,
                  slopes.data() + r * block.keys);
  }
  const MatrixProduct to_keys = block_product(block.keys, d, block.count, scores_across, queries, at.key_leading);
  multiply_matrices(to_keys, shares.data(), of.doutput + rows, of.gradients.value + at.key, Store::add);
  multiply_matrices(to_keys, slopes.data(), of.inputs.query + rows, of.gradients.key + at.key, Store::add);
  multiply_matrices(block_product(block.count, d, block.keys, scores, keys, at.query_leading), slopes.data(),
                    of.inputs.key + at.key, of.gradients.query + rows, Store::write);
}

std::vector<float>& scratch(std::size_t which, std::int64_t size) {
  thread_local std::vector<float> buffers[2];
  if (buffers[which].size() < static_cast<std::size_t>(size)) buffers[which].resize(size);
  return buffers[which];
}

std::int64_t scratch_size(const AttentionShape& shape) { return std::max<std::int64_t>(block_scores, 16 * shape.keys); }

}  // namespace

void attention(const AttentionShape& shape, const AttentionInputs& inputs, float* output, float* log_sums) {
  std::vector<float>& scores = scratch(0, scratch_size(shape));
  for (std::int64_t b = 0; b < shape.batch; ++b)
    for (std::int64_t h = 0; h < shape.heads; ++h)
      for_each_block(shape, [&](const QueryBlock& block) {
        forward_block(shape, inputs, head_views(shape, b, h), block, scores, output,
                      log_sums + (b * shape.heads + h) * shape.queries);
      });
}

void attention_backward(const AttentionShape& shape, const AttentionInputs& inputs, const float* output,
                        const float* log_sums, const float* doutput, const AttentionGradients& gradients) {
  std::fill(gradients.key, gradients.key + shape.key_elements(), 0.0F);
  std::fill(gradients.value, gradients.value + shape.key_elements(), 0.0F);
  std::vector<float>& shares = scratch(0, scratch_size(shape));
  std::vector<float>& slopes = scratch(1, scratch_size(shape));
  const BackwardOperands operands{inputs, output, doutput, gradients};
  for (std::int64_t b = 0; b < shape.batch; ++b)
    for (std::int64_t h = 0; h < shape.heads; ++h)
      for_each_block(shape, [&](const QueryBlock& block) {
        backward_block(shape, operands, head_views(shape, b, h), block,
                       log_sums + (b * shape.heads + h) * shape.queries, shares, slopes);
      });
}

}  // namespace meshloom
