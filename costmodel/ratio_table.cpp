#include "costmodel/ratio_table.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace meshloom {
namespace {

// In powers of two. That a ratio is worth three quarters one doubling away, half two away and nothing from four on is
// what pairs of samples of published collectives, products and operators say (tests/data/microbenchmarks).
constexpr double far = 2, reach = 4;

double log_ratio(const RatioSample& sample) { return std::log(sample.measured / sample.modelled); }

bool same_shape(const RatioSample& sample, std::span<const std::int64_t> shape) {
  return std::equal(sample.shape.begin(), sample.shape.end(), shape.begin(), shape.end());
}

bool before(const RatioSample& sample, std::span<const std::int64_t> shape) {
  return std::lexicographical_compare(sample.shape.begin(), sample.shape.end(), shape.begin(), shape.end());
}

// Whether a shape has at least as much of every size as another.
bool has_all_of(std::span<const std::int64_t> shape, std::span<const std::int64_t> other) {
  return std::equal(shape.begin(), shape.end(), other.begin(), other.end(), std::greater_equal<>());
}

}  // namespace

// Of one size of a shape: the measured sizes on both sides, equal where it is one of them.
struct RatioTable::Bracket {
  std::int64_t low = 1, high = 1;
  double place = 0;      // of the log of the size, 0 at low, 1 at high
  bool outside = false;  // of all measured sizes, moved to the nearest
};

RatioTable::RatioTable(const std::vector<RatioSample>& samples) : samples_(samples) {
  std::stable_sort(samples_.begin(), samples_.end(),
                   [](const RatioSample& a, const RatioSample& b) { return a.shape < b.shape; });
  std::vector<RatioSample> single;
  for (auto first = samples_.begin(); first != samples_.end();) {
    const auto last = std::find_if(first, samples_.end(), [&](const auto& s) { return s.shape != first->shape; });
    RatioSample merged = *first;
    if (last - first > 1) {
      double sum = 0;
      for (auto sample = first; sample != last; ++sample) sum += log_ratio(*sample);
      merged.measured = std::exp(sum / static_cast<double>(last - first)) * merged.modelled;
    }
    single.push_back(std::move(merged));
    first = last;
  }
  samples_ = std::move(single);
  axes_.resize(samples_.front().shape.size());
  for (const RatioSample& sample : samples_) {
    std::vector<double>& logs = logs_.emplace_back();
    for (std::size_t axis = 0; axis < axes_.size(); ++axis) {
      axes_[axis].sizes.push_back(sample.shape[axis]);
      logs.push_back(std::log2(static_cast<double>(sample.shape[axis])));
    }
  }
  for (Axis& axis : axes_) {
    std::sort(axis.sizes.begin(), axis.sizes.end());
    axis.sizes.erase(std::unique(axis.sizes.begin(), axis.sizes.end()), axis.sizes.end());
  }
}

const RatioSample* RatioTable::exactly(std::span<const std::int64_t> shape) const {
  const auto found = std::lower_bound(samples_.begin(), samples_.end(), shape, before);
  return found != samples_.end() && same_shape(*found, shape) ? &*found : nullptr;
}

double RatioTable::least() const {
  double least = std::numeric_limits<double>::infinity();
  for (const RatioSample& sample : samples_) least = std::min(least, sample.measured / sample.modelled);
  return least;
}

