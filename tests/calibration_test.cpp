#include "accuracy/calibration.hpp"

#include <tbb/global_control.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <set>

#include "accuracy/folds.hpp"

using namespace meshloom;

namespace {

// A world of two devices and one framework, whose runs take work/speed + overhead and hold bytes·(1 + waste).
const ConstantFiles believed{{"devices/a", R"({"speed": 1})"},
                             {"devices/b", R"({"speed": 1})"},
                             {"recipes/f", R"({"overhead": 0.1, "waste": 0.2})"}};

double number(const std::string& text, const std::string& key) {
  return std::strtod(text.c_str() + text.find("\"" + key + "\":") + key.size() + 3, nullptr);
}

struct World {
  double speed_a = 1.5, speed_b = 0.7, overhead = 0.25, waste = 0.1;
  double seconds(const std::string& device, double work) const {
    return work / (device == "devices/a" ? speed_a : speed_b) + overhead;
  }
};

struct Job {
  std::string device;
  double work = 1, bytes = 1;
};

std::vector<Job> jobs(std::size_t count) {
  std::vector<Job> result;
  for (std::size_t k = 0; k < count; ++k)
    result.push_back(
        {k % 3 == 0 ? "devices/b" : "devices/a", 0.1 * double(1 + k * 7 % 23), 0.6 + 0.02 * double(k * 5 % 31)});
  return result;
}

std::vector<CalibrationRow> rows_of(const std::vector<Job>& jobs, const World& world) {
  std::vector<CalibrationRow> rows;
  for (std::size_t k = 0; k < jobs.size(); ++k) {
    CalibrationRow row;
    row.id = "run " + std::to_string(k);
    row.source = k % 2 == 0 ? "paper" : "page";
    row.framework = row.recipe = "f";
    row.device = jobs[k].device;
    row.files = {jobs[k].device, "recipes/f"};
    row.configuration = "configuration " + std::to_string(k / 2);
    if (jobs[k].bytes * (1 + world.waste) <= 1) row.measured_s = world.seconds(jobs[k].device, jobs[k].work);
    rows.push_back(row);
  }
  return rows;
}

CompileRuns compiler(const std::vector<Job>& jobs) {
  return [&jobs](const ConstantFiles&) -> PriceRuns {
    const auto price = [&jobs](const ConstantFiles& files, std::span<const std::uint32_t> rows) {
      const World world{number(files.at("devices/a"), "speed"), number(files.at("devices/b"), "speed"),
                        number(files.at("recipes/f"), "overhead"), number(files.at("recipes/f"), "waste")};
      std::vector<RunPrice> prices;
      for (const std::uint32_t row : rows)
        prices.push_back({world.seconds(jobs[row].device, jobs[row].work), jobs[row].bytes * (1 + world.waste), 1});
      return prices;
    };
    // Off by a factor, as a formula may be.
    const auto estimate = [price](const ConstantFiles& files, std::span<const std::uint32_t> rows) {
      std::vector<RunPrice> prices = price(files, rows);
      for (RunPrice& each : prices) each.seconds *= 1.3;
      return prices;
    };
    return {price, estimate, {}};
  };
}

std::vector<CalibratedConstant> constants() {
  return parse_calibration_list(R"({"schema": "meshloom.calibration/1", "constants": [
    {"each_of": ["devices/a", "devices/b"], "pointer": "/speed", "prior": 1, "spread": 0.5, "low": 0.1, "high": 10,
     "source": "a guess"},
    {"files": ["recipes/f"], "pointer": "/overhead", "prior": 0.1, "spread": 1, "low": 0.001, "high": 1, "source": ""},
    {"files": ["recipes/f"], "pointer": "/waste", "prior": 0.2, "spread": 0.1, "low": 0, "high": 1, "scale": "linear",
     "fitted_to": "memory", "source": ""}]})",
                                "list.json", believed);
}

}  // namespace

TEST_CASE("calibration finds the constants of a world that made the runs", "[calibration]") {
  const std::vector<Job> work = jobs(120);
  const std::vector<CalibrationRow> rows = rows_of(work, World());
  const Calibration result = calibrate(rows, constants(), believed, compiler(work));
  CHECK(result.constants[0].value == Approx(1.5).epsilon(0.005));
  CHECK(result.constants[1].value == Approx(0.7).epsilon(0.005));
  CHECK(result.constants[2].value == Approx(0.25).epsilon(0.01));
  CHECK(result.constants[3].value == Approx(0.1).margin(0.03));  // memory only says that it holds or not
  CHECK(number(result.files.at("devices/b"), "speed") == result.constants[1].value);
  CHECK(result.layouts_stable);
  for (const ConstantResult& constant : result.constants) CHECK(constant.determined);
  for (std::size_t k = 0; k < rows.size(); ++k) {
    if (!rows[k].measured_s) continue;
    CHECK(result.rows[k].fitted.seconds == Approx(*rows[k].measured_s).epsilon(0.01));
    CHECK(result.rows[k].unseen.seconds == Approx(*rows[k].measured_s).epsilon(0.02));
  }
}

