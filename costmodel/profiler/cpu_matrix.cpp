#include <cblas.h>

#include "costmodel/profiler/cpu_kernels.hpp"

namespace meshloom {

MatrixProduct dense_product(std::int64_t batch, std::int64_t m, std::int64_t n, std::int64_t k) {
  return {batch, m, n, k, {false, k, m * k}, {false, n, k * n}, {false, n, m * n}};
}

void multiply_matrices(const MatrixProduct& shape, const float* a, const float* b, float* c, Store store) {
  const auto order = [](const MatrixOperand& operand) { return operand.transposed ? CblasTrans : CblasNoTrans; };
  const float kept = store == Store::add ? 1.0F : 0.0F;
  for (std::int64_t i = 0; i < shape.batch; ++i)
    cblas_sgemm(CblasRowMajor, order(shape.a), order(shape.b), static_cast<blasint>(shape.m),
                static_cast<blasint>(shape.n), static_cast<blasint>(shape.k), 1.0F, a + i * shape.a.stride,
                static_cast<blasint>(shape.a.leading), b + i * shape.b.stride, static_cast<blasint>(shape.b.leading),
                kept, c + i * shape.c.stride, static_cast<blasint>(shape.c.leading));
}

void set_blas_threads(int threads) { openblas_set_num_threads(threads); }

const char* blas_configuration() { return openblas_get_config(); }

}  // namespace meshloom
