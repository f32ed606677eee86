#include "planner/remedies.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "graphs/input_error.hpp"
#include "planner/plan/pins.hpp"
#include "planner/plan/readable.hpp"

namespace meshloom {
namespace {

constexpr std::size_t most_tried = 8;          // of pins, boundaries and numbers of stages, each by a search of its own
constexpr std::int64_t most_times_hosts = 16;  // as many hosts as there are
// Searches take longer on large clusters; what they find must not depend on the clock. So many searches times devices:
constexpr std::int64_t most_work = 30'000, fewest_searches = 8, most_searches = 200;
constexpr double gibibyte = 1024.0 * 1024 * 1024;

class RemedySearch {
 public:
  RemedySearch(const PlanningInput& input, const SearchOptions& options, const Plan& infeasible, const Finds& finds)
      : input_(input), options_(options), finds_(finds) {
    options_.candidates = 1;
    options_.remedies = false;
    options_.progress = nullptr;
    searches_left_ = std::clamp(most_work / input.cluster.devices(), fewest_searches, most_searches);
    if (infeasible.reasons.empty()) return;
    needs_ = infeasible.reasons.front().needs;
    has_ = infeasible.reasons.front().has;
  }

  std::vector<Remedy> run() {
    microbatch_size();
    recompute();
    schedule();
    parameter_state();
    memory_share();
    stages();
    boundaries();
    submeshes();
    stage_list();
    layers();
    pins();
    device_memory();
    hosts();
    return std::move(remedies_);
  }

 private:
  bool is_over() const { return searches_left_ == 0 || options_.deadline.passed(); }

  // Whether the changed question has an answer; nothing has one once it is over.
  template <typename Change>
  bool helps(const Change& change) {
    if (is_over()) return false;
    --searches_left_;
    PlanningInput input = input_;
    SearchOptions options = options_;
    change(input, options);
    try {
      return finds_(input, options) && !options_.deadline.passed();
    } catch (const InputError&) {
      return false;
    }
  }

  void add(std::string text, std::string options) { remedies_.push_back({std::move(text), std::move(options)}); }

  // The least number above `from`, at most `most`, that helps, where the one below it does not; looked for from a guess
  // on in growing steps, then between.
  template <typename Helps>
  std::optional<std::int64_t> least(std::int64_t from, std::int64_t most, std::int64_t guess, const Helps& helps) {
    if (from >= most) return std::nullopt;
    std::int64_t high = std::clamp(guess, from + 1, most), low = from;
    if (helps(high)) {
      for (std::int64_t step = 1; high - step > low; step *= 2) {
        if (!helps(high - step)) {
          low = high - step;
          break;
        }
        high -= step;
      }
    } else {
      for (std::int64_t step = 1;; step *= 2) {
        low = high;
        if (low == most || is_over()) return std::nullopt;
        high = std::min(most, low + step);
        if (helps(high)) break;
      }
    }
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (helps(middle) ? high : low) = middle;
    }
    if (is_over()) return std::nullopt;  // not looked at to the end
    return high;
  }

  void microbatch_size() {
    if (!options_.microbatch_size) return;
    std::vector<std::int64_t> sizes;  // descending, from the one that was asked for
    for (std::int64_t size = *options_.microbatch_size; size >= 1; --size)
      if (options_.global_batch % size == 0) sizes.push_back(size);
    const auto found = least(0, std::ssize(sizes) - 1, 1, [&](std::int64_t k) {
      const std::int64_t size = sizes[static_cast<std::size_t>(k)];
      return helps([&](auto&, auto& options) { options.microbatch_size = size; });
    });
    if (!found) return;
    const std::int64_t size = sizes[static_cast<std::size_t>(*found)];
    add(fmt::format("take smaller microbatches, of {}", counted(size, "sample")),
        fmt::format("--microbatch-size {}", size));
  }

