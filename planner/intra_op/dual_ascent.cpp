#include "planner/intra_op/dual_ascent.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace meshloom::intra_op {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

double as_double(std::int64_t cost) { return cost >= infinite_cost ? infinity : static_cast<double>(cost); }

// least[k] = min over l of rows[k·width + l] − offsets[l]
void least_of_rows(const std::vector<double>& rows, const std::vector<double>& offsets, std::vector<double>& least) {
  const std::size_t width = offsets.size();
  for (std::size_t k = 0; k < least.size(); ++k) {
    const double* row = &rows[k * width];
    double minima[4] = {infinity, infinity, infinity, infinity};
    std::size_t l = 0;
    for (; l + 4 <= width; l += 4)
      for (std::size_t lane = 0; lane < 4; ++lane)
        minima[lane] = std::min(minima[lane], row[l + lane] - offsets[l + lane]);
    for (; l < width; ++l) minima[0] = std::min(minima[0], row[l] - offsets[l]);
    least[k] = std::min(std::min(minima[0], minima[1]), std::min(minima[2], minima[3]));
  }
}

// least[l] = min over k of rows[k·width + l] − offsets[k]
void least_of_columns(const std::vector<double>& rows, const std::vector<double>& offsets, std::vector<double>& least) {
  const std::size_t width = least.size();
  std::fill(least.begin(), least.end(), infinity);
  for (std::size_t k = 0; k < offsets.size(); ++k) {
    const double* row = &rows[k * width];
    for (std::size_t l = 0; l < width; ++l) least[l] = std::min(least[l], row[l] - offsets[k]);
  }
}

TotalCost ceiling_of_quotient(TotalCost value, int shift) {
  return -((-value) >> shift);  // shifts of negative numbers round down
}

}  // namespace

// The dual at rounded messages and multipliers, in units of 2^−shift of a cost.
class Evaluation {
 public:
  Evaluation(const WorkingProblem& problem, const std::vector<double>& multipliers) : problem_(problem) {
    choose_scales(multipliers);
    nodes_.resize(problem.nodes.size());
    TotalCost price = 0;
    for (std::size_t t = 0; t < prices_.size(); ++t) price += TotalCost{prices_[t]} * problem.slack[t];
    bound_ = -ceiling_of_quotient(price, price_shift_);
    for (NodeIndex node = 0; node < nodes_.size(); ++node) load(node);
  }

  std::int64_t rounded(double message) const {
    const double value = std::ldexp(message, shift_);
    constexpr double most = 1.15e18;  // below 2^60: any message is valid
    return static_cast<std::int64_t>(std::llround(std::clamp(value, -most, most)));
  }

  void add_message(NodeIndex node, const std::vector<std::int64_t>& message) {
    for (std::size_t k = 0; k < message.size(); ++k) nodes_[node][k] += message[k];
  }

  Reparametrisation reparametrise(const std::vector<std::vector<std::int64_t>>& to_a,
                                  const std::vector<std::vector<std::int64_t>>& to_b) {
    measure_nodes_from_least();
    Reparametrisation result;
    result.shift = shift_;
    std::vector<std::vector<TotalCost>> excess = nodes_;  // not needed here
    for (std::size_t p = 0; p < problem_.pairs.size(); ++p)
      result.pairs.push_back(clipped(what_is_left(p, to_a[p], to_b[p], excess)));
    for (const std::vector<TotalCost>& node : nodes_) result.nodes.push_back(clipped(node));
    result.bound = bound_;
    return result;
  }

  Certificate finish(const std::vector<std::vector<std::int64_t>>& to_a,
                     const std::vector<std::vector<std::int64_t>>& to_b) {
    measure_nodes_from_least();
    // What every table leaves, and with it what a strategy costs at least beyond its own cost.
    std::vector<std::vector<TotalCost>> left(problem_.pairs.size());
    std::vector<std::vector<TotalCost>> excess = nodes_;
    for (std::size_t p = 0; p < problem_.pairs.size(); ++p) left[p] = what_is_left(p, to_a[p], to_b[p], excess);
    Certificate result;
    result.lower_bound = ceiling_of_quotient(bound_, shift_) + problem_.constant;
    // (what was rounded up in the bound must not be counted again)
    const TotalCost rounding = ((result.lower_bound - problem_.constant) << shift_) - bound_;
    for (const std::vector<TotalCost>& node : excess) {
      result.strategy_excess.emplace_back();
      for (const TotalCost value : node) result.strategy_excess.back().push_back(in_units(value - rounding));
    }
    for (std::size_t p = 0; p < left.size(); ++p) {
      const WorkingPair& pair = problem_.pairs[p];
      const std::size_t columns = problem_.size(pair.b);
      result.entry_excess.emplace_back();
      for (std::size_t entry = 0; entry < left[p].size(); ++entry)
        result.entry_excess.back().push_back(
            in_units(left[p][entry] + nodes_[pair.a][entry / columns] + nodes_[pair.b][entry % columns] - rounding));
    }
    return result;
  }

