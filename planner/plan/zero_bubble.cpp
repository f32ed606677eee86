#include "planner/plan/zero_bubble.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <queue>

namespace meshloom {
namespace {

using Time = std::int64_t;
constexpr Time unknown = std::numeric_limits<Time>::max();

// When the activation (of the stage before) and the gradient (of the stage after) of each microbatch are there.
class Arrivals {
 public:
  Arrivals(const std::vector<RunLengths>& lengths, std::int64_t microbatches)
      : lengths_(lengths),
        microbatches_(static_cast<std::size_t>(microbatches)),
        activation_(lengths.size() * microbatches_, unknown),
        gradient_(lengths.size() * microbatches_, unknown) {
    std::fill_n(activation_.begin(), microbatches_, 0);
  }
  Time activation(std::size_t rank, std::int64_t m) const { return activation_[at(rank, m)]; }
  Time gradient(std::size_t rank, std::int64_t m) const { return gradient_[at(rank, m)]; }

  // The rank whose next run the end of this one lets begin, and when.
  struct Arrival {
    std::size_t rank;
    Time time;
  };
  Arrival forward_ends(std::size_t rank, std::int64_t m, Time end) {
    const bool last = rank + 1 == lengths_.size();
    if (last) return {rank, gradient_[at(rank, m)] = end};
    return {rank + 1, activation_[at(rank + 1, m)] = end + lengths_[rank].send_activation};
  }
  Arrival backward_ends(std::size_t rank, std::int64_t m, Time end) {
    if (rank == 0) return {rank, end};
    return {rank - 1, gradient_[at(rank - 1, m)] = end + lengths_[rank].send_gradient};
  }

 private:
  std::size_t at(std::size_t rank, std::int64_t m) const { return rank * microbatches_ + static_cast<std::size_t>(m); }
  const std::vector<RunLengths>& lengths_;
  std::size_t microbatches_;
  std::vector<Time> activation_, gradient_;
};

Time length_of(const RunLengths& lengths, InstructionKind run) {
  if (run == InstructionKind::run_forward) return lengths.forward;
  return run == InstructionKind::run_backward_input ? lengths.backward_input : lengths.backward_weight;
}

// The longest time that a rank takes from its first run to its last: when the step can begin again.
Time period_of(const RunOrders& orders, std::int64_t microbatches, const std::vector<RunLengths>& lengths) {
  Arrivals arrivals(lengths, microbatches);
  std::vector<std::size_t> positions(orders.size(), 0);
  std::vector<Time> begin(orders.size(), 0), now(orders.size(), 0);
  for (bool progress = true; progress;) {
    progress = false;
    for (std::size_t rank = 0; rank < orders.size(); ++rank)
      for (; positions[rank] < orders[rank].size(); ++positions[rank], progress = true) {
        const Instruction run = orders[rank][positions[rank]];
        const Time needed = run.kind == InstructionKind::run_forward ? arrivals.activation(rank, run.microbatch)
                            : run.kind == InstructionKind::run_backward_input ? arrivals.gradient(rank, run.microbatch)
                                                                              : 0;
        if (needed == unknown) break;
        const Time start = std::max(now[rank], needed);
        if (positions[rank] == 0) begin[rank] = start;
        now[rank] = start + length_of(lengths[rank], run.kind);
        if (run.kind == InstructionKind::run_forward) arrivals.forward_ends(rank, run.microbatch, now[rank]);
        if (run.kind == InstructionKind::run_backward_input) arrivals.backward_ends(rank, run.microbatch, now[rank]);
      }
  }
  Time period = 0;
  for (std::size_t rank = 0; rank < orders.size(); ++rank) period = std::max(period, now[rank] - begin[rank]);
  return period;
}

// How a greedy order treats short gaps: a weight gradient that does not fit delays what comes after it.
enum class SmallGap { wait, fill, fill_where_idlest };
struct Greed {
  SmallGap small_gap = SmallGap::wait;
  std::int64_t extra = 0;          // forwards ahead of the backwards: p − r + extra·(p − r − 1) at most
  bool forward_may_delay = false;  // a forward begins though a gradient arrives before its end
};

// Ranks decide when they are free or something arrives, in order of time.
class GreedyOrder {
 public:
  GreedyOrder(std::int64_t microbatches, std::int64_t most_in_flight, const std::vector<RunLengths>& lengths,
              const Greed& greed)
      : microbatches_(microbatches),
        most_in_flight_(most_in_flight),
        lengths_(lengths),
        greed_(greed),
        arrivals_(lengths, microbatches),
        ranks_(lengths.size()),
        orders_(lengths.size()) {}

