#include "planner/plan/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>

#include "costmodel/groups.hpp"
#include "planner/plan/readable.hpp"

namespace meshloom {
namespace {

struct Unit {
  double size;
  std::string_view name;
};
using Texts = std::pair<std::string, std::string>;

// Both values in one unit, in as few digits as tell them apart.
Texts told_apart(double base, double next, std::initializer_list<Unit> units) {
  const double larger = std::max(std::abs(base), std::abs(next));
  const auto reached = std::find_if(units.begin(), units.end(), [&](const Unit& each) { return larger >= each.size; });
  const Unit unit = reached == units.end() ? *(units.end() - 1) : *reached;
  const auto print = [&](double value, int digits) {
    return fmt::format("{:.{}g} {}", value / unit.size, digits, unit.name);
  };
  int digits = 4;
  while (digits < 17 && print(base, digits) == print(next, digits)) ++digits;
  return {print(base, digits), print(next, digits)};
}
Texts told_apart(Seconds base, Seconds next) {
  return told_apart(base.value(), next.value(), {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}});
}
Texts told_apart(Bytes base, Bytes next) {
  return told_apart(base.value(), next.value(), {{1073741824.0, "GiB"}, {1048576.0, "MiB"}, {1024, "KiB"}, {1, "B"}});
}

std::string print(const std::vector<MeshAxis>& mesh) {
  std::string text;
  for (const MeshAxis& axis : mesh) text += fmt::format("{}{}={}", text.empty() ? "" : " ", axis.name, axis.size);
  return text.empty() ? "one device" : text;
}
std::string print(const Submesh& submesh) { return fmt::format("{} x {}", submesh.hosts, submesh.devices_per_host); }

std::string print(const std::vector<std::int64_t>& devices) {
  std::string text;
  for (std::size_t first = 0; first < devices.size();) {
    std::size_t last = first;
    while (last + 1 < devices.size() && devices[last + 1] == devices[last] + 1) ++last;
    text += text.empty() ? "" : ",";
    text += last > first ? fmt::format("{}-{}", devices[first], devices[last]) : fmt::format("{}", devices[first]);
    first = last + 1;
  }
  return text;
}

std::string print(const std::vector<Stage>& stages) {
  std::string text = fmt::format("{}", stages.size());
  for (std::size_t i = 0; i < stages.size(); ++i)
    text += fmt::format("{} layers {}-{} on {}", i == 0 ? ":" : ",", stages[i].first_layer, stages[i].last_layer,
                        print(stages[i].submesh));
  return text;
}

class Differences {
 public:
  explicit Differences(std::vector<PlanDifference>& list) : list_(list) {}

  void text(const std::string& path, std::string_view base, std::string_view next) {
    if (base != next) list_.push_back({path, std::string(base), std::string(next), {}, {}});
  }
  void count(const std::string& path, std::int64_t base, std::int64_t next) {
    if (base == next) return;
    list_.push_back(
        {path, fmt::format("{}", base), fmt::format("{}", next), static_cast<double>(base), static_cast<double>(next)});
  }
  template <typename Quantity>
  void quantity(const std::string& path, Quantity base, Quantity next) {
    if (base == next) return;
    Texts texts{readable(base), readable(next)};
    if (texts.first == texts.second) texts = told_apart(base, next);
    list_.push_back({path, texts.first, texts.second, base.value(), next.value()});
  }
  // A time that a plan may lack: then it is 0.
  void time_if_any(const std::string& path, Seconds base, Seconds next) {
    const bool both = base > Seconds(0) && next > Seconds(0);
    if (both || base == next) return quantity(path, base, next);
    const auto shown = [](Seconds time) { return time > Seconds(0) ? readable(time) : "none"; };
    const auto value = [](Seconds time) { return time > Seconds(0) ? std::optional(time.value()) : std::nullopt; };
    list_.push_back({path, shown(base), shown(next), value(base), value(next)});
  }
  void share(const std::string& path, double base, double next) {
    if (base == next) return;
    Texts texts{percent(base), percent(next)};
    if (texts.first == texts.second) texts = told_apart(base, next, {{0.01, "%"}});
    list_.push_back({path, texts.first, texts.second, base, next});
  }