  void recompute() {
    if (!options_.recompute) return;
    for (const Recompute more : all_recomputes) {
      if (more <= *options_.recompute || !helps([&](auto&, auto& options) { options.recompute = more; })) continue;
      return add(more == Recompute::selective ? "recompute the cores of attention" : "recompute activations",
                 fmt::format("--recompute {}", name(more)));
    }
  }

  void schedule() {
    constexpr ScheduleKind leanest = ScheduleKind::one_f_one_b;
    const bool one_is_fixed = options_.schedule || options_.chunks;
    if (!one_is_fixed || options_.schedule == leanest) return;
    if (helps([&](auto&, auto& options) { options.schedule = leanest, options.chunks.reset(); }))
      add("take the schedule that holds fewest microbatches at once", fmt::format("--schedule {}", name(leanest)));
  }

  void parameter_state() {
    const std::vector<ParameterState>& tried = input_.recipe.parameter_states;
    for (const ParameterState state : all_parameter_states) {
      const bool known = options_.parameter_state ? state <= *options_.parameter_state
                                                  : std::find(tried.begin(), tried.end(), state) != tried.end();
      if (known || !helps([&](auto&, auto& options) { options.parameter_state = state; })) continue;
      return add("shard what is kept for parameters over devices", fmt::format("--parameter-state {}", name(state)));
    }
  }

  void memory_share() {
    const double share = options_.constraints.memory_share;
    if (!(share < 1)) return;
    const auto percent = [&](double part) { return static_cast<std::int64_t>(std::ceil(100 * part - 1e-9)); };
    const double wanted = needs_ ? std::min(1.0, share * (*needs_ / *has_)) : 1;
    const auto found = least(static_cast<std::int64_t>(100 * share + 1e-9), 100, percent(wanted), [&](std::int64_t p) {
      return helps([&](auto&, auto& options) { options.constraints.memory_share = static_cast<double>(p) / 100; });
    });
    if (found) add(fmt::format("let plans take {} % of the memory", *found), fmt::format("--memory-share {}%", *found));
  }

  void stages() {
    if (!options_.constraints.stages) return;
    const std::uint32_t asked = *options_.constraints.stages;
    for (std::uint32_t distance = 1; distance <= most_tried; ++distance)
      for (const std::uint32_t count : {asked - std::min(asked, distance), asked + distance})
        if (count > 0 && helps([&](auto&, auto& options) { options.constraints.stages = count; }))
          return add(fmt::format("allow {}", counted(count, "stage")), fmt::format("--stages {}", count));
    if (helps([](auto&, auto& options) { options.constraints.stages.reset(); }))
      add("let the search choose the number of stages", "--stages auto");
  }

  void boundaries() {
    const std::vector<std::string>& names = options_.constraints.boundaries;
    for (std::size_t left_out = 0; left_out < names.size() && names.size() <= most_tried; ++left_out) {
      std::vector<std::string> fewer = names;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(left_out));
      if (helps([&](auto&, auto& options) { options.constraints.boundaries = fewer; }))
        return add(fmt::format("let a stage go on at layer {}", names[left_out]),
                   fmt::format("--boundaries {}", fewer.empty() ? "none" : fmt::format("{}", fmt::join(fewer, ","))));
    }
    if (names.size() > 1 && helps([](auto&, auto& options) { options.constraints.boundaries.clear(); }))
      add("let stages begin at any layer", "--boundaries none");
  }

  void submeshes() {
    const std::vector<Submesh>& given = options_.constraints.submeshes;
    if (given.empty()) return;
    for (Submesh another : allowed_submeshes({}, input_.cluster)) {
      another.group = 0;  // a constraint holds in any
      if (std::find(given.begin(), given.end(), another) != given.end()) continue;
      std::vector<Submesh> more = given;
      more.push_back(another);
      if (helps([&](auto&, auto& options) { options.constraints.submeshes = more; }))
        return add(fmt::format("allow submesh {}, too", submeshes_text({another})),
                   "--submeshes " + submeshes_text(more));
    }
    if (helps([](auto&, auto& options) { options.constraints.submeshes.clear(); }))
      add("allow all submeshes", "--submeshes all");
  }

