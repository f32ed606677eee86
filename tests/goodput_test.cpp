#include "simulator/goodput.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

using namespace meshloom;

namespace {

// Work over time of so many segments, each tried until no failure falls into it.
double played_goodput(const Failures& failures, int segments) {
  std::mt19937_64 random(5);
  const auto until_failure = [&] {
    const double uniform = (static_cast<double>(random() >> 11) + 0.5) / 9007199254740992.0;
    return -failures.between.value() * std::log(uniform);
  };
  const double segment = (failures.interval + failures.checkpoint).value(), restart = failures.restart.value();
  double time = 0, next = until_failure();  // from `time` on
  const auto survives = [&](double length) {
    const bool whole = next >= length;
    time += whole ? length : next;
    next = whole ? next - length : until_failure();
    return whole;
  };
  for (int done = 0; done < segments;)
    if (survives(segment)) {
      ++done;
    } else {
      while (!survives(restart)) {
      }
    }
  return segments * failures.interval.value() / time;
}

}  // namespace

TEST_CASE("goodput is the work between checkpoints over the expected time, by hand") {
  // M = 1000, τ = 90, δ = 10, R = 0: 90 / (1000·(e^0.1 − 1)) = 90 / 105.1709.
  CHECK(goodput({Seconds(1000), Seconds(90), Seconds(10), Seconds(0)}) == Approx(90 / 105.170918).epsilon(1e-7));
  // R = 100: e^0.1 times as long.
  CHECK(goodput({Seconds(1000), Seconds(90), Seconds(10), Seconds(100)}) ==
        Approx(90 / (1.105170918 * 105.170918)).epsilon(1e-7));
}

TEST_CASE("without failures only checkpoints cost: τ/(τ+δ)") {
  CHECK(goodput({Seconds(1e15), Seconds(90), Seconds(10), Seconds(60)}) == Approx(0.9).epsilon(1e-9));
}

TEST_CASE("failures played at random agree with the formula within half a percent") {
  for (const Failures& each : {Failures{Seconds(10000), Seconds(1800), Seconds(60), Seconds(300)},
                               Failures{Seconds(1000), Seconds(900), Seconds(100), Seconds(400)},
                               Failures{Seconds(3e6), Seconds(3600), Seconds(30), Seconds(600)}})
    CHECK(played_goodput(each, 400000) == Approx(goodput(each)).epsilon(5e-3));
}

TEST_CASE("the best interval is Young's with Daly's correction, and no other is better by a thousandth") {
  // M = 20000, δ = 100: √(2·100·20000) = 2000; δ/2M = 0.0025: 2000·(1 + 0.05/3 + 0.0025/9) − 100 = 1933.889.
  CHECK(best_checkpoint_interval(Seconds(20000), Seconds(100)).value() == Approx(1933.8889).epsilon(1e-6));
  CHECK(best_checkpoint_interval(Seconds(10), Seconds(20)) == Seconds(10));
  const Seconds best = best_checkpoint_interval(Seconds(20000), Seconds(100));
  const double at_best = goodput({Seconds(20000), best, Seconds(100), Seconds(300)});
  for (double interval = 100; interval < 20000; interval += 50)
    CHECK(goodput({Seconds(20000), Seconds(interval), Seconds(100), Seconds(300)}) <= at_best * 1.001);
}
