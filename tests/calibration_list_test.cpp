#include "accuracy/calibration_list.hpp"

#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

const ConstantFiles files{{"devices/a100", R"({"name": "A100", "gemm": {"of_peak": 0.8}, "launch": "5 us"})"},
                          {"devices/h100", R"({"name": "H100", "gemm": {"of_peak": 0.7}, "launch": "4 us"})"},
                          {"recipes/nemo", R"({"name": "nemo", "kernel_sets": {"te": {"elementwise_traffic": 1}}})"}};

std::vector<CalibratedConstant> parse(const std::string& constants) {
  return parse_calibration_list(R"({"schema": "meshloom.calibration/1", "constants": [)" + constants + "]}",
                                "list.json", files);
}

const std::string rest = R"("prior": 0.8, "spread": 0.1, "low": 0.1, "high": 1, "source": "a guess"})";

}  // namespace

TEST_CASE("each_of makes a constant per file, files one value in all of them", "[calibration]") {
  const auto constants =
      parse(R"({"each_of": ["devices/a100", "devices/h100"], "pointer": "/gemm/of_peak", )" + rest +
            R"(, {"files": ["devices/a100", "devices/h100"], "pointer": "/launch", "unit": "us", )" + rest);
  REQUIRE(constants.size() == 3);
  CHECK(constants[0].name() == "devices/a100 /gemm/of_peak");
  CHECK(constants[2].name() == "devices/a100 and 1 more /launch");
  const ConstantFiles patched = with_values(files, constants, {0.5, 0.25, 7});
  CHECK(patched.at("devices/a100").find(R"("of_peak": 0.5)") != std::string::npos);
  CHECK(patched.at("devices/h100").find(R"("of_peak": 0.25)") != std::string::npos);
  CHECK(patched.at("devices/h100").find(R"("launch": "7 us")") != std::string::npos);
  CHECK(patched.at("recipes/nemo") == files.at("recipes/nemo"));  // untouched, byte by byte
}

TEST_CASE("what is written a second time is what one would write the first time", "[calibration]") {
  const auto constants =
      parse(R"({"each_of": ["devices/a100", "devices/h100"], "pointer": "/gemm/of_peak", )" + rest +
            R"(, {"files": ["devices/a100", "devices/h100"], "pointer": "/launch", "unit": "us", )" + rest);
  ConstantWriter writer(files, constants);
  for (const std::vector<double>& values :
       {std::vector<double>{0.5, 0.25, 7}, {0.5, 0.25, 7}, {0.5, 0.75, 7}, {0.125, 0.75, 9}})
    CHECK(writer.with(values) == with_values(files, constants, values));
}

TEST_CASE("a number that a recipe inherits may be set in it", "[calibration]") {
  const auto constants =
      parse(R"({"files": ["recipes/nemo"], "pointer": "/kernel_sets/te/exposed_sends", "scale": "linear", )" + rest);
  CHECK(constants[0].unknown.scale == ConstantScale::linear);
  CHECK(with_values(files, constants, {0.5}).at("recipes/nemo").find(R"("exposed_sends": 0.5)") != std::string::npos);
}

TEST_CASE("a constant may be like those of a file, whose constant it is then around", "[calibration]") {
  const auto constants = parse(
      R"({"files": ["recipes/nemo"], "pointer": "/kernel_sets/te/launch", "typical": "devices/h100", "spread": 0.2,
          "low": 0.1, "high": 0.5, "source": "as others"}, {"each_of": ["devices/a100", "devices/h100"],
          "pointer": "/launch", )" +
      rest);
  REQUIRE(constants.size() == 3);
  CHECK(constants[0].unknown.around == std::optional<std::size_t>(2));  // the h100's, without the kernel set
  CHECK(constants[0].unknown.spread == 0.2);
  CHECK(constants[0].unknown.prior == 0.5);  // 0.8 is beyond its own bounds
  CHECK_FALSE(constants[2].unknown.around);
}

TEST_CASE("what a list says of typical constants is checked", "[calibration]") {
  const std::string tail = R"("spread": 0.1, "low": 0.1, "high": 1, "source": ""})";
  const std::string like = R"({"files": ["devices/a100"], "pointer": "/launch", "typical": "devices/h100", )" + tail;
  CHECK_THROWS_WITH(parse(like),
                    R"(list.json: /constants/0/typical: needs a constant "/launch" of "devices/h100" in the )"
                    "list, with a prior of its own");
  CHECK_THROWS_WITH(
      parse(like + R"(, {"files": ["devices/h100"], "pointer": "/launch", "typical": "devices/a100", )" + tail),
      Catch::Contains("/constants/0/typical: needs a constant"));
  CHECK_THROWS_WITH(parse(like + R"(, {"files": ["devices/h100"], "pointer": "/launch", "unit": "us", )" + rest),
                    Catch::Contains("/constants/0/typical: \"/launch\" of \"devices/h100\" has another unit"));
  CHECK_THROWS_WITH(parse(R"({"files": ["devices/a100"], "pointer": "/launch", "typical": "devices/h100", )" + rest),
                    R"(list.json: /constants/0: needs either "prior" or "typical")");
  CHECK_THROWS_WITH(parse(R"({"files": ["devices/a100"], "pointer": "/launch", )" + tail),
                    R"(list.json: /constants/0: needs either "prior" or "typical")");
}

TEST_CASE("what a list of constants gets wrong is named with its place", "[calibration]") {
  CHECK_THROWS_WITH(parse(R"({"files": ["devices/a10"], "pointer": "/launch", )" + rest),
                    R"(list.json: /constants/0/files/0: no device file or recipe "devices/a10"; did you mean )"
                    R"("devices/a100"?)");
  CHECK_THROWS_WITH(parse(R"({"files": ["devices/a100"], "pointer": "/gem/of_peak", )" + rest),
                    R"(list.json: /constants/0/pointer: "devices/a100" has nothing at "/gem/of_peak")");
  CHECK_THROWS_WITH(parse(R"({"files": ["devices/a100"], "pointer": "/gemm", )" + rest),
                    R"(list.json: /constants/0/pointer: is no number in "devices/a100")");
  CHECK_THROWS_WITH(parse(R"({"pointer": "/launch", )" + rest),
                    R"(list.json: /constants/0: needs either "files" or "each_of")");
  CHECK_THROWS_WITH(parse(R"({"files": ["gpu"], "pointer": "/launch", )" + rest),
                    R"(list.json: /constants/0/files/0: no device file or recipe "gpu"; they are named as )"
                    R"("devices/a100" is)");
  CHECK_THROWS_WITH(parse(""), "list.json: /constants: names no constant to fit");
  const std::string twice = R"({"files": ["devices/a100"], "pointer": "/launch", )" + rest;
  CHECK_THROWS_WITH(parse(twice + ", " + twice),
                    R"(list.json: /constants/1: "/launch" of "devices/a100" is fitted twice; name it once)");
  CHECK_THROWS_AS(parse(R"({"files": ["devices/a100"], "pointer": "/launch", "prior": 2, "spread": 0.1, "low": 0.1,
                           "high": 1, "source": ""})"),
                  InputError);
  CHECK_THROWS_AS(parse(R"({"files": ["devices/a100"], "pointer": "/launch", "prior": 0.2, "spread": 0, "low": 0.1,
                           "high": 1, "source": ""})"),
                  InputError);
  CHECK_THROWS_AS(parse(R"({"files": ["devices/a100"], "pointer": "/launch", "prior": 0.2, "spread": 1, "low": 0,
                           "high": 1, "source": ""})"),
                  InputError);  // a logarithm needs more than 0
}
