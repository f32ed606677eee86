#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "costmodel/ratio_table.hpp"

using namespace meshloom;

namespace {

RatioSample sample(std::vector<std::int64_t> shape, double modelled, double measured) {
  return {std::move(shape), Seconds(modelled), Seconds(measured)};
}

double ratio(const RatioTable& table, std::vector<std::int64_t> shape, double modelled) {
  return table.at(shape, Seconds(modelled)).of_modelled;
}
TimeSource source(const RatioTable& table, std::vector<std::int64_t> shape, double modelled = 1) {
  return table.at(shape, Seconds(modelled)).source;
}

}  // namespace

TEST_CASE("a measured shape has its measured ratio", "[profile]") {
  const RatioTable table({sample({8}, 2, 3), sample({64}, 5, 4)});
  CHECK(ratio(table, {8}, 2) == 1.5);
  CHECK(ratio(table, {64}, 5) == 0.8);
  CHECK(source(table, {8}) == TimeSource::measured);
}

TEST_CASE("along one size the ratio follows the model's time", "[profile]") {
  // Modelled 1 and 4, measured 1 and 16: at a modelled 2, half of the way in logs, measured 4 is twice the modelled.
  const RatioTable table({sample({8}, 1, 1), sample({64}, 4, 16)});
  CHECK(ratio(table, {16}, 2) == Approx(2));
  CHECK(ratio(table, {32}, 2) == Approx(2));  // whatever the size
  CHECK(source(table, {16}, 2) == TimeSource::interpolated);
}

TEST_CASE("where the model's time is flat the ratio follows the log of the size", "[profile]") {
  // From 8 to 128 in four doublings: 16 is one of them, ratio 16^(1/4) = 2.
  const RatioTable table({sample({8}, 1, 1), sample({128}, 1, 16)});
  CHECK(ratio(table, {16}, 1) == Approx(2));
}

TEST_CASE("in a cell of a grid the log of the ratio is linear along each axis", "[profile]") {
  // Corners 1, 4 (second size), 16 (first size), 64: the centre is 2 · 4 = 8.
  const RatioTable table(
      {sample({4, 4}, 1, 1), sample({4, 16}, 1, 4), sample({16, 4}, 1, 16), sample({16, 16}, 1, 64)});
  CHECK(ratio(table, {8, 8}, 1) == Approx(8));
  CHECK(source(table, {8, 8}) == TimeSource::interpolated);
  CHECK(ratio(table, {4, 8}, 1) == Approx(2));
}

TEST_CASE("between scattered samples the nearer ones count more, and none is left behind", "[profile]") {
  // (8, 8) is at distance 1 of (4, 8) and 2 of (8, 32) in logs: weights 1 and 1/16 of the logs of 2 and 8.
  const RatioTable table({sample({4, 8}, 1, 2), sample({8, 32}, 1, 8), sample({16, 4}, 1, 4)});
  // (16, 4): distance √2, weight 1/4. (1·1 + 3/16 + 2/4) / (1 + 1/16 + 1/4) = 1.6875 / 1.3125.
  CHECK(ratio(table, {8, 8}, 1) == Approx(std::exp2(1.6875 / 1.3125)));
  CHECK(source(table, {8, 8}) == TimeSource::interpolated);
}

TEST_CASE("outside of the samples the nearest ratio fades over four doublings", "[profile]") {
  // Ratio 16 at 64; the model takes as long as the size, so that no larger one is faster than the sample.
  const RatioTable table({sample({32}, 32, 32), sample({64}, 64, 1024)});
  CHECK(ratio(table, {128}, 128) == Approx(8));  // 16^(3/4)
  CHECK(ratio(table, {256}, 256) == Approx(4));  // 16^(2/4)
  CHECK(source(table, {256}, 256) == TimeSource::extrapolated);
  CHECK(ratio(table, {4096}, 4096) == 1);
  CHECK(source(table, {4096}, 4096) == TimeSource::modelled);
  // Distances of several sizes add up as squares: 3 and 4 doublings are 5, too far; 1 and 1 are √2.
  const RatioTable square({sample({8, 8}, 1, 16)});
  CHECK(source(square, {64, 128}, 128) == TimeSource::modelled);
  CHECK(ratio(square, {16, 4}, 1) == Approx(std::exp2(4 * (1 - std::sqrt(2) / 4))));
}

