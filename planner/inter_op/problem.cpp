#include "planner/inter_op/problem.hpp"

#include <algorithm>
#include <numeric>

#include "planner/inter_op/placement.hpp"

namespace meshloom {
namespace {

// Depth-first over all sequences of options that follow on each other. Fewer stages win ties, then lower positions.
class Enumeration {
 public:
  explicit Enumeration(const InterOpProblem& problem) : problem_(problem) {}

  InterOpSolution run() {
    visit(0, 0);
    return best_;
  }

 private:
  void visit(std::uint32_t first_layer, std::int64_t offset) {
    if (first_layer == problem_.layers) return consider();
    for (std::uint32_t i = 0; i < problem_.options.size(); ++i) {
      const StageOption& option = problem_.options[i];
      const Submesh& submesh = problem_.submeshes[option.submesh];
      if (option.first != first_layer || !can_start_at(problem_, submesh, offset)) continue;
      chosen_.push_back(i);
      visit(option.last + 1, offset + submesh.devices());
      chosen_.pop_back();
    }
  }

  void consider() {
    std::optional<Seconds> objective = objective_of(problem_, chosen_);
    if (!objective) return;
    auto better = [&] {
      if (*objective != best_.objective) return *objective < best_.objective;
      if (chosen_.size() != best_.options.size()) return chosen_.size() < best_.options.size();
      return chosen_ < best_.options;
    };
    if (!best_.feasible || better()) best_ = {true, *objective, chosen_};
  }

  const InterOpProblem& problem_;
  std::vector<std::uint32_t> chosen_;
  InterOpSolution best_;
};

}  // namespace

std::optional<Seconds> objective_of(const InterOpProblem& problem, const std::vector<std::uint32_t>& options) {
  if (problem.stages && options.size() != *problem.stages) return std::nullopt;
  std::uint32_t next_layer = 0;
  std::int64_t offset = 0, following = static_cast<std::int64_t>(options.size());
  Seconds sum, largest, exposed, backward_before;
  for (std::uint32_t position : options) {
    const StageOption& option = problem.options[position];
    const Submesh& submesh = problem.submeshes[option.submesh];
    if (option.first != next_layer || !can_start_at(problem, submesh, offset)) return std::nullopt;
    if (option.max_following_stages < --following) return std::nullopt;
    std::int64_t end = offset + submesh.devices();
    TimesWithSends times = times_with_sends(problem, option, link_at(problem, offset), link_at(problem, end));
    sum += times.forward + times.backward;
    largest = std::max(largest, times.forward + times.backward);
    exposed = std::max(exposed, option.per_step - backward_before);
    backward_before += times.backward;
    next_layer = option.last + 1;
    offset = end;
  }
  if (next_layer != problem.layers || offset != device_count(problem)) return std::nullopt;
  return sum + static_cast<double>(problem.microbatches - 1) * largest + exposed;
}

InterOpProblem in_larger_units(InterOpProblem problem) {
  std::vector<std::optional<std::uint32_t>> position(problem.submeshes.size());
  std::vector<Submesh> used;
  for (StageOption& option : problem.options) {
    if (!position[option.submesh]) {
      position[option.submesh] = static_cast<std::uint32_t>(used.size());
      used.push_back(problem.submeshes[option.submesh]);
    }
    option.submesh = *position[option.submesh];
  }
  std::int64_t unit = problem.hosts;
  for (const Submesh& submesh : used)
    unit = submesh.devices_per_host == problem.devices_per_host ? std::gcd(unit, submesh.hosts) : 1;
  for (Submesh& submesh : used) submesh.hosts /= unit;
  if (problem.lanes) problem.lanes->hosts_per_unit = unit;
  problem.hosts /= unit;
  problem.submeshes = std::move(used);
  return problem;
}

InterOpSolution solve_inter_op_by_enumeration(const InterOpProblem& problem) { return Enumeration(problem).run(); }

}  // namespace meshloom
