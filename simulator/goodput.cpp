#include "simulator/goodput.hpp"

#include <cmath>

namespace meshloom {

double goodput(const Failures& failures) {
  const double work = failures.interval / failures.between;
  const double lost = std::exp(failures.restart / failures.between) *
                      std::expm1((failures.interval + failures.checkpoint) / failures.between);
  return work / lost;
}

Seconds best_checkpoint_interval(Seconds between, Seconds checkpoint) {
  if (checkpoint >= 2 * between) return between;
  const double half = checkpoint / (2 * between);  // δ/2M
  const double young = std::sqrt(2 * checkpoint.value() * between.value());
  return Seconds(young * (1 + std::sqrt(half) / 3 + half / 9)) - checkpoint;
}

}  // namespace meshloom
