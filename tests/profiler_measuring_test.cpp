#include <catch2/catch.hpp>

#include "costmodel/profiler/measuring.hpp"

using namespace meshloom;

namespace {

// Durations in order, over and over; time passes only while it runs.
class FakeTask : public PreparedTask {
 public:
  explicit FakeTask(std::vector<double> durations) : durations_(std::move(durations)) {}
  Seconds run(std::size_t times) override {
    Seconds sum;
    for (std::size_t i = 0; i < times; ++i) sum += Seconds(durations_[runs++ % durations_.size()]);
    clock += sum;
    return sum;
  }
  void flush() override { ++flushes; }
  std::string implementation() const override { return "fake"; }

  Seconds clock;
  std::size_t runs = 0, flushes = 0;

 private:
  std::vector<double> durations_;
};

SampleSummary measured(FakeTask& task, const MeasuringOptions& options) {
  return measure(task, options, [&] { return task.clock; });
}

std::vector<Seconds> seconds(std::vector<double> values) {
  std::vector<Seconds> result;
  for (const double value : values) result.emplace_back(value);
  return result;
}

}  // namespace

TEST_CASE("quantiles lie between the two nearest samples", "[profiler]") {
  const auto samples = seconds({1, 2, 3, 4});
  CHECK(quantile(samples, 0.5) == Seconds(2.5));  // position 1.5
  CHECK(quantile(samples, 0.1).value() == Approx(1.3));
  CHECK(quantile(seconds({7}), 0.9) == Seconds(7));
}

TEST_CASE("the median's ranks hold 95 % of the binomial distribution", "[profiler]") {
  // (100 − 1.96·10)/2 = 40.2, thus from the 40th of 0…99 to the 59th.
  CHECK(median_ranks(100).low == 40);
  CHECK(median_ranks(100).high == 59);
  // (9 − 1.96·3)/2 = 1.56
  CHECK(median_ranks(9).low == 1);
  CHECK(median_ranks(9).high == 7);
  // Of 5 samples even the whole range covers the median in 1 − 2/2⁵ = 94 % of cases only.
  CHECK(summarize_samples(seconds({1, 1, 1, 1, 1})).uncertainty == 1);
}

TEST_CASE("one disturbed sample in ten changes neither median nor its interval", "[profiler]") {
  const SampleSummary calm = summarize_samples(seconds({10, 10, 10, 10, 10, 10, 10, 10, 10, 10}));
  const SampleSummary disturbed = summarize_samples(seconds({10, 10, 10, 10, 900, 10, 10, 10, 10, 10}));
  CHECK(disturbed.median == calm.median);
  CHECK(disturbed.uncertainty == 0);
  // Ranks 0…9, position 8.1: the tenth sample counts a tenth of the way, (1 − 0.9)·… = 10.
  CHECK(disturbed.p90.value() == Approx(10 + 0.1 * 890));
}

TEST_CASE("a steady task is measured as often as asked for at least", "[profiler]") {
  FakeTask task({0.01});
  const SampleSummary summary = measured(task, {.warm_up = 3, .least_repetitions = 7});
  CHECK(summary.repetitions == 7);
  CHECK(summary.median == Seconds(0.01));
  CHECK(task.runs == 10);
}

TEST_CASE("a task that varies is repeated until its median is known", "[profiler]") {
  // Half of the runs take 1 s, half 1.1 s: the interval of the median spans both, ± 4.8 %, however often it is
  // repeated.
  const MeasuringOptions loose{.uncertainty = 0.06, .warm_up = 2, .time_limit = Seconds(1e9)};
  FakeTask task({1, 1.1});
  CHECK(measured(task, loose).repetitions == 7);
  FakeTask other({1, 1.1});
  const MeasuringOptions strict{.uncertainty = 0.02, .warm_up = 2, .most_repetitions = 60, .time_limit = Seconds(1e9)};
  const SampleSummary summary = measured(other, strict);
  CHECK(summary.repetitions == 60);
  CHECK(summary.uncertainty > 0.02);
}

TEST_CASE("the time limit ends a task that varies, but not before the least repetitions", "[profiler]") {
  FakeTask task({1, 2});  // after one run of 1 s: 7 samples of 2 s and 6 of 1 s are 20 s
  CHECK(measured(task, {.warm_up = 1, .least_repetitions = 7, .time_limit = Seconds(20)}).repetitions == 13);
  FakeTask slow({100, 200});
  CHECK(measured(slow, {.warm_up = 1, .least_repetitions = 7, .time_limit = Seconds(20)}).repetitions == 7);
}

TEST_CASE("tasks shorter than the clock's resolution are repeated within one sample", "[profiler]") {
  FakeTask task({0x1p-20});
  const SampleSummary summary =
      measured(task, {.warm_up = 1, .least_repetitions = 7, .least_sample = Seconds(0x1p-16)});
  CHECK(summary.median == Seconds(0x1p-20));
  CHECK(task.runs == 1 + 7 * 16);
}

TEST_CASE("a flushed cache is flushed before each sample of one run", "[profiler]") {
  FakeTask task({1e-6});
  measured(task, {.warm_up = 1, .least_repetitions = 7, .cache = CacheState::flushed});
  CHECK(task.flushes == 7);
  CHECK(task.runs == 8);
}