  void stage_list() {
    if (options_.constraints.stage_list && helps([](auto&, auto& options) { options.constraints.stage_list.reset(); }))
      add("let the search choose the stages (leave out --stages-from)", "");
  }

  void layers() {
    if (options_.layers && helps([](auto&, auto& options) { options.layers.reset(); }))
      add("cut stages between any of the graph's layers (leave out --layers)", "");
  }

  void pins() {
    const std::vector<Pin>& list = input_.pins.list;
    const std::size_t before = remedies_.size();
    for (std::size_t pin = 0; pin < list.size() && list.size() <= most_tried; ++pin)
      if (helps([&](auto& input, auto&) {
            input.pins.list.erase(input.pins.list.begin() + static_cast<std::ptrdiff_t>(pin));
          }))
        add(fmt::format("leave out the pin /pins/{} ({})", pin, print(list[pin])), "");
    if (remedies_.size() == before && list.size() > 1 && helps([](auto& input, auto&) { input.pins.list.clear(); }))
      add("leave out all pins", "");
  }

  // More than 32 hosts in steps of a 16th.
  void hosts() {
    if (!input_.cluster.groups.empty()) return;  // of which group there could be more, the user knows
    const std::int64_t now = input_.cluster.hosts, step = now > 32 ? now / 16 : 1;
    const Bytes context = input_.recipe.context_memory;
    const Bytes room = input_.cluster.device.memory * options_.constraints.memory_share - context;
    // What the tightest stage lacks, were it shared out over all hosts.
    const double times = needs_ && room > Bytes(0) ? std::min((*needs_ - context) / room, double(most_times_hosts)) : 2;
    const auto guess = static_cast<std::int64_t>(std::ceil((times - 1) * static_cast<double>(now) / double(step)));
    const std::int64_t most = (most_times_hosts - 1) * now / step;
    const auto found = least(0, most, guess, [&](std::int64_t k) {
      return helps([&](auto& input, auto&) { input.cluster.hosts = now + k * step; });
    });
    if (!found) return;
    const std::int64_t enough = now + *found * step;
    add(fmt::format("use {} hosts{}", enough, step > 1 ? fmt::format(" (tried in steps of {})", step) : ""),
        fmt::format("--hosts {}", enough));
  }

  void device_memory() {
    if (!needs_ || !input_.cluster.groups.empty()) return;
    const auto gibibytes = [](Bytes bytes) { return bytes.value() / gibibyte; };
    const Bytes wanted = *needs_ / options_.constraints.memory_share;
    const auto from = static_cast<std::int64_t>(gibibytes(input_.cluster.device.memory));
    const auto guess = static_cast<std::int64_t>(std::ceil(gibibytes(wanted)));
    const auto found = least(from, std::max(from, 16 * guess), guess, [&](std::int64_t size) {
      return helps(
          [&](auto& input, auto&) { input.cluster.device.memory = Bytes(static_cast<double>(size) * gibibyte); });
    });
    if (found)
      add(fmt::format("take devices with {} GiB (in whole GiB)", *found),
          fmt::format("--device-memory \"{} GiB\"", *found));
  }

  const PlanningInput& input_;
  SearchOptions options_;
  const Finds& finds_;
  std::int64_t searches_left_ = 0;
  std::optional<Bytes> needs_, has_;  // of the tightest stage
  std::vector<Remedy> remedies_;
};

}  // namespace

std::vector<Remedy> find_remedies(const PlanningInput& input, const SearchOptions& options, const Plan& infeasible,
                                  const Finds& finds) {
  return RemedySearch(input, options, infeasible, finds).run();
}

}  // namespace meshloom
