#include "planner/plan/readable.hpp"

#include <catch2/catch.hpp>
#include <limits>

using namespace meshloom;

TEST_CASE("a time is shown with three digits in the largest unit that it reaches") {
  CHECK(readable(Seconds(35.46)) == "35.5 s");
  CHECK(readable(Seconds(0.0867)) == "86.7 ms");
  CHECK(readable(Seconds(7.8e-6)) == "7.80 us");
  CHECK(readable(Seconds(123.4)) == "123 s");
  CHECK(readable(Seconds(0)) == "0 us");
}

TEST_CASE("a time that rounds up to the next unit is shown in it") {
  CHECK(readable(Seconds(0.99996)) == "1.00 s");  // not "1000 ms"
  CHECK(readable(Seconds(0.9994)) == "999 ms");
}

TEST_CASE("bytes are shown in powers of 1024") {
  CHECK(readable(Bytes(16.0 * 1024 * 1024 * 1024)) == "16.0 GiB");
  CHECK(readable(Bytes(1536)) == "1.50 KiB");
}

TEST_CASE("what is not finite is shown as a dash") {
  const double none = std::numeric_limits<double>::quiet_NaN();
  CHECK(readable(Seconds(none)) == "-");
  CHECK(percent(none) == "-");
  CHECK(percent(std::numeric_limits<double>::infinity()) == "-");
  CHECK(percent(0.155) == "15.5 %");
}

TEST_CASE("one of a thing has no plural") {
  CHECK(counted(1, "host") == "1 host");
  CHECK(counted(0, "host") == "0 hosts");
  CHECK(counted(3, "microbatch", "es") == "3 microbatches");
}
