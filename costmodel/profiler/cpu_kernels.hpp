// The processor's kernels, in 32-bit floats: matrix products by OpenBLAS, everything else as loops that the compiler
// turns into vector instructions of the machine at hand. The profiler measures them and a training step
// (graph_step.hpp) runs them: one source, so that the one predicts the other.
//
// Matrices are row-major; `Rows` are `count` rows of `width` neighbouring floats. Buffers are as long as the shapes
// say.
#pragma once

#include <cstdint>

namespace meshloom {

// Whether a kernel overwrites its result or adds to it, as the second gradient that reaches a tensor does.
enum class Store { write, add };

struct Rows {
  std::int64_t count = 1, width = 1;
  std::int64_t elements() const { return count * width; }
};

// One operand of a batched matrix product. `leading`: elements from one stored row to the next; `stride`: from one
// matrix of the batch to the next.
struct MatrixOperand {
  bool transposed = false;
  std::int64_t leading = 1, stride = 0;
  bool operator==(const MatrixOperand&) const = default;
};
// c[m, n] = a[m, k] · b[k, n], `batch` times.
struct MatrixProduct {
  std::int64_t batch = 1, m = 1, n = 1, k = 1;
  MatrixOperand a, b, c;  // c is not transposed
  bool operator==(const MatrixProduct&) const = default;
};
// Dense operands, one matrix after the other.
MatrixProduct dense_product(std::int64_t batch, std::int64_t m, std::int64_t n, std::int64_t k);
void multiply_matrices(const MatrixProduct& shape, const float* a, const float* b, float* c, Store store);
void set_blas_threads(int threads);
const char* blas_configuration();

// y = a + b, elementwise.
void add(std::int64_t count, const float* a, const float* b, float* y);
// y = x + bias, the bias the same in each row; its gradient is the sum over the rows.
void add_bias(Rows rows, const float* x, const float* bias, float* y);
void sum_rows(Rows rows, const float* dy, float* dbias, Store store);
// sums[i] is the sum over row i, and back: dx of row i is dy[i].
void sum_columns(Rows rows, const float* x, float* sums);
void repeat_columns(Rows rows, const float* dy, float* dx, Store store);
// y = factor · x.
void scale(std::int64_t count, float factor, const float* x, float* y, Store store);
void multiply(std::int64_t count, const float* a, const float* b, float* y, Store store);

enum class ActivationKernel { gelu, relu, silu };  // gelu by its tanh formula [Hendrycks & Gimpel 2016]
void activate(ActivationKernel kind, std::int64_t count, const float* x, float* y);
// `saved` is x, for relu y.
void activate_backward(ActivationKernel kind, std::int64_t count, const float* saved, const float* dy, float* dx,
                       Store store);

void softmax(Rows rows, const float* x, float* y);
void softmax_backward(Rows rows, const float* y, const float* dy, float* dx, Store store);

// statistics: two floats a row, mean and reciprocal deviation.
void layer_norm(Rows rows, const float* x, const float* weight, const float* bias, float* y, float* statistics);
// dbias: of layer_norm.
struct NormGradients {
  float* dx;
  float* dweight;
  float* dbias;
};
void layer_norm_backward(Rows rows, const float* x, const float* weight, const float* statistics, const float* dy,
                         const NormGradients& gradients, Store store_dx, Store store_parameters);
// statistics: one float a row, the reciprocal root mean square.
void rms_norm(Rows rows, const float* x, const float* weight, float* y, float* statistics);
void rms_norm_backward(Rows rows, const float* x, const float* weight, const float* statistics, const float* dy,
                       const NormGradients& gradients, Store store_dx, Store store_parameters);

// Rotates the pairs (i, i + width/2) of each row by position · 10000^(−2i/width); `heads` neighbouring rows have one
// position, and positions begin again after `positions`.
struct RotaryShape {
  std::int64_t positions = 1, heads = 1;
};
void rotary(Rows rows, RotaryShape shape, const float* x, float* y, Store store);
void rotary_backward(Rows rows, RotaryShape shape, const float* dy, float* dx, Store store);

// Keeps each element with probability 0.9, times 1/0.9; the mask is a byte an element.
void dropout(std::int64_t count, std::uint32_t seed, const float* x, float* y, std::uint8_t* mask);
void dropout_backward(std::int64_t count, const std::uint8_t* mask, const float* dy, float* dx, Store store);

// rows.width: classes. statistics: maximum and sum of exponentials, two floats a row.
void cross_entropy(Rows rows, const float* logits, const std::int32_t* labels, float* loss, float* statistics);
void cross_entropy_backward(Rows rows, const float* logits, const std::int32_t* labels, const float* statistics,
                            const float* dloss, float* dlogits, Store store);

// y[i] = table[indices[i]]; back: the table's rows grow by those of dy.
void gather(Rows rows, const float* table, const std::int32_t* indices, float* y);
void scatter_add(Rows rows, const std::int32_t* indices, const float* dy, float* dtable);

// Query [b, s, heads, d], keys and values [b, t, key_heads, d]; each key head serves heads/key_heads query heads.
struct AttentionShape {
  std::int64_t batch = 1, heads = 1, key_heads = 1, queries = 1, keys = 1, head_size = 1;
  bool causal = false;  // query i sees keys up to i + keys − queries
  std::int64_t query_elements() const { return batch * heads * queries * head_size; }
  std::int64_t key_elements() const { return batch * key_heads * keys * head_size; }
  std::int64_t rows() const { return batch * heads * queries; }
  bool operator==(const AttentionShape&) const = default;
};
struct AttentionInputs {
  const float* query;
  const float* key;
  const float* value;
};
// Computed in blocks of queries whose scores stay in the cache; `log_sums`: a float a row, for the backward.
void attention(const AttentionShape& shape, const AttentionInputs& inputs, float* output, float* log_sums);
struct AttentionGradients {
  float* query;
  float* key;
  float* value;
};
// Computes the shares again from the log-sums. The gradients are overwritten.
void attention_backward(const AttentionShape& shape, const AttentionInputs& inputs, const float* output,
                        const float* log_sums, const float* doutput, const AttentionGradients& gradients);

// Adam with bias correction left to `rate`: reads parameter, gradient and both moments, writes all but the gradient.
void adam(std::int64_t count, float rate, const float* gradient, float* parameter, float* first, float* second);

void copy(std::int64_t count, const float* x, float* y);
// y = a + 3·b [McCalpin's STREAM].
void triad(std::int64_t count, const float* a, const float* b, float* y);

}  // namespace meshloom
