// The processor's kernels against the formulas as one writes them, in double precision.
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <vector>

#include "costmodel/profiler/cpu_kernels.hpp"
#include "costmodel/profiler/lowered_product.hpp"

using namespace meshloom;

namespace {

using Floats = std::vector<float>;

Floats numbers(std::int64_t count, int seed) {
  Floats values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>((i * 31 + seed * 17) % 53) / 26.0F - 1.0F);
  return values;
}

void check_equal(const Floats& found, const std::vector<double>& expected, double margin = 2e-5) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("element " << i);
    REQUIRE(double(found[i]) == Approx(expected[i]).margin(margin).epsilon(margin));
  }
}

// What a small step of one input does to Σ weights·output: the oracle of every backward.
std::vector<double> slopes(const Floats& at, const Floats& weights,
                           const std::function<Floats(const Floats&)>& forward) {
  const float step = 1e-2F;
  std::vector<double> result;
  for (std::size_t i = 0; i < at.size(); ++i) {
    Floats below = at, above = at;
    below[i] -= step;
    above[i] += step;
    const Floats low = forward(below), high = forward(above);
    double sum = 0;
    for (std::size_t o = 0; o < low.size(); ++o) sum += double(weights[o]) * (double(high[o]) - double(low[o]));
    result.push_back(sum / (double(above[i]) - double(below[i])));
  }
  return result;
}

// A central difference of step 0.01 in single precision is good to about a thousandth.
constexpr double of_differences = 5e-3;

}  // namespace

TEST_CASE("matrix products have the right values in every operand order and batch", "[profiler]") {
  const std::int64_t batch = 2, m = 5, n = 7, k = 3;
  const Floats a = numbers(batch * m * k, 1), b = numbers(batch * k * n, 2);
  for (const bool a_across : {false, true})
    for (const bool b_across : {false, true}) {
      MatrixProduct product = dense_product(batch, m, n, k);
      if (a_across) product.a = {true, m, m * k};
      if (b_across) product.b = {true, k, k * n};
      Floats c = numbers(batch * m * n, 3);
      const Floats before = c;
      multiply_matrices(product, a.data(), b.data(), c.data(), Store::add);
      std::vector<double> expected;
      for (std::int64_t i = 0; i < batch; ++i)
        for (std::int64_t row = 0; row < m; ++row)
          for (std::int64_t column = 0; column < n; ++column) {
            double sum = before[expected.size()];
            for (std::int64_t d = 0; d < k; ++d)
              sum += double(a[i * m * k + (a_across ? d * m + row : row * k + d)]) *
                     double(b[i * k * n + (b_across ? column * k + d : d * n + column)]);
            expected.push_back(sum);
          }
      check_equal(c, expected);
    }
}

TEST_CASE("an einsum over heads is a batch of products with strides", "[profiler]") {
  // b s n d, b t n d -> b n s t with b = 2, s = 3, n = 4, d = 5, t = 6.
  const ShardingRule rule = parse_rule("b s n d, b t n d -> b n s t", "test");
  const std::vector<std::int64_t> sizes{2, 3, 4, 5, 6};  // by first appearance: b, s, n, d, t
  const auto lowered = lower_product(rule.inputs[0], rule.inputs[1], rule.outputs[0], sizes);
  REQUIRE(lowered);
  // One sample is 3·4·5 = 60 and 6·4·5 = 120 elements, its result 4·3·6 = 72.
  CHECK(lowered->loops == std::vector<OuterLoop>{{2, 60, 120, 72}});
  CHECK(lowered->product == MatrixProduct{4, 3, 6, 5, {false, 20, 5}, {true, 20, 5}, {false, 6, 18}});
  const Floats a = numbers(2 * 60, 1), b = numbers(2 * 120, 2);
  Floats c(2 * 72);
  run_product(*lowered, a.data(), b.data(), c.data(), Store::write);
  std::vector<double> expected;
  for (int i = 0; i < 2; ++i)
    for (int head = 0; head < 4; ++head)
      for (int s = 0; s < 3; ++s)
        for (int t = 0; t < 6; ++t) {
          double sum = 0;
          for (int d = 0; d < 5; ++d)
            sum += double(a[i * 60 + s * 20 + head * 5 + d]) * double(b[i * 120 + t * 20 + head * 5 + d]);
          expected.push_back(sum);
        }
  check_equal(c, expected);
}

