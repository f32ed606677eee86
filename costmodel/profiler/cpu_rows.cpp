#include <algorithm>
#include <cmath>
#include <deque>
#include <vector>

#include "costmodel/profiler/cpu_kernels.hpp"
#include "costmodel/profiler/cpu_vectors.hpp"

namespace meshloom {
namespace {

constexpr float epsilon = 1e-5F;

struct RowNumbers {
  float maximum, sum;
};

// The maximum of a row and the sum of its exponentials over it.
__attribute__((always_inline)) inline RowNumbers exponentials(const float* row, std::int64_t width) {
  float maximum = row[0];
  for (std::int64_t i = 1; i < width; ++i) maximum = row[i] > maximum ? row[i] : maximum;
  float sum = 0;
  for (std::int64_t i = 0; i < width; ++i) sum += vector_exp(row[i] - maximum);
  return {maximum, sum};
}

void clear_for(Store store, std::int64_t count, float* values) {
  if (store == Store::write) std::fill(values, values + count, 0.0F);
}

// place = value or place += value; the branch is the same for a whole loop and leaves it.
__attribute__((always_inline)) inline void put(Store store, float& place, float value) {
  if (store == Store::write)
    place = value;
  else
    place += value;
}

}  // namespace

MESHLOOM_VECTOR_VARIANTS
void softmax(Rows rows, const float* x, float* y) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const float* const in = x + r * rows.width;
    float* const out = y + r * rows.width;
    float maximum = in[0];
    for (std::int64_t i = 1; i < rows.width; ++i) maximum = in[i] > maximum ? in[i] : maximum;
    float sum = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) {
      out[i] = vector_exp(in[i] - maximum);
      sum += out[i];
    }
    const float factor = 1.0F / sum;
    for (std::int64_t i = 0; i < rows.width; ++i) out[i] *= factor;
  }
}

MESHLOOM_VECTOR_VARIANTS
void softmax_backward(Rows rows, const float* y, const float* dy, float* dx, Store store) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t at = r * rows.width;
    float dot = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) dot += y[at + i] * dy[at + i];
    for (std::int64_t i = 0; i < rows.width; ++i) put(store, dx[at + i], y[at + i] * (dy[at + i] - dot));
  }
}

MESHLOOM_VECTOR_VARIANTS
void layer_norm(Rows rows, const float* x, const float* weight, const float* bias, float* y, float* statistics) {
  const float width = static_cast<float>(rows.width);
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const float* const in = x + r * rows.width;
    float* const out = y + r * rows.width;
    float sum = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) sum += in[i];
    const float mean = sum / width;
    float squares = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) squares += (in[i] - mean) * (in[i] - mean);
    const float factor = 1.0F / std::sqrt(squares / width + epsilon);
    statistics[2 * r] = mean;
    statistics[2 * r + 1] = factor;
    for (std::int64_t i = 0; i < rows.width; ++i) out[i] = (in[i] - mean) * factor * weight[i] + bias[i];
  }
}

MESHLOOM_VECTOR_VARIANTS
void layer_norm_backward(Rows rows, const float* x, const float* weight, const float* statistics, const float* dy,
                         const NormGradients& gradients, Store store_dx, Store store_parameters) {
  clear_for(store_parameters, rows.width, gradients.dweight);
  clear_for(store_parameters, rows.width, gradients.dbias);
  const float width = static_cast<float>(rows.width);
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const float* const in = x + r * rows.width;
    const float* const slope = dy + r * rows.width;
    float* const dx = gradients.dx + r * rows.width;
    float* const dweight = gradients.dweight;
    float* const dbias = gradients.dbias;
    const float mean = statistics[2 * r], factor = statistics[2 * r + 1];
    float sum = 0, product = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) {
      const float normalised = (in[i] - mean) * factor;
      const float scaled = slope[i] * weight[i];
      sum += scaled;
      product += scaled * normalised;
      dweight[i] += slope[i] * normalised;
      dbias[i] += slope[i];
    }
    const float a = sum / width, b = product / width;
    for (std::int64_t i = 0; i < rows.width; ++i)
      put(store_dx, dx[i], factor * (slope[i] * weight[i] - a - (in[i] - mean) * factor * b));
  }
}

MESHLOOM_VECTOR_VARIANTS
void rms_norm(Rows rows, const float* x, const float* weight, float* y, float* statistics) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const float* const in = x + r * rows.width;
    float squares = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) squares += in[i] * in[i];
    const float factor = 1.0F / std::sqrt(squares / static_cast<float>(rows.width) + epsilon);
    statistics[r] = factor;
    for (std::int64_t i = 0; i < rows.width; ++i) y[r * rows.width + i] = in[i] * factor * weight[i];
  }
}

