// What the usage limit leaves by period: add to a range, ask for the least of a range, each in O(log periods).
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace meshloom::intra_op {

class SlackTree {
 public:
  explicit SlackTree(const std::vector<std::int64_t>& slack) : periods_(static_cast<std::uint32_t>(slack.size())) {
    while (leaves_ < std::max<std::uint32_t>(1, periods_)) leaves_ *= 2;
    least_.assign(2 * leaves_, std::numeric_limits<std::int64_t>::max() / 2);
    added_.assign(2 * leaves_, 0);
    std::copy(slack.begin(), slack.end(), least_.begin() + leaves_);
    for (std::uint32_t vertex = leaves_; --vertex > 0;)
      least_[vertex] = std::min(least_[2 * vertex], least_[2 * vertex + 1]);
  }

  void add(std::uint32_t begin, std::uint32_t end, std::int64_t amount) { add(1, 0, leaves_, begin, end, amount); }
  std::int64_t least(std::uint32_t begin, std::uint32_t end) const { return least(1, 0, leaves_, begin, end); }
  // The first of the whole range's least; there must be a period.
  std::uint32_t position_of_least() const {
    std::uint32_t vertex = 1;
    while (vertex < leaves_) vertex = least_[2 * vertex] <= least_[2 * vertex + 1] ? 2 * vertex : 2 * vertex + 1;
    return vertex - leaves_;
  }
  std::vector<std::int64_t> values() const {
    std::vector<std::int64_t> result;
    for (std::uint32_t period = 0; period < periods_; ++period) {
      std::int64_t value = least_[leaves_ + period];
      for (std::uint32_t vertex = (leaves_ + period) / 2; vertex > 0; vertex /= 2) value += added_[vertex];
      result.push_back(value);
    }
    return result;
  }

 private:
  void add(std::uint32_t vertex, std::uint32_t low, std::uint32_t high, std::uint32_t begin, std::uint32_t end,
           std::int64_t amount) {
    if (end <= low || high <= begin) return;
    if (begin <= low && high <= end) {
      least_[vertex] += amount;
      added_[vertex] += vertex < leaves_ ? amount : 0;
      return;
    }
    const std::uint32_t middle = (low + high) / 2;
    add(2 * vertex, low, middle, begin, end, amount);
    add(2 * vertex + 1, middle, high, begin, end, amount);
    least_[vertex] = std::min(least_[2 * vertex], least_[2 * vertex + 1]) + added_[vertex];
  }

  std::int64_t least(std::uint32_t vertex, std::uint32_t low, std::uint32_t high, std::uint32_t begin,
                     std::uint32_t end) const {
    if (end <= low || high <= begin) return std::numeric_limits<std::int64_t>::max() / 2;
    if (begin <= low && high <= end) return least_[vertex];
    const std::uint32_t middle = (low + high) / 2;
    return std::min(least(2 * vertex, low, middle, begin, end), least(2 * vertex + 1, middle, high, begin, end)) +
           added_[vertex];
  }

  std::uint32_t periods_, leaves_ = 1;
  std::vector<std::int64_t> least_, added_;  // by vertex of a complete binary tree; the least includes what was added
};

}  // namespace meshloom::intra_op
