// How measured rows are divided and weighed when constants are fitted to them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace meshloom {

// The fold, from 0, of everything that has this key: by a hash of its characters, so that it depends neither on the
// order of the rows nor on what other rows there are.
std::size_t fold_of(const std::string& key, std::size_t folds);

// Each row weighs 1/√n, n the rows of its group: a group of 800 rows weighs as much as five groups of 32, not as 25.
// Rows of one group share what the model gets wrong, so that each further one says less.
std::vector<double> group_weights(const std::vector<std::string>& groups);

// The least value for which at least `share` of all weight lies at it or below. Weights positive, at least one value.
double weighted_quantile(const std::vector<double>& values, const std::vector<double>& weights, double share);

}  // namespace meshloom
