#include "planner/plan/time_shares.hpp"

#include <fmt/format.h>

#include "planner/plan/readable.hpp"

namespace meshloom {

std::string time_shares_text(const Plan& plan) {
  std::string text;
  if (!plan.time_by_source) return text;
  const Seconds total = plan.time_by_source->total();
  for (auto source = all_time_sources.rbegin(); source != all_time_sources.rend(); ++source)
    if (const Seconds time = plan.time_by_source->of(*source); time > Seconds(0))
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", percent(time / total), name(*source));
  return text;
}

}  // namespace meshloom