TEST_CASE("the gradient of a weight is one product over all samples and positions", "[profiler]") {
  // dW of x·W: b s f, b s h -> h f is a product of the second operand, transposed, with the first.
  const ShardingRule rule = parse_rule("b s f, b s h -> h f", "test");
  const std::vector<std::int64_t> sizes{2, 3, 4, 5};  // b, s, f, h
  const auto lowered = lower_product(rule.inputs[0], rule.inputs[1], rule.outputs[0], sizes);
  REQUIRE(lowered);
  CHECK(lowered->swapped);
  CHECK(lowered->product == MatrixProduct{1, 5, 4, 6, {true, 5, 0}, {false, 4, 0}, {false, 4, 0}});
}

TEST_CASE("an einsum whose operand would have to be transposed first is no product", "[profiler]") {
  // The contracted factors lie in different orders.
  const ShardingRule rule = parse_rule("b s n d, d n h -> b s h", "test");
  CHECK(!lower_product(rule.inputs[0], rule.inputs[1], rule.outputs[0], std::vector<std::int64_t>{2, 3, 4, 5, 6}));
}

TEST_CASE("activations and their slopes", "[profiler]") {
  const Floats x = numbers(40, 1), dy = numbers(40, 2);
  for (const ActivationKernel kind : {ActivationKernel::gelu, ActivationKernel::relu, ActivationKernel::silu}) {
    const auto forward = [&](const Floats& at) {
      Floats y(at.size());
      activate(kind, 40, at.data(), y.data());
      return y;
    };
    std::vector<double> expected;
    for (const float value : x) {
      const double v = value;
      expected.push_back(kind == ActivationKernel::relu ? std::max(0.0, v)
                         : kind == ActivationKernel::silu
                             ? v / (1 + std::exp(-v))
                             : 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))));
    }
    const Floats y = forward(x);
    check_equal(y, expected);
    if (kind == ActivationKernel::relu) continue;  // its slope has a jump, which a difference steps over
    Floats dx(40);
    activate_backward(kind, 40, x.data(), dy.data(), dx.data(), Store::write);
    std::vector<double> by_difference;
    for (std::size_t i = 0; i < 40; ++i)
      by_difference.push_back(slopes({x[i]}, {dy[i]}, [&](const Floats& at) {
        Floats one(1);
        activate(kind, 1, at.data(), one.data());
        return one;
      })[0]);
    check_equal(dx, by_difference, of_differences);
  }
  Floats dx(3, 9);
  activate_backward(ActivationKernel::relu, 3, Floats{2, 0, 1}.data(), Floats{5, 6, 7}.data(), dx.data(), Store::add);
  CHECK(dx == Floats{14, 9, 16});
}

TEST_CASE("softmax sums to one, and its backward is its slope", "[profiler]") {
  const Rows rows{3, 11};
  const Floats x = numbers(33, 1), dy = numbers(33, 2);
  const auto forward = [&](const Floats& at) {
    Floats y(33);
    softmax(rows, at.data(), y.data());
    return y;
  };
  const Floats y = forward(x);
  std::vector<double> expected;
  for (int r = 0; r < 3; ++r) {
    double sum = 0;
    for (int i = 0; i < 11; ++i) sum += std::exp(double(x[r * 11 + i]));
    for (int i = 0; i < 11; ++i) expected.push_back(std::exp(double(x[r * 11 + i])) / sum);
  }
  check_equal(y, expected);
  Floats dx(33);
  softmax_backward(rows, y.data(), dy.data(), dx.data(), Store::write);
  check_equal(dx, slopes(x, dy, forward), of_differences);
}

