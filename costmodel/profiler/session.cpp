#include "costmodel/profiler/session.hpp"

#include <fmt/format.h>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

Timing timing_of(const SampleSummary& summary) {
  return {summary.median, Spread{summary.p10, summary.p90}, static_cast<std::int64_t>(summary.repetitions)};
}

// A clock that stood still has measured nothing.
bool is_measurement(const SampleSummary& summary) { return summary.median > Seconds{}; }

std::string_view kind_of(const Task& task) {
  return std::visit([](const auto& each) { return name(each.key.kind); }, task);
}

void add_to(Profile& profile, const Task& task, const Timing& timing) {
  if (const auto* const one = std::get_if<OperatorTask>(&task))
    add_sample(profile, one->key, {one->shape, timing});
  else
    add_sample(profile, std::get<CollectiveTask>(task).key, {std::get<CollectiveTask>(task).bytes, timing});
}

}  // namespace

std::string method_text(const MeasuringOptions& options) {
  return fmt::format(
      "meshloom-profile: {} warm-up runs, then the median of {} to {} repetitions until its 95 % interval "
      "is within {:.3g} % or {:.3g} s are over; caches {}",
      options.warm_up, options.least_repetitions, options.most_repetitions, 100 * options.uncertainty,
      options.time_limit.value(),
      options.cache == CacheState::flushed ? "emptied before each" : "as the run before left them");
}

Session::Session(Backend& backend, std::vector<Task> tasks, SessionOptions options)
    : backend_(backend), tasks_(std::move(tasks)), options_(std::move(options)), device_(backend.describe()) {
  if (!backend.writes_results()) return;
  std::string method = method_text(options_.measuring);
  for (const auto& [key, value] : device_.provenance) method += fmt::format("; {} {}", key, value);
  journal_.emplace(options_.journal, JournalHeader{options_.device, digest_of(tasks_), method}, tasks_.size());
}

TaskResult Session::measure_task(const Task& task, const SessionWorld& world) {
  try {
    const std::unique_ptr<PreparedTask> prepared = backend_.prepare(task);
    const SampleSummary summary =
        measure(*prepared, options_.measuring, [&] { return Seconds(backend_.agreed(world.now().value())); });
    if (!is_measurement(summary)) return Skipped{"the clock did not move"};
    return Measured{summary, prepared->implementation(), backend_.state_now()};
  } catch (const InputError& error) {
    return Skipped{error.what()};
  }
}

SessionResult Session::run(const SessionWorld& world) {
  const Seconds begin = world.now();
  std::map<std::size_t, TaskResult> results;
  if (journal_) results = journal_->results();
  const std::size_t resumed = results.size();
  for (std::size_t i = 0; i < tasks_.size(); ++i) {
    // All processes decide alike: as the one that writes.
    if (backend_.agreed(results.contains(i) ? 1 : 0) > 0) continue;
    if (backend_.agreed(options_.limit && world.now() - begin >= *options_.limit ? 1 : 0) > 0) break;
    world.progress(fmt::format("[{}/{}] {}", i + 1, tasks_.size(), describe(tasks_[i])));
    results[i] = measure_task(tasks_[i], world);
    if (journal_) journal_->add(i, results[i]);
  }
  SessionResult result = result_of(results);
  result.resumed = resumed;
  return result;
}

SessionResult Session::result_of(const std::map<std::size_t, TaskResult>& results) const {
  SessionResult result;
  Provenance& provenance = result.profile.provenance;
  provenance.device = options_.device;
  provenance.method = method_text(options_.measuring);
  for (const auto& [key, value] : device_.provenance) provenance.libraries[key] = value;
  for (const auto& [i, found] : results) {
    if (const auto* const skipped = std::get_if<Skipped>(&found)) {
      result.skipped.push_back({describe(tasks_[i]), skipped->reason});
      continue;
    }
    const Measured& measured = std::get<Measured>(found);
    ++result.measured;
    if (measured.summary.uncertainty > options_.measuring.uncertainty) ++result.uncertain;
    provenance.libraries[fmt::format("kernel of {}", kind_of(tasks_[i]))] = measured.implementation;
    if (!measured.state.empty()) provenance.libraries["state after the last task"] = measured.state;
    add_to(result.profile, tasks_[i], timing_of(measured.summary));
  }
  result.left = tasks_.size() - results.size();
  return result;
}

void Session::finish() {
  if (journal_) journal_->remove();
}

}  // namespace meshloom
