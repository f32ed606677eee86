// Measured over modelled time at the shapes that were measured, and what to expect between them and beyond.
//
//   exact shape                            its ratio, measured
//   between samples of a grid              log of the ratio, linear along each axis of log sizes, interpolated
//   in the box of the samples, no grid     mean of log ratios, weights 1/distance⁴ in log sizes, interpolated
//   out of the box, or over a factor       the ratio at the nearest point of the box; of its log the share 1 − d/4,
//   of 4 away from every sample            d the doublings beyond the box or beyond that factor, extrapolated
//   4 doublings beyond or more             1, modelled
//
// Where samples differ from the shape in one size only, the weight along it is that of the model's time (log time
// between the logs of both samples' modelled times), so that the result grows with the model's time from one sample's
// measured time to the other's and never leaves them [docs/cost_model.md]. Nor is a shape beyond them faster than a
// sample that it has all of and that the model says is faster, or slower than one that has all of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "costmodel/time_source.hpp"

namespace meshloom {

struct RatioSample {
  std::vector<std::int64_t> shape;
  Seconds modelled, measured;  // both more than zero
};

struct Ratio {
  double of_modelled = 1;
  TimeSource source = TimeSource::modelled;
};

class RatioTable {
 public:
  // All shapes have as many sizes, each at least 1; of samples of one shape the geometric mean counts. Not empty.
  explicit RatioTable(const std::vector<RatioSample>& samples);

  // `modelled`: the model's time of this shape.
  Ratio at(std::span<const std::int64_t> shape, Seconds modelled) const;
  double least() const;  // no shape has less
  // The sample of this shape.
  const RatioSample* exactly(std::span<const std::int64_t> shape) const;

 private:
  struct Axis {
    std::vector<std::int64_t> sizes;  // that occur, ascending
  };
  struct Bracket;

  std::optional<double> on_grid(const std::vector<Bracket>& brackets, double log_modelled) const;
  Ratio beyond(std::span<const std::int64_t> shape, Seconds modelled, double log_ratio, double doublings) const;
  double around(const std::vector<double>& logs, double& nearest) const;

  std::vector<RatioSample> samples_;       // by shape
  std::vector<std::vector<double>> logs_;  // of their sizes, to base 2
  std::vector<Axis> axes_;
};

}  // namespace meshloom