TEST_CASE("norms have mean 0 and deviation 1, and their backward is their slope", "[profiler]") {
  const Rows rows{3, 16};
  const Floats x = numbers(48, 1), dy = numbers(48, 2), weight = numbers(16, 3), bias = numbers(16, 4);
  Floats statistics(6), y(48), dx(48), dweight(16), dbias(16);
  const auto layer = [&](const Floats& at, const Floats& w, const Floats& b) {
    Floats out(48), numbers_of_rows(6);
    layer_norm(rows, at.data(), w.data(), b.data(), out.data(), numbers_of_rows.data());
    return out;
  };
  layer_norm(rows, x.data(), Floats(16, 1).data(), Floats(16, 0).data(), y.data(), statistics.data());
  for (int r = 0; r < 3; ++r) {
    double sum = 0, squares = 0;
    for (int i = 0; i < 16; ++i) sum += y[r * 16 + i], squares += double(y[r * 16 + i]) * double(y[r * 16 + i]);
    CHECK(sum == Approx(0).margin(1e-4));
    CHECK(squares == Approx(16).epsilon(1e-3));
  }
  layer_norm_backward(rows, x.data(), weight.data(), statistics.data(), dy.data(),
                      {dx.data(), dweight.data(), dbias.data()}, Store::write, Store::write);
  check_equal(dx, slopes(x, dy, [&](const Floats& at) { return layer(at, weight, bias); }), of_differences);
  check_equal(dweight, slopes(weight, dy, [&](const Floats& at) { return layer(x, at, bias); }), of_differences);
  check_equal(dbias, slopes(bias, dy, [&](const Floats& at) { return layer(x, weight, at); }), of_differences);

  const auto rms = [&](const Floats& at, const Floats& w) {
    Floats out(48), factors(3);
    rms_norm(rows, at.data(), w.data(), out.data(), factors.data());
    return out;
  };
  rms_norm(rows, x.data(), weight.data(), y.data(), statistics.data());
  rms_norm_backward(rows, x.data(), weight.data(), statistics.data(), dy.data(), {dx.data(), dweight.data(), nullptr},
                    Store::write, Store::write);
  check_equal(dx, slopes(x, dy, [&](const Floats& at) { return rms(at, weight); }), of_differences);
  check_equal(dweight, slopes(weight, dy, [&](const Floats& at) { return rms(x, at); }), of_differences);
}

TEST_CASE("cross-entropy is the negative logarithm of the label's share", "[profiler]") {
  const Rows rows{3, 9};
  const Floats x = numbers(27, 1), dloss{1, 0.5F, 2};
  const std::vector<std::int32_t> labels{4, 0, 8};
  const auto forward = [&](const Floats& at) {
    Floats loss(3), statistics(6);
    cross_entropy(rows, at.data(), labels.data(), loss.data(), statistics.data());
    return loss;
  };
  std::vector<double> expected;
  for (int r = 0; r < 3; ++r) {
    double sum = 0;
    for (int i = 0; i < 9; ++i) sum += std::exp(double(x[r * 9 + i]));
    expected.push_back(std::log(sum) - double(x[r * 9 + labels[r]]));
  }
  check_equal(forward(x), expected);
  Floats loss(3), statistics(6), dx(27);
  cross_entropy(rows, x.data(), labels.data(), loss.data(), statistics.data());
  cross_entropy_backward(rows, x.data(), labels.data(), statistics.data(), dloss.data(), dx.data(), Store::write);
  check_equal(dx, slopes(x, dloss, forward), of_differences);
}

