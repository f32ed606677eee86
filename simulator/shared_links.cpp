#include "simulator/shared_links.hpp"

#include <algorithm>
#include <cmath>

namespace meshloom {

SharedLinks::SharedLinks(std::size_t links, std::size_t slots)
    : on_link_(links), transfers_(slots), free_(links), wanted_(links) {}

const std::vector<SharedLinks::Ending>& SharedLinks::start(std::size_t slot, const Route& route, Picoseconds work,
                                                           Picoseconds now) {
  endings_.clear();
  transfers_[slot] = {&route, static_cast<double>(work), 1, now, now + work, false};
  const bool shared = is_shared(route);
  for (const LinkShare& each : route.links) on_link_[each.link].push_back(static_cast<std::uint32_t>(slot));
  if (!shared) {
    endings_.push_back({slot, now + work});
    return endings_;
  }
  collect(slot);
  share_again(now);
  return endings_;
}

const std::vector<SharedLinks::Ending>& SharedLinks::finish(std::size_t slot, Picoseconds now) {
  endings_.clear();
  collect(slot);
  for (const LinkShare& each : transfers_[slot].route->links)
    std::erase(on_link_[each.link], static_cast<std::uint32_t>(slot));
  std::erase(component_, slot);
  share_again(now);
  return endings_;
}

// Whether one more transfer over the route cannot simply go at full speed.
bool SharedLinks::is_shared(const Route& route) const {
  return std::any_of(route.links.begin(), route.links.end(),
                     [this](const LinkShare& each) { return !on_link_[each.link].empty() || each.share > 1; });
}

void SharedLinks::collect(std::size_t slot) {
  component_.assign(1, slot);
  transfers_[slot].visited = true;
  for (std::size_t next = 0; next < component_.size(); ++next)
    for (const LinkShare& each : transfers_[component_[next]].route->links)
      for (const std::uint32_t other : on_link_[each.link])
        if (!transfers_[other].visited) {
          transfers_[other].visited = true;
          component_.push_back(other);
        }
  for (const std::size_t each : component_) transfers_[each].visited = false;
  std::sort(component_.begin(), component_.end());
}

// Progressive filling: `level` is the speed of all that are not held back yet.
void SharedLinks::set_speeds() {
  for (const std::size_t each : component_)
    for (const LinkShare& on : transfers_[each].route->links) free_[on.link] = 1, wanted_[on.link] = 0;
  for (const std::size_t each : component_)
    for (const LinkShare& on : transfers_[each].route->links) wanted_[on.link] += on.share;
  std::vector<std::size_t> rising = component_;
  while (!rising.empty()) {
    const auto level_of = [this](std::size_t slot) {
      double level = 1;
      for (const LinkShare& on : transfers_[slot].route->links)
        level = std::min(level, std::max(0.0, free_[on.link]) / wanted_[on.link]);
      return level;
    };
    double level = 1;
    for (const std::size_t each : rising) level = std::min(level, level_of(each));
    std::vector<std::size_t> held;
    for (const std::size_t each : rising)
      if (level_of(each) <= level) held.push_back(each);
    for (const std::size_t each : held) {
      transfers_[each].speed = level;
      for (const LinkShare& on : transfers_[each].route->links)
        free_[on.link] -= level * on.share, wanted_[on.link] -= on.share;
    }
    std::erase_if(rising, [&held](std::size_t each) { return std::binary_search(held.begin(), held.end(), each); });
  }
}

void SharedLinks::share_again(Picoseconds now) {
  for (const std::size_t each : component_) {
    Transfer& transfer = transfers_[each];
    const double done = transfer.speed * static_cast<double>(now - transfer.since);
    // At its end nothing is left, whatever the rounding of the end to picoseconds says.
    transfer.remaining = transfer.end <= now ? 0 : std::max(0.0, transfer.remaining - done);
    transfer.since = now;
  }
  set_speeds();
  for (const std::size_t each : component_) {
    Transfer& transfer = transfers_[each];
    transfer.end = now + std::llround(transfer.remaining / transfer.speed);
    endings_.push_back({each, transfer.end});
  }
}

}  // namespace meshloom