 private:
  void measure_nodes_from_least() {
    for (std::vector<TotalCost>& node : nodes_) {
      const TotalCost least = *std::min_element(node.begin(), node.end());
      bound_ += least;
      for (TotalCost& cost : node) cost -= least;
    }
  }

  static std::vector<std::int64_t> clipped(const std::vector<TotalCost>& values) {
    std::vector<std::int64_t> result;
    for (const TotalCost value : values)
      result.push_back(static_cast<std::int64_t>(std::min(value, TotalCost{1} << 60)));
    return result;
  }

  // Prices so large that no sum leaves 126 bits.
  void choose_scales(const std::vector<double>& multipliers) {
    double largest_cost = 1, largest_usage = 1, largest_price = 0;
    for (const WorkingNode& node : problem_.nodes) {
      largest_cost += static_cast<double>(*std::max_element(node.costs.begin(), node.costs.end()));
      for (const std::int64_t amount : node.usage.amounts)
        largest_usage = std::max(largest_usage, static_cast<double>(amount));
    }
    for (const std::int64_t slack : problem_.slack) largest_usage = std::max(largest_usage, static_cast<double>(slack));
    for (const WorkingPair& pair : problem_.pairs) {
      std::int64_t most = 0;
      for (const std::int64_t cost : pair.costs)
        if (cost < infinite_cost) most = std::max(most, cost);
      largest_cost += static_cast<double>(most);
    }
    shift_ = std::clamp(60 - std::ilogb(largest_cost) - 1, 0, 20);
    for (const double multiplier : multipliers) largest_price = std::max(largest_price, multiplier);
    prices_.assign(multipliers.size(), 0);
    if (largest_price == 0) return;
    const double scaled = std::ldexp(largest_price, shift_);
    const int room = 124 - std::ilogb(largest_usage) - std::ilogb(static_cast<double>(multipliers.size())) - 2;
    price_shift_ = std::clamp(std::min(room, 60) - std::ilogb(scaled) - 1, 0, 100);
    for (std::size_t t = 0; t < multipliers.size(); ++t) {
      const double price = std::ldexp(multipliers[t], shift_ + price_shift_);
      prices_[t] = price < 9e18 ? std::llround(price) : 0;  // 0 is valid for any
    }
  }

  void load(NodeIndex node) {
    const WorkingNode& state = problem_.nodes[node];
    std::vector<TotalCost> price(state.costs.size(), 0);
    for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
      TotalCost sum = 0;
      for (std::uint32_t t = state.usage.spans[i].begin; t < state.usage.spans[i].end; ++t) sum += prices_[t];
      if (sum == 0) continue;
      for (std::size_t k = 0; k < price.size(); ++k) price[k] += sum * state.usage.of(i)[k];
    }
    for (std::size_t k = 0; k < price.size(); ++k)
      nodes_[node].push_back((TotalCost{state.costs[k]} << shift_) + (price[k] >> price_shift_));
  }

  std::vector<TotalCost> what_is_left(std::size_t p, const std::vector<std::int64_t>& to_a,
                                      const std::vector<std::int64_t>& to_b,
                                      std::vector<std::vector<TotalCost>>& excess) {
    const WorkingPair& pair = problem_.pairs[p];
    const std::size_t rows = to_a.size(), columns = to_b.size();
    std::vector<TotalCost> left(rows * columns), of_row(rows, forbidden), of_column(columns, forbidden);
    TotalCost least = forbidden;
    for (std::size_t k = 0; k < rows; ++k)
      for (std::size_t l = 0; l < columns; ++l) {
        const std::int64_t cost = pair.costs[k * columns + l];
        TotalCost& value = left[k * columns + l];
        value = cost >= infinite_cost ? forbidden : (TotalCost{cost} << shift_) - to_a[k] - to_b[l];
        of_row[k] = std::min(of_row[k], value);
        of_column[l] = std::min(of_column[l], value);
      }
    for (const TotalCost value : of_row) least = std::min(least, value);
    bound_ += least;
    for (TotalCost& value : left)
      if (value < forbidden) value -= least;
    for (std::size_t k = 0; k < rows; ++k) excess[pair.a][k] += of_row[k] - least;
    for (std::size_t l = 0; l < columns; ++l) excess[pair.b][l] += of_column[l] - least;
    return left;
  }

  std::int64_t in_units(TotalCost value) const {
    if (value <= 0) return 0;
    return static_cast<std::int64_t>(std::min<TotalCost>(infinite_cost, ceiling_of_quotient(value, shift_)));
  }

  static constexpr TotalCost forbidden = TotalCost{1} << 100;

  const WorkingProblem& problem_;
  int shift_ = 0, price_shift_ = 0;
  std::vector<std::int64_t> prices_;           // by period, in units of 2^−(shift + price_shift)
  std::vector<std::vector<TotalCost>> nodes_;  // by node and strategy
  TotalCost bound_ = 0;
};

