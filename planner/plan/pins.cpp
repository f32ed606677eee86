#include "planner/plan/pins.hpp"

#include <fmt/format.h>

#include "planner/plan/readable.hpp"

namespace meshloom {

std::string print(const Pin& pin) {
  const bool op = pin.subject == Pin::Subject::op;
  std::string parts;
  for (const auto& [what, degree] : pin.shard)
    parts += fmt::format("{}{}{} in {}", parts.empty() ? "" : ", ", op ? "" : "dimension ",
                         what == "*" ? "every other factor" : what, degree ? counted(*degree, "part") : "all parts");
  for (const auto& [axis, value] : pin.axes)
    parts += fmt::format("{}axis {} {}", parts.empty() ? "" : ", ", axis,
                         !op             ? value
                         : value.empty() ? "shards nothing"
                                         : "shards " + value);
  return fmt::format("{} {}: {}", op ? "op" : "tensor", pin.pattern, parts);
}

}  // namespace meshloom