  RunOrders build() {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      orders_[rank].reserve(static_cast<std::size_t>(3 * microbatches_));
      wake(rank, 0);
    }
    while (!wakes_.empty()) {
      const auto [time, rank] = wakes_.top();
      wakes_.pop();
      if (time >= ranks_[rank].free) decide(rank, time);
    }
    return std::move(orders_);
  }

 private:
  struct Rank {
    std::int64_t forwards = 0, backwards = 0, weights = 0;
    Time free = 0, idle = 0;
    bool forward_was_last = false;
  };
  using Wake = std::pair<Time, std::size_t>;

  void wake(std::size_t rank, Time time) { wakes_.push({time, rank}); }

  std::int64_t most_ahead(std::size_t rank) const {
    const auto behind = static_cast<std::int64_t>(ranks_.size() - rank) - 1;
    return behind + 1 + greed_.extra * behind;
  }

  Time next_gradient(std::size_t rank) const {
    const Rank& state = ranks_[rank];
    return state.backwards < state.forwards ? arrivals_.gradient(rank, state.backwards) : unknown;
  }
  bool may_forward(std::size_t rank) const {
    const Rank& state = ranks_[rank];
    return state.forwards < microbatches_ && state.forwards - state.weights < most_in_flight_ &&
           state.forwards - state.backwards < most_ahead(rank);
  }
  Time next_activation(std::size_t rank) const {
    return may_forward(rank) ? arrivals_.activation(rank, ranks_[rank].forwards) : unknown;
  }

  void decide(std::size_t rank, Time now) {
    const Rank& state = ranks_[rank];
    const Time gradient = next_gradient(rank), activation = next_activation(rank);
    const bool backward = gradient <= now;
    const bool delays = !backward && !greed_.forward_may_delay && gradient < now + lengths_[rank].forward;
    const bool forward = activation <= now && !delays;
    if (backward && (state.forward_was_last || !forward)) {
      const bool only_memory_lacks = state.forwards < microbatches_ && !forward && !state.forward_was_last &&
                                     state.weights < state.backwards &&
                                     state.forwards - state.weights >= most_in_flight_;
      return run(rank, now,
                 only_memory_lacks ? InstructionKind::run_backward_weight : InstructionKind::run_backward_input);
    }
    if (forward) return run(rank, now, InstructionKind::run_forward);
    if (state.weights < state.backwards && fills(rank, now, std::min(gradient, activation)))
      return run(rank, now, InstructionKind::run_backward_weight);
    // Whoever makes what is missing wakes this rank; what is under way already has.
  }

  bool fills(std::size_t rank, Time now, Time next) const {
    const Rank& state = ranks_[rank];
    const bool full = state.forwards < microbatches_ && state.forwards - state.weights >= most_in_flight_;
    if (full || next == unknown || next - now >= lengths_[rank].backward_weight) return true;
    if (greed_.small_gap != SmallGap::fill_where_idlest) return greed_.small_gap == SmallGap::fill;
    Time most_idle = 0;
    for (const Rank& each : ranks_) most_idle = std::max(most_idle, each.idle);
    return state.idle + next - now > most_idle;
  }

