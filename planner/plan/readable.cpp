#include "planner/plan/readable.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

namespace meshloom {
namespace {

struct Scale {
  double from;
  std::string_view unit;
};

// Three significant digits in the largest unit that the value reaches.
std::string scaled(double value, const std::vector<Scale>& scales) {
  if (!std::isfinite(value)) return "-";
  const auto fits = [&](const Scale& scale) { return std::abs(value) >= scale.from * 0.9995; };
  auto scale = std::find_if(scales.begin(), scales.end(), fits);
  if (value == 0 || scale == scales.end()) scale = scales.end() - 1;
  const double shown = value / scale->from;
  const int digits = std::abs(shown) >= 99.95 ? 0 : std::abs(shown) >= 9.995 ? 1 : 2;
  return value == 0 ? fmt::format("0 {}", scale->unit) : fmt::format("{:.{}f} {}", shown, digits, scale->unit);
}

}  // namespace

std::string readable(Seconds time) { return scaled(time.value(), {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}}); }

std::string readable(Bytes size) {
  return scaled(size.value(), {{1024.0 * 1024 * 1024, "GiB"}, {1024.0 * 1024, "MiB"}, {1024, "KiB"}, {1, "B"}});
}

std::string percent(double share) { return std::isfinite(share) ? fmt::format("{:.1f} %", 100 * share) : "-"; }

std::string counted(std::int64_t count, std::string_view noun, std::string_view plural_ending) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : plural_ending);
}

}  // namespace meshloom