 private:
  std::vector<PlanDifference>& list_;
};

void compare_memory(const std::string& path, const StageMemory& base, const StageMemory& next, Differences& found) {
  found.quantity(path + "/peak_bytes", base.peak(), next.peak());
  found.quantity(path + "/parameters_bytes", base.parameters, next.parameters);
  found.quantity(path + "/gradients_bytes", base.gradients, next.gradients);
  found.quantity(path + "/optimizer_bytes", base.optimizer, next.optimizer);
  found.quantity(path + "/activations_per_microbatch_bytes", base.activations_per_microbatch,
                 next.activations_per_microbatch);
  found.quantity(path + "/transient_bytes", base.transient, next.transient);
  found.quantity(path + "/overhead_bytes", base.overhead, next.overhead);
  found.count(path + "/in_flight", base.in_flight, next.in_flight);
}

void compare_stage(const std::string& path, const Stage& base, const Stage& next, Differences& found) {
  found.count(path + "/first_layer", base.first_layer, next.first_layer);
  found.count(path + "/last_layer", base.last_layer, next.last_layer);
  found.text(path + "/submesh", print(base.submesh), print(next.submesh));
  found.text(path + "/devices", print(base.devices), print(next.devices));
  found.text(path + "/mesh", print(base.mesh), print(next.mesh));
  found.text(path + "/recompute", name(base.recompute), name(next.recompute));
  found.text(path + "/parameter_state", parameter_state_text(base), parameter_state_text(next));
  found.quantity(path + "/forward_s", base.forward, next.forward);
  found.quantity(path + "/backward_s", base.backward, next.backward);
  found.quantity(path + "/forward_compute_s", base.forward_compute, next.forward_compute);
  found.quantity(path + "/backward_compute_s", base.backward_compute, next.backward_compute);
  found.quantity(path + "/backward_recompute_s", base.backward_recompute, next.backward_recompute);
  found.quantity(path + "/forward_waits_s", base.forward_waits, next.forward_waits);
  found.quantity(path + "/backward_waits_s", base.backward_waits, next.backward_waits);
  found.quantity(path + "/synchronization_s", base.synchronization, next.synchronization);
  found.quantity(path + "/synchronization_waits_s", base.synchronization_waits, next.synchronization_waits);
  found.quantity(path + "/update_s", base.update, next.update);
  found.quantity(path + "/boundary/forward_s", base.boundary.forward_time, next.boundary.forward_time);
  found.quantity(path + "/boundary/backward_s", base.boundary.backward_time, next.boundary.backward_time);
  compare_memory(path + "/memory", base.memory, next.memory, found);
}

void compare_totals(const Plan& base, const Plan& next, Differences& found) {
  found.text("/graph/name", base.graph_name, next.graph_name);
  found.text("/graph/digest", base.graph.digest, next.graph.digest);
  found.text("/cluster/name", base.cluster.name, next.cluster.name);
  found.count("/cluster/hosts", host_count(base.cluster), host_count(next.cluster));
  if (!base.cluster.groups.empty() || !next.cluster.groups.empty())
    found.text("/cluster/devices", devices_text(base.cluster), devices_text(next.cluster));
  found.text("/recipe/name", base.recipe.name, next.recipe.name);
  found.text("/origin", base.origin, next.origin);
  found.text("/status", name(base.status), name(next.status));
  found.time_if_any("/iteration_time_s", base.iteration_time, next.iteration_time);
  found.time_if_any("/estimate_s", base.estimate, next.estimate);
  found.time_if_any("/best_estimate_s", base.best_estimate, next.best_estimate);
  found.time_if_any("/lower_bound_s", base.lower_bound, next.lower_bound);
  found.share("/bubble_fraction", base.bubble_fraction, next.bubble_fraction);
  found.quantity("/peak_memory_bytes", base.peak_memory(), next.peak_memory());
  found.text("/schedule", name(base.schedule), name(next.schedule));
  if (base.program && next.program && *base.program != *next.program)
    found.text("/program", "its lists", "other lists");
  found.count("/global_batch", base.global_batch, next.global_batch);
  found.count("/microbatch_size", base.microbatch_size, next.microbatch_size);
  found.count("/microbatches", base.microbatches, next.microbatches);
}

// What the step times cannot be held against each other for.
std::vector<std::string> warnings_of(const Plan& base, const Plan& next) {
  std::vector<std::string> warnings;
  const bool digests = !base.graph.digest.empty() && !next.graph.digest.empty();
  if (base.graph_name != next.graph_name)
    warnings.push_back(fmt::format("the graphs differ: \"{}\" and \"{}\"", base.graph_name, next.graph_name));
  else if (digests && base.graph.digest != next.graph.digest)
    warnings.push_back(fmt::format("the graphs differ: two files named \"{}\", digests {} and {}", base.graph_name,
                                   base.graph.digest, next.graph.digest));
  if (base.global_batch != next.global_batch)
    warnings.push_back(
        fmt::format("the global batches differ: {} and {} samples per step", base.global_batch, next.global_batch));
  return warnings;
}

// A plan without a simulated time, an infeasible one, takes forever.
double slowdown(Seconds base, Seconds next) {
  const bool base_runs = base > Seconds(0);
  const bool next_runs = next > Seconds(0);
  if (base_runs && next_runs) return next / base - 1;
  if (base_runs) return std::numeric_limits<double>::infinity();
  return next_runs ? -1 : 0;
}

}  // namespace

Comparison compare_plans(const Plan& base, const Plan& next) {
  Comparison comparison{base.iteration_time,
                        next.iteration_time,
                        slowdown(base.iteration_time, next.iteration_time),
                        warnings_of(base, next),
                        {}};
  Differences found(comparison.differences);
  compare_totals(base, next, found);
  if (base.stages.size() != next.stages.size()) {
    found.text("/stages", print(base.stages), print(next.stages));
    return comparison;
  }
  for (std::size_t i = 0; i < base.stages.size(); ++i)
    compare_stage(fmt::format("/stages/{}", i), base.stages[i], next.stages[i], found);
  return comparison;
}

}  // namespace meshloom
