#include "planner/plan/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace meshloom {
namespace {

struct Scale {
  double factor;
  const char* unit;
};
constexpr std::array time_scales{Scale{1, "s"}, Scale{1e-3, "ms"}, Scale{1e-6, "us"}};
constexpr std::array byte_scales{Scale{1099511627776.0, "TiB"}, Scale{1073741824.0, "GiB"}, Scale{1048576.0, "MiB"},
                                 Scale{1024.0, "KiB"}, Scale{1, "B"}};

// In the largest unit that leaves at least 1.
template <std::size_t count>
std::string scaled(double value, const std::array<Scale, count>& scales, int digits) {
  const Scale* scale = std::find_if(scales.begin(), scales.end(), [value](Scale s) { return value >= s.factor; });
  if (scale == scales.end()) --scale;
  if (value == 0) return "0";
  return fmt::format("{:.{}g} {}", value / scale->factor, digits, scale->unit);
}
std::string print(Seconds value, int digits) { return scaled(value.value(), time_scales, digits); }
std::string print(Bytes value, int digits) { return scaled(value.value(), byte_scales, digits); }
std::string print(double value, int digits) { return fmt::format("{:.{}g}", value, digits); }

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
    if (base != next) list_.push_back({path, std::string(base), std::string(next)});
  }
  void count(const std::string& path, std::int64_t base, std::int64_t next) {
    text(path, fmt::format("{}", base), fmt::format("{}", next));
  }
  // Four digits, or as many as it takes to tell the two apart.
  template <typename Number>
  void number(const std::string& path, Number base, Number next) {
    if (base == next) return;
    int digits = 4;
    while (digits < 17 && print(base, digits) == print(next, digits)) ++digits;
    text(path, print(base, digits), print(next, digits));
  }

 private:
  std::vector<PlanDifference>& list_;
};

void compare_memory(const std::string& path, const StageMemory& base, const StageMemory& next, Differences& found) {
  found.number(path + "/peak_bytes", base.peak(), next.peak());
  found.number(path + "/parameters_bytes", base.parameters, next.parameters);
  found.number(path + "/gradients_bytes", base.gradients, next.gradients);
  found.number(path + "/optimizer_bytes", base.optimizer, next.optimizer);
  found.number(path + "/activations_per_microbatch_bytes", base.activations_per_microbatch,
               next.activations_per_microbatch);
  found.number(path + "/transient_bytes", base.transient, next.transient);
  found.number(path + "/overhead_bytes", base.overhead, next.overhead);
  found.count(path + "/in_flight", base.in_flight, next.in_flight);
}

void compare_stage(const std::string& path, const Stage& base, const Stage& next, Differences& found) {
  found.count(path + "/first_layer", base.first_layer, next.first_layer);
  found.count(path + "/last_layer", base.last_layer, next.last_layer);
  found.text(path + "/submesh", print(base.submesh), print(next.submesh));
  found.text(path + "/devices", print(base.devices), print(next.devices));
  found.text(path + "/mesh", print(base.mesh), print(next.mesh));
  found.text(path + "/recompute", name(base.recompute), name(next.recompute));
  found.text(path + "/parameter_state", name(base.parameter_state), name(next.parameter_state));
  found.number(path + "/forward_s", base.forward, next.forward);
  found.number(path + "/backward_s", base.backward, next.backward);
  found.number(path + "/forward_compute_s", base.forward_compute, next.forward_compute);
  found.number(path + "/backward_compute_s", base.backward_compute, next.backward_compute);
  found.number(path + "/synchronization_s", base.synchronization, next.synchronization);
  found.number(path + "/update_s", base.update, next.update);
  found.number(path + "/boundary/forward_s", base.boundary.forward_time, next.boundary.forward_time);
  found.number(path + "/boundary/backward_s", base.boundary.backward_time, next.boundary.backward_time);
  compare_memory(path + "/memory", base.memory, next.memory, found);
}

void compare_totals(const Plan& base, const Plan& next, Differences& found) {
  found.text("/graph/name", base.graph_name, next.graph_name);
  found.text("/graph/digest", base.graph.digest, next.graph.digest);
  found.text("/cluster/name", base.cluster.name, next.cluster.name);
  found.count("/cluster/hosts", base.cluster.hosts, next.cluster.hosts);
  found.text("/recipe/name", base.recipe.name, next.recipe.name);
  found.text("/origin", base.origin, next.origin);
  found.text("/status", name(base.status), name(next.status));
  found.number("/iteration_time_s", base.iteration_time, next.iteration_time);
  found.number("/estimate_s", base.estimate, next.estimate);
  found.number("/best_estimate_s", base.best_estimate, next.best_estimate);
  found.number("/lower_bound_s", base.lower_bound, next.lower_bound);
  found.number("/bubble_fraction", base.bubble_fraction, next.bubble_fraction);
  found.number("/peak_memory_bytes", base.peak_memory(), next.peak_memory());
  found.text("/schedule", name(base.schedule), name(next.schedule));
  found.count("/global_batch", base.global_batch, next.global_batch);
  found.count("/microbatch_size", base.microbatch_size, next.microbatch_size);
  found.count("/microbatches", base.microbatches, next.microbatches);
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
  Comparison comparison{
      base.iteration_time, next.iteration_time, slowdown(base.iteration_time, next.iteration_time), {}};
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