TEST_CASE("unseen predictions have the layouts of the constants that were fitted without them", "[calibration]") {
  const std::vector<Job> work = jobs(120);
  const std::vector<CalibrationRow> rows = rows_of(work, World());
  std::vector<World> decided;  // constants that layouts were decided with
  std::mutex deciding;
  const CompileRuns compile = [&](const ConstantFiles& files) {
    const std::lock_guard<std::mutex> lock(deciding);
    decided.push_back({number(files.at("devices/a"), "speed"), number(files.at("devices/b"), "speed"),
                       number(files.at("recipes/f"), "overhead"), number(files.at("recipes/f"), "waste")});
    return compiler(work)(files);
  };
  CalibrationOptions options;
  options.leave_out = {LeaveOut::source};
  const Calibration result = calibrate(rows, constants(), believed, compile, options);
  for (std::size_t k = 0; k < rows.size(); ++k) {
    const auto priced_with = [&](double seconds) {
      return std::any_of(decided.begin(), decided.end(),
                         [&](const World& world) { return world.seconds(work[k].device, work[k].work) == seconds; });
    };
    CHECK(priced_with(result.rows[k].unseen.seconds));
    CHECK(priced_with(result.rows[k].without_source->seconds));
  }
}

TEST_CASE("an unseen prediction does not know its row", "[calibration]") {
  // One configuration alone is off by a half. Fitted constants lean towards it, those of the other folds do not.
  const std::vector<Job> work = jobs(120);
  std::vector<CalibrationRow> rows = rows_of(work, World());
  std::vector<CalibrationRow> wrong = rows;
  REQUIRE(rows[7].measured_s);
  wrong[7].measured_s = *rows[7].measured_s * 1.5;
  const Calibration before = calibrate(rows, constants(), believed, compiler(work));
  const Calibration after = calibrate(wrong, constants(), believed, compiler(work));
  CHECK(after.rows[7].unseen.seconds == before.rows[7].unseen.seconds);  // fits do not even start from its constants
  CHECK(after.rows[7].fitted.seconds > before.rows[7].fitted.seconds * (1 + 1e-5));
  CHECK_FALSE(after.rows[7].in_interval);
}

TEST_CASE("rows of one configuration lie in one fold", "[calibration]") {
  const std::vector<Job> work = jobs(120);
  const Calibration result = calibrate(rows_of(work, World()), constants(), believed, compiler(work));
  std::set<std::size_t> folds;
  for (std::size_t k = 0; k + 1 < work.size(); k += 2) {
    CHECK(result.rows[k].fold == result.rows[k + 1].fold);
    folds.insert(result.rows[k].fold);
  }
  CHECK(folds.size() == 4);
}

TEST_CASE("a suspect row is predicted but changes nothing", "[calibration]") {
  const std::vector<Job> work = jobs(120);
  std::vector<CalibrationRow> rows = rows_of(work, World());
  rows[7].counts = false;
  const Calibration before = calibrate(rows, constants(), believed, compiler(work));
  rows[7].measured_s = 100;
  const Calibration after = calibrate(rows, constants(), believed, compiler(work));
  CHECK(after.files == before.files);
  CHECK(after.rows[7].unseen.seconds == before.rows[7].unseen.seconds);
  CHECK(after.uncertainty == before.uncertainty);
}

TEST_CASE("rows that scatter more pull less", "[calibration]") {
  // Every second configuration of device a ran as if it were as slow as 1, the others as 1.5: half of the evidence
  // each.
  const std::vector<Job> work = jobs(120);
  std::vector<CalibrationRow> rows = rows_of(work, World());
  const World slower{1.0, World().speed_b, World().overhead, World().waste};
  for (std::size_t k = 0; k < rows.size(); ++k)
    if (k / 2 % 2 == 0 && rows[k].measured_s) rows[k].measured_s = slower.seconds(work[k].device, work[k].work);
  const double alike = calibrate(rows, constants(), believed, compiler(work)).constants[0].value;
  for (std::size_t k = 0; k < rows.size(); ++k) rows[k].scatter = k / 2 % 2 == 0 ? 10 : 1;
  const double unlike = calibrate(rows, constants(), believed, compiler(work)).constants[0].value;
  CHECK(alike < 1.42);
  CHECK(unlike == Approx(1.5).epsilon(0.02));
}

