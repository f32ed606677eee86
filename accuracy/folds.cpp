#include "accuracy/folds.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>

namespace meshloom {

std::size_t fold_of(const std::string& key, std::size_t folds) {
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  // Its low bits hardly see the high bits of the characters: mix once more [MurmurHash3's finaliser].
  hash = (hash ^ (hash >> 33U)) * 0xff51afd7ed558ccdULL;
  hash = (hash ^ (hash >> 33U)) * 0xc4ceb9fe1a85ec53ULL;
  return static_cast<std::size_t>((hash ^ (hash >> 33U)) % folds);
}

std::vector<double> group_weights(const std::vector<std::string>& groups) {
  std::map<std::string, double> counts;
  for (const std::string& group : groups) counts[group] += 1;
  std::vector<double> weights;
  for (const std::string& group : groups) weights.push_back(1 / std::sqrt(counts[group]));
  return weights;
}

double weighted_quantile(const std::vector<double>& values, const std::vector<double>& weights, double share) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  const double wanted = share * std::accumulate(weights.begin(), weights.end(), 0.0) * (1 - 1e-12);
  double below = 0;
  for (const std::size_t row : order) {
    below += weights[row];
    if (below >= wanted) return values[row];
  }
  return values[order.back()];
}

}  // namespace meshloom
