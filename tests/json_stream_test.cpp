#include "graphs/json_stream.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

using Catch::Matchers::Equals;

std::string gzipped(const std::string& text) {
  z_stream deflation{};
  constexpr int gzip = 16 + MAX_WBITS;
  REQUIRE(deflateInit2(&deflation, Z_BEST_SPEED, Z_DEFLATED, gzip, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string result(deflateBound(&deflation, text.size()) + 64, '\0');
  deflation.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(text.data()));
  deflation.avail_in = static_cast<unsigned>(text.size());
  deflation.next_out = reinterpret_cast<unsigned char*>(result.data());
  deflation.avail_out = static_cast<unsigned>(result.size());
  REQUIRE(deflate(&deflation, Z_FINISH) == Z_STREAM_END);
  result.resize(deflation.total_out);
  deflateEnd(&deflation);
  return result;
}

std::vector<std::int64_t> integers_of(const std::string& text) {
  JsonStream stream(text, "f");
  std::vector<std::int64_t> numbers;
  stream.integers(-5, numbers);
  stream.end();
  return numbers;
}

template <typename Read>
std::string complaint_of(const Read& read) {
  try {
    read();
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

std::string complaint(const std::string& text) {
  return complaint_of([&] { integers_of(text); });
}

double number_of(const std::string& text) {
  JsonStream stream(text, "f");
  const double number = stream.number(-1e300);
  stream.end();
  return number;
}

std::string string_of(const std::string& text) {
  JsonStream stream(text, "f");
  std::string result = stream.string();
  stream.end();
  return result;
}

TEST_CASE("a stream reads what is longer than its buffer, however it is cut", "[json_stream]") {
  std::string text = "[";
  for (std::int64_t i = 0; i < 100'000; ++i) text += std::to_string(i * 7919) + (i % 3 == 0 ? " ,\n" : ",");
  text += "1 ]";
  const std::vector<std::int64_t> numbers = integers_of(text);
  REQUIRE(numbers.size() == 100'001);
  bool is_equal = true;
  for (std::int64_t i = 0; i < 100'000; ++i) is_equal &= numbers[static_cast<std::size_t>(i)] == i * 7919;
  CHECK(is_equal);
  CHECK(integers_of(gzipped(text)) == numbers);
}

TEST_CASE("whole numbers are those of 64 bits, in digits", "[json_stream]") {
  CHECK(integers_of(" [ 0,-0,-5 , 9223372036854775807 ] \n") ==
        std::vector<std::int64_t>{0, 0, -5, 9223372036854775807});
  CHECK_THAT(complaint("[1, 9223372036854775808]"),
             Equals("f: /1: the number 9223372036854775808 is too large; numbers here go from -5 to "
                    "9223372036854775807"));
  CHECK_THAT(complaint("[1.0]"), Equals("f: /0: expected a whole number, found the number 1.0; write it in digits, "
                                        "without fraction or exponent"));
  CHECK_THAT(complaint("[1e3]"), Equals("f: /0: expected a whole number, found the number 1e3; write it in digits, "
                                        "without fraction or exponent"));
  CHECK_THAT(complaint("[-6]"), Equals("f: /0: must be at least -5, is -6"));
  for (const std::string bad : {"NaN", "01", "-01", "+1", "1x", "0x10", "Infinity", "null", "-"})
    CHECK_THAT(complaint("[3, " + bad + "]"), Equals("f: /1: expected a whole number, found " + bad));
  CHECK_THAT(complaint("[\"1\"]"), Equals("f: /0: expected a whole number, found the string \"1\""));
  CHECK_THAT(complaint("[[1]]"), Equals("f: /0: expected a whole number, found an array"));
}

TEST_CASE("numbers with fractions are read to the last bit and are finite", "[json_stream]") {
  CHECK(number_of("0.1") == 0.1);
  CHECK(number_of("-12.5e-3") == -0.0125);
  for (const std::string bad : {"nan", "Infinity", "1.", ".5", "01.5", "1e", "--1"})
    CHECK_THAT(complaint_of([&] { number_of(bad); }), Catch::Matchers::StartsWith("f: expected a number, found "));
  CHECK_THAT(complaint_of([] { number_of("1e999"); }), Equals("f: the number 1e999 is out of range"));
}

TEST_CASE("strings are unescaped", "[json_stream]") {
  CHECK(string_of(R"("a\"\\\/\n\u00e9\ud83d\ude00")") == "a\"\\/\n\xC3\xA9\xF0\x9F\x98\x80");
  for (const std::string bad : {R"("\x")", R"("\u12g4")", R"("\ud83d")", "\"\n\"", R"("\ude00")"})
    CHECK_THAT(complaint_of([&] { string_of(bad); }), Catch::Matchers::StartsWith("f: is not valid JSON: "));
}

TEST_CASE("what is no JSON is refused with its place", "[json_stream]") {
  CHECK_THAT(complaint(""), Equals("f: is empty; expected JSON"));
  CHECK_THAT(complaint(" \n "), Equals("f: is empty; expected JSON"));
  CHECK_THAT(complaint("{}"), Equals("f: expected an array, found an object"));
  CHECK_THAT(complaint("[1,]"), Equals("f: /1: expected a whole number, found ']'"));
  CHECK_THAT(complaint("[1 2]"), Equals("f: is not valid JSON: expected ',' or ']', found the number 2 (byte 4)"));
  CHECK_THAT(complaint("[1] 2"), Equals("f: something follows the JSON value: the number 2; remove it"));
  CHECK_THAT(complaint("[1"), Equals("f: the file ends here, it is cut off; copy or write it again"));
}

TEST_CASE("keys are known, given once and complete", "[json_stream]") {
  const auto read = [](const std::string& text) {
    return complaint_of([&] {
      JsonStream stream(text, "f");
      stream.object({.required = {"first", "last"}, .optional = {"name"}},
                    [&](std::string_view) { stream.integer(0); });
      stream.end();
    });
  };
  CHECK(read(R"({"last": 1, "first": 2})") == "none");
  CHECK_THAT(read(R"({"frist": 1})"), Equals("f: unknown key \"frist\"; did you mean \"first\"?"));
  CHECK_THAT(read(R"({"zzzzzz": 1})"), Equals("f: unknown key \"zzzzzz\"; allowed here: first, last, name"));
  CHECK_THAT(read(R"({"last": 1, "last": 1})"), Equals("f: the key \"last\" stands twice in one object; keep one"));
  CHECK_THAT(read(R"({"last": 1})"), Equals("f: missing key \"first\""));
  CHECK_THAT(read(R"({"last" 1})"),
             Equals("f: is not valid JSON: expected ':' after \"last\", found the number 1 (byte 9)"));
  CHECK_THAT(read(R"({last: 1})"), Equals("f: is not valid JSON: expected a key in quotes, found last (byte 2)"));
}

TEST_CASE("pieces of gzip data may follow each other, nothing else may", "[json_stream]") {
  CHECK(integers_of(gzipped("[1, ") + gzipped("2]")) == std::vector<std::int64_t>{1, 2});
  CHECK_THAT(complaint(gzipped("[1]") + "[2]"),
             Equals("f: something follows the gzip data; copy or compress the file again"));
}

TEST_CASE("gzip data that is cut off or damaged anywhere is refused", "[json_stream]") {
  std::string text = "[0";
  for (int i = 1; i < 300; ++i) text += fmt::format(",{}", i * i);
  const std::string whole = gzipped(text + "]");
  for (std::size_t size = 2; size < whole.size(); ++size) {
    INFO("cut off after " << size << " of " << whole.size() << " bytes");
    REQUIRE_THAT(complaint(whole.substr(0, size)),
                 Equals("f: the gzip data is cut off; copy or compress the file again"));
  }
  std::string damaged = whole;
  damaged[damaged.size() - 6] ^= 1;  // in the checksum
  CHECK_THAT(complaint(damaged),
             Equals("f: the gzip data is damaged (incorrect data check); copy or compress the file again"));
}

}  // namespace
}  // namespace meshloom