// Over all corners of the cell, or none when one of them was not measured.
std::optional<double> RatioTable::on_grid(const std::vector<Bracket>& brackets, double log_modelled) const {
  std::vector<std::size_t> open;  // axes along which the shape lies between two sizes
  std::vector<std::int64_t> corner;
  for (std::size_t axis = 0; axis < brackets.size(); ++axis) {
    if (brackets[axis].low != brackets[axis].high) open.push_back(axis);
    corner.push_back(brackets[axis].low);
  }
  std::vector<const RatioSample*> corners;
  for (std::size_t c = 0; c < (std::size_t{1} << open.size()); ++c) {
    for (std::size_t k = 0; k < open.size(); ++k)
      corner[open[k]] = (c >> k & 1U) != 0 ? brackets[open[k]].high : brackets[open[k]].low;
    corners.push_back(exactly(corner));
    if (corners.back() == nullptr) return std::nullopt;
  }
  std::vector<double> places;
  for (const std::size_t axis : open) places.push_back(brackets[axis].place);
  if (open.size() == 1 && !std::any_of(brackets.begin(), brackets.end(), [](const auto& b) { return b.outside; })) {
    const double low = std::log(corners[0]->modelled.value()), high = std::log(corners[1]->modelled.value());
    if (high > low) places[0] = std::clamp((log_modelled - low) / (high - low), 0.0, 1.0);
  }
  double sum = 0;
  for (std::size_t c = 0; c < corners.size(); ++c) {
    double weight = 1;
    for (std::size_t k = 0; k < open.size(); ++k) weight *= (c >> k & 1U) != 0 ? places[k] : 1 - places[k];
    sum += weight * log_ratio(*corners[c]);
  }
  return sum;
}

double RatioTable::around(const std::vector<double>& logs, double& nearest) const {
  double sum = 0, weights = 0, least = std::numeric_limits<double>::infinity();
  for (std::size_t s = 0; s < samples_.size(); ++s) {
    double square = 0;
    for (std::size_t axis = 0; axis < logs.size(); ++axis)
      square += (logs[axis] - logs_[s][axis]) * (logs[axis] - logs_[s][axis]);
    if (square == 0) {
      nearest = 0;
      return log_ratio(samples_[s]);
    }
    least = std::min(least, square);
    const double weight = 1 / (square * square);
    sum += weight * log_ratio(samples_[s]);
    weights += weight;
  }
  nearest = std::sqrt(least);
  return sum / weights;
}

Ratio RatioTable::beyond(std::span<const std::int64_t> shape, Seconds modelled, double log_ratio,
                         double doublings) const {
  const double share = std::max(0.0, 1 - doublings / reach);
  const Seconds time = modelled * std::exp(share * log_ratio);
  Seconds least, most(std::numeric_limits<double>::infinity());
  for (const RatioSample& sample : samples_) {
    if (sample.modelled <= modelled && has_all_of(shape, sample.shape)) least = std::max(least, sample.measured);
    if (sample.modelled >= modelled && has_all_of(sample.shape, shape)) most = std::min(most, sample.measured);
  }
  const Seconds kept =
      least <= most ? std::clamp(time, least, most) : time;  // unless the samples contradict each other
  if (kept != time) return {kept / modelled, TimeSource::extrapolated};
  return {std::exp(share * log_ratio), share > 0 ? TimeSource::extrapolated : TimeSource::modelled};
}

Ratio RatioTable::at(std::span<const std::int64_t> shape, Seconds modelled) const {
  if (const RatioSample* sample = exactly(shape)) return {sample->measured / sample->modelled, TimeSource::measured};
  std::vector<Bracket> brackets;
  std::vector<double> logs;  // of the nearest point of the box
  double square = 0;         // of the distance from there
  for (std::size_t axis = 0; axis < axes_.size(); ++axis) {
    const std::vector<std::int64_t>& sizes = axes_[axis].sizes;
    const std::int64_t size = std::clamp(shape[axis], sizes.front(), sizes.back());
    const auto high = std::lower_bound(sizes.begin(), sizes.end(), size);
    Bracket bracket{*high == size ? size : *(high - 1), *high, 0, size != shape[axis]};
    logs.push_back(std::log2(static_cast<double>(size)));
    if (bracket.low != bracket.high) {
      const double low = std::log2(static_cast<double>(bracket.low));
      bracket.place = (logs.back() - low) / (std::log2(static_cast<double>(bracket.high)) - low);
    }
    const double beyond_axis = std::log2(static_cast<double>(shape[axis])) - logs.back();
    square += beyond_axis * beyond_axis;
    brackets.push_back(bracket);
  }
  const auto grid = on_grid(brackets, std::log(modelled.value()));
  double nearest = 0;
  const double value = grid ? *grid : around(logs, nearest);
  const double doublings = std::sqrt(square) + std::max(0.0, nearest - far);
  if (doublings > 0) return beyond(shape, modelled, value, doublings);
  return {std::exp(value), TimeSource::interpolated};
}

}  // namespace meshloom
