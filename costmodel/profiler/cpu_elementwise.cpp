#include <algorithm>
#include <cmath>
#include <cstring>

#include "costmodel/profiler/cpu_kernels.hpp"
#include "costmodel/profiler/cpu_vectors.hpp"

namespace meshloom {
namespace {

// Where a kernel's result goes: overwriting it or adding to it, decided once, so that the loops stay free of branches.
struct Writing {
  static void put(float& place, float value) { place = value; }
};
struct Adding {
  static void put(float& place, float value) { place += value; }
};

// 0.5·x·(1 + tanh(u)) = x·σ(2u), u = √(2/π)·(x + 0.044715·x³).
__attribute__((always_inline)) inline float gelu_share(float x) {
  const float u = 0.7978845608F * (x + 0.044715F * x * x * x);
  return 1.0F / (1.0F + vector_exp(-2.0F * u));
}
__attribute__((always_inline)) inline float gelu_slope(float x) {
  const float share = gelu_share(x);
  const float du = 0.7978845608F * (1.0F + 3.0F * 0.044715F * x * x);
  return share + 2.0F * x * share * (1.0F - share) * du;
}
__attribute__((always_inline)) inline float sigmoid(float x) { return 1.0F / (1.0F + vector_exp(-x)); }

template <typename Put>
__attribute__((always_inline)) inline void backward_loop(ActivationKernel kind, std::int64_t count, const float* saved,
                                                         const float* dy, float* dx) {
  switch (kind) {
    case ActivationKernel::gelu:
      for (std::int64_t i = 0; i < count; ++i) Put::put(dx[i], dy[i] * gelu_slope(saved[i]));
      return;
    case ActivationKernel::relu:
      for (std::int64_t i = 0; i < count; ++i) Put::put(dx[i], saved[i] > 0 ? dy[i] : 0.0F);
      return;
    case ActivationKernel::silu:
      for (std::int64_t i = 0; i < count; ++i) {
        const float share = sigmoid(saved[i]);
        Put::put(dx[i], dy[i] * share * (1.0F + saved[i] * (1.0F - share)));
      }
      return;
  }
}

// A number in [0, 2³²) from a position: two rounds of multiply and fold.
__attribute__((always_inline)) inline std::uint32_t scrambled(std::uint32_t value) {
  value ^= value >> 16;
  value *= 0x7feb352dU;
  value ^= value >> 15;
  value *= 0x846ca68bU;
  return value ^ (value >> 16);
}

constexpr float kept_share = 0.9F;

}  // namespace

MESHLOOM_VECTOR_VARIANTS
void add(std::int64_t count, const float* a, const float* b, float* y) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
}

MESHLOOM_VECTOR_VARIANTS
void add_bias(Rows rows, const float* x, const float* bias, float* y) {
  for (std::int64_t r = 0; r < rows.count; ++r)
    for (std::int64_t i = 0; i < rows.width; ++i) y[r * rows.width + i] = x[r * rows.width + i] + bias[i];
}

MESHLOOM_VECTOR_VARIANTS
void sum_rows(Rows rows, const float* dy, float* dbias, Store store) {
  if (store == Store::write) std::fill(dbias, dbias + rows.width, 0.0F);
  for (std::int64_t r = 0; r < rows.count; ++r)
    for (std::int64_t i = 0; i < rows.width; ++i) dbias[i] += dy[r * rows.width + i];
}

MESHLOOM_VECTOR_VARIANTS
void sum_columns(Rows rows, const float* x, float* sums) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    float sum = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) sum += x[r * rows.width + i];
    sums[r] = sum;
  }
}

MESHLOOM_VECTOR_VARIANTS
void repeat_columns(Rows rows, const float* dy, float* dx, Store store) {
  for (std::int64_t r = 0; r < rows.count; ++r)
    if (store == Store::write)
      for (std::int64_t i = 0; i < rows.width; ++i) dx[r * rows.width + i] = dy[r];
    else
      for (std::int64_t i = 0; i < rows.width; ++i) dx[r * rows.width + i] += dy[r];
}

