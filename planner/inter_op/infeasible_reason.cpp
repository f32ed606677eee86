#include "planner/inter_op/infeasible_reason.hpp"

#include <fmt/format.h>

#include <vector>

namespace meshloom {
namespace {

// Entries that no stage may have, not even as the last one, do not count.
std::vector<bool> layers_with_entries(const InterOpProblem& problem) {
  std::vector<std::int64_t> changes(problem.layers + 1, 0);
  for (const StageOption& option : problem.options) {
    if (option.max_following_stages < 0) continue;
    ++changes[option.first];
    --changes[option.last + 1];
  }
  std::vector<bool> has_entry(problem.layers);
  std::int64_t entries = 0;
  for (std::uint32_t layer = 0; layer < problem.layers; ++layer) {
    entries += changes[layer];
    has_entry[layer] = entries > 0;
  }
  return has_entry;
}

// "3–5, 7".
std::string missing_ranges(const std::vector<bool>& present) {
  std::string text;
  for (std::size_t first = 0; first < present.size(); ++first) {
    if (present[first]) continue;
    std::size_t last = first;
    while (last + 1 < present.size() && !present[last + 1]) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ",
                        first == last ? fmt::format("{}", first) : fmt::format("{}–{}", first, last));
    first = last;
  }
  return text;
}

}  // namespace

std::string reason_of_infeasibility(const InterOpProblem& problem) {
  const std::string missing = missing_ranges(layers_with_entries(problem));
  if (!missing.empty())
    return fmt::format("no entry that may be a stage holds layer{} {}",
                       missing.find_first_of(",\xe2") == std::string::npos ? "" : "s", missing);
  return fmt::format(
      "no entries together cover layers 0–{}, use all {} devices and have no more stages after them than they bear",
      problem.layers - 1, problem.hosts * problem.devices_per_host);
}

}  // namespace meshloom