double drop_expensive(const Certificate& certificate, TotalCost room, WorkingProblem& problem) {
  std::size_t entries = 1, expensive = 0, strategies = 1, dropped = 0;
  for (std::size_t p = 0; p < problem.pairs.size(); ++p)
    for (std::size_t entry = 0; entry < problem.pairs[p].costs.size(); ++entry) {
      std::int64_t& cost = problem.pairs[p].costs[entry];
      if (cost >= infinite_cost) continue;
      ++entries;
      if (certificate.entry_excess[p][entry] <= room) continue;
      ++expensive;
      cost = infinite_cost;
    }
  for (NodeIndex node = 0; node < problem.nodes.size() && !problem.infeasible; ++node) {
    std::vector<bool> keep(problem.size(node));
    for (std::size_t k = 0; k < keep.size(); ++k) keep[k] = certificate.strategy_excess[node][k] <= room;
    strategies += keep.size();
    const auto gone = static_cast<std::size_t>(std::count(keep.begin(), keep.end(), false));
    dropped += gone;
    if (gone > 0) drop(problem, node, keep);
  }
  if (!problem.infeasible) drop_unsupported(problem);
  return std::max(static_cast<double>(expensive) / static_cast<double>(entries),
                  static_cast<double>(dropped) / static_cast<double>(strategies));
}

DualAscent::DualAscent(const WorkingProblem& problem)
    : problem_(problem), links_(problem.nodes.size()), costs_(problem.nodes.size()) {
  for (std::uint32_t p = 0; p < problem.pairs.size(); ++p) {
    const WorkingPair& pair = problem.pairs[p];
    links_[pair.a].push_back({p, pair.b, true});
    links_[pair.b].push_back({p, pair.a, false});
    std::vector<double>& table = tables_.emplace_back();
    for (const std::int64_t cost : pair.costs) table.push_back(as_double(cost));
    point_.messages.push_back(
        {std::vector<double>(problem.size(pair.a), 0), std::vector<double>(problem.size(pair.b), 0)});
  }
  set_multipliers(std::vector<double>(problem.slack.size(), 0));
  // Every node after its predecessors has taken once: tables hold nothing towards later nodes.
  for (std::uint32_t node = static_cast<std::uint32_t>(links_.size()); node-- > 0;)
    for (const Link& link : links_[node])
      if (link.other > node) take(link);
}

void DualAscent::set_multipliers(const std::vector<double>& multipliers) {
  point_.multipliers = multipliers;
  price_of_slack_ = 0;
  std::vector<double> sums(multipliers.size() + 1, 0);
  for (std::size_t t = 0; t < multipliers.size(); ++t) {
    price_of_slack_ += multipliers[t] * static_cast<double>(problem_.slack[t]);
    sums[t + 1] = sums[t] + multipliers[t];
  }
  for (NodeIndex node = 0; node < costs_.size(); ++node) {
    const WorkingNode& state = problem_.nodes[node];
    costs_[node].assign(state.costs.begin(), state.costs.end());
    for (std::size_t i = 0; i < state.usage.spans.size(); ++i) {
      const double price = sums[state.usage.spans[i].end] - sums[state.usage.spans[i].begin];
      if (price == 0) continue;
      const std::int64_t* amounts = state.usage.of(i);
      for (std::size_t k = 0; k < costs_[node].size(); ++k) costs_[node][k] += price * static_cast<double>(amounts[k]);
    }
  }
}

void DualAscent::restore(const DualPoint& point) {
  point_.messages = point.messages;
  set_multipliers(point.multipliers);
}

