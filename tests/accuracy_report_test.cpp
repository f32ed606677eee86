#include <catch2/catch.hpp>
#include <cmath>

#include "accuracy/coverage.hpp"
#include "accuracy/report.hpp"
#include "accuracy/scatter.hpp"
#include "tests/measured_samples.hpp"

using namespace meshloom;

namespace {

AccuracyRow row_of(double measured, double predicted) {
  AccuracyRow row{run_with(), {}};
  row.run.iteration_time = Seconds(measured);
  row.prediction.iteration_time = Seconds(predicted);
  row.prediction.fits = true;
  return row;
}

AccuracyReport report_of(const std::vector<AccuracyRow>& rows) {
  std::vector<MeasuredRun> runs;
  std::vector<Outcome> outcomes;
  for (const AccuracyRow& row : rows) runs.push_back(row.run), outcomes.emplace_back(row.prediction);
  return make_report(runs, outcomes);
}

}  // namespace

TEST_CASE("a summary of errors is as counted by hand", "[accuracy]") {
  // Sizes in order: 0.1, 0.2, 0.3, 0.6. Mean 1.2/4; median (0.2 + 0.3)/2; bias (0.1 − 0.2 + 0.3 − 0.6)/4; the 90th
  // percentile lies at 0.9·3 = 2.7: 0.3 + 0.7·0.3.
  const ErrorSummary summary = summarize_errors({0.1, -0.2, 0.3, -0.6});
  CHECK(summary.count == 4);
  CHECK(*summary.mape == Approx(0.3));
  CHECK(*summary.median_ape == Approx(0.25));
  CHECK(*summary.bias == Approx(-0.1));
  CHECK(*summary.p90_ape == Approx(0.51));
  CHECK(summarize_errors({}) == ErrorSummary{});
}

TEST_CASE("Kendall's tau counts the pairs that are no ties", "[accuracy]") {
  // Pairs of 1, 2, 3: right, wrong (2 before 3 is predicted the other way), right: (2 − 1)/3.
  CHECK(*kendall_tau({{1, 10}, {2, 30}, {3, 20}}) == Approx(1.0 / 3));
  // 1 and 1.04 are a tie; the two pairs with 2 are right.
  CHECK(*kendall_tau({{1, 12}, {1.04, 10}, {2, 30}}) == Approx(1));
  CHECK_FALSE(kendall_tau({{1, 2}, {1.04, 1}}));
  // Predicted alike: neither right nor wrong.
  CHECK(*kendall_tau({{1, 10}, {2, 10}}) == Approx(0));
  CHECK(*kendall_tau({{1, 20}, {2, 10}}) == Approx(-1));
}

TEST_CASE("regret is what the predicted best takes beyond the best", "[accuracy]") {
  const std::vector<TimedWay> ways{{1, 40}, {1.5, 10}, {1.2, 20}, {2, 30}};
  CHECK(regret(ways, 1) == Approx(0.5));  // picks 1.5
  CHECK(regret(ways, 2) == Approx(0.2));
  CHECK(regret(ways, 3) == Approx(0.2));
  CHECK(regret(ways, 9) == Approx(0));
}

TEST_CASE("errors are kept by source, and suspect runs apart", "[accuracy]") {
  AccuracyRow other = row_of(10, 15);
  other.run.source = "other";
  AccuracyRow doubted = row_of(10, 30);
  doubted.run.suspect = "a reason";
  const AccuracyReport report = report_of({row_of(10, 11), row_of(10, 12), other, doubted});
  // Errors: 0.1, 0.2 and 2 of "paper", 0.5 of "other".
  CHECK(*report.summary.mape == Approx(0.7));
  CHECK(*report.without_suspect.mape == Approx(0.8 / 3));
  REQUIRE(report.by_source.size() == 2);
  CHECK(report.by_source[0].first == "paper");
  CHECK(*report.by_source[0].second.mape == Approx(2.3 / 3));
  CHECK(*report.mape_of_sources == Approx((2.3 / 3 + 0.5) / 2));
  CHECK(*report.mape_of_sources_without_suspect == Approx((0.15 + 0.5) / 2));
}

