#include "graphs/units.hpp"

#include <catch2/catch.hpp>
#include <type_traits>

#include "costmodel/quantity_text.hpp"

using namespace meshloom;

TEST_CASE("bytes over bandwidth are seconds") {
  const Seconds time = Bytes(3e9) / BytesPerSecond(1.5e9);
  CHECK(time == Seconds(2));
  static_assert(std::is_same_v<decltype(Flops(1) / Seconds(1)), FlopsPerSecond>);
  static_assert(std::is_same_v<decltype(BytesPerSecond(1) * Seconds(1)), Bytes>);
}

TEST_CASE("a quotient of equal units is a plain number") {
  static_assert(std::is_same_v<decltype(Bytes(6) / Bytes(2)), double>);
  CHECK(Bytes(6) / Bytes(2) == 3);
}

TEST_CASE("quantities of different units do not add, compare or convert") {
  static_assert(!std::is_convertible_v<double, Bytes>);
  static_assert(!std::is_constructible_v<Bytes, Seconds>);
  static_assert(!std::is_assignable_v<Seconds&, Bytes>);
  SUCCEED();
}

TEST_CASE("a quantity is written in the shortest unit that reads back exactly") {
  CHECK(text_of(Bytes(16 * 1073741824.0)) == "16 GiB");
  CHECK(text_of(Bytes(180e9)) == "180 GB");
  CHECK(text_of(Bytes(2)) == "2 B");
  CHECK(text_of(BytesPerSecond(25e9 / 8)) == "25 Gbit/s");
  CHECK(text_of(BytesPerSecond(900e9)) == "900 GB/s");
  CHECK(text_of(FlopsPerSecond(15.7 * 1e12)) == "15.7 TFLOP/s");
  CHECK(text_of(Seconds(6.4 * 1e-6)) == "6.4 us");
  CHECK(text_of(Seconds(0)) == "0 s");
}