TEST_CASE("attention and its gradients, with groups of query heads, blocks that do not divide, causal or not",
          "[profiler]") {
  for (const bool causal : {false, true}) {
    const AttentionShape shape{2, 4, 2, 19, 21, 6, causal};
    const Floats q = numbers(shape.query_elements(), 1), k = numbers(shape.key_elements(), 2),
                 v = numbers(shape.key_elements(), 3), dy = numbers(shape.query_elements(), 4);
    const auto forward = [&](const Floats& query, const Floats& key, const Floats& value) {
      Floats out(shape.query_elements()), sums(shape.rows());
      attention(shape, {query.data(), key.data(), value.data()}, out.data(), sums.data());
      return out;
    };
    std::vector<double> expected(shape.query_elements());
    for (int b = 0; b < 2; ++b)
      for (int head = 0; head < 4; ++head)
        for (int s = 0; s < 19; ++s) {
          const int seen = causal ? s + 1 + 21 - 19 : 21;
          const auto key_at = [&](int t, int d) { return ((b * 21 + t) * 2 + head / 2) * 6 + d; };
          const auto query_at = [&](int d) { return ((b * 19 + s) * 4 + head) * 6 + d; };
          std::vector<double> shares;
          double sum = 0;
          for (int t = 0; t < seen; ++t) {
            double score = 0;
            for (int d = 0; d < 6; ++d) score += double(q[query_at(d)]) * double(k[key_at(t, d)]);
            shares.push_back(std::exp(score / std::sqrt(6.0)));
            sum += shares.back();
          }
          for (int t = 0; t < seen; ++t)
            for (int d = 0; d < 6; ++d) expected[query_at(d)] += shares[t] / sum * double(v[key_at(t, d)]);
        }
    Floats out(shape.query_elements()), sums(shape.rows());
    attention(shape, {q.data(), k.data(), v.data()}, out.data(), sums.data());
    check_equal(out, expected);
    Floats dq(q.size()), dk(k.size()), dv(v.size());
    attention_backward(shape, {q.data(), k.data(), v.data()}, out.data(), sums.data(), dy.data(),
                       {dq.data(), dk.data(), dv.data()});
    check_equal(dq, slopes(q, dy, [&](const Floats& at) { return forward(at, k, v); }), of_differences);
    check_equal(dk, slopes(k, dy, [&](const Floats& at) { return forward(q, at, v); }), of_differences);
    check_equal(dv, slopes(v, dy, [&](const Floats& at) { return forward(q, k, at); }), of_differences);
  }
}

TEST_CASE("rotations turn back, dropout keeps nine in ten, tables take rows", "[profiler]") {
  const Floats x = numbers(2 * 3 * 2 * 8, 1);
  const Rows rows{12, 8};
  Floats turned(96), back(96);
  rotary(rows, {3, 2}, x.data(), turned.data(), Store::write);
  rotary_backward(rows, {3, 2}, turned.data(), back.data(), Store::write);
  check_equal(back, {x.begin(), x.end()});
  // Position 1 (rows 2 and 3) turns the first pair by 1 radian.
  CHECK(turned[16] == Approx(x[16] * std::cos(1.0) - x[20] * std::sin(1.0)).margin(1e-5));
  CHECK(std::equal(x.begin(), x.begin() + 16, turned.begin()));

  const std::int64_t count = 20'000;
  const Floats ones(count, 1);
  Floats kept(count);
  std::vector<std::uint8_t> mask(count);
  dropout(count, 5, ones.data(), kept.data(), mask.data());
  double sum = 0;
  for (const float value : kept) sum += double(value);
  CHECK(sum / count == Approx(1).margin(0.02));  // deviation √(0.1/0.9/20 000) = 0.0024

  const Floats table = numbers(5 * 4, 1);
  const std::vector<std::int32_t> indices{3, 0, 3};
  Floats y(12), dtable(20, 0);
  gather({3, 4}, table.data(), indices.data(), y.data());
  CHECK(Floats(y.begin(), y.begin() + 4) == Floats(table.begin() + 12, table.begin() + 16));
  scatter_add({3, 4}, indices.data(), Floats(12, 1).data(), dtable.data());
  CHECK(dtable[12] == 2);
  CHECK(dtable[0] == 1);
  CHECK(dtable[4] == 0);
}

TEST_CASE("Adam's first step goes against the gradient's sign", "[profiler]") {
  Floats parameter{1, 1}, first{0, 0}, second{0, 0};
  adam(2, 0.1F, Floats{4, -4}.data(), parameter.data(), first.data(), second.data());
  // m = 0.1·4, v = 0.001·16: 0.1·0.4/√0.016 = 0.3162
  CHECK(parameter[0] == Approx(1 - 0.31623).epsilon(1e-4));
  CHECK(parameter[1] == Approx(1 + 0.31623).epsilon(1e-4));
}