  void run(std::size_t rank, Time now, InstructionKind kind) {
    Rank& state = ranks_[rank];
    if (state.forwards > 0) state.idle += now - state.free;
    state.free = now + length_of(lengths_[rank], kind);
    state.forward_was_last = kind == InstructionKind::run_forward;
    std::int64_t& count = kind == InstructionKind::run_forward          ? state.forwards
                          : kind == InstructionKind::run_backward_input ? state.backwards
                                                                        : state.weights;
    orders_[rank].push_back({kind, count});
    wake(rank, state.free);
    if (kind == InstructionKind::run_backward_weight) {
      ++count;
      return;
    }
    const Arrivals::Arrival arrival = kind == InstructionKind::run_forward
                                          ? arrivals_.forward_ends(rank, count, state.free)
                                          : arrivals_.backward_ends(rank, count, state.free);
    ++count;
    if (arrival.rank != rank) wake(arrival.rank, arrival.time);
  }

  std::int64_t microbatches_, most_in_flight_;
  const std::vector<RunLengths>& lengths_;
  Greed greed_;
  Arrivals arrivals_;
  std::vector<Rank> ranks_;
  RunOrders orders_;
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wakes_;
};

struct Candidate {
  std::int64_t extra = 0;
  std::optional<Greed> greed;  // none: by hand
};

std::vector<Candidate> candidates_for(std::int64_t ranks, std::int64_t most_in_flight) {
  std::vector<Candidate> candidates;
  for (std::int64_t extra = 0; ranks + extra * (ranks - 1) <= most_in_flight && extra <= 1; ++extra)
    candidates.push_back({extra, std::nullopt});
  for (const std::int64_t extra : {0, 1, 2})
    for (const SmallGap gap : {SmallGap::wait, SmallGap::fill, SmallGap::fill_where_idlest})
      for (const bool may_delay : {false, true}) candidates.push_back({extra, Greed{gap, extra, may_delay}});
  return candidates;
}

RunOrders orders_of(const Candidate& candidate, std::int64_t microbatches, std::int64_t most_in_flight,
                    const std::vector<RunLengths>& lengths) {
  const auto ranks = static_cast<std::int64_t>(lengths.size());
  if (!candidate.greed) return handcrafted_orders(ranks, microbatches, candidate.extra);
  return GreedyOrder(microbatches, most_in_flight, lengths, *candidate.greed).build();
}

}  // namespace

RunOrders handcrafted_orders(std::int64_t ranks, std::int64_t microbatches, std::int64_t extra) {
  RunOrders orders(static_cast<std::size_t>(ranks));
  const std::int64_t most_in_flight = ranks + extra * (ranks - 1);
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    std::vector<Instruction>& order = orders[static_cast<std::size_t>(rank)];
    order.reserve(static_cast<std::size_t>(3 * microbatches));
    const std::int64_t warm_up = ranks - rank + extra * (ranks - rank - 1);
    const std::int64_t delay = most_in_flight - warm_up;
    for (std::int64_t m = 0; m < std::min(warm_up, microbatches); ++m)
      order.push_back({InstructionKind::run_forward, m});
    for (std::int64_t m = 0; m < microbatches + delay; ++m) {
      if (m < microbatches) order.push_back({InstructionKind::run_backward_input, m});
      if (m >= delay) order.push_back({InstructionKind::run_backward_weight, m - delay});
      if (m + warm_up < microbatches) order.push_back({InstructionKind::run_forward, m + warm_up});
    }
  }
  return orders;
}

RunOrders searched_orders(std::int64_t microbatches, std::int64_t most_in_flight,
                          const std::vector<RunLengths>& lengths) {
  // Which way is best shows after a few rounds; only the best is made in full length.
  const std::int64_t tried = std::min<std::int64_t>(microbatches, 8 * std::ssize(lengths));
  std::optional<Candidate> best;
  Time least = unknown;
  for (const Candidate& candidate : candidates_for(std::ssize(lengths), most_in_flight)) {
    const Time period = period_of(orders_of(candidate, tried, most_in_flight, lengths), tried, lengths);
    if (period >= least) continue;
    least = period;
    best = candidate;
  }
  return orders_of(*best, microbatches, most_in_flight, lengths);
}

}  // namespace meshloom
