#include "planner/inter_op/schedules.hpp"

#include <algorithm>

#include "planner/inter_op/even_table.hpp"
#include "planner/plan/program.hpp"
#include "planner/plan/schedule_formula.hpp"

namespace meshloom {
namespace {

bool lies_on_equal_submeshes(ScheduleKind kind) { return kind == ScheduleKind::interleaved || splits_backward(kind); }

StageTimes stage_times(const StageOption& option, const TimesWithSends& times) {
  return {times.forward, times.backward,          option.per_step,       option.backward_weight,
          option.shared, times.activation_beside, times.gradient_beside, times.link_beside};
}

bool cover_all_layers(const InterOpProblem& problem, const std::vector<std::uint32_t>& options) {
  std::uint32_t next = 0;
  for (const std::uint32_t position : options) {
    if (problem.options[position].first != next) return false;
    next = problem.options[position].last + 1;
  }
  return next == problem.layers;
}

// None where the stages do not lie one behind the other on all devices.
std::optional<std::vector<StageTimes>> times_in_a_row(const InterOpProblem& problem,
                                                      const std::vector<std::uint32_t>& options) {
  std::vector<StageTimes> times;
  std::int64_t offset = 0;
  for (const std::uint32_t position : options) {
    const StageOption& option = problem.options[position];
    const Submesh& submesh = problem.submeshes[option.submesh];
    if (!can_start_at(problem, submesh, offset)) return std::nullopt;
    const std::int64_t end = offset + submesh.devices();
    times.push_back(
        stage_times(option, times_with_sends(problem, option, link_at(problem, offset), link_at(problem, end))));
    offset = end;
  }
  if (offset != device_count(problem)) return std::nullopt;
  return times;
}

std::optional<std::vector<StageTimes>> times_on_equal_submeshes(const InterOpProblem& problem, const Schedule& schedule,
                                                                const std::vector<std::uint32_t>& options) {
  const std::int64_t least_ranks = schedule.kind == ScheduleKind::interleaved ? 2 : 1;
  const std::uint32_t submesh = problem.options[options.front()].submesh;
  for (const EvenPipeline& pipeline : even_pipelines(problem, schedule.chunks, least_ranks)) {
    if (pipeline.submesh != submesh || pipeline.stages() != options.size()) continue;
    std::vector<StageTimes> times;
    for (std::uint32_t stage = 0; stage < options.size(); ++stage) {
      const StageOption& option = problem.options[options[stage]];
      if (option.submesh != submesh) return std::nullopt;
      const StageLinks links = links_of(problem, pipeline, stage);
      times.push_back(stage_times(option, times_with_sends(problem, option, links.begin, links.end)));
    }
    return times;
  }
  return std::nullopt;
}

// By stage, when its rank holds most.
std::vector<std::int64_t> held(const InterOpProblem& problem, const Schedule& schedule, std::int64_t ranks,
                               const std::vector<std::uint32_t>& options) {
  if (schedule.kind == ScheduleKind::interleaved) {
    std::vector<double> weights;
    for (const std::uint32_t option : options) weights.push_back(problem.options[option].activations.value());
    return held_at_peak(make_program(schedule, ranks, problem.microbatches), weights);
  }
  std::vector<std::int64_t> result;
  for (std::int64_t rank = 0; rank < ranks; ++rank)
    result.push_back(in_flight(schedule, ranks, rank, problem.microbatches));
  return result;
}

bool fits(const InterOpProblem& problem, const Schedule& schedule, const std::vector<std::uint32_t>& options) {
  const std::int64_t ranks = std::ssize(options) / schedule.chunks;
  const PipelineShape shape = shape_of(schedule, ranks);
  const std::vector<std::int64_t> in_flight = held(problem, schedule, ranks, options);
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    Bytes needed, transient;
    for (std::int64_t chunk = 0; chunk < schedule.chunks; ++chunk) {
      const auto stage = static_cast<std::size_t>(shape.stage_of(rank, chunk));
      const StageOption& option = problem.options[options[stage]];
      needed += option.fixed + static_cast<double>(in_flight[stage]) * option.activations;
      transient = std::max(transient, option.transient);
    }
    if (needed + transient > problem.memory) return false;
  }
  return true;
}

// Depth-first over all sequences of options that follow on each other.
class Enumeration {
 public:
  Enumeration(const InterOpProblem& problem, const Schedule& schedule) : problem_(problem), schedule_(schedule) {}

  InterOpSolution run() {
    visit(0);
    return best_;
  }

 private:
  void visit(std::uint32_t first_layer) {
    if (first_layer == problem_.layers) return consider();
    for (std::uint32_t i = 0; i < problem_.options.size(); ++i) {
      const StageOption& option = problem_.options[i];
      if (option.first != first_layer) continue;
      const bool equal = chosen_.empty() || option.submesh == problem_.options[chosen_.front()].submesh;
      if (lies_on_equal_submeshes(schedule_.kind) && !equal) continue;
      chosen_.push_back(i);
      visit(option.last + 1);
      chosen_.pop_back();
    }
  }

  void consider() {
    const std::optional<Seconds> objective = objective_of(problem_, schedule_, chosen_);
    if (objective && (!best_.feasible || *objective < best_.objective)) best_ = {true, *objective, chosen_};
  }

  const InterOpProblem& problem_;
  const Schedule& schedule_;
  std::vector<std::uint32_t> chosen_;
  InterOpSolution best_;
};

}  // namespace

std::optional<Seconds> time_of(const InterOpProblem& problem, const Schedule& schedule,
                               const std::vector<std::uint32_t>& options) {
  if (!cover_all_layers(problem, options)) return std::nullopt;
  const auto times = lies_on_equal_submeshes(schedule.kind) ? times_on_equal_submeshes(problem, schedule, options)
                                                            : times_in_a_row(problem, options);
  if (!times) return std::nullopt;
  if (problem.stages && std::ssize(options) != *problem.stages * schedule.chunks) return std::nullopt;
  if (why_impossible(schedule, std::ssize(options) / schedule.chunks, problem.microbatches)) return std::nullopt;
  return schedule_formula(schedule, *times, problem.microbatches);
}

std::optional<Seconds> objective_of(const InterOpProblem& problem, const Schedule& schedule,
                                    const std::vector<std::uint32_t>& options) {
  if (schedule.kind == ScheduleKind::one_f_one_b) return objective_of(problem, options);
  const std::optional<Seconds> time = time_of(problem, schedule, options);
  return time && fits(problem, schedule, options) ? time : std::nullopt;
}

InterOpSolution solve_by_enumeration(const InterOpProblem& problem, const Schedule& schedule) {
  return Enumeration(problem, schedule).run();
}

}  // namespace meshloom
