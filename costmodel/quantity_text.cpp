#include "costmodel/quantity_text.hpp"

#include <fmt/format.h>

#include <initializer_list>
#include <optional>
#include <string_view>

namespace meshloom {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// The shortest text over the units that reads back exactly; the last unit has factor 1, so there always is one.
std::string shortest(double value, std::initializer_list<Unit> units) {
  std::optional<std::string> best;
  for (const Unit& unit : units) {
    for (const std::string& number : {fmt::format("{:.15g}", value / unit.factor), fmt::format("{}", value)}) {
      if (std::stod(number) * unit.factor != value) continue;
      const std::string text = fmt::format("{} {}", number, unit.name);
      if (!best || text.size() < best->size()) best = text;
    }
  }
  return *best;
}

constexpr double kibi = 1024;

}  // namespace

std::string text_of(Bytes bytes) {
  return shortest(bytes.value(),
                  {{"GB", 1e9}, {"GiB", kibi * kibi * kibi}, {"MB", 1e6}, {"MiB", kibi * kibi}, {"B", 1}});
}

std::string text_of(BytesPerSecond bandwidth) {
  return shortest(bandwidth.value(), {{"GB/s", 1e9}, {"Gbit/s", 1e9 / 8}, {"B/s", 1}});
}

std::string text_of(FlopsPerSecond speed) { return shortest(speed.value(), {{"TFLOP/s", 1e12}, {"FLOP/s", 1}}); }

std::string text_of(Seconds time) { return shortest(time.value(), {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}); }

}  // namespace meshloom