TEST_CASE("coverage counts runs that are not suspect, by recipe and device", "[accuracy]") {
  // Intervals of half to twice the prediction, 10 s: 5 to 20 s.
  const double two = std::log(2);
  const Uncertainty uncertainty{.level = 0.8, .all = {100, -two, two}, .groups = {}};
  AccuracyRow doubted = row_of(30, 10), out_of_memory = row_of(10, 10), other = row_of(4.9, 10);
  doubted.run.suspect = "a reason";
  out_of_memory.run.iteration_time.reset();
  other.run.framework = "llm-foundry";
  AccuracyReport report =
      report_of({row_of(5.1, 10), row_of(20.1, 10), row_of(19.9, 10), doubted, out_of_memory, other});
  add_intervals(report, built_in_constants(), uncertainty, "errors.json");
  REQUIRE(report.coverage);
  CHECK(report.coverage->all == HeldRuns{4, 2});
  CHECK(*report.coverage->all.share() == Approx(0.5));
  CHECK(report.coverage->groups ==
        std::vector<GroupCoverage>{{"llm-foundry", "A100-SXM4-80GB", {1, 0}}, {"megatron", "A100-SXM4-80GB", {3, 2}}});
  CHECK(report.rows[0].in_interval() == true);
  CHECK(report.rows[3].in_interval() == false);
  CHECK_FALSE(report.rows[4].in_interval());
  CHECK(report.rows[4].interval->high.value() == Approx(20));
  // Without errors there are no intervals.
  add_intervals(report, built_in_constants(), {}, "errors.json");
  CHECK(report.coverage->all == HeldRuns{});
  CHECK_FALSE(report.coverage->all.share());
}

TEST_CASE("layouts are ranked among runs of one task only", "[accuracy]") {
  std::vector<AccuracyRow> rows{row_of(1, 10), row_of(2, 20), row_of(3, 30)};
  CHECK(report_of(rows).ranking.groups == 1);
  CHECK(*report_of(rows).ranking.tau == Approx(1));
  rows[1].run.tensor_parallel = 8;  // a layout
  CHECK(report_of(rows).ranking.groups == 1);
  rows[1].run.global_batch = 128;  // another task
  CHECK(report_of(rows).ranking.groups == 0);
  CHECK_FALSE(report_of(rows).ranking.tau);
}

TEST_CASE("runs that ran and runs that did not are called right or wrong", "[accuracy]") {
  std::vector<AccuracyRow> rows(5, row_of(1, 1));
  for (std::size_t k : {0, 1}) rows[k].run.iteration_time.reset();
  rows[0].prediction.fits = false;  // right; rows[1] is wrong
  rows[2].prediction.fits = false;  // wrong; the others are right
  const MemoryCalls calls = report_of(rows).memory;
  CHECK(calls.oom_rows == 2);
  CHECK(calls.oom_predicted == 1);
  CHECK(calls.ok_rows == 3);
  CHECK(calls.ok_predicted == 2);
  CHECK(*calls.balanced_accuracy() == Approx((1.0 / 2 + 2.0 / 3) / 2));
  rows.erase(rows.begin(), rows.begin() + 2);
  CHECK_FALSE(report_of(rows).memory.balanced_accuracy());
}

TEST_CASE("the largest errors come first", "[accuracy]") {
  const AccuracyReport report = report_of({row_of(10, 11), row_of(10, 4), row_of(10, 12)});
  const auto worst = worst_rows(report, 2);
  REQUIRE(worst.size() == 2);
  CHECK(*worst[0]->error() == Approx(-0.6));
  CHECK(*worst[1]->error() == Approx(0.2));
}

TEST_CASE("a line of the table quotes what holds a comma or a quote", "[accuracy]") {
  AccuracyRow row = row_of(10, 11);
  row.run.id = "a,\"b\"";
  CHECK(report_csv(report_of({row})).find("\n\"a,\"\"b\"\"\",paper,") != std::string::npos);
}

TEST_CASE("the picture escapes names and draws one mark per run that ran", "[accuracy]") {
  AccuracyRow row = row_of(10, 11), failed = row_of(1, 1);
  row.run.source = "a<b & \"c\"";
  failed.run.iteration_time.reset();
  const std::string svg = scatter_svg(report_of({row, failed}));
  CHECK(svg.find("a&lt;b &amp; &quot;c&quot;") != std::string::npos);
  CHECK(svg.find("a<b") == std::string::npos);
  std::size_t marks = 0;
  for (std::size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1)) ++marks;
  CHECK(marks == 2);  // the run and its source in the legend
}

TEST_CASE("without runs that ran there is still a picture", "[accuracy]") {
  CHECK(scatter_svg(report_of({})).ends_with("</svg>\n"));
}