TEST_CASE("a device that only one source measured goes back to its prior without it", "[calibration]") {
  const std::vector<Job> work = jobs(120);
  std::vector<CalibrationRow> rows = rows_of(work, World());
  for (CalibrationRow& row : rows) row.source = row.device == "devices/b" ? "the only one" : "another";
  CalibrationOptions options;
  options.leave_out = {LeaveOut::source};
  const Calibration result = calibrate(rows, constants(), believed, compiler(work), options);
  for (std::size_t k = 0; k < rows.size(); ++k) {
    REQUIRE(result.rows[k].without_source);
    // Overhead is known from the other device; speed is 1, as believed, not 0.7.
    if (rows[k].device == "devices/b")
      CHECK(result.rows[k].without_source->seconds == Approx(work[k].work + 0.25).epsilon(0.01));
  }
}

TEST_CASE("fits side by side come to what they come to one after another", "[calibration]") {
  const std::vector<Job> work = jobs(60);
  std::vector<CalibrationRow> rows = rows_of(work, World());
  for (std::size_t k = 0; k < rows.size(); ++k) rows[k].source = "source " + std::to_string(k % 7);
  CalibrationOptions options;
  options.leave_out = {LeaveOut::source, LeaveOut::device};
  std::vector<std::string> told;
  options.progress = [&](const std::string& what) { told.push_back(what); };
  const auto with_threads = [&](std::size_t threads) {
    const tbb::global_control control(tbb::global_control::max_allowed_parallelism, threads);
    told.clear();
    return calibrate(rows, constants(), believed, compiler(work), options);
  };
  const Calibration one = with_threads(1);
  const std::vector<std::string> in_order = told;
  const Calibration several = with_threads(5);
  CHECK(in_order.size() == 1 + 1 + 4 + 7 + 2);
  CHECK(std::is_permutation(told.begin(), told.end(), in_order.begin(), in_order.end()));
  CHECK(several.files == one.files);
  CHECK(several.uncertainty == one.uncertainty);
  for (std::size_t k = 0; k < rows.size(); ++k) {
    CHECK(several.rows[k].unseen.seconds == one.rows[k].unseen.seconds);
    CHECK(several.rows[k].without_source->seconds == one.rows[k].without_source->seconds);
    CHECK(several.rows[k].without_device->seconds == one.rows[k].without_device->seconds);
  }
}

TEST_CASE("elsewhere errors are those of left-out devices where no source was left out", "[calibration]") {
  const std::vector<Job> work = jobs(40);
  std::vector<CalibrationRow> rows = rows_of(work, World());
  CalibrationOptions options;
  CHECK_FALSE(calibrate(rows, constants(), believed, compiler(work), options).uncertainty.elsewhere);
  options.leave_out = {LeaveOut::device};
  const Uncertainty devices = calibrate(rows, constants(), believed, compiler(work), options).uncertainty;
  REQUIRE(devices.elsewhere);
  REQUIRE(devices.unknown_device);
  CHECK(devices.elsewhere->rows == devices.unknown_device->rows);
  // Known without its own runs a device is as fast as believed, which neither is: by far wider than errors of folds.
  CHECK(devices.elsewhere->high - devices.elsewhere->low > 2 * (devices.all.high - devices.all.low));
  options.leave_out = {LeaveOut::source, LeaveOut::device};
  for (CalibrationRow& row : rows) row.source = row.configuration;
  const Uncertainty both = calibrate(rows, constants(), believed, compiler(work), options).uncertainty;
  REQUIRE(both.elsewhere);
  CHECK(both.elsewhere->high - both.elsewhere->low < devices.elsewhere->high - devices.elsewhere->low);
}

TEST_CASE("layouts are derived again until they stay", "[calibration]") {
  // The layout (here: a factor on the time) is chosen by the constants: fast devices take another one.
  const std::vector<Job> work = jobs(60);
  std::size_t compiled = 0;
  const CompileRuns plain = compiler(work);
  const CompileRuns choosing = [&](const ConstantFiles& files) -> PriceRuns {
    ++compiled;
    const double factor = number(files.at("devices/a"), "speed") > 1.2 ? 1 : 2;
    return {[price = plain(files).exact, factor](const ConstantFiles& given, std::span<const std::uint32_t> rows) {
              std::vector<RunPrice> prices = price(given, rows);
              for (RunPrice& each : prices) each.seconds *= factor;
              return prices;
            },
            {},
            {}};
  };
  const tbb::global_control one_after_another(tbb::global_control::max_allowed_parallelism, 1);
  const Calibration result = calibrate(rows_of(work, World()), constants(), believed, choosing);
  // At the priors, to find what constants change and for all fits; after the first, in which all were too slow; after
  // the second. The last two again for each of the four folds.
  CHECK(compiled == 2 + 2 + 4 * 2);
  CHECK(result.rounds == 2);
  CHECK(result.layouts_stable);
  CHECK(result.constants[0].value == Approx(1.5).epsilon(0.01));
}