MESHLOOM_VECTOR_VARIANTS
void scale(std::int64_t count, float factor, const float* x, float* y, Store store) {
  if (store == Store::write)
    for (std::int64_t i = 0; i < count; ++i) y[i] = factor * x[i];
  else
    for (std::int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

MESHLOOM_VECTOR_VARIANTS
void multiply(std::int64_t count, const float* a, const float* b, float* y, Store store) {
  if (store == Store::write)
    for (std::int64_t i = 0; i < count; ++i) y[i] = a[i] * b[i];
  else
    for (std::int64_t i = 0; i < count; ++i) y[i] += a[i] * b[i];
}

MESHLOOM_VECTOR_VARIANTS
void activate(ActivationKernel kind, std::int64_t count, const float* x, float* y) {
  switch (kind) {
    case ActivationKernel::gelu:
      for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] * gelu_share(x[i]);
      return;
    case ActivationKernel::relu:
      for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] > 0 ? x[i] : 0.0F;
      return;
    case ActivationKernel::silu:
      for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] * sigmoid(x[i]);
      return;
  }
}

MESHLOOM_VECTOR_VARIANTS
void activate_backward(ActivationKernel kind, std::int64_t count, const float* saved, const float* dy, float* dx,
                       Store store) {
  if (store == Store::write)
    backward_loop<Writing>(kind, count, saved, dy, dx);
  else
    backward_loop<Adding>(kind, count, saved, dy, dx);
}

MESHLOOM_VECTOR_VARIANTS
void dropout(std::int64_t count, std::uint32_t seed, const float* x, float* y, std::uint8_t* mask) {
  constexpr auto bound = static_cast<std::uint32_t>(kept_share * 4294967295.0);
  for (std::int64_t i = 0; i < count; ++i) {
    const bool kept = scrambled(static_cast<std::uint32_t>(i) + seed) <= bound;
    mask[i] = kept ? 1 : 0;
    y[i] = kept ? x[i] * (1.0F / kept_share) : 0.0F;
  }
}

MESHLOOM_VECTOR_VARIANTS
void dropout_backward(std::int64_t count, const std::uint8_t* mask, const float* dy, float* dx, Store store) {
  if (store == Store::write)
    for (std::int64_t i = 0; i < count; ++i) dx[i] = dy[i] * (static_cast<float>(mask[i]) * (1.0F / kept_share));
  else
    for (std::int64_t i = 0; i < count; ++i) dx[i] += dy[i] * (static_cast<float>(mask[i]) * (1.0F / kept_share));
}

void gather(Rows rows, const float* table, const std::int32_t* indices, float* y) {
  for (std::int64_t r = 0; r < rows.count; ++r)
    std::memcpy(y + r * rows.width, table + indices[r] * rows.width, sizeof(float) * rows.width);
}

MESHLOOM_VECTOR_VARIANTS
void scatter_add(Rows rows, const std::int32_t* indices, const float* dy, float* dtable) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    float* const row = dtable + indices[r] * rows.width;
    for (std::int64_t i = 0; i < rows.width; ++i) row[i] += dy[r * rows.width + i];
  }
}

MESHLOOM_VECTOR_VARIANTS
void adam(std::int64_t count, float rate, const float* gradient, float* parameter, float* first, float* second) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i];
    first[i] = 0.9F * first[i] + 0.1F * g;
    second[i] = 0.999F * second[i] + 0.001F * g * g;
    parameter[i] -= rate * first[i] / (std::sqrt(second[i]) + 1e-8F);
  }
}

MESHLOOM_VECTOR_VARIANTS
void copy(std::int64_t count, const float* x, float* y) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = x[i];
}

MESHLOOM_VECTOR_VARIANTS
void triad(std::int64_t count, const float* a, const float* b, float* y) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = a[i] + 3.0F * b[i];
}

}  // namespace meshloom