void DualAscent::take(const Link& link) {
  effort_ += tables_[link.pair].size();
  DualPoint::Messages& messages = point_.messages[link.pair];
  if (link.is_a)
    least_of_rows(tables_[link.pair], messages.to_b, messages.to_a);
  else
    least_of_columns(tables_[link.pair], messages.to_a, messages.to_b);
}

void DualAscent::potentials(std::uint32_t node, std::vector<double>& result) const {
  result = costs_[node];
  for (const Link& link : links_[node]) {
    const std::vector<double>& message = link.is_a ? point_.messages[link.pair].to_a : point_.messages[link.pair].to_b;
    for (std::size_t k = 0; k < result.size(); ++k) result[k] += message[k];
  }
}

void DualAscent::visit(std::uint32_t node, Direction direction) {
  std::size_t before = 0, after = 0;
  for (const Link& link : links_[node]) {
    const bool comes_after = (link.other > node) == (direction == Direction::forward);
    ++(comes_after ? after : before);
    if (!comes_after) take(link);
  }
  if (after == 0) return;
  potentials(node, sums_);
  const double least = *std::min_element(sums_.begin(), sums_.end());
  const double share = 1.0 / static_cast<double>(std::max(before, after));
  for (double& sum : sums_) sum = (sum - least) * share;
  for (const Link& link : links_[node]) {
    if ((link.other > node) != (direction == Direction::forward)) continue;
    std::vector<double>& message = link.is_a ? point_.messages[link.pair].to_a : point_.messages[link.pair].to_b;
    for (std::size_t k = 0; k < message.size(); ++k) message[k] -= sums_[k];
  }
}

void DualAscent::sweep() {
  const auto nodes = static_cast<std::uint32_t>(links_.size());
  for (std::uint32_t node = 0; node < nodes; ++node) visit(node, Direction::forward);
  for (std::uint32_t node = nodes; node-- > 0;) visit(node, Direction::backward);
}

// After a sweep every table has given all it has to the earlier of its nodes.
double DualAscent::value() const {
  double sum = static_cast<double>(problem_.constant) - price_of_slack_;
  std::vector<double> own;
  for (std::uint32_t node = 0; node < links_.size(); ++node) {
    potentials(node, own);
    sum += *std::min_element(own.begin(), own.end());
  }
  return sum;
}

DualAscent::RoundedMessages DualAscent::rounded(Evaluation& evaluation) const {
  RoundedMessages result;
  for (std::size_t p = 0; p < point_.messages.size(); ++p) {
    std::vector<std::int64_t>&to_a = result.to_a.emplace_back(), &to_b = result.to_b.emplace_back();
    for (const double message : point_.messages[p].to_a) to_a.push_back(evaluation.rounded(message));
    for (const double message : point_.messages[p].to_b) to_b.push_back(evaluation.rounded(message));
    evaluation.add_message(problem_.pairs[p].a, to_a);
    evaluation.add_message(problem_.pairs[p].b, to_b);
  }
  return result;
}

Certificate DualAscent::certify() const {
  Evaluation evaluation(problem_, point_.multipliers);
  const RoundedMessages messages = rounded(evaluation);
  return evaluation.finish(messages.to_a, messages.to_b);
}

Reparametrisation DualAscent::reparametrisation() const {
  Evaluation evaluation(problem_, point_.multipliers);
  const RoundedMessages messages = rounded(evaluation);
  return evaluation.reparametrise(messages.to_a, messages.to_b);
}

std::vector<std::uint32_t> DualAscent::decode() const {
  std::vector<std::uint32_t> choices(links_.size());
  std::vector<double> own;
  for (std::uint32_t node = 0; node < links_.size(); ++node) {
    potentials(node, own);
    for (const Link& link : links_[node]) {
      if (link.other > node) continue;
      // The chosen entry instead of the least one that the message stands for.
      const std::vector<double>& table = tables_[link.pair];
      const DualPoint::Messages& messages = point_.messages[link.pair];
      const std::uint32_t chosen = choices[link.other];
      for (std::size_t k = 0; k < own.size(); ++k)
        own[k] += link.is_a ? table[k * messages.to_b.size() + chosen] - messages.to_a[k]
                            : table[chosen * messages.to_b.size() + k] - messages.to_b[k];
    }
    choices[node] = static_cast<std::uint32_t>(std::min_element(own.begin(), own.end()) - own.begin());
  }
  return choices;
}

}  // namespace meshloom::intra_op