TEST_CASE("a shape beyond the samples is not faster than a smaller one that was measured", "[profile]") {
  // Model 1 for all. Measured 16 at 8: at 32 the half of it in logs would be 4, at 1024 the model's 1.
  const RatioTable slow({sample({8}, 1, 16)});
  CHECK(ratio(slow, {32}, 1) == 16);
  CHECK(ratio(slow, {1024}, 1) == 16);
  CHECK(source(slow, {1024}) == TimeSource::extrapolated);
  CHECK(ratio(slow, {2}, 1) == Approx(4));  // a smaller one may be
  // Measured 1/16: a smaller shape takes no more.
  const RatioTable fast({sample({8}, 1, 1.0 / 16)});
  CHECK(ratio(fast, {2}, 1) == 1.0 / 16);
  CHECK(ratio(fast, {32}, 1) == Approx(0.25));
  // Where the model says that the smaller one takes longer nothing is known of their order.
  CHECK(ratio(slow, {1024}, 0.5) == 1);
  // Samples that contradict each other bound nothing: 4 took longer than 16.
  const RatioTable crossed({sample({1, 4}, 1, 16), sample({4096, 16}, 1, 2)});
  CHECK(ratio(crossed, {64, 8}, 1) < 16);
}

TEST_CASE("a shape in the box but far from every sample is extrapolated, then modelled", "[profile]") {
  const RatioTable table({sample({1, 4096}, 1, 2), sample({4096, 1}, 1, 2)});
  CHECK(source(table, {2, 4096}) == TimeSource::interpolated);
  CHECK(source(table, {16, 4096}, 1) == TimeSource::extrapolated);  // 4 doublings, 2 beyond the factor of 4
  CHECK(source(table, {64, 64}, 0.5) == TimeSource::modelled);      // over 8
}

TEST_CASE("of several samples of one shape the geometric mean counts", "[profile]") {
  const RatioTable table({sample({8}, 1, 2), sample({8}, 1, 8)});
  CHECK(ratio(table, {8}, 1) == Approx(4));
}

TEST_CASE("ratios of one stay one, to the bit", "[profile]") {
  const RatioTable line({sample({8}, 0.3, 0.3), sample({100}, 7.7, 7.7)});
  const RatioTable scattered({sample({4, 8}, 0.1, 0.1), sample({8, 32}, 0.7, 0.7), sample({16, 4}, 3.3, 3.3)});
  for (std::int64_t size = 1; size < 200; ++size) {
    CHECK(ratio(line, {size}, static_cast<double>(size) * 0.07) == 1);
    CHECK(ratio(scattered, {size, 7}, 0.1) == 1);
  }
}

TEST_CASE("times between two samples grow with the model's time and stay between the measured ones", "[profile]") {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> factor(0.3, 3);
  for (int round = 0; round < 200; ++round) {
    // The model: a floor of 5, then the size; the second sample was measured to take longer than the first.
    const auto model = [](std::int64_t size) { return std::max(5.0, static_cast<double>(size)); };
    const double first = model(2) * factor(random);
    const double second = first * (1 + factor(random));
    const RatioTable table({sample({2}, model(2), first), sample({40}, model(40), second)});
    double before = first;
    for (std::int64_t size = 3; size < 40; ++size) {
      const double time = model(size) * ratio(table, {size}, model(size));
      CHECK(time >= before * (1 - 1e-12));
      CHECK(time <= second * (1 + 1e-12));
      before = time;
    }
  }
}
