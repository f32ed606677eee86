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
    sum += times.forward + times.backward + times.sends_beside();
    largest = std::max(largest, times.period());
    exposed = std::max(exposed, option.per_step - backward_before);
    backward_before += times.backward;
    next_layer = option.last + 1;
    offset = end;
  }
  if (next_layer != problem.layers || offset != device_count(problem)) return std::nullopt;
  return sum + static_cast<double>(problem.microbatches - 1) * largest + exposed;
}

namespace {

// Counts a group's hosts, also in its submeshes, in units of as many as all these submeshes are multiples of.
std::int64_t enlarge_unit(std::int64_t& hosts, std::int64_t devices_per_host, std::uint32_t group,
                          std::vector<Submesh>& submeshes) {
  std::int64_t unit = hosts;
  for (const Submesh& submesh : submeshes)
    if (submesh.group == group) unit = submesh.devices_per_host == devices_per_host ? std::gcd(unit, submesh.hosts) : 1;
  for (Submesh& submesh : submeshes)
    if (submesh.group == group) submesh.hosts /= unit;
  hosts /= unit;
  return unit;
}

}  // namespace

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
  const std::int64_t unit = enlarge_unit(problem.hosts, problem.devices_per_host, 0, used);
  if (problem.lanes) problem.lanes->hosts_per_unit = unit;
  for (std::uint32_t g = 0; g < problem.further_groups.size(); ++g) {
    InterOpProblem::FurtherGroup& group = problem.further_groups[g];
    const std::int64_t of_group = enlarge_unit(group.hosts, group.devices_per_host, g + 1, used);
    if (group.lanes) group.lanes->hosts_per_unit = of_group;
  }
  problem.submeshes = std::move(used);
  return problem;
}

InterOpSolution solve_inter_op_by_enumeration(const InterOpProblem& problem) { return Enumeration(problem).run(); }

}  // namespace meshloom