MESHLOOM_VECTOR_VARIANTS
void rms_norm_backward(Rows rows, const float* x, const float* weight, const float* statistics, const float* dy,
                       const NormGradients& gradients, Store store_dx, Store store_parameters) {
  clear_for(store_parameters, rows.width, gradients.dweight);
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const float* const in = x + r * rows.width;
    const float* const slope = dy + r * rows.width;
    float* const dx = gradients.dx + r * rows.width;
    float* const dweight = gradients.dweight;
    const float factor = statistics[r];
    float product = 0;
    for (std::int64_t i = 0; i < rows.width; ++i) {
      product += slope[i] * weight[i] * in[i];
      dweight[i] += slope[i] * in[i] * factor;
    }
    const float share = product * factor * factor * factor / static_cast<float>(rows.width);
    for (std::int64_t i = 0; i < rows.width; ++i) put(store_dx, dx[i], factor * slope[i] * weight[i] - in[i] * share);
  }
}

MESHLOOM_VECTOR_VARIANTS
void cross_entropy(Rows rows, const float* logits, const std::int32_t* labels, float* loss, float* statistics) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const float* const row = logits + r * rows.width;
    const RowNumbers numbers = exponentials(row, rows.width);
    statistics[2 * r] = numbers.maximum;
    statistics[2 * r + 1] = numbers.sum;
    loss[r] = numbers.maximum + std::log(numbers.sum) - row[labels[r]];
  }
}

MESHLOOM_VECTOR_VARIANTS
void cross_entropy_backward(Rows rows, const float* logits, const std::int32_t* labels, const float* statistics,
                            const float* dloss, float* dlogits, Store store) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const float* const row = logits + r * rows.width;
    float* const out = dlogits + r * rows.width;
    const float maximum = statistics[2 * r], factor = dloss[r] / statistics[2 * r + 1];
    for (std::int64_t i = 0; i < rows.width; ++i) put(store, out[i], factor * vector_exp(row[i] - maximum));
    out[labels[r]] -= dloss[r];
  }
}

namespace {

// Cosines and sines of a position: by pair.
struct Rotation {
  std::vector<float> cosines, sines;
};

// A direction of −1 turns back.
Rotation rotations(std::int64_t positions, std::int64_t pairs, float direction) {
  Rotation rotation{std::vector<float>(positions * pairs), std::vector<float>(positions * pairs)};
  for (std::int64_t p = 0; p < positions; ++p)
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double angle =
          static_cast<double>(p) * std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(pairs));
      rotation.cosines[p * pairs + i] = static_cast<float>(std::cos(angle));
      rotation.sines[p * pairs + i] = direction * static_cast<float>(std::sin(angle));
    }
  return rotation;
}

MESHLOOM_VECTOR_VARIANTS
void rotate(Rows rows, RotaryShape shape, const Rotation& rotation, const float* x, float* y, Store store) {
  const std::int64_t pairs = rows.width / 2;
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t position = r / shape.heads % shape.positions;
    const float* const cosines = rotation.cosines.data() + position * pairs;
    const float* const sines = rotation.sines.data() + position * pairs;
    const float* const in = x + r * rows.width;
    float* const out = y + r * rows.width;
    for (std::int64_t i = 0; i < pairs; ++i) {
      const float a = in[i], b = in[i + pairs];
      put(store, out[i], a * cosines[i] - b * sines[i]);
      put(store, out[i + pairs], a * sines[i] + b * cosines[i]);
    }
  }
}

// The angles of a model do not change: made once.
const Rotation& kept_rotations(std::int64_t positions, std::int64_t pairs, float direction) {
  struct Entry {
    std::int64_t positions, pairs;
    float direction;
    Rotation rotation;
  };
  thread_local std::deque<Entry> entries;
  for (const Entry& entry : entries)
    if (entry.positions == positions && entry.pairs == pairs && entry.direction == direction) return entry.rotation;
  entries.push_back({positions, pairs, direction, rotations(positions, pairs, direction)});
  return entries.back().rotation;
}

}  // namespace

void rotary(Rows rows, RotaryShape shape, const float* x, float* y, Store store) {
  rotate(rows, shape, kept_rotations(shape.positions, rows.width / 2, 1), x, y, store);
}

void rotary_backward(Rows rows, RotaryShape shape, const float* dy, float* dx, Store store) {
  rotate(rows, shape, kept_rotations(shape.positions, rows.width / 2, -1), dy, dx, store);
}

}  // namespace meshloom
